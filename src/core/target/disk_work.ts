// The disk's side of the target's loop: neighbouring commands become one operation, carried out in
// place through the page cache or queued on the ring; each result is taken apart again.
//
// 1. `run` gathers a read, puts a write of dirty pages in line to be stored (page_stores.ts), or puts
//    a command in line with its neighbours.
// 2. `issue` carries out both lines: a few small writes in place, anything else through the queue.
// 3. `reap` takes results; a merged operation that failed is tried again one by one.
// 4. Each command ends in an answer, or in the group commit, and makes room for what overlaps.

import { ATA_DATA, ATA_SECTOR_COUNT, DSM_RANGE_BYTES, SECTOR_BYTES } from "../../wire/ata.ts";
import { NONE } from "../tables.ts";
import { DRIVE_READ, DRIVE_TRIM, DRIVE_WRITE, trimSector, trimSectors } from "./drive.ts";
import { OUTCOME_DONE, OUTCOME_FAILED, OUTCOME_UNSUPPORTED } from "./target.ts";
import { type DiskInPlace, type DiskQueue, type IovecLine, STORES_MAX } from "./disk_queue.ts";
import {
  FRAME_ALONE,
  FRAME_ALREADY_STABLE,
  FRAME_BUFFERED,
  FRAME_DOUBTED,
  FRAME_STABLE,
  keepData,
} from "./commands.ts";
import type { TargetCommands } from "./commands.ts";
import type { FramePool } from "./frames.ts";
import type { TargetAnswers } from "./answers.ts";
import {
  TARGET_COUNT_ERRORS,
  TARGET_COUNT_READ_BYTES,
  TARGET_COUNT_READS,
  TARGET_COUNT_TRIMS,
  TARGET_COUNT_WRITES,
  TARGET_COUNT_WRITTEN_BYTES,
} from "./counters.ts";
import type { TargetCounters } from "./counters.ts";
import type { TargetMeter } from "./meter.ts";
import type { DiskErrorListener, TargetExport } from "./export.ts";
import type { ExportTable } from "./export_table.ts";
import { PageStores } from "./page_stores.ts";
import { SYNC_INLINE_MAX, SYNC_TAG } from "./group_commit.ts";
import type { GroupCommit } from "./group_commit.ts";
import {
  EAGAIN,
  EDQUOT,
  EFBIG,
  EINTR,
  EINVAL,
  EIO,
  ENOSPC,
  ENOSYS,
  EOPNOTSUPP,
} from "../../../ffi/errno_numbers.ts";

/** Most commands merged into one operation, and most bytes. */
const MERGE_COMMANDS_MAX = 64;
const MERGE_BYTES_MAX = 512 * 1024;
/** A write in place that takes longer waits for its disk, and not only for a processor. */
const SLOW_MS = 50;
const SLOW_FOR_MS = 1000;

/** Disk work of one worker. */
export class DiskWork {
  readonly #pool: FramePool;
  readonly #commands: TargetCommands;
  readonly #bytes: Uint8Array;
  readonly #vectors: IovecLine;
  readonly #queue: DiskQueue;
  readonly #inPlace: DiskInPlace;
  readonly #exports: ExportTable;
  readonly #commit: GroupCommit;
  readonly #answers: TargetAnswers;
  readonly #counters: TargetCounters;
  readonly #meter: TargetMeter;
  /**
   * Frames of the turn up to which writes are done in place: a few are quicker so than through the
   * ring. While a disk hangs in it nothing else moves, so that only neighbours on one disk write in
   * place; an NBD source is no file, and has no place.
   */
  readonly #inPlaceMax: number;
  readonly #onDiskError: DiskErrorListener;
  readonly #stores: PageStores;
  /** The disk has hung of late: nothing is written in place. */
  wary = false;
  #batch = 0;
  /** Until then neighbours are not held up by writes in place, which take long. */
  #slowUntilMs = -Infinity;
  // The operation being put together: frames in line from `#mergeFirst`, in file order.
  #mergeExport: TargetExport | undefined;
  #mergeOperation = 0;
  #mergeFirst = NONE;
  #mergeLast = NONE;
  #mergeCount = 0;
  #mergeBytes = 0;
  /** NaN: nothing joins. */
  #mergeEnd = NaN;

  constructor(
    parts: {
      pool: FramePool;
      commands: TargetCommands;
      vectors: IovecLine;
      queue: DiskQueue;
      inPlace: DiskInPlace;
      exports: ExportTable;
      commit: GroupCommit;
      answers: TargetAnswers;
      counters: TargetCounters;
      meter: TargetMeter;
      inPlaceMax: number;
      onDiskError: DiskErrorListener;
    },
  ) {
    this.#pool = parts.pool;
    this.#commands = parts.commands;
    this.#bytes = parts.pool.bytes;
    this.#vectors = parts.vectors;
    this.#queue = parts.queue;
    this.#inPlace = parts.inPlace;
    this.#exports = parts.exports;
    this.#commit = parts.commit;
    this.#answers = parts.answers;
    this.#counters = parts.counters;
    this.#inPlaceMax = parts.inPlaceMax;
    this.#meter = parts.meter;
    this.#onDiskError = parts.onDiskError;
    this.#stores = new PageStores(parts);
  }

  /** Frames that this turn has received so far. */
  set batch(frames: number) {
    this.#batch = frames;
  }

  /** Whether work is put together that has not been issued. */
  get pending(): boolean {
    return this.#mergeExport !== undefined || this.storing || this.#queue.queued > 0;
  }

  /** Whether writes are in line that `issue` ends at once. */
  get storing(): boolean {
    return this.#stores.count > 0;
  }

  /** Starts an admitted command: it is gathered, or stands in line until `issue`. */
  run(ex: TargetExport, frame: number): void {
    const commands = this.#commands;
    const operation = commands.operation[frame]!;
    if (operation === DRIVE_TRIM) {
      this.#meter.diskBegins(frame);
      this.#runTrim(ex, frame);
      return;
    }
    const offset = commands.offset[frame]! + commands.progress[frame]!;
    const bytes = commands.byteCount[frame]! - commands.progress[frame]!;
    if (operation === DRIVE_READ && (commands.flags[frame]! & FRAME_ALONE) === 0) {
      if (ex.tryGather(commands, frame, bytes)) {
        this.#answers.answerGathered(ex, frame, bytes);
        return;
      }
      this.#meter.diskBegins(frame);
      if (
        ex.claimCachedLook() && commands.progress[frame] === 0 && this.#readCached(ex, frame, bytes)
      ) {
        return;
      }
    }
    this.#meter.diskBegins(frame);
    if (operation === DRIVE_WRITE) {
      ex.countWrite();
      if (commands.flags[frame] === 0 && this.#writesInPlace(ex, false) && this.#store(ex, frame)) {
        return;
      }
    }
    const alone = (commands.flags[frame]! & FRAME_ALONE) !== 0;
    if (
      ex !== this.#mergeExport || operation !== this.#mergeOperation || alone ||
      offset !== this.#mergeEnd || this.#mergeCount === MERGE_COMMANDS_MAX ||
      this.#mergeBytes + bytes > MERGE_BYTES_MAX
    ) {
      this.#issueLine();
      this.#mergeExport = ex;
      this.#mergeOperation = operation;
      this.#mergeFirst = frame;
      this.#mergeCount = 0;
      this.#mergeBytes = 0;
    } else {
      commands.next[this.#mergeLast] = frame;
      this.#meter.merged(frame);
    }
    commands.next[frame] = NONE;
    this.#mergeLast = frame;
    this.#mergeCount++;
    this.#mergeBytes += bytes;
    this.#mergeEnd = alone ? NaN : offset + bytes;
  }

  /** Reads a whole command from the page cache at once, if all of it is there. */
  #readCached(ex: TargetExport, frame: number, bytes: number): boolean {
    const { sectors, offset, next } = this.#commands;
    const { fd } = ex.settings;
    const result = this.#inPlace.readCached(fd, frame, sectors[frame]!, offset[frame]!);
    ex.lookedForCached(result === bytes, result === -EOPNOTSUPP);
    if (result !== bytes) return false;
    // No look at the clock, since it waits for nothing: the disk's share is none.
    next[frame] = NONE;
    this.#complete(ex, frame, result);
    return true;
  }

  /** Punches the next range of a TRIM; when none is left, the command is done. */
  #runTrim(ex: TargetExport, frame: number): void {
    const pool = this.#pool;
    const commands = this.#commands;
    const data = pool.start(frame) + ATA_DATA;
    const end = this.#bytes[pool.start(frame) + ATA_SECTOR_COUNT]! * SECTOR_BYTES;
    while (commands.progress[frame]! < end) {
      const range = data + commands.progress[frame]!;
      commands.progress[frame] = commands.progress[frame]! + DSM_RANGE_BYTES;
      const sectors = trimSectors(this.#bytes, range);
      if (sectors === 0) continue;
      const offset = ex.settings.offsetBytes + trimSector(this.#bytes, range) * SECTOR_BYTES;
      ex.wrote(sectors * SECTOR_BYTES);
      if (ex.backing.remoteServer) {
        commands.next[frame] = NONE;
        this.#leaveStable(frame);
      }
      this.#queue.punch(frame, ex.settings.fd, offset, sectors * SECTOR_BYTES);
      return;
    }
    this.#finish(ex, frame, 0);
  }

  /** Carries out what has been put together. */
  issue(): void {
    if (this.storing) this.#carryOutStores();
    this.#issueLine();
  }

  /** Carries out what is merged; a retry may put together more. */
  #issueLine(): void {
    for (let ex = this.#mergeExport; ex !== undefined; ex = this.#mergeExport) {
      this.#mergeExport = undefined;
      this.#issueMerged(ex);
    }
  }

  /** Puts a write in line to be stored, if it may be. */
  #store(ex: TargetExport, frame: number): boolean {
    const stores = this.#stores;
    if (!stores.ready(this.#meter.nowMs) || !stores.add(ex, frame)) return false;
    if (stores.count === STORES_MAX) this.#carryOutStores();
    return true;
  }

  #carryOutStores(): void {
    const stores = this.#stores;
    const { frames, count } = stores;
    const { byteCount, exportOf, flags } = this.#commands;
    const done = stores.carryOut(this.#meter.nowMs);
    this.#timeInPlace();
    for (let i = 0; i < count; i++) {
      const frame = frames[i]!;
      const ex = this.#exports.at(exportOf[frame]!)!;
      if (i < done) {
        ex.wrote(byteCount[frame]!);
        this.#finish(ex, frame, 0);
      } else {
        // Writing it the ordinary way tells what is wrong.
        flags[frame] = FRAME_ALONE;
        this.run(ex, frame);
      }
    }
  }

  /** Whether a write through the page cache may be waited for. */
  #writesInPlace(ex: TargetExport, stable: boolean): boolean {
    return !this.wary && (this.#exports.count === 1 || this.#sparesNeighbours(stable)) &&
      !ex.backing.remoteServer && ex.settings.directFd < 0;
  }

  #issueMerged(ex: TargetExport): void {
    const pool = this.#pool;
    const commands = this.#commands;
    const first = this.#mergeFirst;
    const count = this.#mergeCount;
    const operation = this.#mergeOperation;
    const offset = commands.offset[first]! + commands.progress[first]!;
    const buffered = (commands.flags[first]! & FRAME_BUFFERED) !== 0;
    const fd = buffered ? ex.settings.fd : ex.fdFor(commands, first, this.#mergeBytes);
    const address = pool.address(first) + ATA_DATA + commands.progress[first]!;
    if (operation !== DRIVE_WRITE && count === 1) {
      this.#queue.read(first, fd, address, this.#mergeBytes, offset, ex.settings.remote);
      return;
    }
    const stable = operation === DRIVE_WRITE && this.#makeStable(ex, first, count, fd);
    const inPlace = operation === DRIVE_WRITE && this.#batch <= this.#inPlaceMax &&
      this.#writesInPlace(ex, stable);
    if (inPlace && count === 1 && !stable && commands.progress[first] === 0) {
      this.#writeInPlace(ex, first);
      return;
    }
    if (!inPlace && operation === DRIVE_WRITE) this.#keepAll(first);
    if (!inPlace && operation === DRIVE_WRITE && count === 1) {
      ex.wrote(this.#mergeBytes);
      this.#queue.write(first, fd, address, this.#mergeBytes, offset, stable, ex.settings.remote);
      return;
    }
    while (!this.#vectors.fits(count)) this.submit();
    const vector = this.#vectors.used;
    for (let frame = first; frame >= 0; frame = commands.next[frame]!) {
      const done = commands.progress[frame]!;
      this.#vectors.add(commands.dataAt[frame]! + done, commands.byteCount[frame]! - done);
    }
    if (operation !== DRIVE_WRITE) {
      const iovecs = this.#vectors.address(vector);
      this.#queue.readVectors(first, fd, iovecs, count, offset, ex.settings.remote);
    } else if (inPlace) {
      this.#writeMergedInPlace(ex, first, vector, count, stable);
    } else {
      ex.wrote(this.#mergeBytes);
      const iovecs = this.#vectors.address(vector);
      this.#queue.writeVectors(first, fd, iovecs, count, offset, stable, ex.settings.remote);
    }
  }

  /** Whether a write in place takes nothing from others but what it would take on the ring as well. */
  #sparesNeighbours(stable: boolean): boolean {
    return this.#exports.onOneDisk && !stable && this.#meter.nowMs >= this.#slowUntilMs;
  }

  /** Moves the data of a merged write into its frames: the disk will read them later. */
  #keepAll(first: number): void {
    const { byteCount, next } = this.#commands;
    for (let frame = first; frame >= 0; frame = next[frame]!) {
      keepData(this.#pool, this.#commands, frame, byteCount[frame]!);
    }
  }

  /** Whether the disk itself is to make a write stable: a few are quicker so than by fdatasync. */
  #makeStable(ex: TargetExport, first: number, count: number, fd: number): boolean {
    const flags = this.#commands.flags[first]!;
    if ((flags & FRAME_DOUBTED) !== 0) return false;
    if (ex.backing.remoteServer) return this.#leaveStable(first);
    if (
      (flags & FRAME_STABLE) === 0 || count > 1 || ex.writesOfTurn > SYNC_INLINE_MAX ||
      // What a first attempt has written is not made stable by the rest.
      this.#commands.progress[first]! > 0 ||
      // Each descriptor is told of an error of writing back: of the cache's only fdatasync asks.
      (ex.settings.directFd >= 0 && fd !== ex.settings.directFd)
    ) {
      return false;
    }
    this.#commands.flags[first] = flags | FRAME_ALREADY_STABLE;
    return true;
  }

  /**
   * Whether a source is to make a write stable: each that has to be, since it stays a command in
   * flight until then, and is sent again when the connection breaks before.
   */
  #leaveStable(first: number): boolean {
    const { flags, next } = this.#commands;
    let stable = false;
    for (let frame = first; frame >= 0; frame = next[frame]!) {
      if ((flags[frame]! & FRAME_STABLE) !== 0) stable = true;
    }
    for (let frame = first; stable && frame >= 0; frame = next[frame]!) {
      flags[frame] = flags[frame]! | FRAME_ALREADY_STABLE;
    }
    return stable;
  }

  /** Writes one whole command through the page cache at once. */
  #writeInPlace(ex: TargetExport, frame: number): void {
    const { dataAt, sectors, offset } = this.#commands;
    ex.wrote(this.#mergeBytes);
    const { fd } = ex.settings;
    const result = this.#inPlace.write(fd, dataAt[frame]!, sectors[frame]!, offset[frame]!);
    this.#timeInPlace();
    this.#complete(ex, frame, result);
  }

  /** The same for several that were merged, or one that goes on, or is to be stable. */
  #writeMergedInPlace(
    ex: TargetExport,
    first: number,
    vector: number,
    count: number,
    stable: boolean,
  ): void {
    const { offset, progress } = this.#commands;
    ex.wrote(this.#mergeBytes);
    const { fd } = ex.settings;
    const at = offset[first]! + progress[first]!;
    const result = this.#inPlace.writeVectors(fd, vector, count, at, stable);
    this.#timeInPlace();
    this.#complete(ex, first, result);
    if (this.#queue.inFlight === 0) this.#vectors.clear();
  }

  /** Looks at the time after a write in place, and whether it has been throttled, or held up. */
  #timeInPlace(): void {
    const beganMs = this.#meter.nowMs;
    this.#meter.look();
    const { nowMs } = this.#meter;
    if (nowMs - beganMs > SLOW_MS) this.#slowUntilMs = nowMs + SLOW_FOR_MS;
  }

  /** Gives queued work to the kernel. */
  submit(): void {
    this.#queue.submit();
    // What the kernel has not taken yet still points at its iovecs.
    if (!this.#queue.needsVectors) this.#vectors.clear();
  }

  /** Takes what the disk has finished; returns how many operations. */
  reap(): number {
    let count = 0;
    while (this.#queue.next()) {
      if (count++ === 0) this.#meter.look();
      const { tag, result } = this.#queue;
      if (tag >= SYNC_TAG) this.#commit.finish(this.#exports.at(tag - SYNC_TAG)!, result);
      else this.#complete(this.#exports.at(this.#commands.exportOf[tag]!)!, tag, result);
    }
    return count;
  }

  /** Takes the result of an operation: of one command, or of several that were merged. */
  #complete(ex: TargetExport, first: number, result: number): void {
    const commands = this.#commands;
    if (commands.operation[first] === DRIVE_TRIM) {
      if (result < 0) this.#finish(ex, first, -result);
      else this.#runTrim(ex, first);
      return;
    }
    // There was room for it: what had none was written back before it, and is lost.
    if (result > 0 && (commands.flags[first]! & FRAME_DOUBTED) !== 0) {
      this.#commit.distrust(ex, ENOSPC);
    }
    let bytes = 0;
    for (let frame = first; frame >= 0; frame = commands.next[frame]!) {
      bytes += commands.byteCount[frame]! - commands.progress[frame]!;
    }
    if (result === bytes) {
      for (let frame = first; frame >= 0;) {
        const next = commands.next[frame]!;
        this.#finish(ex, frame, 0);
        frame = next;
      }
    } else if (commands.next[first]! >= 0) {
      // Which of them failed, or is short, shows when each is tried alone; not what others lost.
      const told = this.#mayTellOfOthers(ex, first);
      if (told && result === -EIO) this.#commit.distrust(ex, EIO);
      const again = told && isFull(result) ? FRAME_ALONE | FRAME_DOUBTED : FRAME_ALONE;
      for (let frame = first; frame >= 0;) {
        const next = commands.next[frame]!;
        commands.flags[frame] = (commands.flags[frame]! | again) & ~FRAME_ALREADY_STABLE;
        this.run(ex, frame);
        frame = next;
      }
    } else {
      this.#completeAlone(ex, first, result);
    }
  }

  #completeAlone(ex: TargetExport, frame: number, result: number): void {
    const commands = this.#commands;
    const flags = commands.flags[frame]!;
    if (result > 0) {
      commands.progress[frame] = commands.progress[frame]! + result;
    } else if (result === -EINVAL && (flags & FRAME_BUFFERED) === 0 && ex.settings.directFd >= 0) {
      // The file system asks more of O_DIRECT than it said.
      commands.flags[frame] = flags | FRAME_BUFFERED;
    } else if (isFull(result) && this.#mayTellOfOthers(ex, frame)) {
      // Writing it without making it stable tells whether there is no room for it.
      commands.flags[frame] = flags | FRAME_DOUBTED;
    } else if (result !== -EAGAIN && result !== -EINTR) {
      // Nothing at all: the end of a file that has shrunk.
      this.#finish(ex, frame, result === 0 ? EIO : -result);
      return;
    }
    commands.flags[frame] = (commands.flags[frame]! | FRAME_ALONE) & ~FRAME_ALREADY_STABLE;
    this.run(ex, frame);
  }

  /** Whether an error may be one of what was written back, of which no later flush hears. */
  #mayTellOfOthers(ex: TargetExport, first: number): boolean {
    return (this.#commands.flags[first]! & FRAME_ALREADY_STABLE) !== 0 &&
      (ex.backing.remoteServer ? ex.backing.atRisk : ex.settings.directFd < 0);
  }

  /** Ends a command at the disk; its answer leaves now or once it is stable. */
  #finish(ex: TargetExport, frame: number, code: number): void {
    const commands = this.#commands;
    ex.ended(frame);
    const operation = commands.operation[frame]!;
    const changes = operation === DRIVE_WRITE || operation === DRIVE_TRIM;
    if (changes) ex.changed();
    if (code !== 0) {
      this.#meter.diskEnds(frame);
      this.#fail(ex, frame, code);
      return;
    }
    const bytes = commands.byteCount[frame]!;
    if (operation === DRIVE_WRITE) {
      this.#counters.addTo(ex.index, TARGET_COUNT_WRITES, 1);
      this.#counters.addTo(ex.index, TARGET_COUNT_WRITTEN_BYTES, bytes);
    } else if (operation === DRIVE_READ) {
      this.#counters.addTo(ex.index, TARGET_COUNT_READS, 1);
      this.#counters.addTo(ex.index, TARGET_COUNT_READ_BYTES, bytes);
    } else if (operation === DRIVE_TRIM) {
      this.#counters.addTo(ex.index, TARGET_COUNT_TRIMS, 1);
    }
    // The cache may have been switched off while the disk worked.
    const stable = changes &&
      (ex.drive.stableWrites || (commands.flags[frame]! & FRAME_STABLE) !== 0);
    if (stable && (commands.flags[frame]! & FRAME_ALREADY_STABLE) === 0) {
      ex.awaitSync(frame);
    } else {
      this.#meter.diskEnds(frame);
      this.#answers.answer(ex, frame, OUTCOME_DONE);
    }
  }

  #fail(ex: TargetExport, frame: number, code: number): void {
    const commands = this.#commands;
    const operation = commands.operation[frame]!;
    const unsupported = operation === DRIVE_TRIM &&
      (code === EOPNOTSUPP || code === ENOSYS || code === EFBIG);
    // An error of writing back is told once: FLUSH will not hear of what this one took along.
    if (this.#mayTellOfOthers(ex, frame)) this.#commit.distrust(ex, code);
    const sector = (commands.offset[frame]! - ex.settings.offsetBytes) / SECTOR_BYTES;
    this.#counters.addTo(ex.index, TARGET_COUNT_ERRORS, 1);
    this.#onDiskError(ex.index, operation, sector, code);
    this.#answers.answer(ex, frame, unsupported ? OUTCOME_UNSUPPORTED : OUTCOME_FAILED);
  }
}

/** Whether there was no room, by the result of a write. */
function isFull(result: number): boolean {
  return result === -ENOSPC || result === -EDQUOT;
}
