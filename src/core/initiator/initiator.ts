// The initiator: one remote disk over any number of paths. Sans-io, as quinn-proto is: the loop
// pushes frames and time in and pulls frames, completions and events out; there is no clock, no
// randomness and no Promise here, so the simulation runs the very same code.
//
// 1. `submit` puts a request into a table; nothing is allocated from here on.
// 2. `pollTransmit` takes the next frame: probes, then lost commands again, then the head of the
//    queue, split to the frame size of the path it goes by, while that path's window allows.
// 3. `handleSent` says that the loop has no more use for a frame. A tag is dead, its entry and the
//    caller's memory free, only when it has been answered (or given up) and no frame is held.
// 4. `receive` checks an answer's source, version, address, tag, generation and length; data go
//    to the caller's memory.
// 5. `pollTimeout` is the loop's wait; `handleTimeout` finds lost frames, dead paths, dead targets.
// 6. `pollCompletion` gives back what ended: the caller's tag and a result (results.ts).
//
// Which writes wait for which: writes.ts. What a target must be forgiven: wire/README.md,
// 'What other targets do'.

import {
  AOE_COMMAND,
  AOE_ERROR,
  AOE_FLAG_ERROR,
  AOE_HEADER_BYTES,
  AOE_SLOT,
  AOE_TAG,
  AOE_VERSION,
  AOE_VERSION_FLAGS,
  aoeShelf,
  aoeVersion,
  COMMAND_ATA,
  COMMAND_CONFIG,
  isResponse,
} from "../../wire/aoe.ts";
import {
  ATA_COMMAND_STATUS,
  ATA_FEATURE_ERROR,
  ATA_HEADER_BYTES,
  SECTOR_BYTES,
} from "../../wire/ata.ts";
import { readUint16Be, readUint32Be } from "../../wire/endian.ts";
import { ETHERNET_TYPE, ETHERTYPE_AOE } from "../../wire/ethernet.ts";
import type { Identity } from "../../wire/identify.ts";
import { receiveAnswer } from "./answers.ts";
import { COMMAND_STATE_ENDED, commandOfTag, copyOfTag, identityOfTag } from "./commands.ts";
import {
  completeRequest,
  failAllRequests,
  handleTimeout,
  pollTimeout,
  refusalOf,
  releaseCommand,
} from "./lifetimes.ts";
import type { OutgoingFrame } from "./frames.ts";
import { type Path, PATH_UP } from "./path.ts";
import {
  ANSWERED_NONE,
  ANSWERED_TORN,
  LIST_ENDED,
  LIST_QUEUED,
  REQUEST_FLUSH,
  REQUEST_IDENTIFY,
  REQUEST_QUEUED,
  REQUEST_WRITE,
} from "./requests.ts";
import { RESULT_CLOSED, RESULT_OK, resultOfAoeError, resultOfAta } from "./results.ts";
import type { DiskBefore, InitiatorEvent } from "./session.ts";
import { deadCheckEveryMs, type InitiatorOptions, InitiatorState } from "./state.ts";
import { transmitControl, transmitQueued, transmitReady, unblockRequests } from "./transmit.ts";
import type { WriteRanges } from "./writes.ts";
import { NONE } from "../tables.ts";

/** A network that sent a frame twice is expected to do so again for this long. */
const REPEATS_REMEMBERED_MS = 60_000;

/** One remote disk. */
export class Initiator {
  readonly shelf: number;
  readonly slot: number;
  /** The frame that the last `pollTransmit` has taken; overwritten by the next. */
  readonly frame: OutgoingFrame;
  /** The completion that the last `pollCompletion` has taken; overwritten by the next. */
  readonly completion = { userTag: 0, result: RESULT_OK };
  /** Counters for people. */
  readonly counters: Readonly<InitiatorState["counters"]>;
  readonly #state: InitiatorState;

  constructor(options: InitiatorOptions) {
    this.#state = new InitiatorState(options);
    this.shelf = options.shelf;
    this.slot = options.slot;
    this.frame = this.#state.frames.frame;
    this.counters = this.#state.counters;
  }

  /** What the disk says of itself; undefined until a path has shown it. */
  get identity(): Identity | undefined {
    return this.#state.session.identity;
  }

  /** Size of the disk in 512-byte sectors; undefined until it is known. */
  get sectors(): number | undefined {
    return this.#state.session.identity === undefined ? undefined : this.#state.session.sectors;
  }

  /** The target's incarnation (wire/incarnation.ts); 0 when it names none, or is not known. */
  get incarnation(): number {
    return this.#state.session.incarnation;
  }

  /**
   * Goes on where an earlier process has ended, before anything else: only that disk will do, and
   * the first flush covers the writes that were answered then.
   */
  resume(before: DiskBefore): void {
    this.#state.session.expect(before);
    this.#state.flushes.writesCompleted = 1;
  }

  /** All paths ever found, to be read only. */
  get paths(): readonly Path[] {
    return this.#state.session.paths;
  }

  /** Whether some path works. */
  get isUp(): boolean {
    return this.#state.session.anyUp();
  }

  /** Requests that have not ended. */
  get requestsOpen(): number {
    return this.#state.requests.open;
  }

  /** Smoothed round trip of the fastest path that works, in milliseconds; Infinity without one. */
  get rttMs(): number {
    const { paths } = this.#state.session;
    let rttMs = Infinity;
    for (let i = 0; i < paths.length; i++) {
      const { state, srttMs } = paths[i]!;
      if (state === PATH_UP && srttMs > 0 && srttMs < rttMs) rttMs = srttMs;
    }
    return rttMs;
  }

  /** Frames in the loop's hands, or answers outstanding: the loop may not stop yet. */
  get commandsOpen(): number {
    return this.#state.commands.used;
  }

  /** What happened to the writes' quarantine. */
  get quarantineCounters(): Readonly<WriteRanges["counters"]> {
    return this.#state.writes.counters;
  }

  /** The oldest event that was not fetched yet. */
  pollEvent(): InitiatorEvent | undefined {
    return this.#state.session.pollEvent();
  }

  /**
   * Adds an interface to look for the target on, or tells of its new MTU.
   *
   * @param index The loop's number of it, which frames come back with.
   * @param mac Its own MAC, six bytes.
   * @param mtu Payload bytes, the Ethernet header not counted.
   */
  setInterface(nowMs: number, index: number, mac: Uint8Array, mtu: number): void {
    this.#state.session.setInterface(nowMs, index, mac, mtu);
    this.#state.controlDue = true;
  }

  /**
   * Takes a request. Requests that do not overlap run in any order; which overlapping ones wait is
   * said in writes.ts. A flush covers the writes whose completion was fetched before it
   * was submitted.
   *
   * @param operation An OPERATION constant.
   * @param lba First sector; 0 for a flush and for IDENTIFY.
   * @param sectors How many; 0 for a flush and for IDENTIFY.
   * @param payloadAt Where the data stand, or shall stand, in `memory`; untouched by anybody else
   * until the completion comes.
   * @param userTag Any number; comes back with the completion.
   * @returns Whether there was room.
   */
  submit(
    nowMs: number,
    operation: number,
    lba: number,
    sectors: number,
    payloadAt: number,
    userTag: number,
  ): boolean {
    const unit = operation === REQUEST_FLUSH || operation === REQUEST_IDENTIFY;
    const bytes = SECTOR_BYTES *
      (operation <= REQUEST_WRITE ? sectors : operation === REQUEST_IDENTIFY ? 1 : 0);
    if (
      !(operation >= 0 && operation <= REQUEST_IDENTIFY) || !(lba >= 0) || !(sectors >= 0) ||
      !(payloadAt >= 0) || payloadAt + bytes > this.#state.memory.length
    ) throw new RangeError(`Operation ${operation} of ${sectors} sectors at ${lba}`);
    const requests = this.#state.requests;
    const request = requests.take(
      operation,
      unit ? 0 : lba,
      unit ? 1 : sectors,
      payloadAt,
      userTag,
    );
    if (request === NONE) return false;
    this.#state.counters.requests++;
    if (requests.open === 1) {
      this.#state.progressMs = nowMs;
      this.#state.deadCheckMs = nowMs + deadCheckEveryMs(this.#state);
    }
    const refusal = refusalOf(this.#state, operation, lba, sectors);
    if (refusal !== NONE) {
      requests.result[request] = refusal;
      completeRequest(this.#state, request);
      return true;
    }
    if (operation === REQUEST_FLUSH) {
      requests.settled[request] = this.#state.flushes.writesSettled;
      requests.covered[request] = this.#state.flushes.writesCompleted;
    }
    requests.state[request] = REQUEST_QUEUED;
    requests.lists.append(LIST_QUEUED, request);
    return true;
  }

  /** Takes the next completion into `completion`; its memory belongs to the caller again. */
  pollCompletion(): boolean {
    const requests = this.#state.requests;
    const request = requests.lists.first(LIST_ENDED);
    if (request === NONE) return false;
    requests.lists.remove(LIST_ENDED, request);
    this.completion.userTag = requests.userTag[request]!;
    this.completion.result = requests.result[request]!;
    const answered = requests.answered[request];
    if (answered !== ANSWERED_NONE && requests.result[request] === RESULT_OK) {
      this.#state.flushes.writeCompleted(answered === ANSWERED_TORN);
    }
    requests.release(request);
    return true;
  }

  /** Fails everything that has not ended; completions come as soon as no frame is held. */
  close(nowMs: number): void {
    this.#state.closed = true;
    failAllRequests(this.#state, nowMs, RESULT_CLOSED);
  }

  /**
   * Takes the next frame to send into `frame`. The loop calls it until it returns false, before it
   * waits, and says `handleSent` for each.
   */
  pollTransmit(nowMs: number): boolean {
    if (this.#state.controlDue && transmitControl(this.#state, nowMs)) return true;
    if (this.#state.unblockDue) unblockRequests(this.#state);
    return transmitReady(this.#state, nowMs) || transmitQueued(this.#state, nowMs);
  }

  /**
   * Whether a frame that was taken is still worth sending. A loop that cannot send at once asks
   * again before it tries again: the command may have ended, or the frame may count as lost (one
   * that is too large for the interface never leaves). Then it is dropped, and `handleSent` said.
   */
  isWanted(tag: number): boolean {
    return tag >= 0 || this.#state.commands.isFlying(commandOfTag(tag), tag);
  }

  /** The loop has sent a frame, or dropped it: its places in memory are not read any more. */
  handleSent(nowMs: number, tag: number): void {
    if (tag >= 0) {
      this.#state.session.interfaces[tag]!.held--;
      return;
    }
    const { commands } = this.#state;
    const command = commandOfTag(tag);
    const copy = copyOfTag(tag);
    // Round trips, and what overtakes what, count from when a frame leaves.
    if (copy === 0) commands.firstSentMs[command] = nowMs;
    if (copy === commands.copies[command]! - 1) commands.sentMs[command] = nowMs;
    const held = --commands.held[command]!;
    if (held === 0 && commands.state[command] === COMMAND_STATE_ENDED) {
      releaseCommand(this.#state, nowMs, command);
    }
  }

  /**
   * Takes one received frame; whatever it is, nothing is thrown.
   *
   * @param interfaceIndex The loop's number of the interface it came in by.
   * @param length Bytes of the frame from `at`.
   */
  receive(
    nowMs: number,
    interfaceIndex: number,
    view: Uint8Array,
    at: number,
    length: number,
  ): void {
    // Our own requests are seen again on `lo`: no answer, and nothing to count.
    if (length < AOE_HEADER_BYTES) return;
    if (
      readUint16Be(view, at + ETHERNET_TYPE) !== ETHERTYPE_AOE ||
      aoeShelf(view, at) !== this.#state.shelf || view[at + AOE_SLOT] !== this.#state.slot
    ) return;
    const aoeCommand = view[at + AOE_COMMAND];
    if (!isResponse(view, at)) {
      if (aoeCommand === COMMAND_CONFIG) this.#state.session.receiveQuery(interfaceIndex, view, at);
      return;
    }
    const failed = (view[at + AOE_VERSION_FLAGS]! & AOE_FLAG_ERROR) !== 0;
    if (aoeCommand === COMMAND_CONFIG && !failed) {
      // Any version: the adverts of vblade have 0.
      if (!this.#state.session.receiveConfig(nowMs, interfaceIndex, view, at, length)) {
        this.#state.counters.malformed++;
      }
      this.#state.controlDue = true;
      return;
    }
    if (aoeCommand !== COMMAND_ATA) return;
    const path = this.#state.session.pathOfFrame(interfaceIndex, view, at);
    if (path === undefined) {
      this.#state.counters.foreign++;
      return;
    }
    const tag = readUint32Be(view, at + AOE_TAG) | 0;
    const command = commandOfTag(tag);
    if (!this.#state.commands.isCurrent(command, tag)) {
      this.#state.counters.stale++;
      if (this.#state.commands.isRepeated(command, tag)) {
        this.#state.counters.repeated++;
        this.#state.repeatsUntilMs = nowMs + REPEATS_REMEMBERED_MS;
      }
      if (this.#state.writes.lateAnswer(command, identityOfTag(tag), copyOfTag(tag))) {
        this.#state.unblockDue = true;
      }
      return;
    }
    const needed = failed ? AOE_HEADER_BYTES : ATA_HEADER_BYTES;
    if ((!failed && aoeVersion(view, at) !== AOE_VERSION) || length < needed) {
      this.#state.counters.malformed++;
      return;
    }
    const result = failed
      ? resultOfAoeError(view[at + AOE_ERROR]!)
      : resultOfAta(view[at + ATA_COMMAND_STATUS]!, view[at + ATA_FEATURE_ERROR]!);
    receiveAnswer(this.#state, nowMs, command, copyOfTag(tag), path, result, view, at, length);
  }

  /** When `handleTimeout` is due; Infinity when there is nothing to wait for. */
  pollTimeout(): number {
    return pollTimeout(this.#state);
  }

  /** Does what `pollTimeout` waited for; harmless at any other time. */
  handleTimeout(nowMs: number): void {
    handleTimeout(this.#state, nowMs);
  }
}
