// Requests and answers of a FUSE connection, many at a time: by io_uring in one crossing into the
// kernel, or by read(2) and write(2), each by itself.

import { PAGE_BYTES } from "./arena.ts";
import type { Arena } from "./arena.ts";
import { errno, SystemError } from "./errno.ts";
import { IoUring } from "./io_uring.ts";
import type { Pointer } from "./libc.ts";
import { openLibc } from "./libc.ts";
import { EAGAIN } from "./errno_numbers.ts";

const libc = openLibc(
  {
    // int fd, void *buf, size_t count
    read: { parameters: ["i32", "pointer", "u32"], result: "i32" },
    // int fd, const void *buf, size_t count
    write: { parameters: ["i32", "pointer", "u32"], result: "i32" },
  } as const,
);

/**
 * Memory of the requests: `entries` payloads on pages of their own, each right behind the header of
 * its request, and a part of that the header of its answer.
 */
export class FuseEntries {
  readonly count: number;
  readonly payloadBytes: number;
  readonly requestHeaderBytes: number;
  readonly answerHeaderBytes: number;
  readonly arena: Arena;
  readonly #payloadsAt: number;
  readonly #stride: number;

  /**
   * @param requestHeaderBytes Of a request that has a payload.
   * @param answerHeaderBytes Of every answer; not more.
   * @param payloadBytes Data of one request: whole pages.
   */
  constructor(
    arena: Arena,
    count: number,
    requestHeaderBytes: number,
    answerHeaderBytes: number,
    payloadBytes: number,
  ) {
    this.arena = arena;
    this.count = count;
    this.requestHeaderBytes = requestHeaderBytes;
    this.answerHeaderBytes = answerHeaderBytes;
    this.payloadBytes = payloadBytes;
    this.#stride = PAGE_BYTES + payloadBytes;
    this.#payloadsAt = arena.allocate(count * this.#stride, PAGE_BYTES) + PAGE_BYTES;
  }

  /** Arena offset of an entry's data. */
  payloadAt(entry: number): number {
    return this.#payloadsAt + entry * this.#stride;
  }

  /** Arena offset of an entry's request. */
  requestAt(entry: number): number {
    return this.payloadAt(entry) - this.requestHeaderBytes;
  }

  /** Arena offset of an entry's answer, which overwrites the end of the request's header. */
  answerAt(entry: number): number {
    return this.payloadAt(entry) - this.answerHeaderBytes;
  }

  /** Bytes of the longest request. */
  get requestBytesMax(): number {
    return this.requestHeaderBytes + this.payloadBytes;
  }
}

/** Both ways to move the messages of a connection whose descriptor does not block. */
export interface FuseQueue {
  /** Slot of the message that `next` has found, and which of the two it was. */
  readonly entry: number;
  readonly isAnswer: boolean;
  /**
   * Bytes of a request, or −errno: ENODEV when it is unmounted, 0 where the descriptor is no
   * connection any more. Of an answer, ENOENT when nobody waits for it, which is no error.
   */
  readonly result: number;
  /** Messages that wait for `submit`; after it, that the kernel would not take. */
  readonly queued: number;
  /** Asks for a request, which comes into an entry now or later. */
  receive(entry: number): void;
  /** Queues an answer of `bytes` from the entry's `answerAt` on. */
  answer(entry: number, bytes: number): void;
  /** Moves what is queued, and takes requests that were asked for before; no waiting. */
  submit(): void;
  /** Finds the next message that has been moved; false when there is none. */
  next(): boolean;
  /** Gives up what was asked for, and lets go of the connection. */
  close(): void;
}

/**
 * The fastest way that works here.
 *
 * @param fd Looked up anew for each message, so that another file may take its place.
 */
export function openFuseQueue(fd: number, entries: FuseEntries): FuseQueue {
  return FuseRing.open(fd, entries) ?? new FuseCalls(fd, entries);
}

/** By io_uring. A request that is not there yet stays asked for, in the kernel. */
export class FuseRing implements FuseQueue {
  entry = 0;
  isAnswer = false;
  readonly #fd: number;
  readonly #entries: FuseEntries;
  readonly #ring: IoUring;

  /** Undefined where io_uring is forbidden, or moves messages when nobody looks. */
  static open(fd: number, entries: FuseEntries): FuseRing | undefined {
    try {
      // FUSE takes no registered memory.
      const ring = new IoUring(2 ** Math.ceil(Math.log2(2 * entries.count)), { silent: true });
      if (ring.deferred) return new FuseRing(fd, entries, ring);
      ring.close();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
    }
    return undefined;
  }

  private constructor(fd: number, entries: FuseEntries, ring: IoUring) {
    this.#fd = fd;
    this.#entries = entries;
    this.#ring = ring;
  }

  get result(): number {
    return this.#ring.result;
  }

  get queued(): number {
    return this.#ring.queued;
  }

  receive(entry: number): void {
    const { arena, requestBytesMax } = this.#entries;
    const address = arena.address + this.#entries.requestAt(entry);
    this.#ring.read(2 * entry, this.#fd, address, requestBytesMax, 0);
  }

  answer(entry: number, bytes: number): void {
    const address = this.#entries.arena.address + this.#entries.answerAt(entry);
    this.#ring.write(2 * entry + 1, this.#fd, address, bytes, 0, false);
  }

  submit(): void {
    this.#ring.submit();
  }

  next(): boolean {
    if (!this.#ring.next()) return false;
    this.entry = this.#ring.tag >>> 1;
    this.isAnswer = (this.#ring.tag & 1) !== 0;
    return true;
  }

  close(): void {
    this.#ring.close();
  }
}

/** By system calls: an answer at once, requests when they are submitted. */
export class FuseCalls implements FuseQueue {
  entry = 0;
  isAnswer = false;
  result = 0;
  /** Answers do not wait. */
  readonly queued = 0;
  readonly #fd: number;
  readonly #entries: FuseEntries;
  readonly #requests: readonly Pointer[];
  readonly #answers: readonly Pointer[];
  /** Entries that wait for a request; the last one is the next. */
  readonly #waiting: Int32Array;
  #waitingCount = 0;
  /** Messages moved that `next` has not told of: 2 × entry + 1 for an answer, and their results. */
  readonly #moved: Int32Array;
  readonly #results: Int32Array;
  #movedFirst = 0;
  #movedCount = 0;

  constructor(fd: number, entries: FuseEntries) {
    this.#fd = fd;
    this.#entries = entries;
    const all = Array.from({ length: entries.count }, (_, entry) => entry);
    this.#requests = all.map((entry) => entries.arena.pointer(entries.requestAt(entry)));
    this.#answers = all.map((entry) => entries.arena.pointer(entries.answerAt(entry)));
    this.#waiting = new Int32Array(entries.count);
    this.#moved = new Int32Array(entries.count);
    this.#results = new Int32Array(entries.count);
  }

  receive(entry: number): void {
    this.#waiting[this.#waitingCount++] = entry;
  }

  answer(entry: number, bytes: number): void {
    const written = libc.write(this.#fd, this.#answers[entry]!, bytes);
    this.#tell(2 * entry + 1, written < 0 ? -errno() : written);
  }

  submit(): void {
    while (this.#waitingCount > 0) {
      const entry = this.#waiting[this.#waitingCount - 1]!;
      let result = this.#read(entry);
      // A connection ends by what is not EAGAIN, and errno was seen wrong once in a million failures.
      if (result < 0 && result !== -EAGAIN) result = this.#read(entry);
      if (result === -EAGAIN) return;
      this.#waitingCount--;
      this.#tell(2 * entry, result);
    }
  }

  next(): boolean {
    if (this.#movedCount === 0) return false;
    const at = this.#movedFirst;
    this.#movedFirst = at + 1 === this.#moved.length ? 0 : at + 1;
    this.#movedCount--;
    this.entry = this.#moved[at]! >>> 1;
    this.isAnswer = (this.#moved[at]! & 1) !== 0;
    this.result = this.#results[at]!;
    return true;
  }

  close(): void {
    this.#waitingCount = 0;
  }

  /** Bytes read, or −errno. */
  #read(entry: number): number {
    const bytes = libc.read(this.#fd, this.#requests[entry]!, this.#entries.requestBytesMax);
    return bytes < 0 ? -errno() || -EAGAIN : bytes;
  }

  #tell(moved: number, result: number): void {
    const at = (this.#movedFirst + this.#movedCount++) % this.#moved.length;
    this.#moved[at] = moved;
    this.#results[at] = result;
  }
}
