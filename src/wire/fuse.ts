// FUSE messages (linux/fuse.h, protocol 7.31 and later), as far as one regular file needs them. All
// fields are in the host's order, which is little-endian on the machines Deno runs on. Functions
// take the memory as 32-bit words and byte offsets that are multiples of 8.

import { readUint64Words, writeUint64Words } from "./endian.ts";

/** struct fuse_in_header. */
const IN_OPCODE = 4;
const IN_UNIQUE = 8;
/** Where the arguments of a request begin. */
export const FUSE_IN_HEADER_BYTES = 40;
/** Header and arguments of the longest request that is followed by data: struct fuse_write_in. */
export const FUSE_WRITE_HEADER_BYTES = 80;
/** struct fuse_out_header: u32 len, s32 error, u64 unique. */
export const FUSE_OUT_HEADER_BYTES = 16;

export const FUSE_FORGET = 2;
export const FUSE_GETATTR = 3;
export const FUSE_SETATTR = 4;
export const FUSE_OPEN = 14;
export const FUSE_READ = 15;
export const FUSE_WRITE = 16;
export const FUSE_STATFS = 17;
export const FUSE_RELEASE = 18;
export const FUSE_FSYNC = 20;
export const FUSE_FLUSH = 25;
export const FUSE_INIT = 26;
export const FUSE_INTERRUPT = 36;
export const FUSE_DESTROY = 38;
export const FUSE_BATCH_FORGET = 42;
export const FUSE_FALLOCATE = 43;

/** Notification (linux/fuse.h, protocol 7.40): send again what was read and not answered. */
const FUSE_NOTIFY_RESEND = 7;
/** First minor protocol version whose kernel knows it. */
export const FUSE_MINOR_RESEND = 40;
const FUSE_MAJOR = 7;
const FUSE_MINOR = 40;

const ASYNC_READ = 1 << 0;
const BIG_WRITES = 1 << 5;
/** Without it every request is waited for by itself: a fifth of the speed. */
const ASYNC_DIO = 1 << 15;
const PARALLEL_DIROPS = 1 << 18;
/** Requests fail with ECONNABORTED after an abort, and do not hang. */
const ABORT_ERROR = 1 << 21;
const MAX_PAGES = 1 << 22;
const INIT_EXT = 1 << 30;
/** In the second word of flags, protocol 7.42: requests may come by io_uring. */
const OVER_IO_URING = 1 << (41 - 32);
const FOPEN_DIRECT_IO = 1 << 0;
const FOPEN_NOFLUSH = 1 << 5;
const FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6;

/** linux/falloc.h: modes of FUSE_FALLOCATE. */
export const FALLOC_KEEP_SIZE = 1;
export const FALLOC_PUNCH_HOLE = 2;
export const FALLOC_ZERO_RANGE = 16;

const S_IFREG_0600 = 0o100600;
const S_IFREG_0400 = 0o100400;
const BLOCK_BYTES = 4096;

/** Opcode of the request at `at`. */
export function fuseOpcode(u32: Uint32Array, at: number): number {
  return u32[(at + IN_OPCODE) >>> 2]!;
}

/** fuse_read_in and fuse_write_in alike: where in the file; a Number holds every size of a disk. */
export function fuseOffset(u32: Uint32Array, at: number): number {
  return readUint64Words(u32, at + FUSE_IN_HEADER_BYTES + 8);
}

/** fuse_read_in and fuse_write_in alike: how many bytes. */
export function fuseSize(u32: Uint32Array, at: number): number {
  return u32[(at + FUSE_IN_HEADER_BYTES + 16) >>> 2]!;
}

/** fuse_fallocate_in: how many bytes, from `fuseOffset` on. */
export function fuseFallocateLength(u32: Uint32Array, at: number): number {
  return readUint64Words(u32, at + FUSE_IN_HEADER_BYTES + 16);
}

/** fuse_fallocate_in: FALLOC flags. */
export function fuseFallocateMode(u32: Uint32Array, at: number): number {
  return u32[(at + FUSE_IN_HEADER_BYTES + 24) >>> 2]!;
}

/** fuse_init_in: the kernel's minor version of protocol 7; 0 for another protocol. */
export function fuseInitMinor(u32: Uint32Array, at: number): number {
  const word = (at + FUSE_IN_HEADER_BYTES) >>> 2;
  return u32[word] === FUSE_MAJOR ? u32[word + 1]! : 0;
}

/** fuse_init_in: whether the kernel offers FUSE over io_uring. */
export function fuseInitOffersUring(u32: Uint32Array, at: number): boolean {
  const word = (at + FUSE_IN_HEADER_BYTES) >>> 2;
  return (u32[word + 3]! & INIT_EXT) !== 0 && (u32[word + 4]! & OVER_IO_URING) !== 0;
}

/**
 * Writes fuse_out_header at `outAt`, answering the request at `inAt`.
 *
 * @param payload Bytes behind the header.
 * @param errno 0, or why it failed.
 */
export function writeFuseAnswer(
  u32: Uint32Array,
  inAt: number,
  outAt: number,
  payload: number,
  errno: number,
): void {
  const out = outAt >>> 2;
  const unique = (inAt + IN_UNIQUE) >>> 2;
  u32[out] = FUSE_OUT_HEADER_BYTES + payload;
  u32[out + 1] = -errno;
  u32[out + 2] = u32[unique]!;
  // Bit 63 marks what was sent again, and comes back as it is.
  u32[out + 3] = u32[unique + 1]!;
}

/** Writes fuse_write_out behind the header; returns its bytes. */
export function writeFuseWritten(u32: Uint32Array, outAt: number, bytes: number): number {
  const at = (outAt + FUSE_OUT_HEADER_BYTES) >>> 2;
  u32[at] = bytes;
  u32[at + 1] = 0;
  return 8;
}

/**
 * Writes fuse_init_out behind the header; returns its bytes.
 *
 * @param options `requestBytesMax`: data of one request, whole pages; `backgroundMax`: requests
 * that the kernel may have under way without anybody waiting for each; `overUring`: take that offer
 * of the kernel's, and it waits for the queues.
 */
export function writeFuseInit(
  u32: Uint32Array,
  inAt: number,
  outAt: number,
  options: {
    readonly requestBytesMax: number;
    readonly backgroundMax: number;
    readonly overUring?: boolean;
  },
): number {
  const { requestBytesMax, backgroundMax } = options;
  const word = (inAt + FUSE_IN_HEADER_BYTES) >>> 2;
  const at = (outAt + FUSE_OUT_HEADER_BYTES) >>> 2;
  u32.fill(0, at, at + 16);
  u32[at] = FUSE_MAJOR;
  u32[at + 1] = FUSE_MINOR;
  u32[at + 2] = u32[word + 2]!;
  u32[at + 3] = u32[word + 3]! &
    (ASYNC_READ | BIG_WRITES | ASYNC_DIO | PARALLEL_DIROPS | ABORT_ERROR | MAX_PAGES | INIT_EXT);
  // u16 max_background, u16 congestion_threshold: no congestion, the disk has its own queue.
  u32[at + 4] = backgroundMax | (backgroundMax << 16);
  u32[at + 5] = requestBytesMax;
  u32[at + 6] = 1;
  // u16 max_pages, u16 map_alignment.
  u32[at + 7] = requestBytesMax / BLOCK_BYTES;
  if (options.overUring === true) u32[at + 8] = OVER_IO_URING;
  return 64;
}

/** Writes fuse_attr_out of the one file behind the header; returns its bytes. */
export function writeFuseAttributes(
  u32: Uint32Array,
  outAt: number,
  bytes: number,
  readOnly: boolean,
): number {
  const at = outAt + FUSE_OUT_HEADER_BYTES;
  const word = at >>> 2;
  // Valid for no time at all, so that a new size is seen.
  u32.fill(0, word, word + 26);
  u32[word + 4] = 1;
  writeUint64Words(u32, at + 24, bytes);
  writeUint64Words(u32, at + 32, bytes / 512);
  u32[word + 19] = readOnly ? S_IFREG_0400 : S_IFREG_0600;
  u32[word + 20] = 1;
  u32[word + 24] = BLOCK_BYTES;
  return 104;
}

/** Writes fuse_open_out behind the header; returns its bytes. */
export function writeFuseOpened(u32: Uint32Array, outAt: number): number {
  const at = (outAt + FUSE_OUT_HEADER_BYTES) >>> 2;
  u32.fill(0, at, at + 4);
  u32[at + 2] = FOPEN_DIRECT_IO | FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES;
  return 16;
}

/** Writes fuse_statfs_out behind the header; returns its bytes. */
export function writeFuseFileSystem(u32: Uint32Array, outAt: number, bytes: number): number {
  const at = outAt + FUSE_OUT_HEADER_BYTES;
  const word = at >>> 2;
  u32.fill(0, word, word + 20);
  writeUint64Words(u32, at, Math.ceil(bytes / BLOCK_BYTES));
  u32[word + 10] = BLOCK_BYTES;
  u32[word + 11] = 255;
  u32[word + 12] = BLOCK_BYTES;
  return 80;
}

/** Writes the notification that asks for unanswered requests; returns its bytes. */
export function writeFuseResend(u32: Uint32Array, at: number): number {
  const word = at >>> 2;
  u32[word] = FUSE_OUT_HEADER_BYTES;
  u32[word + 1] = FUSE_NOTIFY_RESEND;
  u32[word + 2] = 0;
  u32[word + 3] = 0;
  return FUSE_OUT_HEADER_BYTES;
}
