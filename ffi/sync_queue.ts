// The same interface as `IoUring`, for kernels and containers without it: each operation is carried
// out by a blocking system call when it is queued, and its completion waits to be taken.

import type { Arena } from "./arena.ts";
import { punchHole, readAt, syncFile, writeAt } from "./files.ts";
import type { Pointer } from "./libc.ts";

/** Disk work done at once. */
export class SyncQueue {
  /** Nothing to wait for: completions are there as soon as the work is queued. */
  readonly event = -1;
  inFlight = 0;
  /** Completions that wait to be taken: the same as those in flight. */
  get queued(): number {
    return this.inFlight;
  }
  /** Iovecs are used while work is queued, and not after. */
  readonly needsVectors = false;
  tag = 0;
  result = 0;

  /** Most operations between two rounds of `next`: a power of two. */
  readonly entries: number;
  readonly #arena: Arena;
  readonly #tags: Int32Array;
  readonly #results: Int32Array;
  readonly #iovec: number;
  readonly #iovecPointer: Pointer;
  readonly #offset: number;
  readonly #pointerOf: ((address: number) => Pointer) | undefined;
  #first = 0;

  /**
   * @param operations Most operations between two rounds of `next`.
   * @param pointerOf Turns the address of iovecs back into the pointer it came from; without it
   * there are no operations of several pieces.
   */
  constructor(arena: Arena, operations: number, pointerOf?: (address: number) => Pointer) {
    this.#arena = arena;
    const entries = this.entries = 2 ** Math.ceil(Math.log2(operations));
    this.#tags = new Int32Array(entries);
    this.#results = new Int32Array(entries);
    this.#iovec = arena.allocate(16);
    this.#iovecPointer = arena.pointer(this.#iovec);
    this.#offset = arena.allocate(8);
    this.#pointerOf = pointerOf;
  }

  /** See `IoUring.registerBuffer`: there is nothing to register. */
  registerBuffer(_arena: Arena, _at: number, _bytes: number): void {}

  /** See `IoUring.addFile`: there is nothing to register. */
  reserveFiles(_files: number): void {}
  addFile(_fd: number): void {}
  removeFile(_fd: number): void {}

  /** See `IoUring.read`. */
  read(
    tag: number,
    fd: number,
    address: number,
    bytes: number,
    offset: number,
    _remote = false,
  ): void {
    this.#done(
      tag,
      readAt(fd, this.#vectorOf(address, bytes), 1, this.#arena.i64, this.#storeOffset(offset)),
    );
  }

  /** See `IoUring.readVectors`. */
  readVectors(
    tag: number,
    fd: number,
    iovecs: number,
    count: number,
    offset: number,
    _remote = false,
  ): void {
    this.#done(
      tag,
      readAt(fd, this.#pointerOf!(iovecs), count, this.#arena.i64, this.#storeOffset(offset)),
    );
  }

  /** See `IoUring.write`. */
  write(
    tag: number,
    fd: number,
    address: number,
    bytes: number,
    offset: number,
    stable: boolean,
    _remote = false,
  ): void {
    const stored = this.#storeOffset(offset);
    const iovec = this.#vectorOf(address, bytes);
    this.#done(tag, writeAt(fd, iovec, 1, this.#arena.i64, stored, stable));
  }

  /** See `IoUring.writeVectors`. */
  writeVectors(
    tag: number,
    fd: number,
    iovecs: number,
    count: number,
    offset: number,
    stable: boolean,
    _remote = false,
  ): void {
    const stored = this.#storeOffset(offset);
    this.#done(tag, writeAt(fd, this.#pointerOf!(iovecs), count, this.#arena.i64, stored, stable));
  }

  /** See `IoUring.sync`. */
  sync(tag: number, fd: number): void {
    this.#done(tag, syncFile(fd));
  }

  /** See `IoUring.punch`. */
  punch(tag: number, fd: number, offset: number, bytes: number): void {
    this.#done(tag, punchHole(fd, offset, bytes));
  }

  /** See `IoUring.submit`: all is done already. */
  submit(): void {}

  /** See `IoUring.next`. */
  next(): boolean {
    if (this.inFlight === 0) return false;
    this.tag = this.#tags[this.#first]!;
    this.result = this.#results[this.#first]!;
    this.#first = (this.#first + 1) % this.#tags.length;
    this.inFlight--;
    return true;
  }

  /** See `IoUring.allowBlocked`: here each operation blocks by itself. */
  allowBlocked(_operations: number): void {}

  close(): void {}

  #done(tag: number, result: number): void {
    if (this.inFlight === this.#tags.length) throw new RangeError("Completion queue is full");
    const at = (this.#first + this.inFlight) % this.#tags.length;
    this.#tags[at] = tag;
    this.#results[at] = result;
    this.inFlight++;
  }

  /** The queue's own iovec, made one of memory at an address. */
  #vectorOf(address: number, bytes: number): Pointer {
    this.#arena.setUint64(this.#iovec, address);
    this.#arena.u32[(this.#iovec >>> 2) + 2] = bytes;
    return this.#iovecPointer;
  }

  /** Stores a file offset as 64 bits; its index in the arena. */
  #storeOffset(offset: number): number {
    this.#arena.setUint64(this.#offset, offset);
    return this.#offset >>> 3;
  }
}
