// One export of a target: who is answered and how, the order of its commands, what of the file is
// mapped, and the answers that wait for stable storage. What stands behind it is the caller's.

import { LBA48_MAX, SECTOR_BYTES } from "../../wire/ata.ts";
import { NONE } from "../tables.ts";
import type { AclConfig } from "./acl.ts";
import type { KeptSettings } from "./kept_settings.ts";
import type { TargetCommands } from "./commands.ts";
import type { PageMap } from "./disk_queue.ts";
import { Drive } from "./drive.ts";
import { OverlapOrder } from "./overlap.ts";
import {
  CHUNK_RESIDENT,
  CHUNK_UNKNOWN,
  ChunkMemory,
  MAPPED_SEGMENT_BYTES,
  RESIDENCY_CHUNK_BYTES,
  RewriteHabit,
  SegmentChoice,
} from "./residency.ts";
import { FIRMWARE_VERSION, Target } from "./target.ts";
import type { CacheSwitchListener } from "./target.ts";
import { DiskSilence } from "./silence.ts";
import type { SilenceNews } from "./silence.ts";

/** Reads between two looks whether the page cache has the data, when looks are in vain. */
const LOOKS_SKIPPED_MAX = 63;
/** The kernel writes a page back when it has been dirty for about so long (dirty_expire_centisecs). */
const DIRTY_MS = 30_000;
/**
 * So many bytes written are counted at most: a field that outgrows what V8 keeps in it makes it give up
 * and compile anew everything that touches the export.
 */
const UNSYNCED_BYTES_MAX = 2 ** 30;
/** Segments that a file may grow by, beside doubling, and still be mapped whole. */
const GROWTH_SEGMENTS = 64;

/** What is exported, and as what. */
export interface ExportSettings {
  readonly shelf: number;
  readonly slot: number;
  /** Through the page cache. */
  readonly fd: number;
  /** O_DIRECT; −1 without. */
  readonly directFd: number;
  /** What O_DIRECT asks of offsets and lengths, in bytes. */
  readonly directAlignment: number;
  /** First exported byte of the file. */
  readonly offsetBytes: number;
  /** Bytes exported at most; the rest of the file follows its growth otherwise. */
  readonly lengthBytes: number | undefined;
  /** On a file system that blocks even when it was asked not to. */
  readonly remote: boolean;
  /** The file system or block device that it is on; undefined where it shares none. */
  readonly disk?: string | undefined;
  readonly readOnly: boolean;
  readonly sync: boolean;
  /** Whether initiators may not switch the write cache. */
  readonly cacheFixed?: boolean | undefined;
  readonly trim: boolean;
  readonly physicalSectorBytes: number;
  readonly rotational: boolean;
  readonly serial: string;
  /** See wire/incarnation.ts. */
  readonly incarnation: number | undefined;
  /** Who may use it; everybody when undefined. */
  readonly acl?: AclConfig | undefined;
  /** Whether writes of it that were answered have been lost while it was served before. */
  readonly suspect?: boolean | undefined;
  /** Whether what frames set is kept beyond the process; see `Target.proposes`. */
  readonly keeps?: boolean | undefined;
  /** What an earlier process has kept. */
  readonly kept?: KeptSettings | undefined;
}

/** What stands behind an export. */
export interface Backing {
  /** Its size in bytes, as far as it is known without waiting. */
  readonly bytes: number;
  /** Whether it is a server's, which tells by itself when it has lost what it had answered. */
  readonly remoteServer: boolean;
  /** Whether a server has answered writes that it may still lose. */
  readonly atRisk: boolean;
  /** Its pages in memory, where answers may be gathered from them. */
  readonly pages: PageMap | undefined;
}

/** The target of an export, as it is before any frame has come. */
export function makeTarget(
  settings: ExportSettings,
  sectors: number,
  options: {
    readonly buffers: number;
    readonly onCacheSwitch?: CacheSwitchListener | undefined;
    readonly onChange?: (() => void) | undefined;
  },
): Target {
  const drive = new Drive({
    sectors,
    readOnly: settings.readOnly,
    sync: settings.sync,
    cacheFixed: settings.cacheFixed,
    trim: settings.trim,
    physicalSectorBytes: settings.physicalSectorBytes,
    rotational: settings.rotational,
    serial: settings.serial,
    incarnation: settings.incarnation,
    firmware: FIRMWARE_VERSION.toString(16).padStart(4, "0"),
    model: "aoe target",
  });
  const { shelf, slot, acl, keeps, kept } = settings;
  const target = new Target({ ...options, shelf, slot, drive, acl, keeps });
  if (kept !== undefined) target.restoreKept(kept);
  return target;
}

/** Bytes of a file that an export shows, in whole sectors. */
export function exportedSectors(
  fileBytes: number,
  offsetBytes: number,
  lengthBytes: number | undefined,
): number {
  const bytes = Math.min(fileBytes - offsetBytes, lengthBytes ?? Infinity);
  return Math.max(0, Math.floor(bytes / SECTOR_BYTES));
}

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
  settings: ExportSettings;
  readonly backing: Backing;
  readonly target: Target;
  readonly drive: Drive;
  readonly order: OverlapOrder;
  /** Sectors that one overlap decision covers: 1, or a page where buffered and direct mix. */
  readonly grain: number;
  /**
   * An fdatasync failed: the kernel has marked the lost pages clean, so that a later success would
   * be a lie. Every answer that promises stable storage fails from now on.
   */
  syncFailed = false;
  /** The links that it is served on, a bit each by their numbers. */
  links = -1;
  /** Among those of its thread that have something to do; see `ExportTable`. */
  active = false;
  /** Pages of the file have been stored to, of which its time of change knows nothing yet. */
  stored = false;
  /** The server behind it is away, which is told of by itself. */
  sourceAway = false;

  // Commands whose answer is not in line yet, and gathered answers in line: segments that they point
  // into must stay mapped.
  #held = 0;
  /** Answers of the disk, and how many there were when its silence was looked at. */
  #answers = 0;
  #answersBefore = 0;
  readonly #silence = new DiskSilence();
  #gathersUnsent = 0;
  /** A command has finished for which others may be waiting. */
  #promotable = false;
  // Answers that wait for the next fdatasync, and those that wait for the one under way.
  #waitingForSync: CommandQueue;
  #syncing: CommandQueue;
  #syncUnderWay = false;
  /** Somebody who sends no frames wants an fdatasync. */
  #syncAsked = false;
  /** Bytes written, or discarded, since the last fdatasync began, as far as they are counted. */
  #unsyncedBytes = 0;
  // When the last fdatasync began that went well, and the one under way; monotonic milliseconds. These
  // and other times are never integers first: V8 compiles everything that touches the export anew
  // when a field's kind of number changes.
  #stableMs = -Infinity;
  #syncBeganMs = -Infinity;
  // Reads of what is in the page cache and not mapped.
  #cachedReads: boolean;
  #looksInVain = 0;
  #looksToSkip = 0;
  // Writes of the turn before: a lone one is made stable by the disk itself.
  #writesLastTurn = 0;
  #writesThisTurn = 0;
  /** Time of the turn. */
  #nowMs = 0;
  /** See the constructor. */
  heldMax: number;
  #pages: PageMap | undefined;
  readonly #choice: SegmentChoice;
  readonly #chunks: ChunkMemory;
  #fileBytes: number;
  readonly #habit = new RewriteHabit();
  /** Where the stores in line end; 0 where none are. */
  #storesEnd = 0;
  /** Until then nothing is stored. */
  #unstorableUntilMs = -Infinity;

  /**
   * @param options `frames`: of the pool. `heldMax`: most commands held once fewer than half of the
   * frames are free; a disk that hangs collects retransmissions, and without a bound would take every
   * frame of the worker, so that its neighbours starve. `segments`: how many may be mapped.
   */
  constructor(
    index: number,
    settings: ExportSettings,
    options: {
      backing: Backing;
      frames: number;
      heldMax: number;
      segments: number;
      buffers: number;
      onCacheSwitch?: CacheSwitchListener;
      onChange?: () => void;
    },
  ) {
    const { backing, segments } = options;
    this.index = index;
    this.settings = settings;
    this.backing = backing;
    this.#fileBytes = backing.bytes;
    const { offsetBytes, lengthBytes } = settings;
    const sectors = exportedSectors(this.#fileBytes, offsetBytes, lengthBytes);
    this.target = makeTarget(settings, sectors, options);
    this.drive = this.target.drive;
    this.syncFailed = settings.suspect === true;
    this.heldMax = options.heldMax;
    this.order = new OverlapOrder(options.frames);
    this.#waitingForSync = new CommandQueue(options.frames);
    this.#syncing = new CommandQueue(options.frames);
    this.grain = settings.directFd >= 0 && settings.directAlignment > SECTOR_BYTES
      ? settings.directAlignment / SECTOR_BYTES
      : 1;
    this.#cachedReads = settings.directFd < 0 && !settings.remote && !backing.remoteServer;
    this.#pages = segments > 0 ? backing.pages : undefined;
    const fileSegments = Math.ceil(this.#fileBytes / MAPPED_SEGMENT_BYTES);
    // Tables are made for what is there, and for some growth.
    const places = Math.max(1, Math.min(segments, 2 * fileSegments + GROWTH_SEGMENTS));
    this.#choice = new SegmentChoice(places, fileSegments);
    this.#chunks = new ChunkMemory(places);
  }

  /** Whether it may hold one more command; its share is what it is bound to where frames are scarce. */
  mayHold(framesScarce: boolean): boolean {
    return !framesScarce || this.#held < this.heldMax;
  }

  /** Whether it has more than one command in its hands. */
  get holdsSeveral(): boolean {
    return this.#held > 1;
  }

  /** A command is in its hands. */
  hold(): void {
    this.#held++;
  }

  /** A command's answer is in line. */
  release(): void {
    this.#held--;
    this.#answers = this.#answers + 1 | 0;
  }

  /** A read's answer is in line, its data to be gathered as it is sent. */
  gathered(): void {
    this.#held--;
    this.#answers = this.#answers + 1 | 0;
    this.#gathersUnsent++;
  }

  /**
   * Looks whether the disk has been silent while commands wait for it.
   *
   * @returns What is to be told of it, if anything.
   */
  listen(nowMs: number): SilenceNews | undefined {
    const silent = this.#held > 0 && this.#answers === this.#answersBefore && !this.sourceAway;
    this.#answersBefore = this.#answers;
    return this.#silence.look(nowMs, silent);
  }

  /** A gathered answer has left: its look at the file is over. */
  gatherSent(frame: number): void {
    this.#gathersUnsent--;
    this.ended(frame);
  }

  /** A gathered answer could not be sent: the command is in its hands again. */
  gatherFailed(): void {
    this.#gathersUnsent--;
    this.#held++;
    this.#promotable = true;
  }

  /** A command has finished at the disk, and makes room for what overlaps. */
  ended(frame: number): void {
    this.order.finish(frame);
    this.#promotable = true;
  }

  /** Whether commands may be started that waited for others; asking forgets it. */
  takePromotable(): boolean {
    const promotable = this.#promotable;
    this.#promotable = false;
    return promotable && this.order.waiting > 0;
  }

  /** Whether a disk still works on a command. */
  get working(): boolean {
    return this.order.running > this.#gathersUnsent;
  }

  /**
   * Whether to look now whether data that are not mapped are in the page cache; where looks are in
   * vain, fewer and fewer are granted.
   */
  claimCachedLook(): boolean {
    if (!this.#cachedReads) return false;
    if (this.#looksToSkip === 0) return true;
    this.#looksToSkip--;
    return false;
  }

  /** Such a look has found all of the data, or not; `never`: the file system cannot tell. */
  lookedForCached(found: boolean, never: boolean): void {
    if (never) this.#cachedReads = false;
    this.#looksInVain = found ? 0 : Math.min(2 * this.#looksInVain + 1, LOOKS_SKIPPED_MAX);
    this.#looksToSkip = this.#looksInVain;
  }

  /** A write has been started. */
  countWrite(): void {
    this.#writesThisTurn++;
  }

  /** Most writes of this turn and the one before it. */
  get writesOfTurn(): number {
    return Math.max(this.#writesLastTurn, this.#writesThisTurn);
  }

  /** Bytes are on their way to the disk, which the next fdatasync must cover. */
  wrote(bytes: number): void {
    this.#unsyncedBytes = Math.min(UNSYNCED_BYTES_MAX, this.#unsyncedBytes + bytes);
  }

  /** A change has finished: an fdatasync that began while the disk worked does not cover it. */
  changed(): void {
    if (this.#unsyncedBytes === 0) this.#unsyncedBytes = SECTOR_BYTES;
  }

  /** Whether there is something that no fdatasync has covered. */
  get unsynced(): boolean {
    return this.#unsyncedBytes > 0;
  }

  /** An fdatasync that nobody's answer waited for has covered everything. */
  synced(): void {
    this.#unsyncedBytes = 0;
  }

  /** Wants everything on stable storage, without an answer that waits for it. */
  askSync(): void {
    this.#syncAsked = true;
  }

  /** Its answer waits for the next fdatasync. */
  awaitSync(frame: number): void {
    this.#waitingForSync.push(frame);
  }

  /** Whether answers wait for an fdatasync that has not been started. */
  get syncWanted(): boolean {
    return !this.#syncUnderWay && (this.#syncAsked || this.#waitingForSync.size > 0);
  }

  /** When the last fdatasync began that went well, in monotonic milliseconds; −Infinity before any. */
  get stableMs(): number {
    return this.#stableMs;
  }

  get syncUnderWay(): boolean {
    return this.#syncUnderWay;
  }

  /** An fdatasync begins, for all that wait; returns the bytes that it has to write out. */
  beginSync(): number {
    const waiting = this.#waitingForSync;
    this.#waitingForSync = this.#syncing;
    this.#syncing = waiting;
    this.#syncUnderWay = true;
    this.#syncAsked = false;
    this.#syncBeganMs = this.#nowMs;
    const bytes = this.#unsyncedBytes;
    this.#unsyncedBytes = 0;
    return bytes;
  }

  /** Frames whose answers wait for the fdatasync under way: the first `syncingCount` of them. */
  get syncing(): Int32Array {
    return this.#syncing.frames;
  }

  get syncingCount(): number {
    return this.#syncing.size;
  }

  /** The fdatasync has ended, and all that waited are answered. */
  endSync(wentWell: boolean): void {
    this.#syncUnderWay = false;
    if (wentWell) this.#stableMs = this.#syncBeganMs;
    this.#syncing.size = 0;
  }

  /** The descriptor for a transfer: O_DIRECT where it is wanted and the range is aligned. */
  fdFor(commands: TargetCommands, frame: number, bytes: number): number {
    const { directFd, directAlignment, fd } = this.settings;
    if (directFd < 0) return fd;
    const offset = commands.offset[frame]! + commands.progress[frame]!;
    return offset % directAlignment !== 0 || bytes % directAlignment !== 0 ? fd : directFd;
  }

  /**
   * Whether the data of a command can be gathered from memory at once; if so, their address is in
   * `commands.gatherAddress`.
   */
  tryGather(commands: TargetCommands, frame: number, bytes: number): boolean {
    const offset = commands.offset[frame]! + commands.progress[frame]!;
    const place = this.#mappedPlace(offset, bytes);
    if (place < 0 || !this.#resident(offset, bytes, place)) return false;
    this.#noteAddress(commands, frame, place);
    return true;
  }

  /**
   * Takes note of a write, and whether it is worth storing in mapped pages: they have been written of
   * late, or most that is written has been. If so, their address is in `commands.gatherAddress`.
   */
  tryStore(commands: TargetCommands, frame: number, bytes: number): boolean {
    if (this.#pages?.writable !== true || this.#nowMs < this.#unstorableUntilMs) return false;
    const offset = commands.offset[frame]!;
    const chunk = Math.floor(offset / RESIDENCY_CHUNK_BYTES);
    const from = offset - chunk * RESIDENCY_CHUNK_BYTES;
    if (from + bytes > RESIDENCY_CHUNK_BYTES) return false;
    const place = this.#mappedPlace(offset, bytes);
    if (place < 0) return false;
    // An fdatasync has written all of them back.
    const sinceMs = Math.max(this.#syncBeganMs, this.#nowMs - DIRTY_MS);
    const again = this.#chunks.rewrites(place, chunk, from, bytes, sinceMs);
    this.#habit.note(again);
    if (!again && !this.#habit.rewrites) return false;
    if (!this.#chunkResident(chunk, place)) return false;
    this.#noteAddress(commands, frame, place);
    if (offset + bytes > this.#storesEnd) this.#storesEnd = offset + bytes;
    return true;
  }

  /**
   * Whether the file reaches at this moment as far as the stores in line, which are carried out at once
   * if so. It is asked once: the next answer is of the next ones.
   */
  takeReach(): boolean {
    const end = this.#storesEnd;
    this.#storesEnd = 0;
    if (end === 0) return true;
    if (this.#pages?.reaches(end) !== true) return false;
    this.stored = true;
    return true;
  }

  /** Has nothing stored until then. */
  refuseStores(untilMs: number): void {
    this.#unstorableUntilMs = untilMs;
  }

  /** A turn of the loop begins. */
  beginTurn(nowMs: number): void {
    this.#nowMs = nowMs;
    this.#chunks.setTime(nowMs);
  }

  /**
   * Ends a turn of the loop: remembers its writes, and lets go of what nobody gathers from.
   *
   * @returns Whether there is nothing left to do.
   */
  endTurn(): boolean {
    const wrote = this.#writesThisTurn > 0;
    this.#writesLastTurn = this.#writesThisTurn;
    this.#writesThisTurn = 0;
    if (this.#gathersUnsent === 0) this.#pages?.unmapReplaced();
    return !wrote && this.idle;
  }

  /** Whether no command is in its hands, and nothing waits for stable storage. */
  get idle(): boolean {
    return this.#held === 0 && this.#gathersUnsent === 0 && !this.#syncUnderWay &&
      !this.#syncAsked && this.target.proposal === undefined;
  }

  /**
   * Looks at the size of the file or device again.
   *
   * @returns Whether the export's size changed.
   */
  refreshSize(): boolean {
    this.#choice.decay();
    const { bytes } = this.backing;
    if (bytes === this.#fileBytes) return false;
    this.#fileBytes = bytes;
    return this.#resize();
  }

  /**
   * Serves it in another way from now on; what stands behind it stays.
   *
   * @returns Whether its size changed.
   */
  change(settings: ExportSettings): boolean {
    this.settings = settings;
    this.target.acl = settings.acl;
    this.drive.readOnly = settings.readOnly;
    return this.#resize();
  }

  #resize(): boolean {
    const { offsetBytes, lengthBytes } = this.settings;
    // A file that grew beyond what can be said shows what can be said.
    const sectors = Math.min(LBA48_MAX, exportedSectors(this.#fileBytes, offsetBytes, lengthBytes));
    if (sectors === this.drive.sectors) return false;
    this.drive.sectors = sectors;
    return true;
  }

  /** Notes where the data of a command lie in the segment of a place. */
  #noteAddress(commands: TargetCommands, frame: number, place: number): void {
    const offset = commands.offset[frame]! + commands.progress[frame]!;
    const segmentAt = Math.floor(offset / MAPPED_SEGMENT_BYTES) * MAPPED_SEGMENT_BYTES;
    commands.gatherAddress[frame] = this.#pages!.address(place) + offset - segmentAt;
  }

  #mappedPlace(offset: number, bytes: number): number {
    if (this.#pages === undefined) return NONE;
    const segment = Math.floor(offset / MAPPED_SEGMENT_BYTES);
    if (offset + bytes > (segment + 1) * MAPPED_SEGMENT_BYTES) return NONE;
    const place = this.#choice.touch(segment);
    if (place >= 0) return place;
    if (this.#pages.hasReplaced) return NONE;
    const taken = this.#choice.offer(segment);
    if (taken < 0) return NONE;
    this.#chunks.forget(taken);
    try {
      this.#pages.map(taken, segment);
    } catch {
      // Not every file system maps files (FUSE with direct_io), nor for ever: reads go on without.
      // What is in line to be sent stays mapped.
      this.#pages = undefined;
      return NONE;
    }
    return taken;
  }

  /** Whether the chunks that a range begins and ends in are known to be in memory. */
  #resident(offset: number, bytes: number, place: number): boolean {
    const first = Math.floor(offset / RESIDENCY_CHUNK_BYTES);
    const last = Math.floor((offset + bytes - 1) / RESIDENCY_CHUNK_BYTES);
    return this.#chunkResident(first, place) &&
      (last === first || this.#chunkResident(last, place));
  }

  #chunkResident(chunk: number, place: number): boolean {
    const known = this.#chunks.recall(place, chunk);
    if (known !== CHUNK_UNKNOWN) return known === CHUNK_RESIDENT;
    const start = chunk * RESIDENCY_CHUNK_BYTES;
    const bytes = Math.min(RESIDENCY_CHUNK_BYTES, this.#fileBytes - start);
    const resident = bytes > 0 &&
      this.#pages!.resident(place, start % MAPPED_SEGMENT_BYTES, bytes);
    this.#chunks.remember(place, chunk, resident);
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
