// One measurement of a remote disk, in fio's sense: `iodepth` requests of `bs` bytes are kept in
// flight until the time is over.
//
// With `verify`, what is written can be recognised (core/bench/pattern.ts): reads on the way are
// checked, and in the end every block that was written is read back and compared. A block is then
// never read and written at the same time, since either content would be right.

import type { Arena } from "../../../ffi/arena.ts";
import { REQUEST_FLUSH, REQUEST_READ, REQUEST_WRITE } from "../../core/initiator/requests.ts";
import { describeResult, RESULT_OK, RESULT_WRITES_LOST } from "../../core/initiator/results.ts";
import type { InitiatorEvent } from "../../core/initiator/session.ts";
import { patternDifference, writePattern } from "../../core/bench/pattern.ts";
import { LatencyHistogram, type LatencySummary } from "../../core/bench/latency_histogram.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import {
  INITIATOR_COUNT_BYTES,
  INITIATOR_COUNT_BYTES_TOTAL,
  INITIATOR_COUNT_PHASE,
  INITIATOR_COUNT_READ_BYTES,
  INITIATOR_COUNT_READS,
  INITIATOR_COUNT_WRITES,
  INITIATOR_COUNT_WRITTEN_BYTES,
} from "../initiator/counters.ts";
import { describeEvent } from "../initiator/events.ts";
import { FailureTally } from "../initiator/failure_tally.ts";
import { initiatorJob } from "../initiator/job.ts";
import type { InitiatorDriver, InitiatorLoop } from "../initiator/loop.ts";
import { FreeStack, NONE } from "../../core/tables.ts";

const BENCH_CONNECTING = 0;
export const BENCH_RUNNING = 1;
export const BENCH_FLUSHING = 2;
export const BENCH_VERIFYING = 3;
const BENCH_OVER = 4;

/** Blocks whose content can be remembered: 4 bytes each. */
const BLOCKS_VERIFIED_MAX = 8 * 2 ** 20;
/** How often another block is drawn when one is busy, before the next one is taken. */
const DRAWS_MAX = 8;
/** In `#generation`: a request to the block is in flight. */
const BUSY = 0x8000_0000;
const MISMATCHES_TOLD_MAX = 5;
const FLUSH_TAG = -1;
/** After Ctrl-C, requests in flight have so long to end. */
const DRAIN_MS = 2000;
/** The percentiles that fio prints. */
const PERCENTS = [1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99];

/** What to measure. */
export interface BenchConfig {
  readonly kind: "bench";
  readonly random: boolean;
  /** Percentage of reads: 100, 0, or between. */
  readonly readPercent: number;
  readonly blockBytes: number;
  readonly iodepth: number;
  readonly runtimeMs: number;
  readonly verify: boolean;
  readonly offsetBytes: number;
  /** Undefined: to the end of the disk. */
  readonly sizeBytes: number | undefined;
  readonly connectMs: number;
}

/** One direction. */
export interface BenchSide {
  readonly bytes: number;
  readonly latency: LatencySummary;
}

/** How a measurement ended. */
export interface BenchResult {
  readonly kind: "benched";
  readonly failure:
    | { readonly kind: "silent" | "refused" | "reserved" | "usage"; readonly text: string }
    | undefined;
  readonly stopped: boolean;
  readonly seconds: number;
  readonly read: BenchSide;
  readonly write: BenchSide;
  /** Blocks read back and compared; undefined when that was not asked for, or not done. */
  readonly verified: number | undefined;
  readonly mismatches: number;
  readonly serial: string;
  readonly model: string;
  readonly diskBytes: number;
}

/** What the thread tells. */
export type BenchMessage = { readonly kind: "note"; readonly text: string } | BenchResult;

/** What the driver needs in the loop's arena: the data of all requests. */
function benchMemory(arena: Arena, config: BenchConfig): number {
  return arena.allocate(config.iodepth * config.blockBytes, 4096);
}

/** The driver. */
class BenchDriver implements InitiatorDriver {
  readonly #loop: InitiatorLoop;
  readonly #config: BenchConfig;
  readonly #post: (message: BenchMessage) => void;
  readonly #memoryAt: number;
  readonly #words: Int32Array;
  readonly #blockSectors: number;
  // Of each request.
  readonly #free: FreeStack;
  readonly #block: Float64Array;
  readonly #operation: Uint8Array;
  readonly #startedMs: Float64Array;
  readonly #reads = new LatencyHistogram();
  readonly #writes = new LatencyHistogram();
  #readCount = 0;
  #writeCount = 0;
  readonly #run = Math.floor(Math.random() * 2 ** 31);
  #random = 88172645;
  /** With verify: how often each block was written. */
  #generation = new Uint32Array(0);
  #blocks = 0;
  #next = 0;
  #phase = BENCH_CONNECTING;
  readonly #connectUntilMs: number;
  #beganMs = 0;
  #untilMs = 0;
  #endedMs = 0;
  #stopped = false;
  #drainUntilMs = Infinity;
  #failure: BenchResult["failure"];
  readonly #failures = new FailureTally();
  #flushing = false;
  #toVerify = 0;
  #verified = 0;
  #mismatches = 0;
  #done = false;

  constructor(
    loop: InitiatorLoop<number>,
    config: BenchConfig,
    post: (message: BenchMessage) => void,
  ) {
    this.#loop = loop;
    this.#config = config;
    this.#post = post;
    this.#memoryAt = loop.memory;
    this.#words = loop.arena.i32;
    this.#blockSectors = config.blockBytes / SECTOR_BYTES;
    this.#free = new FreeStack(config.iodepth);
    this.#block = new Float64Array(config.iodepth);
    this.#operation = new Uint8Array(config.iodepth);
    this.#startedMs = new Float64Array(config.iodepth);
    this.#connectUntilMs = loop.clock.nowMs() + config.connectMs;
    this.#random ^= this.#run;
    for (let request = 0; request < config.iodepth; request++) this.#fill(request, 0, 0);
  }

  turn(nowMs: number): boolean {
    switch (this.#phase) {
      case BENCH_CONNECTING:
        this.#connect(nowMs);
        break;
      case BENCH_RUNNING:
        if (nowMs >= this.#untilMs || this.#stopped || this.#failure !== undefined) {
          this.#endedMs ||= nowMs;
          const idle = this.#free.count === this.#config.iodepth;
          if (idle || nowMs >= this.#drainUntilMs) this.#afterRun(nowMs);
        } else this.#issue(nowMs);
        this.#count(nowMs);
        break;
      case BENCH_FLUSHING:
        if (!this.#flushing) this.#afterFlush();
        break;
      case BENCH_VERIFYING:
        this.#verifyNext(nowMs);
        break;
    }
    // A user who interrupts the last steps does not want to wait for them.
    if (this.#stopped && this.#phase > BENCH_RUNNING) this.#phase = BENCH_OVER;
    if (this.#phase === BENCH_OVER && !this.#done) this.#finish(nowMs);
    return this.#done;
  }

  wakeAtMs(): number {
    return this.#phase === BENCH_CONNECTING
      ? this.#connectUntilMs
      : this.#phase === BENCH_RUNNING && this.#endedMs === 0
      ? this.#untilMs
      : this.#drainUntilMs;
  }

  stop(nowMs: number): void {
    this.#stopped = true;
    this.#drainUntilMs = nowMs + DRAIN_MS;
    if (this.#phase === BENCH_RUNNING) this.#endedMs ||= nowMs;
  }

  linkChanged(text: string | undefined): void {
    if (text !== undefined) this.#post({ kind: "note", text });
  }

  event(_nowMs: number, disk: number, event: InitiatorEvent): void {
    if (this.#failures.take(this.#loop, disk, event)) return;
    const text = describeEvent(this.#loop, disk, event);
    if (text !== undefined) this.#post({ kind: "note", text });
  }

  complete(_nowMs: number, _disk: number, userTag: number, result: number): void {
    if (userTag === FLUSH_TAG) {
      this.#flushing = false;
      if (result === RESULT_WRITES_LOST && this.#config.verify) {
        this.#post({ kind: "note", text: `${describeResult(result).words}: verifying tells` });
      } else if (result !== RESULT_OK) this.#fail(result);
      return;
    }
    const request = userTag;
    const block = this.#block[request]!;
    this.#free.release(request);
    if (this.#config.verify) this.#generation[block] = this.#generation[block]! & ~BUSY;
    if (result !== RESULT_OK) {
      this.#fail(result);
      return;
    }
    const read = this.#operation[request] === REQUEST_READ;
    if (this.#phase === BENCH_RUNNING) {
      const ns = (this.#loop.clock.nowMs() - this.#startedMs[request]!) * 1e6;
      if (read) {
        this.#readCount++;
        this.#reads.add(ns);
      } else {
        this.#writeCount++;
        this.#writes.add(ns);
      }
    } else this.#verified++;
    if (read && this.#config.verify && this.#generation[block] !== 0) this.#compare(request, block);
  }

  #connect(nowMs: number): void {
    const initiator = this.#loop.initiators[0]!;
    if (initiator.sectors === undefined) {
      const name = formatAddress(initiator.shelf, initiator.slot);
      if (nowMs >= this.#connectUntilMs) {
        this.#failure = { kind: "silent", text: `No answer from ${name}` };
      }
      if (this.#failure !== undefined || this.#stopped) this.#phase = BENCH_OVER;
      return;
    }
    const { offsetBytes, blockBytes, verify } = this.#config;
    const there = initiator.sectors * SECTOR_BYTES - offsetBytes;
    const size = this.#config.sizeBytes ?? there;
    this.#blocks = Math.floor(Math.min(size, there) / blockBytes);
    if (size > there || this.#blocks < 1) {
      const text = `The disk has ${initiator.sectors * SECTOR_BYTES} bytes: ` +
        "--offset and --size reach beyond its end, or it holds no block";
      this.#failure = { kind: "usage", text };
      this.#phase = BENCH_OVER;
      return;
    }
    if (verify) {
      if (this.#blocks > BLOCKS_VERIFIED_MAX) {
        this.#blocks = BLOCKS_VERIFIED_MAX;
        const text = `To remember every block, only the first ${this.#blocks} are used`;
        this.#post({ kind: "note", text });
      }
      this.#generation = new Uint32Array(this.#blocks);
    }
    this.#beganMs = nowMs;
    this.#untilMs = nowMs + this.#config.runtimeMs;
    this.#setPhase(BENCH_RUNNING);
    this.#loop.counters.set(INITIATOR_COUNT_BYTES_TOTAL, this.#config.runtimeMs);
    this.#issue(nowMs);
  }

  #issue(nowMs: number): void {
    while (this.#free.count > 0) {
      const block = this.#draw();
      if (block === NONE) return;
      const request = this.#free.take();
      const { readPercent } = this.#config;
      const read = readPercent === 100 || (readPercent > 0 && this.#below(100) < readPercent);
      this.#submit(nowMs, request, read ? REQUEST_READ : REQUEST_WRITE, block);
    }
  }

  #submit(nowMs: number, request: number, operation: number, block: number): void {
    const { offsetBytes, verify } = this.#config;
    const sector = offsetBytes / SECTOR_BYTES + block * this.#blockSectors;
    this.#block[request] = block;
    this.#operation[request] = operation;
    if (verify) {
      if (operation === REQUEST_WRITE) {
        this.#generation[block] = this.#generation[block]! + 1;
        this.#fill(request, sector, this.#generation[block]!);
      }
      this.#generation[block] = this.#generation[block]! | BUSY;
    }
    const at = this.#memoryAt + request * this.#config.blockBytes;
    this.#startedMs[request] = this.#loop.clock.nowMs();
    const initiator = this.#loop.initiators[0]!;
    if (!initiator.submit(nowMs, operation, sector, this.#blockSectors, at, request)) {
      throw new Error("More requests than the initiator has room for");
    }
  }

  /** The next block, or `NONE` when all that were looked at are busy. */
  #draw(): number {
    for (let i = 0; i < DRAWS_MAX; i++) {
      let block = this.#next;
      if (this.#config.random) block = this.#below(this.#blocks);
      else this.#next = block + 1 < this.#blocks ? block + 1 : 0;
      if (!this.#config.verify || (this.#generation[block]! & BUSY) === 0) return block;
    }
    return NONE;
  }

  #below(limit: number): number {
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    return Math.floor((x >>> 0) / 0x1_0000_0000 * limit);
  }

  #fill(request: number, sector: number, generation: number): void {
    const at = (this.#memoryAt + request * this.#config.blockBytes) >>> 2;
    for (let i = 0; i < this.#blockSectors; i++) {
      writePattern(this.#words, at + i * 128, sector + i, generation, this.#run);
    }
  }

  #compare(request: number, block: number): void {
    const at = (this.#memoryAt + request * this.#config.blockBytes) >>> 2;
    const first = this.#config.offsetBytes / SECTOR_BYTES + block * this.#blockSectors;
    const generation = this.#generation[block]! & ~BUSY;
    for (let i = 0; i < this.#blockSectors; i++) {
      const sector = first + i;
      const wrong = patternDifference(this.#words, at + i * 128, sector, generation, this.#run);
      if (wrong === undefined) continue;
      if (++this.#mismatches > MISMATCHES_TOLD_MAX) continue;
      this.#post({ kind: "note", text: `Sector ${sector} holds ${wrong}` });
    }
  }

  #afterRun(nowMs: number): void {
    if (this.#failure !== undefined || this.#stopped || this.#writeCount === 0) {
      this.#phase = BENCH_OVER;
      return;
    }
    this.#setPhase(BENCH_FLUSHING);
    this.#flushing = true;
    this.#loop.initiators[0]!.submit(nowMs, REQUEST_FLUSH, 0, 0, 0, FLUSH_TAG);
  }

  #afterFlush(): void {
    const verifies = this.#config.verify && this.#failure === undefined;
    this.#setPhase(verifies ? BENCH_VERIFYING : BENCH_OVER);
    this.#loop.counters.set(INITIATOR_COUNT_BYTES_TOTAL, this.#blocks);
  }

  /** Reads back what was written, in order. */
  #verifyNext(nowMs: number): void {
    while (this.#free.count > 0 && this.#toVerify < this.#blocks && this.#failure === undefined) {
      const block = this.#toVerify++;
      if (this.#generation[block] === 0) continue;
      this.#submit(nowMs, this.#free.take(), REQUEST_READ, block);
    }
    this.#loop.counters.set(INITIATOR_COUNT_BYTES, this.#toVerify);
    if (this.#free.count === this.#config.iodepth) this.#phase = BENCH_OVER;
  }

  #fail(result: number): void {
    const { name, words } = describeResult(result);
    const { shelf, slot } = this.#loop.initiators[0]!;
    const kind = name === "Timeout" ? "silent" : name === "Reserved" ? "reserved" : "refused";
    this.#failure ??= { kind, text: `${formatAddress(shelf, slot)}: ${words}` };
  }

  #count(nowMs: number): void {
    const { counters } = this.#loop;
    counters.set(INITIATOR_COUNT_BYTES, Math.min(nowMs, this.#untilMs) - this.#beganMs);
    counters.set(INITIATOR_COUNT_READS, this.#readCount);
    counters.set(INITIATOR_COUNT_WRITES, this.#writeCount);
    counters.set(INITIATOR_COUNT_READ_BYTES, this.#readCount * this.#config.blockBytes);
    counters.set(INITIATOR_COUNT_WRITTEN_BYTES, this.#writeCount * this.#config.blockBytes);
  }

  #finish(nowMs: number): void {
    this.#done = true;
    const failure = this.#failure;
    const initiator = this.#loop.initiators[0]!;
    const { blockBytes } = this.#config;
    const whole = this.#config.verify && this.#toVerify === this.#blocks && this.#blocks > 0;
    const seconds = this.#beganMs === 0 ? 0 : ((this.#endedMs || nowMs) - this.#beganMs) / 1000;
    this.#post({
      kind: "benched",
      failure: failure && { ...failure, text: this.#failures.explain(failure.text) },
      stopped: this.#stopped,
      seconds,
      read: {
        bytes: this.#readCount * blockBytes,
        latency: this.#reads.summary(PERCENTS),
      },
      write: {
        bytes: this.#writeCount * blockBytes,
        latency: this.#writes.summary(PERCENTS),
      },
      verified: whole ? this.#verified : undefined,
      mismatches: this.#mismatches,
      serial: initiator.identity?.serial ?? "",
      model: initiator.identity?.model ?? "",
      diskBytes: (initiator.sectors ?? 0) * SECTOR_BYTES,
    });
  }

  #setPhase(phase: number): void {
    this.#phase = phase;
    this.#loop.counters.set(INITIATOR_COUNT_PHASE, phase);
  }
}

/** The job. */
export const runBenchDriver = initiatorJob(benchMemory, BenchDriver);
