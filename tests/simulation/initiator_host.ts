// The initiator's host in the simulation: what a worker's loop does (frames out through a queue
// that may be held up, frames in, time), and a caller who reads, writes, flushes and discards at
// random and writes down what he saw.

import { Initiator } from "../../src/core/initiator/initiator.ts";
import { initiatorMemoryBytes, type InitiatorSettings } from "../../src/core/initiator/state.ts";
import {
  REQUEST_DISCARD,
  REQUEST_FLUSH,
  REQUEST_IDENTIFY,
  REQUEST_READ,
  REQUEST_WRITE,
} from "../../src/core/initiator/requests.ts";
import {
  describeResult,
  RESULT_BEYOND_END,
  RESULT_OK,
  RESULT_WRITES_LOST,
} from "../../src/core/initiator/results.ts";
import { SECTOR_BYTES } from "../../src/wire/ata.ts";
import { contentAt, putContent, TORN_CONTENT } from "./content.ts";
import { type History, ZERO_CONTENT } from "./history.ts";
import type { Wire } from "./network.ts";
import type { Clock, Random } from "./virtual_time.ts";

/** Largest request of the caller. */
export const REQUEST_SECTORS_MAX = 40;
const POISON = 0xee;

/** What is done to the rules that the initiator depends on, to show that it does. */
export interface Breakages {
  /** Answers are passed on as if they were to the latest command of their slot. */
  readonly forgetGeneration: boolean;
  /** Frames are called sent while they still wait in the queue. */
  readonly releaseEarly: boolean;
}

/** What the caller does. */
export interface Workload {
  readonly requests: number;
  readonly depth: number;
  /** The caller pauses for up to this long between requests. */
  readonly thinkMs: number;
  readonly sectorsMax: number;
  /** Only the first part of the disk, so that requests overlap. */
  readonly hotSectors: number;
  readonly writeShare: number;
  readonly flushShare: number;
  readonly discardShare: number;
}

interface Call {
  readonly operation: number;
  readonly lba: number;
  readonly sectors: number;
  readonly start: number;
  readonly startMs: number;
  /** Of a write or discard: its per-sector entries in the history. */
  readonly writes: { end: number; content: number }[];
}

/** The host. */
export class InitiatorHost {
  readonly initiator: Initiator;
  /** What went wrong first. */
  failure: string | undefined;
  /** Completions by result name. */
  readonly results = new Map<string, number>();
  /** Longest time a request took. */
  slowestMs = 0;
  /** Content that stable storage holds, asked at a flush's completion. */
  stableContents: () => Int32Array = () => new Int32Array(0);
  /** Whether the target promises that what it has answered is stable. */
  writesAreStable = false;

  readonly #clock: Clock;
  readonly #random: Random;
  readonly #history: History;
  readonly #workload: Workload;
  readonly #breakages: Breakages;
  readonly #wires: Wire[] = [];
  readonly #memory: Uint8Array;
  readonly #view: DataView;
  readonly #calls: (Call | undefined)[];
  /** Share of frames that are held up in the sending queue, and for how long at most. */
  readonly #held: number;
  readonly #heldMs: number;
  #sendFreeMs = 0;
  #submitted = 0;
  #resumeMs = 0;
  #wakeMs = Infinity;
  #content = 0;
  readonly #latestTag = new Map<number, number>();

  constructor(
    clock: Clock,
    random: Random,
    history: History,
    options: {
      shelf: number;
      slot: number;
      workload: Workload;
      breakages: Breakages;
      settings: Partial<InitiatorSettings>;
      held: number;
      heldMs: number;
    },
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#history = history;
    this.#workload = options.workload;
    this.#breakages = options.breakages;
    this.#held = options.held;
    this.#heldMs = options.heldMs;
    const { depth } = options.workload;
    this.#calls = new Array(depth).fill(undefined);
    const payloadBytes = depth * REQUEST_SECTORS_MAX * SECTOR_BYTES;
    this.#memory = new Uint8Array(payloadBytes + initiatorMemoryBytes(options.settings));
    this.#memory.fill(POISON, 0, payloadBytes);
    this.#view = new DataView(this.#memory.buffer);
    this.initiator = new Initiator({
      ...options.settings,
      shelf: options.shelf,
      slot: options.slot,
      memory: this.#memory,
      memoryAt: payloadBytes,
      session: random.below(8),
      seed: random.below(2 ** 31),
    });
  }

  /** Adds an interface on a wire. */
  join(wire: Wire, mac: Uint8Array, mtu: number): void {
    const index = this.#wires.length;
    this.#wires.push(wire);
    wire.joinInitiator((bytes) => {
      this.initiator.receive(this.#clock.nowMs, index, this.#garble(bytes), 0, bytes.length);
      this.turn();
    });
    this.initiator.setInterface(this.#clock.nowMs, index, mac, mtu);
  }

  /** Whether every request has been submitted and has ended. */
  get isDone(): boolean {
    return this.#submitted >= this.#workload.requests &&
      this.#calls.every((call) => call === undefined);
  }

  /** Requests that have not ended. */
  get open(): number {
    return this.#calls.filter((call) => call !== undefined).length;
  }

  /** One turn of the loop. */
  turn(): void {
    const now = this.#clock.nowMs;
    const { initiator } = this;
    for (;;) {
      if (initiator.pollTimeout() <= now) initiator.handleTimeout(now);
      this.#submit();
      while (initiator.pollTransmit(now)) this.#queue();
      let completed = false;
      while (initiator.pollCompletion()) {
        completed = true;
        this.#complete(initiator.completion.userTag, initiator.completion.result);
      }
      if (!completed) break;
    }
    let wakeMs = initiator.pollTimeout();
    if (this.#resumeMs > now && this.#submitted < this.#workload.requests) {
      wakeMs = Math.min(wakeMs, this.#resumeMs);
    }
    this.#wake(wakeMs);
  }

  /** Asks for a turn at a time, unless one is asked for already. */
  #wake(atMs: number): void {
    if (atMs >= this.#wakeMs || atMs === Infinity) return;
    this.#wakeMs = atMs;
    this.#clock.at(atMs, () => {
      if (this.#wakeMs !== atMs) return;
      this.#wakeMs = Infinity;
      this.turn();
    });
  }

  /** A frame goes through the interface's queue: its bytes are read when it leaves. */
  #queue(): void {
    const { tag, interfaceIndex, headerAt, headerBytes, payloadAt, payloadBytes } =
      this.initiator.frame;
    const leave = () => {
      // Some loops look again before they send, some do not.
      if (this.initiator.isWanted(tag) || this.#random.chance(0.5)) {
        const bytes = new Uint8Array(headerBytes + payloadBytes);
        bytes.set(this.#memory.subarray(headerAt, headerAt + headerBytes));
        bytes.set(this.#memory.subarray(payloadAt, payloadAt + payloadBytes), headerBytes);
        this.#wires[interfaceIndex]!.toTargets(bytes);
      }
      if (!this.#breakages.releaseEarly) this.initiator.handleSent(this.#clock.nowMs, tag);
    };
    if (this.#breakages.forgetGeneration) this.#latestTag.set(tag & 0x7ff, tag);
    if (this.#breakages.releaseEarly) this.initiator.handleSent(this.#clock.nowMs, tag);
    const now = this.#clock.nowMs;
    const holdMs = this.#random.chance(this.#held) ? this.#random.next() * this.#heldMs : 0;
    this.#sendFreeMs = Math.max(this.#sendFreeMs, now + holdMs);
    if (this.#sendFreeMs <= now) {
      leave();
      return;
    }
    this.#clock.at(this.#sendFreeMs, () => {
      leave();
      this.turn();
    });
  }

  #garble(bytes: Uint8Array): Uint8Array {
    if (!this.#breakages.forgetGeneration || bytes.length < 24) return bytes;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const latest = this.#latestTag.get(view.getUint32(20) & 0x7ff);
    if (latest === undefined) return bytes;
    const garbled = bytes.slice();
    new DataView(garbled.buffer).setInt32(20, latest);
    return garbled;
  }

  #submit(): void {
    const now = this.#clock.nowMs;
    while (this.#submitted < this.#workload.requests && this.#resumeMs <= now) {
      const index = this.#calls.indexOf(undefined);
      if (index < 0) return;
      this.#submitted++;
      this.#call(index);
      const { thinkMs } = this.#workload;
      if (thinkMs > 0) this.#resumeMs = now + this.#random.next() * thinkMs;
    }
  }

  #call(index: number): void {
    const random = this.#random;
    const { sectorsMax, hotSectors, writeShare, flushShare, discardShare } = this.#workload;
    let share = random.next();
    let operation = REQUEST_READ;
    if ((share -= writeShare) < 0) operation = REQUEST_WRITE;
    else if ((share -= flushShare) < 0) operation = REQUEST_FLUSH;
    else if ((share -= discardShare) < 0) operation = REQUEST_DISCARD;
    else if ((share -= 0.01) < 0) operation = REQUEST_IDENTIFY;
    const sectors = 1 + random.below(Math.min(sectorsMax, hotSectors, REQUEST_SECTORS_MAX));
    this.call(index, operation, random.below(hotSectors - sectors + 1), sectors);
  }

  /** Submits one request of the caller and writes it down. */
  call(index: number, operation: number, lba: number, sectors: number): void {
    const at = index * REQUEST_SECTORS_MAX * SECTOR_BYTES;
    const start = this.#history.next();
    const call: Call = {
      operation,
      lba,
      sectors,
      start,
      startMs: this.#clock.nowMs,
      writes: [],
    };
    this.#calls[index] = call;
    if (operation === REQUEST_WRITE || operation === REQUEST_DISCARD) {
      const content = operation === REQUEST_WRITE ? ++this.#content : ZERO_CONTENT;
      for (let i = 0; i < sectors; i++) {
        if (content !== ZERO_CONTENT) {
          putContent(this.#view, at + i * SECTOR_BYTES, lba + i, content);
        }
        call.writes.push(this.#history.write(lba + i, content, start));
      }
    }
    const unit = operation === REQUEST_FLUSH || operation === REQUEST_IDENTIFY;
    const { nowMs } = this.#clock;
    const taken = unit
      ? this.initiator.submit(nowMs, operation, 0, 0, at, index)
      : this.initiator.submit(nowMs, operation, lba, sectors, at, index);
    if (!taken) this.#fail("a request was refused though the table has room");
  }

  #complete(index: number, result: number): void {
    const call = this.#calls[index];
    if (call === undefined) {
      this.#fail(`a completion for ${index}, which is not open`);
      return;
    }
    this.#calls[index] = undefined;
    const end = this.#history.next();
    const { name } = describeResult(result);
    this.results.set(name, (this.results.get(name) ?? 0) + 1);
    this.slowestMs = Math.max(this.slowestMs, this.#clock.nowMs - call.startMs);
    const at = index * REQUEST_SECTORS_MAX * SECTOR_BYTES;
    if (call.operation === REQUEST_FLUSH) {
      if (result === RESULT_WRITES_LOST) this.#history.lossReported(call.start, end);
      if (result === RESULT_OK) {
        const wrong = this.#history.checkFlush(call.start, this.stableContents());
        if (wrong !== undefined) this.#fail(wrong);
      }
    } else if (call.operation === REQUEST_READ && result === RESULT_OK) {
      for (let i = 0; i < call.sectors; i++) {
        const content = contentAt(this.#view, at + i * SECTOR_BYTES, call.lba + i);
        if (content === TORN_CONTENT) {
          this.#fail(`sector ${call.lba + i} was read torn or not at all`);
        } else this.#history.read(call.lba + i, content, call.start, end);
      }
    } else if (call.writes.length > 0 && result === RESULT_OK) {
      for (const write of call.writes) write.end = end;
      if (this.writesAreStable) {
        const wrong = this.#history.checkFlush(this.#history.next(), this.stableContents());
        if (wrong !== undefined) this.#fail(wrong);
      }
    } else if (result === RESULT_BEYOND_END && call.lba + call.sectors <= this.#beyondEndFrom()) {
      this.#fail(`sectors ${call.lba} to ${call.lba + call.sectors} were called beyond the end`);
    }
    // Whatever still uses the memory shows.
    this.#memory.fill(POISON, at, at + call.sectors * SECTOR_BYTES);
  }

  #beyondEndFrom(): number {
    return this.initiator.sectors ?? Infinity;
  }

  #fail(what: string): void {
    this.failure ??= `${what} (at ${this.#clock.nowMs.toFixed(3)} ms)`;
  }
}
