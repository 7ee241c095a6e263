// One copy, from the first contact to the last flush:
//
// 1. Wait until every remote end has shown its disk; compare sizes; make room in a local file.
// 2. A copy that goes on where one stopped: sum up again what is there, if it is at hand.
// 3. Copy (pump.ts), and flush the destination.
// 4. To verify: read the destination back, and compare its checksum with the source's.
//
// An interruption or a failure lets operations in flight end, flushes what is there, and tells
// where to go on.

import { truncateFile } from "../../../ffi/files.ts";
import { clearEvent, POLLIN } from "../../../ffi/poll.ts";
import { REQUEST_IDENTIFY } from "../../core/initiator/requests.ts";
import type { InitiatorEvent } from "../../core/initiator/session.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import { discardsAreZero } from "../../wire/identify.ts";
import { Checksum, CHECKSUM_SEGMENT_BYTES } from "./checksum.ts";
import {
  type CopyConfig,
  type CopyEndConfig,
  type CopyMessage,
  PHASE_CONNECTING,
  PHASE_COPYING,
  PHASE_FLUSHING,
  PHASE_SUMMING,
  PHASE_VERIFYING,
} from "./config.ts";
import { type CopyEnd, type CopyFailure, type CopyOutcome, RemoteEnd } from "./end.ts";
import { FileEnd } from "./file_end.ts";
import { COPY_CHUNK_BYTES, CopyPump, PUMP_TAGS } from "./pump.ts";
import {
  INITIATOR_COUNT_BYTES,
  INITIATOR_COUNT_BYTES_TOTAL,
  INITIATOR_COUNT_PHASE,
} from "../initiator/counters.ts";
import { describeEvent } from "../initiator/events.ts";
import type { InitiatorDriver, InitiatorLoop } from "../initiator/loop.ts";

const PHASE_OVER = 5;

const FLUSH_TAG = PUMP_TAGS;
const IDENTIFY_TAG = PUMP_TAGS + 1;
const TAGS = PUMP_TAGS + 2;
/** After an interruption, operations in flight have so long to end, and so long the last flush. */
const DRAIN_MS = 3000;
/** The pump is told so often how much the network carries at once. */
const PACE_EVERY_MS = 20;
/** Chunks on their way beside those in the windows: some are at the local end. */
const CHUNKS_BESIDE = 4;

/** The driver. */
export class CopyDriver implements InitiatorDriver, CopyOutcome {
  readonly #loop: InitiatorLoop;
  readonly #config: CopyConfig;
  readonly #post: (message: CopyMessage) => void;
  readonly #pump: CopyPump;
  readonly #identifyAt: number;
  readonly #remotes: (RemoteEnd | undefined)[];
  readonly #files: FileEnd[] = [];
  readonly #filePlaces: number[] = [];
  #source: CopyEnd | undefined;
  #destination: CopyEnd | undefined;
  #phase = PHASE_CONNECTING;
  #connectUntilMs: number;
  #identifying = 0;
  #discards: boolean[];
  #checksum: Checksum;
  #sumBefore: Checksum | undefined;
  #total = Infinity;
  #failure: CopyFailure | undefined;
  #stopped = false;
  #drainUntilMs = Infinity;
  #flushing = false;
  #flushed = false;
  #verified = false;
  #mustVerify: boolean;
  #paceAtMs = 0;
  #done = 0;
  #startedMs = 0;
  #endedMs = 0;
  #checksumFrom = 0;
  #sum = "";

  /** Arena bytes of a copy. */
  static readonly bytes = CopyPump.bytes + 2 * (FileEnd.bytes + SECTOR_BYTES) + 4096;

  constructor(loop: InitiatorLoop, config: CopyConfig, post: (message: CopyMessage) => void) {
    this.#loop = loop;
    this.#config = config;
    this.#post = post;
    this.#pump = new CopyPump(loop.arena);
    this.#identifyAt = loop.arena.allocate(loop.initiators.length * SECTOR_BYTES);
    this.#remotes = loop.initiators.map(() => undefined);
    this.#discards = loop.initiators.map(() => false);
    this.#checksum = new Checksum(config.checksum, loop.arena.bytes);
    this.#mustVerify = config.verify;
    this.#connectUntilMs = loop.clock.nowMs() + config.connectMs;
    this.#setPhase(PHASE_CONNECTING);
  }

  turn(nowMs: number): boolean {
    for (const file of this.#files) file.turn(nowMs);
    for (let i = 0; i < this.#files.length; i++) {
      if (this.#loop.found(this.#filePlaces[i]!) !== 0) clearEvent(this.#files[i]!.event);
    }
    if (this.#phase === PHASE_CONNECTING) this.#connect(nowMs);
    else if (this.#phase !== PHASE_OVER) this.#move(nowMs);
    for (const file of this.#files) file.turn(nowMs);
    return this.#phase === PHASE_OVER;
  }

  wakeAtMs(): number {
    let wakeMs = this.#phase === PHASE_CONNECTING ? this.#connectUntilMs : this.#drainUntilMs;
    for (const file of this.#files) wakeMs = Math.min(wakeMs, file.retryAtMs);
    return wakeMs;
  }

  complete(_nowMs: number, disk: number, userTag: number, result: number): void {
    if (userTag === IDENTIFY_TAG) {
      this.#identifying--;
      const at = this.#identifyAt + disk * SECTOR_BYTES;
      this.#discards[disk] = result === 0 && discardsAreZero(this.#loop.arena.bytes, at);
    } else this.#remotes[disk]!.complete(userTag, result);
  }

  linkChanged(text: string | undefined): void {
    if (text !== undefined) this.#post({ kind: "note", text });
  }

  event(_nowMs: number, disk: number, event: InitiatorEvent): void {
    const text = describeEvent(this.#loop, disk, event);
    if (text !== undefined) this.#post({ kind: "note", text });
  }

  stop(nowMs: number): void {
    this.#stopped = true;
    this.#drainUntilMs = nowMs + DRAIN_MS;
    this.#pump.stop();
  }

  succeeded(tag: number, bytes: number): void {
    if (tag !== FLUSH_TAG) this.#pump.succeeded(tag, bytes);
    else {
      this.#flushing = false;
      this.#flushed = true;
    }
  }

  failed(tag: number, failure: CopyFailure): void {
    if (tag !== FLUSH_TAG) {
      this.#pump.failed(tag, failure);
      return;
    }
    this.#flushing = false;
    const verifiable = this.#canReadBack() && !this.#stopped && this.#failure === undefined;
    if (failure.kind === "lost" && verifiable && this.#phase === PHASE_FLUSHING) {
      // Reading back shows whether everything is there all the same.
      this.#post({ kind: "note", text: `${failure.text}: reading everything back` });
      this.#mustVerify = true;
      this.#flushed = true;
    } else this.#failure ??= failure;
  }

  /** Waits for the remote disks, then for what they say of discards. */
  #connect(nowMs: number): void {
    if (this.#stopped) return this.#finish(nowMs);
    const initiators = this.#loop.initiators;
    const missing = initiators.find((initiator) => initiator.sectors === undefined);
    if (missing !== undefined) {
      if (nowMs < this.#connectUntilMs) return;
      const name = formatAddress(missing.shelf, missing.slot);
      this.#failure = { kind: "silent", text: `No answer from ${name}` };
      return this.#finish(nowMs);
    }
    if (this.#identifying === 0 && this.#source === undefined) {
      this.#source = this.#open(this.#config.source);
      initiators.forEach((initiator, disk) => {
        const at = this.#identifyAt + disk * SECTOR_BYTES;
        initiator.submit(nowMs, REQUEST_IDENTIFY, 0, 0, at, IDENTIFY_TAG);
        this.#identifying++;
      });
      this.#connectUntilMs = Infinity;
    }
    if (this.#identifying > 0) return;
    this.#destination = this.#open(this.#config.destination);
    this.#begin(nowMs);
  }

  #open(config: CopyEndConfig): CopyEnd {
    if (config.disk !== undefined) {
      const { arena, clock, initiators } = this.#loop;
      return this.#remotes[config.disk] = new RemoteEnd(initiators[config.disk]!, {
        memory: arena.bytes,
        outcome: this,
        nowMs: () => clock.nowMs(),
        tags: TAGS,
        zeroesByDiscard: this.#discards[config.disk]!,
      });
    }
    const isSource = config === this.#config.source;
    const zeroing = config.kind === "stream" || isSource
      ? "write"
      : this.#config.truncate
      ? "skip"
      : "try-discard";
    // A file that is written grows as it must.
    const bytes = !isSource && config.kind === "file" ? undefined : config.bytes;
    const file = new FileEnd({ ...config, bytes, zeroing }, {
      arena: this.#loop.arena,
      outcome: this,
      tags: TAGS,
      uring: this.#config.uring,
    });
    this.#files.push(file);
    this.#filePlaces.push(this.#loop.watch(file.event, POLLIN));
    return file;
  }

  #begin(nowMs: number): void {
    const source = this.#source!;
    const { sourceOffset, destinationOffset, resumeAt } = this.#config;
    this.#startedMs = nowMs;
    const there = source.bytes === undefined ? Infinity : source.bytes - sourceOffset;
    this.#total = this.#config.bytes ?? there;
    const room = (this.#destination!.bytes ?? Infinity) - destinationOffset;
    const problem = there < 0 || (this.#config.bytes ?? 0) > there
      ? `${source.name} has only ${source.bytes} bytes`
      : this.#total < Infinity && this.#total > room
      ? `${this.#destination!.name} has room for ${Math.max(0, room)} bytes, ` +
        `but ${this.#total} would be copied: --length says how many`
      : undefined;
    if (problem !== undefined) {
      this.#failure = { kind: "usage", text: problem };
      return this.#finish(nowMs);
    }
    this.#loop.counters.set(
      INITIATOR_COUNT_BYTES_TOTAL,
      this.#total === Infinity ? 0 : this.#total,
    );
    const serials = this.#loop.initiators.map(({ identity }) => identity!.serial);
    this.#post({ kind: "ready", serials, bytes: this.#total });
    this.#truncate(destinationOffset + resumeAt);
    const before = resumeAt === 0 ? undefined : this.#endAtHand();
    if (before !== undefined) {
      this.#setPhase(PHASE_SUMMING);
      this.#pump.start({
        ...before,
        sink: undefined,
        sinkOffset: 0,
        bytes: resumeAt,
        sparse: true,
        checksum: this.#checksum,
      });
      return;
    }
    this.#checksumFrom = resumeAt;
    this.#copy();
  }

  /** The local end, from which what has been copied before is summed up again. */
  #endAtHand(): { source: CopyEnd; sourceOffset: number } | undefined {
    const { source, destination, sourceOffset, destinationOffset } = this.#config;
    if (this.#config.checksum === "none" && this.#source!.inOrder === false) return undefined;
    if (source.disk === undefined) return { source: this.#source!, sourceOffset };
    if (destination.disk !== undefined || this.#destination!.inOrder) return undefined;
    return { source: this.#destination!, sourceOffset: destinationOffset };
  }

  #copy(): void {
    const { sourceOffset, destinationOffset, resumeAt, sparse } = this.#config;
    this.#setPhase(PHASE_COPYING);
    this.#pump.start({
      source: this.#source!,
      sourceOffset: sourceOffset + resumeAt,
      sink: this.#destination!,
      sinkOffset: destinationOffset + resumeAt,
      bytes: this.#total - resumeAt,
      sparse,
      checksum: this.#checksum,
    });
  }

  #move(nowMs: number): void {
    if (this.#phase === PHASE_FLUSHING) {
      if (this.#flushing && nowMs < this.#drainUntilMs) return;
      return this.#afterFlush(nowMs);
    }
    if (nowMs >= this.#paceAtMs) this.#pace(nowMs);
    this.#pump.turn();
    const { resumeAt } = this.#config;
    const copying = this.#phase === PHASE_COPYING;
    this.#loop.counters.set(INITIATOR_COUNT_BYTES, this.#pump.position + (copying ? resumeAt : 0));
    if (this.#checksum.differsAt >= 0) this.#pump.stop();
    const failure = this.#pump.failure;
    if (failure !== undefined && this.#drainUntilMs === Infinity) {
      this.#drainUntilMs = nowMs + DRAIN_MS;
    }
    if (!this.#pump.over && nowMs < this.#drainUntilMs) return;
    if (copying) this.#done = resumeAt + this.#pump.position;
    this.#failure ??= failure;
    if (this.#failure !== undefined || this.#stopped) {
      if (!copying) return this.#finish(nowMs);
      return this.#flush(nowMs);
    }
    if (this.#phase === PHASE_SUMMING) return this.#copy();
    if (copying) {
      this.#total = this.#done;
      this.#truncate(this.#config.destinationOffset + this.#done);
      return this.#flush(nowMs);
    }
    this.#verifyEnded(nowMs);
  }

  /** As many chunks as fill the windows twice. */
  #pace(nowMs: number): void {
    this.#paceAtMs = nowMs + PACE_EVERY_MS;
    let bytes = 0;
    for (const { paths } of this.#loop.initiators) {
      for (const path of paths) bytes += path.window * path.sectors * SECTOR_BYTES;
    }
    this.#pump.activeMax = CHUNKS_BESIDE + Math.ceil(2 * bytes / COPY_CHUNK_BYTES);
  }

  #flush(nowMs: number): void {
    this.#setPhase(PHASE_FLUSHING);
    this.#flushing = true;
    this.#flushed = false;
    if (this.#failure !== undefined || this.#stopped) this.#drainUntilMs = nowMs + DRAIN_MS;
    this.#destination!.flush(FLUSH_TAG);
  }

  #afterFlush(nowMs: number): void {
    this.#endedMs = nowMs;
    const whole = this.#failure === undefined && !this.#stopped;
    if (this.#sum === "") this.#sum = this.#checksum.digest();
    if (!whole || !this.#mustVerify || this.#verified) return this.#finish(nowMs);
    this.#sumBefore = this.#checksum;
    const { checksum, destinationOffset } = this.#config;
    const name = checksum === "none" ? "crc32" : checksum;
    this.#checksum = new Checksum(name, this.#loop.arena.bytes, this.#sumBefore.notes);
    this.#setPhase(PHASE_VERIFYING);
    this.#pump.start({
      source: this.#destination!,
      sourceOffset: destinationOffset + this.#checksumFrom,
      sink: undefined,
      sinkOffset: 0,
      bytes: this.#total - this.#checksumFrom,
      sparse: true,
      checksum: this.#checksum,
    });
  }

  #verifyEnded(nowMs: number): void {
    const name = this.#destination!.name;
    const { differsAt } = this.#checksum;
    if (differsAt >= 0 || this.#checksum.digest() !== this.#sum) {
      const from = this.#checksumFrom +
        (differsAt >= 0
          ? differsAt
          : this.#checksum.bytes - this.#checksum.bytes % CHECKSUM_SEGMENT_BYTES);
      const text = `${name} is not equal to what was copied, first between byte ${from} and ` +
        `${Math.min(this.#total, from + CHECKSUM_SEGMENT_BYTES)}`;
      this.#failure = { kind: "mismatch", text };
      return this.#finish(nowMs);
    }
    this.#verified = true;
    // What was read back has to outlive the target, too.
    return this.#flush(nowMs);
  }

  #canReadBack(): boolean {
    return this.#destination !== undefined && !this.#destination.inOrder;
  }

  /** A destination file that is new ends where the copy does. */
  #truncate(bytes: number): void {
    const { destination, truncate } = this.#config;
    if (truncate && destination.disk === undefined && destination.kind === "file") {
      truncateFile(destination.fd, bytes);
    }
  }

  #finish(nowMs: number): void {
    this.#setPhase(PHASE_OVER);
    if (this.#endedMs === 0) this.#endedMs = nowMs;
    this.#post({
      kind: "copied",
      failure: this.#failure,
      stopped: this.#stopped,
      bytes: this.#done,
      flushed: this.#flushed,
      verified: this.#verified,
      zeroBytes: this.#pump.zeroBytes,
      checksum: this.#sum,
      checksumFrom: this.#checksumFrom,
      seconds: this.#startedMs === 0 ? 0 : (this.#endedMs - this.#startedMs) / 1000,
    });
  }

  #setPhase(phase: number): void {
    this.#phase = phase;
    this.#loop.counters.set(INITIATOR_COUNT_PHASE, phase);
  }
}
