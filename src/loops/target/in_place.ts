// Disk work in place: system calls that put a frame's data into the page cache at once, and
// fdatasync. Nothing is made for a call: the pointers stand ready, an offset goes through the arena.

import type { Arena } from "../../../ffi/arena.ts";
import { CopyLine } from "../../../ffi/memory_copy.ts";
import { readCached, syncFile, writeAt, writeBlock } from "../../../ffi/files.ts";
import type { Pointer } from "../../../ffi/libc.ts";
import type { VectorTable } from "../../../ffi/iovec_table.ts";
import type { DiskInPlace } from "../../core/target/disk_queue.ts";
import { STORES_MAX } from "../../core/target/disk_queue.ts";
import type { FramePool } from "../../core/target/frames.ts";
import { ATA_DATA, SECTOR_BYTES } from "../../wire/ata.ts";

/** Bytes of so many sectors, for parameters of 64 bits. */
const BYTES_OF_SECTORS = Array.from(
  { length: 256 },
  (_, sectors) => BigInt(sectors * SECTOR_BYTES),
);

/** Data lie at multiples of a sector's bytes, in frames as in slots of a ring. */
const SECTOR_SHIFT = Math.log2(SECTOR_BYTES);

/** Struct iovec. */
const IOVEC_BYTES = 16;

/** The files of one worker, written through the page cache. */
export class FilesInPlace implements DiskInPlace {
  readonly #arena: Arena;
  readonly #vectors: VectorTable;
  /** For each 512 bytes of the arena a pointer, once data have been written from there. */
  readonly #data: Pointer[];
  /** An iovec for each frame's data; its length is set as it is used. */
  readonly #iovecsAt: number;
  readonly #iovecs: readonly Deno.PointerValue[];
  /** Arena offset of eight bytes for a file offset on its way into a 64-bit parameter. */
  readonly #offsetAt: number;
  readonly #stores: CopyLine;

  constructor(arena: Arena, pool: FramePool, vectors: VectorTable) {
    this.#arena = arena;
    this.#vectors = vectors;
    this.#offsetAt = arena.allocate(8);
    this.#stores = new CopyLine(arena, STORES_MAX);
    this.#data = new Array(Math.ceil(arena.bytes.length / SECTOR_BYTES)).fill(null);
    const at = this.#iovecsAt = arena.allocate(pool.count * IOVEC_BYTES, IOVEC_BYTES);
    this.#iovecs = Array.from({ length: pool.count }, (_, frame) => {
      arena.setUint64(at + frame * IOVEC_BYTES, pool.address(frame) + ATA_DATA);
      return arena.pointer(at + frame * IOVEC_BYTES);
    });
  }

  readCached(fd: number, frame: number, sectors: number, offset: number): number {
    this.#storeOffset(offset);
    this.#arena.u32[(this.#iovecsAt + frame * IOVEC_BYTES + 8) >>> 2] = sectors * SECTOR_BYTES;
    const iovec = this.#iovecs[frame]!;
    return readCached(fd, iovec, 1, this.#arena.i64, this.#offsetAt >>> 3);
  }

  write(fd: number, dataAt: number, sectors: number, offset: number): number {
    this.#storeOffset(offset);
    const memory = this.#data[dataAt >>> SECTOR_SHIFT] ?? this.#pointer(dataAt);
    return writeBlock(
      fd,
      memory,
      BYTES_OF_SECTORS[sectors]!,
      this.#arena.i64,
      this.#offsetAt >>> 3,
    );
  }

  writeVectors(fd: number, vector: number, count: number, offset: number, stable: boolean): number {
    this.#storeOffset(offset);
    const iovecs = this.#vectors.pointer(vector);
    return writeAt(fd, iovecs, count, this.#arena.i64, this.#offsetAt >>> 3, stable);
  }

  addStore(dataAt: number, bytes: number, address: number): void {
    this.#stores.add(dataAt, bytes, address);
  }

  store(): number {
    return this.#stores.copy();
  }

  forgetStores(): void {
    this.#stores.clear();
  }

  pageFaults(): number {
    return this.#stores.pageFaults();
  }

  sync(fd: number): number {
    return syncFile(fd);
  }

  #pointer(dataAt: number): Pointer {
    return this.#data[dataAt >>> SECTOR_SHIFT] = this.#arena.pointer(dataAt);
  }

  /** Puts a file offset where a BigInt can be read from. */
  #storeOffset(offset: number): void {
    this.#arena.setUint64(this.#offsetAt, offset);
  }
}
