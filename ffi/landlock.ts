// Landlock: a process gives up files for good, itself and whatever it executes (landlock(7)). The C
// library has no functions for it; its system calls have one number on every architecture.

import { check, errno, SystemError } from "./errno.ts";
import { closeFile } from "./files.ts";
import { openLibc } from "./libc.ts";

const LANDLOCK_CREATE_RULESET = 444n;
const LANDLOCK_ADD_RULE = 445n;
const LANDLOCK_RESTRICT_SELF = 446n;
const CREATE_RULESET_VERSION = 1n;
const RULE_PATH_BENEATH = 1n;
/** struct landlock_path_beneath_attr, packed: allowed_access, parent_fd. */
const PATH_BENEATH_BYTES = 12;
const O_PATH_CLOEXEC = 0o10000000 | 0o2000000;
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;

// linux/landlock.h: LANDLOCK_ACCESS_FS_*
const EXECUTE = 1n << 0n;
const WRITE_FILE = 1n << 1n;
const READ_FILE = 1n << 2n;
const READ_DIR = 1n << 3n;
const TRUNCATE = 1n << 14n;
const IOCTL_DEV = 1n << 15n;
/** Rights to a file; the others are to what is in a folder. */
const OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

/** The version from which on a kernel knows a right; all below are in the first. */
const RIGHTS_BY_VERSION: readonly (readonly [version: number, rights: bigint])[] = [
  [1, (1n << 13n) - 1n],
  // REFER
  [2, 1n << 13n],
  [3, TRUNCATE],
  [5, IOCTL_DEV],
];

/** The version of the kernel's Landlock with all rights that are known here. */
export const LANDLOCK_VERSION_WHOLE = 5;

const ACCESS = {
  read: READ_FILE | READ_DIR,
  execute: READ_FILE | READ_DIR | EXECUTE,
  write: ~EXECUTE,
} as const;

/** What may go on with a file, or with all in a folder; `write` is all but executing. */
export interface FileRule {
  readonly path: string;
  readonly access: keyof typeof ACCESS;
}

const libc = openLibc(
  {
    // long number, ... of at most four arguments here
    syscall: { parameters: ["i64", "buffer", "u64", "u64", "u64"], result: "i32" },
    // const char *path, int flags
    open: { parameters: ["buffer", "i32"], result: "i32" },
  } as const,
);
/** The same function, with numbers only, or with the structure as its third argument. */
const numbers = openLibc(
  {
    // long number, int fd, unsigned long
    syscall: { parameters: ["i64", "i64", "u64"], result: "i32" },
  } as const,
);
const addRule = openLibc(
  {
    // long number, int fd, unsigned long type, const void *attr, unsigned flags
    syscall: { parameters: ["i64", "i64", "u64", "buffer", "u32"], result: "i32" },
  } as const,
);

/** The version of this kernel's Landlock: 0 without it, or where it is switched off. */
export function landlockVersion(): number {
  return Math.max(0, libc.syscall(LANDLOCK_CREATE_RULESET, null, 0n, CREATE_RULESET_VERSION, 0n));
}

/**
 * Leaves this thread, and what it executes, only what the rules name. Needs no_new_privs. A path
 * that is not there allows nothing; an open file stays open.
 *
 * @param version What `landlockVersion` has said; rights beyond it are not restricted.
 * @throws {SystemError} When the kernel refuses.
 */
export function restrictFiles(rules: readonly FileRule[], version: number): void {
  const handled = RIGHTS_BY_VERSION.filter(([since]) => since <= version)
    .reduce((rights, [, more]) => rights | more, 0n);
  const attributes = new Uint8Array(new BigUint64Array([handled]).buffer);
  const ruleset = check(
    libc.syscall(LANDLOCK_CREATE_RULESET, attributes, BigInt(attributes.length), 0n, 0n),
    "Make a Landlock ruleset",
  );
  try {
    for (const { path, access } of rules) allow(ruleset, path, ACCESS[access] & handled);
    const result = numbers.syscall(LANDLOCK_RESTRICT_SELF, BigInt(ruleset), 0n);
    check(result, "Restrict this process by Landlock");
  } finally {
    closeFile(ruleset);
  }
}

function allow(ruleset: number, path: string, access: bigint): void {
  const fd = libc.open(new TextEncoder().encode(`${path}\0`), O_PATH_CLOEXEC);
  if (fd < 0) return;
  try {
    const folder = ((Deno.statSync(path).mode ?? 0) & S_IFMT) === S_IFDIR;
    const rule = new DataView(new ArrayBuffer(PATH_BENEATH_BYTES));
    rule.setBigUint64(0, folder ? access : access & OF_FILES, true);
    rule.setInt32(8, fd, true);
    const bytes = new Uint8Array(rule.buffer);
    if (addRule.syscall(LANDLOCK_ADD_RULE, BigInt(ruleset), RULE_PATH_BENEATH, bytes, 0) < 0) {
      throw new SystemError(`Allow "${path}" by Landlock`, errno());
    }
  } finally {
    closeFile(fd);
  }
}
