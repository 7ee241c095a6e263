// Which sectors are being written, or may still be written by an old copy of a command. A write
// waits while it overlaps one of them (issue of the initiator, 'Overlap quarantine'): an old
// retransmitted write must never land on top of a newer one.
//
// Two writes that overlap are therefore never in flight together, and run in the order in which
// the caller submitted them. A read runs beside any write: either content is right until the write
// has been completed. Together with rule 13 of PROTOCOL.md at the target, every sector is
// linearizable; a request of several sectors is not one atomic whole, as on any disk.
//
// Ranges of up to 256 sectors stand in buckets by their first sector; wider ones (discards, and
// what is left when the quarantine is full) in one short list that every question goes through.

/** Sectors a bucket spans, and the most a range in a bucket has. */
const BUCKET_SECTORS = 256;
const NONE = -1;

/** Ranges in flight and in quarantine. */
export class WriteRanges {
  readonly #commands: number;
  readonly #quarantineSize: number;
  readonly #bucketMask: number;
  readonly #buckets: Int32Array;
  /** Per node: a command's slot, then the quarantine's entries, then its overflow. */
  readonly #lba: Float64Array;
  readonly #end: Float64Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** Bucket, or the wide list's number, or −1 when the node is not in use. */
  readonly #list: Int32Array;
  readonly #wideList: number;

  // The quarantine: a ring in order of its end.
  readonly #untilMs: Float64Array;
  readonly #identity: Int32Array;
  /** Copies not answered yet, one bit each. */
  readonly #outstanding: Uint8Array;
  readonly #unaccounted: Uint8Array;
  #ringHead = 0;
  #ringCount = 0;
  /** Ring entry that the last command of a slot left behind. */
  readonly #entryOfSlot: Int32Array;
  #overflowUntilMs = -Infinity;

  /** Counters for people. */
  readonly counters = { quarantined: 0, released: 0, expired: 0, overflowed: 0 };

  /**
   * @param commands Size of the command table.
   * @param quarantineSize Entries of the quarantine; what is more is joined into one range.
   */
  constructor(commands: number, quarantineSize: number) {
    this.#commands = commands;
    this.#quarantineSize = quarantineSize;
    const nodes = commands + quarantineSize + 1;
    let buckets = 64;
    while (buckets < commands) buckets *= 2;
    this.#bucketMask = buckets - 1;
    this.#wideList = buckets;
    this.#buckets = new Int32Array(buckets + 1).fill(NONE);
    this.#lba = new Float64Array(nodes);
    this.#end = new Float64Array(nodes);
    this.#next = new Int32Array(nodes).fill(NONE);
    this.#previous = new Int32Array(nodes).fill(NONE);
    this.#list = new Int32Array(nodes).fill(NONE);
    this.#untilMs = new Float64Array(quarantineSize);
    this.#identity = new Int32Array(quarantineSize);
    this.#outstanding = new Uint8Array(quarantineSize);
    this.#unaccounted = new Uint8Array(quarantineSize);
    this.#entryOfSlot = new Int32Array(commands).fill(NONE);
  }

  /** The write of a command begins. */
  add(slot: number, lba: number, sectors: number): void {
    this.#insert(slot, lba, lba + sectors);
  }

  /** The write of a command is over, and no copy of it can be on its way. */
  remove(slot: number): void {
    this.#take(slot);
  }

  /**
   * The write of a command is over, but copies of it may be on their way: moves its range into the
   * quarantine.
   *
   * @param identity Tag without its copy.
   * @param outstanding Copies not answered, one bit each.
   * @param unaccounted Whether older copies exist whose answers will not be recognized.
   */
  quarantine(
    slot: number,
    identity: number,
    outstanding: number,
    unaccounted: number,
    untilMs: number,
  ): void {
    const lba = this.#lba[slot]!;
    const end = this.#end[slot]!;
    this.#take(slot);
    this.counters.quarantined++;
    if (this.#ringCount === this.#quarantineSize) {
      this.#overflow(lba, end, untilMs);
      return;
    }
    const entry = (this.#ringHead + this.#ringCount++) % this.#quarantineSize;
    this.#untilMs[entry] = untilMs;
    this.#identity[entry] = identity;
    this.#outstanding[entry] = outstanding;
    this.#unaccounted[entry] = unaccounted;
    this.#entryOfSlot[slot] = entry;
    this.#insert(this.#commands + entry, lba, end);
  }

  /**
   * A late answer came to a command that is over.
   *
   * @returns Whether that ended a quarantine.
   */
  lateAnswer(slot: number, identity: number, copy: number): boolean {
    const entry = slot < this.#commands ? this.#entryOfSlot[slot]! : NONE;
    if (entry === NONE || this.#identity[entry] !== identity) return false;
    const node = this.#commands + entry;
    if (this.#list[node] === NONE || this.#unaccounted[entry] !== 0) return false;
    this.#outstanding[entry] = this.#outstanding[entry]! & ~(1 << copy);
    if (this.#outstanding[entry] !== 0) return false;
    this.#take(node);
    this.counters.released++;
    return true;
  }

  /**
   * Ends the quarantines whose time is over.
   *
   * @returns Whether a range became free.
   */
  expire(nowMs: number): boolean {
    let freed = false;
    while (this.#ringCount > 0) {
      const entry = this.#ringHead;
      const node = this.#commands + entry;
      const inUse = this.#list[node] !== NONE;
      if (inUse && this.#untilMs[entry]! > nowMs) break;
      if (inUse) {
        this.#take(node);
        this.counters.expired++;
        freed = true;
      }
      this.#ringHead = (entry + 1) % this.#quarantineSize;
      this.#ringCount--;
    }
    const overflow = this.#commands + this.#quarantineSize;
    if (this.#list[overflow] !== NONE && this.#overflowUntilMs <= nowMs) {
      this.#take(overflow);
      freed = true;
    }
    return freed;
  }

  /** When the next quarantine ends; Infinity without one. */
  nextExpiryMs(): number {
    let untilMs = Infinity;
    if (this.#ringCount > 0) untilMs = this.#untilMs[this.#ringHead]!;
    if (this.#list[this.#commands + this.#quarantineSize] !== NONE) {
      untilMs = Math.min(untilMs, this.#overflowUntilMs);
    }
    return untilMs;
  }

  /** Whether a range overlaps one that is being, or may still be, written. */
  overlaps(lba: number, sectors: number): boolean {
    const end = lba + sectors;
    for (let node = this.#buckets[this.#wideList]!; node !== NONE; node = this.#next[node]!) {
      if (this.#lba[node]! < end && lba < this.#end[node]!) return true;
    }
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
    for (let node = this.#buckets[bucket]!; node !== NONE; node = this.#next[node]!) {
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
    const head = this.#buckets[list]!;
    this.#next[node] = head;
    this.#previous[node] = NONE;
    if (head !== NONE) this.#previous[head] = node;
    this.#buckets[list] = node;
    this.#list[node] = list;
  }

  #take(node: number): void {
    const list = this.#list[node]!;
    if (list === NONE) return;
    const next = this.#next[node]!;
    const previous = this.#previous[node]!;
    if (previous === NONE) this.#buckets[list] = next;
    else this.#next[previous] = next;
    if (next !== NONE) this.#previous[next] = previous;
    this.#list[node] = NONE;
  }
}
