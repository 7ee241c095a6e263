// The job of a target thread: builds everything the loop needs, runs it until it is told to stop,
// then answers what has been received, and leaves nothing unsynced.

import { Arena } from "../../../ffi/arena.ts";
import { SystemError } from "../../../ffi/errno.ts";
import { openFileQueue } from "../../../ffi/file_queue.ts";
import { LinkMonitor, listInterfaces, masterName } from "../../../ffi/netlink.ts";
import type { NetworkInterface } from "../../../ffi/netlink.ts";
import { clearEvent, Clock, POLLIN, POLLOUT, PollSet } from "../../../ffi/poll.ts";
import { SyncQueue } from "../../../ffi/sync_queue.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { formatMac } from "../../wire/ethernet.ts";
import { targetFilter } from "../../wire/filter.ts";
import { DiskQueues, sourceNumber } from "./disk_queues.ts";
import type { WorkerQueue } from "./disk_queues.ts";
import { TargetCommands } from "../../core/target/commands.ts";
import { FramePool } from "../../core/target/frames.ts";
import { BackingFile } from "./backing_file.ts";
import { FilesInPlace } from "./in_place.ts";
import {
  TARGET_COUNT_KERNEL_DROPS,
  TARGET_COUNT_WAITS,
  TargetCounters,
} from "../../core/target/counters.ts";
import { NbdSource, NbdSourceMemory } from "./nbd_source.ts";
import { ErrorReporter } from "./errors.ts";
import { segmentsWithin, TargetExport } from "../../core/target/export.ts";
import type { Link, TargetState } from "../../core/target/target.ts";
import { RECEIVE_BATCH, TargetLink } from "./link.ts";
import { type AidedTargetLinks, aidTargetLinks } from "./link_aids.ts";
import type { WireAids } from "../capture.ts";
import { CONTROL_STOP, TargetLoop } from "../../core/target/loop.ts";
import { frameCount, inPlaceMax, receiveBatch, ringSize, socketBytes } from "./sizes.ts";
import { explainSocketError } from "../socket_refusal.ts";
import { freshIncarnation } from "./export_config.ts";
import type { ExportConfig } from "./export_config.ts";
import { VectorTable } from "../../../ffi/iovec_table.ts";
import { ENODEV } from "../../../ffi/errno_numbers.ts";

/** Jumbo frames fit even where the MTU is raised while we serve. */
const MTU_MIN = 9000;
/** Frames taken at a time where an export goes around the page cache. */
const DIRECT_BATCH = 8;
/** How often, at least, a thread that never sleeps looks at interfaces and blocked sockets. */
const LOOK_MS = 10;
/** How often sizes, counters of the kernel and withheld messages are looked at. */
const HOUSEKEEPING_MS = 1000;
/** Sleeps that would rather have been looks at a ring; a look takes some nanoseconds. */
const SHORT_SLEEP_MS = 0.04;
const PATIENCE_MIN = 256;
const PATIENCE_MAX = 3072;
const WATCH_STEP = 16;
/** How long a disk may take over the last commands before they are given up. */
const STOP_MS_MAX = 10_000;
/** For so long the requests that keep coming in are still answered after the word to stop. */
const STOP_RECEIVE_MS = 100;

/** What a target thread is started with. */
export interface TargetJobConfig {
  /** Names of the interfaces to serve on. */
  readonly interfaces: readonly string[];
  readonly exports: readonly ExportConfig[];
  /** Requests that one initiator may send without an answer. */
  readonly buffers: number;
  /** MACs that may speak to the exports; empty for all. */
  readonly macs: readonly Uint8Array[];
  /** Whether io_uring may be used. */
  readonly uring: boolean;
  /** Whether frames may come by a ring of shared memory. */
  readonly ring: boolean;
  /** What a crossing into the kernel costs, in nanoseconds; see `measureCrossingNs`. */
  readonly crossingNs: number;
  /** Microseconds to spin before sleeping. */
  readonly pollUs: number;
  /** Bytes of the files that may stay mapped. */
  readonly mapBytes: number;
  /** What helps to find a fault; undefined for none. */
  readonly aids?: WireAids | undefined;
  /** An eventfd; when it is signalled and `control[CONTROL_STOP]` is 1, the job ends. */
  readonly controlEvent: number;
  /** `CONTROL_WORDS` of 32 bits. */
  readonly control: SharedArrayBuffer;
  /** From `TargetCounters.allocate`. */
  readonly counters: SharedArrayBuffer;
}

/** What a target thread posts. */
export type TargetMessage =
  /** It serves; `withoutUring` and `withoutRing` say why what was wanted is not used, if it is not. */
  | {
    readonly kind: "serving";
    readonly withoutUring: string | undefined;
    readonly withoutRing: string | undefined;
  }
  | { readonly kind: "resized"; readonly shelf: number; readonly slot: number; sectors: number }
  | {
    readonly kind: "link";
    readonly name: string;
    /** `port`: it has become one of a bridge or bond, `master`, which gets its frames. */
    readonly state: "up" | "down" | "gone" | "port";
    readonly master: string | undefined;
    readonly mtu: number;
    readonly sectors: number;
  }
  /** The interface has another name, and is served as before. */
  | { readonly kind: "renamed"; readonly name: string; readonly before: string }
  | { readonly kind: "error"; readonly text: string }
  /** An NBD server was lost, or is there again; the text says more. */
  | {
    readonly kind: "source";
    readonly shelf: number;
    readonly slot: number;
    readonly state: "away" | "back";
    readonly text: string;
  }
  /** An initiator has switched the write cache of an export. */
  | {
    readonly kind: "write-cache";
    readonly shelf: number;
    readonly slot: number;
    readonly on: boolean;
    readonly mac: string;
    readonly interface: string;
  }
  /** What another needs to answer questions for an export while its disk hangs. */
  | {
    readonly kind: "state";
    readonly shelf: number;
    readonly slot: number;
    readonly state: TargetState;
  }
  /** A disk does not answer, or does so again. */
  | {
    readonly kind: "silence";
    readonly shelf: number;
    readonly slot: number;
    readonly path: string;
    readonly silent: boolean;
    /** For how long it has been, or had been. */
    readonly ms: number;
  }
  /** The end: commands that a disk never finished, and exports that may have lost writes. */
  | {
    readonly kind: "stopped";
    readonly abandoned: number;
    readonly atRisk: readonly RiskyExport[];
  };

/** An export whose last flush failed. */
export interface RiskyExport {
  readonly shelf: number;
  readonly slot: number;
  /** What was written in the last so many milliseconds may be lost; undefined when that is unknown. */
  readonly forMs: number | undefined;
}

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
  readonly #pool: FramePool;
  readonly #commands: TargetCommands;
  readonly #clock: Clock;
  readonly #queue: WorkerQueue;
  readonly #withoutUring: string | undefined;
  readonly #exports: TargetExport[];
  /** Those of the exports that have one. */
  readonly #sources: NbdSource[] = [];
  readonly #links: TargetLink[];
  /** The same, as the loop has them. */
  readonly #aided: AidedTargetLinks;
  readonly #loop: TargetLoop;
  readonly #poll: PollSet;
  readonly #controlEntry: number;
  readonly #queueEntry: number;
  readonly #monitor = new LinkMonitor();
  readonly #monitorEntry: number;
  readonly #errors: ErrorReporter;
  /** The last wait was ended by a frame. */
  #lively = false;
  /** Looks at a ring before it sleeps. */
  #patience = 0;
  #startMs = 0;

  constructor(config: TargetJobConfig, post: (message: TargetMessage) => void) {
    this.#config = config;
    this.#post = post;
    this.#control = new Int32Array(config.control);
    this.#counters = new TargetCounters(config.counters);
    const present = listInterfaces();
    const served = config.interfaces.map((name) => present.find((link) => link.name === name));
    const mtuMax = served.reduce((mtu, link) => Math.max(mtu, link?.mtu ?? 0), MTU_MIN);
    const direct = config.exports.some((ex) => ex.directFd >= 0);
    const { arena, built } = buildTables(config, mtuMax, direct);
    const { pool, commands, vectors } = built;
    const frames = pool.count;
    this.#pool = pool;
    this.#commands = commands;
    this.#clock = built.clock;
    this.#poll = built.poll;
    const opened = openFileQueue(config.uring, built.sync);
    this.#queue = built.sources.every((source) => source === undefined)
      ? opened.queue
      : new DiskQueues(opened.queue, this.#sources);
    this.#withoutUring = opened.withoutUring;
    if (direct) this.#queue.registerBuffer(arena, pool.memoryAt, pool.memoryBytes);
    this.#queue.registerFiles(
      config.exports.flatMap(({ fd, directFd }) => [fd, directFd].filter((fd) => fd >= 0)),
    );
    this.#queue.allowBlocked(frames);
    this.#errors = new ErrorReporter(config.exports, (text) => post({ kind: "error", text }));
    // A disk that hangs leaves frames for questions that need none.
    const heldByEach = Math.floor(
      (frames - RECEIVE_BATCH * config.interfaces.length) / config.exports.length,
    );
    const segments = segmentsWithin(config.mapBytes, config.exports.length);
    this.#exports = config.exports.map((ex, index) => {
      const source = this.#openSource(built.sources[index], ex, index);
      return new TargetExport(
        index,
        source === undefined ? ex : { ...ex, fd: sourceNumber(this.#sources.indexOf(source)) },
        {
          backing: source ?? new BackingFile(ex, segments),
          ...{ frames, heldMax: heldByEach, segments },
          buffers: config.buffers,
          macs: config.macs,
          onChange: () => this.#postState(ex.shelf, ex.slot),
          onCacheSwitch: (mac, link, on) => {
            const { shelf, slot } = ex;
            const by = { mac: formatMac(mac), interface: this.#nameOf(link) };
            this.#post({ kind: "write-cache", shelf, slot, on, ...by });
          },
        },
      );
    });
    this.#controlEntry = this.#poll.add(config.controlEvent, POLLIN);
    this.#monitorEntry = this.#poll.add(this.#monitor.fd, POLLIN);
    this.#queueEntry = this.#poll.add(this.#queue.event, POLLIN);
    this.#links = built.links;
    this.#links.forEach((link, i) => {
      try {
        link.update(served[i]);
      } catch (error) {
        throw explainSocketError(error);
      }
      link.pollEntry = this.#poll.add(link.fd, POLLIN);
    });
    this.#aided = aidTargetLinks(this.#links, config.aids, {
      ...{ pool, commands, counters: this.#counters },
      tell: (text) => post({ kind: "error", text }),
    });
    this.#loop = new TargetLoop({
      ...{ pool, commands, vectors },
      queue: this.#queue,
      inPlace: built.inPlace,
      links: this.#aided.links,
      exports: this.#exports,
      counters: this.#counters,
      clock: this.#clock,
      control: this.#control,
      // Without the ring each write is a system call in any case.
      inPlaceMax: this.#withoutUring === undefined ? inPlaceMax(config.crossingNs) : Infinity,
      onDiskError: (ex, operation, sector, code) => {
        this.#errors.report(ex, operation, sector, code, this.#clock.nowMs());
      },
    });
  }

  #postState(shelf: number, slot: number): void {
    for (const { target } of this.#exports) {
      if (target.shelf !== shelf || target.slot !== slot) continue;
      this.#post({ kind: "state", shelf, slot, state: target.state });
    }
  }

  #nameOf(link: Link): string {
    const number = this.#aided.links.findIndex((mine) => mine === link);
    return this.#links[number]?.name ?? "an interface";
  }

  #openSource(
    memory: NbdSourceMemory | undefined,
    ex: ExportConfig,
    index: number,
  ): NbdSource | undefined {
    if (memory === undefined || ex.source === undefined) return undefined;
    const { shelf, slot, path, source: origin } = ex;
    const source = new NbdSource(memory, {
      ...{ pool: this.#pool, commands: this.#commands, clock: this.#clock, origin },
      pollEntry: this.#poll.add(-1, POLLIN),
      listener: (state, text, lost) => {
        this.#exports[index]!.sourceAway = state === "away";
        // Initiators that know the incarnation learn so that writes they had not flushed are gone.
        if (lost) {
          this.#exports[index]!.drive.incarnation = freshIncarnation();
          this.#postState(shelf, slot);
        }
        const loss = lost
          ? `; what it answered and had not flushed may be lost, as the next flush says`
          : "";
        this.#post({ ...{ kind: "source", shelf, slot, state }, text: `"${path}" ${text}${loss}` });
      },
    });
    this.#sources.push(source);
    return source;
  }

  run(): void {
    for (const link of this.#aided.links) this.#loop.announce(link);
    for (const { settings: { shelf, slot } } of this.#exports) this.#postState(shelf, slot);
    const withoutRing = this.#links.find((link) => link.withoutRing !== undefined)?.withoutRing;
    this.#post({ kind: "serving", withoutUring: this.#withoutUring, withoutRing });
    let nowMs = this.#clock.nowMs();
    this.#startMs = nowMs;
    let housekeepingMs = nowMs + HOUSEKEEPING_MS;
    let lookMs = nowMs + LOOK_MS;
    while (Atomics.load(this.#control, CONTROL_STOP) === 0) {
      const idle = this.#loop.turn(true) === 0 && !this.#spin() && !this.#watch() &&
        !this.#awaitFrame();
      nowMs = this.#clock.nowMs();
      if (idle || nowMs >= lookMs) {
        if (idle) this.#counters.add(TARGET_COUNT_WAITS, 1);
        this.look(idle ? Math.max(0, housekeepingMs - nowMs) : 0);
        const beganMs = nowMs;
        nowMs = this.#clock.nowMs();
        if (idle) this.#patience = nextPatience(this.#patience, nowMs - beganMs);
        lookMs = nowMs + LOOK_MS;
      }
      if (nowMs >= housekeepingMs) {
        housekeepingMs = nowMs + HOUSEKEEPING_MS;
        this.#keepHouse(nowMs);
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
    for (const link of this.#links) link.readable = true;
    return this.#loop.turn(true);
  }

  /**
   * While frames flow and nothing else can come, sleeps for a little in the call that receives: a
   * crossing less than by way of ppoll(2).
   *
   * @returns Whether something came.
   */
  #awaitFrame(): boolean {
    const link = this.#links[0]!;
    if (
      link.byRing || !this.#lively || this.#links.length > 1 || this.#sources.length > 0 ||
      this.#loop.busy
    ) {
      return false;
    }
    this.#counters.add(TARGET_COUNT_WAITS, 1);
    link.readable = true;
    link.patient = true;
    this.#lively = this.#loop.turn(true) > 0;
    return this.#lively;
  }

  /**
   * Looks at the rings for a little before it sleeps, which is dear, if frames have come so soon of
   * late.
   *
   * @returns Whether one has come.
   */
  #watch(): boolean {
    if (this.#patience === 0 || this.#sources.length > 0 || this.#loop.busy) return false;
    const links = this.#links;
    const looks = links.length === 1 ? this.#patience : WATCH_STEP;
    for (let done = 0; done < this.#patience; done += looks) {
      for (let i = 0; i < links.length; i++) {
        if (!links[i]!.byRing || !links[i]!.watch(looks)) continue;
        links[i]!.readable = true;
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
    for (const link of this.#links) {
      const wanted = link.blocked ? POLLOUT : link.starved ? 0 : POLLIN;
      // An error is told of whether it is wanted or not, for as long as nobody receives.
      this.#poll.replace(link.pollEntry, wanted === 0 ? -1 : link.fd);
      this.#poll.want(link.pollEntry, wanted);
    }
    this.#poll.replace(this.#queueEntry, this.#queue.inFlight > 0 ? this.#queue.event : -1);
    const waitMs = this.#sources.length === 0 ? timeoutMs : this.#watchSources(timeoutMs);
    const found = this.#poll.wait(waitMs * 1000);
    for (const source of this.#sources) source.advance();
    if (found === 0) return;
    for (const link of this.#links) {
      if (this.#poll.found(link.pollEntry) === 0) continue;
      link.readable = true;
      link.blocked = false;
      this.#lively = true;
    }
    if (this.#poll.found(this.#queueEntry) !== 0) {
      clearEvent(this.#queue.event);
      this.#loop.completed = true;
    }
    if (this.#poll.found(this.#controlEntry) !== 0) clearEvent(this.#config.controlEvent);
    if (this.#poll.found(this.#monitorEntry) !== 0) {
      this.#monitor.follow(this.#links, (number, link) => this.#follow(this.#links[number]!, link));
    }
  }

  /** Asks for news of the sources; returns how long to wait for them at most. */
  #watchSources(timeoutMs: number): number {
    let waitMs = timeoutMs;
    const nowMs = this.#clock.nowMs();
    for (const source of this.#sources) {
      this.#poll.replace(source.pollEntry, source.fd);
      this.#poll.want(source.pollEntry, source.events);
      waitMs = Math.min(waitMs, Math.max(0, source.dueMs - nowMs));
    }
    return waitMs;
  }

  /** Takes over what netlink tells of the served interfaces. */
  #follow(link: TargetLink, now: NetworkInterface | undefined): void {
    const { name, running, mtu, port } = link;
    const news = this.#update(link, now);
    if (link.name !== name) this.#post({ kind: "renamed", name: link.name, before: name });
    if (news) this.#loop.announce(this.#aided.links[this.#links.indexOf(link)]!);
    if (!news && running === link.running && mtu === link.mtu && port === link.port) return;
    const up = link.port ? "port" : link.running ? "up" : "down";
    this.#post({
      kind: "link",
      name: link.name,
      state: now === undefined ? "gone" : up,
      master: now === undefined ? undefined : masterName(now),
      mtu: link.mtu,
      sectors: link.sectors,
    });
  }

  /** See `TargetLink.update`; an interface that cannot be had is none. */
  #update(link: TargetLink, now: NetworkInterface | undefined): boolean {
    try {
      return link.update(now);
    } catch (error) {
      link.update(undefined);
      // Gone again before it was looked at: that change follows.
      if (error instanceof SystemError && error.code === ENODEV) return false;
      const reason = error instanceof Error ? error.message : String(error);
      this.#post({ kind: "error", text: `${link.name} is not served: ${reason}` });
      return false;
    }
  }

  /** Flushes what the servers of sources have in their caches. */
  #finishSources(untilMs: number, atRisk: RiskyExport[]): void {
    for (const source of this.#sources) source.finish();
    while (this.#sources.some((source) => source.finishing) && this.#clock.nowMs() < untilMs) {
      this.look(100);
    }
    this.#exports.forEach(({ backing, settings }, i) => {
      if (!backing.atRisk) return;
      atRisk.push({ shelf: settings.shelf, slot: settings.slot, forMs: undefined });
      const name = formatAddress(settings.shelf, settings.slot);
      const text = `${name}: "${this.#config.exports[i]!.path}" could not be flushed at the end`;
      this.#post({ kind: "error", text });
    });
  }

  #keepHouse(nowMs: number): void {
    for (const link of this.#links) this.#counters.add(TARGET_COUNT_KERNEL_DROPS, link.takeDrops());
    for (const ex of this.#exports) {
      if (!ex.refreshSize()) continue;
      const { shelf, slot } = ex.settings;
      this.#post({ kind: "resized", shelf, slot, sectors: ex.drive.sectors });
      this.#postState(shelf, slot);
      for (const link of this.#aided.links) {
        if (link.running) this.#loop.announceExport(ex, link);
      }
    }
    this.#aided.capture?.write();
    this.#errors.flush(nowMs);
    for (const ex of this.#exports) this.#listen(ex, nowMs);
  }

  /** Tells of a disk for which commands wait, and which has finished none. */
  #listen(ex: TargetExport, nowMs: number): void {
    const news = ex.listen(nowMs);
    if (news === undefined) return;
    const { shelf, slot } = ex.settings;
    const { path } = this.#config.exports[ex.index]!;
    this.#post({ kind: "silence", shelf, slot, path, ...news });
  }

  /** Answers what has arrived, waits for the disks, syncs, closes. */
  stop(): void {
    const startMs = this.#clock.nowMs();
    for (const link of this.#links) link.readable = true;
    while (this.#clock.nowMs() < startMs + STOP_RECEIVE_MS && this.#loop.turn(true) > 0);
    while (this.#loop.busy && this.#clock.nowMs() < startMs + STOP_MS_MAX) {
      if (this.#loop.turn(false) === 0) this.look(100);
    }
    const abandoned = this.#queue.inFlight;
    const atRisk: RiskyExport[] = [];
    this.#loop.syncAll(({ settings: { shelf, slot }, stableMs }) => {
      const sinceMs = stableMs === 0 ? this.#startMs : stableMs;
      atRisk.push({ shelf, slot, forMs: this.#clock.nowMs() - sinceMs });
    });
    this.#finishSources(startMs + STOP_MS_MAX, atRisk);
    this.#keepHouse(Infinity);
    for (const link of this.#links) link.close();
    this.#aided.capture?.close();
    this.#monitor.close();
    this.#queue.close();
    this.#post({ kind: "stopped", abandoned, atRisk });
  }
}

/** What the thread has in its arena, and with it. */
function buildTables(config: TargetJobConfig, mtuMax: number, direct: boolean) {
  const { interfaces, exports } = config;
  const frames = frameCount(config, mtuMax);
  const commands = new TargetCommands(frames);
  const filter = targetFilter(exports);
  // Submitting to a disk takes microseconds each: the first answers should not wait for the last.
  const batch = direct ? DIRECT_BATCH : receiveBatch(config.crossingNs);
  const ring = config.ring ? ringSize(config) : undefined;
  const sources = exports.filter((ex) => ex.source !== undefined).length;
  return Arena.fit((arena) => {
    const pool = new FramePool(arena, frames, mtuMax, direct ? 4096 : 512);
    const vectors = new VectorTable(arena, frames);
    const bufferBytes = socketBytes(config, pool.frameBytes);
    return {
      ...{ pool, commands, vectors },
      clock: new Clock(arena),
      // The control event, the interfaces' news and the queue.
      poll: new PollSet(arena, 3 + interfaces.length + sources),
      inPlace: new FilesInPlace(arena, pool, vectors),
      sync: new SyncQueue(arena, frames + exports.length, (at) => vectors.pointerAt(at)),
      sources: exports.map(({ source }) =>
        source === undefined ? undefined : new NbdSourceMemory(arena, pool, source)
      ),
      links: interfaces.map((name) =>
        new TargetLink(name, { arena, pool, commands, batch, filter, bufferBytes, ring })
      ),
    };
  });
}

/**
 * How many looks at a ring are worth taking before the next sleep: more and more after short ones,
 * soon none after long ones.
 */
function nextPatience(patience: number, sleptMs: number): number {
  return sleptMs < SHORT_SLEEP_MS
    ? Math.min(PATIENCE_MAX, Math.max(PATIENCE_MIN, 2 * patience))
    : patience <= PATIENCE_MIN
    ? 0
    : patience >>> 1;
}
