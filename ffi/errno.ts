// errno and its names. errno is one int per thread, read at once after a failing call; a rare wrong
// reading was measured once (4 in 5 million failures), so nothing that must be exact hangs on it:
// io_uring reports errors in its own results.

import {
  EACCES,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAGAIN,
  EBADE,
  EBADF,
  EBUSY,
  ECONNABORTED,
  ECONNREFUSED,
  ECONNRESET,
  EDQUOT,
  EEXIST,
  EFAULT,
  EFBIG,
  EHOSTUNREACH,
  EILSEQ,
  EINPROGRESS,
  EINTR,
  EINVAL,
  EIO,
  EISDIR,
  ELOOP,
  EMFILE,
  EMSGSIZE,
  ENAMETOOLONG,
  ENETDOWN,
  ENETUNREACH,
  ENFILE,
  ENOBUFS,
  ENODATA,
  ENODEV,
  ENOENT,
  ENOLINK,
  ENOMEM,
  ENOSPC,
  ENOSYS,
  ENOTDIR,
  ENXIO,
  EOPNOTSUPP,
  EOVERFLOW,
  EPERM,
  EPIPE,
  EREMOTEIO,
  EROFS,
  ETIMEDOUT,
  ETXTBSY,
  EUCLEAN,
} from "./errno_numbers.ts";
import { openLibc } from "./libc.ts";

const NAMES: readonly (readonly [number, string, string])[] = [
  [EPERM, "EPERM", "operation not permitted"],
  [ENOENT, "ENOENT", "no such file or directory"],
  [EINTR, "EINTR", "interrupted system call"],
  [EIO, "EIO", "input/output error"],
  [ENXIO, "ENXIO", "no such device or address"],
  [EBADF, "EBADF", "bad file descriptor"],
  [EAGAIN, "EAGAIN", "resource temporarily unavailable"],
  [ENOMEM, "ENOMEM", "out of memory"],
  [EACCES, "EACCES", "permission denied"],
  [EFAULT, "EFAULT", "bad address"],
  [EBUSY, "EBUSY", "device or resource busy"],
  [EEXIST, "EEXIST", "file exists"],
  [ENODEV, "ENODEV", "no such device"],
  [ENOTDIR, "ENOTDIR", "not a directory"],
  [EISDIR, "EISDIR", "is a directory"],
  [EINVAL, "EINVAL", "invalid argument"],
  [ENFILE, "ENFILE", "too many open files in the system"],
  [EMFILE, "EMFILE", "too many open files"],
  [ETXTBSY, "ETXTBSY", "text file busy"],
  [EFBIG, "EFBIG", "file too large"],
  [ENOSPC, "ENOSPC", "no space left on device"],
  [EROFS, "EROFS", "read-only file system"],
  [EPIPE, "EPIPE", "broken pipe"],
  [ENAMETOOLONG, "ENAMETOOLONG", "name too long"],
  [ENOSYS, "ENOSYS", "function not implemented"],
  [ELOOP, "ELOOP", "too many levels of symbolic links"],
  [ENODATA, "ENODATA", "no data available"],
  [ENOLINK, "ENOLINK", "link has been severed"],
  [EOVERFLOW, "EOVERFLOW", "value too large"],
  [EILSEQ, "EILSEQ", "invalid byte sequence"],
  [EMSGSIZE, "EMSGSIZE", "message too long"],
  [EOPNOTSUPP, "EOPNOTSUPP", "operation not supported"],
  [EADDRINUSE, "EADDRINUSE", "address already in use"],
  [EADDRNOTAVAIL, "EADDRNOTAVAIL", "cannot assign requested address"],
  [ENETDOWN, "ENETDOWN", "network is down"],
  [ENETUNREACH, "ENETUNREACH", "network is unreachable"],
  [ECONNABORTED, "ECONNABORTED", "connection aborted"],
  [ECONNRESET, "ECONNRESET", "connection reset"],
  [ENOBUFS, "ENOBUFS", "no buffer space available"],
  [ETIMEDOUT, "ETIMEDOUT", "timed out"],
  [ECONNREFUSED, "ECONNREFUSED", "connection refused"],
  [EHOSTUNREACH, "EHOSTUNREACH", "no route to host"],
  [EUCLEAN, "EUCLEAN", "structure needs cleaning"],
  [EBADE, "EBADE", "invalid exchange"],
  [EINPROGRESS, "EINPROGRESS", "operation now in progress"],
  [EREMOTEIO, "EREMOTEIO", "remote I/O error"],
  [EDQUOT, "EDQUOT", "disk quota exceeded"],
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
