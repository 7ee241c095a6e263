// How a request of the initiator ends: one number on the hot path, one row of words and an errno
// for everybody else. AoE errors and ATA registers are narrowed here and nowhere else.

import {
  ERROR_BAD_ARGUMENT,
  ERROR_CONFIG_PRESENT,
  ERROR_DEVICE_UNAVAILABLE,
  ERROR_RESERVED,
  ERROR_UNRECOGNIZED_COMMAND,
  ERROR_UNSUPPORTED_VERSION,
} from "../../wire/aoe.ts";
import {
  ATA_ERROR_ABRT,
  ATA_ERROR_IDNF,
  ATA_ERROR_UNC,
  ATA_STATUS_DF,
  ATA_STATUS_ERR,
} from "../../wire/ata.ts";

export const RESULT_OK = 0;
/** No answer within `deadAfterMs`. */
export const RESULT_TIMEOUT = 1;
/** AoE error 6. */
export const RESULT_RESERVED = 2;
/** ATA UNC: the sectors cannot be read. */
export const RESULT_MEDIUM_ERROR = 3;
/** ATA ABRT: refused, for example a write to a read-only export. */
export const RESULT_ABORTED = 4;
/** Past the last sector: found here, or ATA IDNF. */
export const RESULT_BEYOND_END = 5;
/** ATA DF, ICRC, BSY or DRQ: the drive broke off. */
export const RESULT_DEVICE_FAULT = 6;
/** The target cannot do it: AoE error 1, or a discard without TRIM. */
export const RESULT_UNSUPPORTED = 7;
/** AoE error 2. */
export const RESULT_BAD_ARGUMENT = 8;
/** AoE error 3. */
export const RESULT_UNAVAILABLE = 9;
/** AoE error 4. */
export const RESULT_CONFIG_PRESENT = 10;
/** AoE error 5. */
export const RESULT_VERSION = 11;
/** A flush found that the target restarted after it had answered writes: they may be gone. */
export const RESULT_WRITES_LOST = 12;
/** `close` was called before the request could end. */
export const RESULT_CLOSED = 13;
/** An AoE error that the specification does not know. */
export const RESULT_UNKNOWN_ERROR = 14;

/** A result in words. */
export interface ResultDescription {
  /** Stable name for programs: `Timeout`. */
  readonly name: string;
  /** Linux errno name, what a block device or NBD server answers with. */
  readonly errno: string;
  /** One sentence, without a final period. */
  readonly words: string;
}

const DESCRIPTIONS: readonly ResultDescription[] = [
  { name: "Ok", errno: "", words: "Done" },
  { name: "Timeout", errno: "ETIMEDOUT", words: "The target did not answer in time" },
  { name: "Reserved", errno: "EBUSY", words: "The target is reserved by another initiator" },
  { name: "MediumError", errno: "ENODATA", words: "The target cannot read these sectors" },
  { name: "Aborted", errno: "EREMOTEIO", words: "The target refused the command" },
  { name: "BeyondEnd", errno: "ERANGE", words: "The sectors lie beyond the end of the disk" },
  { name: "DeviceFault", errno: "EIO", words: "The target's disk failed" },
  { name: "Unsupported", errno: "EOPNOTSUPP", words: "The target does not know the command" },
  { name: "BadArgument", errno: "EINVAL", words: "The target found an argument wrong" },
  { name: "Unavailable", errno: "ENXIO", words: "The target's device is not available" },
  { name: "ConfigPresent", errno: "EEXIST", words: "A config string is set already" },
  { name: "Version", errno: "EPROTONOSUPPORT", words: "The target speaks another AoE version" },
  {
    name: "WritesLost",
    errno: "EIO",
    words: "The target restarted and may have lost answered writes that were not flushed",
  },
  { name: "Closed", errno: "ECANCELED", words: "The session was closed" },
  { name: "UnknownError", errno: "EPROTO", words: "The target answered with an unknown error" },
];

/** Name, errno and sentence of a result code. */
export function describeResult(result: number): ResultDescription {
  const description = DESCRIPTIONS[result];
  if (description === undefined) throw new RangeError(`Unknown result ${result}`);
  return description;
}

/** The result that an AoE error byte stands for. */
export function resultOfAoeError(error: number): number {
  switch (error) {
    case ERROR_UNRECOGNIZED_COMMAND:
      return RESULT_UNSUPPORTED;
    case ERROR_BAD_ARGUMENT:
      return RESULT_BAD_ARGUMENT;
    case ERROR_DEVICE_UNAVAILABLE:
      return RESULT_UNAVAILABLE;
    case ERROR_CONFIG_PRESENT:
      return RESULT_CONFIG_PRESENT;
    case ERROR_UNSUPPORTED_VERSION:
      return RESULT_VERSION;
    case ERROR_RESERVED:
      return RESULT_RESERVED;
    default:
      return RESULT_UNKNOWN_ERROR;
  }
}

/** BSY, DF, DRQ, ERR: the bits that the Linux driver takes for a failure, too. */
const STATUS_FAILED = 0xa9;

/**
 * The result that the status and error registers of a response stand for.
 *
 * @param status Byte 27 of the frame.
 * @param error Byte 25 of the frame.
 */
export function resultOfAta(status: number, error: number): number {
  if ((status & STATUS_FAILED) === 0) return RESULT_OK;
  if ((status & ATA_STATUS_DF) !== 0) return RESULT_DEVICE_FAULT;
  if ((status & ATA_STATUS_ERR) === 0) return RESULT_DEVICE_FAULT;
  if ((error & ATA_ERROR_UNC) !== 0) return RESULT_MEDIUM_ERROR;
  if ((error & ATA_ERROR_IDNF) !== 0) return RESULT_BEYOND_END;
  if ((error & ATA_ERROR_ABRT) !== 0) return RESULT_ABORTED;
  return RESULT_DEVICE_FAULT;
}
