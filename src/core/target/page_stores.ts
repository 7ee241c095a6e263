// Buffered writes that go straight into pages that are mapped: a turn's in one system call, which does
// not enter the file system at all. Pages that are written again are, since those are dirty already
// (residency.ts); all else goes the ordinary way (disk_work.ts), and so does what cannot be stored,
// which tells what is wrong. The kernel does the copying: a page that is gone makes it stop there, where
// a store of our own would end the process by SIGBUS.

import { ENOSYS, EPERM } from "../../../ffi/errno_numbers.ts";
import { NONE } from "../tables.ts";
import { type DiskInPlace, STORES_MAX } from "./disk_queue.ts";
import type { TargetCommands } from "./commands.ts";
import type { TargetExport } from "./export.ts";
import type { ExportTable } from "./export_table.ts";

// The kernel writes a dirty page back after a while, and maps it read-only as it does: the next store
// waits for a page fault. A store is quicker than a write by about a third of what a fault costs,
// another processor's interrupt at writing back included (measured: 0.8 µs against 1.5 to 2.5), so
// that faults are paid for by the stores that need none. Where they are not, because a file that is
// large is written all over, stores rest.
/** Stores without a fault that earn what one with a fault costs. */
const FAULT_COST = 3;
/** Enough for all pages of a file of a gibibyte to be stored to for the first time; about a second. */
const CREDIT_MAX = FAULT_COST * 2 ** 18;
/** How long stores rest when what they had earned is used up. */
const REST_MS = 60_000;
/** How long an export has nothing stored after something could not be: its file is short, or full. */
const UNSTORABLE_MS = 1000;
/** Stores between two looks at how many faults there were, of reads that are gathered, too. */
const STORES_PER_LOOK = 1024;

/** The writes of one thread that are stored at the next opportunity. */
export class PageStores {
  /** Frames in line: the first `count`. */
  readonly frames = new Int32Array(STORES_MAX);
  count = 0;
  readonly #commands: TargetCommands;
  readonly #exports: ExportTable;
  readonly #inPlace: DiskInPlace;
  /** The kernel does not do it. */
  #impossible = false;
  #restUntilMs = -Infinity;
  #credit = CREDIT_MAX;
  #storesToLook = STORES_PER_LOOK;
  /** At the last look; `NONE`: there has been none since stores began, or rested. */
  #faults = NONE;

  constructor(parts: { commands: TargetCommands; exports: ExportTable; inPlace: DiskInPlace }) {
    this.#commands = parts.commands;
    this.#exports = parts.exports;
    this.#inPlace = parts.inPlace;
  }

  /** Whether writes may be put in line now. */
  ready(nowMs: number): boolean {
    return !this.#impossible && nowMs >= this.#restUntilMs;
  }

  /**
   * Puts a whole write in line, for which there is room, if it is worth storing; see
   * `TargetExport.tryStore`.
   *
   * @returns Whether it was.
   */
  add(ex: TargetExport, frame: number): boolean {
    const { byteCount, dataAt, gatherAddress } = this.#commands;
    const bytes = byteCount[frame]!;
    if (this.#faults === NONE) this.#faults = this.#inPlace.pageFaults();
    if (!ex.tryStore(this.#commands, frame, bytes)) return false;
    this.#inPlace.addStore(dataAt[frame]!, bytes, gatherAddress[frame]!);
    this.frames[this.count++] = frame;
    return true;
  }

  /**
   * Stores what is in line, and forgets it.
   *
   * @returns How many are done, from the first on; the others are to be written in the ordinary way.
   */
  carryOut(nowMs: number): number {
    const { byteCount, exportOf } = this.#commands;
    const { count, frames } = this;
    this.count = 0;
    for (let i = 0; i < count; i++) {
      const ex = this.#exports.at(exportOf[frames[i]!]!)!;
      if (ex.takeReach()) continue;
      ex.refuseStores(nowMs + UNSTORABLE_MS);
      this.#inPlace.forgetStores();
      return 0;
    }
    let left = this.#inPlace.store();
    if (left === -ENOSYS || left === -EPERM) this.#impossible = true;
    let done = 0;
    while (done < count && left >= byteCount[frames[done]!]!) left -= byteCount[frames[done++]!]!;
    if (done < count) {
      this.#exports.at(exportOf[frames[done]!]!)!.refuseStores(nowMs + UNSTORABLE_MS);
    }
    this.#storesToLook -= count;
    if (this.#storesToLook <= 0) this.#account(nowMs);
    return done;
  }

  #account(nowMs: number): void {
    const faults = this.#inPlace.pageFaults();
    const stores = STORES_PER_LOOK - this.#storesToLook;
    this.#credit += stores - FAULT_COST * (faults - this.#faults);
    if (this.#credit > CREDIT_MAX) this.#credit = CREDIT_MAX;
    if (this.#credit < 0) {
      this.#restUntilMs = nowMs + REST_MS;
      this.#credit = CREDIT_MAX;
    }
    this.#faults = this.ready(nowMs) ? faults : NONE;
    this.#storesToLook = STORES_PER_LOOK;
  }
}
