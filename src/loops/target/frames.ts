// The frames of one worker: one arena, carved at start. The frame is the request: it is received
// here, the disk reads and writes right behind its header, and the response leaves from the same
// bytes. Beside each frame stand the few facts about the command in it, in tables by its number.
// Offsets and addresses are handed on as such numbers: V8 boxes a double at every call that it does
// not inline, and a box for each frame is garbage.

import type { Arena } from "../../../ffi/arena.ts";
import { ATA_DATA } from "../../wire/ata.ts";
import { ETHERNET_HEADER_BYTES } from "../../wire/ethernet.ts";

/** A fixed number of frames and who holds them. */
export class FramePool {
  readonly count: number;
  /** Largest MTU whose frames fit. */
  readonly mtuMax: number;
  readonly arena: Arena;
  /** The whole arena; a frame starts at `start(frame)`. */
  readonly bytes: Uint8Array;

  /** Time of the worker's turn in milliseconds. */
  nowMs = 0;
  /** Frames that this turn has received. */
  batch = 0;

  // The command in each frame.
  readonly exportOf: Uint16Array;
  readonly linkOf: Uint8Array;
  readonly operation: Uint8Array;
  readonly sectors: Uint16Array;
  /** Byte offset in the backing file, and bytes still to transfer from `progress` on. */
  readonly offset: Float64Array;
  /** Address that an answer's data are gathered from. */
  readonly gatherAddress: Float64Array;
  readonly byteCount: Int32Array;
  /** Bytes already transferred of a command that the disk did in part; the range of a TRIM. */
  readonly progress: Int32Array;
  /** Flags below. */
  readonly flags: Uint8Array;
  /** The next frame of a merged operation, −1 at its end. */
  readonly next: Int32Array;

  readonly #first: number;
  readonly #stride: number;
  readonly #data: readonly Deno.PointerValue[];
  readonly #free: Int32Array;
  #freeCount: number;

  /**
   * @param alignment Of a frame's data, in bytes: what O_DIRECT asks for.
   */
  constructor(arena: Arena, count: number, mtuMax: number, alignment: number) {
    this.arena = arena;
    this.bytes = arena.bytes;
    this.count = count;
    this.mtuMax = mtuMax;
    this.#stride = frameStride(mtuMax, alignment);
    const alignedTo = Math.max(alignment, 4096);
    this.#first = arena.allocate(count * this.#stride + alignedTo, alignedTo) + alignedTo -
      ATA_DATA;
    this.#data = Array.from({ length: count }, (_, i) => arena.pointer(this.start(i) + ATA_DATA));
    this.exportOf = new Uint16Array(count);
    this.linkOf = new Uint8Array(count);
    this.operation = new Uint8Array(count);
    this.sectors = new Uint16Array(count);
    this.offset = new Float64Array(count);
    this.gatherAddress = new Float64Array(count);
    this.byteCount = new Int32Array(count);
    this.progress = new Int32Array(count);
    this.flags = new Uint8Array(count);
    this.next = new Int32Array(count);
    this.#free = new Int32Array(count);
    for (let i = 0; i < count; i++) this.#free[i] = count - 1 - i;
    this.#freeCount = count;
  }

  /** Arena bytes of such a pool. */
  static bytes(count: number, mtuMax: number, alignment: number): number {
    return count * frameStride(mtuMax, alignment) + 2 * Math.max(alignment, 4096);
  }

  /** Frames nobody holds. */
  get free(): number {
    return this.#freeCount;
  }

  /** Bytes of the longest frame. */
  get frameBytes(): number {
    return this.mtuMax + ETHERNET_HEADER_BYTES;
  }

  /** Offset of a frame's first byte in `bytes`. */
  start(frame: number): number {
    return this.#first + frame * this.#stride;
  }

  /** Pointer to a frame's data. */
  dataPointer(frame: number): Deno.PointerValue {
    return this.#data[frame]!;
  }

  /** Lets a ring keep the frames' pages pinned. */
  register(queue: { registerBuffer(arena: Arena, at: number, bytes: number): void }): void {
    queue.registerBuffer(this.arena, this.#first, this.count * this.#stride);
  }

  /** Address of a frame's first byte. */
  address(frame: number): number {
    return this.arena.address + this.#first + frame * this.#stride;
  }

  /** Takes a frame; −1 when there is none. The one given back last comes first, as it is warm. */
  take(): number {
    return this.#freeCount === 0 ? -1 : this.#free[--this.#freeCount]!;
  }

  /** Gives a frame back. */
  release(frame: number): void {
    this.#free[this.#freeCount++] = frame;
  }
}

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

/**
 * Distance of two frames. Without O_DIRECT's pages an odd number of 512-byte blocks: headers at one
 * distance of 4096 would all fall into the same set of the first-level cache.
 */
function frameStride(mtuMax: number, alignment: number): number {
  const blocks = Math.ceil((mtuMax + ETHERNET_HEADER_BYTES) / alignment);
  return (alignment === 512 ? blocks | 1 : blocks) * alignment;
}
