// The job of a target thread: builds everything the loop needs, runs it until it is told to stop,
// then answers what has been received, and leaves nothing unsynced.

import { listInterfaces } from "../../../ffi/netlink.ts";
import { currentThread } from "../../../ffi/threads.ts";
import { clearEvent, POLLIN } from "../../../ffi/poll.ts";
import type { Clock, PollSet } from "../../../ffi/poll.ts";
import {
  TARGET_COUNT_KERNEL_DROPS,
  TARGET_COUNT_WAITS,
  TargetCounters,
} from "../../core/target/counters.ts";
import { TargetMeter } from "../../core/target/meter.ts";
import { TargetMetrics } from "../../core/target/metrics.ts";
import {
  CONTROL_PULSE,
  CONTROL_STOP,
  CONTROL_THREAD,
  CONTROL_WARY,
  TargetLoop,
} from "../../core/target/loop.ts";
import { TargetPatience } from "../../core/target/patience.ts";
import { DiskQueues } from "./disk_queues.ts";
import type { WorkerQueue } from "./disk_queues.ts";
import { ErrorReporter } from "./errors.ts";
import { ServedExports } from "./exports.ts";
import { ServedLinks } from "./links.ts";
import { LiveChanges } from "./live_changes.ts";
import type { RiskyExport, TargetJobConfig, TargetMessage } from "./messages.ts";
import { buildParts, inPlaceMax } from "./parts.ts";

/** Jumbo frames fit even where the MTU is raised while we serve. */
const MTU_MIN = 9000;
/** How often, at least, a thread that never sleeps looks at interfaces and blocked sockets. */
const LOOK_MS = 10;
/** How often sizes, counters of the kernel and withheld messages are looked at. */
const HOUSEKEEPING_MS = 1000;
const WATCH_STEP = 16;
/** How long a disk may take over the last commands before they are given up. */
const STOP_MS_MAX = 10_000;
/** For so long the requests that keep coming in are still answered after the word to stop. */
const STOP_RECEIVE_MS = 100;

/** Runs a target thread; see `startWorker`. */
export function runTarget(config: TargetJobConfig, post: (message: TargetMessage) => void): void {
  new TargetWorker(config, post).run();
}

/** A target thread's parts; `run` is its life, `turn` and `stop` are for who leads it step by step. */
export class TargetWorker {
  readonly #config: TargetJobConfig;
  readonly #post: (message: TargetMessage) => void;
  readonly #control: Int32Array;
  readonly #counters: TargetCounters;
  readonly #metrics: TargetMetrics;
  readonly #meter: TargetMeter;
  readonly #clock: Clock;
  readonly #poll: PollSet;
  readonly #queue: WorkerQueue;
  readonly #withoutUring: string | undefined;
  readonly #exports: ServedExports;
  readonly #links: ServedLinks;
  readonly #loop: TargetLoop;
  readonly #controlEntry: number;
  readonly #queueEntry: number;
  readonly #errors: ErrorReporter;
  readonly #changes: LiveChanges;
  /** The last wait was ended by a frame. */
  #lively = false;
  readonly #patience = new TargetPatience();
  #startMs = 0;

  constructor(config: TargetJobConfig, post: (message: TargetMessage) => void) {
    this.#config = config;
    this.#post = post;
    this.#control = new Int32Array(config.control);
    this.#counters = new TargetCounters(config.counters);
    this.#metrics = TargetMetrics.named(config.metrics, config.exports, config.interfaces);
    const present = listInterfaces();
    const mtuMax = present.filter(({ name }) => config.interfaces.includes(name))
      .reduce((most, { mtu }) => Math.max(most, mtu), MTU_MIN);
    const parts = buildParts(config, mtuMax);
    const { pool, commands, vectors, inPlace, files } = parts;
    this.#clock = parts.clock;
    this.#poll = parts.poll;
    this.#withoutUring = parts.withoutUring;
    this.#links = new ServedLinks(config, parts, this.#counters, post);
    const nameOf = this.#links.nameOf.bind(this.#links);
    this.#exports = new ServedExports(config, parts, post, nameOf);
    this.#exports.route(this.#links.list);
    this.#links.open(present);
    const { sources } = this.#exports;
    this.#errors = new ErrorReporter(
      (index) => this.#exports.configOf(index),
      (text) => post({ kind: "error", text }),
    );
    this.#queue = sources.length === 0 ? files : new DiskQueues(files, sources);
    this.#controlEntry = this.#poll.add(config.controlEvent, POLLIN);
    this.#queueEntry = this.#poll.add(this.#queue.event, POLLIN);
    this.#meter = new TargetMeter(this.#metrics, pool.count, this.#clock);
    this.#loop = new TargetLoop({
      ...{ pool, commands, vectors, inPlace },
      queue: this.#queue,
      links: this.#links.aided.links,
      exports: this.#exports.table,
      counters: this.#counters,
      meter: this.#meter,
      control: this.#control,
      onProposal: ({ target: { shelf, slot, proposal } }, word) => {
        post({ kind: "keep", shelf, slot, settings: proposal!, word });
      },
      // Without the ring each write is a system call in any case.
      inPlaceMax: this.#withoutUring === undefined ? inPlaceMax(config.crossingNs) : Infinity,
      onDiskError: (ex, operation, sector, code) => {
        this.#errors.report(ex, operation, sector, code, this.#clock.nowMs());
      },
    });
    this.#changes = new LiveChanges(config, parts, {
      ...{ exports: this.#exports, links: this.#links, loop: this.#loop, post },
      metrics: this.#metrics,
      onGone: (index) => this.#errors.forget(index),
    });
  }

  run(): void {
    Atomics.store(this.#control, CONTROL_THREAD, currentThread());
    for (const link of this.#links.aided.links) this.#loop.announce(link);
    for (const { settings: { shelf, slot } } of this.#exports.table.list) {
      this.#exports.postState(shelf, slot);
    }
    const { withoutRing } = this.#links;
    this.#post({ kind: "serving", withoutUring: this.#withoutUring, withoutRing });
    let nowMs = this.#clock.nowMs();
    this.#startMs = nowMs;
    let housekeepingMs = nowMs + HOUSEKEEPING_MS;
    let lookMs = nowMs + LOOK_MS;
    while (Atomics.load(this.#control, CONTROL_STOP) === 0) {
      const idle = this.#turn() === 0 && !this.#spin() && !this.#watch() &&
        !this.#awaitFrame();
      // What is late by a turn is not late.
      nowMs = idle ? this.#clock.nowMs() : this.#meter.nowMs;
      if (idle || nowMs >= lookMs) {
        if (idle) this.#counters.add(TARGET_COUNT_WAITS, 1);
        this.look(idle ? Math.max(0, housekeepingMs - nowMs) : 0);
        const beganMs = nowMs;
        nowMs = this.#clock.nowMs();
        if (idle) this.#patience.slept(nowMs - beganMs);
        lookMs = nowMs + LOOK_MS;
      }
      if (nowMs >= housekeepingMs) {
        housekeepingMs = nowMs + HOUSEKEEPING_MS;
        this.#keepHouse(nowMs);
        this.#noteStores();
      }
    }
    this.stop();
  }

  /** See `TargetLoop.busy`. */
  get busy(): boolean {
    return this.#loop.busy;
  }

  /** Does what can be done without waiting; see `TargetLoop.turn`. */
  turn(): number {
    for (const link of this.#links.list) link.readable = true;
    return this.#turn();
  }

  #turn(): number {
    const done = this.#loop.turn(true);
    if (this.#changes.settling) this.#changes.settle();
    return done;
  }

  /**
   * While frames flow and nothing else can come, sleeps for a little in the call that receives: a
   * crossing less than by way of ppoll(2).
   *
   * @returns Whether something came.
   */
  #awaitFrame(): boolean {
    const { list: links } = this.#links;
    const link = links[0];
    if (
      link === undefined || link.byRing || !this.#lively || links.length > 1 ||
      this.#exports.sources.length > 0 ||
      this.#loop.busy
    ) {
      return false;
    }
    this.#counters.add(TARGET_COUNT_WAITS, 1);
    link.readable = true;
    link.patient = true;
    this.#lively = this.#turn() > 0;
    return this.#lively;
  }

  /**
   * Looks at the rings for a little before it sleeps, which is dear, if frames have come so soon of
   * late.
   *
   * @returns Whether one has come.
   */
  #watch(): boolean {
    if (this.#exports.sources.length > 0 || this.#loop.busy) return false;
    const { list: links } = this.#links;
    const looks = this.#patience.looks();
    const step = links.length === 1 ? looks : WATCH_STEP;
    for (let done = 0; done < looks; done += step * Math.max(1, links.length)) {
      for (let i = 0; i < links.length; i++) {
        if (!links[i]!.byRing || !links[i]!.watch(step)) continue;
        links[i]!.readable = true;
        this.#patience.found();
        return true;
      }
    }
    return false;
  }

  /** With --poll: looks again and again for a while; true when something came. */
  #spin(): boolean {
    if (this.#config.pollUs === 0) return false;
    const untilMs = this.#clock.nowMs() + this.#config.pollUs / 1000;
    do {
      if (this.turn() > 0) return true;
    } while (this.#clock.nowMs() < untilMs);
    return false;
  }

  /**
   * Looks what has come or become possible, sleeping for so long until there is something: where
   * this thread sleeps while no frames flow (see `#awaitFrame`).
   */
  look(timeoutMs: number): void {
    const { sources } = this.#exports;
    this.#links.beginWait();
    this.#poll.replace(this.#queueEntry, this.#queue.inFlight > 0 ? this.#queue.event : -1);
    const waitMs = sources.length === 0
      ? timeoutMs
      : this.#exports.watchSources(this.#poll, timeoutMs);
    const found = this.#poll.wait(waitMs * 1000);
    for (const source of sources) source.advance();
    if (found === 0) return;
    if (this.#links.endWait()) this.#lively = true;
    if (this.#poll.found(this.#queueEntry) !== 0) {
      clearEvent(this.#queue.event);
      this.#loop.completed = true;
    }
    if (this.#poll.found(this.#controlEntry) !== 0) {
      clearEvent(this.#config.controlEvent);
      this.#changes.take();
    }
    this.#links.follow((link) => this.#loop.announce(link));
  }

  #keepHouse(nowMs: number): void {
    const { list, aided } = this.#links;
    list.forEach((link, i) => {
      const drops = link.takeDrops();
      this.#counters.add(TARGET_COUNT_KERNEL_DROPS, drops);
      this.#metrics.countOverflows(i, drops);
      this.#metrics.nameLink(i, link.name);
    });
    this.#exports.look(nowMs, (ex) => {
      for (const link of aided.links) this.#loop.announceExport(ex, link);
    });
    aided.capture?.write();
    this.#errors.flush(nowMs);
  }

  /** A file system that is frozen, or hangs, holds this up: it is a turn of its own for the stand-in. */
  #noteStores(): void {
    const control = this.#control;
    if (Atomics.load(control, CONTROL_WARY) !== 0 || !this.#exports.haveStored) return;
    Atomics.add(control, CONTROL_PULSE, 1);
    this.#exports.noteStores();
    Atomics.add(control, CONTROL_PULSE, 1);
  }

  /** Answers what has arrived, waits for the disks, syncs, closes. */
  stop(): void {
    const startMs = this.#clock.nowMs();
    for (const link of this.#links.list) link.readable = true;
    while (this.#clock.nowMs() < startMs + STOP_RECEIVE_MS && this.#loop.turn(true) > 0);
    while (this.#loop.busy && this.#clock.nowMs() < startMs + STOP_MS_MAX) {
      if (this.#loop.turn(false) === 0) this.look(100);
    }
    const abandoned = this.#queue.inFlight;
    const atRisk: RiskyExport[] = [];
    this.#loop.syncAll(({ settings: { shelf, slot }, stableMs }) => {
      const sinceMs = Math.max(this.#startMs, stableMs);
      atRisk.push({ shelf, slot, forMs: this.#clock.nowMs() - sinceMs });
    });
    this.#exports.finishSources(startMs + STOP_MS_MAX, atRisk, () => this.look(100));
    this.#keepHouse(Infinity);
    // Where all is stable, no disk hangs.
    if (atRisk.length === 0) this.#noteStores();
    this.#links.close();
    this.#queue.close();
    this.#post({ kind: "stopped", abandoned, atRisk });
  }
}
