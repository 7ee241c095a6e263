// The threads of one `aoe serve`: started together, stopped together, their counters added up. While
// they run, exports and interfaces come, go and change, and the others are served on
// (loops/target/live_changes.ts).

import { giveBackFreed } from "../../../ffi/malloc.ts";
import { measureCrossingNs } from "../../../ffi/syscall_cost.ts";
import { listInterfaces, masterName } from "../../../ffi/netlink.ts";
import { formatAddress } from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import type { KeptSettings } from "../../core/target/kept_settings.ts";
import type { TargetMetrics } from "../../core/target/metrics.ts";
import type { WireAids } from "../../loops/capture.ts";
import type { RiskyExport, TargetMessage } from "../../loops/target/messages.ts";
import type { ExportConfig } from "../../loops/target/export_config.ts";
import { giveAddress, takeAddress } from "./addresses.ts";
import { closeExport } from "./open_file.ts";
import { RivalWatch } from "./rival_watch.ts";
import { LOOK_EVERY_MS, LOOK_IDLY_EVERY_MS } from "./stand_in.ts";
import { HeldUp, TargetThread } from "./thread.ts";
import type { TargetThreadConfig } from "./thread.ts";

/** When all is loaded, and when what is hot is compiled: half of what a target holds then is free. */
const TRIM_AFTER_MS = [1000, 10_000];

/** What all threads of a group share. */
export type TargetGroupOptions =
  & Omit<TargetThreadConfig, "aids" | "crossingNs" | "stores">
  & {
    /** Of each thread. */
    readonly aids: readonly WireAids[] | undefined;
    /** Number of threads; no more than exports are started. */
    readonly workers: number;
    /** Told of everything a thread posts, but its end, and of threads that are held up. */
    readonly onMessage: (message: TargetMessage) => void;
    /** Puts what is to be kept of an export onto stable storage; false when that cannot be had. */
    readonly keep?: ((address: Address, settings: KeptSettings) => Promise<boolean>) | undefined;
  };

/** What can be changed of an export that is served. */
export type ExportChanges = Partial<
  Pick<ExportConfig, "acl" | "interfaces" | "lengthBytes" | "readOnly">
>;

/** How an export went. */
export interface Removal {
  /**
   * Whether everything that was written is on stable storage: asked for by `drain`, and otherwise as
   * far as it is known. False: the disk has lost something.
   */
  readonly flushed: boolean;
}

/** Descriptors that a thread opens for itself: its loop's, Deno's, and some for as long as it starts. */
const FILES_OF_THREAD = 20;
/** … and for each export: page cache, O_DIRECT, and one that is looked at for a moment. */
const FILES_OF_EXPORT = 3;

/** Threads of a group: each has an export. */
export function threadCount(workers: number, exports: number): number {
  return Math.min(workers, exports);
}

/**
 * Deals exports out to so many threads, as many to each, neighbours on one disk as far as may be: they
 * write without a detour then, and a disk that hangs has fewer of others beside it.
 */
export function dealOut<T extends Pick<ExportConfig, "disk">>(
  exports: readonly T[],
  threads: number,
): T[][] {
  const disks = new Map<string | undefined, T[]>();
  for (const ex of exports) disks.set(ex.disk, [...disks.get(ex.disk) ?? [], ex]);
  const ordered = [...disks.values()].flat();
  return Array.from({ length: threads }, (_, i) => {
    const [from, to] = [i, i + 1].map((n) => Math.ceil(n * ordered.length / threads));
    return ordered.slice(from, to);
  });
}

/** Files that a group opens, a little more rather than less. */
export function filesOfGroup(workers: number, exports: number, interfaces: number): number {
  const threads = threadCount(workers, exports);
  return threads * (FILES_OF_THREAD + 2 * interfaces) + exports * FILES_OF_EXPORT + interfaces;
}

/** An export, and where it is. */
interface Placed {
  readonly thread: TargetThread;
  readonly index: number;
  readonly config: ExportConfig;
}

/** Running target threads. */
export class TargetGroup {
  readonly #options: TargetGroupOptions;
  readonly #crossingNs = measureCrossingNs();
  readonly #threads: TargetThread[] = [];
  /** Names of the interfaces, as they were asked for. */
  readonly #interfaces: string[];
  /** Those on their way out. */
  readonly #leaving = new Set<ExportConfig>();
  /** Files of these were opened to be read only. */
  readonly #openedReadOnly = new WeakSet<ExportConfig>();
  /** Addresses and paths of which writes were lost: whoever serves them again says so. */
  readonly #suspects = new Set<string>();
  #abandoned = 0;
  readonly #ended = Promise.withResolvers<void>();
  /** The last of the changes that are made one after the other. */
  #change: Promise<unknown> = Promise.resolve();
  #watch = setTimeout(() => this.#lookAtThreads(), LOOK_EVERY_MS);
  readonly #rivals = new RivalWatch(
    () => ({ exports: this.exports, interfaces: this.#interfaces }),
    (message) => this.#options.onMessage(message),
  );
  readonly #atRisk: RiskyExport[] = [];

  /**
   * Starts the threads, exports dealt out by `dealOut`; resolves when all of them serve. Without exports
   * there is no thread before the first is added.
   */
  static async start(options: TargetGroupOptions): Promise<TargetGroup> {
    const group = new TargetGroup(options);
    const count = threadCount(options.workers, options.exports.length);
    try {
      for (const exports of dealOut(options.exports, count)) {
        await group.#startThread(exports, count);
      }
    } catch (error) {
      await group.stop();
      throw error;
    }
    for (const ms of TRIM_AFTER_MS) Deno.unrefTimer(setTimeout(giveBackFreed, ms));
    // Who serves all the same, though others have the address, takes what it can.
    for (const ex of options.exports) group.#takeAddresses(ex, true);
    return group;
  }

  private constructor(options: TargetGroupOptions) {
    this.#options = options;
    this.#interfaces = [...options.interfaces];
    // Nobody has to ask.
    this.#ended.promise.catch(() => {});
  }

  /** Resolves once it has been stopped; rejects with the error of the first thread that failed. */
  ended(): Promise<void> {
    return this.#ended.promise;
  }

  /**
   * Tells the threads to stop and waits until they have.
   *
   * @returns Number of commands that a disk never finished.
   */
  async stop(): Promise<number> {
    for (const thread of this.#threads) thread.stop();
    await Promise.allSettled(this.#threads.map((thread) => thread.done));
    clearTimeout(this.#watch);
    this.#rivals.close();
    for (const ex of this.exports) this.#giveAddresses(ex);
    for (const thread of this.#threads) thread.close();
    this.#ended.resolve();
    return this.#abandoned;
  }

  /** After the end: exports whose last flush failed, so that written data may be lost. */
  get atRisk(): readonly RiskyExport[] {
    return this.#atRisk;
  }

  /** Everything that is served, or on its way out. */
  get exports(): ExportConfig[] {
    return this.#threads.flatMap((thread) => thread.served);
  }

  /** Names of the interfaces that are served, as they were asked for. */
  get interfaces(): readonly string[] {
    return this.#interfaces;
  }

  /** The number of the thread that has an export, which is never another's. */
  threadOf(address: Address): number | undefined {
    return this.#find(address)?.thread.number;
  }

  /** The tables of its threads, which threads write while others read. */
  get metrics(): readonly TargetMetrics[] {
    return this.#threads.map((thread) => thread.metrics);
  }

  /** Whether every thread works, sleeps or waits for a disk; to be asked every few seconds. */
  isWell(): boolean {
    const nowMs = performance.now();
    // Each is looked at, each time.
    return this.#threads.filter((thread) => !thread.isWell(nowMs)).length === 0;
  }

  /** Sum of a worker counter over all threads. */
  count(counter: number): number {
    return this.#threads.reduce((sum, { counters }) => sum + counters.value(counter), 0);
  }

  /** A counter of one export. */
  countOf({ shelf, slot }: Address, counter: number): number {
    const placed = this.#find({ shelf, slot });
    return placed === undefined ? 0 : placed.thread.counters.valueOf(placed.index, counter);
  }

  /**
   * Serves one more; resolves when it is served. Its descriptors are the group's then, and before
   * that, if this fails, the caller's to close (`closeExport`).
   *
   * @param options `force`: also where another process of this host has the address.
   * @throws {Deno.errors.AddrInUse} One sentence: the address is served already.
   */
  async add(config: ExportConfig, options: { readonly force?: boolean } = {}): Promise<void> {
    const name = formatAddress(config.shelf, config.slot);
    if (this.#find(config) !== undefined) {
      throw new Deno.errors.AddrInUse(`${name} is served already: choose another address`);
    }
    // No later flush of a file tells what an earlier one has lost.
    if (this.#suspects.has(`${name} ${config.path}`)) config = { ...config, suspect: true };
    try {
      this.#takeAddresses(config, options.force === true);
      const heldUp: TargetThread[] = [];
      for (;;) {
        const thread = this.#threadFor(config, heldUp);
        if (thread === undefined) break;
        if (await this.#addTo(thread, config)) return;
        heldUp.push(thread);
      }
      await this.#inTurn(() => this.#startThread([config], this.#options.workers));
    } catch (error) {
      this.#giveAddresses(config);
      throw error;
    }
  }

  #lookAtThreads(): void {
    let busy = false;
    for (const { standIn } of this.#threads) busy = standIn.look() || busy;
    this.#watch = setTimeout(
      () => this.#lookAtThreads(),
      busy ? LOOK_EVERY_MS : LOOK_IDLY_EVERY_MS,
    );
  }

  /** @returns False when a disk holds the thread up, so that another has to serve it. */
  async #addTo(thread: TargetThread, config: ExportConfig): Promise<boolean> {
    const index = thread.freeIndex;
    this.#note(thread, index, config);
    try {
      thread.counters.clear(index);
      await thread.orderUnlessHeldUp({ kind: "add", index, config });
      return true;
    } catch (error) {
      thread.exports[index] = undefined;
      if (error instanceof HeldUp) return false;
      throw error;
    }
  }

  /**
   * Serves one no more: no new command is taken, those in flight are answered. Resolves when its
   * descriptors are closed and its address is free.
   *
   * @param options `drain`: with everything that was written on stable storage.
   * @throws {Deno.errors.NotFound} One sentence: it is not served, or on its way out.
   */
  async remove(address: Address, { drain }: { readonly drain: boolean }): Promise<Removal> {
    const { thread, index, config } = this.#get(address);
    this.#leaving.add(config);
    // Who stands in for a thread that is held up answers for it no more.
    thread.standIn.forget(config);
    try {
      const flushed = await thread.order({ kind: "remove", index, drain }) ?? true;
      const name = formatAddress(config.shelf, config.slot);
      if (!flushed) this.#suspects.add(`${name} ${config.path}`);
      thread.exports[index] = undefined;
      thread.standIn.forget(config);
      closeExport(config);
      this.#giveAddresses(config);
      // One that was started for an NBD server serves nothing else.
      if (thread.hasSources && thread.served.length === 0) await this.#endThread(thread);
      return { flushed };
    } finally {
      this.#leaving.delete(config);
    }
  }

  /**
   * Serves an export in another way; what is not named stays, what is undefined is as by default.
   *
   * @throws {Deno.errors.NotFound} One sentence: it is not served.
   * @throws {Deno.errors.NotSupported} One sentence: its file was opened to be read only.
   * @throws {Deno.errors.AddrInUse} One sentence: another process has it on a new interface.
   * @throws {HeldUp} One sentence: its disk does not answer.
   */
  async change(address: Address, changes: ExportChanges): Promise<void> {
    const { thread, index, config } = this.#get(address);
    const changed = { ...config, ...changes };
    if (!changed.readOnly && this.#openedReadOnly.has(config)) {
      const name = formatAddress(config.shelf, config.slot);
      throw new Deno.errors.NotSupported(
        `"${config.path}" was opened to be read only: remove ${name} and add it again`,
      );
    }
    try {
      this.#takeAddresses(changed, false);
      await thread.orderUnlessHeldUp({ kind: "change", index, config: changed });
    } catch (error) {
      this.#giveAddresses(changed, config);
      throw error;
    }
    thread.exports[index] = changed;
    if (this.#openedReadOnly.has(config)) this.#openedReadOnly.add(changed);
    this.#giveAddresses(config, changed);
  }

  /**
   * Serves on one more interface, as soon as there is one of that name.
   *
   * @throws {Deno.errors.NotSupported} One sentence: it is a port, or not Ethernet.
   * @throws {Error} One sentence: a socket on it cannot be had, or another process has an address.
   */
  addInterface(name: string): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#interfaces.includes(name)) return;
      refuseInterface(name);
      this.#interfaces.push(name);
      try {
        for (const ex of this.exports) this.#takeAddresses(ex, false);
        await this.#orderAll({ kind: "add-interface", name });
      } catch (error) {
        await this.#dropInterface(name);
        throw error;
      }
    });
  }

  /** Serves on an interface no more; exports that have no other wait for one. */
  removeInterface(name: string): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#interfaces.includes(name)) await this.#dropInterface(name);
    });
  }

  async #dropInterface(name: string): Promise<void> {
    this.#interfaces.splice(this.#interfaces.indexOf(name), 1);
    await this.#orderAll({ kind: "remove-interface", name });
    for (const ex of this.exports) giveAddress(name, ex);
  }

  async #orderAll(
    order: { readonly kind: "add-interface" | "remove-interface"; readonly name: string },
  ): Promise<void> {
    const outcomes = this.#threads.map((thread) => {
      const outcome = thread.order(order);
      thread.standIn.serveOn(this.#interfaces);
      return unlessHeldUp(thread, outcome, (text) => {
        this.#options.onMessage({ kind: "error", text });
      });
    });
    await Promise.all(outcomes);
  }

  /** Makes changes that concern all threads one after the other. */
  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#change.then(change);
    this.#change = result.catch(() => {});
    return result;
  }

  #find({ shelf, slot }: Address): Placed | undefined {
    for (const thread of this.#threads) {
      const index = thread.exports.findIndex((ex) => ex?.shelf === shelf && ex.slot === slot);
      if (index >= 0) return { thread, index, config: thread.exports[index]! };
    }
    return undefined;
  }

  #get(address: Address): Placed {
    const placed = this.#find(address);
    const name = formatAddress(address.shelf, address.slot);
    if (placed === undefined) throw new Deno.errors.NotFound(`${name} is not served`);
    if (this.#leaving.has(placed.config)) {
      throw new Deno.errors.NotFound(`${name} is on its way out already`);
    }
    return placed;
  }

  /**
   * The least loaded thread that can take one more; undefined: a new one is to be started.
   *
   * @param heldUp Threads that a disk holds up.
   */
  #threadFor(
    { source, directFd, disk }: ExportConfig,
    heldUp: readonly TargetThread[],
  ): TargetThread | undefined {
    const shared = this.#threads.filter(({ hasSources }) => !hasSources);
    if (source !== undefined || shared.length < this.#options.workers) return undefined;
    const able = shared.filter((thread) =>
      thread.freeIndex >= 0 && (directFd < 0 || thread.direct) && !heldUp.includes(thread)
    );
    const least = Math.min(...able.map((thread) => thread.served.length));
    const free = able.filter((thread) => thread.served.length === least);
    return free.find((thread) => thread.served.every((ex) => ex.disk === disk)) ?? free[0];
  }

  #note(thread: TargetThread, index: number, config: ExportConfig): void {
    thread.exports[index] = config;
    if (config.readOnly) this.#openedReadOnly.add(config);
  }

  /** Names of the interfaces that an export is served on. */
  #namesFor({ interfaces }: ExportConfig): string[] {
    return this.#interfaces.filter((name) => interfaces?.includes(name) ?? true);
  }

  #takeAddresses(config: ExportConfig, force: boolean): void {
    for (const name of this.#namesFor(config)) {
      if (takeAddress(name, config) || force) continue;
      throw new Deno.errors.AddrInUse(
        `${formatAddress(config.shelf, config.slot)} is already served by another aoe serve on ` +
          `${name} of this host: choose another address, or serve it all the same with --force`,
      );
    }
  }

  /** @param stays As it is served on, if it is: its addresses are kept. */
  #giveAddresses(config: ExportConfig, stays?: ExportConfig): void {
    const kept = stays === undefined ? [] : this.#namesFor(stays);
    for (const name of this.#namesFor(config)) if (!kept.includes(name)) giveAddress(name, config);
  }

  /** @param among Threads that share what may be mapped; one alone may store to it. */
  async #startThread(exports: readonly ExportConfig[], among: number): Promise<void> {
    const { workers: _, onMessage: __, aids, keep, ...given } = this.#options;
    const config = {
      ...{ ...given, exports, interfaces: [...this.#interfaces], crossingNs: this.#crossingNs },
      mapBytes: Math.floor(given.mapBytes / among),
      stores: among === 1,
      aids: aids?.[this.#threads.length],
    };
    const thread = await TargetThread.start(config, {
      message: (message, thread) => this.#hear(message, thread),
      keep: (address, settings) => keep?.(address, settings) ?? Promise.resolve(false),
    });
    for (const ex of exports) if (ex.readOnly) this.#openedReadOnly.add(ex);
    this.#threads.push(thread);
    thread.done.catch((error) => this.#ended.reject(error));
  }

  async #endThread(thread: TargetThread): Promise<void> {
    this.#threads.splice(this.#threads.indexOf(thread), 1);
    thread.stop();
    await thread.done;
    thread.close();
  }

  #hear(message: TargetMessage, thread: TargetThread): void {
    if (message.kind === "stopped") {
      this.#abandoned += message.abandoned;
      this.#atRisk.push(...message.atRisk);
      return;
    }
    // All threads serve on the same interfaces: the first tells of them.
    const first = (this.#threads[0] ?? thread) === thread;
    if (first || message.kind !== "link" && message.kind !== "renamed") {
      this.#options.onMessage(message);
    }
  }
}

/** Refuses an interface that is there and on which frames of ours never arrive. */
function refuseInterface(name: string): void {
  const existing = listInterfaces();
  const found = existing.find((link) => link.name === name || link.altNames.includes(name));
  if (found === undefined) return;
  if (!found.ethernet) throw new Deno.errors.NotSupported(`Interface "${name}" is not Ethernet`);
  const master = masterName(found, existing);
  if (master !== undefined) {
    throw new Deno.errors.NotSupported(`${name} is a port of ${master}: name ${master}`);
  }
}

/**
 * Waits for an outcome; not for that of a thread which a disk holds up: that one does it later.
 *
 * @param tellLate Told why, if it is refused later.
 */
async function unlessHeldUp(
  thread: TargetThread,
  outcome: Promise<unknown>,
  tellLate: (text: string) => void,
): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    late.resolve();
    outcome.catch((error: Error) => tellLate(error.message));
  }, thread.patienceMs);
  try {
    await Promise.race([outcome, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
