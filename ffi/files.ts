// Files and block devices: open, size, locks, and the plain system calls on them. The descriptors
// are the kernel's own numbers, since io_uring and mmap need them.

import { check, errno } from "./errno.ts";
import type { Pointer } from "./libc.ts";
import { openLibc } from "./libc.ts";

// fcntl.h; O_DIRECT differs between architectures.
const O_RDONLY = 0;
const O_RDWR = 2;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const F_DUPFD = 0;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const O_DIRECT = Deno.build.arch === "aarch64" ? 0o200000 : 0o40000;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_STATX_DONT_SYNC = 0x4000;
const LOCK_EXCLUSIVE_NONBLOCK = 2 | 4;
const LOCK_SHARED_NONBLOCK = 1 | 4;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
/** Mode of fallocate(2) that makes a range read as zeros and gives its blocks back. */
export const PUNCH_HOLE = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
// linux/fs.h
const RWF_DSYNC = 2;
const RWF_NOWAIT = 8;
const BLKGETSIZE64 = 0x80081272;
const BLKSSZGET = 0x1268;
const BLKPBSZGET = 0x127b;
const BLKROGET = 0x125e;
// linux/stat.h
const STATX_BASIC_STATS = 0x7ff;
const STATX_SIZE = 0x200;
const STATX_SIZE_AT = 40;
const STATX_DIOALIGN = 0x2000;
const STATX_BYTES = 256;
const STATFS_BYTES = 120;
/** FUSE, NFS, SMB (two), CIFS, 9p, Ceph, AFS. */
const REMOTE_MAGICS: readonly number[] = [
  0x65735546,
  0x6969,
  0x517b,
  0xfe534d42,
  0xff534d42,
  0x01021997,
  0x00c36400,
  0x5346414f,
];
/** tmpfs, ramfs. */
const MEMORY_MAGICS: readonly number[] = [0x01021994, 0x858458f6];
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFBLK = 0o060000;

const libc = openLibc(
  {
    // const char *path, int flags, mode_t mode
    open: { parameters: ["buffer", "i32", "u32"], result: "i32" },
    // int fd
    close: { parameters: ["i32"], result: "i32" },
    // int fd, int replaced, int flags
    dup3: { parameters: ["i32", "i32", "i32"], result: "i32" },
    // int fd, int cmd, int argument
    fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
    // int dirfd, const char *path, int flags, unsigned int mask, struct statx *buf
    statx: { parameters: ["i32", "buffer", "i32", "u32", "buffer"], result: "i32" },
    // int fd, struct statfs *buf
    fstatfs: { parameters: ["i32", "buffer"], result: "i32" },
    // int fds[2], int flags
    pipe2: { parameters: ["buffer", "i32"], result: "i32" },
    // int fd, int operation
    flock: { parameters: ["i32", "i32"], result: "i32" },
    // int fd, off_t length
    ftruncate: { parameters: ["i32", "i64"], result: "i32" },
    // int fd, unsigned long request, void *argument
    ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
    // int fd, const struct iovec *iov, int iovcnt, off_t offset, int flags
    preadv2: { parameters: ["i32", "pointer", "i32", "i64", "i32"], result: "i32" },
    // int fd, const struct iovec *iov, int iovcnt, off_t offset
    preadv: { parameters: ["i32", "pointer", "i32", "i64"], result: "i32" },
    // int fd, const void *buf, size_t count, off_t offset
    pwrite: { parameters: ["i32", "pointer", "u64", "i64"], result: "i32" },
    // int fd, const struct iovec *iov, int iovcnt, off_t offset, int flags
    pwritev2: { parameters: ["i32", "pointer", "i32", "i64", "i32"], result: "i32" },
    // int fd, const struct timespec times[2]
    futimens: { parameters: ["i32", "pointer"], result: "i32" },
    // int fd
    fdatasync: { parameters: ["i32"], result: "i32" },
    // int fd, int mode, off_t offset, off_t length
    fallocate: { parameters: ["i32", "i32", "i64", "i64"], result: "i32" },
  } as const,
);

/** How to open a file. */
export interface OpenOptions {
  readonly readOnly: boolean;
  /** Around the page cache; offsets, lengths and memory must then be aligned. */
  readonly direct?: boolean;
  /** Make the file; it must not exist. */
  readonly create?: boolean;
  /** Permissions of what is made: 0644 without. */
  readonly mode?: number;
  /** Fail with EBUSY when a block device is mounted or otherwise claimed. */
  readonly exclusive?: boolean;
  /** Reads and writes of a device return EAGAIN and do not wait. */
  readonly nonBlocking?: boolean;
}

/** What kind of file it is, and its sizes. */
export interface FileStatus {
  readonly kind: "file" | "block device" | "other";
  readonly bytes: number;
  /** Bytes of storage that a file has, holes left out; 0 for a block device. */
  readonly allocatedBytes: number;
  /** Alignment that O_DIRECT asks of offsets and lengths, and of memory; 0 when unknown. */
  readonly directOffsetAlignment: number;
  readonly directMemoryAlignment: number;
  /** Bytes of a physical block of a block device; 512 for a file. */
  readonly physicalBlockBytes: number;
  /** Bytes of a logical block of a block device; 512 for a file. */
  readonly logicalBlockBytes: number;
  /** Major and minor number of a block device itself, or of the device a file lies on. */
  readonly device: readonly [number, number];
}

/**
 * Opens a file or block device.
 *
 * @returns A file descriptor.
 * @throws {SystemError} With open(2)'s reason.
 */
export function openFile(path: string, options: OpenOptions): number {
  const { mode = 0o644 } = options;
  const flags = (options.readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC |
    (options.direct === true ? O_DIRECT : 0) |
    (options.create === true ? O_CREAT | O_EXCL : 0) |
    (options.exclusive === true ? O_EXCL : 0) |
    (options.nonBlocking === true ? O_NONBLOCK : 0);
  return check(libc.open(new TextEncoder().encode(`${path}\0`), flags, mode), `Open "${path}"`);
}

/** Closes a descriptor. */
export function closeFile(fd: number): void {
  libc.close(fd);
}

/**
 * Lets go of what a descriptor stands for, and lets it stand for /dev/null: another thread may still
 * use its number.
 */
export function abandonFile(fd: number): void {
  moveDescriptor(openFile("/dev/null", { readOnly: false }), fd);
}

/** Gives a descriptor another number; what that one stood for is closed. */
export function moveDescriptor(fd: number, to: number): void {
  check(libc.dup3(fd, to, O_CLOEXEC), "Replace a descriptor");
  closeFile(fd);
}

/**
 * Second descriptors of what some stand for, which programs started from here inherit. Their
 * numbers ascend.
 */
export function duplicateForChild(fds: readonly number[]): number[] {
  const duplicates: number[] = [];
  for (const fd of fds) {
    const least = (duplicates.at(-1) ?? -1) + 1;
    duplicates.push(check(libc.fcntl(fd, F_DUPFD, least), "Duplicate a descriptor"));
  }
  return duplicates;
}

/** A pipe(2), kept from programs started from here: the end that reads and the end that writes. */
export function openPipe(): [reader: number, writer: number] {
  const fds = new Int32Array(2);
  check(libc.pipe2(fds, O_CLOEXEC), "Make a pipe");
  return [fds[0]!, fds[1]!];
}

/** Keeps an inherited descriptor from programs started from here. */
export function keepFromChildren(fd: number): void {
  check(libc.fcntl(fd, F_SETFD, FD_CLOEXEC), "Keep a descriptor");
}

/**
 * Reads kind and sizes of an open file.
 *
 * @param options `known`: as far as this host knows, without asking a server.
 */
export function fileStatus(fd: number, options: { readonly known?: boolean } = {}): FileStatus {
  const buffer = new Uint8Array(STATX_BYTES);
  const mask = STATX_BASIC_STATS | STATX_DIOALIGN;
  const flags = AT_EMPTY_PATH | (options.known === true ? AT_STATX_DONT_SYNC : 0);
  check(libc.statx(fd, new Uint8Array(1), flags, mask, buffer), "Read a file's status");
  const view = new DataView(buffer.buffer);
  const type = view.getUint16(28, true) & S_IFMT;
  const block = type === S_IFBLK;
  return {
    kind: type === S_IFREG ? "file" : block ? "block device" : "other",
    bytes: block ? blockDeviceBytes(fd) : Number(view.getBigUint64(40, true)),
    allocatedBytes: block ? 0 : Number(view.getBigUint64(48, true)) * 512,
    directMemoryAlignment: view.getUint32(152, true),
    directOffsetAlignment: view.getUint32(156, true),
    physicalBlockBytes: block ? ioctlInt(fd, BLKPBSZGET, 512) : 512,
    logicalBlockBytes: block ? ioctlInt(fd, BLKSSZGET, 512) : 512,
    device: block
      ? [view.getUint32(128, true), view.getUint32(132, true)]
      : [view.getUint32(136, true), view.getUint32(140, true)],
  };
}

/** What names a file, whatever paths lead to it. */
export interface FileIdentity {
  /** Of the file system that it lies on. */
  readonly device: readonly [number, number];
  readonly inode: bigint;
  /** Numbers of the device that it stands for; undefined when it is no block device. */
  readonly stands: readonly [number, number] | undefined;
  /** How many names lead to it: none once it was deleted. */
  readonly links: number;
}

/**
 * What a path or an open file names, as far as this host knows, without asking a server.
 *
 * @returns Undefined when there is none, or it cannot be looked at.
 */
export function fileIdentity(file: string | number): FileIdentity | undefined {
  const buffer = new Uint8Array(STATX_BYTES);
  const path = new TextEncoder().encode(typeof file === "string" ? `${file}\0` : "\0");
  const [folder, flags] = typeof file === "string" ? [AT_FDCWD, 0] : [file, AT_EMPTY_PATH];
  const how = flags | AT_STATX_DONT_SYNC;
  if (libc.statx(folder, path, how, STATX_BASIC_STATS, buffer) < 0) return undefined;
  const view = new DataView(buffer.buffer);
  return {
    device: [view.getUint32(136, true), view.getUint32(140, true)],
    inode: view.getBigUint64(32, true),
    stands: (view.getUint16(28, true) & S_IFMT) === S_IFBLK
      ? [view.getUint32(128, true), view.getUint32(132, true)]
      : undefined,
    links: view.getUint32(16, true),
  };
}

/** Whether a block device refuses every write, as its driver or `blockdev --setro` has it. */
export function isReadOnlyDevice(fd: number): boolean {
  return ioctlInt(fd, BLKROGET, 0) !== 0;
}

/**
 * Whether a file lies on a file system that waits for a server even when it was asked not to
 * block: FUSE and the network ones (linux/magic.h).
 */
export function isRemoteFile(fd: number): boolean {
  return liesOn(fd, REMOTE_MAGICS);
}

/** Whether a file lies in memory and nowhere else, where no disk is waited for. */
export function isMemoryFile(fd: number): boolean {
  return liesOn(fd, MEMORY_MAGICS);
}

/** Whether the file system of a file is one of those that have these numbers. */
function liesOn(fd: number, magics: readonly number[]): boolean {
  const buffer = new Uint8Array(STATFS_BYTES);
  if (libc.fstatfs(fd, buffer) < 0) return false;
  return magics.includes(new DataView(buffer.buffer).getUint32(0, true));
}

/**
 * Room that the file system of a file has left.
 *
 * @returns In bytes: what everybody may take, and with it what is kept for root; Infinity when it
 * does not tell.
 */
export function freeBytes(fd: number): { readonly forAll: number; readonly atMost: number } {
  const buffer = new Uint8Array(STATFS_BYTES);
  if (libc.fstatfs(fd, buffer) < 0) return { forAll: Infinity, atMost: Infinity };
  const view = new DataView(buffer.buffer);
  // struct statfs: f_bfree at 24, f_bavail at 32, f_frsize at 72, on every 64-bit architecture.
  const bytes = (at: number) => Number(view.getBigUint64(at, true) * view.getBigUint64(72, true));
  return { forAll: bytes(32), atMost: bytes(24) };
}

function blockDeviceBytes(fd: number): number {
  const size = new Uint8Array(8);
  check(libc.ioctl(fd, BigInt(BLKGETSIZE64), size), "Read a block device's size");
  return Number(new DataView(size.buffer).getBigUint64(0, true));
}

function ioctlInt(fd: number, request: number, otherwise: number): number {
  const value = new Uint8Array(4);
  if (libc.ioctl(fd, BigInt(request), value) < 0) return otherwise;
  return new DataView(value.buffer).getInt32(0, true);
}

/**
 * Locks a whole file against every other holder of such a lock; it ends with the descriptor.
 *
 * @param shared Other shared holders are welcome.
 * @returns False when somebody else holds it.
 */
export function lockFile(fd: number, shared: boolean): boolean {
  return libc.flock(fd, shared ? LOCK_SHARED_NONBLOCK : LOCK_EXCLUSIVE_NONBLOCK) === 0;
}

/** Sets a file's length; what is added reads as zeros and takes no room. */
export function truncateFile(fd: number, bytes: number): void {
  check(libc.ftruncate(fd, BigInt(bytes)), "Set a file's length");
}

/**
 * Reads at an offset into the memory that iovecs describe.
 *
 * @param offsets The offset stands in `offsets[at]`. A 64-bit parameter takes a BigInt only on
 * the compiled call path; the one made here is all the garbage there is.
 * @returns Bytes read, 0 at the end of the file, or −errno.
 */
export function readAt(
  fd: number,
  iovecs: Pointer,
  count: number,
  offsets: BigInt64Array,
  at: number,
): number {
  return resultOf(libc.preadv(fd, iovecs, count, offsets[at]!));
}

/**
 * Writes at an offset, as in `readAt`, from the memory that iovecs describe.
 *
 * @param stable Return only once the data are on stable storage (RWF_DSYNC).
 * @returns Bytes written, or −errno.
 */
export function writeAt(
  fd: number,
  iovecs: Pointer,
  count: number,
  offsets: BigInt64Array,
  at: number,
  stable: boolean,
): number {
  return resultOf(libc.pwritev2(fd, iovecs, count, offsets[at]!, stable ? RWF_DSYNC : 0));
}

/**
 * Reads as `readAt` what is in the page cache, and nothing else: preadv2(2) with RWF_NOWAIT.
 *
 * @returns Bytes read, less than wanted where the cache ends, or −errno: EAGAIN when nothing is
 * there, EOPNOTSUPP where the file system cannot tell.
 */
export function readCached(
  fd: number,
  iovecs: Pointer,
  count: number,
  offsets: BigInt64Array,
  at: number,
): number {
  return resultOf(libc.preadv2(fd, iovecs, count, offsets[at]!, RWF_NOWAIT));
}

/**
 * Writes one piece of memory at an offset, as in `readAt`.
 *
 * @param bytes A constant made beforehand: a BigInt made for each call would be garbage.
 * @returns Bytes written, or −errno.
 */
export function writeBlock(
  fd: number,
  memory: Pointer,
  bytes: bigint,
  offsets: BigInt64Array,
  at: number,
): number {
  return resultOf(libc.pwrite(fd, memory, bytes, offsets[at]!));
}

const NO_PATH = new Uint8Array(1);
const sizeStatus = new BigInt64Array(STATX_BYTES / 8);

/** Bytes of a file, as far as this host knows; 0 for a device and where it cannot be told. */
export function fileBytes(fd: number): number {
  const flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
  const failed = libc.statx(fd, NO_PATH, flags, STATX_SIZE, sizeStatus) < 0;
  return failed ? 0 : Number(sizeStatus[STATX_SIZE_AT / 8]);
}

/**
 * Gives a file this moment as the time of its last change and access, which writing to mapped pages
 * does not; waits for a file system that is frozen, or hangs. 0 or −errno.
 */
export function touchFile(fd: number): number {
  return resultOf(libc.futimens(fd, null));
}

/** Puts everything written onto stable storage; 0 or −errno. */
export function syncFile(fd: number): number {
  return resultOf(libc.fdatasync(fd));
}

/** Discards a range, which then reads as zeros; 0 or −errno. */
export function punchHole(fd: number, offset: number, bytes: number): number {
  return resultOf(libc.fallocate(fd, PUNCH_HOLE, BigInt(offset), BigInt(bytes)));
}

function resultOf(result: number): number {
  return result < 0 ? -(errno() || 5) : result;
}
