// `aoe serve`: checks everything before anything starts, then serves until SIGINT or SIGTERM.

import { sectorsPerFrame } from "../wire/ata.ts";
import { formatAddress } from "../wire/aoe.ts";
import type { DaemonPlan } from "../core/daemon/plan.ts";
import { Daemon } from "../control/daemon/daemon.ts";
import { StartRefusal } from "../control/daemon/daemon_options.ts";
import { interfacesOfPlans, whyUnreachable } from "../control/daemon/opening.ts";
import { findInterfaces } from "../control/network_interfaces.ts";
import { openFilesObstacle } from "../control/open_files.ts";
import { filesOfGroup, threadCount } from "../control/target/threads.ts";
import { groupSnapshots } from "../control/watch/group_snapshot.ts";
import { openWatch } from "../control/watch/watch_server.ts";
import { Watcher } from "../control/watch/watcher.ts";
import { dropWarning, openWireAids } from "../control/wire_aids.ts";
import configuration from "../../deno.json" with { type: "json" };
import type { NetworkInterface } from "../../ffi/netlink.ts";
import { EXIT_FAILED } from "./exit_codes.ts";
import { Failure, printError, warn, writeWithoutWaiting } from "./output.ts";
import type { ServeOptions } from "./serve_arguments.ts";
import { confineBy } from "./serve_confined.ts";
import { checkPlan } from "./serve_check.ts";
import { planAgain, wantedPlan } from "./serve_plan.ts";
import { Reporter } from "./serve_report.ts";
import { counterLines, printCounters, printSummary } from "./serve_summary.ts";
import { listenToSignals } from "./stop_signals.ts";

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
/** Most that is mapped unless it is asked for: the page tables for it take 64 MiB. */
const MAP_BYTES_MAX = 32 * 2 ** 30;

/** Exports what `options` name; resolves with the exit code once it has been told to stop. */
export async function runServe(options: ServeOptions): Promise<number> {
  const { plan, file } = wantedPlan(options);
  if (options.check && file !== undefined) return checkPlan(plan, file, options.json);
  if (plan.exports.length === 0) throw new Failure(`"${file}" has no [[export]]: nothing to serve`);
  confineBy(plan, file);
  writeWithoutWaiting("counted");
  const buffers = announcedBuffers(plan.buffers);
  const report = new Reporter({ ...options, plan, buffers });
  const interfaces = interfacesOf(plan);
  const workers = plan.workers ?? Math.max(1, navigator.hardwareConcurrency);
  refuseFewFiles(plan, workers, interfaces.length);
  const aids = openWireAids(plan, threadCount(workers, plan.exports.length), DROP_SEED);
  const daemon: Daemon = new Daemon({
    plan,
    from: file === undefined ? "command line" : "configuration",
    group: {
      ...{ uring: plan.uring, ring: plan.ring, pollUs: plan.pollUs, buffers, workers, aids },
      mapBytes: plan.mapBytes ?? mapBytesDefault(),
    },
    readPlan: file === undefined ? undefined : () => planAgain(options, file),
    tell: (event) => report.event(event),
    onMessage: (message) => report.message(message),
    summary: () => counterLines(daemon.group, daemon.files),
    overview: (pasts) => watcher.ask(pasts),
  });
  warnAboutAddresses(plan);
  if (plan.waits) warnAboutMissing(plan, interfaces);
  for (const link of interfaces) warnAboutInterface(link);
  const drops = dropWarning(plan.dropPercent);
  if (drops !== undefined) warn(drops);
  const told = Promise.withResolvers<undefined>();
  const heard = { count: () => {}, reload: () => {} };
  // Listening before starting: no signal finds a half-started group.
  listenToSignals({
    stop: () => told.resolve(undefined),
    count: () => heard.count(),
    // Without a configuration SIGHUP asks for the end, as a terminal does that closes.
    ...(file === undefined ? {} : { reload: () => heard.reload() }),
  });
  await startDaemon(daemon);
  const startedMs = Date.now();
  heard.count = () => printCounters(daemon.group, daemon.files, options);
  // What goes wrong has been told.
  heard.reload = () => void daemon.reload().catch(() => {});
  const about = { version: configuration.version, name: plan.name ?? "" };
  const watcher = new Watcher(groupSnapshots(daemon.group, () => daemon.files, about));
  const watch = await openWatchOrStop(plan, watcher, daemon);
  report.serving(daemon.files, interfaces);
  for (const waiting of daemon.waiting) report.event({ kind: "waiting", ...waiting });
  if (watch !== undefined) report.watched(watch);
  daemon.ready();
  const failed = daemon.group.ended().then(() => undefined, (error: Error) => error);
  // A stop in progress still yields to a second signal.
  const ended = await Promise.race([told.promise, failed]);
  watcher.close();
  await watch?.close();
  const abandoned = await daemon.stop();
  report.close();
  if (ended instanceof Error) throw new Failure(ended.message);
  const seconds = (Date.now() - startedMs) / 1000;
  printSummary(daemon.group, daemon.files, { abandoned, seconds, ...options });
  return abandoned === 0 && daemon.group.atRisk.length === 0 ? 0 : EXIT_FAILED;
}

/** Shows numbers, if they are wanted; where that cannot be, nothing is left running or behind. */
async function openWatchOrStop({ metrics }: DaemonPlan, watcher: Watcher, daemon: Daemon) {
  if (metrics === undefined) return undefined;
  try {
    return openWatch(metrics, watcher);
  } catch (error) {
    watcher.close();
    await daemon.stop();
    throw error;
  }
}

/** Names all that cannot be served: who has twenty mends them at one go. */
async function startDaemon(daemon: Daemon): Promise<void> {
  try {
    await daemon.start();
  } catch (error) {
    if (!(error instanceof StartRefusal)) throw error;
    for (const refusal of error.refusals.slice(0, -1)) printError(`aoe: ${refusal}`);
    throw new Failure(error.message);
  }
}

function refuseFewFiles(plan: DaemonPlan, workers: number, interfaces: number): void {
  const obstacle = openFilesObstacle(filesOfGroup(workers, plan.exports.length, interfaces));
  if (obstacle !== undefined) throw new Failure(obstacle);
}

/** The interfaces of a plan that there are: all of them, unless it waits. */
function interfacesOf({ exports, waits }: DaemonPlan): NetworkInterface[] {
  const { names, present } = interfacesOfPlans(exports);
  return waits || names.length === 0 ? present : findInterfaces(names, { downToo: true });
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

/** Of exports that can be reached by another interface; what cannot be reached waits, and says so. */
function warnAboutMissing({ exports }: DaemonPlan, present: readonly NetworkInterface[]): void {
  const reached = exports.filter((ex) => whyUnreachable(ex, present) === undefined);
  const missing = interfacesOfPlans(reached).names.filter((name) =>
    !present.some((link) => link.name === name || link.altNames.includes(name))
  );
  for (const name of missing) {
    warn(`No interface is called "${name}" now: it is served on once there is one`);
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

/** Mapped pages are the page cache's: as many as it may sensibly hold. */
function mapBytesDefault(): number {
  return Math.min(MAP_BYTES_MAX, Math.floor(Deno.systemMemoryInfo().total / 2));
}
