// The target's loop, one thread for a set of exports (README, 'Architecture').
//
// 1. `turn` takes a batch of frames from each interface that has some.
// 2. `#accept` finds the export; its target drops, answers, or asks for the disk.
// 3. `#start` keeps rule 13: what overlaps with a command in flight waits for it.
// 4. `#run` gathers a read from the page cache, or joins neighbouring work into one operation.
// 5. `#issue` writes in place through the page cache, or queues on the ring.
// 6. `#finish` takes each outcome; writes that must be stable wait for a shared fdatasync.
// 7. Everything to be sent leaves in one sendmmsg; only then is a frame free, and a gathered read
//    over, so that the next overlapping write may start.
//
// No step allocates for each frame: no Promise, Map, BigInt, closure or view.

import type { Clock } from "../../ffi/poll.ts";
import { EAGAIN, EFBIG, EINTR, EINVAL, EIO, ENOSYS, EOPNOTSUPP } from "../../ffi/errno.ts";
import type { IoUring } from "../../ffi/io_uring.ts";
import type { SyncQueue } from "../../ffi/sync_queue.ts";
import { syncFile, writeAt } from "../../ffi/files.ts";
import type { Arena } from "../../ffi/arena.ts";
import {
  AOE_HEADER_BYTES,
  AOE_SLOT,
  aoeShelf,
  SHELF_BROADCAST,
  SLOT_BROADCAST,
} from "../wire/aoe.ts";
import { ATA_DATA, ATA_SECTOR_COUNT, DSM_RANGE_BYTES, SECTOR_BYTES } from "../wire/ata.ts";
import { ETHERNET_FRAME_BYTES_MIN } from "../wire/ethernet.ts";
import {
  OPERATION_FLUSH,
  OPERATION_READ,
  OPERATION_TRIM,
  OPERATION_WRITE,
  trimSector,
  trimSectors,
} from "../core/drive.ts";
import {
  DISK_WORK,
  DROP_OTHER_ADDRESS,
  DROP_SHORT,
  OUTCOME_DONE,
  OUTCOME_FAILED,
  OUTCOME_UNSUPPORTED,
} from "../core/target.ts";
import type { FramePool, VectorTable } from "./frame_pool.ts";
import {
  FLAG_ALONE,
  FLAG_ALREADY_STABLE,
  FLAG_BUFFERED,
  FLAG_GATHERED,
  FLAG_STABLE,
} from "./frame_pool.ts";
import {
  COUNT_DROPS,
  COUNT_ERRORS,
  COUNT_FLUSHES,
  COUNT_GATHERED,
  COUNT_NO_FRAME,
  COUNT_OVERLAPS,
  COUNT_READ_BYTES,
  COUNT_READS,
  COUNT_RECEIVED,
  COUNT_SEND_FAILURES,
  COUNT_SENT,
  COUNT_SYNCS,
  COUNT_TRIMS,
  COUNT_WRITES,
  COUNT_WRITTEN_BYTES,
} from "./target_counters.ts";
import type { TargetCounters } from "./target_counters.ts";
import type { TargetExport } from "./target_export.ts";
import type { TargetLink } from "./target_link.ts";

/** Most commands merged into one operation, and most bytes. */
const MERGE_COMMANDS_MAX = 64;
const MERGE_BYTES_MAX = 512 * 1024;
/** Tags of fdatasyncs on the ring follow those of commands, which are frame numbers. */
export const SYNC_TAG = 0x10000;
/** So many answers or fewer wait for an fdatasync in place: quicker than through the ring. */
const SYNC_INLINE_MAX = 2;

/** Told of errors of a disk, before they are narrowed to ATA's few bits. */
export type DiskErrorListener = (
  exportIndex: number,
  operation: number,
  sector: number,
  code: number,
) => void;

/** What the loop works with; all of it made before it starts. */
export interface TargetLoopParts {
  readonly arena: Arena;
  readonly pool: FramePool;
  readonly vectors: VectorTable;
  readonly offsetAt: number;
  readonly queue: IoUring | SyncQueue;
  readonly links: readonly TargetLink[];
  readonly exports: readonly TargetExport[];
  readonly counters: TargetCounters;
  readonly clock: Clock;
  readonly onDiskError: DiskErrorListener;
}

/** One worker's frames, disks and sockets in motion. */
export class TargetLoop {
  readonly #arena: Arena;
  readonly #pool: FramePool;
  readonly #bytes: Uint8Array;
  readonly #vectors: VectorTable;
  /** Arena offset of eight bytes for a file offset on its way into a 64-bit parameter. */
  readonly #offsetAt: number;
  readonly #queue: IoUring | SyncQueue;
  readonly #links: readonly TargetLink[];
  readonly #exports: readonly TargetExport[];
  readonly #counters: TargetCounters;
  readonly #clock: Clock;
  readonly #onDiskError: DiskErrorListener;
  #nowMs = 0;
  /** Of this turn, added to the shared counters at its end. */
  #received = 0;
  #sent = 0;
  // The operation being put together: frames in line from `#mergeFirst`, in file order.
  #mergeExport: TargetExport | undefined;
  #mergeOperation = 0;
  #mergeFirst = -1;
  #mergeLast = -1;
  #mergeCount = 0;
  #mergeBytes = 0;
  #mergeEnd = 0;

  constructor(parts: TargetLoopParts) {
    this.#arena = parts.arena;
    this.#pool = parts.pool;
    this.#bytes = parts.pool.bytes;
    this.#vectors = parts.vectors;
    this.#offsetAt = parts.offsetAt;
    this.#queue = parts.queue;
    this.#links = parts.links;
    this.#exports = parts.exports;
    this.#counters = parts.counters;
    this.#clock = parts.clock;
    this.#onDiskError = parts.onDiskError;
  }

  /** Whether commands wait for the disk or answers for the wire. */
  get busy(): boolean {
    if (this.#queue.inFlight > 0) return true;
    for (const link of this.#links) if (link.pending > 0) return true;
    return false;
  }

  /**
   * Does what can be done now; never waits, save for a page cache that is not quite there.
   *
   * @param receive Whether to take new frames.
   * @returns Number of frames received, operations completed and answers sent.
   */
  turn(receive: boolean): number {
    this.#nowMs = this.#clock.nowMs();
    this.#received = 0;
    this.#sent = 0;
    let done = 0;
    if (receive) {
      for (const link of this.#links) if (link.readable) this.#receive(link);
    }
    let submit = this.#queue.inFlight > 0;
    do {
      this.#issue();
      this.#startSyncs();
      if (submit || this.#queue.queued > 0) {
        submit = false;
        this.#queue.submit();
        this.#vectors.clear();
      }
      done += this.#reap();
      for (const link of this.#links) if (link.pending > 0 && !link.blocked) link.flush(this);
    } while (this.#promote() || this.#mergeExport !== undefined || this.#syncWanted());
    for (const ex of this.#exports) {
      ex.writesLastTurn = ex.writesThisTurn;
      ex.writesThisTurn = 0;
    }
    if (this.#received > 0) this.#counters.add(COUNT_RECEIVED, this.#received);
    if (this.#sent > 0) this.#counters.add(COUNT_SENT, this.#sent);
    return done + this.#received + this.#sent;
  }

  /** Sends the advert of every export by one interface (PROTOCOL.md, decision 14). */
  announce(link: TargetLink): void {
    if (!link.running) return;
    for (const ex of this.#exports) this.announceExport(ex, link);
  }

  /** Sends the advert of one export. */
  announceExport(ex: TargetExport, link: TargetLink): void {
    const frame = this.#pool.take();
    if (frame < 0) return;
    const length = ex.target.writeAdvert(this.#bytes, this.#pool.start(frame), link);
    this.#pool.flags[frame] = 0;
    if (length > 0) link.enqueue(frame, length);
    else this.#pool.release(frame);
  }

  /** Puts what has been written onto stable storage, at the end. */
  syncAll(): void {
    for (const ex of this.#exports) {
      if (!ex.dirty || ex.config.readOnly) continue;
      const result = syncFile(ex.config.fd);
      if (result < 0) this.#onDiskError(ex.index, OPERATION_FLUSH, 0, -result);
      ex.dirty = false;
    }
  }

  /** A frame has left: it is free, and if it was gathered, its look at the file is over. */
  sent(frame: number): void {
    this.#sent++;
    if ((this.#pool.flags[frame]! & FLAG_GATHERED) !== 0) {
      const ex = this.#exports[this.#pool.exportOf[frame]!]!;
      ex.order.finish(frame);
      ex.promotable = true;
    }
    this.#pool.release(frame);
  }

  /** A frame could not be sent: a page that could not be gathered, or an interface that is down. */
  sendFailed(frame: number): void {
    if ((this.#pool.flags[frame]! & FLAG_GATHERED) === 0) {
      this.#counters.add(COUNT_SEND_FAILURES, 1);
      this.#pool.release(frame);
      return;
    }
    // Reading the ordinary way tells what is wrong with the page, and answers accordingly.
    const ex = this.#exports[this.#pool.exportOf[frame]!]!;
    ex.target.revert(this.#bytes, this.#pool.start(frame));
    this.#pool.flags[frame] = FLAG_ALONE;
    this.#run(ex, frame);
    ex.promotable = true;
  }

  #receive(link: TargetLink): void {
    const count = link.receive();
    this.#received += count;
    for (let i = 0; i < count; i++) {
      this.#accept(link, link.takeFrame(i), link.length(i));
    }
  }

  #accept(link: TargetLink, frame: number, length: number): void {
    const at = this.#pool.start(frame);
    if (length < AOE_HEADER_BYTES) {
      this.#drop(frame, DROP_SHORT);
      return;
    }
    const shelf = aoeShelf(this.#bytes, at);
    const slot = this.#bytes[at + AOE_SLOT]!;
    if (shelf === SHELF_BROADCAST || slot === SLOT_BROADCAST) {
      this.#acceptBroadcast(link, frame, length, shelf, slot);
      return;
    }
    // The filter passes only frames for one of this worker's few exports.
    for (let i = 0; i < this.#exports.length; i++) {
      const ex = this.#exports[i]!;
      if (ex.target.slot === slot && ex.target.shelf === shelf) {
        this.#decide(ex, link, frame, length);
        return;
      }
    }
    this.#drop(frame, DROP_OTHER_ADDRESS);
  }

  /** Every export that a broadcast means answers for itself, each in a copy of the frame. */
  #acceptBroadcast(
    link: TargetLink,
    frame: number,
    length: number,
    shelf: number,
    slot: number,
  ): void {
    const at = this.#pool.start(frame);
    const bytes = Math.max(length, ETHERNET_FRAME_BYTES_MIN);
    for (const ex of this.#exports) {
      if (
        (shelf !== SHELF_BROADCAST && shelf !== ex.target.shelf) ||
        (slot !== SLOT_BROADCAST && slot !== ex.target.slot)
      ) {
        continue;
      }
      const copy = this.#pool.take();
      if (copy < 0) {
        this.#counters.add(COUNT_NO_FRAME, 1);
        break;
      }
      this.#bytes.copyWithin(this.#pool.start(copy), at, at + bytes);
      this.#decide(ex, link, copy, length);
    }
    this.#pool.release(frame);
  }

  #decide(ex: TargetExport, link: TargetLink, frame: number, length: number): void {
    const verdict = ex.target.receive(this.#bytes, this.#pool.start(frame), length, link);
    if (verdict === DISK_WORK) {
      this.#start(ex, link, frame);
    } else if (verdict > 0) {
      this.#pool.flags[frame] = 0;
      link.enqueue(frame, verdict);
    } else {
      this.#drop(frame, verdict);
    }
  }

  #drop(frame: number, verdict: number): void {
    this.#counters.add(COUNT_DROPS - verdict, 1);
    this.#pool.release(frame);
  }

  #start(ex: TargetExport, link: TargetLink, frame: number): void {
    const pool = this.#pool;
    const drive = ex.drive;
    const operation = drive.operation;
    pool.exportOf[frame] = ex.index;
    pool.linkOf[frame] = this.#links.indexOf(link);
    pool.operation[frame] = operation;
    pool.sectors[frame] = drive.sectorsWanted;
    pool.offset[frame] = ex.config.offsetBytes + drive.sector * SECTOR_BYTES;
    pool.byteCount[frame] = drive.sectorsWanted * SECTOR_BYTES;
    pool.progress[frame] = 0;
    const changes = operation === OPERATION_WRITE || operation === OPERATION_TRIM;
    pool.flags[frame] = changes && (drive.stableWrites || drive.forceUnitAccess) ? FLAG_STABLE : 0;
    if (operation === OPERATION_FLUSH) {
      // Every write answered so far is complete already: the sync that follows covers it.
      ex.waitingForSync.push(frame);
      return;
    }
    let first = 0;
    let end = Infinity;
    if (operation !== OPERATION_TRIM) {
      first = drive.sector + ex.config.offsetBytes / SECTOR_BYTES;
      end = first + drive.sectorsWanted;
      if (ex.grain !== 1) {
        first -= first % ex.grain;
        end += (ex.grain - end % ex.grain) % ex.grain;
      }
    }
    if (ex.order.admit(frame, changes, first, end)) this.#run(ex, frame);
    else this.#counters.add(COUNT_OVERLAPS, 1);
  }

  #run(ex: TargetExport, frame: number): void {
    const pool = this.#pool;
    const operation = pool.operation[frame]!;
    if (operation === OPERATION_TRIM) {
      this.#runTrim(ex, frame);
      return;
    }
    const offset = pool.offset[frame]! + pool.progress[frame]!;
    const bytes = pool.byteCount[frame]! - pool.progress[frame]!;
    if (operation === OPERATION_READ && (pool.flags[frame]! & FLAG_ALONE) === 0) {
      const address = ex.gather(offset, bytes, this.#nowMs);
      if (address !== 0) {
        this.#answerGathered(ex, frame, address, bytes);
        return;
      }
    }
    if (operation === OPERATION_WRITE) ex.writesThisTurn++;
    const alone = (pool.flags[frame]! & FLAG_ALONE) !== 0;
    if (
      ex !== this.#mergeExport || operation !== this.#mergeOperation || alone ||
      offset !== this.#mergeEnd || this.#mergeCount === MERGE_COMMANDS_MAX ||
      this.#mergeBytes + bytes > MERGE_BYTES_MAX
    ) {
      this.#issue();
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

  #answerGathered(ex: TargetExport, frame: number, address: number, bytes: number): void {
    const pool = this.#pool;
    const link = this.#links[pool.linkOf[frame]!]!;
    const sectors = pool.sectors[frame]!;
    ex.target.complete(
      this.#bytes,
      pool.start(frame),
      link,
      OPERATION_READ,
      sectors,
      OUTCOME_DONE,
    );
    pool.flags[frame] = FLAG_GATHERED;
    link.enqueueGathered(frame, ATA_DATA, address, bytes);
    this.#counters.addTo(ex.index, COUNT_READS, 1);
    this.#counters.addTo(ex.index, COUNT_GATHERED, 1);
    this.#counters.addTo(ex.index, COUNT_READ_BYTES, bytes);
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
      ex.dirty = true;
      this.#queue.punch(frame, ex.config.fd, offset, sectors * SECTOR_BYTES);
      return;
    }
    this.#finish(ex, frame, 0);
  }

  /** Carries out what has been put together; a retry may put together more. */
  #issue(): void {
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
    const buffered = (pool.flags[first]! & FLAG_BUFFERED) !== 0;
    const fd = buffered ? ex.config.fd : ex.fdFor(offset, this.#mergeBytes);
    if (operation !== OPERATION_WRITE && count === 1) {
      const address = pool.address(first) + ATA_DATA + pool.progress[first]!;
      this.#queue.read(first, fd, address, this.#mergeBytes, offset);
      return;
    }
    if (!this.#vectors.fits(count)) {
      this.#queue.submit();
      this.#vectors.clear();
    }
    const vector = this.#vectors.used;
    for (let frame = first; frame >= 0; frame = pool.next[frame]!) {
      const done = pool.progress[frame]!;
      this.#vectors.add(pool.address(frame) + ATA_DATA + done, pool.byteCount[frame]! - done);
    }
    const iovecs = this.#vectors.address(vector);
    if (operation !== OPERATION_WRITE) {
      this.#queue.readVectors(first, fd, iovecs, count, offset);
    } else if (fd === ex.config.fd && ex.writesInline(offset, this.#mergeBytes, this.#nowMs)) {
      this.#writeInline(ex, first, iovecs, count, offset);
    } else {
      ex.dirty = true;
      // A few writes are quicker made stable one by one; many share an fdatasync.
      const alone = (pool.flags[first]! & FLAG_STABLE) !== 0 && count === 1 &&
        ex.writesLastTurn <= SYNC_INLINE_MAX && ex.writesThisTurn <= SYNC_INLINE_MAX;
      if (alone) pool.flags[first] = pool.flags[first]! | FLAG_ALREADY_STABLE;
      this.#queue.write(first, fd, iovecs, count, offset, alone);
    }
  }

  #writeInline(
    ex: TargetExport,
    first: number,
    iovecs: number,
    count: number,
    offset: number,
  ): void {
    ex.dirty = true;
    this.#arena.setAddress(this.#offsetAt, offset);
    const wide = this.#arena.i64[this.#offsetAt >>> 3]!;
    // Only a neighbour can suffer from a slow disk; alone, the clock is not worth reading.
    const watched = this.#exports.length > 1;
    const startedMs = watched ? this.#clock.nowMs() : 0;
    const result = writeAt(ex.config.fd, this.#vectors.pointerAt(iovecs), count, wide);
    if (watched) ex.noteInlineWrite(startedMs, this.#clock.nowMs());
    this.#complete(ex, first, result);
    if (this.#queue.inFlight === 0) this.#vectors.clear();
  }

  /** Takes what the disk has finished; returns how many operations. */
  #reap(): number {
    let count = 0;
    while (this.#queue.next()) {
      count++;
      const { tag, result } = this.#queue;
      if (tag >= SYNC_TAG) this.#finishSync(this.#exports[tag - SYNC_TAG]!, result);
      else this.#complete(this.#exports[this.#pool.exportOf[tag]!]!, tag, result);
    }
    return count;
  }

  /** Takes the result of an operation: of one command, or of several that were merged. */
  #complete(ex: TargetExport, first: number, result: number): void {
    const pool = this.#pool;
    if (pool.operation[first] === OPERATION_TRIM) {
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
        pool.flags[frame] = pool.flags[frame]! | FLAG_ALONE;
        this.#run(ex, frame);
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
    } else if (result === -EINVAL && (flags & FLAG_BUFFERED) === 0 && ex.config.directFd >= 0) {
      // The file system asks more of O_DIRECT than it said.
      pool.flags[frame] = flags | FLAG_BUFFERED;
    } else if (result !== -EAGAIN && result !== -EINTR) {
      // Nothing at all: the end of a file that has shrunk.
      this.#finish(ex, frame, result === 0 ? EIO : -result);
      return;
    }
    pool.flags[frame] = (pool.flags[frame]! | FLAG_ALONE) & ~FLAG_ALREADY_STABLE;
    this.#run(ex, frame);
  }

  /** Ends a command at the disk; its answer leaves now or once it is stable. */
  #finish(ex: TargetExport, frame: number, code: number): void {
    const pool = this.#pool;
    ex.order.finish(frame);
    ex.promotable = true;
    const operation = pool.operation[frame]!;
    if (code !== 0) {
      this.#fail(ex, frame, code);
      return;
    }
    const bytes = pool.byteCount[frame]!;
    if (operation === OPERATION_WRITE) {
      this.#counters.addTo(ex.index, COUNT_WRITES, 1);
      this.#counters.addTo(ex.index, COUNT_WRITTEN_BYTES, bytes);
    } else if (operation === OPERATION_READ) {
      this.#counters.addTo(ex.index, COUNT_READS, 1);
      this.#counters.addTo(ex.index, COUNT_READ_BYTES, bytes);
    } else if (operation === OPERATION_TRIM) {
      this.#counters.addTo(ex.index, COUNT_TRIMS, 1);
    }
    if ((pool.flags[frame]! & (FLAG_STABLE | FLAG_ALREADY_STABLE)) === FLAG_STABLE) {
      ex.waitingForSync.push(frame);
    } else {
      this.#answer(ex, frame, OUTCOME_DONE);
    }
  }

  #fail(ex: TargetExport, frame: number, code: number): void {
    const pool = this.#pool;
    const operation = pool.operation[frame]!;
    const unsupported = operation === OPERATION_TRIM &&
      (code === EOPNOTSUPP || code === ENOSYS || code === EFBIG);
    const sector = (pool.offset[frame]! - ex.config.offsetBytes) / SECTOR_BYTES;
    this.#counters.addTo(ex.index, COUNT_ERRORS, 1);
    this.#onDiskError(ex.index, operation, sector, code);
    this.#answer(ex, frame, unsupported ? OUTCOME_UNSUPPORTED : OUTCOME_FAILED);
  }

  #answer(ex: TargetExport, frame: number, outcome: number): void {
    const pool = this.#pool;
    const link = this.#links[pool.linkOf[frame]!]!;
    const length = ex.target.complete(
      this.#bytes,
      pool.start(frame),
      link,
      pool.operation[frame]!,
      pool.sectors[frame]!,
      outcome,
    );
    pool.flags[frame] = 0;
    link.enqueue(frame, length);
  }

  /** Starts an fdatasync where answers wait for one; all that wait share it. */
  #startSyncs(): void {
    for (const ex of this.#exports) {
      if (ex.syncUnderWay || ex.waitingForSync.size === 0) continue;
      const waiting = ex.waitingForSync;
      ex.waitingForSync = ex.syncing;
      ex.syncing = waiting;
      ex.syncUnderWay = true;
      this.#counters.addTo(ex.index, COUNT_SYNCS, 1);
      if (ex.syncFailed) {
        this.#finishSync(ex, -EIO);
      } else if (
        // Nobody else's command waits meanwhile.
        waiting.size <= SYNC_INLINE_MAX && this.#exports.length === 1 &&
        this.#queue.inFlight === 0
      ) {
        this.#finishSync(ex, syncFile(ex.config.fd));
      } else {
        this.#queue.sync(SYNC_TAG + ex.index, ex.config.fd);
      }
    }
  }

  #finishSync(ex: TargetExport, result: number): void {
    if (result === -EINTR || result === -EAGAIN) {
      this.#queue.sync(SYNC_TAG + ex.index, ex.config.fd);
      return;
    }
    if (result < 0 && !ex.syncFailed) {
      ex.syncFailed = true;
      this.#onDiskError(ex.index, OPERATION_FLUSH, 0, -result);
    }
    if (result >= 0 && ex.waitingForSync.size === 0) ex.dirty = false;
    ex.syncUnderWay = false;
    const outcome = result < 0 ? OUTCOME_FAILED : OUTCOME_DONE;
    for (let i = 0; i < ex.syncing.size; i++) {
      const frame = ex.syncing.frames[i]!;
      const flush = this.#pool.operation[frame] === OPERATION_FLUSH;
      if (result < 0) this.#counters.addTo(ex.index, COUNT_ERRORS, 1);
      else if (flush) this.#counters.addTo(ex.index, COUNT_FLUSHES, 1);
      this.#answer(ex, frame, outcome);
    }
    ex.syncing.size = 0;
  }

  /** Whether answers wait for an fdatasync that has not been started. */
  #syncWanted(): boolean {
    for (const ex of this.#exports) {
      if (!ex.syncUnderWay && ex.waitingForSync.size > 0) return true;
    }
    return false;
  }

  /** Starts commands whose elders have finished; whether there was one, or disk work is queued. */
  #promote(): boolean {
    let any = this.#queue.queued > 0;
    for (const ex of this.#exports) {
      if (!ex.promotable) continue;
      ex.promotable = false;
      if (ex.order.waiting === 0) continue;
      for (let frame = ex.order.promote(); frame >= 0; frame = ex.order.promote()) {
        this.#run(ex, frame);
        any = true;
      }
    }
    return any;
  }
}
