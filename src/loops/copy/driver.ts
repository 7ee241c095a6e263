// One copy, from the first contact to the last flush:
//
// 1. Wait until every remote end has shown its disk; compare sizes; make room in a local file.
// 2. A copy that goes on where one stopped: prove that the destination holds what it held then, and
//    that the source begins with the same. Nothing is written, nor cut off, before that.
// 3. Copy (pump.ts). Every few seconds, and every 128 MiB, what is there is flushed, and only then
//    told: a copy that is killed goes on at what was told last, and a disk writes while the network
//    brings more. At the end everything is flushed.
// 4. To verify: read the source again, then the destination, and compare their checksums.
//
// An interruption or a failure lets operations in flight end, flushes what is there, and tells
// where to go on.

import { SyncQueue } from "../../../ffi/sync_queue.ts";
import type { Arena } from "../../../ffi/arena.ts";
import { fileStatus, freeBytes, truncateFile } from "../../../ffi/files.ts";
import { clearEvent, POLLIN } from "../../../ffi/poll.ts";
import { REQUEST_IDENTIFY } from "../../core/initiator/requests.ts";
import type { InitiatorEvent } from "../../core/initiator/session.ts";
import { NONE } from "../../core/tables.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import { discardsAreZero } from "../../wire/identify.ts";
import { Checksum, CHECKSUM_SEGMENT_BYTES } from "./checksum.ts";
import {
  type CopyConfig,
  type CopyEndConfig,
  type CopyMessage,
  type DiskMark,
  PHASE_CONNECTING,
  PHASE_COPYING,
  PHASE_FLUSHING,
  PHASE_PROVING,
  PHASE_READING_AGAIN,
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
import { FailureTally } from "../initiator/failure_tally.ts";
import { initiatorJob } from "../initiator/job.ts";
import type { InitiatorDriver, InitiatorLoop } from "../initiator/loop.ts";

const PHASE_READY = 6;
const PHASE_OVER = 7;

const FLUSH_TAG = PUMP_TAGS;
const IDENTIFY_TAG = PUMP_TAGS + 1;
/** The flush of what is told while the copy goes on. */
const STABLE_TAG = PUMP_TAGS + 2;
const TAGS = PUMP_TAGS + 3;
/** After an interruption, operations in flight have so long to end, and so long the last flush. */
const DRAIN_MS = 3000;
/** The pump is told so often how much the network carries at once. */
const PACE_EVERY_MS = 20;
/** Bytes that are flushed while more come, so that the end does not wait for a disk to take all. */
const FLUSH_BYTES = 128 * 2 ** 20;
/** The main thread has nothing to wake this one by when it lets it go. */
const READY_LOOK_MS = 1;
/** Chunks on their way beside those in the windows: some are at the local end. */
const CHUNKS_BESIDE = 4;

/** What the driver needs in the loop's arena. */
function copyMemory(arena: Arena) {
  return {
    pump: new CopyPump(arena),
    identifyAt: arena.allocate(2 * SECTOR_BYTES),
    /** For the end that is a file, or for both, where io_uring may not be used. */
    queues: [new SyncQueue(arena, TAGS), new SyncQueue(arena, TAGS)] as const,
  };
}

/** The driver. */
class CopyDriver implements InitiatorDriver, CopyOutcome {
  readonly #loop: InitiatorLoop<ReturnType<typeof copyMemory>>;
  readonly #config: CopyConfig;
  readonly #post: (message: CopyMessage) => void;
  readonly #pump: CopyPump;
  readonly #identifyAt: number;
  readonly #remotes: (RemoteEnd | undefined)[];
  readonly #files: FileEnd[] = [];
  /** What tells of each file's completions; `NONE` where they come at once. */
  readonly #fileEntries: number[] = [];
  #source: CopyEnd | undefined;
  #destination: CopyEnd | undefined;
  #phase = PHASE_CONNECTING;
  #connectUntilMs: number;
  #identifying = 0;
  #discards: boolean[];
  #checksum: Checksum;
  /** Of what an earlier run has copied, or of what is read again. */
  #second: Checksum;
  /** The end that `#second` is taken of. */
  #secondOf: CopyEnd | undefined;
  readonly #failures = new FailureTally();
  readonly #go: Int32Array;
  #total = Infinity;
  #failure: CopyFailure | undefined;
  #stopped = false;
  #drainUntilMs = Infinity;
  #flushing = false;
  #flushed = false;
  #verified = false;
  #mustVerify: boolean;
  #sourceReadAgain = false;
  /** A flush has failed, or writes are lost: nothing more is stable until it has been read back. */
  #doubtful = false;
  /** What is being flushed to be told; undefined: nothing. */
  #flushingStable: { readonly done: number; readonly crc32: number } | undefined;
  #stable = 0;
  #tellAtMs = Infinity;
  #paceAtMs = 0;
  #done = 0;
  #startedMs = 0;
  #endedMs = 0;
  #sum = "";

  constructor(
    loop: InitiatorLoop<ReturnType<typeof copyMemory>>,
    config: CopyConfig,
    post: (message: CopyMessage) => void,
  ) {
    this.#loop = loop;
    this.#config = config;
    this.#post = post;
    this.#pump = loop.memory.pump;
    this.#identifyAt = loop.memory.identifyAt;
    this.#remotes = loop.initiators.map(() => undefined);
    this.#discards = loop.initiators.map(() => false);
    // What is told of has a checksum even where nobody wants to see one.
    const unsummed = config.checksum === "none" && config.tellEveryMs === Infinity;
    this.#checksum = this.#second = this.#newChecksum(unsummed ? "none" : undefined);
    this.#mustVerify = config.verify;
    this.#go = new Int32Array(config.go);
    this.#connectUntilMs = loop.clock.nowMs() + config.connectMs;
    this.#setPhase(PHASE_CONNECTING);
  }

  turn(nowMs: number): boolean {
    for (const file of this.#files) file.turn(nowMs);
    for (let i = 0; i < this.#files.length; i++) {
      const entry = this.#fileEntries[i]!;
      if (entry !== NONE && this.#loop.found(entry) !== 0) clearEvent(this.#files[i]!.event);
    }
    if (this.#phase === PHASE_CONNECTING) this.#connect(nowMs);
    else if (this.#phase !== PHASE_OVER) this.#move(nowMs);
    for (const file of this.#files) file.turn(nowMs);
    return this.#phase === PHASE_OVER;
  }

  wakeAtMs(): number {
    let wakeMs = this.#phase === PHASE_CONNECTING ? this.#connectUntilMs : this.#drainUntilMs;
    if (this.#phase === PHASE_READY) wakeMs = this.#loop.clock.nowMs() + READY_LOOK_MS;
    // The flush ended after this turn had looked.
    if (this.#phase === PHASE_FLUSHING && !this.#flushing) wakeMs = 0;
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

  event(_nowMs: number, disk: number, event: InitiatorEvent): void {
    if (this.#failures.take(this.#loop, disk, event)) return;
    const text = describeEvent(this.#loop, disk, event);
    if (text !== undefined) this.#post({ kind: "note", text });
  }

  linkChanged(text: string | undefined): void {
    if (text !== undefined) this.#post({ kind: "note", text });
  }

  stop(nowMs: number): void {
    this.#stopped = true;
    this.#drainUntilMs = nowMs + DRAIN_MS;
    this.#pump.stop();
  }

  succeeded(tag: number, bytes: number): void {
    if (tag === STABLE_TAG) this.#tellStable();
    else if (tag !== FLUSH_TAG) this.#pump.succeeded(tag, bytes);
    else {
      this.#flushing = false;
      this.#flushed = true;
    }
  }

  failed(tag: number, failure: CopyFailure): void {
    if (tag !== FLUSH_TAG && tag !== STABLE_TAG) {
      this.#pump.failed(tag, failure);
      return;
    }
    if (tag === FLUSH_TAG) this.#flushing = false;
    else this.#flushingStable = undefined;
    const readable = this.#destination?.inOrder === false;
    const verifiable = readable && !this.#stopped && this.#failure === undefined;
    // A failed write-back is told of once, and its data are gone: the next flush would succeed.
    this.#doubtful = true;
    if (failure.kind === "lost" && verifiable) {
      // Reading back shows whether everything is there all the same.
      this.#post({ kind: "note", text: `${failure.text}: reading everything back` });
      this.#mustVerify = true;
      if (tag === FLUSH_TAG) this.#flushed = true;
    } else {
      this.#failure ??= failure;
      this.#pump.stop();
    }
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
      nowMs: () => this.#loop.clock.nowMs(),
      tags: TAGS,
      uring: this.#config.uring,
      spare: this.#loop.memory.queues[isSource ? 0 : 1],
    });
    this.#files.push(file);
    this.#fileEntries.push(file.event < 0 ? NONE : this.#loop.watch(file.event, POLLIN));
    return file;
  }

  #begin(nowMs: number): void {
    const source = this.#source!;
    const { sourceOffset, destinationOffset, before } = this.#config;
    const there = source.bytes === undefined ? Infinity : source.bytes - sourceOffset;
    this.#total = this.#config.bytes ?? there;
    const room = (this.#destination!.bytes ?? Infinity) - destinationOffset;
    if (there < 0 || (this.#config.bytes ?? 0) > there) {
      this.#fail("usage", `${source.name} has only ${source.bytes} bytes`);
    } else if (this.#total < Infinity && this.#total > room) {
      this.#fail(
        "usage",
        `${this.#destination!.name} has room for ${Math.max(0, room)} bytes, ` +
          `but ${this.#total} would be copied: --length says how many`,
      );
    } else this.#compareDisks();
    this.#lookForRoom();
    if (this.#failure !== undefined) return this.#finish(nowMs);
    this.#loop.counters.set(
      INITIATOR_COUNT_BYTES_TOTAL,
      this.#total === Infinity ? 0 : this.#total,
    );
    if (before === undefined || before.done === 0) this.#getReady();
    else this.#prove(nowMs, this.#destination!, this.#config.destination, destinationOffset);
  }

  /** A resumed copy is one of the same disks. */
  #compareDisks(): void {
    const { before } = this.#config;
    this.#loop.initiators.forEach(({ shelf, slot }, i) => {
      const [then, now] = [before?.disks[i], this.#markOf(i)];
      if (then === undefined) return;
      const name = formatAddress(shelf, slot);
      const differs = (what: string, a: unknown, b: unknown) =>
        this.#fail(
          "changed",
          `${name} is another disk than before: its ${what} was ${a}, now ${b}`,
        );
      if (then.serial !== now.serial) {
        differs("serial number", `"${then.serial}"`, `"${now.serial}"`);
      } else if (then.model !== now.model) differs("model", `"${then.model}"`, `"${now.model}"`);
      else if (then.bytes !== now.bytes) differs("size", `${then.bytes} bytes`, now.bytes);
    });
  }

  /** Whether a file may find no room for what is to come. */
  #lookForRoom(): void {
    const { destination, destinationOffset, truncate, sparse, before } = this.#config;
    if (destination.disk !== undefined || destination.kind !== "file") return;
    if (this.#failure !== undefined || this.#total === Infinity) return;
    const wanted = this.#total - (before?.done ?? 0);
    const kept = truncate ? destinationOffset + (before?.done ?? 0) : 0;
    // Blocks that the file has already are written again, or cut off.
    const reused = Math.max(0, fileStatus(destination.fd).allocatedBytes - kept);
    const free = freeBytes(destination.fd);
    if (!sparse && wanted > reused + free.atMost) {
      const room = `has room for ${reused + free.atMost} bytes`;
      this.#fail(
        "local",
        `The file system of ${destination.name} ${room}, but ${wanted} would be copied`,
      );
    } else if (wanted > reused + free.forAll) {
      const room = `has room for ${reused + free.forAll} bytes of the ${wanted} to be copied`;
      const text =
        `The file system of ${destination.name} ${room}: it is enough only if the others are zeros`;
      this.#post({ kind: "note", text });
    }
  }

  /** Sums up what an end holds of what was copied before. */
  #prove(nowMs: number, end: CopyEnd, config: CopyEndConfig, offset: number): void {
    const { done } = this.#config.before!;
    this.#secondOf = end;
    this.#second = this.#newChecksum();
    this.#setPhase(PHASE_PROVING);
    // A file may end before: what is missing reads as zeros, as the copy has left them out.
    const isFile = config.disk === undefined && config.kind === "file";
    const bytes = isFile ? Math.min(done, Math.max(0, fileStatus(config.fd).bytes - offset)) : done;
    if (bytes === 0) return this.#proved(nowMs);
    this.#sumUp(end, offset, bytes);
  }

  #proved(nowMs: number): void {
    const { before, source, sourceOffset, trustSource } = this.#config;
    const { done, crc32 } = before!;
    const sum = this.#second;
    const isDestination = this.#secondOf === this.#destination;
    if (isDestination) sum.updateZeros(done - sum.bytes);
    if (sum.bytes !== done || sum.crc !== crc32) {
      const { name } = this.#secondOf!;
      this.#fail(
        "changed",
        isDestination
          ? `${name} does not hold any more what was copied to it: without --resume all is copied`
          : `${name} is another by now, or was changed: without --resume all is copied`,
      );
      return this.#finish(nowMs);
    }
    if (isDestination) {
      this.#checksum = sum;
      // A stream has to be read up to there in any case.
      if (!trustSource || this.#source!.inOrder) {
        return this.#prove(nowMs, this.#source!, source, sourceOffset);
      }
    }
    this.#getReady();
  }

  /** Tells that it is ready, and waits until that is remembered. */
  #getReady(): void {
    this.#setPhase(PHASE_READY);
    this.#post({ kind: "ready", disks: this.#loop.initiators.map((_, i) => this.#markOf(i)) });
  }

  #copy(nowMs: number): void {
    const { sourceOffset, destinationOffset, before, sparse, tellEveryMs } = this.#config;
    const resumeAt = before?.done ?? 0;
    this.#startedMs = nowMs;
    this.#stable = resumeAt;
    this.#tellAtMs = nowMs + tellEveryMs;
    this.#setPhase(PHASE_COPYING);
    this.#pump.start({
      source: this.#source!,
      sourceOffset: sourceOffset + resumeAt,
      sink: this.#destination!,
      sinkOffset: destinationOffset + resumeAt,
      bytes: this.#total - resumeAt,
      sparse,
      checksum: this.#checksum,
      // A file that was there is cut only when the disk has shown that it gives something.
      begins: () => this.#truncate(destinationOffset + resumeAt),
    });
  }

  #markOf(disk: number): DiskMark {
    const { serial, model, sectors } = this.#loop.initiators[disk]!.identity!;
    return { serial, model, bytes: sectors * SECTOR_BYTES };
  }

  #move(nowMs: number): void {
    if (this.#phase === PHASE_READY) {
      if (this.#stopped) return this.#finish(nowMs);
      if (Atomics.load(this.#go, 0) === 0) return;
      this.#copy(nowMs);
    }
    if (this.#phase === PHASE_FLUSHING) {
      if (this.#flushing && nowMs < this.#drainUntilMs) return;
      return this.#afterFlush(nowMs);
    }
    if (nowMs >= this.#paceAtMs) this.#pace(nowMs);
    this.#pump.turn();
    const copying = this.#phase === PHASE_COPYING;
    const position = this.#pump.position + (copying ? this.#config.before?.done ?? 0 : 0);
    this.#loop.counters.set(INITIATOR_COUNT_BYTES, position);
    if (copying) this.#flushToTell(nowMs, position);
    else if (this.#second.differsAt >= 0) this.#pump.stop();
    const failure = this.#pump.failure ?? this.#failure;
    if (failure !== undefined && this.#drainUntilMs === Infinity) {
      this.#drainUntilMs = nowMs + DRAIN_MS;
    }
    if (!this.#pump.over && nowMs < this.#drainUntilMs) return;
    if (copying) this.#done = position;
    this.#failure ??= failure;
    if (this.#failure !== undefined || this.#stopped) {
      if (!copying) return this.#finish(nowMs);
      return this.#flush(nowMs);
    }
    if (this.#phase === PHASE_PROVING) return this.#proved(nowMs);
    if (copying) {
      this.#total = this.#done;
      this.#truncate(this.#config.destinationOffset + this.#done);
      return this.#flush(nowMs);
    }
    this.#readAgain(nowMs);
  }

  /** Now and then, while the copy goes on: flushes what is there, to tell of it. */
  #flushToTell(nowMs: number, position: number): void {
    const { tellEveryMs } = this.#config;
    if (nowMs < this.#tellAtMs && position - this.#stable < FLUSH_BYTES) return;
    if (this.#flushingStable !== undefined || this.#doubtful || tellEveryMs === Infinity) return;
    if (position === this.#stable || position % SECTOR_BYTES !== 0 || this.#stopped) return;
    this.#flushingStable = { done: position, crc32: this.#pump.positionCrc };
    this.#tellAtMs = nowMs + tellEveryMs;
    this.#destination!.flush(STABLE_TAG);
  }

  #tellStable(): void {
    const stable = this.#flushingStable;
    this.#flushingStable = undefined;
    if (stable === undefined || this.#doubtful || this.#phase !== PHASE_COPYING) return;
    this.#stable = stable.done;
    this.#post({ kind: "stable", ...stable });
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
    const verify = whole && this.#mustVerify && !this.#verified;
    if (this.#sum === "" && this.#config.checksum !== "none") this.#sum = this.#checksum.digest();
    if ((!whole || verify) && this.#flushed && !this.#doubtful) this.#tellEnd();
    if (!verify) return this.#finish(nowMs);
    const { sourceOffset, destinationOffset } = this.#config;
    const source = this.#source!;
    const [end, offset] = source.inOrder
      ? [this.#destination!, destinationOffset]
      : [source, sourceOffset];
    this.#sumAgain(end, offset);
  }

  /** An interruption, or what comes is only reading: so far it is on stable storage. */
  #tellEnd(): void {
    const { tellEveryMs } = this.#config;
    const known = this.#done % SECTOR_BYTES === 0 || this.#source!.bytes !== undefined;
    if (tellEveryMs === Infinity || !known || this.#done <= this.#stable) return;
    this.#stable = this.#done;
    this.#post({ kind: "stable", done: this.#done, crc32: this.#pump.positionCrc });
  }

  /** Reads an end again, to compare it with what was copied. */
  #sumAgain(end: CopyEnd, offset: number): void {
    this.#secondOf = end;
    this.#second = this.#newChecksum(undefined, this.#checksum.notes);
    this.#setPhase(end === this.#source ? PHASE_READING_AGAIN : PHASE_VERIFYING);
    this.#sumUp(end, offset, this.#total);
  }

  #sumUp(source: CopyEnd, sourceOffset: number, bytes: number): void {
    const checksum = this.#second;
    const nowhere = { sink: undefined, sinkOffset: 0 };
    this.#pump.start({ source, sourceOffset, ...nowhere, bytes, sparse: true, checksum });
  }

  #newChecksum(name?: "none", expected?: readonly (number | string)[]): Checksum {
    const { checksum } = this.#config;
    const sums = name ?? (checksum === "none" ? "crc32" : checksum);
    return new Checksum(sums, this.#loop.arena.bytes, expected);
  }

  /** One of the two ends was read again. */
  #readAgain(nowMs: number): void {
    const { differsAt, bytes, crc } = this.#second;
    const end = this.#secondOf!;
    const isSource = end === this.#source;
    const same = crc === this.#checksum.crc && this.#second.digest() === this.#checksum.digest();
    if (differsAt >= 0 || !same) {
      const from = differsAt >= 0 ? differsAt : bytes - bytes % CHECKSUM_SEGMENT_BYTES;
      const where = `first between byte ${from} and ${
        Math.min(this.#total, from + CHECKSUM_SEGMENT_BYTES)
      }`;
      this.#fail(
        "mismatch",
        isSource
          ? `${end.name} was changed while it was copied, ${where}: the copy is of no one moment`
          : `${end.name} is not equal to what was copied, ${where}`,
      );
      return this.#finish(nowMs);
    }
    if (isSource) {
      this.#sourceReadAgain = true;
      return this.#sumAgain(this.#destination!, this.#config.destinationOffset);
    }
    this.#verified = true;
    this.#doubtful = false;
    // What was read back has to outlive the target, too.
    return this.#flush(nowMs);
  }

  #fail(kind: CopyFailure["kind"], text: string): void {
    this.#failure ??= { kind, text };
  }

  /** A destination file that is new ends where the copy does, another one not before. */
  #truncate(bytes: number): void {
    const { destination, truncate } = this.#config;
    if (destination.disk !== undefined || destination.kind !== "file") return;
    if (truncate || fileStatus(destination.fd).bytes < bytes) truncateFile(destination.fd, bytes);
  }

  #finish(nowMs: number): void {
    this.#setPhase(PHASE_OVER);
    if (this.#endedMs === 0) this.#endedMs = nowMs;
    const failure = this.#failure;
    this.#post({
      kind: "copied",
      failure: failure && { ...failure, text: this.#failures.explain(failure.text) },
      stopped: this.#stopped,
      bytes: this.#done,
      flushed: this.#flushed && !this.#doubtful,
      verified: this.#verified,
      sourceReadAgain: this.#sourceReadAgain,
      zeroBytes: this.#pump.zeroBytes,
      checksum: this.#sum,
      seconds: this.#startedMs === 0 ? 0 : (this.#endedMs - this.#startedMs) / 1000,
    });
  }

  #setPhase(phase: number): void {
    this.#phase = phase;
    this.#loop.counters.set(INITIATOR_COUNT_PHASE, phase);
  }
}

/** The job. */
export const runCopyDriver = initiatorJob(copyMemory, CopyDriver);
