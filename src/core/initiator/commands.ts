// The initiator's commands: a table of fixed size, one typed array a field, indexed by the low
// bits of the tag. No allocation after construction.
//
// A tag is 32 bits:  1 | session (3) | generation (14) | copy (3) | number of the command (11)
//   bit 31      `TAG_USERLAND`
//   session     tells several initiators of one host apart
//   generation  one more for every command of this number: a late answer to an earlier
//               command is not an answer to this one
//   copy        which transmission was answered: round trips are never ambiguous, and it is known
//               whether a copy may still be on its way
// Free numbers are taken in turn, so that the same tag comes back only after 2^25 commands.
//
// Commands in flight stand in lists, in the order in which they were sent: for each path one for
// reads, one for writes, one for what concerns the whole disk, one for what needs no disk (pace.ts),
// and one for all that were sent more than once.

import { TAG_USERLAND } from "../../wire/aoe.ts";
import { CLASS_FLUSH, CLASS_IDENTIFY, CLASS_READ, CLASS_WRITE, CLASSES } from "./pace.ts";
import { SECTORS_SMALL } from "./path.ts";
import { EntryLists, NONE, NumberQueue } from "../tables.ts";

const NUMBER_BITS = 11;
const COPY_BITS = 3;
const GENERATION_BITS = 14;
const SESSION_BITS = 3;
const SESSIONS_MAX = 1 << SESSION_BITS;
/** Copies that one tag can number; the next one takes a new generation. */
export const COPIES_MAX = 1 << COPY_BITS;
const NUMBERS_MAX = 1 << NUMBER_BITS;
const COPY_SHIFT = NUMBER_BITS;
const GENERATION_SHIFT = NUMBER_BITS + COPY_BITS;
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

/** Number of the command that a tag names. */
export function commandOfTag(tag: number): number {
  return tag & (NUMBERS_MAX - 1);
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
    if (size < 1 || size > NUMBERS_MAX) throw new RangeError(`Table of ${size} commands`);
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
    for (let command = 0; command < size; command++) {
      this.#free.append(command);
      this.tag[command] = TAG_USERLAND | (session << SESSION_SHIFT) |
        ((seed & GENERATION_MASK) << GENERATION_SHIFT) | command;
    }
    this.lists = new EntryLists(this.readyList + 1, size);
  }

  /** Commands that can still be taken. */
  get free(): number {
    return this.#free.count;
  }

  /** Takes the entry that has been free for longest; the caller has looked at `free`. */
  take(kind: number, request: number, lba: number, sectors: number): number {
    const command = this.#free.take();
    this.used++;
    this.state[command] = COMMAND_STATE_READY;
    this.kind[command] = kind;
    this.request[command] = request;
    this.lba[command] = lba;
    this.sectors[command] = sectors;
    this.done[command] = 0;
    this.piece[command] = 0;
    this.pieceMax[command] = COMMAND_SECTORS_MAX;
    this.path[command] = NONE;
    this.paths[command] = 0;
    this.block[command] = NONE;
    this.unaccounted[command] = 0;
    this.tries[command] = 0;
    this.urgent[command] = 0;
    this.renew(command);
    return command;
  }

  /** Gives a command its next generation: no answer to earlier copies counts any more. */
  renew(command: number): void {
    const tag = this.tag[command]!;
    const generation = ((tag >>> GENERATION_SHIFT) + 1) & GENERATION_MASK;
    this.tag[command] = (tag & ~(GENERATION_MASK << GENERATION_SHIFT)) |
      (generation << GENERATION_SHIFT);
    this.copies[command] = 0;
  }

  /** Frees an entry that stands in no list and of which no frame is held. */
  release(command: number): void {
    this.#free.append(command);
    this.used--;
    this.state[command] = COMMAND_STATE_FREE;
  }

  /** Tag of the copy that is sent next; counts it. */
  nextCopyTag(command: number): number {
    const copy = this.copies[command]!;
    this.copies[command] = copy + 1;
    if (this.tries[command]! < TRIES_MAX) this.tries[command]!++;
    return this.tag[command]! | (copy << COPY_SHIFT);
  }

  /** Whether a tag is one of a command that waits for an answer. */
  isCurrent(command: number, tag: number): boolean {
    return command < this.size && (tag & IDENTITY_MASK) === this.tag[command] &&
      copyOfTag(tag) < this.copies[command]! &&
      (this.state[command] === COMMAND_STATE_FLYING || this.state[command] === COMMAND_STATE_READY);
  }

  /** Whether a tag is one of a command in flight, which has not been found lost. */
  isFlying(command: number, tag: number): boolean {
    return (tag & IDENTITY_MASK) === this.tag[command] &&
      this.state[command] === COMMAND_STATE_FLYING;
  }

  /**
   * An answer came to a command that is over, or never was.
   *
   * @returns Whether that copy had been answered before: the network sends frames twice.
   */
  isRepeated(command: number, tag: number): boolean {
    if (command >= this.size || (tag & IDENTITY_MASK) !== this.tag[command]) return false;
    const copy = copyOfTag(tag);
    const over = this.state[command] === COMMAND_STATE_FREE ||
      this.state[command] === COMMAND_STATE_ENDED;
    if (!over || copy >= this.copies[command]!) return false;
    if ((this.outstanding[command]! & (1 << copy)) === 0) return true;
    this.outstanding[command] = this.outstanding[command]! & ~(1 << copy);
    return false;
  }

  /** A command goes into the list of its class on a path, or into that of what is sent again. */
  fly(path: number, command: number): void {
    const list = path * LISTS_PER_PATH +
      (this.tries[command]! > 1 ? LIST_AGAIN : CLASS_OF_KIND[this.kind[command]!]!);
    this.list[command] = list;
    this.lists.append(list, command);
  }

  /** A command leaves the list of its path. */
  land(command: number): void {
    this.lists.remove(this.list[command]!, command);
  }

  /** Class (pace.ts) of a command. */
  classOf(command: number): number {
    return CLASS_OF_KIND[this.kind[command]!]!;
  }

  /** The command of a class that a path has carried for longest, once each; `NONE` without one. */
  firstOfClass(path: number, pace: number): number {
    return this.lists.first(path * LISTS_PER_PATH + pace);
  }

  /** The first command that was sent more than once and is in flight on a path, or `NONE`. */
  firstAgain(path: number): number {
    return this.lists.first(path * LISTS_PER_PATH + LIST_AGAIN);
  }

  /** Any command in flight on a path, or `NONE`. */
  anyOf(path: number): number {
    for (let list = path * LISTS_PER_PATH; list < (path + 1) * LISTS_PER_PATH; list++) {
      const command = this.lists.first(list);
      if (command !== NONE) return command;
    }
    return NONE;
  }

  /** Payload sectors of the frame in flight that are more than every Ethernet carries, or 0. */
  largePiece(command: number): number {
    const kind = this.kind[command]!;
    const piece = this.piece[command]!;
    return kind <= COMMAND_KIND_WRITE && piece > SECTORS_SMALL ? piece : 0;
  }
}
