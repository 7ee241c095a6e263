// Who a process is, and what it may do: it becomes another user with a single capability, and then
// executes itself. All of that holds for one thread; execve(2) ends the others, so that every thread
// of the new image has what this one had. (Deno has threads before the first line of ours runs.)

import { check, SystemError } from "./errno.ts";
import { errno } from "./errno.ts";
import type { Pointer } from "./libc.ts";
import { openLibc } from "./libc.ts";

// linux/prctl.h
const PR_SET_KEEPCAPS = 8;
const PR_CAPBSET_READ = 23;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_RAISE = 2n;
// linux/capability.h
const CAP_DAC_OVERRIDE = 1;
const CAP_NET_RAW = 13;
const CAP_NUMBERS = 64;
const CAPABILITY_VERSION_3 = 0x20080522;
const GROUPS_MAX = 1024;
const MFD_PLAIN = 0;

const libc = openLibc(
  {
    // int option, unsigned long, unsigned long, unsigned long, unsigned long
    prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
    // cap_user_header_t header, const cap_user_data_t data
    capset: { parameters: ["buffer", "buffer"], result: "i32" },
    // const char *name
    getpwnam: { parameters: ["buffer"], result: "pointer" },
    // const char *user, gid_t group, gid_t *groups, int *ngroups
    getgrouplist: { parameters: ["buffer", "u32", "buffer", "buffer"], result: "i32" },
    // size_t size, const gid_t *list
    setgroups: { parameters: ["usize", "buffer"], result: "i32" },
    // gid_t real, gid_t effective, gid_t saved
    setresgid: { parameters: ["u32", "u32", "u32"], result: "i32" },
    // uid_t real, uid_t effective, uid_t saved
    setresuid: { parameters: ["u32", "u32", "u32"], result: "i32" },
    // const char *path, char *const argv[], char *const envp[]
    execve: { parameters: ["buffer", "buffer", "buffer"], result: "i32" },
    // const char *name, unsigned int flags
    memfd_create: { parameters: ["buffer", "u32"], result: "i32" },
    // int fd, int replaced
    dup2: { parameters: ["i32", "i32"], result: "i32" },
    // int fd
    close: { parameters: ["i32"], result: "i32" },
  } as const,
);

/** A user as the system's databases have it. */
export interface UserEntry {
  readonly uid: number;
  readonly gid: number;
  readonly groups: Uint32Array;
}

/** Looks a user up by name, also where a directory service has it. */
export function findUser(name: string): UserEntry | undefined {
  const text = cString(name);
  const entry = libc.getpwnam(text);
  if (entry === null) return undefined;
  // struct passwd: two pointers, then uid and gid; the same on every 64-bit architecture.
  const view = new Deno.UnsafePointerView(entry);
  const [uid, gid] = [view.getUint32(16), view.getUint32(20)];
  const groups = new Uint32Array(GROUPS_MAX);
  const count = new Int32Array([GROUPS_MAX]);
  libc.getgrouplist(text, gid, groups as BufferSource, count);
  return { uid, gid, groups: groups.slice(0, Math.min(GROUPS_MAX, count[0]!)) };
}

/**
 * Root becomes another user who may open packet sockets and nothing else; what this process executes
 * next has that capability as well. Until then it may still execute and read any file.
 */
export function becomeUser(user: UserEntry): void {
  for (let capability = 0; capability < CAP_NUMBERS; capability++) {
    if (capability === CAP_NET_RAW || prctl(PR_CAPBSET_READ, BigInt(capability)) !== 1) continue;
    check(prctl(PR_CAPBSET_DROP, BigInt(capability)), "Give up a capability for good");
  }
  check(prctl(PR_SET_KEEPCAPS, 1n), "Keep capabilities");
  const groups = user.groups as BufferSource;
  check(libc.setgroups(BigInt(user.groups.length), groups), "Set the groups");
  check(libc.setresgid(user.gid, user.gid, user.gid), "Set the group");
  check(libc.setresuid(user.uid, user.uid, user.uid), "Set the user");
  const kept = 1 << CAP_DAC_OVERRIDE | 1 << CAP_NET_RAW;
  const header = new Uint32Array([CAPABILITY_VERSION_3, 0]);
  // Effective, permitted, inheritable; then the same of the capabilities from 32 on.
  const data = new Uint32Array([kept, kept, 1 << CAP_NET_RAW, 0, 0, 0]);
  check(libc.capset(header, data), "Set capabilities");
  check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, BigInt(CAP_NET_RAW)), "Pass CAP_NET_RAW on");
}

/** From now on nothing that this thread executes gains rights (no_new_privs). */
export function refuseNewRights(): void {
  check(prctl(PR_SET_NO_NEW_PRIVS, 1n), "Set no_new_privs");
}

/**
 * Puts a copy of a file behind a descriptor that stood for the file itself: in memory, so that
 * whoever this process becomes may open it.
 */
export function copyBehindDescriptor(fd: number, name: string): void {
  const bytes = Deno.readFileSync(`/proc/self/fd/${fd}`);
  const copy = check(libc.memfd_create(cString(name), MFD_PLAIN), "Make a file in memory");
  Deno.writeFileSync(`/proc/self/fd/${copy}`, bytes);
  check(libc.dup2(copy, fd), "Replace a descriptor");
  libc.close(copy);
}

/**
 * Executes this process's own executable again, with the same arguments, and does not return.
 *
 * @throws {SystemError} When the kernel refuses.
 */
export function executeAgain(environment: Readonly<Record<string, string>>): never {
  const words = Deno.readTextFileSync("/proc/self/cmdline").split("\0").slice(0, -1);
  const argv = new CStrings(words);
  const envp = new CStrings(Object.entries(environment).map(([name, value]) => `${name}=${value}`));
  libc.execve(cString("/proc/self/exe"), argv.table, envp.table);
  throw new SystemError("Execute this program again", errno());
}

/** A table of C strings that ends with NULL, kept alive with them. */
class CStrings {
  readonly table: BigUint64Array<ArrayBuffer>;
  readonly #bytes: Uint8Array<ArrayBuffer>;

  constructor(texts: readonly string[]) {
    this.#bytes = new TextEncoder().encode(texts.map((text) => `${text}\0`).join(""));
    this.table = new BigUint64Array(texts.length + 1);
    const start: Pointer = Deno.UnsafePointer.of(this.#bytes);
    let at = Deno.UnsafePointer.value(start);
    texts.forEach((text, place) => {
      this.table[place] = at;
      at += BigInt(new TextEncoder().encode(text).length + 1);
    });
  }
}

function prctl(option: number, first: bigint, second = 0n): number {
  return libc.prctl(option, first, second, 0n, 0n);
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}
