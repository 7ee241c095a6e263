// What a copy is told and what it tells: plain values, since they cross threads.

import type { ChecksumName } from "./checksum.ts";
import type { CopyFailure } from "./end.ts";

// What the driver does now, in the counter of phases.
export const PHASE_CONNECTING = 0;
export const PHASE_SUMMING = 1;
export const PHASE_COPYING = 2;
export const PHASE_FLUSHING = 3;
export const PHASE_VERIFYING = 4;

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

/** What to copy. */
export interface CopyConfig {
  readonly kind: "copy";
  readonly source: CopyEndConfig;
  readonly destination: CopyEndConfig;
  readonly sourceOffset: number;
  readonly destinationOffset: number;
  /** Undefined: all there is. */
  readonly bytes: number | undefined;
  /** So much has been copied before. */
  readonly resumeAt: number;
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
  /** Bytes of this run that were zeros and not written. */
  readonly zeroBytes: number;
  /** Of the bytes from `checksumFrom` on, in hex; empty without one. */
  readonly checksum: string;
  readonly checksumFrom: number;
  /** Of copying and flushing, without looking for the target and reading back. */
  readonly seconds: number;
}

/** What the thread tells. */
export type CopyMessage =
  | { readonly kind: "ready"; readonly serials: readonly string[]; readonly bytes: number }
  | { readonly kind: "note"; readonly text: string }
  | CopyResult;
