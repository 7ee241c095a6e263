// What an initiator's thread tells while it works, in memory shared with the main thread: one
// writer, plain numbers, written a few times a second.

import type { Initiator } from "../../core/initiator/initiator.ts";
import { CLASS_READ } from "../../core/initiator/pace.ts";
import { PATH_UP } from "../../core/initiator/path.ts";
import type { Path } from "../../core/initiator/path.ts";
import { TIME_WORDS } from "../../core/time_buckets.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";

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

/** Paths of one disk that are told of; an initiator knows no more. */
const PATHS_MAX = 64;
// Words of a path: its MAC in two halves, the first one more than it is; whether it is used; its
// numbers, the name of its interface, a character a word, and its histogram of round trips.
const PATH_MAC_HIGH = 0;
const PATH_MAC_LOW = 1;
const PATH_USED = 2;
const PATH_WINDOW = 3;
const PATH_ROUND_TRIP_MS = 4;
const PATH_TIMEOUT_MS = 5;
const PATH_FRAME_BYTES = 6;
const PATH_NAME = 7;
const NAME_WORDS = 16;
const PATH_TRIPS = PATH_NAME + NAME_WORDS;
const PATH_WORDS = PATH_TRIPS + TIME_WORDS;

/** One path, as a thread sees it. */
export interface CountedPath {
  readonly interface: string;
  readonly mac: string;
  readonly up: boolean;
  readonly window: number;
  readonly roundTripMs: number;
  readonly timeoutMs: number;
  readonly frameBytes: number;
  /** How long answers took: `TIME_WORDS` numbers. */
  readonly trips: ArrayLike<number>;
}

/** The counters of one thread. */
export class InitiatorCounters {
  readonly #values: Float64Array;

  /** @param shared From `allocate`. */
  constructor(shared: SharedArrayBuffer) {
    this.#values = new Float64Array(shared);
  }

  /** Memory for one thread. */
  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(8 * (COUNTERS + PATHS_MAX * PATH_WORDS));
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

  /**
   * Writes how the paths of one disk are.
   *
   * @param nameOf Name of an interface, by its number; empty for one that cannot be used now.
   */
  recordPaths(paths: readonly Path[], nameOf: (interfaceIndex: number) => string): void {
    const values = this.#values;
    for (let i = 0; i < PATHS_MAX; i++) {
      const at = COUNTERS + i * PATH_WORDS;
      const path = paths[i];
      if (path === undefined) {
        values[at + PATH_MAC_HIGH] = 0;
        continue;
      }
      const name = nameOf(path.interfaceIndex);
      values[at + PATH_MAC_HIGH] = path.macHigh + 1;
      values[at + PATH_MAC_LOW] = path.macLow >>> 0;
      values[at + PATH_USED] = path.state === PATH_UP && name !== "" ? 1 : 0;
      values[at + PATH_WINDOW] = Math.round(path.window * 1000) / 1000;
      values[at + PATH_ROUND_TRIP_MS] = path.srttMs;
      values[at + PATH_TIMEOUT_MS] = path.paces[CLASS_READ]!.rtoMs;
      values[at + PATH_FRAME_BYTES] = path.sectors * SECTOR_BYTES;
      values.set(path.trips, at + PATH_TRIPS);
      for (let c = 0; c < NAME_WORDS && name !== ""; c++) {
        values[at + PATH_NAME + c] = c < name.length ? name.charCodeAt(c) : 0;
      }
    }
  }

  /** The paths, as they were recorded last. */
  paths(): CountedPath[] {
    const found: CountedPath[] = [];
    for (let i = 0; i < PATHS_MAX; i++) {
      const row = this.#values.subarray(COUNTERS + i * PATH_WORDS);
      if (row[PATH_MAC_HIGH] === 0) break;
      const mac = (row[PATH_MAC_HIGH]! - 1).toString(16).padStart(4, "0") +
        row[PATH_MAC_LOW]!.toString(16).padStart(8, "0");
      const name = row.subarray(PATH_NAME, PATH_TRIPS);
      found.push({
        interface: String.fromCharCode(...name.subarray(0, Math.max(0, name.indexOf(0)))),
        mac: mac.match(/../g)!.join(":"),
        up: row[PATH_USED] === 1,
        window: Math.floor(row[PATH_WINDOW]!),
        roundTripMs: row[PATH_ROUND_TRIP_MS]!,
        timeoutMs: row[PATH_TIMEOUT_MS]!,
        frameBytes: row[PATH_FRAME_BYTES]!,
        trips: row.slice(PATH_TRIPS, PATH_WORDS),
      });
    }
    return found;
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
