// One running target thread, as the main thread has it: what it serves, its counters, who stands in
// for it, and the orders that it is given.

import { closeEvent } from "../../../ffi/poll.ts";
import { formatAddress } from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import { OUTCOME_KEPT, OUTCOME_NOT_KEPT } from "../../core/target/held_answers.ts";
import type { KeptSettings } from "../../core/target/kept_settings.ts";
import { TargetCounters } from "../../core/target/counters.ts";
import { EXPORTS_MAX } from "../../core/target/export_table.ts";
import { CONTROL_PULSE, CONTROL_THREAD, CONTROL_WORDS } from "../../core/target/loop.ts";
import { TargetMetrics } from "../../core/target/metrics.ts";
import type { ExportConfig } from "../../loops/target/export_config.ts";
import { LINKS_MAX } from "../../loops/target/link.ts";
import type { TargetJobConfig, TargetMessage } from "../../loops/target/messages.ts";
import { OrderMailbox } from "../../loops/target/orders.ts";
import type { TargetOrder } from "../../loops/target/orders.ts";
import { ThreadControl } from "../thread_control.ts";
import { startWorker } from "../threads.ts";
import type { RunningWorker } from "../threads.ts";
import { StandIn } from "./stand_in.ts";
import { threadActivity, ThreadHealth } from "./thread_health.ts";

/** A thread takes an order within microseconds, between two turns, unless a disk holds it up. */
const ORDER_MS_MAX = 2_000;

/** Why an order was taken back, in one sentence. */
export class HeldUp extends Error {
  override name = "HeldUp";
}

/** What a thread is started with; the rest it makes itself. */
export type TargetThreadConfig = Omit<
  TargetJobConfig,
  "controlEvent" | "control" | "counters" | "metrics" | "orders"
>;

/** An order without its number. */
type Wish = TargetOrder extends infer Order
  ? Order extends TargetOrder ? Omit<Order, "order"> : never
  : never;

/** Who hears of a thread. */
export interface TargetThreadListener {
  /** Of everything it posts that is not for its own affairs. */
  readonly message: (message: TargetMessage, thread: TargetThread) => void;
  /** Puts what is to be kept of an export onto stable storage; false when that cannot be had. */
  readonly keep: (address: Address, settings: KeptSettings) => Promise<boolean>;
}

/** How many have been started. */
let started = 0;

/** A thread, and its exports by their indexes. */
export class TargetThread {
  /** No other of this process has the same. */
  readonly number = ++started;
  readonly counters: TargetCounters;
  readonly metrics: TargetMetrics;
  readonly exports: (ExportConfig | undefined)[];
  /** Whether its frames are placed for O_DIRECT. */
  readonly direct: boolean;
  /** Whether it was started for exports that are NBD servers'. */
  readonly hasSources: boolean;
  readonly standIn: StandIn;
  readonly #control = new ThreadControl(CONTROL_WORDS);
  readonly #orders = OrderMailbox.allocate();
  readonly #mailbox = new OrderMailbox(this.#orders);
  readonly #countersShared = TargetCounters.allocate(EXPORTS_MAX);
  readonly #metricsShared = TargetMetrics.allocate(EXPORTS_MAX, LINKS_MAX);
  readonly #health = new ThreadHealth();
  readonly #listener: TargetThreadListener;
  readonly #serving = Promise.withResolvers<void>();
  /** Those that the mailbox has no room for yet. */
  readonly #waiting: TargetOrder[] = [];
  readonly #outcomes = new Map<number, PromiseWithResolvers<boolean | undefined>>();
  #mailboxFull = false;
  #orderNumber = 0;
  #worker: RunningWorker | undefined;

  /** Starts one; resolves when it serves. */
  static async start(
    config: TargetThreadConfig,
    listener: TargetThreadListener,
  ): Promise<TargetThread> {
    const thread = new TargetThread(config, listener);
    await thread.#start(config);
    return thread;
  }

  private constructor(config: TargetThreadConfig, listener: TargetThreadListener) {
    this.#listener = listener;
    this.counters = new TargetCounters(this.#countersShared);
    this.metrics = new TargetMetrics(this.#metricsShared);
    this.exports = [...config.exports];
    this.direct = config.exports.some(({ directFd }) => directFd >= 0);
    this.hasSources = config.exports.some(({ source }) => source !== undefined);
    this.standIn = new StandIn({
      control: this.#control.words,
      buffers: config.buffers,
      exports: () => this.served,
      interfaces: config.interfaces,
      tell: (message) => listener.message(message, this),
    });
  }

  /** Its exports, in the order of their indexes. */
  get served(): ExportConfig[] {
    return this.exports.filter((ex) => ex !== undefined);
  }

  /** An index that no export has; −1: there is none. */
  get freeIndex(): number {
    const free = this.exports.indexOf(undefined);
    return free >= 0 ? free : this.exports.length < EXPORTS_MAX ? this.exports.length : -1;
  }

  /** Resolves when it has ended; rejects with the error that ended it. */
  get done(): Promise<void> {
    return this.#worker!.done;
  }

  /** Whether it works, sleeps or waits for a disk; see `ThreadHealth`. */
  isWell(nowMs: number): boolean {
    const { words } = this.#control;
    const activity = threadActivity(words[CONTROL_THREAD]!);
    return !this.#health.look(nowMs, words[CONTROL_PULSE]!, activity);
  }

  /** Tells it to come to an end. */
  stop(): void {
    this.#control.stop();
  }

  /** Lets go of what was made for it, once it has ended. */
  close(): void {
    this.standIn.close();
    closeEvent(this.#control.controlEvent);
  }

  /** How long to wait until it has taken an order; hardly, where it is known to be held up. */
  get patienceMs(): number {
    return this.standIn.active ? 0 : ORDER_MS_MAX;
  }

  /**
   * Gives it an order; resolves once it is carried out, however long a disk holds the thread up.
   *
   * @returns See `flushed` of the message "outcome".
   * @throws {Error} One sentence: it was refused.
   */
  order(wish: Wish): Promise<boolean | undefined> {
    return this.#give(wish).outcome;
  }

  /**
   * The same, but takes it back when a disk holds the thread up.
   *
   * @throws {HeldUp} One sentence: nothing has been done.
   */
  async orderUnlessHeldUp(wish: Wish): Promise<void> {
    const { number, outcome } = this.#give(wish);
    const timer = setTimeout(() => this.#takeBack(number), this.patienceMs);
    try {
      await outcome;
    } finally {
      clearTimeout(timer);
    }
  }

  #give(wish: Wish): { readonly number: number; readonly outcome: Promise<boolean | undefined> } {
    const number = ++this.#orderNumber;
    const outcome = Promise.withResolvers<boolean | undefined>();
    this.#outcomes.set(number, outcome);
    this.#waiting.push({ ...wish, order: number } as TargetOrder);
    this.#putNext();
    return { number, outcome: outcome.promise };
  }

  #takeBack(number: number): void {
    const at = this.#waiting.findIndex(({ order }) => order === number);
    if (at >= 0) this.#waiting.splice(at, 1);
    else if (!this.#mailbox.withdraw(number)) return;
    else this.#mailboxFull = false;
    const paths = this.served.map(({ path }) => `"${path}"`);
    this.#outcomes.get(number)?.reject(
      new HeldUp(`${paths.join(" or ")} does not answer: try again once it does`),
    );
    this.#outcomes.delete(number);
    this.#putNext();
  }

  async #start(config: TargetThreadConfig): Promise<void> {
    const { control, controlEvent } = this.#control;
    this.#worker = await startWorker(
      "target",
      {
        ...{ ...config, control, controlEvent, orders: this.#orders },
        ...{ counters: this.#countersShared, metrics: this.#metricsShared },
      },
      (message) => this.#take(message),
    );
    const ended = () => this.#refuseAll("the thread has ended");
    this.#worker.done.then(ended, ended);
    await Promise.race([this.#serving.promise, this.#worker.done]);
  }

  #take(message: TargetMessage): void {
    switch (message.kind) {
      case "state":
        this.standIn.learn(message.shelf, message.slot, message.state);
        return;
      case "keep":
        this.#keep(message);
        return;
      case "taken":
        this.#mailboxFull = false;
        this.#putNext();
        return;
      case "outcome": {
        const outcome = this.#outcomes.get(message.order);
        this.#outcomes.delete(message.order);
        if (message.refusal === undefined) outcome?.resolve(message.flushed);
        else outcome?.reject(new Error(message.refusal));
        return;
      }
      case "serving":
        this.#serving.resolve();
    }
    this.#listener.message(message, this);
  }

  #putNext(): void {
    if (this.#mailboxFull) return;
    const order = this.#waiting.shift();
    if (order === undefined) return;
    if (this.#mailbox.put(order)) {
      this.#mailboxFull = true;
      this.#control.wake();
      return;
    }
    const { shelf, slot } = "config" in order ? order.config : { shelf: 0, slot: 0 };
    const name = formatAddress(shelf, slot);
    this.#outcomes.get(order.order)?.reject(new Error(`The ACL of ${name} is too long`));
    this.#outcomes.delete(order.order);
    this.#putNext();
  }

  #refuseAll(reason: string): void {
    for (const outcome of this.#outcomes.values()) outcome.reject(new Error(reason));
    this.#outcomes.clear();
    this.#waiting.length = 0;
  }

  async #keep(
    { shelf, slot, settings, word }: Extract<TargetMessage, { kind: "keep" }>,
  ): Promise<void> {
    const kept = await this.#listener.keep({ shelf, slot }, settings);
    this.#control.tell(word, kept ? OUTCOME_KEPT : OUTCOME_NOT_KEPT);
  }
}
