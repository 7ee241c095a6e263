// What a target asks of the disk behind an export: the first of its two seams. io_uring, plain
// system calls, the connection to an NBD server and the simulation's disk are such queues.
//
// A tag is the number of a frame, or SYNC_TAG and the number of an export. A descriptor stands for a
// file, or, where it is negative, for whatever the queue knows by that number. An address is one of
// the memory that the frames lie in.

/** Work for disks, carried out in any order, each operation completing once. */
export interface DiskQueue {
  /** Operations queued or under way, and those whose completion `next` has not taken. */
  readonly inFlight: number;
  /** Those of them that a `submit` has still to hand over, or that have completed already. */
  readonly queued: number;
  /** Whether operations not yet handed over still need the iovecs that they were given. */
  readonly needsVectors: boolean;
  /** Of the operation that `next` has found. */
  readonly tag: number;
  /** Its result: bytes carried over, 0, or −errno. */
  readonly result: number;

  /**
   * Queues a read of `bytes` at `offset` to `address`.
   *
   * @param remote The file system would block the thread that submits.
   */
  read(
    tag: number,
    fd: number,
    address: number,
    bytes: number,
    offset: number,
    remote: boolean,
  ): void;
  /** Queues a read at `offset` into `count` iovecs from the address `iovecs` on. */
  readVectors(
    tag: number,
    fd: number,
    iovecs: number,
    count: number,
    offset: number,
    remote: boolean,
  ): void;
  /**
   * Queues a write of `bytes` at `offset` from `address`.
   *
   * @param stable Completes only once the data are on stable storage.
   * @param remote As in `read`.
   */
  write(
    tag: number,
    fd: number,
    address: number,
    bytes: number,
    offset: number,
    stable: boolean,
    remote: boolean,
  ): void;
  /** Queues a write at `offset` from `count` iovecs. */
  writeVectors(
    tag: number,
    fd: number,
    iovecs: number,
    count: number,
    offset: number,
    stable: boolean,
    remote: boolean,
  ): void;
  /** Queues an fdatasync of everything that has completed before. */
  sync(tag: number, fd: number): void;
  /** Queues a discard of `bytes` at `offset`, which then read as zeros. */
  punch(tag: number, fd: number, offset: number, bytes: number): void;
  /** Hands over what is queued, and looks for what has completed; never waits. */
  submit(): void;
  /** Takes one completion into `tag` and `result`; false when there is none. */
  next(): boolean;
}

/** Work that is done at once through the page cache; the thread waits for it. */
export interface DiskInPlace {
  /**
   * Reads into a frame what is in memory, without waiting for a disk; bytes read, or −errno: EAGAIN
   * when nothing is there, EOPNOTSUPP where that cannot be told.
   */
  readCached(fd: number, frame: number, sectors: number, offset: number): number;
  /**
   * Writes whole sectors at `offset`, from `dataAt` in what the frames lie in, a multiple of 512; bytes
   * written, or −errno.
   */
  write(fd: number, dataAt: number, sectors: number, offset: number): number;
  /** Writes from `count` iovecs, from number `vector` on; otherwise as `DiskQueue.writeVectors`. */
  writeVectors(fd: number, vector: number, count: number, offset: number, stable: boolean): number;
  /** Puts a store in line: of `bytes` from `dataAt`, as in `write`, to an address of a page. */
  addStore(dataAt: number, bytes: number, address: number): void;
  /**
   * Copies what is in line to where it is to be, in order, and forgets the line: `STORES_MAX` at most.
   *
   * @returns Bytes copied, less than all where a page cannot be written, or −errno.
   */
  store(): number;
  /** Forgets the line. */
  forgetStores(): void;
  /** Page faults of this thread so far. */
  pageFaults(): number;
  /** fdatasync(2); 0 or −errno. */
  sync(fd: number): number;
}

/** Most pieces that are stored at a time. */
export const STORES_MAX = 64;

/** Iovecs of the operations of one turn, numbered from 0. */
export interface IovecLine {
  /** Number of the next one that `add` makes. */
  readonly used: number;
  /** Whether `count` more fit. */
  fits(count: number): boolean;
  /** Adds one for memory at an offset of what the frames lie in. */
  add(memoryAt: number, bytes: number): void;
  /** Address of number `i`. */
  address(i: number): number;
  /** Forgets all of them. */
  clear(): void;
}

/** A file's pages in memory, mapped in segments; the address of a page is all that is taken. */
export interface PageMap {
  /** Whether a segment that has lost its place is still mapped. */
  readonly hasReplaced: boolean;
  /** Whether pages may be written by their addresses. */
  readonly writable: boolean;
  /** Address of the segment in a place. */
  address(place: number): number;
  /**
   * Puts a segment into a place; what was there stays mapped until `unmapReplaced`.
   *
   * @throws When the file cannot be mapped at all.
   */
  map(place: number, segment: number): void;
  /** Unmaps the segment that has lost its place: nothing waits to be sent from it. */
  unmapReplaced(): void;
  /** Whether `bytes` at `offset` of the segment in a place are all in memory. */
  resident(place: number, offset: number, bytes: number): boolean;
  /** Whether the file is that long at this moment: what is stored behind its end is lost. */
  reaches(end: number): boolean;
}
