// The initiator's commands: a table of fixed size, one typed array a field, indexed by the low
// bits of the tag. No allocation after construction.
//
// A tag is 32 bits:  1 | session (3) | generation (14) | copy (3) | slot of the table (11)
//   bit 31      `TAG_USERLAND`
//   session     tells several initiators of one host apart
//   generation  one more for every command that takes the slot: a late answer to an earlier
//               command is not an answer to this one
//   copy        which transmission was answered: round trips are never ambiguous, and it is known
//               whether a copy may still be on its way
// Free slots are taken in turn, so that the same tag comes back only after 2^25 commands.
//
// Commands in flight stand in lists, in the order in which they were sent: for each path one for
// reads, one for writes, one for what concerns the whole disk, one for what needs no disk (pace.ts),
// and one for all that were sent more than once.

import { TAG_USERLAND } from "../../wire/aoe.ts";
import { CLASS_FLUSH, CLASS_IDENTIFY, CLASS_READ, CLASS_WRITE, CLASSES } from "./pace.ts";
import { SECTORS_SMALL } from "./path.ts";
import { EntryLists, NONE, NumberQueue } from "../tables.ts";

const SLOT_BITS = 11;
const COPY_BITS = 3;
const GENERATION_BITS = 14;
const SESSION_BITS = 3;
const SESSIONS_MAX = 1 << SESSION_BITS;
/** Copies that one tag can number; the next one takes a new generation. */
export const COPIES_MAX = 1 << COPY_BITS;
const SLOTS_MAX = 1 << SLOT_BITS;
const COPY_SHIFT = SLOT_BITS;
const GENERATION_SHIFT = SLOT_BITS + COPY_BITS;
const SESSION_SHIFT = GENERATION_SHIFT + GENERATION_BITS;
const GENERATION_MASK = (1 << GENERATION_BITS) - 1;
/** Everything of a tag but the copy. */
const IDENTITY_MASK = ~((COPIES_MAX - 1) << COPY_SHIFT);

/** ATA's sector count is one byte here. */
export const COMMAND_SECTORS_MAX = 255;

const COMMAND_STATE_FREE = 0;
/** Waits for its (next) transmission. */
export const COMMAND_STATE_READY = 1;
export const COMMAND_STATE_FLYING = 2;
/** Answered or given up, but a frame of it is still in the loop's hands. */
export const COMMAND_STATE_ENDED = 3;

export const COMMAND_KIND_READ = 0;
export const COMMAND_KIND_WRITE = 1;
export const COMMAND_KIND_FLUSH = 2;
export const COMMAND_KIND_DISCARD = 3;
/** IDENTIFY for the caller, or behind a flush to see that the target is still the same. */
export const COMMAND_KIND_IDENTIFY = 4;
/** IDENTIFY that tests a path. */
export const COMMAND_KIND_PROBE = 5;
/** A READ of LBA 0 that carries a full payload both ways: tests large frames. */
export const COMMAND_KIND_LARGE_PROBE = 6;
/** IDENTIFY padded to a full frame: tests large requests, whatever the disk does. */
export const COMMAND_KIND_SIZED_PROBE = 7;

/** Request number of a command that no caller asked for. */
export const NO_REQUEST = -1;
/** Beyond this they are not counted. */
const TRIES_MAX = 255;
/** Lists of each path: one a class, and one for what was sent more than once. */
const LIST_AGAIN = CLASSES;
const LISTS_PER_PATH = CLASSES + 1;
/** Class of each kind. */
const CLASS_OF_KIND: readonly number[] = [
  CLASS_READ,
  CLASS_WRITE,
  CLASS_FLUSH,
  CLASS_FLUSH,
  CLASS_IDENTIFY,
  CLASS_IDENTIFY,
  CLASS_READ,
  CLASS_IDENTIFY,
];

/** Slot of the table that a tag names. */
export function slotOfTag(tag: number): number {
  return tag & (SLOTS_MAX - 1);
}

/** Number of the transmission that a tag names. */
export function copyOfTag(tag: number): number {
  return (tag >>> COPY_SHIFT) & (COPIES_MAX - 1);
}

/** A tag without its copy: what a command is known by. */
export function identityOfTag(tag: number): number {
  return tag & IDENTITY_MASK;
}

/** The table, its free list, and the lists that commands stand in. */
export class CommandTable {
  readonly size: number;
  /** Number of the list of commands that wait for a transmission; lower numbers are the paths'. */
  readonly readyList: number;

  readonly state: Uint8Array;
  readonly kind: Uint8Array;
  readonly request: Int32Array;
  /** Tag with copy 0. */
  readonly tag: Int32Array;
  /** Transmissions under this tag. */
  readonly copies: Uint8Array;
  /** Whether copies under an earlier generation may still be on their way. */
  readonly unaccounted: Uint8Array;
  /** Frames that the loop has taken and not yet handed back. */
  readonly held: Uint16Array;
  readonly lba: Float64Array;
  /** Sectors of the whole command. */
  readonly sectors: Float64Array;
  /** Sectors of it that are done, when it goes in small pieces. */
  readonly done: Uint16Array;
  /** Sectors of the piece that is being transmitted. */
  readonly piece: Uint16Array;
  /** Most sectors of its next piece: fewer than a frame may carry once large ones were aborted. */
  readonly pieceMax: Uint8Array;
  /** Where its data stand in the caller's memory. */
  readonly payloadAt: Float64Array;
  /** Path of the first and of the latest copy. */
  readonly firstPath: Int16Array;
  readonly path: Int16Array;
  /** Paths that carried a copy, one bit each. */
  readonly paths: Uint16Array;
  readonly firstSentMs: Float64Array;
  readonly sentMs: Float64Array;
  /** First transmission after the last progress. */
  readonly startedMs: Float64Array;
  /** Transmissions since the last progress, up to 255. */
  readonly tries: Uint8Array;
  /** Whether it is sent again although the window is full: a timeout has chosen it. */
  readonly urgent: Uint8Array;
  /** List of its path that it stands in while it is in flight. */
  readonly list: Int16Array;
  /** Block of ranges that a discard uses. */
  readonly block: Int16Array;
  /** Copies without an answer, one bit each, once it is ENDED. */
  readonly outstanding: Uint8Array;
  /** How it ended, once it is ENDED. */
  readonly result: Uint8Array;

  /** For each path `LISTS_PER_PATH` of what is in flight, and `readyList`. */
  readonly lists: EntryLists;
  /** Commands that are not free. */
  used = 0;

  readonly #free: NumberQueue;

  /**
   * @param size Commands at most.
   * @param paths Number of paths.
   * @param session 0 … 7, different for every initiator of a host that talks to one target.
   * @param seed Any integer: the first generation, so that a restart does not meet old answers.
   */
  constructor(size: number, paths: number, session: number, seed: number) {
    if (size < 1 || size > SLOTS_MAX) throw new RangeError(`Table of ${size} commands`);
    if (session < 0 || session >= SESSIONS_MAX) throw new RangeError(`Session ${session}`);
    this.size = size;
    this.readyList = paths * LISTS_PER_PATH;
    this.state = new Uint8Array(size);
    this.kind = new Uint8Array(size);
    this.request = new Int32Array(size);
    this.tag = new Int32Array(size);
    this.copies = new Uint8Array(size);
    this.unaccounted = new Uint8Array(size);
    this.held = new Uint16Array(size);
    this.lba = new Float64Array(size);
    this.sectors = new Float64Array(size);
    this.done = new Uint16Array(size);
    this.piece = new Uint16Array(size);
    this.pieceMax = new Uint8Array(size);
    this.payloadAt = new Float64Array(size);
    this.firstPath = new Int16Array(size);
    this.path = new Int16Array(size);
    this.paths = new Uint16Array(size);
    this.firstSentMs = new Float64Array(size);
    this.sentMs = new Float64Array(size);
    this.startedMs = new Float64Array(size);
    this.tries = new Uint8Array(size);
    this.urgent = new Uint8Array(size);
    this.list = new Int16Array(size);
    this.block = new Int16Array(size);
    this.outstanding = new Uint8Array(size);
    this.result = new Uint8Array(size);
    this.#free = new NumberQueue(size);
    for (let slot = 0; slot < size; slot++) {
      this.#free.append(slot);
      this.tag[slot] = TAG_USERLAND | (session << SESSION_SHIFT) |
        ((seed & GENERATION_MASK) << GENERATION_SHIFT) | slot;
    }
    this.lists = new EntryLists(this.readyList + 1, size);
  }

  /** Commands that can still be taken. */
  get free(): number {
    return this.#free.count;
  }

  /** Takes the slot that has been free for longest; the caller has looked at `free`. */
  take(kind: number, request: number, lba: number, sectors: number): number {
    const slot = this.#free.take();
    this.used++;
    this.state[slot] = COMMAND_STATE_READY;
    this.kind[slot] = kind;
    this.request[slot] = request;
    this.lba[slot] = lba;
    this.sectors[slot] = sectors;
    this.done[slot] = 0;
    this.piece[slot] = 0;
    this.pieceMax[slot] = COMMAND_SECTORS_MAX;
    this.path[slot] = NONE;
    this.paths[slot] = 0;
    this.block[slot] = NONE;
    this.unaccounted[slot] = 0;
    this.tries[slot] = 0;
    this.urgent[slot] = 0;
    this.renew(slot);
    return slot;
  }

  /** Gives a command its next generation: no answer to earlier copies counts any more. */
  renew(slot: number): void {
    const tag = this.tag[slot]!;
    const generation = ((tag >>> GENERATION_SHIFT) + 1) & GENERATION_MASK;
    this.tag[slot] = (tag & ~(GENERATION_MASK << GENERATION_SHIFT)) |
      (generation << GENERATION_SHIFT);
    this.copies[slot] = 0;
  }

  /** Frees a slot that stands in no list and of which no frame is held. */
  release(slot: number): void {
    this.#free.append(slot);
    this.used--;
    this.state[slot] = COMMAND_STATE_FREE;
  }

  /** Tag of the copy that is sent next; counts it. */
  nextCopyTag(slot: number): number {
    const copy = this.copies[slot]!;
    this.copies[slot] = copy + 1;
    if (this.tries[slot]! < TRIES_MAX) this.tries[slot]!++;
    return this.tag[slot]! | (copy << COPY_SHIFT);
  }

  /** Whether a tag is one of a command that waits for an answer. */
  isCurrent(slot: number, tag: number): boolean {
    return slot < this.size && (tag & IDENTITY_MASK) === this.tag[slot] &&
      copyOfTag(tag) < this.copies[slot]! &&
      (this.state[slot] === COMMAND_STATE_FLYING || this.state[slot] === COMMAND_STATE_READY);
  }

  /** Whether a tag is one of a command in flight, which has not been found lost. */
  isFlying(slot: number, tag: number): boolean {
    return (tag & IDENTITY_MASK) === this.tag[slot] && this.state[slot] === COMMAND_STATE_FLYING;
  }

  /**
   * An answer came to a command that is over, or never was.
   *
   * @returns Whether that copy had been answered before: the network sends frames twice.
   */
  isRepeated(slot: number, tag: number): boolean {
    if (slot >= this.size || (tag & IDENTITY_MASK) !== this.tag[slot]) return false;
    const copy = copyOfTag(tag);
    const over = this.state[slot] === COMMAND_STATE_FREE ||
      this.state[slot] === COMMAND_STATE_ENDED;
    if (!over || copy >= this.copies[slot]!) return false;
    if ((this.outstanding[slot]! & (1 << copy)) === 0) return true;
    this.outstanding[slot] = this.outstanding[slot]! & ~(1 << copy);
    return false;
  }

  /** A command goes into the list of its class on a path, or into that of what is sent again. */
  fly(path: number, slot: number): void {
    const list = path * LISTS_PER_PATH +
      (this.tries[slot]! > 1 ? LIST_AGAIN : CLASS_OF_KIND[this.kind[slot]!]!);
    this.list[slot] = list;
    this.lists.append(list, slot);
  }

  /** A command leaves the list of its path. */
  land(slot: number): void {
    this.lists.remove(this.list[slot]!, slot);
  }

  /** Class (pace.ts) of a command. */
  classOf(slot: number): number {
    return CLASS_OF_KIND[this.kind[slot]!]!;
  }

  /** The command of a class that a path has carried for longest, once each; −1 without one. */
  firstOfClass(path: number, pace: number): number {
    return this.lists.first(path * LISTS_PER_PATH + pace);
  }

  /** The first command that was sent more than once and is in flight on a path, or −1. */
  firstAgain(path: number): number {
    return this.lists.first(path * LISTS_PER_PATH + LIST_AGAIN);
  }

  /** Any command in flight on a path, or −1. */
  anyOf(path: number): number {
    for (let list = path * LISTS_PER_PATH; list < (path + 1) * LISTS_PER_PATH; list++) {
      const slot = this.lists.first(list);
      if (slot !== NONE) return slot;
    }
    return NONE;
  }

  /** Payload sectors of the frame in flight that are more than every Ethernet carries, or 0. */
  largePiece(slot: number): number {
    const kind = this.kind[slot]!;
    const piece = this.piece[slot]!;
    return kind <= COMMAND_KIND_WRITE && piece > SECTORS_SMALL ? piece : 0;
  }
}
