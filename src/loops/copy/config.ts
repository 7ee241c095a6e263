// What a copy is told and what it tells: plain values, since they cross threads.

import type { ChecksumName } from "./checksum.ts";
import type { CopyFailure } from "./end.ts";

// What the driver does now, in the counter of phases.
export const PHASE_CONNECTING = 0;
export const PHASE_PROVING = 1;
export const PHASE_COPYING = 2;
export const PHASE_FLUSHING = 3;
export const PHASE_READING_AGAIN = 4;
export const PHASE_VERIFYING = 5;

/** A remote disk, by its index in the loop's config, or a local file. */
export type CopyEndConfig =
  | { readonly disk: number }
  | {
    readonly disk: undefined;
    readonly fd: number;
    /** For messages. */
    readonly name: string;
    readonly kind: "file" | "block device" | "stream";
    /** Undefined for a stream. */
    readonly bytes: number | undefined;
    /** The file was not there before. */
    readonly made?: true;
  };

/** What a disk on the network is known again by. */
export interface DiskMark {
  readonly serial: string;
  readonly model: string;
  readonly bytes: number;
}

/** What an earlier run has put onto stable storage. */
export interface CopiedBefore {
  /** Bytes from the beginning. */
  readonly done: number;
  /** Their CRC-32. */
  readonly crc32: number;
  /** The remote disks, by their index in the loop's config. */
  readonly disks: readonly DiskMark[];
}

/** What to copy. */
export interface CopyConfig {
  readonly kind: "copy";
  readonly source: CopyEndConfig;
  readonly destination: CopyEndConfig;
  readonly sourceOffset: number;
  readonly destinationOffset: number;
  /** Undefined: all there is. */
  readonly bytes: number | undefined;
  /** To go on there, if it can be proved that it is so still. */
  readonly before: CopiedBefore | undefined;
  /** A source of the same mark is not read again to prove that. */
  readonly trustSource: boolean;
  /** One i32, which the main thread sets once it has remembered that the copy begins. */
  readonly go: SharedArrayBuffer;
  /** What has been copied is flushed and told so often; Infinity: only the end counts. */
  readonly tellEveryMs: number;
  /** The destination, a file, is to hold nothing else. */
  readonly truncate: boolean;
  readonly verify: boolean;
  readonly sparse: boolean;
  readonly checksum: ChecksumName;
  readonly uring: boolean;
  /** How long a remote end may take to show itself. */
  readonly connectMs: number;
}

/** How a copy ended. */
export interface CopyResult {
  readonly kind: "copied";
  readonly failure: CopyFailure | undefined;
  readonly stopped: boolean;
  /** Bytes that are there, those of earlier runs included. */
  readonly bytes: number;
  /** Whether they are on stable storage. */
  readonly flushed: boolean;
  readonly verified: boolean;
  /** `verified` by reading the source again, which a stream does not allow. */
  readonly sourceReadAgain: boolean;
  /** Bytes of this run that were zeros and not written. */
  readonly zeroBytes: number;
  /** In hex; empty without one. */
  readonly checksum: string;
  /** Of copying and flushing, without looking for the target and reading back. */
  readonly seconds: number;
}

/** What the thread tells. */
export type CopyMessage =
  /** What was copied before is proved; nothing is written until \`go\` says so. */
  | { readonly kind: "ready"; readonly disks: readonly DiskMark[] }
  /** So much is on stable storage, with this checksum. */
  | { readonly kind: "stable"; readonly done: number; readonly crc32: number }
  | { readonly kind: "note"; readonly text: string }
  | CopyResult;
