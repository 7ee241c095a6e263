// Where a file has data, whether memory holds nothing but zeros, and reading and writing of what has
// no offsets: pipes and terminals.

import { errno } from "./errno.ts";
import type { Pointer } from "./libc.ts";
import { openLibc } from "./libc.ts";
import { EAGAIN, EINTR, ENXIO } from "./errno_numbers.ts";

// unistd.h
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

const libc = openLibc(
  {
    // int fd, off_t offset, int whence
    lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
    // const void *a, const void *b, size_t n
    memcmp: { parameters: ["pointer", "pointer", "u32"], result: "i32" },
    // int fd, void *buffer, size_t bytes
    read: { parameters: ["i32", "pointer", "u32"], result: "i32" },
    // int fd, const void *buffer, size_t bytes
    write: { parameters: ["i32", "pointer", "u32"], result: "i32" },
  } as const,
);

/**
 * Where the next data of a file begin, at `offset` or behind it; Infinity when only a hole follows.
 * A file that cannot tell has data everywhere.
 */
export function nextData(fd: number, offset: number): number {
  const found = Number(libc.lseek(fd, BigInt(offset), SEEK_DATA));
  if (found >= 0) return found;
  return errno() === ENXIO ? Infinity : offset;
}

/** Where the next hole of a file begins, its end counting as one; Infinity when it cannot tell. */
export function nextHole(fd: number, offset: number): number {
  const found = Number(libc.lseek(fd, BigInt(offset), SEEK_HOLE));
  return found >= 0 ? found : Infinity;
}

/** Whether two pieces of memory are equal. */
export function isEqual(a: Pointer, b: Pointer, bytes: number): boolean {
  return libc.memcmp(a, b, bytes) === 0;
}

/** Reads what comes next, waiting for it: bytes, 0 at the end, or −errno. */
export function readStream(fd: number, memory: Pointer, bytes: number): number {
  return resultOf(libc.read(fd, memory, bytes));
}

/** Writes, waiting for room: bytes, or −errno. */
export function writeStream(fd: number, memory: Pointer, bytes: number): number {
  return resultOf(libc.write(fd, memory, bytes));
}

function resultOf(result: number): number {
  if (result >= 0) return result;
  const code = errno();
  return code === EINTR ? -EAGAIN : -code;
}
