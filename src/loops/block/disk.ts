// A remote disk as a block device's front end and main thread know it: what it is, what its thread
// is told and tells, and the errno of each failure.

import {
  RESULT_BEYOND_END,
  RESULT_CLOSED,
  RESULT_DEVICE_FAULT,
  RESULT_MEDIUM_ERROR,
  RESULT_RESERVED,
  RESULT_TIMEOUT,
  RESULT_UNAVAILABLE,
  RESULT_UNSUPPORTED,
  RESULT_WRITES_LOST,
} from "../../core/initiator/results.ts";
import type { DiskTraits } from "../../core/block/disk_traits.ts";
import {
  EBADE,
  EIO,
  ENODATA,
  ENOLINK,
  EOPNOTSUPP,
  EREMOTEIO,
  ETIMEDOUT,
} from "../../../ffi/errno_numbers.ts";

// errno.h; those that Linux's block layer passes on (block/blk-core.c, blk_errors).
/** Writing to what is read-only. */

/** What the front end and the main thread know of a disk that has shown itself. */
export interface BlockDisk extends DiskTraits {
  readonly serial: string;
  readonly model: string;
  /** See wire/incarnation.ts; 0 when the target names none. */
  readonly incarnation: number;
}

/** One path, for people. */
export interface BlockPath {
  readonly interface: string;
  readonly mac: string;
  readonly state: "up" | "lost";
  readonly frameBytes: number;
}

/** What a block device's thread tells. */
export type BlockMessage =
  | { readonly kind: "connected"; readonly disk: BlockDisk; readonly paths: readonly BlockPath[] }
  | { readonly kind: "note"; readonly text: string }
  /** The thread may have to wait for its own disk when memory is short. */
  | { readonly kind: "unguarded"; readonly text: string }
  /** The disk answers (again), or does not; by these paths. */
  | { readonly kind: "paths"; readonly up: boolean; readonly paths: readonly BlockPath[] }
  /** What the interfaces are called now, in the order in which they were given. */
  | { readonly kind: "interfaces"; readonly names: readonly string[] }
  | { readonly kind: "resized"; readonly bytes: number }
  /** The target's process is another one. */
  | { readonly kind: "restarted" }
  /** Whether writes were lost before this incarnation has been told, or none were. */
  | { readonly kind: "settled"; readonly incarnation: number }
  | { readonly kind: "ended"; readonly failure: string | undefined };

/** What every front end is told. */
export interface BlockConfig {
  /** The user wants it read-only, whatever the export is. */
  readonly readOnly: boolean;
  /** How long the disk may take to show itself; Infinity: as long as it wants. */
  readonly connectMs: number;
  /** The disk as an earlier process knew it, which was killed; undefined when there was none. */
  readonly before: BlockDisk | undefined;
  /** How long that one's frames may still be on their way. */
  readonly resumeAfterMs: number;
}

/** The errno for a result, of those that the block layer passes on to whoever reads or writes. */
export function errnoOf(result: number): number {
  switch (result) {
    case RESULT_TIMEOUT:
      return ETIMEDOUT;
    case RESULT_RESERVED:
      return EBADE;
    case RESULT_MEDIUM_ERROR:
      return ENODATA;
    case RESULT_UNSUPPORTED:
      return EOPNOTSUPP;
    case RESULT_UNAVAILABLE:
    case RESULT_CLOSED:
      return ENOLINK;
    case RESULT_BEYOND_END:
    case RESULT_DEVICE_FAULT:
    case RESULT_WRITES_LOST:
      return EIO;
    default:
      // The target refused; the event that tells of it has its registers.
      return EREMOTEIO;
  }
}
