// A name that only one process of a network namespace can hold: an abstract Unix socket. The kernel
// gives it back when the process ends, however it ends.

import { check } from "./errno.ts";
import { openLibc } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
/** struct sockaddr_un: sa_family_t, then a path of at most 108 bytes. */
const SUN_PATH = 2;
const SUN_PATH_BYTES_MAX = 108;

const libc = openLibc(
  {
    // int domain, int type, int protocol
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    // int fd, const struct sockaddr *addr, socklen_t len
    bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    // int fd
    close: { parameters: ["i32"], result: "i32" },
  } as const,
);

/**
 * Takes a name until `giveName`, or until the process ends.
 *
 * @param name At most 107 bytes.
 * @returns What it is held by; undefined when another socket of this network namespace has it.
 */
export function takeName(name: string): number | undefined {
  // A leading zero byte makes the name abstract: no file, and no length but the address's own.
  const bytes = new TextEncoder().encode(`\0${name}`).subarray(0, SUN_PATH_BYTES_MAX);
  const address = new Uint8Array(SUN_PATH + bytes.length);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(bytes, SUN_PATH);
  const fd = check(libc.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0), "Open a Unix socket");
  if (libc.bind(fd, address, address.length) === 0) return fd;
  libc.close(fd);
  return undefined;
}

/** Gives a name back. */
export function giveName(fd: number): void {
  libc.close(fd);
}
