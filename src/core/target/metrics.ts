// What a target's thread did, for whom and for how long: tables in memory shared with the main
// thread, one writer (meter.ts). A row each for every export, interface and initiator, and one for
// what an initiator asks of an export. The tables are made at the start and never grow: initiators
// beyond their number share the row "other".
//
// Every number is a double in its place, which all processors that we run on load and store whole:
// a reader on another thread sees each number as it was at some moment, never a half of it.

import { DROP_NAMES } from "./target.ts";
import { TIME_WORDS } from "../time_buckets.ts";

/** Kinds of commands, in the order of their counters. */
export const COMMAND_KINDS = [
  "read",
  "write",
  "flush",
  "verify",
  "trim",
  "identify",
  "config",
  "access",
  "other",
] as const;
export const KIND_READ = 0;
export const KIND_WRITE = 1;
export const KIND_FLUSH = 2;
export const KIND_VERIFY = 3;
export const KIND_TRIM = 4;
export const KIND_IDENTIFY = 5;
export const KIND_CONFIG = 6;
/** Mask lists and reservations. */
export const KIND_ACCESS = 7;
export const KIND_OTHER = 8;

/** Kinds of errors in answers: of the disk, an ATA command refused, an AoE command refused. */
export const ERROR_KINDS = ["disk", "ata", "aoe"] as const;

// Words of every row.
/** Commands answered, by kind. */
export const ROW_COMMANDS = 0;
export const ROW_READ_BYTES = ROW_COMMANDS + COMMAND_KINDS.length;
export const ROW_WRITTEN_BYTES = ROW_READ_BYTES + 1;
/** Answers that were errors, by kind. */
export const ROW_ERRORS = ROW_WRITTEN_BYTES + 1;
/** Commands that came a second time: of the same initiator, tag and sectors. */
export const ROW_RETRANSMISSIONS = ROW_ERRORS + ERROR_KINDS.length;
/** Commands that waited for an older one that they overlap with. */
export const ROW_OVERLAPS = ROW_RETRANSMISSIONS + 1;
/** Reads sent straight from the page cache. */
export const ROW_GATHERED = ROW_OVERLAPS + 1;
/** Commands that the disk did together with a neighbour. */
export const ROW_MERGED = ROW_GATHERED + 1;
/** Commands taken, and those of them that have ended: the difference is in hand. */
export const ROW_TAKEN = ROW_MERGED + 1;
export const ROW_ENDED = ROW_TAKEN + 1;
/** Sum of the milliseconds that the disk had commands, and their number. */
export const ROW_DISK_MS = ROW_ENDED + 1;
export const ROW_DISK_COMMANDS = ROW_DISK_MS + 1;
/** Frames dropped, by negated verdict. */
export const ROW_DROPS = ROW_DISK_COMMANDS + 1;
const ROW_WORDS = ROW_DROPS + DROP_NAMES.length;

// Histograms behind the words of a row: from taking a frame to handing its answer to the kernel, and
// the disk's share of it. The first is of all commands where there is but one.
export const HISTOGRAM_READ = 0;
export const HISTOGRAM_WRITE = 1;
/** Flushes, questions, everything else. */
export const HISTOGRAM_OTHER = 2;
export const HISTOGRAM_DISK_READ = 3;
export const HISTOGRAM_DISK_WRITE = 4;
const EXPORT_HISTOGRAMS = 5;

// Words of an interface beyond those of a row: turns that brought so many frames, by powers of two.
export const BATCH_BUCKETS = 8;
const LINK_BATCHES = ROW_WORDS + TIME_WORDS;
const LINK_RECEIVED = LINK_BATCHES + BATCH_BUCKETS;
const LINK_OVERFLOWS = LINK_RECEIVED + 1;
const LINK_SEND_FAILURES = LINK_OVERFLOWS + 1;
const LINK_NAME = LINK_SEND_FAILURES + 1;
/** Linux's IFNAMSIZ, a character a word: it is written once, and read seldom. */
const NAME_WORDS = 16;

// Who a row is for: an export's shelf and slot, an initiator's MAC in two halves.
const WHO_WORDS = 2;

const EXPORT_WORDS = WHO_WORDS + ROW_WORDS + EXPORT_HISTOGRAMS * TIME_WORDS;
const LINK_WORDS = LINK_NAME + NAME_WORDS;
const INITIATOR_WORDS = WHO_WORDS + ROW_WORDS + TIME_WORDS;

// What an initiator asks of an export.
const LOAD_INITIATOR = 0;
const LOAD_EXPORT = 1;
export const LOAD_READS = 2;
export const LOAD_WRITES = 3;
export const LOAD_OTHERS = 4;
export const LOAD_READ_BYTES = 5;
export const LOAD_WRITTEN_BYTES = 6;
export const LOAD_ERRORS = 7;
export const LOAD_ANSWER_MS = 8;
export const LOAD_TAKEN = 9;
export const LOAD_ENDED = 10;
const LOAD_WORDS = 11;

// Words of the head.
const HEAD_EXPORTS = 0;
const HEAD_LINKS = 1;
const HEAD_INITIATORS = 2;
const HEAD_LOADS = 3;
const HEAD_WORDS = 4;

/** Initiators of a thread that have a row of their own; row 0 is everybody else's. */
export const INITIATORS_MAX = 1024;
/** Pairs of an initiator and an export that have one; the first are everybody else's, by export. */
const LOADS_MAX = 4096;

/** The tables of one thread. */
export class TargetMetrics {
  /** All of it; `row…` say where. */
  readonly words: Float64Array;
  /** Rows that there are places for. */
  readonly exports: number;
  readonly links: number;
  readonly loads: number;
  readonly #linksAt: number;
  readonly #initiatorsAt: number;
  readonly #loadsAt: number;

  /** @param shared From `allocate`. */
  constructor(shared: SharedArrayBuffer) {
    this.words = new Float64Array(shared);
    this.exports = this.words[HEAD_EXPORTS]!;
    this.links = this.words[HEAD_LINKS]!;
    this.loads = LOADS_MAX + this.exports;
    this.#linksAt = HEAD_WORDS + this.exports * EXPORT_WORDS;
    this.#initiatorsAt = this.#linksAt + this.links * LINK_WORDS;
    this.#loadsAt = this.#initiatorsAt + INITIATORS_MAX * INITIATOR_WORDS;
  }

  /** Memory for a thread with so many exports and interfaces at most; what is unused costs none. */
  static allocate(exports: number, links: number): SharedArrayBuffer {
    const words = HEAD_WORDS + exports * EXPORT_WORDS + links * LINK_WORDS +
      INITIATORS_MAX * INITIATOR_WORDS + (LOADS_MAX + exports) * LOAD_WORDS;
    const shared = new SharedArrayBuffer(8 * words);
    const head = new Float64Array(shared, 0, HEAD_WORDS);
    head[HEAD_EXPORTS] = exports;
    head[HEAD_LINKS] = links;
    head[HEAD_INITIATORS] = 1;
    head[HEAD_LOADS] = exports;
    const metrics = new TargetMetrics(shared);
    for (let i = 0; i < exports; i++) metrics.setLoad(i, 0, i);
    return shared;
  }

  /** The tables of a thread that begins with these exports and interfaces. */
  static named(
    shared: SharedArrayBuffer,
    exports: readonly { readonly shelf: number; readonly slot: number }[],
    links: readonly string[],
  ): TargetMetrics {
    const metrics = new TargetMetrics(shared);
    exports.forEach(({ shelf, slot }, i) => metrics.nameExport(i, shelf, slot));
    links.forEach((name, i) => metrics.nameLink(i, name));
    return metrics;
  }

  /** Where an export's words begin. */
  rowOfExport(index: number): number {
    return HEAD_WORDS + index * EXPORT_WORDS + WHO_WORDS;
  }

  /** Where an interface's words begin. */
  rowOfLink(index: number): number {
    return this.#linksAt + index * LINK_WORDS;
  }

  /** Where an initiator's words begin. */
  rowOfInitiator(index: number): number {
    return this.#initiatorsAt + index * INITIATOR_WORDS + WHO_WORDS;
  }

  /** Where the words of an initiator's load on an export begin. */
  rowOfLoad(index: number): number {
    return this.#loadsAt + index * LOAD_WORDS;
  }

  /** Where a histogram of a row begins. */
  histogram(row: number, which: number): number {
    return row + ROW_WORDS + which * TIME_WORDS;
  }

  /** Rows that stand for somebody. */
  get initiatorsUsed(): number {
    return this.words[HEAD_INITIATORS]!;
  }

  set initiatorsUsed(count: number) {
    this.words[HEAD_INITIATORS] = count;
  }

  get loadsUsed(): number {
    return this.words[HEAD_LOADS]!;
  }

  set loadsUsed(count: number) {
    this.words[HEAD_LOADS] = count;
  }

  /** A place is another export's from now on, and nothing is counted yet. */
  nameExport(index: number, shelf: number, slot: number): void {
    const row = this.rowOfExport(index);
    this.words.fill(0, row - WHO_WORDS, row - WHO_WORDS + EXPORT_WORDS);
    for (let load = 0; load < this.loadsUsed; load++) {
      const at = this.rowOfLoad(load);
      if (this.words[at + LOAD_EXPORT] !== index) continue;
      this.words.fill(0, at + LOAD_READS, at + LOAD_WORDS);
    }
    // 0 stands for nobody.
    this.words[row - 2] = shelf + 1;
    this.words[row - 1] = slot;
  }

  /** Nobody's any more. */
  forgetExport(index: number): void {
    this.words[this.rowOfExport(index) - 2] = 0;
  }

  /** Whose a place is; undefined for nobody's. */
  exportAt(index: number): { readonly shelf: number; readonly slot: number } | undefined {
    const row = this.rowOfExport(index);
    const shelf = this.words[row - 2]!;
    return shelf === 0 ? undefined : { shelf: shelf - 1, slot: this.words[row - 1]! };
  }

  /** What an interface is called now. */
  nameLink(index: number, name: string): void {
    const at = this.rowOfLink(index) + LINK_NAME;
    for (let i = 0; i < NAME_WORDS; i++) {
      this.words[at + i] = i < name.length ? name.charCodeAt(i) : 0;
    }
  }

  /** Its name; empty for a place that is nobody's. */
  linkName(index: number): string {
    const at = this.rowOfLink(index) + LINK_NAME;
    let name = "";
    for (let i = 0; i < NAME_WORDS && this.words[at + i] !== 0; i++) {
      name += String.fromCharCode(this.words[at + i]!);
    }
    return name;
  }

  /** An initiator's MAC as 12 hex digits; undefined for the row of everybody else. */
  macAt(index: number): string | undefined {
    if (index === 0) return undefined;
    const row = this.rowOfInitiator(index);
    const half = (word: number) => this.words[word]!.toString(16).padStart(6, "0");
    return half(row - 2) + half(row - 1);
  }

  /** Writes an initiator's MAC, as two numbers of 24 bits. */
  setMac(index: number, high: number, low: number): void {
    const row = this.rowOfInitiator(index);
    this.words[row - 2] = high;
    this.words[row - 1] = low;
  }

  /** Whose load a row is: an initiator's number and an export's. */
  setLoad(index: number, initiator: number, exportIndex: number): void {
    const at = this.rowOfLoad(index);
    this.words[at + LOAD_INITIATOR] = initiator;
    this.words[at + LOAD_EXPORT] = exportIndex;
  }

  loadInitiator(index: number): number {
    return this.words[this.rowOfLoad(index) + LOAD_INITIATOR]!;
  }

  loadExport(index: number): number {
    return this.words[this.rowOfLoad(index) + LOAD_EXPORT]!;
  }

  /** A turn has taken so many frames by an interface. */
  countBatch(link: number, frames: number): void {
    const row = this.rowOfLink(link);
    const batch = row + LINK_BATCHES + Math.min(BATCH_BUCKETS - 1, 31 - Math.clz32(frames));
    this.words[batch] = this.words[batch]! + 1;
    this.words[row + LINK_RECEIVED] = this.words[row + LINK_RECEIVED]! + frames;
  }

  /** The kernel has dropped so many frames of an interface, faster than they could be taken. */
  countOverflows(link: number, frames: number): void {
    const at = this.rowOfLink(link) + LINK_OVERFLOWS;
    this.words[at] = this.words[at]! + frames;
  }

  countSendFailure(link: number): void {
    const at = this.rowOfLink(link) + LINK_SEND_FAILURES;
    this.words[at] = this.words[at]! + 1;
  }

  /** What an interface has beyond the words of a row. */
  linkCounts(link: number): {
    readonly batches: readonly number[];
    readonly received: number;
    readonly overflows: number;
    readonly sendFailures: number;
  } {
    const row = this.rowOfLink(link);
    return {
      batches: [...this.words.subarray(row + LINK_BATCHES, row + LINK_RECEIVED)],
      received: this.words[row + LINK_RECEIVED]!,
      overflows: this.words[row + LINK_OVERFLOWS]!,
      sendFailures: this.words[row + LINK_SEND_FAILURES]!,
    };
  }
}
