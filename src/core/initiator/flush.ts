// What a flush promises: every write of whose success the caller had been told when he submitted it
// is stable.
//
// FLUSH CACHE EXT is tried first, then FLUSH CACHE, or the other way round where IDENTIFY says that
// the disk knows the second only; a target that refuses both is told of once, and
// flushes succeed at once from then on: nothing more can be done for it. A command that has once
// worked is known to it: its refusal is a failed flush (a disk aborts one that it cannot do).
//
// A target that crashes after it has answered writes, and is back before the flush, would answer
// that flush in good faith though the writes are gone. Where a target names its incarnation
// (wire/incarnation.ts), a flush therefore ends with an IDENTIFY: if the incarnation has changed
// since the oldest write it covers, the flush fails, once, as an fsync does after a failed
// write-back.

import { ATA_FLUSH_CACHE, ATA_FLUSH_CACHE_EXT } from "../../wire/ata.ts";
import { RESULT_ABORTED, RESULT_OK, RESULT_UNSUPPORTED, RESULT_WRITES_LOST } from "./results.ts";

/** `afterFlush`: send a flush again, with `command`. */
export const FLUSH_AGAIN = -1;

/** State of the flushes of one target. */
export class FlushTracker {
  /** ATA command to flush with; 0 once the target has refused both. */
  command: number = ATA_FLUSH_CACHE_EXT;
  /** Writes and discards of whose success the caller was told, ever. */
  writesCompleted = 0;
  /** How many of them, from the first, no flush has to care for any more. */
  writesSettled = 0;
  /** The command to begin with. */
  #first: number = ATA_FLUSH_CACHE_EXT;
  /** `command` has worked. */
  #worked = false;
  /** How many of them, from the first, a restart that was seen may have taken. */
  #writesAtRestart = 0;

  /** Takes what IDENTIFY says that the disk knows. */
  learn(flush: boolean, flushExt: boolean): void {
    const first = flush && !flushExt ? ATA_FLUSH_CACHE : ATA_FLUSH_CACHE_EXT;
    if (first === this.#first) return;
    this.#first = first;
    this.#worked = false;
    this.command = first;
  }

  /** The target's incarnation has changed. */
  restarted(): void {
    this.#writesAtRestart = this.writesCompleted;
    // It may be another program now.
    this.#worked = false;
    this.command = this.#first;
  }

  /**
   * The caller is told of a write's success.
   *
   * @param torn A part of it was answered before a restart that was seen, and may be gone.
   */
  writeCompleted(torn: boolean): void {
    this.writesCompleted++;
    if (torn) this.#writesAtRestart = this.writesCompleted;
  }

  /**
   * The flush command was answered.
   *
   * @param sent ATA command it was sent with.
   * @returns A result, or `FLUSH_AGAIN`.
   */
  afterFlush(sent: number, result: number): number {
    const current = sent === this.command;
    if (result === RESULT_OK && current) this.#worked = true;
    if (result !== RESULT_ABORTED && result !== RESULT_UNSUPPORTED) return result;
    // One that was sent before the other command was chosen says nothing about that one.
    if (this.#worked && current) return result;
    if (current) {
      const second = this.#first === ATA_FLUSH_CACHE ? ATA_FLUSH_CACHE_EXT : ATA_FLUSH_CACHE;
      this.command = sent === this.#first ? second : 0;
    }
    return this.command === 0 ? RESULT_OK : FLUSH_AGAIN;
  }

  /**
   * Whether a flush must look at the incarnation before it may succeed.
   *
   * @param settled `writesSettled` when it was submitted.
   * @param covered `writesCompleted` when it was submitted.
   */
  mustVerify(settled: number, covered: number, incarnation: number): boolean {
    return covered > settled && incarnation !== 0;
  }

  /**
   * A flush ends; arguments as for `mustVerify`.
   *
   * @param result What its commands came to.
   * @returns The result for the caller.
   */
  ended(settled: number, covered: number, result: number): number {
    if (result !== RESULT_OK) return result;
    this.writesSettled = Math.max(this.writesSettled, covered);
    return settled < Math.min(covered, this.#writesAtRestart) ? RESULT_WRITES_LOST : RESULT_OK;
  }
}
