// The threads of one `aoe serve`: started together, stopped together, their counters added up.

import { measureCrossingNs } from "../../../ffi/syscall_cost.ts";
import { takeName } from "../../../ffi/name_lock.ts";
import { formatAddress } from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import { ThreadControl } from "../thread_control.ts";
import { startWorker } from "../threads.ts";
import type { RunningWorker } from "../threads.ts";
import { OUTCOME_KEPT, OUTCOME_NOT_KEPT } from "../../core/target/held_answers.ts";
import type { KeptSettings } from "../../core/target/kept_settings.ts";
import { CONTROL_PULSE, CONTROL_THREAD, CONTROL_WORDS } from "../../core/target/loop.ts";
import type { WireAids } from "../../loops/capture.ts";
import { LOOK_EVERY_MS, StandIn } from "./stand_in.ts";
import { threadActivity, ThreadHealth } from "./thread_health.ts";
import { TargetCounters } from "../../core/target/counters.ts";
import { TargetMetrics } from "../../core/target/metrics.ts";
import type { RiskyExport, TargetJobConfig, TargetMessage } from "../../loops/target/messages.ts";
import type { ExportConfig } from "../../loops/target/export_config.ts";

/** What all threads of a group share. */
export type TargetGroupOptions =
  & Omit<
    TargetJobConfig,
    "aids" | "crossingNs" | "controlEvent" | "control" | "counters" | "metrics"
  >
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

interface Member {
  readonly control: ThreadControl;
  readonly counters: TargetCounters;
  readonly metrics: TargetMetrics;
  readonly exports: readonly ExportConfig[];
  readonly standIn: StandIn;
  readonly health: ThreadHealth;
  readonly worker: RunningWorker;
}

/**
 * Takes an address on an interface for this process. Two processes of one host do not hear each
 * other on a wire, so that asking the network would not tell.
 *
 * @returns False when another process of this network namespace serves it there.
 */
export function takeAddress(interfaceName: string, { shelf, slot }: Address): boolean {
  return takeName(`aoe-serve/${interfaceName}/${formatAddress(shelf, slot)}`);
}

/** Descriptors that a thread opens for itself: its loop's, Deno's, and some for as long as it starts. */
const FILES_OF_THREAD = 20;
/** … and for each export: page cache, O_DIRECT, and one that is looked at for a moment. */
const FILES_OF_EXPORT = 3;

/** Threads of a group: each has an export. */
export function threadCount(workers: number, exports: number): number {
  return Math.min(workers, exports);
}

/** Files that a group opens, a little more rather than less. */
export function filesOfGroup(workers: number, exports: number, interfaces: number): number {
  const threads = threadCount(workers, exports);
  return threads * (FILES_OF_THREAD + 2 * interfaces) + exports * FILES_OF_EXPORT;
}

/** Running target threads. */
export class TargetGroup {
  readonly #members: Member[] = [];
  #abandoned = 0;
  #keep: TargetGroupOptions["keep"];
  readonly #watch = setInterval(() => {
    for (const { standIn } of this.#members) standIn.look();
  }, LOOK_EVERY_MS);
  readonly #atRisk: RiskyExport[] = [];

  /** Starts the threads, exports dealt out in turn; resolves when all of them serve. */
  static async start(options: TargetGroupOptions): Promise<TargetGroup> {
    const group = new TargetGroup();
    const { workers, onMessage, aids, keep, ...given } = options;
    group.#keep = keep;
    const shared = { ...given, crossingNs: measureCrossingNs() };
    const count = threadCount(workers, options.exports.length);
    const shares: ExportConfig[][] = Array.from({ length: count }, () => []);
    const mapBytes = Math.floor(options.mapBytes / shares.length);
    options.exports.forEach((ex, i) => shares[i % shares.length]!.push(ex));
    try {
      for (const [i, exports] of shares.entries()) {
        await group.#startMember({ ...shared, mapBytes, exports, aids: aids?.[i] }, onMessage);
      }
    } catch (error) {
      await group.stop();
      throw error;
    }
    return group;
  }

  /** Resolves when every thread has ended; rejects with the error of the first that failed. */
  async ended(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.worker.done));
  }

  /**
   * Tells the threads to stop and waits until they have.
   *
   * @returns Number of commands that a disk never finished.
   */
  async stop(): Promise<number> {
    for (const member of this.#members) member.control.stop();
    await Promise.allSettled(this.#members.map((member) => member.worker.done));
    clearInterval(this.#watch);
    for (const { standIn } of this.#members) standIn.close();
    return this.#abandoned;
  }

  /** After the end: exports whose last flush failed, so that written data may be lost. */
  get atRisk(): readonly RiskyExport[] {
    return this.#atRisk;
  }

  /** The tables of its threads, which threads write while others read. */
  get metrics(): readonly TargetMetrics[] {
    return this.#members.map((member) => member.metrics);
  }

  /** Sum of a worker counter over all threads. */
  count(counter: number): number {
    return this.#members.reduce((sum, member) => sum + member.counters.value(counter), 0);
  }

  /** Whether every thread works, sleeps or waits for a disk; to be asked every few seconds. */
  isWell(): boolean {
    const nowMs = performance.now();
    // Each is looked at, each time.
    const stopped = this.#members.filter(({ control: { words }, health }) =>
      health.look(nowMs, words[CONTROL_PULSE]!, threadActivity(words[CONTROL_THREAD]!))
    );
    return stopped.length === 0;
  }

  /** The number of the thread that serves an export; undefined when none does. */
  threadOf(config: ExportConfig): number | undefined {
    const found = this.#members.findIndex(({ exports }) => exports.includes(config));
    return found < 0 ? undefined : found;
  }

  /** A counter of one export. */
  countOf(config: ExportConfig, counter: number): number {
    for (const { exports, counters } of this.#members) {
      const index = exports.indexOf(config);
      if (index >= 0) return counters.valueOf(index, counter);
    }
    return 0;
  }

  async #keepSettings(
    thread: ThreadControl,
    { shelf, slot, settings, word }: Extract<TargetMessage, { kind: "keep" }>,
  ): Promise<void> {
    const kept = await this.#keep?.({ shelf, slot }, settings) ?? false;
    thread.tell(word, kept ? OUTCOME_KEPT : OUTCOME_NOT_KEPT);
  }

  async #startMember(
    config: Omit<TargetJobConfig, "controlEvent" | "control" | "counters" | "metrics">,
    onMessage: TargetGroupOptions["onMessage"],
  ): Promise<void> {
    const thread = new ThreadControl(CONTROL_WORDS);
    const { control, controlEvent } = thread;
    const counters = TargetCounters.allocate(config.exports.length);
    const metrics = TargetMetrics.allocate(config.exports.length, config.interfaces.length);
    const standIn = new StandIn({
      ...config,
      control: thread.words,
      tell: onMessage,
    });
    const serving = Promise.withResolvers<void>();
    // All threads serve on the same interfaces: the first tells of them.
    const tellsOfLinks = this.#members.length === 0;
    const worker = await startWorker(
      "target",
      { ...config, control, counters, metrics, controlEvent },
      (message) => {
        if (message.kind === "serving") serving.resolve();
        if (message.kind === "keep") {
          this.#keepSettings(thread, message);
          return;
        }
        if (message.kind === "state") {
          standIn.learn(message.shelf, message.slot, message.state);
          return;
        }
        if (message.kind === "stopped") {
          this.#abandoned += message.abandoned;
          this.#atRisk.push(...message.atRisk);
        } else if (tellsOfLinks || message.kind !== "link" && message.kind !== "renamed") {
          onMessage(message);
        }
      },
    );
    this.#members.push({
      control: thread,
      counters: new TargetCounters(counters),
      metrics: new TargetMetrics(metrics),
      exports: config.exports,
      standIn,
      health: new ThreadHealth(),
      worker,
    });
    await Promise.race([serving.promise, worker.done]);
  }
}
