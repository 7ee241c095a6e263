// `aoe serve`: checks everything before anything starts, then serves until SIGINT or SIGTERM.

import { formatMac } from "../wire/ethernet.ts";
import { formatAddress } from "../wire/aoe.ts";
import type { Address } from "../wire/aoe.ts";
import { SECTOR_BYTES, sectorsPerFrame } from "../wire/ata.ts";
import type { DaemonPlan, ExportPlan } from "../core/daemon/plan.ts";
import { isNbdUri } from "../wire/nbd_uri.ts";
import { ExportRefusal, openExport } from "../control/target/open_file.ts";
import type { ExportFile } from "../control/target/open_file.ts";
import { openNbdExport } from "../control/target/open_nbd.ts";
import { interfacesMeant } from "../control/configuration.ts";
import { findInterfaces } from "../control/network_interfaces.ts";
import { dropWarning, openWireAids } from "../control/wire_aids.ts";
import { openFilesObstacle } from "../control/open_files.ts";
import { findHolders } from "../control/ask/scan.ts";
import { watchNames } from "../control/target/lost_names.ts";
import { findRivalTargets } from "../control/target/rival_targets.ts";
import { takeAddress } from "../control/target/addresses.ts";
import { filesOfGroup, TargetGroup, threadCount } from "../control/target/threads.ts";
import type { TargetMessage } from "../loops/target/messages.ts";
import { EXIT_FAILED } from "./exit_codes.ts";
import {
  eventTime,
  Failure,
  formatBytes,
  paint,
  printError,
  printJson,
  printLine,
  warn,
  writeWithoutWaiting,
} from "./output.ts";
import { listenToSignals } from "./stop_signals.ts";
import type { ServeOptions } from "./serve_arguments.ts";
import { confineBy } from "./serve_confined.ts";
import { checkPlan } from "./serve_check.ts";
import { wantedPlan } from "./serve_plan.ts";
import { counterLines, printCounters, printSummary } from "./serve_summary.ts";
import { groupSnapshots } from "../control/watch/group_snapshot.ts";
import type { Watch } from "../control/watch/watch_server.ts";
import { openWatch } from "../control/watch/watch_server.ts";
import { Watcher } from "../control/watch/watcher.ts";
import configuration from "../../deno.json" with { type: "json" };
import { Daemon } from "../control/daemon/daemon.ts";
import type { NetworkInterface } from "../../ffi/netlink.ts";

/** Linux keeps shelf 4095 for itself: aoe.ko refuses it. */
const SHELF_REJECTED_BY_LINUX = 4095;
/** Two sectors and the headers: below it even the smallest customary frame does not fit. */
const MTU_CUSTOMARY_MIN = 1060;
/** The Linux driver never comes up with fewer. */
const BUFFERS_SAFE_MIN = 2;
/** What vblade announces, and every target at least. */
const BUFFERS_CUSTOMARY_MIN = 16;
/** An initiator loses other frames than a target does. */
const DROP_SEED = 1;
/** How long to listen for somebody who has the address already. */
const HOLDER_TIMEOUT_MS = 250;
/** Most that is mapped unless it is asked for: the page tables for it take 64 MiB. */
const MAP_BYTES_MAX = 32 * 2 ** 30;

/** Exports what `options` name; resolves with the exit code once it has been told to stop. */
export async function runServe(options: ServeOptions): Promise<number> {
  const { plan, file } = wantedPlan(options);
  if (options.check && file !== undefined) return checkPlan(plan, file, options.json);
  confineBy(plan, file);
  writeWithoutWaiting("counted");
  const buffers = announcedBuffers(plan.buffers);
  const report = new Reporter({ ...options, buffers });
  const interfaces = interfacesOf(plan, file);
  const workers = plan.workers ?? Math.max(1, navigator.hardwareConcurrency);
  const wanted = filesOfGroup(workers, plan.exports.length, interfaces.length);
  const obstacle = openFilesObstacle(wanted);
  if (obstacle !== undefined) throw new Failure(obstacle);
  const daemon = new Daemon(plan);
  const files = openExports(plan).map((file) => ({
    ...file,
    config: daemon.withKept(file.config),
  }));
  warnAboutAddresses(plan);
  for (const link of interfaces) warnAboutInterface(link);
  await refuseHeldAddresses(plan, interfaces);
  const aids = openWireAids(plan, threadCount(workers, files.length), DROP_SEED);
  const drops = dropWarning(plan.dropPercent);
  if (drops !== undefined) warn(drops);
  const told = Promise.withResolvers<undefined>();
  let count = () => {};
  // Listening before starting: no signal finds a half-started group.
  listenToSignals({ stop: () => told.resolve(undefined), count: () => count() });
  const group = await TargetGroup.start({
    interfaces: interfaces.map((link) => link.name),
    exports: files.map((file) => file.config),
    buffers,
    uring: plan.uring,
    ring: plan.ring,
    pollUs: plan.pollUs,
    mapBytes: plan.mapBytes ?? mapBytesDefault(),
    workers,
    aids,
    onMessage: (message) => report.message(message),
    keep: async (address, settings) => {
      const refusal = await daemon.keep(address, settings);
      if (refusal !== undefined) report.message({ kind: "error", text: refusal });
      return refusal === undefined;
    },
  });
  const startedMs = Date.now();
  count = () => printCounters(group, files, options);
  const about = { version: configuration.version, name: plan.name ?? "" };
  const watcher = new Watcher(groupSnapshots(group, () => files, about));
  daemon.serves({
    ...{ group, files, interfaces: interfaces.map(({ name }) => name) },
    summary: () => counterLines(group, files),
    overview: (pasts) => watcher.ask(pasts),
  });
  const watch = plan.metrics === undefined ? undefined : openWatch(plan.metrics, watcher);
  report.serving(files, interfaces);
  if (watch !== undefined) report.watched(watch);
  const blind = watchNames(files, (text) => report.message({ kind: "error", text }));
  const failed = group.ended().then(() => undefined, (error: Error) => error);
  // A stop in progress still yields to a second signal.
  const ended = await Promise.race([told.promise, failed]);
  blind();
  watcher.close();
  await watch?.close();
  await daemon.close();
  const abandoned = await group.stop();
  if (ended instanceof Error) throw new Failure(ended.message);
  printSummary(group, files, { abandoned, seconds: (Date.now() - startedMs) / 1000, ...options });
  return abandoned === 0 && group.atRisk.length === 0 ? 0 : EXIT_FAILED;
}

/** The interfaces of a plan, which have to be there. */
function interfacesOf(plan: DaemonPlan, file: string | undefined): NetworkInterface[] {
  const [first, ...others] = plan.exports;
  if (first === undefined) throw new Failure(`"${file}" has no [[export]]: nothing to serve`);
  const wanted = (ex: ExportPlan) => [...ex.interfaces].sort().join();
  const other = others.find((ex) => wanted(ex) !== wanted(first));
  if (other !== undefined) {
    throw new Failure(
      `Lines ${first.line} and ${other.line} of "${file}" name different interfaces: one aoe ` +
        `serve serves all its exports on the same ones`,
    );
  }
  const names = first.interfaces.flatMap((name) => {
    const meant = interfacesMeant([name]);
    return meant.length === 0 ? [name] : meant;
  });
  return findInterfaces([...new Set(names)], { downToo: true });
}

/** Opens all of them, or names all that cannot be: who has twenty mends them at one go. */
function openExports(plan: DaemonPlan): ExportFile[] {
  const seen = new Set<string>();
  const sources = new Set<string>();
  const refusals: string[] = [];
  const files = plan.exports.flatMap((wanted) => {
    const { address, path, acl } = wanted;
    const text = formatAddress(address.shelf, address.slot);
    if (seen.has(text)) throw new Failure(`${text} is given twice: each export needs its own`);
    seen.add(text);
    // Files are locked, and tell so themselves.
    if (isNbdUri(path) && sources.has(path)) {
      throw new Failure(`"${path}" is given twice: one export cannot be two disks`);
    }
    sources.add(path);
    try {
      const open = isNbdUri(path) ? openNbdExport : openExport;
      const file = open(address, path, wanted);
      for (const warning of file.warnings) warn(`${text}: ${warning}`);
      if (!file.created && wanted.createBytes !== undefined) {
        warn(`${text}: "${path}" exists already: --size is ignored`);
      }
      return { ...file, config: { ...file.config, acl } };
    } catch (error) {
      if (!(error instanceof ExportRefusal)) throw error;
      refusals.push(error.message);
      return [];
    }
  });
  const last = refusals.pop();
  if (last === undefined) return files;
  for (const refusal of refusals) printError(`aoe: ${refusal}`);
  throw new Failure(last);
}

/** How many buffers are announced where so many were asked for. */
function announcedBuffers(asked: number): number {
  const announced = Math.max(BUFFERS_SAFE_MIN, asked);
  if (announced > asked) {
    warn(`${announced} buffers are announced: the Linux driver never comes up with ${asked}`);
  } else if (asked < BUFFERS_CUSTOMARY_MIN) {
    warn(
      `With ${asked} buffers initiators send little at a time: ${BUFFERS_CUSTOMARY_MIN} are ` +
        `customary`,
    );
  }
  return announced;
}

function warnAboutAddresses(plan: DaemonPlan): void {
  for (const { address } of plan.exports) {
    if (address.shelf !== SHELF_REJECTED_BY_LINUX) continue;
    const text = formatAddress(address.shelf, address.slot);
    warn(`${text}: the Linux driver rejects shelf 4095: choose another for Linux`);
  }
}

function warnAboutInterface(link: NetworkInterface): void {
  if (!link.up) warn(`${link.name} is down: serving begins once it is up`);
  if (link.mtu < MTU_CUSTOMARY_MIN) {
    warn(
      `${link.name} has MTU ${link.mtu}: below ${MTU_CUSTOMARY_MIN} a frame carries ` +
        `${sectorsPerFrame(link.mtu)} sectors, which many initiators do not expect`,
    );
  }
}

async function refuseHeldAddresses(
  plan: DaemonPlan,
  links: readonly NetworkInterface[],
): Promise<void> {
  const interfaces = links.map((link) => link.name);
  const addresses = plan.exports.filter(({ force }) => !force).map((ex) => ex.address);
  if (addresses.length === 0) return;
  const [holder] = await findHolders(interfaces, addresses, HOLDER_TIMEOUT_MS);
  const refuse = (address: Address, who: string) => {
    throw new Failure(
      `${formatAddress(address.shelf, address.slot)} is already served by ${who}: ` +
        `choose another address, or serve it all the same with --force`,
    );
  };
  if (holder !== undefined) refuse(holder.address, `${holder.mac} on ${holder.interface}`);
  const rivals = findRivalTargets(links, addresses);
  if (rivals.holder !== undefined) refuse(rivals.holder.address, rivals.holder.who);
  rivals.warnings.forEach(warn);
  for (const name of interfaces) {
    for (const address of addresses) {
      if (!takeAddress(name, address)) refuse(address, `another aoe serve on ${name} of this host`);
    }
  }
}

/** Says what is served and what happens to it: sentences, or events as JSON lines. */
class Reporter {
  readonly #json: boolean;
  readonly #quiet: boolean;
  readonly #verbose: boolean;
  readonly #options: ServeOptions;
  #withoutUring: string | undefined;
  #withoutRing = false;

  constructor(options: ServeOptions) {
    this.#options = options;
    this.#json = options.json;
    this.#quiet = options.verbosity < 0;
    this.#verbose = options.verbosity > 0;
  }

  serving(files: readonly ExportFile[], interfaces: readonly NetworkInterface[]): void {
    if (this.#json) this.#servingJson(files, interfaces);
    else if (!this.#quiet) this.#servingText(files, interfaces);
  }

  /** Says where metrics are. */
  watched({ at, warning }: Watch): void {
    if (this.#json) printEvent({ event: "metrics", at });
    else this.#say(`Metrics at ${at}`);
    if (warning !== undefined) warn(warning);
  }

  message(message: TargetMessage): void {
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
        else printError(`aoe: ${eventTime()}${what}: writes are slower`);
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
      case "renamed": {
        const { name, before } = message;
        if (this.#json) printEvent({ event: "renamed", interface: name, before });
        else this.#say(`${before} is called ${name} now: served as before`);
        break;
      }
    }
  }

  #servingText(files: readonly ExportFile[], interfaces: readonly NetworkInterface[]): void {
    for (const { config, sectors, created, kind } of files) {
      const address = paint(formatAddress(config.shelf, config.slot), "bold");
      const size = formatBytes(sectors * SECTOR_BYTES);
      const name = kind === "nbd" ? "NBD export" : kind;
      const what = `${created ? "new " : ""}${name}${config.readOnly ? ", read-only" : ""}`;
      printLine(`${address}  ${config.path}  ${size}, ${sectors} sectors, ${what}`);
    }
    for (const link of interfaces) {
      const sectors = sectorsPerFrame(link.mtu);
      const asked = link.altNames.find((name) => this.#options.interfaces.includes(name));
      const name = asked === undefined ? link.name : `${link.name} (${asked})`;
      printLine(
        `on ${name}  ${formatMac(link.mac)}, MTU ${link.mtu}, ${sectors} sectors a frame`,
      );
    }
    for (const line of durability(this.#options, files)) printLine(line);
    const { dropPercent } = this.#options;
    if (dropPercent !== undefined) printLine(`Of all frames ${dropPercent} % ARE LOST (--drop).`);
    if (this.#verbose) {
      const io = this.#withoutUring === undefined ? "io_uring" : "preadv and pwritev";
      printLine(`${this.#options.buffers} buffers an export, disk work by ${io}`);
    }
    printLine("Serving until Ctrl-C.");
  }

  #servingJson(files: readonly ExportFile[], interfaces: readonly NetworkInterface[]): void {
    for (const { config, sectors, created, kind } of files) {
      printJson({
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
      });
    }
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
      ...(this.#options.capture === undefined ? {} : { capture: this.#options.capture }),
      ...(this.#options.dropPercent === undefined ? {} : { drop: this.#options.dropPercent }),
    });
  }

  /** Once, not for each thread; a user's own --no-uring is no news. */
  #sayWithoutUring(reason: string | undefined): void {
    if (reason === undefined || this.#withoutUring !== undefined) return;
    this.#withoutUring = reason;
    if (this.#options.uring && !this.#json) {
      warn(`Without io_uring (${reason}): the disk is read and written with preadv and pwritev`);
    }
  }

  #sayWithoutRing(reason: string | undefined): void {
    if (reason === undefined || this.#withoutRing) return;
    this.#withoutRing = true;
    if (!this.#json) warn(`Frames are received by system calls, which is slower: ${reason}`);
  }

  #say(text: string): void {
    if (!this.#quiet) printLine(eventTime() + text);
  }
}

/** Writes what has happened as a line of JSON, with the time. */
function printEvent(event: Readonly<Record<string, unknown>>): void {
  printJson({ ...event, time: new Date().toISOString() });
}

/** What an answered write is worth, in words; files and NBD exports differ. */
function durability(options: ServeOptions, files: readonly ExportFile[]): string[] {
  const writable = files.filter(({ config }) => !config.readOnly);
  const sources = writable.filter(({ config }) => config.source !== undefined);
  if (options.readOnly) return ["Writes are refused (-r)."];
  if (writable.length === 0) return ["Writes are refused: what is served is read-only."];
  if (options.sync) return ["A write is answered once it is on stable storage (-s)."];
  const lines: string[] = [];
  if (sources.length < writable.length) {
    lines.push(
      options.direct
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

/** Mapped pages are the page cache's: as many as it may sensibly hold. */
function mapBytesDefault(): number {
  return Math.min(MAP_BYTES_MAX, Math.floor(Deno.systemMemoryInfo().total / 2));
}
