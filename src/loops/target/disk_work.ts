// The disk's side of the target's loop: neighbouring commands become one operation, carried out in
// place through the page cache or queued on the ring; each result is taken apart again.
//
// 1. `run` gathers a read, or puts a command in line with its neighbours.
// 2. `issue` carries out the line: a few small writes in place, anything else through the queue.
// 3. `reap` takes results; a merged operation that failed is tried again one by one.
// 4. Each command ends in an answer, or in the group commit, and makes room for what overlaps.

import type { Arena } from "../../../ffi/arena.ts";
import { writeAt, writeBlock } from "../../../ffi/files.ts";
import { ATA_DATA, ATA_SECTOR_COUNT, DSM_RANGE_BYTES, SECTOR_BYTES } from "../../wire/ata.ts";
import {
  DRIVE_READ,
  DRIVE_TRIM,
  DRIVE_WRITE,
  trimSector,
  trimSectors,
} from "../../core/target/drive.ts";
import { OUTCOME_DONE, OUTCOME_FAILED, OUTCOME_UNSUPPORTED } from "../../core/target/target.ts";
import type { DiskQueue } from "./disk_queues.ts";
import { FRAME_ALONE, FRAME_ALREADY_STABLE, FRAME_BUFFERED, FRAME_STABLE } from "./frames.ts";
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
import type { DiskErrorListener, TargetExport } from "./export.ts";
import { SYNC_INLINE_MAX, SYNC_TAG } from "./group_commit.ts";
import type { GroupCommit } from "./group_commit.ts";
import type { VectorTable } from "../../../ffi/iovec_table.ts";
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

/** Bytes of so many sectors, for parameters of 64 bits. */
const BYTES_OF_SECTORS = Array.from(
  { length: 256 },
  (_, sectors) => BigInt(sectors * SECTOR_BYTES),
);

/** Disk work of one worker. */
export class DiskWork {
  readonly #arena: Arena;
  readonly #pool: FramePool;
  readonly #bytes: Uint8Array;
  readonly #vectors: VectorTable;
  /** Arena offset of eight bytes for a file offset on its way into a 64-bit parameter. */
  readonly #offsetAt: number;
  readonly #queue: DiskQueue;
  readonly #exports: readonly TargetExport[];
  readonly #commit: GroupCommit;
  readonly #answers: TargetAnswers;
  readonly #counters: TargetCounters;
  /**
   * Frames of the turn up to which writes are done in place: a few are quicker so than through the
   * ring. While a disk hangs in it nothing else moves, so that neighbours never write in place; an
   * NBD source is no file, and has no place.
   */
  readonly #inPlaceMax: number;
  readonly #onDiskError: DiskErrorListener;
  /** The disk has hung of late: nothing is written in place. */
  wary = false;
  // The operation being put together: frames in line from `#mergeFirst`, in file order.
  #mergeExport: TargetExport | undefined;
  #mergeOperation = 0;
  #mergeFirst = -1;
  #mergeLast = -1;
  #mergeCount = 0;
  #mergeBytes = 0;
  #mergeEnd = 0;

  constructor(
    parts: {
      arena: Arena;
      pool: FramePool;
      vectors: VectorTable;
      queue: DiskQueue;
      exports: readonly TargetExport[];
      commit: GroupCommit;
      answers: TargetAnswers;
      counters: TargetCounters;
      inPlaceMax: number;
      onDiskError: DiskErrorListener;
    },
  ) {
    this.#arena = parts.arena;
    this.#pool = parts.pool;
    this.#bytes = parts.pool.bytes;
    this.#vectors = parts.vectors;
    this.#offsetAt = parts.arena.allocate(8);
    this.#queue = parts.queue;
    this.#exports = parts.exports;
    this.#commit = parts.commit;
    this.#answers = parts.answers;
    this.#counters = parts.counters;
    const alone = parts.exports.length === 1 && parts.exports[0]!.source === undefined;
    this.#inPlaceMax = alone ? parts.inPlaceMax : -1;
    this.#onDiskError = parts.onDiskError;
  }

  /** Whether work is put together that has not been issued. */
  get pending(): boolean {
    return this.#mergeExport !== undefined || this.#queue.queued > 0;
  }

  /** Starts an admitted command: it is gathered, or stands in line until `issue`. */
  run(ex: TargetExport, frame: number): void {
    const pool = this.#pool;
    const operation = pool.operation[frame]!;
    if (operation === DRIVE_TRIM) {
      this.#runTrim(ex, frame);
      return;
    }
    const offset = pool.offset[frame]! + pool.progress[frame]!;
    const bytes = pool.byteCount[frame]! - pool.progress[frame]!;
    if (operation === DRIVE_READ && (pool.flags[frame]! & FRAME_ALONE) === 0) {
      if (ex.gather(pool, frame, bytes)) {
        this.#answers.answerGathered(ex, frame, bytes);
        return;
      }
    }
    if (operation === DRIVE_WRITE) ex.writesThisTurn++;
    const alone = (pool.flags[frame]! & FRAME_ALONE) !== 0;
    if (
      ex !== this.#mergeExport || operation !== this.#mergeOperation || alone ||
      offset !== this.#mergeEnd || this.#mergeCount === MERGE_COMMANDS_MAX ||
      this.#mergeBytes + bytes > MERGE_BYTES_MAX
    ) {
      this.issue();
      this.#mergeExport = ex;
      this.#mergeOperation = operation;
      this.#mergeFirst = frame;
      this.#mergeCount = 0;
      this.#mergeBytes = 0;
    } else {
      pool.next[this.#mergeLast] = frame;
    }
    pool.next[frame] = -1;
    this.#mergeLast = frame;
    this.#mergeCount++;
    this.#mergeBytes += bytes;
    this.#mergeEnd = alone ? -1 : offset + bytes;
  }

  /** Punches the next range of a TRIM; when none is left, the command is done. */
  #runTrim(ex: TargetExport, frame: number): void {
    const pool = this.#pool;
    const data = pool.start(frame) + ATA_DATA;
    const end = this.#bytes[pool.start(frame) + ATA_SECTOR_COUNT]! * SECTOR_BYTES;
    while (pool.progress[frame]! < end) {
      const range = data + pool.progress[frame]!;
      pool.progress[frame] = pool.progress[frame]! + DSM_RANGE_BYTES;
      const sectors = trimSectors(this.#bytes, range);
      if (sectors === 0) continue;
      const offset = ex.config.offsetBytes + trimSector(this.#bytes, range) * SECTOR_BYTES;
      ex.unsyncedBytes += sectors * SECTOR_BYTES;
      if (ex.source !== undefined) {
        pool.next[frame] = -1;
        this.#leaveStable(frame);
      }
      this.#queue.punch(frame, ex.config.fd, offset, sectors * SECTOR_BYTES);
      return;
    }
    this.#finish(ex, frame, 0);
  }

  /** Carries out what has been put together; a retry may put together more. */
  issue(): void {
    for (let ex = this.#mergeExport; ex !== undefined; ex = this.#mergeExport) {
      this.#mergeExport = undefined;
      this.#issueMerged(ex);
    }
  }

  #issueMerged(ex: TargetExport): void {
    const pool = this.#pool;
    const first = this.#mergeFirst;
    const count = this.#mergeCount;
    const operation = this.#mergeOperation;
    const offset = pool.offset[first]! + pool.progress[first]!;
    const buffered = (pool.flags[first]! & FRAME_BUFFERED) !== 0;
    const fd = buffered ? ex.config.fd : ex.fdFor(pool, first, this.#mergeBytes);
    const address = pool.address(first) + ATA_DATA + pool.progress[first]!;
    if (operation !== DRIVE_WRITE && count === 1) {
      this.#queue.read(first, fd, address, this.#mergeBytes, offset, ex.config.remote);
      return;
    }
    const stable = operation === DRIVE_WRITE && this.#makeStable(ex, first, count, fd);
    const inPlace = operation === DRIVE_WRITE && pool.batch <= this.#inPlaceMax && !this.wary &&
      fd === ex.config.fd && ex.config.directFd < 0;
    if (inPlace && count === 1 && !stable && pool.progress[first] === 0) {
      this.#writeInPlace(ex, first);
      return;
    }
    if (!inPlace && operation === DRIVE_WRITE && count === 1) {
      ex.unsyncedBytes += this.#mergeBytes;
      this.#queue.write(first, fd, address, this.#mergeBytes, offset, stable);
      return;
    }
    while (!this.#vectors.fits(count)) this.submit();
    const vector = this.#vectors.used;
    for (let frame = first; frame >= 0; frame = pool.next[frame]!) {
      const done = pool.progress[frame]!;
      this.#vectors.add(pool.start(frame) + ATA_DATA + done, pool.byteCount[frame]! - done);
    }
    if (operation !== DRIVE_WRITE) {
      const iovecs = this.#vectors.address(vector);
      this.#queue.readVectors(first, fd, iovecs, count, offset, ex.config.remote);
    } else if (inPlace) {
      this.#writeMergedInPlace(ex, first, vector, count, stable);
    } else {
      ex.unsyncedBytes += this.#mergeBytes;
      this.#queue.writeVectors(first, fd, this.#vectors.address(vector), count, offset, stable);
    }
  }

  /** Whether the disk itself is to make a write stable: a few are quicker so than by fdatasync. */
  #makeStable(ex: TargetExport, first: number, count: number, fd: number): boolean {
    if (ex.source !== undefined) return this.#leaveStable(first);
    const flags = this.#pool.flags[first]!;
    if (
      (flags & FRAME_STABLE) === 0 || count > 1 || ex.writesLastTurn > SYNC_INLINE_MAX ||
      ex.writesThisTurn > SYNC_INLINE_MAX ||
      // Each descriptor is told of an error of writing back: of the cache's only fdatasync asks.
      (ex.config.directFd >= 0 && fd !== ex.config.directFd)
    ) {
      return false;
    }
    this.#pool.flags[first] = flags | FRAME_ALREADY_STABLE;
    return true;
  }

  /**
   * Whether a source is to make a write stable: each that has to be, since it stays a command in
   * flight until then, and is sent again when the connection breaks before.
   */
  #leaveStable(first: number): boolean {
    const { flags, next } = this.#pool;
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
    this.#storeOffset(frame);
    const memory = this.#pool.dataPointer(frame);
    const bytes = BYTES_OF_SECTORS[this.#pool.sectors[frame]!]!;
    ex.unsyncedBytes += this.#mergeBytes;
    const place = this.#offsetAt >>> 3;
    this.#complete(ex, frame, writeBlock(ex.config.fd, memory, bytes, this.#arena.i64, place));
  }

  /** The same for several that were merged, or one that goes on, or is to be stable. */
  #writeMergedInPlace(
    ex: TargetExport,
    first: number,
    vector: number,
    count: number,
    stable: boolean,
  ): void {
    this.#storeOffset(first);
    ex.unsyncedBytes += this.#mergeBytes;
    const iovecs = this.#vectors.pointer(vector);
    const place = this.#offsetAt >>> 3;
    const result = writeAt(ex.config.fd, iovecs, count, this.#arena.i64, place, stable);
    this.#complete(ex, first, result);
    if (this.#queue.inFlight === 0) this.#vectors.clear();
  }

  /** Puts the file offset of a command where a BigInt can be read from. */
  #storeOffset(frame: number): void {
    const offset = this.#pool.offset[frame]! + this.#pool.progress[frame]!;
    const high = Math.floor(offset / 0x100000000);
    this.#arena.u32[this.#offsetAt >>> 2] = offset - high * 0x100000000;
    this.#arena.u32[(this.#offsetAt >>> 2) + 1] = high;
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
      count++;
      const { tag, result } = this.#queue;
      if (tag >= SYNC_TAG) this.#commit.finish(this.#exports[tag - SYNC_TAG]!, result);
      else this.#complete(this.#exports[this.#pool.exportOf[tag]!]!, tag, result);
    }
    return count;
  }

  /** Takes the result of an operation: of one command, or of several that were merged. */
  #complete(ex: TargetExport, first: number, result: number): void {
    const pool = this.#pool;
    if (pool.operation[first] === DRIVE_TRIM) {
      if (result < 0) this.#finish(ex, first, -result);
      else this.#runTrim(ex, first);
      return;
    }
    let bytes = 0;
    for (let frame = first; frame >= 0; frame = pool.next[frame]!) {
      bytes += pool.byteCount[frame]! - pool.progress[frame]!;
    }
    if (result === bytes) {
      for (let frame = first; frame >= 0;) {
        const next = pool.next[frame]!;
        this.#finish(ex, frame, 0);
        frame = next;
      }
    } else if (pool.next[first]! >= 0) {
      // Which of them failed, or is short, shows when each is tried alone.
      for (let frame = first; frame >= 0;) {
        const next = pool.next[frame]!;
        pool.flags[frame] = pool.flags[frame]! | FRAME_ALONE;
        this.run(ex, frame);
        frame = next;
      }
    } else {
      this.#completeAlone(ex, first, result);
    }
  }

  #completeAlone(ex: TargetExport, frame: number, result: number): void {
    const pool = this.#pool;
    const flags = pool.flags[frame]!;
    if (result > 0) {
      pool.progress[frame] = pool.progress[frame]! + result;
    } else if (result === -EINVAL && (flags & FRAME_BUFFERED) === 0 && ex.config.directFd >= 0) {
      // The file system asks more of O_DIRECT than it said.
      pool.flags[frame] = flags | FRAME_BUFFERED;
    } else if (result !== -EAGAIN && result !== -EINTR) {
      // Nothing at all: the end of a file that has shrunk.
      this.#finish(ex, frame, result === 0 ? EIO : -result);
      return;
    }
    pool.flags[frame] = (pool.flags[frame]! | FRAME_ALONE) & ~FRAME_ALREADY_STABLE;
    this.run(ex, frame);
  }

  /** Ends a command at the disk; its answer leaves now or once it is stable. */
  #finish(ex: TargetExport, frame: number, code: number): void {
    const pool = this.#pool;
    ex.order.finish(frame);
    ex.promotable = true;
    const operation = pool.operation[frame]!;
    const changes = operation === DRIVE_WRITE || operation === DRIVE_TRIM;
    // An fdatasync that began while the disk worked does not cover it.
    if (changes && ex.unsyncedBytes === 0) ex.unsyncedBytes = SECTOR_BYTES;
    if (code !== 0) {
      this.#fail(ex, frame, code);
      return;
    }
    const bytes = pool.byteCount[frame]!;
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
    const stable = changes && (ex.drive.stableWrites || (pool.flags[frame]! & FRAME_STABLE) !== 0);
    if (stable && (pool.flags[frame]! & FRAME_ALREADY_STABLE) === 0) {
      ex.waitingForSync.push(frame);
    } else {
      this.#answers.answer(ex, frame, OUTCOME_DONE);
    }
  }

  #fail(ex: TargetExport, frame: number, code: number): void {
    const pool = this.#pool;
    const operation = pool.operation[frame]!;
    const unsupported = operation === DRIVE_TRIM &&
      (code === EOPNOTSUPP || code === ENOSYS || code === EFBIG);
    // An error of writing back is told once: FLUSH will not hear of what this one took along.
    if (
      (pool.flags[frame]! & FRAME_ALREADY_STABLE) !== 0 && ex.config.directFd < 0 &&
      code !== ENOSPC && code !== EDQUOT && (ex.source === undefined || ex.source.atRisk)
    ) {
      this.#commit.distrust(ex, code);
    }
    const sector = (pool.offset[frame]! - ex.config.offsetBytes) / SECTOR_BYTES;
    this.#counters.addTo(ex.index, TARGET_COUNT_ERRORS, 1);
    this.#onDiskError(ex.index, operation, sector, code);
    this.#answers.answer(ex, frame, unsupported ? OUTCOME_UNSUPPORTED : OUTCOME_FAILED);
  }
}
