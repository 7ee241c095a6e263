// The simulation's disk: a volatile cache over stable storage, with latency, errors, and what a
// crash leaves of both.

import { EIO } from "../../ffi/errno_numbers.ts";
import { SECTOR_BYTES } from "../../src/wire/ata.ts";
import type { Random } from "./virtual_time.ts";

/** How the disk behaves. */
export interface DiskManners {
  /** Milliseconds of one operation, at least and at most. */
  latencyMinMs: number;
  latencyMaxMs: number;
  /** Share of operations that take up to `hangMs`. */
  hangs: number;
  hangMs: number;
  /** Share of reads and writes that fail. */
  errors: number;
  /** Share of operations that are done in part, or not at all this time. */
  partial: number;
  /** Share of fdatasyncs that fail; what they should have written is lost, and taken for written. */
  syncErrors: number;
  /** Written sectors are stable at once. */
  writeThrough: boolean;
}

/** Sectors with content, and which of it would survive a crash. */
export class Disk {
  readonly manners: DiskManners;
  sectors: number;
  /** What reads see. */
  current: Uint8Array;
  /** What a crash leaves at least. */
  stable: Uint8Array;
  /** Why reads and writes fail that do. */
  errorCode = EIO;
  /** Why writing back has failed of which nobody has been told; 0: it has not. */
  #untold = 0;
  readonly #dirty = new Set<number>();
  readonly #random: Random;

  constructor(random: Random, sectors: number, manners: DiskManners) {
    this.#random = random;
    this.sectors = sectors;
    this.manners = manners;
    this.current = new Uint8Array(sectors * SECTOR_BYTES);
    this.stable = new Uint8Array(sectors * SECTOR_BYTES);
  }

  /** Time that the next operation takes. */
  latencyMs(): number {
    const { latencyMinMs, latencyMaxMs, hangs, hangMs } = this.manners;
    const random = this.#random;
    const ms = latencyMinMs + random.next() * (latencyMaxMs - latencyMinMs);
    return random.chance(hangs) ? ms + random.next() * hangMs : ms;
  }

  /** Whether the next read or write fails. */
  fails(): boolean {
    return this.#random.chance(this.manners.errors);
  }

  /** Why the next fdatasync fails, 0 if it does not; what happened before it, it tells once. */
  syncError(): number {
    const untold = this.#untold;
    this.#untold = 0;
    return this.#random.chance(this.manners.syncErrors) ? EIO : untold;
  }

  /** The kernel writes back by itself what is not stable, and loses all of it. */
  loseInWriteback(code: number): void {
    this.#dirty.clear();
    this.#untold = code;
  }

  /** Copies sectors out. */
  read(lba: number, sectors: number, into: Uint8Array, at: number): void {
    into.set(this.current.subarray(lba * SECTOR_BYTES, (lba + sectors) * SECTOR_BYTES), at);
  }

  /** Copies sectors in; a failing write gets only a part of them in. */
  write(lba: number, sectors: number, from: Uint8Array, at: number, failing = false): void {
    for (let i = 0; i < sectors; i++) {
      if (failing && this.#random.chance(0.5)) continue;
      this.#put(lba + i, from.subarray(at + i * SECTOR_BYTES, at + (i + 1) * SECTOR_BYTES));
    }
  }

  /** Makes sectors zero. */
  discard(lba: number, sectors: number): void {
    for (let i = 0; i < sectors; i++) this.#put(lba + i, ZEROS);
  }

  /** What a flush that begins now has to make stable. */
  dirtySectors(): number[] {
    return [...this.#dirty];
  }

  /** Makes sectors stable as they are now. */
  stabilize(sectors: readonly number[]): void {
    for (const lba of sectors) {
      const from = lba * SECTOR_BYTES;
      this.stable.set(this.current.subarray(from, from + SECTOR_BYTES), from);
      this.#dirty.delete(lba);
    }
  }

  /** A failed fdatasync: the sectors are not stable, and no later one will try again. */
  forget(sectors: readonly number[]): void {
    for (const lba of sectors) this.#dirty.delete(lba);
  }

  /** Power fails: of what was not stable, any sectors may have reached the medium. */
  crash(): void {
    for (const lba of [...this.#dirty]) {
      if (this.#random.chance(0.5)) this.stabilize([lba]);
    }
    this.#dirty.clear();
    this.current = this.stable.slice();
  }

  /** Changes the size; new sectors are zero. */
  resize(sectors: number): void {
    for (const name of ["current", "stable"] as const) {
      const bytes = new Uint8Array(sectors * SECTOR_BYTES);
      bytes.set(this[name].subarray(0, bytes.length));
      this[name] = bytes;
    }
    this.sectors = sectors;
    for (const lba of [...this.#dirty]) if (lba >= sectors) this.#dirty.delete(lba);
  }

  #put(lba: number, bytes: Uint8Array): void {
    this.current.set(bytes, lba * SECTOR_BYTES);
    if (this.manners.writeThrough) this.stable.set(bytes, lba * SECTOR_BYTES);
    else this.#dirty.add(lba);
  }
}

const ZEROS = new Uint8Array(SECTOR_BYTES);
