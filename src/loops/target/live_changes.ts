// Changes to a target thread that runs: exports and interfaces come, go and change between two turns
// of the loop, and whatever stays is served on without losing a frame. Sockets stay open, and a
// filter is put in place of another at once.
//
// An export that goes takes no more commands, but those that it has are answered. With `drain` it
// flushes what it has written; only then is it forgotten, and its descriptors are the main thread's
// to close. Commands that came by an interface that goes are carried out, and nobody is answered.

import { explainSocketError } from "../socket_refusal.ts";
import { LINK_GONE } from "../../core/target/commands.ts";
import type { TargetExport } from "../../core/target/export.ts";
import type { TargetMetrics } from "../../core/target/metrics.ts";
import type { TargetLoop } from "../../core/target/loop.ts";
import type { ExportConfig } from "./export_config.ts";
import type { ServedExports } from "./exports.ts";
import type { ServedLinks } from "./links.ts";
import type { TargetJobConfig, TargetMessage } from "./messages.ts";
import { OrderMailbox } from "./orders.ts";
import type { TargetOrder } from "./orders.ts";
import type { TargetParts } from "./parts.ts";

/** An export that has left, while it finishes. */
interface Leaver {
  readonly order: number;
  readonly ex: TargetExport;
  /** An fdatasync is still to be asked for. */
  flushes: boolean;
}

/** Carries out the main thread's orders. */
export class LiveChanges {
  readonly #mailbox: OrderMailbox;
  readonly #parts: TargetParts;
  readonly #exports: ServedExports;
  readonly #links: ServedLinks;
  readonly #loop: TargetLoop;
  readonly #post: (message: TargetMessage) => void;
  readonly #metrics: TargetMetrics;
  readonly #onGone: (index: number) => void;
  readonly #leavers: Leaver[] = [];

  constructor(
    { orders }: Pick<TargetJobConfig, "orders">,
    parts: TargetParts,
    { exports, links, loop, post, metrics, onGone }: {
      readonly exports: ServedExports;
      readonly links: ServedLinks;
      readonly loop: TargetLoop;
      readonly post: (message: TargetMessage) => void;
      readonly metrics: TargetMetrics;
      /** Told of the index of an export that is forgotten. */
      readonly onGone: (index: number) => void;
    },
  ) {
    this.#mailbox = new OrderMailbox(orders);
    this.#parts = parts;
    this.#exports = exports;
    this.#links = links;
    this.#loop = loop;
    this.#post = post;
    this.#metrics = metrics;
    this.#onGone = onGone;
  }

  /** Whether exports have left whose last commands are not over; see `settle`. */
  get settling(): boolean {
    return this.#leavers.length > 0;
  }

  /** Carries out the order that waits, if there is one; between turns only. */
  take(): void {
    const order = this.#mailbox.take();
    if (order === undefined) return;
    this.#post({ kind: "taken" });
    let refusal: string | undefined;
    try {
      this.#carryOut(order);
    } catch (error) {
      refusal = error instanceof Error ? error.message : String(error);
    }
    // Of one that leaves it is told once it has.
    if (order.kind === "remove" && refusal === undefined) this.settle();
    else this.#post({ kind: "outcome", order: order.order, refusal, flushed: undefined });
  }

  /** Looks which of those that leave have finished. */
  settle(): void {
    for (const leaver of [...this.#leavers]) {
      const { ex, order } = leaver;
      if (!ex.idle) continue;
      if (leaver.flushes) {
        leaver.flushes = false;
        ex.askSync();
        this.#loop.activate(ex);
        continue;
      }
      this.#leavers.splice(this.#leavers.indexOf(leaver), 1);
      this.#exports.close(ex);
      this.#metrics.forgetExport(ex.index);
      this.#onGone(ex.index);
      this.#post({ kind: "outcome", order, refusal: undefined, flushed: !ex.syncFailed });
    }
  }

  #carryOut(order: TargetOrder): void {
    switch (order.kind) {
      case "add":
        return this.#add(order.index, order.config);
      case "remove":
        return this.#remove(order.index, order.drain, order.order);
      case "change":
        return this.#change(order.index, order.config);
      case "add-interface":
        return this.#addInterface(order.name);
      case "remove-interface":
        return this.#removeInterface(order.name);
    }
  }

  #add(index: number, config: ExportConfig): void {
    const ex = this.#exports.add(index, config);
    this.#metrics.nameExport(index, config.shelf, config.slot);
    try {
      this.#exports.route(this.#links.list);
    } catch (error) {
      // The main thread closes its descriptors, and opens another file by their numbers.
      this.#exports.table.leave(ex);
      this.#exports.close(ex);
      this.#metrics.forgetExport(index);
      throw error;
    }
    this.#exports.postState(config.shelf, config.slot);
    for (const link of this.#links.aided.links) this.#loop.announceExport(ex, link);
  }

  #remove(index: number, drain: boolean, order: number): void {
    const ex = this.#exports.table.at(index);
    if (ex === undefined) throw new Error("There is no such export");
    this.#exports.table.leave(ex);
    this.#leavers.push({ order, ex, flushes: drain && ex.settings.fd !== -1 });
    this.#routeAgain();
  }

  #change(index: number, config: ExportConfig): void {
    const ex = this.#exports.table.at(index);
    if (ex === undefined) throw new Error("There is no such export");
    const before = ex.links;
    const configBefore = this.#exports.configOf(index);
    const resized = this.#exports.change(ex, config);
    try {
      this.#exports.route(this.#links.list);
    } catch (error) {
      this.#exports.change(ex, configBefore);
      this.#routeAgain();
      throw error;
    }
    for (const [number, link] of this.#links.aided.links.entries()) {
      if (resized || (before >>> number & 1) === 0) this.#loop.announceExport(ex, link);
    }
  }

  /** Routes where nothing comes to a link that it did not have. */
  #routeAgain(): void {
    try {
      this.#exports.route(this.#links.list);
    } catch {
      // The kernel has no memory for a filter: what the one before passes too much is dropped.
    }
  }

  #addInterface(name: string): void {
    if (this.#links.list.some((link) => link.isCalled(name))) return;
    const number = this.#links.dedicate(name);
    this.#metrics.nameLink(number, name);
    this.#exports.route(this.#links.list);
    try {
      this.#links.begin(number);
    } catch (error) {
      this.#removeInterface(name);
      throw explainSocketError(error);
    }
    this.#loop.announce(this.#links.aided.links[number]!);
  }

  #removeInterface(name: string): void {
    const number = this.#links.list.findIndex((link) => link.isCalled(name));
    if (number < 0) return;
    const { linkOf } = this.#parts.commands;
    for (let frame = 0; frame < linkOf.length; frame++) {
      if (linkOf[frame] === number) linkOf[frame] = LINK_GONE;
    }
    this.#links.list[number]!.vacate();
    this.#metrics.nameLink(number, "");
    // What stood in line is given up.
    this.#links.aided.links[number]!.flush(this.#loop);
    this.#routeAgain();
  }
}
