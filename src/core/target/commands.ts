// The commands in the frames of one worker: beside each frame stand the few facts about the command in
// it, in tables by its number. Offsets and addresses are handed on as such numbers: V8 boxes a double
// at every call that it does not inline, and a box for each frame is garbage.

import { ATA_DATA } from "../../wire/ata.ts";
import { NONE } from "../tables.ts";
import type { FramePool } from "./frames.ts";

/** The answer's data are gathered from the page cache as it is sent. */
export const FRAME_GATHERED = 1;
/** Not to be merged with neighbours, nor gathered: the first attempt failed. */
export const FRAME_ALONE = 2;
/** The answer waits for stable storage. */
export const FRAME_STABLE = 4;
/** The disk was told to complete it on stable storage only. */
export const FRAME_ALREADY_STABLE = 8;
/** Not through O_DIRECT. */
export const FRAME_BUFFERED = 16;
/** No room was what its stable write was told: itself, or of what was written back before it. */
export const FRAME_DOUBTED = 32;

/** In place of a link's number: the interface was taken away, and nobody is answered. */
export const LINK_GONE = 255;

/** What is known of the command in each frame. */
export class TargetCommands {
  readonly exportOf: Uint16Array;
  /** Number of the link that it came by, or `LINK_GONE`. */
  readonly linkOf: Uint8Array;
  /** What the disk is to do: a DRIVE constant. */
  readonly operation: Uint8Array;
  readonly sectors: Uint16Array;
  /** Byte offset in the backing file, and bytes to transfer. */
  readonly offset: Float64Array;
  readonly byteCount: Int32Array;
  /** Where what is to be written lies in the pool's memory: in the frame, or in a slot of a link. */
  readonly dataAt: Int32Array;
  /** Address that an answer's data are gathered from, or that a write's are stored to. */
  readonly gatherAddress: Float64Array;
  /** Bytes already transferred of a command that the disk did in part; the range of a TRIM. */
  readonly progress: Int32Array;
  /** Flags above. */
  readonly flags: Uint8Array;
  /** The next frame of a merged operation, `NONE` at its end. */
  readonly next: Int32Array;
  /** A repetition of the command, which is answered with it, or `NONE`; one may follow another. */
  readonly repetition: Int32Array;

  /** @param frames Of the pool. */
  constructor(frames: number) {
    this.exportOf = new Uint16Array(frames);
    this.linkOf = new Uint8Array(frames);
    this.operation = new Uint8Array(frames);
    this.sectors = new Uint16Array(frames);
    this.offset = new Float64Array(frames);
    this.byteCount = new Int32Array(frames);
    this.dataAt = new Int32Array(frames);
    this.gatherAddress = new Float64Array(frames);
    this.progress = new Int32Array(frames);
    this.flags = new Uint8Array(frames);
    this.next = new Int32Array(frames);
    this.repetition = new Int32Array(frames).fill(NONE);
  }
}

/**
 * Moves the data of a command into its frame, unless they lie there: what outlives the step in which
 * it came does not lie in a slot of its link.
 *
 * @param bytes Of the data.
 */
export function keepData(
  pool: FramePool,
  commands: TargetCommands,
  frame: number,
  bytes: number,
): void {
  const own = pool.start(frame) + ATA_DATA;
  const from = commands.dataAt[frame]!;
  if (from === own) return;
  pool.bytes.copyWithin(own, from, from + bytes);
  commands.dataAt[frame] = own;
}
