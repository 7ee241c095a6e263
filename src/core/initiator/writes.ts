// Which sectors are being written, or may still be written by an old copy of a command. A write
// waits while it overlaps one of them: an old retransmitted write must never land on top of a
// newer one.
//
// A write that was answered, but not for every copy that was sent, leaves its range in quarantine
// until one of these holds:
//   - every copy has been answered;
//   - on every path that carried a copy, a frame sent at least `reorderingMs` after the last copy
//     has been answered: Ethernet keeps a flow in order but for a bounded time, however long a
//     queue may stand still, so the copies have arrived, where rule 13 orders them, or are lost;
//   - `quarantineMs` are over, which no frame may outlive.
//
// Two writes that overlap are therefore never in flight together, and run in the order in which
// the caller submitted them. A read runs beside any write: either content is right until the write
// has been completed. Together with rule 13 of wire/README.md at the target, every sector is
// linearizable; a request of several sectors is not one atomic whole, as on any disk.
//
// Ranges of up to 256 sectors stand in buckets by their first sector; wider ones (discards, and
// what is left when the quarantine is full) in one short list that every question goes through.

import { EntryLists, NONE } from "../tables.ts";

/** Sectors a bucket spans, and the most a range in a bucket has. */
const BUCKET_SECTORS = 256;

/** Ranges in flight and in quarantine. */
export class WriteRanges {
  readonly #commands: number;
  readonly #quarantineSize: number;
  readonly #bucketMask: number;
  /** A list a bucket, and one of wide ranges. */
  readonly #buckets: EntryLists;
  /** Per node: a command's number, then the quarantine's entries, then its overflow. */
  readonly #lba: Float64Array;
  readonly #end: Float64Array;
  /** Bucket, or the wide list's number, or `NONE` when the node is not in use. */
  readonly #list: Int32Array;
  readonly #wideList: number;

  // The quarantine: a ring in order of its end.
  readonly #untilMs: Float64Array;
  readonly #identity: Int32Array;
  /** Copies not answered yet, one bit each; 0 when the copies are not accounted for. */
  readonly #outstanding: Uint8Array;
  /** Paths that carried copies, one bit each, and when the last one was sent. */
  readonly #paths: Uint16Array;
  readonly #sentMs: Float64Array;
  #ringHead = 0;
  #ringCount = 0;
  /** Ring entry that the last command of a number left behind. */
  readonly #entryOfCommand: Int32Array;
  #overflowUntilMs = -Infinity;
  readonly #reorderingMs: number;

  /** Per path: the latest sending time of a frame that was answered. Written by the initiator. */
  readonly answeredSentMs: Float64Array;
  /** Counters for people. */
  readonly counters = { quarantined: 0, answered: 0, overtaken: 0, expired: 0, overflowed: 0 };

  /**
   * @param commands Size of the command table.
   * @param quarantineSize Entries of the quarantine; what is more is joined into one range.
   * @param paths Number of paths, at most 16.
   * @param reorderingMs Longest time by which a path may deliver a frame before an earlier one.
   */
  constructor(commands: number, quarantineSize: number, paths: number, reorderingMs: number) {
    this.#reorderingMs = reorderingMs;
    this.answeredSentMs = new Float64Array(paths).fill(-Infinity);
    this.#commands = commands;
    this.#quarantineSize = quarantineSize;
    const nodes = commands + quarantineSize + 1;
    let buckets = 64;
    while (buckets < commands) buckets *= 2;
    this.#bucketMask = buckets - 1;
    this.#wideList = buckets;
    this.#buckets = new EntryLists(buckets + 1, nodes);
    this.#lba = new Float64Array(nodes);
    this.#end = new Float64Array(nodes);
    this.#list = new Int32Array(nodes).fill(NONE);
    this.#untilMs = new Float64Array(quarantineSize);
    this.#identity = new Int32Array(quarantineSize);
    this.#outstanding = new Uint8Array(quarantineSize);
    this.#paths = new Uint16Array(quarantineSize);
    this.#sentMs = new Float64Array(quarantineSize);
    this.#entryOfCommand = new Int32Array(commands).fill(NONE);
  }

  /** The write of a command begins. */
  add(command: number, lba: number, sectors: number): void {
    this.#insert(command, lba, lba + sectors);
  }

  /** The write of a command is over, and no copy of it can be on its way. */
  remove(command: number): void {
    this.#take(command);
  }

  /**
   * The write of a command is over, but copies of it may be on their way: moves its range into the
   * quarantine.
   *
   * @param identity Tag without its copy.
   * @param outstanding Copies not answered, one bit each; 0 when that is not known.
   * @param paths Paths that carried copies, one bit each.
   * @param sentMs When the last copy was sent.
   */
  quarantine(
    command: number,
    identity: number,
    outstanding: number,
    paths: number,
    sentMs: number,
    untilMs: number,
  ): void {
    const lba = this.#lba[command]!;
    const end = this.#end[command]!;
    this.#take(command);
    this.counters.quarantined++;
    if (this.#ringCount === this.#quarantineSize) this.#dropHead();
    if (this.#ringCount === this.#quarantineSize) {
      this.#overflow(lba, end, untilMs);
      return;
    }
    const entry = (this.#ringHead + this.#ringCount++) % this.#quarantineSize;
    this.#untilMs[entry] = untilMs;
    this.#identity[entry] = identity;
    this.#outstanding[entry] = outstanding;
    this.#paths[entry] = paths;
    this.#sentMs[entry] = sentMs;
    this.#entryOfCommand[command] = entry;
    this.#insert(this.#commands + entry, lba, end);
  }

  /**
   * A late answer came to a command that is over.
   *
   * @returns Whether that ended a quarantine.
   */
  lateAnswer(command: number, identity: number, copy: number): boolean {
    const entry = command < this.#commands ? this.#entryOfCommand[command]! : NONE;
    if (entry === NONE || this.#identity[entry] !== identity) return false;
    const node = this.#commands + entry;
    if (this.#list[node] === NONE || this.#outstanding[entry] === 0) return false;
    this.#outstanding[entry] = this.#outstanding[entry]! & ~(1 << copy);
    if (this.#outstanding[entry] !== 0) return false;
    this.#take(node);
    this.counters.answered++;
    return true;
  }

  /**
   * Ends the quarantines whose time is over or whose copies have been overtaken.
   *
   * @returns Paths, one bit each, on which a frame sent now would end one.
   */
  settle(nowMs: number): number {
    let wanted = 0;
    for (let i = 0; i < this.#ringCount; i++) {
      const entry = (this.#ringHead + i) % this.#quarantineSize;
      const node = this.#commands + entry;
      if (this.#list[node] === NONE) continue;
      if (this.#untilMs[entry]! <= nowMs) {
        this.#take(node);
        this.counters.expired++;
        continue;
      }
      const ripeMs = this.#sentMs[entry]! + this.#reorderingMs;
      const missing = this.#missing(this.#paths[entry]!, ripeMs);
      if (missing === 0) {
        this.#take(node);
        this.counters.overtaken++;
      } else if (ripeMs <= nowMs) {
        wanted |= missing;
      }
    }
    this.#dropHead();
    const overflow = this.#commands + this.#quarantineSize;
    if (this.#list[overflow] !== NONE && this.#overflowUntilMs <= nowMs) this.#take(overflow);
    return wanted;
  }

  /** Those of some paths on which no frame sent at `sinceMs` or later has been answered. */
  #missing(paths: number, sinceMs: number): number {
    let missing = 0;
    for (let i = 0; i < this.answeredSentMs.length; i++) {
      if ((paths & (1 << i)) !== 0 && this.answeredSentMs[i]! < sinceMs) missing |= 1 << i;
    }
    return missing;
  }

  /** Forgets the first entries of the ring that have ended. */
  #dropHead(): void {
    while (this.#ringCount > 0 && this.#list[this.#commands + this.#ringHead] === NONE) {
      this.#ringHead = (this.#ringHead + 1) % this.#quarantineSize;
      this.#ringCount--;
    }
  }

  /** Ranges in quarantine, ended ones that are not forgotten yet included. */
  get inQuarantine(): number {
    return this.#ringCount + (this.#list[this.#commands + this.#quarantineSize] === NONE ? 0 : 1);
  }

  /** Whether a range overlaps one that is being, or may still be, written. */
  overlaps(lba: number, sectors: number): boolean {
    const end = lba + sectors;
    if (this.#bucketOverlaps(this.#wideList, lba, end)) return true;
    const first = Math.floor(lba / BUCKET_SECTORS) - 1;
    const last = Math.floor((end - 1) / BUCKET_SECTORS);
    if (last - first > this.#bucketMask) {
      // Wider than all buckets: every one is looked through once.
      for (let bucket = 0; bucket <= this.#bucketMask; bucket++) {
        if (this.#bucketOverlaps(bucket, lba, end)) return true;
      }
      return false;
    }
    for (let index = first; index <= last; index++) {
      if (this.#bucketOverlaps(index & this.#bucketMask, lba, end)) return true;
    }
    return false;
  }

  #bucketOverlaps(bucket: number, lba: number, end: number): boolean {
    const buckets = this.#buckets;
    for (let node = buckets.first(bucket); node !== NONE; node = buckets.next(node)) {
      if (this.#lba[node]! < end && lba < this.#end[node]!) return true;
    }
    return false;
  }

  /** The quarantine is full: one range over all that does not fit is safe, though coarse. */
  #overflow(lba: number, end: number, untilMs: number): void {
    const node = this.#commands + this.#quarantineSize;
    this.counters.overflowed++;
    let first = lba;
    let last = end;
    if (this.#list[node] !== NONE) {
      first = Math.min(first, this.#lba[node]!);
      last = Math.max(last, this.#end[node]!);
      this.#take(node);
    }
    this.#overflowUntilMs = Math.max(this.#overflowUntilMs, untilMs);
    this.#link(node, first, last, this.#wideList);
  }

  #insert(node: number, lba: number, end: number): void {
    const wide = end - lba > BUCKET_SECTORS;
    this.#link(node, lba, end, wide ? this.#wideList : this.#bucketOf(lba));
  }

  #bucketOf(lba: number): number {
    // At most 2^40, which the conversion to 32 bits takes modulo 2^32: still the same bucket.
    return Math.floor(lba / BUCKET_SECTORS) & this.#bucketMask;
  }

  #link(node: number, lba: number, end: number, list: number): void {
    this.#lba[node] = lba;
    this.#end[node] = end;
    this.#buckets.insert(list, NONE, node);
    this.#list[node] = list;
  }

  #take(node: number): void {
    const list = this.#list[node]!;
    if (list === NONE) return;
    this.#buckets.remove(list, node);
    this.#list[node] = NONE;
  }
}
