// A FUSE mount that nobody sees: /dev/fuse, mounted detached by the new mount calls (fsopen(2) and
// the like, Linux 5.2). The messages are fuse_channel.ts.

import { check } from "./errno.ts";
import { closeFile, openFile } from "./files.ts";
import { openLibc } from "./libc.ts";

// System call numbers from 424 up are the same on every architecture.
const SYS_FSOPEN = 430;
const SYS_FSCONFIG = 431;
const SYS_FSMOUNT = 432;
// linux/mount.h
const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;

const libc = openLibc(
  {
    // long number, const char *fs_name, unsigned int flags
    fsopen: { name: "syscall", parameters: ["i32", "buffer", "u32"], result: "i32" },
    // long number, int fs_fd, unsigned int cmd, const char *key, const void *value, int aux
    fsconfig: {
      name: "syscall",
      parameters: ["i32", "i32", "u32", "buffer", "buffer", "i32"],
      result: "i32",
    },
    // long number, int fs_fd, unsigned int flags, unsigned int attr_flags
    fsmount: { name: "syscall", parameters: ["i32", "i32", "u32", "u32"], result: "i32" },
  } as const,
);

/** Opens /dev/fuse; a descriptor is a connection, once it is mounted. Reads do not block. */
export function openFuse(): number {
  return openFile("/dev/fuse", { readOnly: false, nonBlocking: true });
}

/**
 * Mounts a connection, detached, whose root is one regular file, and opens that file. Blocks until
 * INIT and OPEN are answered: by another thread.
 *
 * @returns A descriptor of the file, which keeps the mount.
 * @throws {SystemError} With the step that failed.
 */
export function mountFuseFile(fuse: number, readOnly: boolean): number {
  const context = check(
    libc.fsopen(SYS_FSOPEN, cString("fuse"), FSOPEN_CLOEXEC),
    "Open a FUSE file system",
  );
  try {
    const options: readonly (readonly [string, string])[] = [
      ["source", "aoe"],
      ["subtype", "aoe"],
      // FSCONFIG_SET_FD gives EINVAL here.
      ["fd", String(fuse)],
      ["rootmode", "100000"],
      ["user_id", "0"],
      ["group_id", "0"],
    ];
    for (const [key, value] of options) {
      check(
        libc.fsconfig(
          SYS_FSCONFIG,
          context,
          FSCONFIG_SET_STRING,
          cString(key),
          cString(value),
          0,
        ),
        `Give FUSE its ${key}`,
      );
    }
    check(
      libc.fsconfig(SYS_FSCONFIG, context, FSCONFIG_CMD_CREATE, null, null, 0),
      "Make a FUSE file system",
    );
    const mount = check(
      libc.fsmount(SYS_FSMOUNT, context, FSMOUNT_CLOEXEC, 0),
      "Mount a FUSE file system",
    );
    try {
      return openFile(`/proc/self/fd/${mount}`, { readOnly });
    } finally {
      closeFile(mount);
    }
  } finally {
    closeFile(context);
  }
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}
