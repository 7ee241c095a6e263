// One remote disk in the words of a block device, which every front end shares (FUSE, NBD, ublk):
// reads, writes, flushes, discards and zeros, each with a tag, each answered by an errno.
//
// 1. `connect` waits until the disk has shown itself, and asks what it promises of discards.
// 2. `submit` takes a request; what the initiator has no word for is put together from several of
//    its requests: a write that must be stable (FUA) is a write, then a flush; zeros are a discard
//    where the target promises to read zeros then, and written otherwise.
// 3. `complete` goes on with it, or answers.
//
// Memory of a request belongs to this file and the initiator from `submit` to the answer.

import { guardAgainstReclaim } from "../../ffi/reclaim.ts";
import {
  OPERATION_DISCARD,
  OPERATION_FLUSH,
  OPERATION_IDENTIFY,
  OPERATION_READ,
  OPERATION_WRITE,
} from "../core/initiator_requests.ts";
import {
  RESULT_BEYOND_END,
  RESULT_CLOSED,
  RESULT_DEVICE_FAULT,
  RESULT_MEDIUM_ERROR,
  RESULT_OK,
  RESULT_RESERVED,
  RESULT_TIMEOUT,
  RESULT_UNAVAILABLE,
  RESULT_UNSUPPORTED,
  RESULT_WRITES_LOST,
} from "../core/initiator_results.ts";
import type { InitiatorEvent } from "../core/initiator_session.ts";
import { PATH_UP } from "../core/initiator_path.ts";
import { formatAddress } from "../wire/aoe.ts";
import { SECTOR_BYTES } from "../wire/ata.ts";
import { formatMac } from "../wire/ethernet.ts";
import { discardsAreZero, readIdentity } from "../wire/identify.ts";
import { readIncarnation, readOnlyExport } from "../wire/incarnation.ts";
import {
  COUNT_READ_BYTES,
  COUNT_READS,
  COUNT_WRITES,
  COUNT_WRITTEN_BYTES,
} from "./initiator_counters.ts";
import { describeEvent } from "./initiator_events.ts";
import type { InitiatorLoop } from "./initiator_loop.ts";

export const BLOCK_READ = 0;
export const BLOCK_WRITE = 1;
/** Everything answered before it is on stable storage; `lba`, `sectors` and `at` are not looked at. */
export const BLOCK_FLUSH = 2;
/** The data are not needed any more; what is read afterwards may be anything. */
export const BLOCK_DISCARD = 3;
/** The sectors read as zeros afterwards; they may be discarded for it. */
export const BLOCK_ZERO = 4;
/** The same, and room for the sectors stays. */
export const BLOCK_ZERO_KEEP = 5;

// errno.h; those that Linux's block layer passes on (block/blk-core.c, blk_errors).
const EIO = 5;
const EROFS = 30;
const EBADE = 52;
const ENODATA = 61;
const ENOLINK = 67;
const EOPNOTSUPP = 95;
const ETIMEDOUT = 110;
const EREMOTEIO = 121;

/**
 * Another process goes on with a killed one's device after this: frames of that one are no longer
 * on their way when its requests are sent again.
 */
export const RESUME_AFTER_MS = 150;
/** Zeros are written so many at a time. */
const ZEROS_BYTES = 256 * 1024;
const STAGE_LAST = 0;
const STAGE_THEN_FLUSH = 1;
const STAGE_ZEROING = 2;

/** Takes answers. */
export interface BlockAnswers {
  /** Request `tag` has ended with 0 or an errno; its memory is free. */
  answered(tag: number, errno: number): void;
}

/** What the front end and the main thread know of a disk that has shown itself. */
export interface BlockDisk {
  readonly bytes: number;
  readonly physicalBlockBytes: number;
  /** An answered write may be lost until a flush. */
  readonly writeCache: boolean;
  readonly discard: boolean;
  /** Zeros cost no data: a discard does it. */
  readonly discardsAreZero: boolean;
  readonly readOnly: boolean;
  readonly rotational: boolean;
  readonly serial: string;
  readonly model: string;
  /** See wire/incarnation.ts; 0 when the target names none. */
  readonly incarnation: number;
}

/** One path, for people. */
export interface BlockPath {
  readonly interface: string;
  readonly mac: string;
  readonly state: "up" | "lost";
  readonly frameBytes: number;
}

/** What a block device's thread tells. */
export type BlockMessage =
  | { readonly kind: "connected"; readonly disk: BlockDisk; readonly paths: readonly BlockPath[] }
  | { readonly kind: "note"; readonly text: string }
  /** The thread may have to wait for its own disk when memory is short. */
  | { readonly kind: "unguarded"; readonly text: string }
  /** The disk answers (again), or does not; by these paths. */
  | { readonly kind: "paths"; readonly up: boolean; readonly paths: readonly BlockPath[] }
  | { readonly kind: "resized"; readonly bytes: number }
  | { readonly kind: "restarted"; readonly incarnation: number }
  | { readonly kind: "ended"; readonly failure: string | undefined };

/** What every front end is told. */
export interface BlockConfig {
  /** The user wants it read-only, whatever the export is. */
  readonly readOnly: boolean;
  /** How long the disk may take to show itself; Infinity: as long as it wants. */
  readonly connectMs: number;
  /** Incarnation of the target when an earlier process used the disk; 0 when there was none. */
  readonly incarnationBefore: number;
}

/** Requests to disk number 0 of a loop. */
export class BlockRequests {
  /** Undefined until `connect` has returned true. */
  disk: BlockDisk | undefined;
  /** Why the disk cannot be had, in one sentence. */
  failure: string | undefined;
  /** Requests that are not answered. */
  inFlight = 0;

  readonly #loop: InitiatorLoop;
  readonly #config: BlockConfig;
  readonly #answers: BlockAnswers;
  readonly #post: (message: BlockMessage) => void;
  readonly #identifyTag: number;
  readonly #identifyAt: number;
  readonly #zerosAt: number;
  readonly #connectUntilMs: number;
  #identifying = false;
  /** An earlier process's answered writes may be gone: the next flush has to say so. */
  #lostBefore = false;
  // Of each request, by its tag.
  readonly #operation: Uint8Array;
  readonly #stage: Uint8Array;
  readonly #lba: Float64Array;
  readonly #left: Float64Array;

  /** @param tags Requests are numbered from 0 to `tags` − 1. */
  constructor(
    loop: InitiatorLoop,
    tags: number,
    config: BlockConfig,
    answers: BlockAnswers,
    post: (message: BlockMessage) => void,
  ) {
    this.#loop = loop;
    this.#config = config;
    this.#answers = answers;
    this.#post = post;
    this.#identifyTag = tags;
    this.#identifyAt = loop.arena.allocate(SECTOR_BYTES);
    this.#zerosAt = loop.arena.allocate(ZEROS_BYTES, 4096);
    this.#connectUntilMs = loop.clock.nowMs() + config.connectMs;
    this.#operation = new Uint8Array(tags);
    this.#stage = new Uint8Array(tags);
    this.#lba = new Float64Array(tags);
    this.#left = new Float64Array(tags);
  }

  /** Arena bytes that it takes. */
  static readonly bytes = ZEROS_BYTES + SECTOR_BYTES + 8192;

  /** Looks for the disk; true once it is known. A failure says why it cannot be had. */
  connect(nowMs: number): boolean {
    if (this.disk !== undefined) return true;
    const initiator = this.#loop.initiators[0]!;
    if (initiator.sectors === undefined) {
      if (nowMs >= this.#connectUntilMs) {
        this.failure = `No answer from ${formatAddress(initiator.shelf, initiator.slot)}`;
      }
    } else if (!this.#identifying) {
      this.#identifying = true;
      initiator.submit(nowMs, OPERATION_IDENTIFY, 0, 0, this.#identifyAt, this.#identifyTag);
    }
    return false;
  }

  /** For a device of this machine: the kernel may have to write to it in order to free memory. */
  guard(): void {
    const problem = guardAgainstReclaim(this.#loop.arena);
    if (problem !== undefined) this.#post({ kind: "unguarded", text: problem });
  }

  /** When `connect` wants to be called at the latest. */
  get wakeAtMs(): number {
    return this.disk === undefined ? this.#connectUntilMs : Infinity;
  }

  /**
   * Takes a request, and answers it in this call or a later one.
   *
   * @param operation A BLOCK constant.
   * @param at Where the data stand, or shall stand, in the loop's arena.
   * @param stable A write, discard or zeroing is answered once it is on stable storage.
   */
  submit(
    nowMs: number,
    tag: number,
    operation: number,
    lba: number,
    sectors: number,
    at: number,
    stable: boolean,
  ): void {
    const disk = this.disk!;
    this.inFlight++;
    this.#operation[tag] = operation;
    this.#lba[tag] = lba;
    this.#left[tag] = sectors;
    if (operation !== BLOCK_READ && operation !== BLOCK_FLUSH && disk.readOnly) {
      this.#answer(tag, EROFS);
      return;
    }
    this.#stage[tag] = stable ? STAGE_THEN_FLUSH : STAGE_LAST;
    switch (operation) {
      case BLOCK_READ:
        this.#hand(nowMs, tag, OPERATION_READ, lba, sectors, at);
        break;
      case BLOCK_WRITE:
        this.#hand(nowMs, tag, OPERATION_WRITE, lba, sectors, at);
        break;
      case BLOCK_FLUSH:
        this.#stage[tag] = STAGE_LAST;
        this.#hand(nowMs, tag, OPERATION_FLUSH, 0, 0, 0);
        break;
      case BLOCK_DISCARD:
        this.#hand(nowMs, tag, OPERATION_DISCARD, lba, sectors, 0);
        break;
      default:
        if (operation === BLOCK_ZERO && disk.discardsAreZero) {
          this.#hand(nowMs, tag, OPERATION_DISCARD, lba, sectors, 0);
        } else {
          this.#stage[tag] = this.#stage[tag]! | STAGE_ZEROING;
          this.#writeZeros(nowMs, tag);
        }
    }
  }

  /** Takes a completion of the initiator's. */
  complete(nowMs: number, userTag: number, result: number): void {
    if (userTag === this.#identifyTag) {
      this.#identified(result);
      return;
    }
    if (result !== RESULT_OK) {
      this.#answer(userTag, errnoOf(result));
      return;
    }
    const stage = this.#stage[userTag]!;
    if ((stage & STAGE_ZEROING) !== 0 && this.#left[userTag]! > 0) {
      this.#writeZeros(nowMs, userTag);
    } else if ((stage & STAGE_THEN_FLUSH) !== 0) {
      this.#stage[userTag] = STAGE_LAST;
      this.#hand(nowMs, userTag, OPERATION_FLUSH, 0, 0, 0);
    } else if (this.#lostBefore && this.#isFlush(userTag, stage)) {
      this.#lostBefore = false;
      this.#answer(userTag, EIO);
    } else {
      this.#answer(userTag, 0);
    }
  }

  /** Tells the main thread what happened to the disk. */
  event(event: InitiatorEvent): void {
    const text = describeEvent(this.#loop, 0, event);
    if (text !== undefined) this.#post({ kind: "note", text });
    switch (event.kind) {
      case "rival":
        this.#post({ kind: "note", text: this.#rivalText(event.mac, event.interfaceIndex) });
        break;
      case "resized":
        if (this.disk !== undefined) {
          const bytes = event.sectors * SECTOR_BYTES;
          this.disk = { ...this.disk, bytes };
          this.#post({ kind: "resized", bytes });
        }
        break;
      case "restarted":
        this.#post({ kind: "restarted", incarnation: this.#loop.initiators[0]!.incarnation });
        break;
      case "path-up":
      case "path-lost":
      case "path-refused":
      case "frames-small":
      case "frames-large":
      case "dead":
      case "back":
        this.#tellPaths();
        break;
    }
  }

  #rivalText(mac: Uint8Array, interfaceIndex: number): string {
    const { shelf, slot } = this.#loop.initiators[0]!;
    return `${formatMac(mac)} on ${this.#loop.interfaceName(interfaceIndex)} looks for ` +
      `${formatAddress(shelf, slot)}, too: two hosts must not mount one file system ` +
      `(--reserve keeps others out)`;
  }

  #tellPaths(): void {
    if (this.disk === undefined) return;
    const { isUp } = this.#loop.initiators[0]!;
    this.#post({ kind: "paths", up: isUp, paths: this.#paths() });
  }

  #paths(): BlockPath[] {
    return this.#loop.initiators[0]!.paths.map((path) => ({
      interface: this.#loop.interfaceName(path.interfaceIndex),
      mac: formatMac(path.mac),
      state: path.state === PATH_UP ? "up" : "lost",
      frameBytes: path.sectors * SECTOR_BYTES,
    }));
  }

  #identified(result: number): void {
    this.#identifying = false;
    // It is asked again in the next turn, as long as there is time.
    if (result !== RESULT_OK) return;
    const { bytes } = this.#loop.arena;
    const at = this.#identifyAt;
    const initiator = this.#loop.initiators[0]!;
    const identity = readIdentity(bytes, at);
    const incarnation = readIncarnation(bytes, at);
    const before = this.#config.incarnationBefore;
    this.#lostBefore = before !== 0 && incarnation !== before;
    this.disk = {
      bytes: initiator.sectors! * SECTOR_BYTES,
      physicalBlockBytes: identity.physicalSectorBytes,
      writeCache: identity.writeCacheOn,
      discard: identity.trim,
      discardsAreZero: discardsAreZero(bytes, at),
      readOnly: this.#config.readOnly || readOnlyExport(bytes, at),
      rotational: identity.rotational,
      serial: identity.serial,
      model: identity.model,
      incarnation,
    };
    this.#post({ kind: "connected", disk: this.disk, paths: this.#paths() });
  }

  #isFlush(tag: number, stage: number): boolean {
    return this.#operation[tag] === BLOCK_FLUSH || stage !== STAGE_LAST;
  }

  #writeZeros(nowMs: number, tag: number): void {
    const sectors = Math.min(this.#left[tag]!, ZEROS_BYTES / SECTOR_BYTES);
    const lba = this.#lba[tag]!;
    this.#lba[tag] = lba + sectors;
    this.#left[tag] = this.#left[tag]! - sectors;
    this.#hand(nowMs, tag, OPERATION_WRITE, lba, sectors, this.#zerosAt);
  }

  #hand(
    nowMs: number,
    tag: number,
    operation: number,
    lba: number,
    sectors: number,
    at: number,
  ): void {
    if (!this.#loop.initiators[0]!.submit(nowMs, operation, lba, sectors, at, tag)) {
      throw new Error("More requests than the initiator has room for");
    }
    const { counters } = this.#loop;
    if (operation === OPERATION_READ) {
      counters.add(COUNT_READS, 1);
      counters.add(COUNT_READ_BYTES, sectors * SECTOR_BYTES);
    } else if (operation === OPERATION_WRITE) {
      counters.add(COUNT_WRITES, 1);
      counters.add(COUNT_WRITTEN_BYTES, sectors * SECTOR_BYTES);
    }
  }

  #answer(tag: number, errno: number): void {
    this.inFlight--;
    this.#answers.answered(tag, errno);
  }
}

/** The errno for a result, of those that the block layer passes on to whoever reads or writes. */
function errnoOf(result: number): number {
  switch (result) {
    case RESULT_TIMEOUT:
      return ETIMEDOUT;
    case RESULT_RESERVED:
      return EBADE;
    case RESULT_MEDIUM_ERROR:
      return ENODATA;
    case RESULT_UNSUPPORTED:
      return EOPNOTSUPP;
    case RESULT_UNAVAILABLE:
    case RESULT_CLOSED:
      return ENOLINK;
    case RESULT_BEYOND_END:
    case RESULT_DEVICE_FAULT:
    case RESULT_WRITES_LOST:
      return EIO;
    default:
      // The target refused; the event that tells of it has its registers.
      return EREMOTEIO;
  }
}
