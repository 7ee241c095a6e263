// What an NBD server offers of a disk, and which requests it refuses, all in one place.

import {
  type BlockSizes,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_ENOTSUP,
  NBD_EPERM,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_ROTATIONAL,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from "../../wire/nbd.ts";
import type { DiskTraits } from "../block/disk_traits.ts";

/** Requests begin and end on sectors, which is all that AoE knows. */
const BLOCK_BYTES_MIN = 512;
const BLOCK_BYTES_PREFERRED = 4096;
/** Bytes of data in one request; the specification's limit where none was agreed on. */
export const NBD_DATA_BYTES_MAX = 32 * 2 ** 20;

/** A disk as an NBD server offers it. */
export interface NbdExport {
  readonly bytes: number;
  /** Transmission flags, without NBD_FLAG_SEND_DF. */
  readonly flags: number;
  readonly sizes: BlockSizes;
}

/** The offer for a disk. */
export function nbdExport(disk: DiskTraits): NbdExport {
  let flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_CAN_MULTI_CONN;
  if (disk.rotational) flags |= NBD_FLAG_ROTATIONAL;
  if (disk.readOnly) {
    flags |= NBD_FLAG_READ_ONLY;
  } else {
    flags |= NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_WRITE_ZEROES;
    if (disk.discard) flags |= NBD_FLAG_SEND_TRIM;
    if (disk.discardsAreZero) flags |= NBD_FLAG_SEND_FAST_ZERO;
  }
  return {
    bytes: disk.bytes,
    flags,
    sizes: {
      min: BLOCK_BYTES_MIN,
      preferred: Math.max(BLOCK_BYTES_PREFERRED, disk.physicalBlockBytes),
      max: NBD_DATA_BYTES_MAX,
    },
  };
}

/** The command flags that a command may carry; undefined for an unknown command. */
function flagsOf(command: number): number | undefined {
  switch (command) {
    case NBD_CMD_READ:
      // FUA means nothing for commands that write nothing, and is allowed with all of them.
      return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_DF;
    case NBD_CMD_WRITE:
    case NBD_CMD_FLUSH:
    case NBD_CMD_TRIM:
      return NBD_CMD_FLAG_FUA;
    case NBD_CMD_WRITE_ZEROES:
      return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
    case NBD_CMD_BLOCK_STATUS:
      return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE;
    default:
      return undefined;
  }
}

/**
 * Why a request is refused.
 *
 * @param flags Command flags.
 * @param blockStatus Whether the client has agreed on base:allocation.
 * @returns An NBD error; 0 when the request can be done.
 */
export function nbdRefusal(
  disk: NbdExport,
  command: number,
  flags: number,
  offset: number,
  bytes: number,
  blockStatus: boolean,
): number {
  const flagsAllowed = flagsOf(command);
  if (flagsAllowed === undefined || (flags & ~flagsAllowed) !== 0) return NBD_EINVAL;
  if (command === NBD_CMD_FLUSH) return offset === 0 && bytes === 0 ? 0 : NBD_EINVAL;
  const writes = command === NBD_CMD_WRITE || command === NBD_CMD_TRIM ||
    command === NBD_CMD_WRITE_ZEROES;
  if (writes && (disk.flags & NBD_FLAG_READ_ONLY) !== 0) return NBD_EPERM;
  if (command === NBD_CMD_BLOCK_STATUS && !blockStatus) return NBD_EINVAL;
  if (bytes === 0 || offset % BLOCK_BYTES_MIN !== 0 || bytes % BLOCK_BYTES_MIN !== 0) {
    return NBD_EINVAL;
  }
  if (offset + bytes > disk.bytes) {
    return command === NBD_CMD_WRITE || command === NBD_CMD_WRITE_ZEROES ? NBD_ENOSPC : NBD_EINVAL;
  }
  const data = command === NBD_CMD_READ || command === NBD_CMD_WRITE;
  if (data && bytes > NBD_DATA_BYTES_MAX) return NBD_EINVAL;
  if (command === NBD_CMD_TRIM && (disk.flags & NBD_FLAG_SEND_TRIM) === 0) return NBD_ENOTSUP;
  if ((flags & NBD_CMD_FLAG_FAST_ZERO) !== 0) {
    // Zeros that keep their room have to be written, which is not fast.
    const fast = (disk.flags & NBD_FLAG_SEND_FAST_ZERO) !== 0 &&
      (flags & NBD_CMD_FLAG_NO_HOLE) === 0;
    if (!fast) return NBD_ENOTSUP;
  }
  return 0;
}
