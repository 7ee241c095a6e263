// The frames of one worker: one piece of memory, carved at start. The frame is the request: it is
// received here, the disk reads and writes right behind its header, and the response leaves from the
// same bytes.

import { ATA_DATA } from "../../wire/ata.ts";
import { ETHERNET_HEADER_BYTES } from "../../wire/ethernet.ts";
import { FreeStack } from "../tables.ts";

/** Memory that does not move: an arena's, or the simulation's. */
export interface FrameMemory {
  readonly bytes: Uint8Array;
  /** Address of its first byte. */
  readonly address: number;
  /** Sets bytes aside; their offset. */
  allocate(bytes: number, alignment: number): number;
}

/** A fixed number of frames and who holds them. */
export class FramePool {
  readonly count: number;
  /** Largest MTU whose frames fit. */
  readonly mtuMax: number;
  /** The whole memory; a frame starts at `start(frame)`. */
  readonly bytes: Uint8Array;
  /** Where the frames lie in it, from the first to the end of the last. */
  readonly memoryAt: number;
  readonly memoryBytes: number;

  readonly #address: number;
  readonly #stride: number;
  readonly #free: FreeStack;

  /**
   * @param alignment Of a frame's data, in bytes: what O_DIRECT asks for.
   */
  constructor(memory: FrameMemory, count: number, mtuMax: number, alignment: number) {
    this.bytes = memory.bytes;
    this.count = count;
    this.mtuMax = mtuMax;
    this.#stride = frameStride(mtuMax, alignment);
    const alignedTo = Math.max(alignment, 4096);
    this.memoryBytes = count * this.#stride;
    this.memoryAt = memory.allocate(this.memoryBytes + alignedTo, alignedTo) + alignedTo - ATA_DATA;
    this.#address = memory.address + this.memoryAt;
    this.#free = new FreeStack(count);
  }

  /** Frames nobody holds. */
  get free(): number {
    return this.#free.count;
  }

  /** Bytes of the longest frame. */
  get frameBytes(): number {
    return this.mtuMax + ETHERNET_HEADER_BYTES;
  }

  /** Offset of a frame's first byte in `bytes`. */
  start(frame: number): number {
    return this.memoryAt + frame * this.#stride;
  }

  /** Address of a frame's first byte. */
  address(frame: number): number {
    return this.#address + frame * this.#stride;
  }

  /** Takes a frame, or `NONE`. */
  take(): number {
    return this.#free.take();
  }

  /** Gives a frame back. */
  release(frame: number): void {
    this.#free.release(frame);
  }
}

/**
 * Distance of two frames. Without O_DIRECT's pages an odd number of 512-byte blocks: headers at one
 * distance of 4096 would all fall into the same set of the first-level cache.
 */
function frameStride(mtuMax: number, alignment: number): number {
  const blocks = Math.ceil((mtuMax + ETHERNET_HEADER_BYTES) / alignment);
  return (alignment === 512 ? blocks | 1 : blocks) * alignment;
}
