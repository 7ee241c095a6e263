// What a target worker counts, in memory shared with the main thread: one writer, plain numbers.

import { DROP_NAMES } from "./target.ts";

// Of the worker.
export const TARGET_COUNT_RECEIVED = 0;
export const TARGET_COUNT_SENT = 1;
/** Frames the kernel dropped because the worker was too slow. */
export const TARGET_COUNT_KERNEL_DROPS = 2;
/** Answers that could not be sent. */
export const TARGET_COUNT_SEND_FAILURES = 3;
/** Broadcasts not answered for every export because no frame was free. */
export const TARGET_COUNT_NO_FRAME = 4;
/** Times the worker went to sleep. */
export const TARGET_COUNT_WAITS = 5;
/** Commands that waited for an older one that they overlap with. */
export const TARGET_COUNT_OVERLAPS = 6;
/** Commands that repeated one which the disk had in hand, and were not done again. */
export const TARGET_COUNT_REPEATED = 7;
/** First of the reasons why frames were dropped, by negated verdict. */
export const TARGET_COUNT_DROPS = 8;
/** Those reasons in words, behind "Dropped N frames", in the order of their counters. */
export const DROP_REASONS = DROP_NAMES;
/** Frames lost on purpose, received or to be sent. */
export const TARGET_COUNT_LOST = TARGET_COUNT_DROPS + DROP_NAMES.length;
const WORKER_COUNTERS = TARGET_COUNT_LOST + 1;

// Of each export.
export const TARGET_COUNT_READS = 0;
export const TARGET_COUNT_READ_BYTES = 1;
export const TARGET_COUNT_WRITES = 2;
export const TARGET_COUNT_WRITTEN_BYTES = 3;
export const TARGET_COUNT_FLUSHES = 4;
export const TARGET_COUNT_TRIMS = 5;
export const TARGET_COUNT_ERRORS = 6;
/** fdatasync calls, shared by the writes and flushes that waited for them. */
export const TARGET_COUNT_SYNCS = 7;
/** Reads sent straight from the page cache. */
export const TARGET_COUNT_GATHERED = 8;
const EXPORT_COUNTERS = 9;

/** The counters of one worker. */
export class TargetCounters {
  readonly #values: Float64Array;

  /** @param shared From `allocate`. */
  constructor(shared: SharedArrayBuffer) {
    this.#values = new Float64Array(shared);
  }

  /** Memory for a worker with so many exports. */
  static allocate(exports: number): SharedArrayBuffer {
    return new SharedArrayBuffer(8 * (WORKER_COUNTERS + exports * EXPORT_COUNTERS));
  }

  /** Adds to a counter of the worker. */
  add(counter: number, amount: number): void {
    this.#values[counter] = this.#values[counter]! + amount;
  }

  /** Adds to a counter of an export. */
  addTo(exportIndex: number, counter: number, amount: number): void {
    const at = WORKER_COUNTERS + exportIndex * EXPORT_COUNTERS + counter;
    this.#values[at] = this.#values[at]! + amount;
  }

  /** Begins to count for another export with the same index. */
  clear(exportIndex: number): void {
    const at = WORKER_COUNTERS + exportIndex * EXPORT_COUNTERS;
    this.#values.fill(0, at, at + EXPORT_COUNTERS);
  }

  /** A counter of the worker. */
  value(counter: number): number {
    return this.#values[counter]!;
  }

  /** A counter of an export. */
  valueOf(exportIndex: number, counter: number): number {
    return this.#values[WORKER_COUNTERS + exportIndex * EXPORT_COUNTERS + counter]!;
  }
}
