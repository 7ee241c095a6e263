// Group commit: answers that promise stable storage wait for an fdatasync that all of them share
// (FLUSH, and every write where the cache is off). See loop.ts for the way of a request.

import { syncFile } from "../../../ffi/files.ts";
import { DRIVE_FLUSH } from "../../core/target/drive.ts";
import { OUTCOME_DONE, OUTCOME_FAILED } from "../../core/target/target.ts";
import type { DiskQueue } from "./disk_queues.ts";
import type { FramePool } from "./frames.ts";
import type { TargetAnswers } from "./answers.ts";
import { TARGET_COUNT_ERRORS, TARGET_COUNT_FLUSHES, TARGET_COUNT_SYNCS } from "./counters.ts";
import type { TargetCounters } from "./counters.ts";
import type { DiskErrorListener, TargetExport } from "./export.ts";
import { EAGAIN, EINTR, EIO, EREMOTEIO } from "../../../ffi/errno_numbers.ts";

/** Tags of fdatasyncs on the ring follow those of commands, which are frame numbers. */
export const SYNC_TAG = 0x10000;
/** So many answers or fewer wait for an fdatasync in place: quicker than through the ring. */
export const SYNC_INLINE_MAX = 2;
/** … and no more than this to be written out: nobody is answered meanwhile. */
const SYNC_INLINE_BYTES_MAX = 1024 * 1024;

/** The fdatasyncs of one worker's exports, one under way for each at most. */
export class GroupCommit {
  readonly #pool: FramePool;
  readonly #queue: DiskQueue;
  readonly #exports: readonly TargetExport[];
  readonly #answers: TargetAnswers;
  readonly #counters: TargetCounters;
  readonly #onDiskError: DiskErrorListener;
  /** The disk has hung of late: no fdatasync is waited for in place. */
  wary = false;

  constructor(
    parts: {
      pool: FramePool;
      queue: DiskQueue;
      exports: readonly TargetExport[];
      answers: TargetAnswers;
      counters: TargetCounters;
      onDiskError: DiskErrorListener;
    },
  ) {
    this.#pool = parts.pool;
    this.#queue = parts.queue;
    this.#exports = parts.exports;
    this.#answers = parts.answers;
    this.#counters = parts.counters;
    this.#onDiskError = parts.onDiskError;
  }

  /** Starts an fdatasync where answers wait for one; all that wait share it. */
  start(): void {
    for (let i = 0; i < this.#exports.length; i++) {
      const ex = this.#exports[i]!;
      if (ex.syncUnderWay || ex.waitingForSync.size === 0) continue;
      const waiting = ex.waitingForSync;
      ex.waitingForSync = ex.syncing;
      ex.syncing = waiting;
      ex.syncUnderWay = true;
      const bytes = ex.unsyncedBytes;
      ex.unsyncedBytes = 0;
      ex.syncBeganMs = this.#pool.nowMs;
      this.#counters.addTo(ex.index, TARGET_COUNT_SYNCS, 1);
      if (ex.syncFailed) {
        this.finish(ex, -EIO);
      } else if (
        // Nobody else's command waits meanwhile.
        waiting.size <= SYNC_INLINE_MAX && !this.wary && this.#exports.length === 1 &&
        this.#queue.inFlight === 0 && bytes <= SYNC_INLINE_BYTES_MAX && ex.source === undefined
      ) {
        this.finish(ex, syncFile(ex.config.fd));
      } else {
        this.#queue.sync(SYNC_TAG + ex.index, ex.config.fd);
      }
    }
  }

  /** Takes the result of an fdatasync: 0 or −errno. */
  finish(ex: TargetExport, result: number): void {
    if (result === -EINTR || result === -EAGAIN) {
      this.#queue.sync(SYNC_TAG + ex.index, ex.config.fd);
      return;
    }
    // A source has told that it may have lost writes; those that come after are none of them.
    const told = ex.source !== undefined && result === -EREMOTEIO;
    if (result < 0 && !told) this.distrust(ex, -result);
    ex.syncUnderWay = false;
    if (result === 0) ex.stableMs = ex.syncBeganMs;
    // A write that was to be stable may have taken the error of this one: it is told once.
    const failed = result < 0 || ex.syncFailed;
    const outcome = failed ? OUTCOME_FAILED : OUTCOME_DONE;
    for (let i = 0; i < ex.syncing.size; i++) {
      const frame = ex.syncing.frames[i]!;
      const flush = this.#pool.operation[frame] === DRIVE_FLUSH;
      if (failed) this.#counters.addTo(ex.index, TARGET_COUNT_ERRORS, 1);
      else if (flush) this.#counters.addTo(ex.index, TARGET_COUNT_FLUSHES, 1);
      this.#answers.answer(ex, frame, outcome);
    }
    ex.syncing.size = 0;
  }

  /** Takes note that written data may be lost, of which no later fdatasync will tell. */
  distrust(ex: TargetExport, code: number): void {
    if (ex.syncFailed) return;
    ex.syncFailed = true;
    this.#onDiskError(ex.index, DRIVE_FLUSH, 0, code);
  }

  /** Whether answers wait for an fdatasync that has not been started. */
  get wanted(): boolean {
    for (let i = 0; i < this.#exports.length; i++) {
      const ex = this.#exports[i]!;
      if (!ex.syncUnderWay && ex.waitingForSync.size > 0) return true;
    }
    return false;
  }

  /**
   * Puts what has been written onto stable storage, at the end; not where a disk still hangs. A
   * source does it as it is closed.
   *
   * @param onRisk Told of each export that may have lost what was written since its `stableMs`.
   */
  finishAll(onRisk: (ex: TargetExport) => void): void {
    for (const ex of this.#exports) {
      if (ex.config.readOnly || ex.source !== undefined) continue;
      if (ex.syncUnderWay || ex.order.running > ex.gathersUnsent) {
        if (ex.syncUnderWay || ex.unsyncedBytes > 0 || ex.syncFailed) onRisk(ex);
        continue;
      }
      const result = ex.unsyncedBytes === 0 ? 0 : syncFile(ex.config.fd);
      ex.unsyncedBytes = 0;
      if (result < 0) this.distrust(ex, -result);
      if (ex.syncFailed) onRisk(ex);
    }
  }
}
