// What the caller asked for: a table of fixed size, one typed array a field, and the lists a
// request passes through: queued → (blocked →) issued → ended. A request is split into commands
// only when they can be sent, so that each takes the frame size of the path it goes by.

import { EntryLists, FreeStack, NONE } from "../tables.ts";

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

// What was answered of a write or discard.
export const ANSWERED_NONE = 0;
const ANSWERED_SOME = 1;
/** Some of it before a restart of the target, which may have lost it. */
export const ANSWERED_TORN = 2;

export const LIST_QUEUED = 0;
export const LIST_BLOCKED = 1;
export const LIST_ENDED = 2;
const LISTS = 3;

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
  /** A write or discard: an ANSWERED constant. */
  readonly answered: Uint8Array;
  /** A flush: how many writes, from the first, were settled and completed when it came. */
  readonly settled: Float64Array;
  readonly covered: Float64Array;
  /** A flush: 0 flushes, 1 looks whether the target is still the same. */
  readonly stage: Uint8Array;

  /** The lists: `LIST_QUEUED` and so on. */
  readonly lists: EntryLists;
  /** Requests that have not ended. */
  open = 0;

  #serial = 0;
  readonly #free: FreeStack;

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
    this.answered = new Uint8Array(size);
    this.settled = new Float64Array(size);
    this.covered = new Float64Array(size);
    this.stage = new Uint8Array(size);
    this.#free = new FreeStack(size);
    this.lists = new EntryLists(LISTS, size);
  }

  /** Requests that can still be taken. */
  get free(): number {
    return this.#free.count;
  }

  /** Takes a request in no list, or `NONE` when the table is full. */
  take(
    operation: number,
    lba: number,
    sectors: number,
    payloadAt: number,
    userTag: number,
  ): number {
    const request = this.#free.take();
    if (request === NONE) return NONE;
    this.open++;
    this.operation[request] = operation;
    this.lba[request] = lba;
    this.sectors[request] = sectors;
    this.issued[request] = 0;
    this.pending[request] = 0;
    this.payloadAt[request] = payloadAt;
    this.userTag[request] = userTag;
    this.serial[request] = this.#serial++;
    this.result[request] = 0;
    this.answered[request] = ANSWERED_NONE;
    this.stage[request] = 0;
    return request;
  }

  /** Gives an ended request back, after its completion was fetched. */
  release(request: number): void {
    this.state[request] = REQUEST_FREE;
    this.#free.release(request);
  }

  /** A part of a write or discard was answered. */
  notePart(request: number): void {
    if (this.answered[request] === ANSWERED_NONE) this.answered[request] = ANSWERED_SOME;
  }

  /** The target may have lost what it has answered of requests of whose end nobody was told. */
  tearAnswered(): void {
    for (let request = 0; request < this.size; request++) {
      const told = this.state[request] === REQUEST_FREE;
      if (!told && this.answered[request] === ANSWERED_SOME) this.answered[request] = ANSWERED_TORN;
    }
  }

  /** Puts before the first that was submitted later. */
  insertSorted(list: number, request: number): void {
    let after = NONE;
    let next = this.lists.first(list);
    while (next !== NONE && this.serial[next]! < this.serial[request]!) {
      after = next;
      next = this.lists.next(next);
    }
    this.lists.insert(list, after, request);
  }

  /** Whether sectors overlap the open rest of a blocked write that was submitted earlier. */
  overlapsBlocked(lba: number, sectors: number, serial: number): boolean {
    for (
      let request = this.lists.first(LIST_BLOCKED);
      request !== NONE && this.serial[request]! < serial;
      request = this.lists.next(request)
    ) {
      const first = this.lba[request]! + this.issued[request]!;
      const end = this.lba[request]! + this.sectors[request]!;
      if (first < lba + sectors && lba < end) return true;
    }
    return false;
  }
}
