// Group commit: answers that promise stable storage wait for an fdatasync that all of them share
// (FLUSH, and every write where the cache is off). See loop.ts for the way of a request.

import { DRIVE_FLUSH } from "./drive.ts";
import { OUTCOME_DONE, OUTCOME_FAILED } from "./target.ts";
import type { DiskInPlace, DiskQueue } from "./disk_queue.ts";
import type { TargetCommands } from "./commands.ts";
import type { TargetAnswers } from "./answers.ts";
import { TARGET_COUNT_ERRORS, TARGET_COUNT_FLUSHES, TARGET_COUNT_SYNCS } from "./counters.ts";
import type { TargetCounters } from "./counters.ts";
import type { TargetMeter } from "./meter.ts";
import type { DiskErrorListener, TargetExport } from "./export.ts";
import { EXPORTS_MAX, type ExportTable } from "./export_table.ts";
import { EAGAIN, EINTR, EIO, EREMOTEIO } from "../../../ffi/errno_numbers.ts";

/** Tags of fdatasyncs on the ring follow those of commands, which are frame numbers. */
export const SYNC_TAG = 0x10000;
/** So many answers or fewer wait for an fdatasync in place: quicker than through the ring. */
export const SYNC_INLINE_MAX = 2;
/** … and no more than this to be written out: nobody is answered meanwhile. */
const SYNC_INLINE_BYTES_MAX = 1024 * 1024;

/** The fdatasyncs of one worker's exports, one under way for each at most. */
export class GroupCommit {
  readonly #commands: TargetCommands;
  readonly #queue: DiskQueue;
  readonly #inPlace: DiskInPlace;
  readonly #exports: ExportTable;
  readonly #answers: TargetAnswers;
  readonly #counters: TargetCounters;
  readonly #meter: TargetMeter;
  readonly #onDiskError: DiskErrorListener;
  /** The disk has hung of late: no fdatasync is waited for in place. */
  wary = false;

  constructor(
    parts: {
      commands: TargetCommands;
      queue: DiskQueue;
      inPlace: DiskInPlace;
      exports: ExportTable;
      answers: TargetAnswers;
      counters: TargetCounters;
      meter: TargetMeter;
      onDiskError: DiskErrorListener;
    },
  ) {
    this.#commands = parts.commands;
    this.#queue = parts.queue;
    this.#inPlace = parts.inPlace;
    this.#exports = parts.exports;
    this.#answers = parts.answers;
    this.#counters = parts.counters;
    this.#meter = parts.meter;
    this.#onDiskError = parts.onDiskError;
  }

  /** Starts an fdatasync where answers wait for one; all that wait share it. */
  start(): void {
    for (let i = 0; i < this.#exports.activeCount; i++) {
      const ex = this.#exports.active[i]!;
      if (!ex.syncWanted) continue;
      const bytes = ex.beginSync();
      this.#counters.addTo(ex.index, TARGET_COUNT_SYNCS, 1);
      if (ex.syncFailed) {
        this.finish(ex, -EIO);
      } else if (
        // Nobody else's command waits meanwhile.
        ex.syncingCount <= SYNC_INLINE_MAX && !this.wary && this.#exports.count === 1 &&
        this.#queue.inFlight === 0 && bytes <= SYNC_INLINE_BYTES_MAX && !ex.backing.remoteServer
      ) {
        this.finish(ex, this.#inPlace.sync(ex.settings.fd));
      } else {
        this.#queue.sync(SYNC_TAG + ex.index, ex.settings.fd);
      }
    }
  }

  /** Takes the result of an fdatasync: 0 or −errno. */
  finish(ex: TargetExport, result: number): void {
    if (result === -EINTR || result === -EAGAIN) {
      this.#queue.sync(SYNC_TAG + ex.index, ex.settings.fd);
      return;
    }
    this.#meter.look();
    // A source has told that it may have lost writes; those that come after are none of them.
    const told = ex.backing.remoteServer && result === -EREMOTEIO;
    if (result < 0 && !told) this.distrust(ex, -result);
    // A write that was to be stable may have taken the error of this one: it is told once.
    const failed = result < 0 || ex.syncFailed;
    const outcome = failed ? OUTCOME_FAILED : OUTCOME_DONE;
    for (let i = 0; i < ex.syncingCount; i++) {
      const frame = ex.syncing[i]!;
      this.#meter.diskEnds(frame);
      const flush = this.#commands.operation[frame] === DRIVE_FLUSH;
      if (failed) this.#counters.addTo(ex.index, TARGET_COUNT_ERRORS, 1);
      else if (flush) this.#counters.addTo(ex.index, TARGET_COUNT_FLUSHES, 1);
      this.#answers.answer(ex, frame, outcome);
    }
    ex.endSync(result === 0);
  }

  /** Takes note that written data may be lost, of which no later fdatasync will tell. */
  distrust(ex: TargetExport, code: number): void {
    if (ex.syncFailed) return;
    ex.syncFailed = true;
    this.#onDiskError(ex.index, DRIVE_FLUSH, 0, code);
  }

  /** Whether answers wait for an fdatasync that has not been started. */
  get wanted(): boolean {
    for (let i = 0; i < this.#exports.activeCount; i++) {
      if (this.#exports.active[i]!.syncWanted) return true;
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
    for (let index = 0; index < EXPORTS_MAX; index++) {
      const ex = this.#exports.at(index);
      if (ex === undefined || ex.backing.remoteServer) continue;
      // It may have been writable.
      if (ex.settings.readOnly && !ex.unsynced && !ex.syncFailed) continue;
      if (ex.syncUnderWay || ex.working) {
        if (ex.syncUnderWay || ex.unsynced || ex.syncFailed) onRisk(ex);
        continue;
      }
      const result = ex.unsynced ? this.#inPlace.sync(ex.settings.fd) : 0;
      ex.synced();
      if (result < 0) this.distrust(ex, -result);
      if (ex.syncFailed) onRisk(ex);
    }
  }
}
