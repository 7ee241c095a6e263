// One export of a target worker: the AoE target, the file or device behind it, what of the file is
// mapped, the order of its commands, and the answers that wait for stable storage.

import { MappedSegments } from "../../../ffi/mapping.ts";
import { closeFile, fileStatus, openFile } from "../../../ffi/files.ts";
import { LBA48_MAX, SECTOR_BYTES } from "../../wire/ata.ts";
import type { Drive } from "../../core/target/drive.ts";
import { DiskSilence } from "../../core/target/silence.ts";
import { OverlapOrder } from "../../core/target/overlap.ts";
import {
  CHUNK_RESIDENT,
  CHUNK_UNKNOWN,
  ChunkMemory,
  MAPPED_SEGMENT_BYTES,
  RESIDENCY_CHUNK_BYTES,
  SegmentChoice,
} from "../../core/target/residency.ts";
import type { FramePool } from "./frames.ts";
import type { NbdSource } from "./nbd_source.ts";
import type { CacheSwitchListener, Target } from "../../core/target/target.ts";
import { exportedSectors, makeTarget } from "./export_config.ts";
import type { ExportConfig } from "./export_config.ts";

/** Told of errors of a disk, with errno, before they are narrowed to ATA's few bits. */
export type DiskErrorListener = (
  exportIndex: number,
  operation: number,
  sector: number,
  code: number,
) => void;

/** One export. */
export class TargetExport {
  readonly index: number;
  readonly config: ExportConfig;
  /** The NBD source behind it, if it is no file. */
  readonly source: NbdSource | undefined;
  readonly target: Target;
  readonly drive: Drive;
  readonly order: OverlapOrder;
  /** Answers that wait for the next fdatasync, and those that wait for the one under way. */
  waitingForSync: CommandQueue;
  syncing: CommandQueue;
  syncUnderWay = false;
  /**
   * An fdatasync failed: the kernel has marked the lost pages clean, so that a later success would
   * be a lie. Every answer that promises stable storage fails from now on.
   */
  syncFailed = false;
  /** Bytes written, or discarded, since the last fdatasync began. */
  unsyncedBytes = 0;
  /** When the last fdatasync began that went well, and the one under way; monotonic milliseconds. */
  stableMs = 0;
  syncBeganMs = 0;
  /** A command has finished for which others may be waiting. */
  promotable = false;
  /** Gathered answers in line: segments that they point into must stay mapped. */
  gathersUnsent = 0;
  /** Commands whose answer is not in line yet. */
  held = 0;
  /** Answers of the disk, and how many there were when its silence was looked at. */
  answers = 0;
  answersBefore = 0;
  readonly silence = new DiskSilence();
  /** The server behind it is away, which is told of by itself. */
  sourceAway = false;
  /**
   * Most of them once fewer than half of the frames are free. A disk that hangs collects
   * retransmissions: without a bound it would take every frame of the worker, and its neighbours
   * would starve.
   */
  readonly heldMax: number;
  /** Writes of the turn before: a lone one is made stable by the disk itself. */
  writesLastTurn = 0;
  writesThisTurn = 0;
  /** Sectors that one overlap decision covers: 1, or a page where buffered and direct mix. */
  readonly grain: number;

  #segments: MappedSegments | undefined;
  readonly #choice: SegmentChoice;
  readonly #chunks: ChunkMemory;
  #fileBytes = 0;

  /**
   * @param options `frames`: of the pool; `segments`: how many may be mapped; 0 for none.
   */
  constructor(
    index: number,
    config: ExportConfig,
    options: {
      frames: number;
      heldMax: number;
      segments: number;
      buffers: number;
      macs: readonly Uint8Array[];
      source?: NbdSource | undefined;
      onCacheSwitch?: CacheSwitchListener;
      onChange?: () => void;
    },
  ) {
    this.index = index;
    this.config = config;
    this.source = options.source;
    this.#fileBytes = this.source?.bytes ?? fileStatus(config.fd).bytes;
    const sectors = exportedSectors(this.#fileBytes, config.offsetBytes, config.lengthBytes);
    this.target = makeTarget(config, sectors, options);
    this.drive = this.target.drive;
    this.heldMax = options.heldMax;
    this.order = new OverlapOrder(options.frames);
    this.waitingForSync = new CommandQueue(options.frames);
    this.syncing = new CommandQueue(options.frames);
    this.grain = config.directFd >= 0 && config.directAlignment > SECTOR_BYTES
      ? config.directAlignment / SECTOR_BYTES
      : 1;
    this.#segments = config.directFd < 0 && options.segments > 0 && this.source === undefined
      ? new MappedSegments(config.fd, MAPPED_SEGMENT_BYTES, options.segments)
      : undefined;
    const places = Math.max(1, options.segments);
    this.#choice = new SegmentChoice(places, Math.ceil(this.#fileBytes / MAPPED_SEGMENT_BYTES));
    this.#chunks = new ChunkMemory(places);
  }

  /** The descriptor for a transfer: O_DIRECT where it is wanted and the range is aligned. */
  fdFor(pool: FramePool, frame: number, bytes: number): number {
    const { directFd, directAlignment, fd } = this.config;
    if (directFd < 0) return fd;
    const offset = pool.offset[frame]! + pool.progress[frame]!;
    return offset % directAlignment !== 0 || bytes % directAlignment !== 0 ? fd : directFd;
  }

  /**
   * Whether the data of a command can be gathered from memory at once; if so, their address is in
   * `pool.gatherAddress`.
   */
  gather(pool: FramePool, frame: number, bytes: number): boolean {
    const offset = pool.offset[frame]! + pool.progress[frame]!;
    const place = this.#mappedPlace(offset, bytes);
    if (place < 0 || !this.#resident(offset, bytes, place, pool.nowMs)) return false;
    pool.gatherAddress[frame] = this.#segments!.address(place) + (offset % MAPPED_SEGMENT_BYTES);
    return true;
  }

  /** Ends a turn of the loop: remembers its writes, and lets go of what nobody gathers from. */
  endTurn(): void {
    this.writesLastTurn = this.writesThisTurn;
    this.writesThisTurn = 0;
    if (this.gathersUnsent === 0) this.#segments?.unmapReplaced();
  }

  /**
   * Looks at the size of the file or device again.
   *
   * @returns Whether the export's size changed.
   */
  refreshSize(): boolean {
    this.#choice.decay();
    const bytes = this.#currentBytes();
    if (bytes === this.#fileBytes) return false;
    this.#fileBytes = bytes;
    const { offsetBytes, lengthBytes } = this.config;
    // A file that grew beyond what can be said shows what can be said.
    const sectors = Math.min(LBA48_MAX, exportedSectors(bytes, offsetBytes, lengthBytes));
    if (sectors === this.drive.sectors) return false;
    this.drive.sectors = sectors;
    return true;
  }

  /** A block device's size stands still in an open descriptor's inode on some kernels. */
  #currentBytes(): number {
    if (this.source !== undefined) return this.source.bytes;
    // What is known will do: asking a network file system that hangs would hang this worker.
    let bytes = this.#fileBytes;
    try {
      bytes = fileStatus(this.config.fd, { known: true }).bytes;
    } catch {
      // A stale file or a device that was pulled out: reads and writes will tell.
    }
    if (bytes !== this.#fileBytes || !this.config.path.startsWith("/dev/")) return bytes;
    try {
      const fd = openFile(this.config.path, { readOnly: true });
      try {
        return fileStatus(fd).bytes;
      } finally {
        closeFile(fd);
      }
    } catch {
      // The node is gone; the open descriptor still serves.
      return bytes;
    }
  }

  #mappedPlace(offset: number, bytes: number): number {
    if (this.#segments === undefined) return -1;
    const segment = Math.floor(offset / MAPPED_SEGMENT_BYTES);
    if (offset + bytes > (segment + 1) * MAPPED_SEGMENT_BYTES) return -1;
    const place = this.#choice.touch(segment);
    if (place >= 0) return place;
    if (this.#segments.hasReplaced) return -1;
    const taken = this.#choice.offer(segment);
    if (taken < 0) return -1;
    try {
      this.#segments.map(taken, segment);
    } catch {
      // Not every file system maps files (FUSE with direct_io), nor for ever: reads go on without.
      // What is in line to be sent stays mapped.
      this.#segments = undefined;
      return -1;
    }
    return taken;
  }

  /** Whether the chunks that a range begins and ends in are known to be in memory. */
  #resident(offset: number, bytes: number, place: number, nowMs: number): boolean {
    const first = Math.floor(offset / RESIDENCY_CHUNK_BYTES);
    const last = Math.floor((offset + bytes - 1) / RESIDENCY_CHUNK_BYTES);
    return this.#chunkResident(first, place, nowMs) &&
      (last === first || this.#chunkResident(last, place, nowMs));
  }

  #chunkResident(chunk: number, place: number, nowMs: number): boolean {
    const known = this.#chunks.recall(place, chunk, nowMs);
    if (known !== CHUNK_UNKNOWN) return known === CHUNK_RESIDENT;
    const start = chunk * RESIDENCY_CHUNK_BYTES;
    const bytes = Math.min(RESIDENCY_CHUNK_BYTES, this.#fileBytes - start);
    const resident = bytes > 0 &&
      this.#segments!.resident(place, start % MAPPED_SEGMENT_BYTES, bytes);
    this.#chunks.remember(place, chunk, resident, nowMs);
    return resident;
  }
}

/** Frames in order of arrival. */
class CommandQueue {
  size = 0;
  readonly frames: Int32Array;

  constructor(capacity: number) {
    this.frames = new Int32Array(capacity);
  }

  /** Adds a frame; there is room for every frame of the pool. */
  push(frame: number): void {
    this.frames[this.size++] = frame;
  }
}

/** How many segments of each export may be mapped so that all stay within a bound of bytes. */
export function segmentsWithin(bytes: number, exports: number): number {
  return Math.floor(bytes / exports / MAPPED_SEGMENT_BYTES);
}
