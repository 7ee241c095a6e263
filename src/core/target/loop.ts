// The target's loop, one thread for a set of exports (src/README.md, 'One READ through the target').
//
// 1. `turn` takes a batch of frames from each interface that has some.
// 2. `#accept` finds the export; its target drops, answers, or asks for the disk.
// 3. `#start` keeps rule 13: what overlaps with a command in flight waits for it.
// 4. The disk gathers a read from the page cache, or does the work (disk_work.ts); answers that
//    must be stable wait for a shared fdatasync (group_commit.ts).
//    A write goes from where it was received; what cannot be done at once is moved into its frame.
// 5. Everything to be sent leaves in one sendmmsg; only then is a frame free, and a gathered read
//    over, so that the next overlapping write may start.
//
// No step makes a Promise, Map, closure, view or iterator for a frame or a turn. What is left: V8 may
// box an address or offset on its way to the ring, and pwrite takes its offset only as a BigInt.

import {
  AOE_COMMAND,
  AOE_SLOT,
  aoeShelf,
  COMMAND_ATA,
  SHELF_BROADCAST,
  SLOT_BROADCAST,
} from "../../wire/aoe.ts";
import {
  ATA_COMMAND_STATUS,
  ATA_DATA,
  ATA_DATA_SET_MANAGEMENT,
  SECTOR_BYTES,
} from "../../wire/ata.ts";
import { ETHERNET_FRAME_BYTES_MIN } from "../../wire/ethernet.ts";
import { DRIVE_FLUSH, DRIVE_READ, DRIVE_TRIM, DRIVE_WRITE } from "./drive.ts";
import { DISK_WORK, DROP_BUSY, DROP_OTHER_ADDRESS, refuseAtDoor } from "./target.ts";
import type { DiskInPlace, DiskQueue, IovecLine } from "./disk_queue.ts";
import { FRAME_ALONE, FRAME_GATHERED, FRAME_STABLE, keepData } from "./commands.ts";
import type { TargetCommands } from "./commands.ts";
import type { FramePool } from "./frames.ts";
import { TargetAnswers } from "./answers.ts";
import {
  TARGET_COUNT_DROPS,
  TARGET_COUNT_NO_FRAME,
  TARGET_COUNT_OVERLAPS,
  TARGET_COUNT_RECEIVED,
  TARGET_COUNT_REPEATED,
  TARGET_COUNT_SEND_FAILURES,
  TARGET_COUNT_SENT,
} from "./counters.ts";
import type { TargetCounters } from "./counters.ts";
import type { TargetMeter } from "./meter.ts";
import { kindOfQuestion } from "./meter.ts";
import { DiskWork } from "./disk_work.ts";
import type { DiskErrorListener, TargetExport } from "./export.ts";
import type { ExportTable } from "./export_table.ts";
import type { FrameLink } from "./frame_link.ts";
import { HELD_ANSWERS_MAX, HeldAnswers } from "./held_answers.ts";
import { NONE } from "../tables.ts";
import { GroupCommit } from "./group_commit.ts";

/**
 * After so many turns in a row in which nothing had completed, the disk is slow or hangs: from then on
 * the kernel is entered for completions in every sixteenth turn, or when the ring says so.
 */
const FRUITLESS_MAX = 8;
const FRUITLESS_STEP = 16;

/** Words of a thread's control block: whether it is to end, set by the main thread; */
export const CONTROL_STOP = 0;
/** how often a turn has begun or ended, odd within one, set by the thread; */
export const CONTROL_PULSE = 1;
/** whether the disk is too slow for anything to be done in place, set by the main thread. */
export const CONTROL_WARY = 2;
/** The kernel's number of the thread, set by it. */
export const CONTROL_THREAD = 3;
/** How it went with what is to be kept: `HELD_ANSWERS_MAX` words, set by the main thread. */
export const CONTROL_OUTCOMES = 4;
export const CONTROL_WORDS = CONTROL_OUTCOMES + HELD_ANSWERS_MAX;

/** What the loop works with; all of it made before it starts. */
export interface TargetLoopParts {
  readonly pool: FramePool;
  readonly commands: TargetCommands;
  readonly vectors: IovecLine;
  readonly queue: DiskQueue;
  readonly inPlace: DiskInPlace;
  /** By their numbers; more may come. */
  readonly links: readonly FrameLink[];
  readonly exports: ExportTable;
  readonly counters: TargetCounters;
  readonly meter: TargetMeter;
  /** See `CONTROL_WORDS`. */
  readonly control: Int32Array;
  /** Frames of a turn up to which writes go to the page cache in place, not through the ring. */
  readonly inPlaceMax: number;
  readonly onDiskError: DiskErrorListener;
  /** Told of a change to be kept, of which the outcome belongs in this word of `control`. */
  readonly onProposal?: (ex: TargetExport, word: number) => void;
}

/** One worker's frames, disks and sockets in motion. */
export class TargetLoop {
  readonly #pool: FramePool;
  readonly #commands: TargetCommands;
  readonly #bytes: Uint8Array;
  readonly #queue: DiskQueue;
  readonly #links: readonly FrameLink[];
  readonly #exports: ExportTable;
  readonly #counters: TargetCounters;
  readonly #meter: TargetMeter;
  readonly #control: Int32Array;
  readonly #held: HeldAnswers;
  readonly #answers: TargetAnswers;
  readonly #onProposal: TargetLoopParts["onProposal"];
  readonly #disk: DiskWork;
  readonly #commit: GroupCommit;
  /** The ring has said that something has completed. */
  completed = false;
  /** Turns in a row that waited for the disk in vain. */
  #fruitless = 0;
  /** Of this turn, added to the shared counters at its end. */
  #received = 0;
  #sent = 0;
  /** When the frames of this flush left is known. */
  #sentKnown = false;

  constructor(parts: TargetLoopParts) {
    this.#pool = parts.pool;
    this.#commands = parts.commands;
    this.#bytes = parts.pool.bytes;
    this.#queue = parts.queue;
    this.#links = parts.links;
    this.#exports = parts.exports;
    this.#counters = parts.counters;
    this.#meter = parts.meter;
    this.#control = parts.control;
    this.#held = new HeldAnswers(parts.control.subarray(CONTROL_OUTCOMES));
    this.#onProposal = parts.onProposal;
    const answers = new TargetAnswers(parts);
    this.#answers = answers;
    this.#commit = new GroupCommit({ ...parts, answers });
    this.#disk = new DiskWork({ ...parts, answers, commit: this.#commit });
  }

  /** Whether commands wait for the disk, or answers for the wire or for being kept. */
  get busy(): boolean {
    if (this.#queue.inFlight > 0 || this.#held.size > 0) return true;
    for (const link of this.#links) if (link.pending > 0) return true;
    return false;
  }

  /**
   * Does what can be done now; waits for a page cache that is not quite there, and for frames on a
   * link that is patient.
   *
   * @param receive Whether to take new frames.
   * @returns Number of frames received, operations completed and answers sent.
   */
  turn(receive: boolean): number {
    const disk = this.#disk;
    const control = this.#control;
    control[CONTROL_PULSE] = (control[CONTROL_PULSE]! + 1) | 0;
    const wary = control[CONTROL_WARY] !== 0;
    disk.wary = wary;
    this.#commit.wary = wary;
    const meter = this.#meter;
    meter.look();
    const { nowMs } = meter;
    this.#exports.beginTurn(nowMs);
    this.#received = 0;
    disk.batch = 0;
    this.#sent = 0;
    let done = 0;
    const links = this.#links;
    if (this.#held.size > 0) this.#held.settle(this.#pool);
    if (receive) {
      for (let i = 0; i < links.length; i++) {
        if (links[i]!.readable) this.#receive(links[i]!, i);
      }
      // Writes in place are done here; nothing else keeps its data where they were received.
      disk.issue();
      for (let i = 0; i < links.length; i++) links[i]!.giveBack();
    }
    // Where work is in flight, only entering the kernel lets it post completions.
    let submit = this.#queue.inFlight > 0 &&
      (this.completed || this.#fruitless < FRUITLESS_MAX || this.#fruitless % FRUITLESS_STEP === 0);
    this.completed = false;
    do {
      disk.issue();
      this.#commit.start();
      if (submit || this.#queue.queued > 0) {
        submit = false;
        disk.submit();
      }
      done += disk.reap();
      for (let i = 0; i < links.length; i++) {
        if (links[i]!.pending === 0 || links[i]!.blocked) continue;
        this.#sentKnown = false;
        links[i]!.flush(this);
      }
    } while (this.#promote() || disk.pending || this.#commit.wanted);
    this.#fruitless = done > 0 || this.#queue.inFlight === 0 ? 0 : this.#fruitless + 1;
    this.#exports.endTurn();
    meter.settle();
    this.#answers.settle();
    if (this.#received > 0) this.#counters.add(TARGET_COUNT_RECEIVED, this.#received);
    if (this.#sent > 0) this.#counters.add(TARGET_COUNT_SENT, this.#sent);
    control[CONTROL_PULSE] = (control[CONTROL_PULSE]! + 1) | 0;
    return done + this.#received + this.#sent;
  }

  /** Sends the adverts of an interface's exports by it (wire/README.md, decision 14). */
  announce(link: FrameLink): void {
    for (const ex of this.#exports.list) this.announceExport(ex, link);
  }

  /** An export has something to do that no frame asks for. */
  activate(ex: TargetExport): void {
    if (!ex.active) this.#exports.activate(ex);
  }

  /** Sends the advert of one export by an interface, if it is served there. */
  announceExport(ex: TargetExport, link: FrameLink): void {
    if (!link.running || !servedOn(ex, this.#links.indexOf(link))) return;
    const frame = this.#pool.take();
    if (frame < 0) return;
    const length = ex.target.writeAdvert(this.#bytes, this.#pool.start(frame), link);
    this.#commands.flags[frame] = 0;
    this.#meter.takeNone(frame);
    if (length > 0) link.enqueue(frame, length);
    else this.#pool.release(frame);
  }

  /** Puts what has been written onto stable storage, at the end; see `GroupCommit.finishAll`. */
  syncAll(onRisk: (ex: TargetExport) => void): void {
    this.#commit.finishAll(onRisk);
  }

  /** A frame has left: it is free, and if it was gathered, its look at the file is over. */
  sent(frame: number): void {
    this.#sent++;
    if (!this.#sentKnown) {
      this.#meter.look();
      this.#sentKnown = true;
    }
    const gathered = (this.#commands.flags[frame]! & FRAME_GATHERED) !== 0;
    this.#meter.sent(frame, this.#commands.byteCount[frame]!, gathered);
    if (gathered) {
      const ex = this.#exports.at(this.#commands.exportOf[frame]!)!;
      ex.gatherSent(frame);
    }
    this.#pool.release(frame);
  }

  /** A frame could not be sent: a page that could not be gathered, or an interface that is down. */
  sendFailed(frame: number): void {
    if ((this.#commands.flags[frame]! & FRAME_GATHERED) === 0) {
      this.#counters.add(TARGET_COUNT_SEND_FAILURES, 1);
      this.#meter.unsent(frame);
      this.#pool.release(frame);
      return;
    }
    // Reading the ordinary way tells what is wrong with the page, and answers accordingly.
    const ex = this.#exports.at(this.#commands.exportOf[frame]!)!;
    ex.gatherFailed();
    ex.target.revert(this.#bytes, this.#pool.start(frame));
    this.#commands.flags[frame] = FRAME_ALONE;
    this.#disk.run(ex, frame);
  }

  #receive(link: FrameLink, number: number): void {
    const count = link.receive();
    if (count === 0) return;
    const meter = this.#meter;
    // What came while it slept was not taken before.
    if (link.slept) meter.look();
    meter.takeBatch(number, count);
    this.#received += count;
    this.#disk.batch = this.#received;
    for (let i = 0; i < count; i++) {
      const frame = link.takeFrame(i);
      const length = link.length(i);
      if (length > ETHERNET_FRAME_BYTES_MIN && readsAll(this.#bytes, this.#pool.start(frame))) {
        keepData(this.#pool, this.#commands, frame, length - ATA_DATA);
      }
      this.#accept(link, number, frame, length);
    }
  }

  #accept(link: FrameLink, number: number, frame: number, length: number): void {
    const at = this.#pool.start(frame);
    const refusal = refuseAtDoor(this.#bytes, at, length);
    if (refusal !== 0) {
      this.#drop(frame, refusal, -1);
      return;
    }
    const shelf = aoeShelf(this.#bytes, at);
    const slot = this.#bytes[at + AOE_SLOT]!;
    if (shelf === SHELF_BROADCAST || slot === SLOT_BROADCAST) {
      this.#acceptBroadcast(link, number, frame, length);
      return;
    }
    // The interface's filter passes little else; what it passed before a change comes after it.
    const ex = this.#exports.find(shelf, slot);
    if (ex === undefined || !servedOn(ex, number)) this.#drop(frame, DROP_OTHER_ADDRESS, -1);
    else this.#decide(ex, link, number, frame, length, false);
  }

  /** Every export that a broadcast means answers for itself, each in a copy of the frame. */
  #acceptBroadcast(link: FrameLink, number: number, frame: number, length: number): void {
    const at = this.#pool.start(frame);
    const shelf = aoeShelf(this.#bytes, at);
    const slot = this.#bytes[at + AOE_SLOT]!;
    const bytes = Math.max(length, ETHERNET_FRAME_BYTES_MIN);
    keepData(this.#pool, this.#commands, frame, bytes - ATA_DATA);
    for (const ex of this.#exports.list) {
      if (!ex.target.isMeantBy(shelf, slot) || !servedOn(ex, number)) continue;
      const copy = this.#pool.take();
      if (copy < 0) {
        this.#counters.add(TARGET_COUNT_NO_FRAME, 1);
        break;
      }
      this.#bytes.copyWithin(this.#pool.start(copy), at, at + bytes);
      this.#commands.dataAt[copy] = this.#pool.start(copy) + ATA_DATA;
      this.#decide(ex, link, number, copy, length, true);
    }
    this.#pool.release(frame);
  }

  #decide(
    ex: TargetExport,
    link: FrameLink,
    number: number,
    frame: number,
    length: number,
    broadcast: boolean,
  ): void {
    const at = this.#pool.start(frame);
    const ataCommand = this.#bytes[at + ATA_COMMAND_STATUS]!;
    const verdict = ex.target.receive(this.#bytes, at, length, link, broadcast);
    if (verdict === DISK_WORK) {
      if (ex.mayHold(this.#pool.free * 2 < this.#pool.count)) this.#start(ex, number, frame);
      else this.#drop(frame, DROP_BUSY, ex.index);
    } else if (verdict > 0) {
      this.#commands.flags[frame] = 0;
      const kind = kindOfQuestion(this.#bytes, at, ataCommand);
      this.#meter.takeAnswered(frame, ex.index, kind, this.#bytes, at);
      if (ex.target.proposes) this.#hold(ex, link, frame, verdict);
      else link.enqueue(frame, verdict);
    } else {
      this.#drop(frame, verdict, ex.index);
    }
  }

  #hold(ex: TargetExport, link: FrameLink, frame: number, length: number): void {
    const word = this.#held.hold(ex, link, frame, length);
    if (word === NONE) {
      ex.target.refuseProposal(this.#bytes, this.#pool.start(frame), link);
      this.#meter.unanswered(frame);
      this.#drop(frame, DROP_BUSY, ex.index);
    } else this.#onProposal?.(ex, CONTROL_OUTCOMES + word);
  }

  #drop(frame: number, verdict: number, exportIndex: number): void {
    this.#meter.drop(exportIndex, verdict, this.#bytes, this.#pool.start(frame));
    this.#counters.add(TARGET_COUNT_DROPS - verdict, 1);
    this.#pool.release(frame);
  }

  #start(ex: TargetExport, number: number, frame: number): void {
    const commands = this.#commands;
    const drive = ex.drive;
    const operation = drive.operation;
    if (!ex.active) this.#exports.activate(ex);
    ex.hold();
    this.#meter.takeWork(frame, ex.index, drive, this.#bytes, this.#pool.start(frame));
    commands.exportOf[frame] = ex.index;
    commands.linkOf[frame] = number;
    commands.operation[frame] = operation;
    commands.sectors[frame] = drive.sectorsWanted;
    commands.offset[frame] = ex.settings.offsetBytes + drive.sector * SECTOR_BYTES;
    commands.byteCount[frame] = drive.sectorsWanted * SECTOR_BYTES;
    commands.progress[frame] = 0;
    commands.repetition[frame] = NONE;
    const changes = operation === DRIVE_WRITE || operation === DRIVE_TRIM;
    commands.flags[frame] = changes && (drive.stableWrites || drive.forceUnitAccess)
      ? FRAME_STABLE
      : 0;
    if (operation !== DRIVE_WRITE) commands.dataAt[frame] = this.#pool.start(frame) + ATA_DATA;
    if (operation === DRIVE_FLUSH) {
      // Every write answered so far is complete already: the sync that follows covers it.
      this.#meter.diskBegins(frame);
      ex.awaitSync(frame);
      return;
    }
    let first = 0;
    let end = Infinity;
    if (operation !== DRIVE_TRIM) {
      first = drive.sector + ex.settings.offsetBytes / SECTOR_BYTES;
      end = first + drive.sectorsWanted;
      if (ex.grain !== 1) {
        first -= first % ex.grain;
        end += (ex.grain - end % ex.grain) % ex.grain;
      }
    }
    ex.order.enter(frame, changes, first, end);
    if (ex.holdsSeveral && this.#repeats(ex, frame, changes)) return;
    if (ex.order.admit(frame, changes, first, end)) {
      this.#disk.run(ex, frame);
      return;
    }
    if (changes) keepData(this.#pool, commands, frame, commands.byteCount[frame]!);
    this.#counters.add(TARGET_COUNT_OVERLAPS, 1);
    this.#meter.overlapped(frame);
    if (!this.#disk.storing) return;
    // It may wait for what is over as soon as it is issued.
    this.#disk.issue();
    this.#promoteOf(ex);
  }

  /**
   * Whether a command is one that the disk has in hand already, sent again because the disk is slow:
   * it is answered together with it. A write must have the same data, so that it makes no difference
   * whether somebody means it for a new one.
   */
  #repeats(ex: TargetExport, frame: number, changes: boolean): boolean {
    const pool = this.#pool;
    const commands = this.#commands;
    const operation = commands.operation[frame]!;
    if (operation !== DRIVE_READ && operation !== DRIVE_WRITE) return false;
    const elder = ex.order.repeatedBy(frame);
    if (elder < 0 || elder === frame || (commands.flags[elder]! & FRAME_GATHERED) !== 0) {
      return false;
    }
    const own = pool.start(frame);
    const its = pool.start(elder);
    if (
      commands.operation[elder] !== operation ||
      commands.offset[elder] !== commands.offset[frame] ||
      commands.byteCount[elder] !== commands.byteCount[frame] ||
      this.#bytes[own + ATA_COMMAND_STATUS] !== this.#bytes[its + ATA_COMMAND_STATUS] ||
      (commands.flags[elder]! & FRAME_STABLE) !== (commands.flags[frame]! & FRAME_STABLE)
    ) return false;
    if (changes) {
      const bytes = commands.byteCount[frame]!;
      const ownData = commands.dataAt[frame]!;
      const itsData = commands.dataAt[elder]!;
      for (let i = 0; i < bytes; i++) {
        if (this.#bytes[ownData + i] !== this.#bytes[itsData + i]) return false;
      }
    }
    let last = elder;
    while (commands.repetition[last]! >= 0) last = commands.repetition[last]!;
    commands.repetition[last] = frame;
    // Its data have to lie in its frame in the end.
    commands.flags[elder] = commands.flags[elder]! | FRAME_ALONE;
    this.#counters.add(TARGET_COUNT_REPEATED, 1);
    return true;
  }

  /** Starts commands whose elders have finished; whether there was one. */
  #promote(): boolean {
    let any = false;
    for (let i = 0; i < this.#exports.activeCount; i++) {
      const ex = this.#exports.active[i]!;
      if (ex.takePromotable() && this.#promoteOf(ex)) any = true;
    }
    return any;
  }

  /** Starts what waits for nothing any more; whether there was anything. */
  #promoteOf(ex: TargetExport): boolean {
    let frame = ex.order.promote();
    const any = frame >= 0;
    for (; frame >= 0; frame = ex.order.promote()) this.#disk.run(ex, frame);
    return any;
  }
}

/** Whether an export is served on the link of a number. */
function servedOn(ex: TargetExport, number: number): boolean {
  return (ex.links >>> number & 1) !== 0;
}

/** Whether a target decides by what stands beyond the ATA header: of ATA's commands TRIM does. */
function readsAll(bytes: Uint8Array, at: number): boolean {
  return bytes[at + AOE_COMMAND] !== COMMAND_ATA ||
    bytes[at + ATA_COMMAND_STATUS] === ATA_DATA_SET_MANAGEMENT;
}
