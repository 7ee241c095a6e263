// The exports of one thread: found by their address in one step however many there are, and those
// that have something to do, so that a turn costs nothing for the others.
//
// An export is served from `add` to `leave`; until `forget` what it has in its hands goes on.

import { NONE } from "../tables.ts";
import type { TargetExport } from "./export.ts";

/** Exports of one thread at most: its tables are made for so many. */
export const EXPORTS_MAX = 256;
/** A power of two, of which a quarter is in use at most. */
const HASH_ENTRIES = 4 * EXPORTS_MAX;
/** 2^32 divided by the golden ratio spreads numbers that follow each other (Knuth, 6.4). */
const HASH_FACTOR = 0x9e3779b1;
const HASH_SHIFT = 22;

/** Exports that come and go while others are served. */
export class ExportTable {
  /** Those that are served. */
  readonly list: TargetExport[] = [];
  /** Those with something to do: the first `activeCount`. */
  readonly active: (TargetExport | undefined)[] = new Array(EXPORTS_MAX).fill(undefined);
  activeCount = 0;
  /** Those served, and those whose last commands are not over. */
  count = 0;
  /** Whether all of them are on one disk: when that hangs, it stops each of them in any case. */
  onOneDisk = true;
  /** Of the turn: not handed over for a frame, since V8 would box it. */
  #nowMs = 0;
  readonly #byIndex: (TargetExport | undefined)[] = new Array(EXPORTS_MAX).fill(undefined);
  readonly #keys = new Int32Array(HASH_ENTRIES).fill(NONE);
  readonly #found: (TargetExport | undefined)[] = new Array(HASH_ENTRIES).fill(undefined);

  /** @param exports The first ones. */
  constructor(exports: readonly TargetExport[] = []) {
    for (const ex of exports) this.add(ex);
  }

  /** One that is served, or whose last commands are not over. */
  at(index: number): TargetExport | undefined {
    return this.#byIndex[index];
  }

  /** The one that is served as shelf.slot. */
  find(shelf: number, slot: number): TargetExport | undefined {
    const key = shelf << 8 | slot;
    for (let at = entryOf(key);; at = (at + 1) % HASH_ENTRIES) {
      const found = this.#keys[at]!;
      if (found === key) return this.#found[at];
      if (found === NONE) return undefined;
    }
  }

  /** Serves one more, with an index and an address of its own. */
  add(ex: TargetExport): void {
    this.#byIndex[ex.index] = ex;
    this.count++;
    this.list.push(ex);
    this.#enter(ex);
    this.#compareDisks();
  }

  /** Serves one no more: no command finds it. */
  leave(ex: TargetExport): void {
    this.list.splice(this.list.indexOf(ex), 1);
    this.#keys.fill(NONE);
    this.#found.fill(undefined);
    for (const other of this.list) this.#enter(other);
  }

  /** Forgets one that has left, and whose commands are over. */
  forget(ex: TargetExport): void {
    this.#byIndex[ex.index] = undefined;
    this.count--;
    this.#compareDisks();
  }

  /** A turn begins. */
  beginTurn(nowMs: number): void {
    this.#nowMs = nowMs;
    for (let i = 0; i < this.activeCount; i++) this.active[i]!.beginTurn(nowMs);
  }

  /** One has something to do. */
  activate(ex: TargetExport): void {
    ex.active = true;
    ex.beginTurn(this.#nowMs);
    this.active[this.activeCount++] = ex;
  }

  /** Ends a turn of those that have something to do; who has nothing left is left alone. */
  endTurn(): void {
    const active = this.active;
    for (let i = this.activeCount - 1; i >= 0; i--) {
      const ex = active[i]!;
      if (!ex.endTurn()) continue;
      ex.active = false;
      active[i] = active[--this.activeCount];
      active[this.activeCount] = undefined;
    }
  }

  #compareDisks(): void {
    const present = this.#byIndex.filter((ex) => ex !== undefined);
    const disk = present[0]?.settings.disk;
    this.onOneDisk = this.count < 2 ||
      disk !== undefined && present.every((ex) => ex.settings.disk === disk);
  }

  #enter(ex: TargetExport): void {
    const { shelf, slot } = ex.settings;
    const key = shelf << 8 | slot;
    let at = entryOf(key);
    while (this.#keys[at] !== NONE) at = (at + 1) % HASH_ENTRIES;
    this.#keys[at] = key;
    this.#found[at] = ex;
  }
}

function entryOf(key: number): number {
  return Math.imul(key, HASH_FACTOR) >>> HASH_SHIFT;
}
