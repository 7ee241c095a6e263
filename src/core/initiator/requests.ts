// What the caller asked for: a table of fixed size, one typed array a field, and the lists a
// request passes through: queued → (blocked →) issued → ended. A request is split into commands
// only when they can be sent, so that each takes the frame size of the path it goes by.

export const REQUEST_READ = 0;
export const REQUEST_WRITE = 1;
export const REQUEST_FLUSH = 2;
export const REQUEST_DISCARD = 3;
/** Reads the 512 bytes of IDENTIFY DEVICE into the caller's memory. */
export const REQUEST_IDENTIFY = 4;

/** Not in use; also a request that ended where it began. */
export const REQUEST_FREE = 0;
/** In the queue: some of it is not yet a command. */
export const REQUEST_QUEUED = 1;
/** Its next part overlaps a write in flight or in quarantine. */
export const REQUEST_BLOCKED = 2;
/** All of it is commands. */
export const REQUEST_ISSUED = 3;
/** Waits for the caller to fetch its completion. */
export const REQUEST_ENDED = 4;

export const LIST_QUEUED = 0;
export const LIST_BLOCKED = 1;
export const LIST_ENDED = 2;
const LISTS = 3;
const NONE = -1;

/** The table, its free list and its lists. */
export class RequestTable {
  readonly size: number;
  readonly state: Uint8Array;
  readonly operation: Uint8Array;
  readonly lba: Float64Array;
  readonly sectors: Float64Array;
  /** Sectors that are commands already, or done. */
  readonly issued: Float64Array;
  /** Commands of it that have not ended. */
  readonly pending: Int32Array;
  readonly payloadAt: Float64Array;
  readonly userTag: Float64Array;
  /** Order of submission. */
  readonly serial: Float64Array;
  /** First failure, or 0. */
  readonly result: Uint8Array;
  /** A flush: how many writes, from the first, were settled and answered when it came. */
  readonly settled: Float64Array;
  readonly covered: Float64Array;
  /** A flush: 0 flushes, 1 looks whether the target is still the same. */
  readonly stage: Uint8Array;

  /** Requests that have not ended. */
  open = 0;

  #serial = 0;
  #freeHead = 0;
  #freeCount: number;
  readonly #head = new Int32Array(LISTS).fill(NONE);
  readonly #tail = new Int32Array(LISTS).fill(NONE);
  readonly #next: Int32Array;
  readonly #previous: Int32Array;

  /** @param size Requests at most, ended ones included until their completion is fetched. */
  constructor(size: number) {
    this.size = size;
    this.state = new Uint8Array(size);
    this.operation = new Uint8Array(size);
    this.lba = new Float64Array(size);
    this.sectors = new Float64Array(size);
    this.issued = new Float64Array(size);
    this.pending = new Int32Array(size);
    this.payloadAt = new Float64Array(size);
    this.userTag = new Float64Array(size);
    this.serial = new Float64Array(size);
    this.result = new Uint8Array(size);
    this.settled = new Float64Array(size);
    this.covered = new Float64Array(size);
    this.stage = new Uint8Array(size);
    this.#next = new Int32Array(size).fill(NONE);
    this.#previous = new Int32Array(size).fill(NONE);
    for (let i = 0; i < size; i++) this.#next[i] = i + 1 < size ? i + 1 : NONE;
    this.#freeCount = size;
  }

  /** Requests that can still be taken. */
  get free(): number {
    return this.#freeCount;
  }

  /** Takes a request in no list, or −1 when the table is full. */
  take(
    operation: number,
    lba: number,
    sectors: number,
    payloadAt: number,
    userTag: number,
  ): number {
    if (this.#freeCount === 0) return NONE;
    const index = this.#freeHead;
    this.#freeHead = this.#next[index]!;
    this.#freeCount--;
    this.open++;
    this.operation[index] = operation;
    this.lba[index] = lba;
    this.sectors[index] = sectors;
    this.issued[index] = 0;
    this.pending[index] = 0;
    this.payloadAt[index] = payloadAt;
    this.userTag[index] = userTag;
    this.serial[index] = this.#serial++;
    this.result[index] = 0;
    this.stage[index] = 0;
    return index;
  }

  /** Gives an ended request back, after its completion was fetched. */
  release(index: number): void {
    this.state[index] = REQUEST_FREE;
    this.#next[index] = this.#freeHead;
    this.#freeHead = index;
    this.#freeCount++;
  }

  /** First of a list, −1 when it is empty. */
  head(list: number): number {
    return this.#head[list]!;
  }

  /** The one behind it in its list, or −1. */
  next(index: number): number {
    return this.#next[index]!;
  }

  /** Appends to a list. */
  append(list: number, index: number): void {
    this.#insertAfter(list, this.#tail[list]!, index);
  }

  /** Puts before the first that was submitted later. */
  insertSorted(list: number, index: number): void {
    let after = NONE;
    let next = this.#head[list]!;
    while (next !== NONE && this.serial[next]! < this.serial[index]!) {
      after = next;
      next = this.#next[next]!;
    }
    this.#insertAfter(list, after, index);
  }

  #insertAfter(list: number, after: number, index: number): void {
    const next = after === NONE ? this.#head[list]! : this.#next[after]!;
    this.#previous[index] = after;
    this.#next[index] = next;
    if (after === NONE) this.#head[list] = index;
    else this.#next[after] = index;
    if (next === NONE) this.#tail[list] = index;
    else this.#previous[next] = index;
  }

  /** Takes out of the list in which it stands. */
  unlink(list: number, index: number): void {
    const next = this.#next[index]!;
    const previous = this.#previous[index]!;
    if (previous === NONE) this.#head[list] = next;
    else this.#next[previous] = next;
    if (next === NONE) this.#tail[list] = previous;
    else this.#previous[next] = previous;
  }

  /** Whether sectors overlap the open rest of a blocked write that was submitted earlier. */
  overlapsBlocked(lba: number, sectors: number, serial: number): boolean {
    for (
      let index = this.#head[LIST_BLOCKED]!;
      index !== NONE && this.serial[index]! < serial;
      index = this.#next[index]!
    ) {
      const first = this.lba[index]! + this.issued[index]!;
      const end = this.lba[index]! + this.sectors[index]!;
      if (first < lba + sectors && lba < end) return true;
    }
    return false;
  }
}
