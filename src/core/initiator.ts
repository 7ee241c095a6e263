// The initiator: one remote disk over any number of paths. Sans-io, as quinn-proto is: the loop
// pushes frames and time in and pulls frames, completions and events out; there is no clock, no
// randomness and no Promise here, so the simulation runs the very same code.
//
// 1. `submit` puts a request into a table; nothing is allocated from here on.
// 2. `pollTransmit` takes the next frame: probes, then lost commands again, then the head of the
//    queue, split to the frame size of the path it goes by, while that path's window allows.
// 3. `handleSent` says that the loop has no more use for a frame. A tag is dead, its slot and the
//    caller's memory free, only when it has been answered (or given up) and no frame is held.
// 4. `receive` checks an answer's source, version, address, tag, generation and length; data go
//    to the caller's memory.
// 5. `pollTimeout` is the loop's wait; `handleTimeout` finds lost frames, dead paths, dead targets.
// 6. `pollCompletion` gives back what ended: the caller's tag and a result (initiator_results.ts).
//
// Which writes wait for which: initiator_writes.ts. What a target must be forgiven: PROTOCOL.md,
// 'What other targets do'.

import {
  AOE_COMMAND,
  AOE_ERROR,
  AOE_HEADER_BYTES,
  AOE_SLOT,
  AOE_TAG,
  AOE_VERSION,
  AOE_VERSION_FLAGS,
  aoeShelf,
  aoeVersion,
  COMMAND_ATA,
  COMMAND_CONFIG,
  FLAG_ERROR,
  isResponse,
} from "../wire/aoe.ts";
import {
  ATA_COMMAND_STATUS,
  ATA_DATA,
  ATA_FEATURE_ERROR,
  ATA_HEADER_BYTES,
  SECTOR_BYTES,
} from "../wire/ata.ts";
import { readUint16Be, readUint32Be } from "../wire/endian.ts";
import { ETHERNET_TYPE, ETHERTYPE_AOE } from "../wire/ethernet.ts";
import type { Identity } from "../wire/identify.ts";
import {
  COMMAND_ENDED,
  COMMAND_FLYING,
  COMMAND_READY,
  CommandTable,
  COPIES_MAX,
  copyOfTag,
  identityOfTag,
  KIND_DISCARD,
  KIND_FLUSH,
  KIND_IDENTIFY,
  KIND_LARGE_PROBE,
  KIND_PROBE,
  KIND_READ,
  KIND_WRITE,
  NO_REQUEST,
  slotOfTag,
} from "./initiator_commands.ts";
import {
  DISCARD_SECTORS_MAX,
  frameRegionBytes,
  FrameWriter,
  type OutgoingFrame,
} from "./initiator_frames.ts";
import { FLUSH_AGAIN, FlushTracker } from "./initiator_flush.ts";
import {
  type Path,
  PATH_PROBING,
  PATH_REFUSED,
  PATH_UP,
  type PathTimes,
  SECTORS_SMALL,
} from "./initiator_path.ts";
import {
  LIST_BLOCKED,
  LIST_ENDED,
  LIST_QUEUED,
  OPERATION_DISCARD,
  OPERATION_FLUSH,
  OPERATION_IDENTIFY,
  OPERATION_READ,
  OPERATION_WRITE,
  REQUEST_BLOCKED,
  REQUEST_ENDED,
  REQUEST_ISSUED,
  REQUEST_QUEUED,
  RequestTable,
} from "./initiator_requests.ts";
import {
  RESULT_BEYOND_END,
  RESULT_CLOSED,
  RESULT_OK,
  RESULT_TIMEOUT,
  RESULT_UNSUPPORTED,
  resultOfAoeError,
  resultOfAta,
} from "./initiator_results.ts";
import { type InitiatorEvent, Session } from "./initiator_session.ts";
import { WriteRanges } from "./initiator_writes.ts";

const NONE = -1;
/** A large probe and a probe of every path find room even when commands fill the table. */
const PROBES_PER_PATH = 2;
/** ATA's sector count is one byte here. */
const COMMAND_SECTORS_MAX = 255;
const DEAD_CHECK_MS = 1000;

/** Everything that can be chosen, with what it is when it is not chosen. */
export const INITIATOR_DEFAULTS = {
  /** Requests at once, fetched completions excluded. */
  requestsMax: 1024,
  /** Commands in flight over all paths; at most 2048. */
  commandsMax: 1024,
  pathsMax: 16,
  interfacesMax: 8,
  /** Commands in flight on one path, whatever buffer count the target claims. */
  windowMax: 256,
  /** Sectors in one frame; 127 fill the 65536 bytes of `lo`. */
  sectorsMax: 127,
  /** Discards in flight. */
  discardsMax: 8,
  /** Ranges in quarantine. */
  quarantineMax: 4096,
  /**
   * How long a copy that was sent and not answered may still reach the disk. No frame may live
   * longer in the network and in the target's queues, or an old write could undo a newer one.
   */
  quarantineMs: 5000,
  /** A target silent for this long makes what waits fail; Infinity: never. */
  deadAfterMs: 180_000,
  /** Time between probes of a path that works. */
  probeMs: 10_000,
  /** Time between searches for further paths. */
  queryMs: 30_000,
  rtoInitialMs: 150,
  rtoMinMs: 50,
  rtoMaxMs: 4000,
  pathLostMs: 300,
};

/** Limits and times of an initiator. */
export type InitiatorSettings = typeof INITIATOR_DEFAULTS;

/** What every initiator must be told. */
export interface InitiatorOptions extends Partial<InitiatorSettings> {
  readonly shelf: number;
  readonly slot: number;
  /** Everything that frames are gathered from and read data are copied to. */
  readonly memory: Uint8Array;
  /** Where the initiator's own `initiatorMemoryBytes` begin in `memory`. */
  readonly memoryAt: number;
  /** 0 … 7: different for every initiator of this host that talks to the same target. */
  readonly session: number;
  /** A random integer, so that a new process does not take an old one's answers for its own. */
  readonly seed: number;
}

/** Bytes that an initiator needs for itself in its memory. */
export function initiatorMemoryBytes(settings: Partial<InitiatorSettings> = {}): number {
  return frameRegionBytes({ ...INITIATOR_DEFAULTS, ...settings });
}

/** One remote disk. */
export class Initiator {
  readonly shelf: number;
  readonly slot: number;
  /** The frame that the last `pollTransmit` has taken; overwritten by the next. */
  readonly frame: OutgoingFrame;
  /** The completion that the last `pollCompletion` has taken; overwritten by the next. */
  readonly completion = { userTag: 0, result: RESULT_OK };
  /** Counters for people. */
  readonly counters = {
    requests: 0,
    commands: 0,
    retransmitted: 0,
    answers: 0,
    /** Answers to nothing that waits: late, duplicate, or somebody else's. */
    stale: 0,
    /** Frames that are no proper answer. */
    malformed: 0,
    /** Answers from a MAC that is no path. */
    foreign: 0,
  };

  readonly #settings: InitiatorSettings;
  readonly #memory: Uint8Array;
  readonly #session: Session;
  readonly #commands: CommandTable;
  readonly #requests: RequestTable;
  readonly #writes: WriteRanges;
  readonly #frames: FrameWriter;
  readonly #flushes = new FlushTracker();
  /** Slots that commands of requests leave to probes. */
  readonly #reserve: number;

  /** A probe or a query may be due. */
  #controlDue = true;
  /** A range that a blocked request may wait for became free. */
  #unblockDue = false;
  /** When a command of a request was last answered, or the first request came. */
  #progressMs = 0;
  #deadCheckMs = Infinity;
  #dead = false;
  #closed = false;
  constructor(options: InitiatorOptions) {
    const settings = { ...INITIATOR_DEFAULTS, ...options };
    this.#settings = settings;
    this.shelf = options.shelf;
    this.slot = options.slot;
    this.#memory = options.memory;
    this.#reserve = PROBES_PER_PATH * settings.pathsMax;
    if (settings.commandsMax <= this.#reserve) {
      throw new RangeError(`${settings.commandsMax} commands leave none beside the probes`);
    }
    const times: PathTimes = settings;
    this.#session = new Session({ ...settings, times });
    this.#commands = new CommandTable(
      settings.commandsMax,
      settings.pathsMax,
      options.session,
      options.seed,
    );
    this.#requests = new RequestTable(settings.requestsMax);
    this.#writes = new WriteRanges(settings.commandsMax, settings.quarantineMax);
    this.#frames = new FrameWriter(
      options.memory,
      options.memoryAt,
      options.shelf,
      options.slot,
      settings,
    );
    this.frame = this.#frames.frame;
  }

  /** What the disk says of itself; undefined until a path has shown it. */
  get identity(): Identity | undefined {
    return this.#session.identity;
  }

  /** Size of the disk in 512-byte sectors; undefined until it is known. */
  get sectors(): number | undefined {
    return this.#session.identity === undefined ? undefined : this.#session.sectors;
  }

  /** All paths ever found, to be read only. */
  get paths(): readonly Path[] {
    return this.#session.paths;
  }

  /** Whether some path works. */
  get isUp(): boolean {
    return this.#session.anyUp();
  }

  /** Requests that have not ended. */
  get requestsOpen(): number {
    return this.#requests.open;
  }

  /** Frames in the loop's hands, or answers outstanding: the loop may not stop yet. */
  get commandsOpen(): number {
    return this.#commands.used;
  }

  /** What happened to the writes' quarantine. */
  get quarantineCounters(): Readonly<WriteRanges["counters"]> {
    return this.#writes.counters;
  }

  /** The oldest event that was not fetched yet. */
  pollEvent(): InitiatorEvent | undefined {
    return this.#session.pollEvent();
  }

  /**
   * Adds an interface to look for the target on, or tells of its new MTU.
   *
   * @param index The loop's number of it, which frames come back with.
   * @param mac Its own MAC, six bytes.
   * @param mtu Payload bytes, the Ethernet header not counted.
   */
  setInterface(nowMs: number, index: number, mac: Uint8Array, mtu: number): void {
    this.#session.setInterface(nowMs, index, mac, mtu);
    this.#controlDue = true;
  }

  /**
   * Takes a request. Requests that do not overlap run in any order; which overlapping ones wait is
   * said in initiator_writes.ts. A flush covers the writes whose completion existed before it was
   * submitted.
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
    const unit = operation === OPERATION_FLUSH || operation === OPERATION_IDENTIFY;
    const requests = this.#requests;
    const index = requests.take(operation, unit ? 0 : lba, unit ? 1 : sectors, payloadAt, userTag);
    if (index === NONE) return false;
    this.counters.requests++;
    if (requests.open === 1) {
      this.#progressMs = nowMs;
      this.#deadCheckMs = nowMs + this.#deadCheckEveryMs();
    }
    const refusal = this.#refusal(operation, lba, sectors);
    if (refusal !== NONE) {
      requests.result[index] = refusal;
      this.#complete(index);
      return true;
    }
    if (operation === OPERATION_FLUSH) {
      requests.settled[index] = this.#flushes.writesSettled;
      requests.covered[index] = this.#flushes.writesAnswered;
    }
    requests.state[index] = REQUEST_QUEUED;
    requests.append(LIST_QUEUED, index);
    return true;
  }

  /** The result of a request that ends where it begins, or −1. */
  #refusal(operation: number, lba: number, sectors: number): number {
    if (this.#closed) return RESULT_CLOSED;
    if (this.#dead) return RESULT_TIMEOUT;
    if (operation === OPERATION_FLUSH) return this.#flushes.command === 0 ? RESULT_OK : NONE;
    if (operation === OPERATION_IDENTIFY) return NONE;
    if (operation > OPERATION_IDENTIFY || !(lba >= 0) || !(sectors >= 0)) {
      throw new RangeError(`Operation ${operation} of ${sectors} sectors at ${lba}`);
    }
    if (lba + sectors > this.#session.sectors) return RESULT_BEYOND_END;
    if (sectors === 0) return RESULT_OK;
    if (operation === OPERATION_DISCARD && this.identity?.trim === false) return RESULT_UNSUPPORTED;
    return NONE;
  }

  /** Takes the next completion into `completion`; its memory belongs to the caller again. */
  pollCompletion(): boolean {
    const requests = this.#requests;
    const index = requests.head(LIST_ENDED);
    if (index === NONE) return false;
    requests.unlink(LIST_ENDED, index);
    this.completion.userTag = requests.userTag[index]!;
    this.completion.result = requests.result[index]!;
    requests.release(index);
    return true;
  }

  /** Fails everything that has not ended; completions come as soon as no frame is held. */
  close(nowMs: number): void {
    this.#closed = true;
    this.#failAll(nowMs, RESULT_CLOSED);
  }

  /**
   * Takes the next frame to send into `frame`. The loop calls it until it returns false, before it
   * waits, and says `handleSent` for each.
   */
  pollTransmit(nowMs: number): boolean {
    if (this.#controlDue && this.#transmitControl(nowMs)) return true;
    if (this.#unblockDue) this.#unblock();
    return this.#transmitReady(nowMs) || this.#transmitQueued(nowMs);
  }

  /**
   * Whether a frame that was taken is still worth sending: for loops that keep frames for a while.
   * A frame whose command has ended may be dropped; `handleSent` must be said all the same.
   */
  isWanted(tag: number): boolean {
    return tag >= 0 || this.#commands.isCurrent(slotOfTag(tag), tag);
  }

  /** The loop has sent a frame, or dropped it: its places in memory are not read any more. */
  handleSent(nowMs: number, tag: number): void {
    if (tag >= 0) {
      this.#session.interfaces[tag]!.held--;
      return;
    }
    const slot = slotOfTag(tag);
    const held = --this.#commands.held[slot]!;
    if (held === 0 && this.#commands.state[slot] === COMMAND_ENDED) this.#finish(nowMs, slot);
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
    if (length < AOE_HEADER_BYTES || !isResponse(view, at)) return;
    if (
      readUint16Be(view, at + ETHERNET_TYPE) !== ETHERTYPE_AOE ||
      aoeShelf(view, at) !== this.shelf || view[at + AOE_SLOT] !== this.slot
    ) return;
    const command = view[at + AOE_COMMAND];
    const failed = (view[at + AOE_VERSION_FLAGS]! & FLAG_ERROR) !== 0;
    if (command === COMMAND_CONFIG && !failed) {
      // Any version: the adverts of vblade have 0.
      if (!this.#session.receiveConfig(nowMs, interfaceIndex, view, at, length)) {
        this.counters.malformed++;
      }
      this.#controlDue = true;
      return;
    }
    if (command !== COMMAND_ATA) return;
    const path = this.#session.pathOfFrame(interfaceIndex, view, at);
    if (path === undefined) {
      this.counters.foreign++;
      return;
    }
    const tag = readUint32Be(view, at + AOE_TAG) | 0;
    const slot = slotOfTag(tag);
    if (!this.#commands.isCurrent(slot, tag)) {
      this.counters.stale++;
      if (this.#writes.lateAnswer(slot, identityOfTag(tag), copyOfTag(tag))) {
        this.#unblockDue = true;
      }
      return;
    }
    const needed = failed ? AOE_HEADER_BYTES : ATA_HEADER_BYTES;
    if ((!failed && aoeVersion(view, at) !== AOE_VERSION) || length < needed) {
      this.counters.malformed++;
      return;
    }
    const result = failed
      ? resultOfAoeError(view[at + AOE_ERROR]!)
      : resultOfAta(view[at + ATA_COMMAND_STATUS]!, view[at + ATA_FEATURE_ERROR]!);
    this.#answer(nowMs, slot, copyOfTag(tag), path, result, view, at, length);
  }

  /** An answer that belongs to a command: the registers are read, the data are not. */
  #answer(
    nowMs: number,
    slot: number,
    copy: number,
    from: Path,
    registers: number,
    view: Uint8Array,
    at: number,
    length: number,
  ): void {
    const commands = this.#commands;
    const kind = commands.kind[slot]!;
    let result = registers;
    if (kind === KIND_FLUSH && result !== RESULT_OK && length >= ATA_HEADER_BYTES) {
      // ggaoed puts the opcode where the status belongs.
      if (view[at + ATA_COMMAND_STATUS] === this.#frames.ataCommandOf(slot)) result = RESULT_OK;
    }
    const carriesData = kind === KIND_READ || kind >= KIND_IDENTIFY;
    if (result === RESULT_OK && carriesData) {
      const sectors = kind === KIND_IDENTIFY || kind === KIND_PROBE ? 1 : commands.piece[slot]!;
      if (length < ATA_DATA + sectors * SECTOR_BYTES) {
        this.counters.malformed++;
        return;
      }
    }
    if (from.state === PATH_REFUSED && kind !== KIND_PROBE) {
      this.counters.foreign++;
      return;
    }
    this.counters.answers++;
    const sentPath = this.#session.paths[commands.path[slot]!]!;
    const sentMs = this.#measure(nowMs, slot, copy, sentPath);
    if (commands.request[slot] !== NO_REQUEST) {
      this.#progressMs = nowMs;
      this.#revive();
    }
    if (from.state === PATH_PROBING && kind < KIND_PROBE && from.counters.timesLost > 0) {
      // An answer that comes late proves the path as well as a probe does.
      this.#session.pathUp(nowMs, from);
      this.#controlDue = true;
    }
    if (result !== RESULT_OK) this.#tellFailure(slot, result, view, at, length);
    switch (kind) {
      case KIND_READ:
        if (result === RESULT_OK) this.#copyRead(slot, view, at + ATA_DATA);
        this.#endPiece(nowMs, slot, copy, result);
        break;
      case KIND_WRITE:
        this.#endPiece(nowMs, slot, copy, result);
        break;
      case KIND_PROBE:
      case KIND_IDENTIFY:
        if (result === RESULT_OK) this.#receiveIdentity(nowMs, slot, from, sentMs, view, at);
        if (kind === KIND_PROBE && (from !== sentPath || result !== RESULT_OK)) {
          sentPath.probeFailed(nowMs);
        }
        this.#end(nowMs, slot, copy, result);
        break;
      case KIND_LARGE_PROBE:
        if (sentPath.sectors < sentPath.sectorsMax) {
          sentPath.largeAnswered(nowMs);
          this.#session.tell({ kind: "frames-large", path: sentPath });
        }
        this.#end(nowMs, slot, copy, RESULT_OK);
        break;
      case KIND_FLUSH:
        this.#endFlush(nowMs, slot, copy, result);
        break;
      default:
        this.#end(nowMs, slot, copy, result);
    }
  }

  /**
   * Takes a command out of the air and tells its path of the round trip.
   *
   * @returns When the answered copy was sent, or earlier.
   */
  #measure(nowMs: number, slot: number, copy: number, sentPath: Path): number {
    const commands = this.#commands;
    const last = copy === commands.copies[slot]! - 1;
    const first = this.#session.paths[commands.firstPath[slot]!]!;
    const path = last ? sentPath : copy === 0 ? first : sentPath;
    const sentMs = last ? commands.sentMs[slot]! : copy === 0 ? commands.firstSentMs[slot]! : NaN;
    if (commands.state[slot] === COMMAND_FLYING) {
      commands.unlink(sentPath.index, slot);
      if (commands.kind[slot]! < KIND_PROBE) sentPath.flying--;
      if (!last) path.needless();
    } else {
      commands.unlink(commands.readyList, slot);
      path.needless();
    }
    commands.state[slot] = COMMAND_ENDED;
    path.answered(nowMs, sentMs, commands.largePiece(slot));
    return sentMs === sentMs ? sentMs : commands.firstSentMs[slot]!;
  }

  #copyRead(slot: number, view: Uint8Array, from: number): void {
    const commands = this.#commands;
    const memory = this.#memory;
    const to = commands.payloadAt[slot]! + commands.done[slot]! * SECTOR_BYTES;
    const bytes = commands.piece[slot]! * SECTOR_BYTES;
    if (view.buffer === memory.buffer) {
      // One arena for everything, as the loop has it: no view is made.
      const start = from + view.byteOffset - memory.byteOffset;
      memory.copyWithin(to, start, start + bytes);
    } else {
      memory.set(view.subarray(from, from + bytes), to);
    }
  }

  #receiveIdentity(
    nowMs: number,
    slot: number,
    from: Path,
    sentMs: number,
    view: Uint8Array,
    at: number,
  ): void {
    const { restarts } = this.#session;
    const ours = this.#session.receiveIdentity(nowMs, from, sentMs, view, at + ATA_DATA);
    if (this.#session.restarts !== restarts) this.#flushes.restarted();
    this.#controlDue = true;
    if (this.#session.anyUp()) this.#revive();
    if (ours && this.#requestOperation(slot) === OPERATION_IDENTIFY) {
      this.#commands.piece[slot] = 1;
      this.#copyRead(slot, view, at + ATA_DATA);
    }
  }

  #requestOperation(slot: number): number {
    const request = this.#commands.request[slot]!;
    return request === NO_REQUEST ? NONE : this.#requests.operation[request]!;
  }

  #revive(): void {
    if (!this.#dead) return;
    this.#dead = false;
    this.#session.tell({ kind: "back" });
  }

  /** A piece of a read or write was answered: the next piece, or the end of the command. */
  #endPiece(nowMs: number, slot: number, copy: number, result: number): void {
    const commands = this.#commands;
    const done = commands.done[slot]! + commands.piece[slot]!;
    if (result !== RESULT_OK || done >= commands.sectors[slot]!) {
      this.#end(nowMs, slot, copy, result);
      return;
    }
    commands.done[slot] = done;
    commands.startedMs[slot] = nowMs;
    this.#renew(slot, commands.copies[slot]! > 1);
    commands.state[slot] = COMMAND_READY;
    commands.append(commands.readyList, slot);
  }

  #renew(slot: number, copiesOpen: boolean): void {
    if (copiesOpen) this.#commands.unaccounted[slot] = 1;
    this.#commands.renew(slot);
  }

  #endFlush(nowMs: number, slot: number, copy: number, answered: number): void {
    const requests = this.#requests;
    const flushes = this.#flushes;
    const request = this.#commands.request[slot]!;
    const before = flushes.command;
    const result = flushes.afterFlush(this.#frames.ataCommandOf(slot), answered);
    if (flushes.command !== before) {
      this.#session.tell({ kind: flushes.command === 0 ? "no-flush" : "no-flush-ext" });
    }
    const verify = result === RESULT_OK && flushes.command !== 0 && flushes.mustVerify(
      requests.settled[request]!,
      requests.covered[request]!,
      this.#session.incarnation,
    );
    if (verify) requests.stage[request] = 1;
    if ((verify || result === FLUSH_AGAIN) && requests.result[request] === RESULT_OK) {
      requests.issued[request] = 0;
      requests.state[request] = REQUEST_QUEUED;
      requests.insertSorted(LIST_QUEUED, request);
    }
    this.#end(nowMs, slot, copy, result === FLUSH_AGAIN ? RESULT_OK : result);
  }

  /**
   * A command, in no list, is over.
   *
   * @param copy Copy that was answered, or −1.
   */
  #end(nowMs: number, slot: number, copy: number, result: number): void {
    const commands = this.#commands;
    commands.state[slot] = COMMAND_ENDED;
    commands.result[slot] = result;
    let outstanding = (1 << commands.copies[slot]!) - 1;
    if (copy !== NONE) outstanding &= ~(1 << copy);
    commands.outstanding[slot] = outstanding;
    if (commands.held[slot] === 0) this.#finish(nowMs, slot);
  }

  /** A command is over and none of its frames is held: its tag is dead. */
  #finish(nowMs: number, slot: number): void {
    const commands = this.#commands;
    const requests = this.#requests;
    const request = commands.request[slot]!;
    const result = commands.result[slot]!;
    const kind = commands.kind[slot];
    if (kind === KIND_WRITE || kind === KIND_DISCARD) this.#finishWrite(nowMs, slot, result);
    this.#frames.releaseBlock(commands.block[slot]!);
    commands.release(slot);
    if (request === NO_REQUEST) return;
    requests.pending[request]!--;
    if (result !== RESULT_OK) this.#failRest(request, result);
    if (requests.state[request] === REQUEST_ISSUED && requests.pending[request] === 0) {
      this.#complete(request);
    }
  }

  /** The sectors of a write are free for the next, unless copies may still be on their way. */
  #finishWrite(nowMs: number, slot: number, result: number): void {
    const commands = this.#commands;
    const outstanding = commands.outstanding[slot]!;
    const unaccounted = commands.unaccounted[slot]!;
    if (result === RESULT_OK) this.#flushes.writesAnswered++;
    if (outstanding === 0 && unaccounted === 0) {
      this.#writes.remove(slot);
      this.#unblockDue = true;
      return;
    }
    const untilMs = nowMs + this.#settings.quarantineMs;
    this.#writes.quarantine(slot, commands.tag[slot]!, outstanding, unaccounted, untilMs);
  }

  /** A request has failed: what is not yet a command never becomes one. */
  #failRest(request: number, result: number): void {
    const requests = this.#requests;
    if (requests.result[request] === RESULT_OK) requests.result[request] = result;
    const state = requests.state[request];
    if (state === REQUEST_QUEUED) requests.unlink(LIST_QUEUED, request);
    if (state === REQUEST_BLOCKED) requests.unlink(LIST_BLOCKED, request);
    if (state === REQUEST_BLOCKED) this.#unblockDue = true;
    requests.state[request] = REQUEST_ISSUED;
  }

  /** A request, in no list and without commands, has ended. */
  #complete(request: number): void {
    const requests = this.#requests;
    if (requests.operation[request] === OPERATION_FLUSH && requests.state[request] !== 0) {
      requests.result[request] = this.#flushes.ended(
        requests.settled[request]!,
        requests.covered[request]!,
        requests.result[request]!,
      );
    }
    requests.state[request] = REQUEST_ENDED;
    requests.append(LIST_ENDED, request);
    requests.open--;
    if (requests.open === 0) this.#deadCheckMs = Infinity;
  }

  /** Says why a request fails, before the reason is narrowed to a result. */
  #tellFailure(slot: number, result: number, view: Uint8Array, at: number, length: number): void {
    const commands = this.#commands;
    const operation = this.#requestOperation(slot);
    if (operation === NONE || operation === OPERATION_FLUSH) return;
    const ata = (view[at + AOE_VERSION_FLAGS]! & FLAG_ERROR) === 0 && length >= ATA_HEADER_BYTES;
    this.#session.tell({
      kind: "failed",
      operation,
      lba: commands.lba[slot]! + commands.done[slot]!,
      sectors: commands.piece[slot]!,
      result,
      status: ata ? view[at + ATA_COMMAND_STATUS]! : 0,
      error: ata ? view[at + ATA_FEATURE_ERROR]! : view[at + AOE_ERROR]!,
    });
  }

  /** Queries and probes that are due. */
  #transmitControl(nowMs: number): boolean {
    const session = this.#session;
    const position = session.takeDueQuery(nowMs);
    if (position !== NONE) {
      const through = session.interfaces[position]!;
      through.held++;
      this.#frames.writeQuery(position, through);
      return true;
    }
    if (this.#commands.free > 0) {
      const path = session.probeDue(nowMs);
      if (path !== undefined) {
        path.probeAtMs = Infinity;
        this.#launch(nowMs, this.#commands.take(KIND_PROBE, NO_REQUEST, 0, 1), path, 1);
        return true;
      }
      const large = session.largeProbeDue(nowMs);
      if (large !== undefined) {
        large.largeProbeAtMs = Infinity;
        const slot = this.#commands.take(KIND_LARGE_PROBE, NO_REQUEST, 0, large.sectorsMax);
        this.#launch(nowMs, slot, large, large.sectorsMax);
        return true;
      }
    }
    this.#controlDue = false;
    return false;
  }

  /** Commands that were lost, or whose next piece is due. */
  #transmitReady(nowMs: number): boolean {
    const commands = this.#commands;
    let slot = commands.head(commands.readyList);
    for (; slot !== NONE; slot = commands.next(slot)) {
      // Its last frame has not left yet: another would take the header away from under it.
      if (commands.held[slot] !== 0) continue;
      const path = this.#session.pick(commands.path[slot]!);
      if (path === undefined) return false;
      commands.unlink(commands.readyList, slot);
      let piece = 1;
      if (commands.kind[slot]! <= KIND_WRITE) {
        const rest = commands.sectors[slot]! - commands.done[slot]!;
        piece = Math.min(rest, path.sectors, COMMAND_SECTORS_MAX);
      }
      const copies = commands.copies[slot]!;
      if (copies > 0) this.counters.retransmitted++;
      // A tag tells its copies apart, but not copies of different lengths.
      if (copies > 0 && (piece !== commands.piece[slot] || copies === COPIES_MAX)) {
        this.#renew(slot, true);
      }
      this.#launch(nowMs, slot, path, piece);
      return true;
    }
    return false;
  }

  /** The next part of the first request that may go on. */
  #transmitQueued(nowMs: number): boolean {
    const requests = this.#requests;
    for (;;) {
      const index = requests.head(LIST_QUEUED);
      if (index === NONE || this.#commands.free <= this.#reserve) return false;
      const operation = requests.operation[index]!;
      if (operation === OPERATION_DISCARD && !this.#frames.hasBlock) return false;
      const path = this.#session.pick(NONE);
      if (path === undefined) return false;
      const lba = requests.lba[index]! + requests.issued[index]!;
      const rest = requests.sectors[index]! - requests.issued[index]!;
      const sectors = operation === OPERATION_DISCARD
        ? Math.min(rest, DISCARD_SECTORS_MAX)
        : operation <= OPERATION_WRITE
        ? Math.min(rest, path.sectors, COMMAND_SECTORS_MAX)
        : 1;
      const refusal = operation === OPERATION_FLUSH ? NONE : this.#refusal(operation, lba, sectors);
      if (refusal !== NONE) {
        this.#failRest(index, refusal);
        if (requests.pending[index] === 0) this.#complete(index);
        continue;
      }
      const writes = operation === OPERATION_WRITE || operation === OPERATION_DISCARD;
      if (
        writes &&
        (this.#writes.overlaps(lba, sectors) ||
          requests.overlapsBlocked(lba, sectors, requests.serial[index]!))
      ) {
        requests.unlink(LIST_QUEUED, index);
        requests.state[index] = REQUEST_BLOCKED;
        requests.insertSorted(LIST_BLOCKED, index);
        continue;
      }
      this.#issue(nowMs, index, lba, sectors, path);
      return true;
    }
  }

  /** Makes a command of the next part of a request. */
  #issue(nowMs: number, index: number, lba: number, sectors: number, path: Path): void {
    const requests = this.#requests;
    const commands = this.#commands;
    const operation = requests.operation[index]!;
    let kind = KIND_READ;
    if (operation === OPERATION_WRITE) kind = KIND_WRITE;
    else if (operation === OPERATION_DISCARD) kind = KIND_DISCARD;
    else if (operation === OPERATION_FLUSH && requests.stage[index] === 0) kind = KIND_FLUSH;
    else if (operation !== OPERATION_READ) kind = KIND_IDENTIFY;
    const slot = commands.take(kind, index, lba, sectors);
    commands.payloadAt[slot] = requests.payloadAt[index]! + requests.issued[index]! * SECTOR_BYTES;
    commands.startedMs[slot] = nowMs;
    if (kind === KIND_DISCARD) commands.block[slot] = this.#frames.takeBlock(lba, sectors);
    if (kind === KIND_WRITE || kind === KIND_DISCARD) this.#writes.add(slot, lba, sectors);
    this.counters.commands++;
    requests.issued[index] = requests.issued[index]! + sectors;
    requests.pending[index]!++;
    if (requests.issued[index] === requests.sectors[index]) {
      requests.unlink(LIST_QUEUED, index);
      requests.state[index] = REQUEST_ISSUED;
    }
    this.#launch(nowMs, slot, path, kind <= KIND_WRITE ? sectors : 1);
  }

  /** Sends a command that stands in no list: the next copy of its tag, over a path. */
  #launch(nowMs: number, slot: number, path: Path, piece: number): void {
    const commands = this.#commands;
    commands.piece[slot] = piece;
    const tag = commands.nextCopyTag(slot);
    if (commands.copies[slot] === 1) {
      commands.firstPath[slot] = path.index;
      commands.firstSentMs[slot] = nowMs;
    }
    commands.path[slot] = path.index;
    commands.sentMs[slot] = nowMs;
    commands.state[slot] = COMMAND_FLYING;
    commands.held[slot]!++;
    commands.append(path.index, slot);
    if (commands.kind[slot]! < KIND_PROBE) path.flying++;
    path.sent(nowMs);
    const through = this.#session.interfaceOf(path.interfaceIndex);
    this.#frames.writeCommand(commands, slot, tag, path, through, this.#flushes.command);
  }

  /** Blocked requests whose next part overlaps nothing any more go back into the queue. */
  #unblock(): void {
    this.#unblockDue = false;
    const requests = this.#requests;
    let index = requests.head(LIST_BLOCKED);
    while (index !== NONE) {
      const next = requests.next(index);
      const lba = requests.lba[index]! + requests.issued[index]!;
      const rest = requests.sectors[index]! - requests.issued[index]!;
      // The smallest part that can be sent: more is looked at when it is.
      const sectors = requests.operation[index] === OPERATION_DISCARD
        ? Math.min(rest, DISCARD_SECTORS_MAX)
        : Math.min(rest, SECTORS_SMALL);
      if (
        !this.#writes.overlaps(lba, sectors) &&
        !requests.overlapsBlocked(lba, sectors, requests.serial[index]!)
      ) {
        requests.unlink(LIST_BLOCKED, index);
        requests.state[index] = REQUEST_QUEUED;
        requests.insertSorted(LIST_QUEUED, index);
      }
      index = next;
    }
  }

  /** When `handleTimeout` is due; Infinity when there is nothing to wait for. */
  pollTimeout(): number {
    const session = this.#session;
    let dueMs = Math.min(session.nextDueMs(), this.#deadCheckMs);
    for (let i = 0; i < session.paths.length; i++) {
      const slot = this.#commands.head(i);
      if (slot === NONE) continue;
      const lostAtMs = session.paths[i]!.lostAtMs(this.#commands.sentMs[slot]!);
      if (lostAtMs < dueMs) dueMs = lostAtMs;
    }
    if (this.#requests.head(LIST_BLOCKED) !== NONE) {
      dueMs = Math.min(dueMs, this.#writes.nextExpiryMs());
    }
    return dueMs;
  }

  /** Does what `pollTimeout` waited for; harmless at any other time. */
  handleTimeout(nowMs: number): void {
    const session = this.#session;
    for (const path of session.paths) this.#expire(nowMs, path);
    if (session.nextDueMs() <= nowMs) this.#controlDue = true;
    if (this.#writes.expire(nowMs)) this.#unblockDue = true;
    if (this.#deadCheckMs <= nowMs) this.#checkDead(nowMs);
  }

  /** Finds the lost frames of a path; they stand in the order in which they were sent. */
  #expire(nowMs: number, path: Path): void {
    const commands = this.#commands;
    // One timeout concerns all that is overdue by it: it is doubled only afterwards.
    let timedOut = false;
    for (;;) {
      const slot = commands.head(path.index);
      if (slot === NONE) break;
      const sentMs = commands.sentMs[slot]!;
      if (path.lostAtMs(sentMs) > nowMs) break;
      const passed = sentMs < path.answeredSentMs;
      commands.unlink(path.index, slot);
      if (commands.held[slot] !== 0) {
        // It has not even left.
        commands.sentMs[slot] = nowMs;
        commands.append(path.index, slot);
        continue;
      }
      if (commands.kind[slot] === KIND_LARGE_PROBE) {
        path.largeFailed(nowMs);
        this.#end(nowMs, slot, NONE, RESULT_TIMEOUT);
        continue;
      }
      const sectors = commands.largePiece(slot);
      const small = path.sectors <= SECTORS_SMALL;
      if (passed) path.lostOne(nowMs, sentMs, sectors);
      else path.lostInTimeout(nowMs, sectors);
      if (!small && path.sectors <= SECTORS_SMALL) {
        this.#session.tell({ kind: "frames-small", path });
      }
      timedOut ||= !passed;
      if (commands.kind[slot] === KIND_PROBE) {
        path.probeFailed(nowMs);
        this.#end(nowMs, slot, NONE, RESULT_TIMEOUT);
      } else {
        path.flying--;
        this.#lost(nowMs, slot);
      }
    }
    if (timedOut && path.timedOut(nowMs) && path.state === PATH_UP) this.#losePath(nowMs, path);
  }

  /** A command, in no list, has to be sent again, unless it has waited for too long. */
  #lost(nowMs: number, slot: number): void {
    const commands = this.#commands;
    if (nowMs - commands.startedMs[slot]! >= this.#settings.deadAfterMs) {
      this.#end(nowMs, slot, NONE, RESULT_TIMEOUT);
      return;
    }
    commands.state[slot] = COMMAND_READY;
    commands.append(commands.readyList, slot);
  }

  #losePath(nowMs: number, path: Path): void {
    const commands = this.#commands;
    path.lose(nowMs);
    this.#session.tell({ kind: "path-lost", path });
    for (let slot = commands.head(path.index); slot !== NONE; slot = commands.head(path.index)) {
      commands.unlink(path.index, slot);
      if (commands.kind[slot]! >= KIND_PROBE) this.#end(nowMs, slot, NONE, RESULT_TIMEOUT);
      else {
        path.flying--;
        this.#lost(nowMs, slot);
      }
    }
    if (!this.#session.anyUp()) this.#session.searchAgain(nowMs);
    this.#controlDue = true;
  }

  #deadCheckEveryMs(): number {
    return Math.min(DEAD_CHECK_MS, this.#settings.deadAfterMs / 4);
  }

  /** Ends what has waited for longer than `deadAfterMs`. */
  #checkDead(nowMs: number): void {
    const commands = this.#commands;
    const { deadAfterMs } = this.#settings;
    this.#deadCheckMs = nowMs + this.#deadCheckEveryMs();
    if (nowMs - this.#progressMs >= deadAfterMs) {
      // With a path that works it is the disk that hangs: the next request may fare better.
      if (!this.#session.anyUp()) {
        this.#dead = true;
        this.#session.tell({ kind: "dead" });
      }
      this.#failAll(nowMs, RESULT_TIMEOUT);
      return;
    }
    for (let slot = 0; slot < commands.size; slot++) {
      if (!this.#waits(slot)) continue;
      if (nowMs - commands.startedMs[slot]! < deadAfterMs) continue;
      this.#giveUp(nowMs, slot, RESULT_TIMEOUT);
    }
  }

  /** Whether a slot holds a command of a request that waits for an answer. */
  #waits(slot: number): boolean {
    const state = this.#commands.state[slot];
    return (state === COMMAND_READY || state === COMMAND_FLYING) &&
      this.#commands.request[slot] !== NO_REQUEST;
  }

  #giveUp(nowMs: number, slot: number, result: number): void {
    const commands = this.#commands;
    if (commands.state[slot] === COMMAND_FLYING) {
      const path = this.#session.paths[commands.path[slot]!]!;
      commands.unlink(path.index, slot);
      path.flying--;
    } else {
      commands.unlink(commands.readyList, slot);
    }
    this.#end(nowMs, slot, NONE, result);
  }

  #failAll(nowMs: number, result: number): void {
    const requests = this.#requests;
    for (const list of [LIST_BLOCKED, LIST_QUEUED]) {
      for (let index = requests.head(list); index !== NONE; index = requests.head(list)) {
        this.#failRest(index, result);
        if (requests.pending[index] === 0) this.#complete(index);
      }
    }
    for (let slot = 0; slot < this.#commands.size; slot++) {
      if (this.#waits(slot)) this.#giveUp(nowMs, slot, result);
    }
  }
}
