// The simulation's disk behind the target's seam (core/target/disk_queue.ts): operations that take
// time, come back in any order, in part, or with an error; work in place; pages in memory; and what
// a kernel does of which a target must know: it copies iovecs when it is handed the work and not
// before, and a failed fdatasync marks what it has lost as clean.

import { EAGAIN, EFAULT, EINTR, EINVAL } from "../../ffi/errno_numbers.ts";
import { SECTOR_BYTES } from "../../src/wire/ata.ts";
import type {
  DiskInPlace,
  DiskQueue,
  IovecLine,
  PageMap,
} from "../../src/core/target/disk_queue.ts";
import { ATA_DATA } from "../../src/wire/ata.ts";
import type { FrameMemory, FramePool } from "../../src/core/target/frames.ts";
import type { Disk } from "./disk.ts";
import type { Clock, Random } from "./virtual_time.ts";

/** Addresses of the frames' memory, of iovecs and of mapped pages lie far apart. */
const MEMORY_ADDRESS = 0x1000_0000;
const IOVEC_ADDRESS = 0x4_0000_0000;
const PAGES_ADDRESS = 0x100_0000_0000;
const IOVEC_BYTES = 16;

/** What is done to the disk's work, to show that it matters. */
export interface DiskBreakages {
  /** An fdatasync does nothing. */
  readonly skipSync: boolean;
  /** An fdatasync is said to be over when it begins. */
  readonly earlySync: boolean;
  /** A merged write forgets its last command. */
  readonly loseNeighbour: boolean;
  /** Stores that ended early are said to be whole. */
  readonly wholeStores: boolean;
}

/** Memory for frames. */
export class SimulatedMemory implements FrameMemory {
  readonly bytes: Uint8Array;
  readonly address = MEMORY_ADDRESS;
  #used = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  allocate(bytes: number, alignment: number): number {
    const at = Math.ceil(this.#used / alignment) * alignment;
    this.#used = at + bytes;
    if (this.#used > this.bytes.length) throw new RangeError("Simulated memory is used up");
    return at;
  }
}

interface Piece {
  readonly at: number;
  readonly bytes: number;
}

/** Iovecs, which are gone once they are forgotten. */
export class SimulatedVectors implements IovecLine {
  readonly #pieces: Piece[] = [];

  get used(): number {
    return this.#pieces.length;
  }

  fits(count: number): boolean {
    return this.used + count <= 64;
  }

  add(memoryAt: number, bytes: number): void {
    this.#pieces.push({ at: memoryAt, bytes });
  }

  address(i: number): number {
    return IOVEC_ADDRESS + i * IOVEC_BYTES;
  }

  clear(): void {
    this.#pieces.length = 0;
  }

  /** What the kernel copies: `count` iovecs from an address on. */
  copy(address: number, count: number): readonly Piece[] {
    const first = (address - IOVEC_ADDRESS) / IOVEC_BYTES;
    if (first + count > this.#pieces.length) throw new Error("An iovec was gone when it was used");
    return this.#pieces.slice(first, first + count);
  }
}

/** A file's pages, all of them mapped, some of them in memory. */
export class SimulatedPages implements PageMap {
  readonly hasReplaced = false;
  readonly writable = true;
  readonly #random: Random;
  readonly #fileBytes: () => number;

  constructor(random: Random, fileBytes: () => number) {
    this.#random = random;
    this.#fileBytes = fileBytes;
  }

  reaches(end: number): boolean {
    return end <= this.#fileBytes() && !this.#random.chance(0.05);
  }

  address(_place: number): number {
    return PAGES_ADDRESS;
  }

  map(): void {}
  unmapReplaced(): void {}

  resident(): boolean {
    return this.#random.chance(0.8);
  }

  /** The file's offset that an address stands for. */
  static offsetOf(address: number): number {
    return address - PAGES_ADDRESS;
  }
}

interface Operation {
  readonly kind: "read" | "write" | "sync" | "punch";
  readonly tag: number;
  readonly direct: boolean;
  readonly offset: number;
  readonly stable: boolean;
  /** Iovecs' address and count, or none and the data's own place. */
  readonly iovecs: number;
  readonly count: number;
  pieces: readonly Piece[];
}

/** The disk of one export. */
export class SimulatedQueue implements DiskQueue {
  inFlight = 0;
  queued = 0;
  tag = 0;
  result = 0;

  readonly #clock: Clock;
  readonly #random: Random;
  readonly #disk: Disk;
  readonly #memory: Uint8Array;
  readonly #vectors: SimulatedVectors;
  readonly #pool: FramePool;
  readonly #options: {
    readonly offsetBytes: number;
    readonly directFd: number;
    /** Whether some of it is in a page cache. */
    readonly cached: boolean;
    readonly breakages: DiskBreakages;
    readonly wake: () => void;
  };
  readonly #line: Operation[] = [];
  readonly #open = new Set<Operation>();
  readonly #done: { tag: number; result: number }[] = [];
  #stores: (Piece & { readonly offset: number })[] = [];
  #dead = false;

  constructor(
    clock: Clock,
    random: Random,
    disk: Disk,
    parts: {
      memory: SimulatedMemory;
      vectors: SimulatedVectors;
      pool: FramePool;
      offsetBytes: number;
      directFd: number;
      cached: boolean;
      breakages: DiskBreakages;
      wake: () => void;
    },
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#disk = disk;
    this.#memory = parts.memory.bytes;
    this.#vectors = parts.vectors;
    this.#pool = parts.pool;
    this.#options = parts;
  }

  get needsVectors(): boolean {
    return this.queued > 0;
  }

  read(tag: number, fd: number, address: number, bytes: number, offset: number): void {
    this.#queue("read", tag, fd, offset, false, [{ at: address - MEMORY_ADDRESS, bytes }]);
  }

  readVectors(tag: number, fd: number, iovecs: number, count: number, offset: number): void {
    this.#queue("read", tag, fd, offset, false, [], iovecs, count);
  }

  write(
    tag: number,
    fd: number,
    address: number,
    bytes: number,
    offset: number,
    stable: boolean,
  ): void {
    this.#queue("write", tag, fd, offset, stable, [{ at: address - MEMORY_ADDRESS, bytes }]);
  }

  writeVectors(
    tag: number,
    fd: number,
    iovecs: number,
    count: number,
    offset: number,
    stable: boolean,
  ): void {
    this.#queue("write", tag, fd, offset, stable, [], iovecs, count);
  }

  sync(tag: number, fd: number): void {
    this.#queue("sync", tag, fd, 0, false, []);
  }

  punch(tag: number, fd: number, offset: number, bytes: number): void {
    this.#queue("punch", tag, fd, offset, false, [{ at: 0, bytes }]);
  }

  submit(): void {
    this.queued = 0;
    for (const operation of this.#line.splice(0)) {
      if (operation.count > 0) {
        operation.pieces = this.#vectors.copy(operation.iovecs, operation.count);
      }
      this.#begin(operation);
    }
  }

  next(): boolean {
    const done = this.#done.shift();
    if (done === undefined) return false;
    this.inFlight--;
    this.tag = done.tag;
    this.result = done.result;
    return true;
  }

  /** Power fails: work under way is done in part, or not. */
  die(): void {
    this.#dead = true;
    for (const operation of this.#open) {
      if (operation.kind !== "write" || !this.#random.chance(0.3)) continue;
      this.#carry(operation.pieces, operation.offset, Infinity, true, true);
    }
  }

  /** The same disk in place, where an fdatasync has no tag and a frame stands for its data. */
  get inPlace(): DiskInPlace {
    return {
      readCached: (_fd, frame, sectors, offset) => {
        if (!this.#options.cached || this.#random.chance(0.5)) return -EAGAIN;
        const bytes = sectors * SECTOR_BYTES;
        const pieces = [{ at: this.#pool.start(frame) + ATA_DATA, bytes }];
        const result = Math.max(0, this.#shorten(bytes));
        this.#carry(pieces, offset, result, false, false);
        return result;
      },
      write: (_fd, dataAt, sectors, offset) =>
        this.#writeInPlace([{ at: dataAt, bytes: sectors * SECTOR_BYTES }], offset, false),
      writeVectors: (_fd, vector, count, offset, stable) =>
        this.#writeInPlace(
          this.#vectors.copy(this.#vectors.address(vector), count),
          offset,
          stable,
        ),
      addStore: (at, bytes, address) => {
        this.#stores.push({ at, bytes, offset: SimulatedPages.offsetOf(address) });
      },
      store: () => this.#store(),
      forgetStores: () => {
        this.#stores = [];
      },
      pageFaults: () => 0,
      sync: () => this.#syncNow(this.#disk.dirtySectors()),
    };
  }

  /** Copies one after the other, until a page cannot be had. */
  #store(): number {
    const stores = this.#stores;
    this.#stores = [];
    let copied = 0;
    for (const { at, bytes, offset } of stores) {
      const failing = this.#disk.fails();
      const part = failing ? 0 : Math.max(0, this.#shorten(bytes));
      this.#carry([{ at, bytes }], offset, part, true, false);
      copied += part;
      if (part < bytes) break;
    }
    if (this.#options.breakages.wholeStores) {
      return stores.reduce((sum, { bytes }) => sum + bytes, 0);
    }
    return copied === 0 ? -EFAULT : copied;
  }

  #writeInPlace(
    pieces: readonly Piece[],
    offset: number,
    stable: boolean,
  ): number {
    const disk = this.#disk;
    const bytes = pieces.reduce((sum, piece) => sum + piece.bytes, 0);
    const result = this.#shorten(bytes);
    if (result < 0) return result;
    const failing = disk.fails();
    this.#carry(pieces, offset, result, true, failing);
    if (failing) return -disk.errorCode;
    return stable ? this.#stabilize(offset, result) : result;
  }

  #queue(
    kind: Operation["kind"],
    tag: number,
    fd: number,
    offset: number,
    stable: boolean,
    pieces: readonly Piece[],
    iovecs = 0,
    count = 0,
  ): void {
    this.queued++;
    this.inFlight++;
    this.#line.push({
      ...{ kind, tag, offset, stable, pieces, iovecs, count },
      direct: fd === this.#options.directFd,
    });
  }

  #begin(operation: Operation): void {
    this.#open.add(operation);
    const dirty = operation.kind === "sync" ? this.#disk.dirtySectors() : [];
    if (operation.kind === "sync" && this.#options.breakages.earlySync) {
      this.#finish(operation, 0);
    }
    this.#clock.after(this.#disk.latencyMs(), () => {
      if (this.#dead) return;
      const result = this.#carryOut(operation, dirty);
      if (this.#open.has(operation)) this.#finish(operation, result);
    });
  }

  #finish(operation: Operation, result: number): void {
    this.#open.delete(operation);
    this.#done.push({ tag: operation.tag, result });
    this.#options.wake();
  }

  #carryOut(operation: Operation, dirty: readonly number[]): number {
    const { kind, offset, pieces } = operation;
    if (kind === "sync") return this.#syncNow(dirty);
    const disk = this.#disk;
    const bytes = pieces.reduce((sum, piece) => sum + piece.bytes, 0);
    if (kind === "punch") {
      const first = this.#sectorOf(offset);
      const sectors = Math.min(bytes / SECTOR_BYTES, disk.sectors - first);
      if (sectors > 0) disk.discard(first, sectors);
      return 0;
    }
    const result = operation.direct && this.#random.chance(0.02) ? -EINVAL : this.#shorten(bytes);
    if (result < 0) return result;
    const failing = disk.fails();
    if (kind === "read") {
      if (failing) return -disk.errorCode;
      this.#carry(pieces, offset, result, false, false);
      return result;
    }
    this.#carry(pieces, offset, result, true, failing);
    if (failing) return -disk.errorCode;
    return operation.stable ? this.#stabilize(offset, result) : result;
  }

  /** How much of an operation is done: mostly all, at times a part, or nothing this time. */
  #shorten(bytes: number): number {
    const random = this.#random;
    if (!random.chance(this.#disk.manners.partial)) return bytes;
    if (bytes === SECTOR_BYTES || random.chance(0.3)) return random.chance(0.5) ? -EAGAIN : -EINTR;
    return SECTOR_BYTES * (1 + random.below(bytes / SECTOR_BYTES - 1));
  }

  /** Moves sectors between memory and disk; a failing write gets only a part of them in. */
  #carry(
    pieces: readonly Piece[],
    offset: number,
    bytes: number,
    write: boolean,
    failing: boolean,
  ): void {
    let sector = this.#sectorOf(offset);
    let left = bytes;
    pieces.forEach((piece, i) => {
      const part = Math.min(left, piece.bytes);
      const sectors = part / SECTOR_BYTES;
      left -= part;
      const lost = this.#options.breakages.loseNeighbour && i > 0 && i === pieces.length - 1;
      if (sectors > 0 && !lost) {
        if (write) this.#disk.write(sector, sectors, this.#memory, piece.at, failing);
        else this.#disk.read(sector, sectors, this.#memory, piece.at);
      }
      sector += sectors;
    });
  }

  #stabilize(offset: number, bytes: number): number {
    const first = this.#sectorOf(offset);
    return this.#syncSectors(
      Array.from({ length: bytes / SECTOR_BYTES }, (_, i) => first + i),
      bytes,
    );
  }

  #syncNow(dirty: readonly number[]): number {
    return this.#options.breakages.skipSync
      ? 0
      : this.#syncSectors(dirty.filter((lba) => lba < this.#disk.sectors), 0);
  }

  #syncSectors(sectors: readonly number[], result: number): number {
    const code = this.#disk.syncError();
    if (code !== 0) {
      this.#disk.forget(sectors);
      return -code;
    }
    this.#disk.stabilize(sectors);
    return result;
  }

  #sectorOf(offset: number): number {
    return (offset - this.#options.offsetBytes) / SECTOR_BYTES;
  }
}
