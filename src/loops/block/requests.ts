// One remote disk in the words of a block device, which every front end shares (FUSE, NBD, ublk):
// reads, writes, flushes, discards and zeros, each with a number, each answered by an errno.
//
// 1. `connect` waits until the disk has shown itself, and asks what it promises of discards; where
//    an earlier process has used it, what that one knew will do.
// 2. `submit` takes a request; what the initiator has no word for is put together from several of
//    its requests: a write that must be stable (FUA) is a write, then a flush; zeros are a discard
//    where the target promises to read zeros then, and written otherwise.
// 3. `complete` goes on with it, or answers.
//
// Memory of a request belongs to this file and the initiator from `submit` to the answer.

import type { Arena } from "../../../ffi/arena.ts";
import { guardAgainstReclaim } from "../../../ffi/memory_pressure.ts";
import {
  REQUEST_DISCARD,
  REQUEST_FLUSH,
  REQUEST_IDENTIFY,
  REQUEST_READ,
  REQUEST_WRITE,
} from "../../core/initiator/requests.ts";
import { RESULT_OK, RESULT_WRITES_LOST } from "../../core/initiator/results.ts";
import type { InitiatorEvent } from "../../core/initiator/session.ts";
import { PATH_UP } from "../../core/initiator/path.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import { formatMac } from "../../wire/ethernet.ts";
import { discardsAreZero, readIdentity } from "../../wire/identify.ts";
import { readIncarnation, readOnlyExport } from "../../wire/incarnation.ts";
import {
  INITIATOR_COUNT_READ_BYTES,
  INITIATOR_COUNT_READS,
  INITIATOR_COUNT_WRITES,
  INITIATOR_COUNT_WRITTEN_BYTES,
} from "../initiator/counters.ts";
import type { BlockConfig, BlockDisk, BlockMessage, BlockPath } from "./disk.ts";
import { errnoOf } from "./disk.ts";
import { describeEvent } from "../initiator/events.ts";
import type { InitiatorLoop } from "../initiator/loop.ts";
import { EROFS } from "../../../ffi/errno_numbers.ts";

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

/** Zeros are written so many at a time. */
const ZEROS_BYTES = 256 * 1024;
const STAGE_LAST = 0;
const STAGE_THEN_FLUSH = 1;
const STAGE_ZEROING = 2;
const STAGE_FLUSHING = 4;
/** After a failure was told, others are only counted for so long. */
const QUIET_MS = 1000;

/** Takes answers. */
export interface BlockAnswers {
  /** Request `number` has ended with 0 or an errno; its memory is free. */
  answered(number: number, errno: number): void;
}

/** What requests need in an arena: where the IDENTIFY data come, and zeros to write. */
export class BlockMemory {
  readonly identifyAt: number;
  readonly zerosAt: number;

  constructor(arena: Arena) {
    this.identifyAt = arena.allocate(SECTOR_BYTES);
    this.zerosAt = arena.allocate(ZEROS_BYTES, 4096);
  }
}

/** Requests to disk number 0 of a loop. */
export class BlockRequests {
  /** Known before `connect` returns true. */
  disk: BlockDisk | undefined;
  /** Why the disk cannot be had, in one sentence. */
  failure: string | undefined;
  /** Requests that are not answered. */
  inFlight = 0;

  readonly #loop: InitiatorLoop;
  readonly #config: BlockConfig;
  readonly #answers: BlockAnswers;
  readonly #post: (message: BlockMessage) => void;
  readonly #identifyNumber: number;
  readonly #identifyAt: number;
  readonly #zerosAt: number;
  readonly #connectUntilMs: number;
  readonly #serveAtMs: number;
  #ready = false;
  #identifying = false;
  #identified = false;
  /** What the target was when it was last known which writes are lost; see "settled". */
  #settledIncarnation: number;
  /** Until when failures are only counted, and how many were. */
  #quietUntilMs = -Infinity;
  #withheld = 0;
  // Of each request, by its number.
  readonly #operation: Uint8Array;
  readonly #stage: Uint8Array;
  readonly #lba: Float64Array;
  readonly #left: Float64Array;
  /** The incarnation that its flush was submitted in. */
  readonly #incarnation: Float64Array;

  /** @param count Requests are numbered from 0 to `count` − 1. */
  constructor(
    loop: InitiatorLoop,
    memory: BlockMemory,
    count: number,
    config: BlockConfig,
    answers: BlockAnswers,
    post: (message: BlockMessage) => void,
  ) {
    this.#loop = loop;
    this.#config = config;
    this.#answers = answers;
    this.#post = post;
    this.#identifyNumber = count;
    this.#identifyAt = memory.identifyAt;
    this.#zerosAt = memory.zerosAt;
    const { before } = config;
    const nowMs = loop.clock.nowMs();
    this.#connectUntilMs = nowMs + config.connectMs;
    this.#serveAtMs = before === undefined ? -Infinity : nowMs + config.resumeAfterMs;
    this.#settledIncarnation = before?.incarnation ?? 0;
    this.disk = before;
    if (before !== undefined) loop.initiators[0]!.resume(before);
    this.#operation = new Uint8Array(count);
    this.#stage = new Uint8Array(count);
    this.#lba = new Float64Array(count);
    this.#left = new Float64Array(count);
    this.#incarnation = new Float64Array(count);
  }

  /**
   * Looks for the disk; true once requests may come. A failure says why it cannot be had.
   *
   * After an earlier process requests may come before the disk has shown itself: they wait for it
   * in the initiator, no longer than others wait for a target that is away.
   */
  connect(nowMs: number): boolean {
    if (this.#ready) return true;
    const initiator = this.#loop.initiators[0]!;
    if (this.#config.before !== undefined) {
      this.#ready = nowMs >= this.#serveAtMs;
    } else if (this.disk !== undefined) {
      this.#ready = true;
    } else if (initiator.sectors === undefined) {
      if (nowMs >= this.#connectUntilMs) {
        this.failure = `No answer from ${formatAddress(initiator.shelf, initiator.slot)}`;
      }
    } else if (!this.#identifying) {
      this.#identify(nowMs);
    }
    return this.#ready;
  }

  #identify(nowMs: number): void {
    this.#identifying = true;
    const initiator = this.#loop.initiators[0]!;
    initiator.submit(nowMs, REQUEST_IDENTIFY, 0, 0, this.#identifyAt, this.#identifyNumber);
  }

  /** For a device of this machine: the kernel may have to write to it in order to free memory. */
  guard(): void {
    const problem = guardAgainstReclaim(this.#loop.arena);
    if (problem !== undefined) this.#post({ kind: "unguarded", text: problem });
  }

  /** When `connect` wants to be called at the latest. */
  get wakeAtMs(): number {
    if (this.#ready) return Infinity;
    return this.#config.before === undefined ? this.#connectUntilMs : this.#serveAtMs;
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
    number: number,
    operation: number,
    lba: number,
    sectors: number,
    at: number,
    stable: boolean,
  ): void {
    const disk = this.disk!;
    this.inFlight++;
    this.#operation[number] = operation;
    this.#lba[number] = lba;
    this.#left[number] = sectors;
    if (operation !== BLOCK_READ && operation !== BLOCK_FLUSH && disk.readOnly) {
      this.#answer(number, EROFS);
      return;
    }
    this.#stage[number] = stable ? STAGE_THEN_FLUSH : STAGE_LAST;
    switch (operation) {
      case BLOCK_READ:
        this.#hand(nowMs, number, REQUEST_READ, lba, sectors, at);
        break;
      case BLOCK_WRITE:
        this.#hand(nowMs, number, REQUEST_WRITE, lba, sectors, at);
        break;
      case BLOCK_FLUSH:
        this.#stage[number] = STAGE_LAST;
        this.#hand(nowMs, number, REQUEST_FLUSH, 0, 0, 0);
        break;
      case BLOCK_DISCARD:
        this.#hand(nowMs, number, REQUEST_DISCARD, lba, sectors, 0);
        break;
      default:
        if (operation === BLOCK_ZERO && disk.discardsAreZero) {
          this.#hand(nowMs, number, REQUEST_DISCARD, lba, sectors, 0);
        } else {
          this.#stage[number] = this.#stage[number]! | STAGE_ZEROING;
          this.#writeZeros(nowMs, number);
        }
    }
  }

  /** Takes a completion of the initiator's. */
  complete(nowMs: number, number: number, result: number): void {
    if (number === this.#identifyNumber) {
      this.#learn(result);
      return;
    }
    const stage = this.#stage[number]!;
    if (this.#isFlush(number, stage)) this.#settle(number, result);
    if (result !== RESULT_OK) {
      this.#answer(number, errnoOf(result));
      return;
    }
    if ((stage & STAGE_ZEROING) !== 0 && this.#left[number]! > 0) {
      this.#writeZeros(nowMs, number);
    } else if ((stage & STAGE_THEN_FLUSH) !== 0) {
      this.#stage[number] = STAGE_FLUSHING;
      this.#hand(nowMs, number, REQUEST_FLUSH, 0, 0, 0);
    } else {
      this.#answer(number, 0);
    }
  }

  /** Tells the main thread what happened to an interface. */
  linkChanged(text: string | undefined): void {
    if (text !== undefined) this.#post({ kind: "note", text });
    this.#post({ kind: "interfaces", names: this.#loop.interfaceNames() });
    this.#tellPaths();
  }

  /** Tells the main thread what happened to the disk. */
  event(nowMs: number, event: InitiatorEvent): void {
    const text = describeEvent(this.#loop, 0, event);
    if (text !== undefined && event.kind === "failed") this.#tellFailure(nowMs, text);
    else if (text !== undefined) this.#post({ kind: "note", text });
    // After an earlier process nobody waits in `connect` for it.
    const unknown = this.#config.before !== undefined && !this.#identified && !this.#identifying;
    if (unknown && this.#loop.initiators[0]!.isUp) this.#identify(nowMs);
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
        this.#post({ kind: "restarted" });
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

  /** Once a second: a disk that refuses does so very often. */
  #tellFailure(nowMs: number, text: string): void {
    if (nowMs < this.#quietUntilMs) {
      this.#withheld++;
      return;
    }
    this.#quietUntilMs = nowMs + QUIET_MS;
    const more = this.#withheld > 0 ? ` (and ${this.#withheld} more before)` : "";
    this.#withheld = 0;
    this.#post({ kind: "note", text: text + more });
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
    const paths = this.#paths();
    const up = isUp && paths.some(({ state }) => state === "up");
    this.#post({ kind: "paths", up, paths });
  }

  #paths(): BlockPath[] {
    return this.#loop.initiators[0]!.paths.map((path) => ({
      interface: this.#loop.interfaceName(path.interfaceIndex),
      mac: formatMac(path.mac),
      // Without its interface a path is lost, though its commands have yet to find out.
      state: path.state === PATH_UP && this.#loop.isInterfaceUsable(path.interfaceIndex)
        ? "up"
        : "lost",
      frameBytes: path.sectors * SECTOR_BYTES,
    }));
  }

  #learn(result: number): void {
    this.#identifying = false;
    // It is asked again, in the next turn or when a path comes up.
    if (result !== RESULT_OK) return;
    this.#identified = true;
    const { bytes } = this.#loop.arena;
    const at = this.#identifyAt;
    const initiator = this.#loop.initiators[0]!;
    const identity = readIdentity(bytes, at);
    const incarnation = readIncarnation(bytes, at);
    if (this.#config.before === undefined) this.#settledIncarnation = incarnation;
    this.disk = {
      bytes: initiator.sectors! * SECTOR_BYTES,
      physicalBlockBytes: identity.physicalSectorBytes,
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

  #isFlush(number: number, stage: number): boolean {
    return this.#operation[number] === BLOCK_FLUSH || stage === STAGE_FLUSHING;
  }

  /**
   * A flush has ended. One that began in the incarnation of now covers every write of those before:
   * either they are stable, or it has been told that they may be lost.
   */
  #settle(number: number, result: number): void {
    if (result !== RESULT_OK && result !== RESULT_WRITES_LOST) return;
    const { incarnation } = this.#loop.initiators[0]!;
    if (incarnation === this.#settledIncarnation || this.#incarnation[number] !== incarnation) {
      return;
    }
    this.#settledIncarnation = incarnation;
    this.#post({ kind: "settled", incarnation });
  }

  #writeZeros(nowMs: number, number: number): void {
    const sectors = Math.min(this.#left[number]!, ZEROS_BYTES / SECTOR_BYTES);
    const lba = this.#lba[number]!;
    this.#lba[number] = lba + sectors;
    this.#left[number] = this.#left[number]! - sectors;
    this.#hand(nowMs, number, REQUEST_WRITE, lba, sectors, this.#zerosAt);
  }

  #hand(
    nowMs: number,
    number: number,
    operation: number,
    lba: number,
    sectors: number,
    at: number,
  ): void {
    if (!this.#loop.initiators[0]!.submit(nowMs, operation, lba, sectors, at, number)) {
      throw new Error("More requests than the initiator has room for");
    }
    const { counters } = this.#loop;
    if (operation === REQUEST_FLUSH) {
      this.#incarnation[number] = this.#loop.initiators[0]!.incarnation;
    } else if (operation === REQUEST_READ) {
      counters.add(INITIATOR_COUNT_READS, 1);
      counters.add(INITIATOR_COUNT_READ_BYTES, sectors * SECTOR_BYTES);
    } else if (operation === REQUEST_WRITE) {
      counters.add(INITIATOR_COUNT_WRITES, 1);
      counters.add(INITIATOR_COUNT_WRITTEN_BYTES, sectors * SECTOR_BYTES);
    }
  }

  #answer(number: number, errno: number): void {
    this.inFlight--;
    this.#answers.answered(number, errno);
  }
}
