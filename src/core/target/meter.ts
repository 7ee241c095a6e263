// How a target's thread fills its tables (metrics.ts). Between taking a frame and answering it a few
// facts about it stand in tables by its number. Frames of one turn are mostly alike, so that equals
// are counted together, and the tables are written once for all of them. Nothing is allocated.

import { AOE_COMMAND, AOE_FLAG_ERROR, AOE_TAG, AOE_VERSION_FLAGS } from "../../wire/aoe.ts";
import { COMMAND_ATA, COMMAND_CONFIG, COMMAND_MASK, COMMAND_RESERVE } from "../../wire/aoe.ts";
import { ATA_COMMAND_STATUS, ATA_IDENTIFY_DEVICE, ATA_STATUS_ERR } from "../../wire/ata.ts";
import { ETHERNET_SOURCE } from "../../wire/ethernet.ts";
import { NONE } from "../tables.ts";
import { TIME_BUCKETS, timeBucket } from "../time_buckets.ts";
import { DRIVE_FLUSH, DRIVE_READ, DRIVE_TRIM, DRIVE_VERIFY, DRIVE_WRITE } from "./drive.ts";
import {
  HISTOGRAM_DISK_READ,
  HISTOGRAM_OTHER,
  INITIATORS_MAX,
  KIND_ACCESS,
  KIND_CONFIG,
  KIND_FLUSH,
  KIND_IDENTIFY,
  KIND_OTHER,
  KIND_READ,
  KIND_TRIM,
  KIND_VERIFY,
  KIND_WRITE,
  LOAD_ANSWER_MS,
  LOAD_ENDED,
  LOAD_ERRORS,
  LOAD_OTHERS,
  LOAD_READ_BYTES,
  LOAD_READS,
  LOAD_TAKEN,
  LOAD_WRITES,
  LOAD_WRITTEN_BYTES,
  ROW_COMMANDS,
  ROW_DISK_COMMANDS,
  ROW_DISK_MS,
  ROW_DROPS,
  ROW_ENDED,
  ROW_ERRORS,
  ROW_GATHERED,
  ROW_MERGED,
  ROW_OVERLAPS,
  ROW_READ_BYTES,
  ROW_RETRANSMISSIONS,
  ROW_TAKEN,
  ROW_WRITTEN_BYTES,
} from "./metrics.ts";
import type { TargetMetrics } from "./metrics.ts";

/** Entries of the hash table of MACs: twice as many as rows, so that a look finds a gap soon. */
const INITIATOR_ENTRIES = 2 * INITIATORS_MAX;
/** Commands of an initiator that are remembered, to know one that comes again. */
const TAGS_REMEMBERED = 64;

// Whose a frame is: the number of a load, which has an initiator and an export; or, for questions that
// ask nothing of a disk, both in one negative number; or nobody's, an advert.
const NOBODY = -1;
const QUESTION_FIRST = -2;
const EXPORT_BITS = 8;

// Of `#what`: the kind in the lowest bits, then what went wrong, whether it was gathered, the link.
const KIND_MASK = 15;
const ERROR_SHIFT = 4;
const ERROR_MASK = 3;
const GATHERED_BIT = 1 << 6;
const LINK_SHIFT = 7;

const kindOfOperation = new Uint8Array(8);
kindOfOperation[DRIVE_READ] = KIND_READ;
kindOfOperation[DRIVE_WRITE] = KIND_WRITE;
kindOfOperation[DRIVE_VERIFY] = KIND_VERIFY;
kindOfOperation[DRIVE_FLUSH] = KIND_FLUSH;
kindOfOperation[DRIVE_TRIM] = KIND_TRIM;

/** Errors in `#what`: 0 for none, else one more than the place in `ERROR_KINDS`. */
const ERROR_DISK = 1;
const ERROR_ATA = 2;
const ERROR_AOE = 3;

/** Writes the tables of one thread. */
export class TargetMeter {
  readonly #metrics: TargetMetrics;
  readonly #words: Float64Array;
  readonly #clock: { nowMs(): number };
  /** When the clock was last looked at. */
  nowMs = 0;
  /** The interface whose frames are taken. */
  #link = 0;

  // Of each frame.
  readonly #whose: Int32Array;
  readonly #what: Int32Array;
  readonly #takenMs: Float64Array;
  readonly #diskMs: Float64Array;

  // By MAC: number of an initiator, 0 for a gap. By initiator and export: number of a load, or NONE.
  readonly #initiators = new Int32Array(INITIATOR_ENTRIES);
  readonly #loads: Int32Array;
  readonly #macHigh = new Int32Array(INITIATORS_MAX);
  readonly #macLow = new Int32Array(INITIATORS_MAX);
  #lastInitiator = 0;
  #lastLoad = NONE;
  #lastLoadInitiator = -1;
  #lastLoadExport = -1;

  /** Of each remembered command its tag, and next to it what it asked. */
  readonly #remembered = new Int32Array(2 * INITIATORS_MAX * TAGS_REMEMBERED);

  // Frames alike that have been taken, or answered, and are not in the tables yet.
  #takenCount = 0;
  #takenWhose = NOBODY;
  #takenLink = 0;
  #endedCount = 0;
  #endedBytes = 0;
  #endedWhose = NOBODY;
  #endedWhat = 0;
  #endedTakenMs = 0;

  /** @param frames Of the pool. */
  constructor(metrics: TargetMetrics, frames: number, clock: { nowMs(): number }) {
    this.#metrics = metrics;
    this.#words = metrics.words;
    this.#clock = clock;
    this.#whose = new Int32Array(frames).fill(NOBODY);
    this.#what = new Int32Array(frames);
    this.#takenMs = new Float64Array(frames);
    this.#diskMs = new Float64Array(frames);
    let entries = 1;
    while (entries < 2 * metrics.loads) entries *= 2;
    this.#loads = new Int32Array(entries).fill(NONE);
  }

  /** Looks at the clock: once for all operations that end, or frames that leave, together. */
  look(): void {
    if (this.#endedCount > 0) this.#settleEnded();
    this.nowMs = this.#clock.nowMs();
  }

  /** So many frames have come by an interface, and are taken now. */
  takeBatch(link: number, frames: number): void {
    this.#link = link;
    this.#metrics.countBatch(link, frames);
  }

  /** A frame is a command for the disk. */
  takeWork(
    frame: number,
    exportIndex: number,
    drive: { readonly operation: number; readonly sector: number },
    bytes: Uint8Array,
    at: number,
  ): void {
    const initiator = this.#initiator(bytes, at + ETHERNET_SOURCE);
    const kind = kindOfOperation[drive.operation]!;
    this.#take(frame, this.#load(initiator, exportIndex), kind);
    const tag = at + AOE_TAG;
    const low = bytes[tag + 2]! << 8 | bytes[tag + 3]!;
    const high = bytes[tag]! << 8 | bytes[tag + 1]!;
    const remembered = this.#remembered;
    const entry = 2 * (initiator * TAGS_REMEMBERED + ((low ^ high) & (TAGS_REMEMBERED - 1)));
    const asked = (drive.sector | 0) << 4 | KIND_MASK - kind;
    if (remembered[entry] === (high << 16 | low) && remembered[entry + 1] === asked) {
      this.#addAll(frame, ROW_RETRANSMISSIONS);
    }
    remembered[entry] = high << 16 | low;
    remembered[entry + 1] = asked;
  }

  /** A frame is answered at once: what stands in it is the answer. */
  takeAnswered(frame: number, exportIndex: number, kind: number, bytes: Uint8Array, at: number) {
    // The answer goes to who has asked.
    const initiator = this.#initiator(bytes, at);
    this.#take(frame, QUESTION_FIRST - (initiator << EXPORT_BITS | exportIndex), kind);
    const error = (bytes[at + AOE_VERSION_FLAGS]! & AOE_FLAG_ERROR) !== 0
      ? ERROR_AOE
      : bytes[at + AOE_COMMAND] === COMMAND_ATA &&
          (bytes[at + ATA_COMMAND_STATUS]! & ATA_STATUS_ERR) !== 0
      ? ERROR_ATA
      : 0;
    if (error !== 0) this.#what[frame] = this.#what[frame]! | error << ERROR_SHIFT;
  }

  /** The frame is nobody's answer. */
  takeNone(frame: number): void {
    this.#whose[frame] = NOBODY;
  }

  /** A frame is dropped; `exportIndex` is −1 for one that was for none. */
  drop(exportIndex: number, verdict: number, bytes: Uint8Array, at: number): void {
    const word = ROW_DROPS - verdict;
    this.#add(this.#metrics.rowOfLink(this.#link) + word, 1);
    if (exportIndex < 0) return;
    this.#add(this.#metrics.rowOfExport(exportIndex) + word, 1);
    // Who is not known gets no row for what was dropped.
    const initiator = this.#find(bytes, at + ETHERNET_SOURCE);
    if (initiator > 0) this.#add(this.#metrics.rowOfInitiator(initiator) + word, 1);
  }

  /** The disk begins with a command. */
  diskBegins(frame: number): void {
    this.#diskMs[frame] = this.nowMs;
  }

  /** The disk has ended a command, as of the last look at the clock. */
  diskEnds(frame: number): void {
    const whose = this.#whose[frame]!;
    if (whose === NOBODY) return;
    const kind = this.#what[frame]! & KIND_MASK;
    const ms = this.nowMs - this.#diskMs[frame]!;
    const row = this.#metrics.rowOfExport(this.#exportOf(whose));
    if (kind <= KIND_WRITE) {
      const histogram = this.#metrics.histogram(row, HISTOGRAM_DISK_READ + kind);
      this.#add(histogram + timeBucket(ms), 1);
      this.#add(histogram + TIME_BUCKETS, ms);
    }
    this.#addDisk(row, ms);
    this.#addDisk(this.#metrics.rowOfLink(this.#what[frame]! >> LINK_SHIFT), ms);
    this.#addDisk(this.#metrics.rowOfInitiator(this.#initiatorOf(whose)), ms);
  }

  /** The disk, or the sync of what it wrote, has failed. */
  failed(frame: number): void {
    this.#what[frame] = this.#what[frame]! | ERROR_DISK << ERROR_SHIFT;
  }

  overlapped(frame: number): void {
    this.#addAll(frame, ROW_OVERLAPS);
  }

  merged(frame: number): void {
    this.#addAll(frame, ROW_MERGED);
  }

  /**
   * An answer has left, as of the last look at the clock.
   *
   * @param bytes Of a read or write.
   * @param gathered Whether its data came straight from the page cache.
   */
  sent(frame: number, bytes: number, gathered: boolean): void {
    const whose = this.#whose[frame]!;
    const what = gathered ? this.#what[frame]! | GATHERED_BIT : this.#what[frame]!;
    if (
      whose !== this.#endedWhose || what !== this.#endedWhat ||
      this.#takenMs[frame] !== this.#endedTakenMs
    ) {
      this.#settleEnded();
      this.#endedWhose = whose;
      this.#endedWhat = what;
      this.#endedTakenMs = this.#takenMs[frame]!;
    }
    this.#endedCount++;
    this.#endedBytes += bytes;
  }

  /** An answer could not be sent: the command has ended all the same. */
  unsent(frame: number): void {
    if (this.#whose[frame] === NOBODY) return;
    this.#metrics.countSendFailure(this.#what[frame]! >> LINK_SHIFT);
    this.unanswered(frame);
  }

  /** A command that was taken has ended without an answer. */
  unanswered(frame: number): void {
    this.#addAll(frame, ROW_ENDED);
    const load = this.#whose[frame]!;
    if (load >= 0) this.#add(this.#metrics.rowOfLoad(load) + LOAD_ENDED, 1);
  }

  /** Ends a turn: all of it is in the tables. */
  settle(): void {
    this.#settleTaken();
    this.#settleEnded();
  }

  #take(frame: number, whose: number, kind: number): void {
    this.#whose[frame] = whose;
    this.#what[frame] = this.#link << LINK_SHIFT | kind;
    this.#takenMs[frame] = this.nowMs;
    if (whose !== this.#takenWhose || this.#link !== this.#takenLink) {
      this.#settleTaken();
      this.#takenWhose = whose;
      this.#takenLink = this.#link;
    }
    this.#takenCount++;
  }

  #settleTaken(): void {
    const count = this.#takenCount;
    if (count === 0) return;
    this.#takenCount = 0;
    const metrics = this.#metrics;
    const whose = this.#takenWhose;
    this.#add(metrics.rowOfExport(this.#exportOf(whose)) + ROW_TAKEN, count);
    this.#add(metrics.rowOfInitiator(this.#initiatorOf(whose)) + ROW_TAKEN, count);
    this.#add(metrics.rowOfLink(this.#takenLink) + ROW_TAKEN, count);
    if (whose >= 0) this.#add(metrics.rowOfLoad(whose) + LOAD_TAKEN, count);
  }

  #settleEnded(): void {
    const count = this.#endedCount;
    if (count === 0) return;
    const whose = this.#endedWhose;
    if (whose !== NOBODY) {
      const ms = Math.max(0, this.nowMs - this.#endedTakenMs);
      const bucket = timeBucket(ms);
      const metrics = this.#metrics;
      const kind = this.#endedWhat & KIND_MASK;
      const ex = metrics.rowOfExport(this.#exportOf(whose));
      const initiator = metrics.rowOfInitiator(this.#initiatorOf(whose));
      const link = metrics.rowOfLink(this.#endedWhat >> LINK_SHIFT);
      this.#end(ex, metrics.histogram(ex, Math.min(kind, HISTOGRAM_OTHER)), bucket, ms * count);
      this.#end(initiator, metrics.histogram(initiator, 0), bucket, ms * count);
      this.#end(link, metrics.histogram(link, 0), bucket, ms * count);
      if (whose >= 0) this.#endLoad(metrics.rowOfLoad(whose), kind, ms * count);
    }
    this.#endedCount = 0;
    this.#endedBytes = 0;
  }

  /** Adds the answers that are settled to one row. */
  #end(row: number, histogram: number, bucket: number, ms: number): void {
    const count = this.#endedCount;
    const what = this.#endedWhat;
    const kind = what & KIND_MASK;
    const error = what >> ERROR_SHIFT & ERROR_MASK;
    this.#add(row + ROW_COMMANDS + kind, count);
    if (error !== 0) this.#add(row + ROW_ERRORS + error - 1, count);
    else if (kind <= 1) {
      this.#add(row + (kind === 0 ? ROW_READ_BYTES : ROW_WRITTEN_BYTES), this.#endedBytes);
    }
    if ((what & GATHERED_BIT) !== 0) this.#add(row + ROW_GATHERED, count);
    this.#add(row + ROW_ENDED, count);
    this.#add(histogram + bucket, count);
    this.#add(histogram + TIME_BUCKETS, ms);
  }

  #endLoad(row: number, kind: number, ms: number): void {
    const count = this.#endedCount;
    this.#add(row + (kind === 0 ? LOAD_READS : kind === 1 ? LOAD_WRITES : LOAD_OTHERS), count);
    if ((this.#endedWhat >> ERROR_SHIFT & ERROR_MASK) !== 0) this.#add(row + LOAD_ERRORS, count);
    else if (kind <= 1) {
      this.#add(row + (kind === 0 ? LOAD_READ_BYTES : LOAD_WRITTEN_BYTES), this.#endedBytes);
    }
    this.#add(row + LOAD_ENDED, count);
    this.#add(row + LOAD_ANSWER_MS, ms);
  }

  #add(word: number, amount: number): void {
    this.#words[word] = this.#words[word]! + amount;
  }

  /** Adds one to a word of all three rows of a frame. */
  #addAll(frame: number, word: number): void {
    const metrics = this.#metrics;
    const whose = this.#whose[frame]!;
    this.#add(metrics.rowOfExport(this.#exportOf(whose)) + word, 1);
    this.#add(metrics.rowOfInitiator(this.#initiatorOf(whose)) + word, 1);
    this.#add(metrics.rowOfLink(this.#what[frame]! >> LINK_SHIFT) + word, 1);
  }

  #exportOf(whose: number): number {
    return whose >= 0
      ? this.#metrics.loadExport(whose)
      : (QUESTION_FIRST - whose) & ((1 << EXPORT_BITS) - 1);
  }

  #initiatorOf(whose: number): number {
    return whose >= 0
      ? this.#metrics.loadInitiator(whose)
      : (QUESTION_FIRST - whose) >> EXPORT_BITS;
  }

  #addDisk(row: number, ms: number): void {
    this.#add(row + ROW_DISK_MS, ms);
    this.#add(row + ROW_DISK_COMMANDS, 1);
  }

  /** An initiator's number, by its MAC; 0 for those who have no row of their own. */
  #initiator(bytes: Uint8Array, at: number): number {
    const high = bytes[at]! << 16 | bytes[at + 1]! << 8 | bytes[at + 2]!;
    const low = bytes[at + 3]! << 16 | bytes[at + 4]! << 8 | bytes[at + 5]!;
    const last = this.#lastInitiator;
    if (last > 0 && this.#macHigh[last] === high && this.#macLow[last] === low) return last;
    let entry = hash(high, low) & (INITIATOR_ENTRIES - 1);
    for (;; entry = (entry + 1) & (INITIATOR_ENTRIES - 1)) {
      const known = this.#initiators[entry]!;
      if (known === 0) break;
      if (this.#macHigh[known] === high && this.#macLow[known] === low) {
        this.#lastInitiator = known;
        return known;
      }
    }
    const number = this.#metrics.initiatorsUsed;
    if (number === INITIATORS_MAX) return 0;
    this.#initiators[entry] = number;
    this.#macHigh[number] = high;
    this.#macLow[number] = low;
    this.#metrics.setMac(number, high, low);
    this.#metrics.initiatorsUsed = number + 1;
    this.#lastInitiator = number;
    return number;
  }

  /** The same for one that may have no row, and gets none; 0 then. */
  #find(bytes: Uint8Array, at: number): number {
    const high = bytes[at]! << 16 | bytes[at + 1]! << 8 | bytes[at + 2]!;
    const low = bytes[at + 3]! << 16 | bytes[at + 4]! << 8 | bytes[at + 5]!;
    let entry = hash(high, low) & (INITIATOR_ENTRIES - 1);
    for (;; entry = (entry + 1) & (INITIATOR_ENTRIES - 1)) {
      const known = this.#initiators[entry]!;
      if (known === 0 || this.#macHigh[known] === high && this.#macLow[known] === low) return known;
    }
  }

  /** Number of the row of what an initiator asks of an export; the export's own "other" at worst. */
  #load(initiator: number, exportIndex: number): number {
    if (initiator === 0) return exportIndex;
    if (initiator === this.#lastLoadInitiator && exportIndex === this.#lastLoadExport) {
      return this.#lastLoad;
    }
    const metrics = this.#metrics;
    const mask = this.#loads.length - 1;
    let entry = hash(initiator, exportIndex) & mask;
    let load = this.#loads[entry]!;
    while (
      load >= 0 &&
      (metrics.loadInitiator(load) !== initiator || metrics.loadExport(load) !== exportIndex)
    ) {
      entry = (entry + 1) & mask;
      load = this.#loads[entry]!;
    }
    if (load < 0) {
      load = metrics.loadsUsed;
      if (load === metrics.loads) return exportIndex;
      this.#loads[entry] = load;
      metrics.setLoad(load, initiator, exportIndex);
      metrics.loadsUsed = load + 1;
    }
    this.#lastLoad = load;
    this.#lastLoadInitiator = initiator;
    this.#lastLoadExport = exportIndex;
    return load;
  }
}

/**
 * Which kind a command is that asks nothing of the disk.
 *
 * @param ataCommand What stood in its frame before the answer's status.
 */
export function kindOfQuestion(bytes: Uint8Array, at: number, ataCommand: number): number {
  switch (bytes[at + AOE_COMMAND]) {
    case COMMAND_CONFIG:
      return KIND_CONFIG;
    case COMMAND_MASK:
    case COMMAND_RESERVE:
      return KIND_ACCESS;
    case COMMAND_ATA:
      return ataCommand === ATA_IDENTIFY_DEVICE ? KIND_IDENTIFY : KIND_OTHER;
    default:
      return KIND_OTHER;
  }
}

function hash(a: number, b: number): number {
  const mixed = Math.imul(a ^ Math.imul(b, 0x9e3779b1), 0x85ebca6b);
  return mixed ^ mixed >>> 15;
}
