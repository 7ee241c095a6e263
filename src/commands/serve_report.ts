// What `aoe serve` says of what it serves and of what happens to it: sentences, or events as JSON lines.

import { formatAddress } from "../wire/aoe.ts";
import { visibleText } from "../core/watch/visible_text.ts";
import { SECTOR_BYTES, sectorsPerFrame } from "../wire/ata.ts";
import { formatMac } from "../wire/ethernet.ts";
import { EventLimits } from "../core/daemon/event_limits.ts";
import type { DaemonPlan } from "../core/daemon/plan.ts";
import type { DaemonEvent } from "../control/daemon/daemon_options.ts";
import type { ExportFile } from "../control/target/open_file.ts";
import type { Watch } from "../control/watch/watch_server.ts";
import type { TargetMessage } from "../loops/target/messages.ts";
import {
  counted,
  eventTime,
  formatBytes,
  paint,
  printError,
  printJson,
  printLine,
  warn,
} from "./output.ts";
import type { NetworkInterface } from "../../ffi/netlink.ts";

/** How often it is looked whether something was withheld. */
const WITHHELD_EVERY_MS = 5_000;
/** What distinguishes long errors. */
const KEY_CHARACTERS_MAX = 100;

/** How a run is told of. */
export interface ReporterOptions {
  readonly json: boolean;
  /** As in `ServeOptions`. */
  readonly verbosity: number;
  /** Names of interfaces as they were asked for. */
  readonly interfaces: readonly string[];
  readonly plan: DaemonPlan;
  readonly buffers: number;
}

/** Tells of a run. */
export class Reporter {
  readonly #json: boolean;
  readonly #quiet: boolean;
  readonly #verbose: boolean;
  readonly #options: ReporterOptions;
  readonly #limits = new EventLimits();
  #timer: ReturnType<typeof setInterval> | undefined;
  #withoutUring: string | undefined;
  #withoutRing = false;

  constructor(options: ReporterOptions) {
    this.#options = options;
    this.#json = options.json;
    this.#quiet = options.verbosity < 0;
    this.#verbose = options.verbosity > 0;
  }

  /** What is served at first. */
  serving(files: readonly ExportFile[], interfaces: readonly NetworkInterface[]): void {
    this.#timer = setInterval(() => this.#tellWithheld(performance.now()), WITHHELD_EVERY_MS);
    if (this.#json) this.#servingJson(files, interfaces);
    else if (!this.#quiet) this.#servingText(files, interfaces);
  }

  /** Says where metrics are. */
  watched({ at, warning }: Watch): void {
    if (this.#json) printEvent({ event: "metrics", at });
    else this.#say(`Metrics at ${at}`);
    if (warning !== undefined) warn(warning);
  }

  /** What was withheld is told, and nothing more. */
  close(): void {
    clearInterval(this.#timer);
    this.#tellWithheld(Infinity);
  }

  /** What has become of an export. */
  event(event: DaemonEvent): void {
    const time = this.#json ? "" : eventTime();
    switch (event.kind) {
      case "warning":
        warn(event.text);
        break;
      case "waiting": {
        const { address, reason } = event;
        if (this.#json) printEvent({ event: "waiting", address, reason });
        else printError(`aoe: ${time}${address} waits: ${reason}`, "warning");
        break;
      }
      case "added": {
        const { address, file } = event;
        if (this.#json) printEvent({ ...exportEvent(file), event: "added" });
        else this.#say(`${address} is served: ${describeFile(file)}`);
        break;
      }
      case "leaving": {
        const { address, path } = event;
        if (this.#json) printEvent({ event: "leaving", address, path });
        else {
          printError(
            `aoe: ${time}${address} takes no more commands, and is gone once ` +
              `"${visibleText(path)}" has finished those that it has`,
            "warning",
          );
        }
        break;
      }
      case "removed": {
        const { address, flushed } = event;
        if (this.#json) printEvent({ event: "removed", address, flushed });
        else if (flushed) this.#say(`${address} is served no more`);
        else {
          printError(
            `aoe: ${time}${address} is served no more, and not flushed: what was written last may ` +
              `be lost`,
          );
        }
        break;
      }
      case "changed": {
        const { address, what } = event;
        if (this.#json) printEvent({ event: "changed", address, what });
        else this.#say(`${address} is served as the configuration has it now: ${what.join(", ")}`);
        break;
      }
      case "reloaded": {
        const { added, removed, changed, same, waiting } = event.outcome;
        if (this.#json) printEvent({ event: "reloaded", ...event.outcome });
        else {
          this.#say(
            `Reloaded: ${added} added, ${removed} removed, ${changed} changed, ${same} as before` +
              (waiting > 0 ? `, ${waiting} waiting` : ""),
          );
        }
        break;
      }
      case "not reloaded":
        if (this.#json) printEvent({ event: "not-reloaded", text: event.text });
        else printError(`aoe: ${time}${event.text}`);
        break;
    }
  }

  /** What a thread tells. */
  message(message: TargetMessage): void {
    const key = keyOf(message);
    if (key !== undefined && !this.#limits.take(key, performance.now())) return;
    switch (message.kind) {
      case "serving":
        this.#sayWithoutUring(message.withoutUring);
        this.#sayWithoutRing(message.withoutRing);
        break;
      case "error":
        if (this.#json) printEvent({ event: "error", text: message.text });
        else printError(`aoe: ${eventTime()}${message.text}`);
        break;
      case "source": {
        const address = formatAddress(message.shelf, message.slot);
        const { state, text } = message;
        if (this.#json) printEvent({ event: "source", address, state, text });
        else if (state === "away") printError(`aoe: ${eventTime()}${address}: ${text}`);
        else this.#say(`${address}: ${text}`);
        break;
      }
      case "write-cache": {
        const address = formatAddress(message.shelf, message.slot);
        const { on, mac, interface: name } = message;
        const what = `${address}: write cache ${on ? "on" : "off"}, by ${mac} on ${name}`;
        if (this.#json) printEvent({ event: "write-cache", address, on, mac, interface: name });
        else if (on) this.#say(what);
        else printError(`aoe: ${eventTime()}${what}: writes are slower`, "warning");
        break;
      }
      case "silence": {
        const { shelf, slot, path, silent, ms } = message;
        const address = formatAddress(shelf, slot);
        const seconds = Math.round(ms / 1000);
        if (this.#json) printEvent({ event: "silence", address, path, silent, seconds });
        else if (silent) {
          printError(`aoe: ${eventTime()}${address}: "${path}" does not answer (for ${seconds} s)`);
        } else this.#say(`${address}: "${path}" answers again, after ${seconds} s`);
        break;
      }
      case "resized": {
        const address = formatAddress(message.shelf, message.slot);
        const bytes = message.sectors * SECTOR_BYTES;
        if (this.#json) printEvent({ event: "resized", address, bytes });
        else this.#say(`${address} has now ${formatBytes(bytes)} (${message.sectors} sectors)`);
        break;
      }
      case "link": {
        const { name, state, master, mtu, sectors } = message;
        if (this.#json) printEvent({ event: "link", interface: name, state, master, mtu, sectors });
        else if (state === "port") {
          printError(`aoe: ${eventTime()}${name} is a port of ${master} now: name ${master}`);
        } else if (state !== "up") this.#say(`${name} is ${state}: waiting for it to come back`);
        else this.#say(`${name} is up, MTU ${mtu}, ${sectors} sectors a frame`);
        break;
      }
      case "rival":
        this.#tellRival(message);
        break;
      case "renamed": {
        const { name, before } = message;
        if (this.#json) printEvent({ event: "renamed", interface: name, before });
        else this.#say(`${before} is called ${name} now: served as before`);
        break;
      }
    }
  }

  #tellRival(message: Extract<TargetMessage, { kind: "rival" }>): void {
    const { shelf, slot, mac, interface: name } = message;
    const address = formatAddress(shelf, slot);
    if (this.#json) printEvent({ event: "rival", address, mac, interface: name });
    else {
      printError(
        `aoe: ${eventTime()}${address}: another target answers for it as well, ${mac} on ${name}: ` +
          `give one of the two another address`,
      );
    }
  }

  #servingText(files: readonly ExportFile[], interfaces: readonly NetworkInterface[]): void {
    for (const file of files) {
      const { shelf, slot } = file.config;
      printLine(`${paint(formatAddress(shelf, slot), "bold")}  ${describeFile(file)}`);
    }
    for (const link of interfaces) {
      const sectors = sectorsPerFrame(link.mtu);
      const asked = link.altNames.find((name) => this.#options.interfaces.includes(name));
      const name = asked === undefined ? link.name : `${link.name} (${asked})`;
      printLine(
        `on ${name}  ${formatMac(link.mac)}, MTU ${link.mtu}, ${sectors} sectors a frame`,
      );
    }
    for (const line of durability(this.#options.plan, files)) printLine(line);
    const { dropPercent } = this.#options.plan;
    if (dropPercent !== undefined) printLine(`Of all frames ${dropPercent} % ARE LOST (--drop).`);
    if (this.#verbose) {
      const io = this.#withoutUring === undefined ? "io_uring" : "preadv and pwritev";
      printLine(`${this.#options.buffers} buffers an export, disk work by ${io}`);
    }
    printLine("Serving until Ctrl-C.");
  }

  #servingJson(files: readonly ExportFile[], interfaces: readonly NetworkInterface[]): void {
    for (const file of files) printJson(exportEvent(file));
    for (const link of interfaces) {
      printJson({
        event: "interface",
        interface: link.name,
        altNames: link.altNames,
        mac: formatMac(link.mac),
        mtu: link.mtu,
        sectors: sectorsPerFrame(link.mtu),
        up: link.up,
      });
    }
    printJson({
      event: "serving",
      pid: Deno.pid,
      buffers: this.#options.buffers,
      uring: this.#withoutUring === undefined,
      ...(this.#options.plan.capture === undefined ? {} : { capture: this.#options.plan.capture }),
      ...(this.#options.plan.dropPercent === undefined
        ? {}
        : { drop: this.#options.plan.dropPercent }),
    });
  }

  /** Once, not for each thread; a user's own --no-uring is no news. */
  #sayWithoutUring(reason: string | undefined): void {
    if (reason === undefined || this.#withoutUring !== undefined) return;
    this.#withoutUring = reason;
    if (this.#options.plan.uring && !this.#json) {
      warn(`Without io_uring (${reason}): the disk is read and written with preadv and pwritev`);
    }
  }

  #sayWithoutRing(reason: string | undefined): void {
    if (reason === undefined || this.#withoutRing) return;
    this.#withoutRing = true;
    if (!this.#json) warn(`Frames are received by system calls, which is slower: ${reason}`);
  }

  #tellWithheld(nowMs: number): void {
    for (const { key, count } of this.#limits.collect(nowMs)) {
      const what = key === "" ? "of many kinds" : key;
      if (this.#json) printEvent({ event: "withheld", what, count });
      else printError(`aoe: ${eventTime()}${counted(count, "event")} not told: ${what}`, "warning");
    }
  }

  #say(text: string): void {
    if (!this.#quiet) printLine(eventTime() + text);
  }
}

/** What makes two messages the same thing, in words; undefined for what nobody outside can cause. */
function keyOf(message: TargetMessage): string | undefined {
  switch (message.kind) {
    case "error":
      // The same with another sector or count.
      return message.text.replace(/\d+/g, "N").slice(0, KEY_CHARACTERS_MAX);
    case "link":
    case "renamed":
      return `${message.name}: ${message.kind}`;
    case "rival":
    case "source":
    case "silence":
    case "write-cache":
    case "resized":
      return `${formatAddress(message.shelf, message.slot)}: ${message.kind}`;
    default:
      return undefined;
  }
}

/** `disk.img  10.0 GiB, 20971520 sectors, file` */
function describeFile({ config, sectors, created, kind }: ExportFile): string {
  const size = formatBytes(sectors * SECTOR_BYTES);
  const name = kind === "nbd" ? "NBD export" : kind;
  const what = `${created ? "new " : ""}${name}${config.readOnly ? ", read-only" : ""}`;
  return `${visibleText(config.path)}  ${size}, ${sectors} sectors, ${what}`;
}

function exportEvent({ config, sectors, created, kind }: ExportFile): Record<string, unknown> {
  return {
    event: "export",
    address: formatAddress(config.shelf, config.slot),
    path: config.path,
    kind,
    created,
    bytes: sectors * SECTOR_BYTES,
    sectors,
    readOnly: config.readOnly,
    direct: config.directFd >= 0,
    sync: config.sync,
    trim: config.trim,
    serial: config.serial,
  };
}

/** Writes what has happened as a line of JSON, with the time. */
function printEvent(event: Readonly<Record<string, unknown>>): void {
  printJson({ ...event, time: new Date().toISOString() });
}

/** What an answered write is worth, in words; files and NBD exports differ. */
function durability({ exports }: DaemonPlan, files: readonly ExportFile[]): string[] {
  const every = (key: "readOnly" | "sync" | "direct") => exports.every((ex) => ex[key]);
  const writable = files.filter(({ config }) => !config.readOnly);
  const sources = writable.filter(({ config }) => config.source !== undefined);
  // What waits may be writable.
  if (files.length === 0) return [];
  if (every("readOnly")) return ["Writes are refused (-r)."];
  if (writable.length === 0) return ["Writes are refused: what is served is read-only."];
  if (every("sync")) return ["A write is answered once it is on stable storage (-s)."];
  if (
    exports.some(({ sync, direct }) => sync !== exports[0]!.sync || direct !== exports[0]!.direct)
  ) {
    return ["What an answered write is worth differs: aoe ctl list --json shows sync and direct."];
  }
  const lines: string[] = [];
  if (sources.length < writable.length) {
    lines.push(
      every("direct")
        ? "A write is answered once the disk has it; FLUSH empties the disk's own cache."
        : "Writes are answered from the page cache, stable after FLUSH; -s makes each so.",
    );
  }
  if (sources.some(({ config }) => !config.sync)) {
    lines.push(
      "Writes to an NBD export are answered once its server has them; FLUSH goes there.",
    );
  }
  return lines;
}
