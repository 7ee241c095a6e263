// What an initiator's thread tells while it works, in memory shared with the main thread: one
// writer, plain numbers, written a few times a second.

import type { Initiator } from "../../core/initiator/initiator.ts";
import { PATH_UP } from "../../core/initiator/path.ts";

/** Bytes of the job done, in the sense of the job's driver. */
export const INITIATOR_COUNT_BYTES = 0;
/** Bytes it will be in all; 0 when that is not known. */
export const INITIATOR_COUNT_BYTES_TOTAL = 1;
/** What the driver does now, a number of its own. */
export const INITIATOR_COUNT_PHASE = 2;
export const INITIATOR_COUNT_READS = 3;
export const INITIATOR_COUNT_WRITES = 4;
export const INITIATOR_COUNT_READ_BYTES = 5;
export const INITIATOR_COUNT_WRITTEN_BYTES = 6;
// Sums over all disks, and over their paths.
export const INITIATOR_COUNT_COMMANDS = 8;
export const INITIATOR_COUNT_RETRANSMITTED = 9;
export const INITIATOR_COUNT_PATHS = 10;
export const INITIATOR_COUNT_PATHS_UP = 11;
export const INITIATOR_COUNT_WINDOW = 12;
/** Of the path that has the smallest, in milliseconds. */
export const INITIATOR_COUNT_RTT_MS = 13;
/** Frames the kernel dropped because the thread was too slow. */
export const INITIATOR_COUNT_KERNEL_DROPS = 14;
/** Frames lost on purpose, received or to be sent. */
export const INITIATOR_COUNT_LOST = 15;
const COUNTERS = 16;

/** The counters of one thread. */
export class InitiatorCounters {
  readonly #values: Float64Array;

  /** @param shared From `allocate`. */
  constructor(shared: SharedArrayBuffer) {
    this.#values = new Float64Array(shared);
  }

  /** Memory for one thread. */
  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(8 * COUNTERS);
  }

  /** Sets a counter. */
  set(counter: number, value: number): void {
    this.#values[counter] = value;
  }

  /** Adds to a counter. */
  add(counter: number, amount: number): void {
    this.#values[counter] = this.#values[counter]! + amount;
  }

  /** A counter. */
  value(counter: number): number {
    return this.#values[counter]!;
  }

  /** Writes what the initiators and their paths have come to. */
  record(initiators: readonly Initiator[]): void {
    let commands = 0;
    let retransmitted = 0;
    let paths = 0;
    let up = 0;
    let window = 0;
    let rttMs = Infinity;
    for (const initiator of initiators) {
      commands += initiator.counters.commands;
      retransmitted += initiator.counters.retransmitted;
      rttMs = Math.min(rttMs, initiator.rttMs);
      for (const path of initiator.paths) {
        paths++;
        if (path.state !== PATH_UP) continue;
        up++;
        window += path.window;
      }
    }
    this.set(INITIATOR_COUNT_COMMANDS, commands);
    this.set(INITIATOR_COUNT_RETRANSMITTED, retransmitted);
    this.set(INITIATOR_COUNT_PATHS, paths);
    this.set(INITIATOR_COUNT_PATHS_UP, up);
    this.set(INITIATOR_COUNT_WINDOW, window);
    this.set(INITIATOR_COUNT_RTT_MS, rttMs === Infinity ? 0 : rttMs);
  }
}
