// errno and its names. errno is one int per thread, read at once after a failing call; a rare wrong
// reading was measured once (4 in 5 million failures), so nothing that must be exact hangs on it:
// io_uring reports errors in its own results.

import { openLibc } from "./libc.ts";

// asm-generic/errno-base.h and errno.h; the same on x86_64 and aarch64.
export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const EAGAIN = 11;
export const ENODEV = 19;
export const EINVAL = 22;
export const EFBIG = 27;
export const ENOSPC = 28;
export const ENOSYS = 38;
export const EOPNOTSUPP = 95;
export const ECONNABORTED = 103;
export const ENOBUFS = 105;
export const EREMOTEIO = 121;
export const EDQUOT = 122;

const NAMES: readonly (readonly [number, string, string])[] = [
  [1, "EPERM", "operation not permitted"],
  [2, "ENOENT", "no such file or directory"],
  [4, "EINTR", "interrupted system call"],
  [5, "EIO", "input/output error"],
  [6, "ENXIO", "no such device or address"],
  [9, "EBADF", "bad file descriptor"],
  [11, "EAGAIN", "resource temporarily unavailable"],
  [12, "ENOMEM", "out of memory"],
  [13, "EACCES", "permission denied"],
  [14, "EFAULT", "bad address"],
  [16, "EBUSY", "device or resource busy"],
  [17, "EEXIST", "file exists"],
  [19, "ENODEV", "no such device"],
  [20, "ENOTDIR", "not a directory"],
  [21, "EISDIR", "is a directory"],
  [22, "EINVAL", "invalid argument"],
  [23, "ENFILE", "too many open files in the system"],
  [24, "EMFILE", "too many open files"],
  [26, "ETXTBSY", "text file busy"],
  [27, "EFBIG", "file too large"],
  [28, "ENOSPC", "no space left on device"],
  [30, "EROFS", "read-only file system"],
  [32, "EPIPE", "broken pipe"],
  [36, "ENAMETOOLONG", "name too long"],
  [38, "ENOSYS", "function not implemented"],
  [40, "ELOOP", "too many levels of symbolic links"],
  [61, "ENODATA", "no data available"],
  [67, "ENOLINK", "link has been severed"],
  [75, "EOVERFLOW", "value too large"],
  [84, "EILSEQ", "invalid byte sequence"],
  [90, "EMSGSIZE", "message too long"],
  [95, "EOPNOTSUPP", "operation not supported"],
  [98, "EADDRINUSE", "address already in use"],
  [99, "EADDRNOTAVAIL", "cannot assign requested address"],
  [100, "ENETDOWN", "network is down"],
  [101, "ENETUNREACH", "network is unreachable"],
  [103, "ECONNABORTED", "connection aborted"],
  [104, "ECONNRESET", "connection reset"],
  [105, "ENOBUFS", "no buffer space available"],
  [110, "ETIMEDOUT", "timed out"],
  [111, "ECONNREFUSED", "connection refused"],
  [113, "EHOSTUNREACH", "no route to host"],
  [117, "EUCLEAN", "structure needs cleaning"],
  [121, "EREMOTEIO", "remote I/O error"],
  [122, "EDQUOT", "disk quota exceeded"],
];

const libc = openLibc(
  {
    // int *__errno_location(void)
    __errno_location: { parameters: [], result: "pointer" },
  } as const,
);

// The int belongs to this thread and lives as long as the thread does; each Worker evaluates this
// module for itself.
const errnoOfThread = new Int32Array(
  Deno.UnsafePointerView.getArrayBuffer(libc.__errno_location()!, 4),
);

/** The error of the last failing call of this thread. */
export function errno(): number {
  return errnoOfThread[0]!;
}

/** `EIO` for 5; `errno 4711` for a number without a name here. */
function errnoName(code: number): string {
  return NAMES.find(([number]) => number === code)?.[1] ?? `errno ${code}`;
}

/** `input/output error (EIO)`. */
export function errnoText(code: number): string {
  const text = NAMES.find(([number]) => number === code)?.[2];
  return text === undefined ? `errno ${code}` : `${text} (${errnoName(code)})`;
}

/** A system call that failed. */
export class SystemError extends Error {
  override name = "SystemError";
  /** errno. */
  readonly code: number;

  /** @param what The call and its object, as in `open "disk.img"`. */
  constructor(what: string, code: number) {
    super(`${what}: ${errnoText(code)}`);
    this.code = code;
  }
}

/**
 * Passes a result of a system call through.
 *
 * @throws {SystemError} When it is negative.
 */
export function check(result: number, what: string): number {
  if (result < 0) throw new SystemError(what, errno());
  return result;
}
