// A FUSE mount that nobody sees: /dev/fuse, mounted detached by the new mount calls (fsopen(2) and
// the like, Linux 5.2), and the messages that are read from it and written to it.

import { PAGE_BYTES } from "./arena.ts";
import type { Arena } from "./arena.ts";
import { check, errno } from "./errno.ts";
import { closeFile, openFile } from "./files.ts";
import type { Pointer } from "./libc.ts";
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
const IOVEC_BYTES = 16;

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
    // int fd, const struct iovec *iov, int iovcnt
    readv: { parameters: ["i32", "pointer", "i32"], result: "i32" },
    // int fd, const struct iovec *iov, int iovcnt
    writev: { parameters: ["i32", "pointer", "i32"], result: "i32" },
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

/**
 * Requests and answers of a connection: `slots` pairs of a header and a page-aligned payload, in
 * an arena. A request takes a slot from `receive` to the end of its answer.
 */
export class FuseChannel {
  readonly fd: number;
  readonly payloadBytes: number;
  readonly #headersAt: number;
  readonly #headerBytes: number;
  readonly #payloadsAt: number;
  readonly #words: Uint32Array;
  readonly #answersAt: number;
  // Pointers to the iovecs of each slot, made once.
  readonly #requests: readonly Pointer[];
  readonly #answers: readonly Pointer[];

  /**
   * @param slots Requests at once.
   * @param headerBytes Of the longest request that has a payload, and of every answer.
   * @param payloadBytes Data of one request: whole pages.
   */
  constructor(
    arena: Arena,
    fd: number,
    slots: number,
    headerBytes: number,
    payloadBytes: number,
  ) {
    this.fd = fd;
    this.payloadBytes = payloadBytes;
    this.#headerBytes = headerBytes;
    this.#words = arena.u32;
    this.#headersAt = arena.allocate(slots * 2 * stride(headerBytes), 64);
    this.#payloadsAt = arena.allocate(slots * payloadBytes, PAGE_BYTES);
    const requestsAt = arena.allocate(slots * 2 * IOVEC_BYTES);
    this.#answersAt = arena.allocate(slots * 2 * IOVEC_BYTES);
    const requests: Pointer[] = [];
    const answers: Pointer[] = [];
    for (let slot = 0; slot < slots; slot++) {
      const request = requestsAt + slot * 2 * IOVEC_BYTES;
      arena.setAddress(request, arena.address + this.requestAt(slot));
      arena.u32[(request + 8) >>> 2] = headerBytes;
      arena.setAddress(request + IOVEC_BYTES, arena.address + this.payloadAt(slot));
      arena.u32[(request + IOVEC_BYTES + 8) >>> 2] = payloadBytes;
      const answer = this.#answersAt + slot * 2 * IOVEC_BYTES;
      arena.setAddress(answer, arena.address + this.answerAt(slot));
      arena.setAddress(answer + IOVEC_BYTES, arena.address + this.payloadAt(slot));
      requests.push(arena.pointer(request));
      answers.push(arena.pointer(answer));
    }
    this.#requests = requests;
    this.#answers = answers;
  }

  /** Arena bytes that such a channel takes. */
  static bytes(slots: number, headerBytes: number, payloadBytes: number): number {
    return slots * (2 * stride(headerBytes) + payloadBytes + 4 * IOVEC_BYTES) + PAGE_BYTES + 256;
  }

  /** Arena offset of a slot's request header. */
  requestAt(slot: number): number {
    return this.#headersAt + slot * 2 * stride(this.#headerBytes);
  }

  /** Arena offset of a slot's answer: header, and what is short. */
  answerAt(slot: number): number {
    return this.requestAt(slot) + stride(this.#headerBytes);
  }

  /** Arena offset of a slot's data. */
  payloadAt(slot: number): number {
    return this.#payloadsAt + slot * this.payloadBytes;
  }

  /** Takes the next request into a slot: its bytes, or −errno (EAGAIN: none; ENODEV: unmounted). */
  receive(slot: number): number {
    const bytes = libc.readv(this.fd, this.#requests[slot]!, 2);
    return bytes < 0 ? -errno() : bytes;
  }

  /**
   * Answers with `bytes` from `answerAt` on, and `payload` bytes of data.
   *
   * @returns 0, or −errno: ENOENT when nobody waits any more, which is no error.
   */
  answer(slot: number, bytes: number, payload: number): number {
    const at = (this.#answersAt + slot * 2 * IOVEC_BYTES) >>> 2;
    this.#words[at + 2] = bytes;
    this.#words[at + 6] = payload;
    const written = libc.writev(this.fd, this.#answers[slot]!, payload === 0 ? 1 : 2);
    return written < 0 ? -errno() : 0;
  }
}

/** Headers on cache lines of their own; 128 bytes hold every answer without data, too. */
function stride(headerBytes: number): number {
  return Math.max(128, Math.ceil(headerBytes / 64) * 64);
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}
