// The daemon of an attached disk, and how it is started: the program again, in a session of its
// own, whose standard output says when the device can be used.

import { sessionSettings } from "./arguments.ts";
import type { Address } from "../wire/aoe.ts";
import { formatAddress } from "../wire/aoe.ts";
import type { BackEndName } from "../control/attach/back_end.ts";
import { awaitDiskName } from "../control/attach/control_socket.ts";
import { ownCommand, takeKeeperState } from "../control/attach/keeper.ts";
import { foreignHolders } from "../control/attach/reservation.ts";
import type { DiskChoice } from "../loops/initiator/loop.ts";
import { AttachedDisk } from "../control/attach/attached_disk.ts";
import type { ResumeState } from "../control/attach/attached_disk.ts";
import type { AttachedStatus } from "../control/attach/status.ts";
import { findInterfaces, survivingInterfaces } from "../control/network_interfaces.ts";
import configuration from "../../deno.json" with { type: "json" };
import { diskSnapshots } from "../control/watch/disk_snapshot.ts";
import { openWatch } from "../control/watch/watch_server.ts";
import type { Watch } from "../control/watch/watch_server.ts";
import { Watcher } from "../control/watch/watcher.ts";
import { foregroundArguments } from "./attach_arguments.ts";
import type { AttachCommandOptions } from "./attach_arguments.ts";
import { openInitiatorAids } from "../control/wire_aids.ts";
import { admitDisk } from "../control/admission.ts";
import { chooseBackEnd } from "../control/attach/back_ends.ts";
import { writeSystemLog } from "../../ffi/syslog.ts";
import { EXIT_INTERRUPTED } from "./exit_codes.ts";
import {
  counted,
  eventTime,
  Failure,
  formatBytes,
  oneLine,
  printError,
  printJson,
  printLine,
  visible,
  warn,
  writeWithoutWaiting,
} from "./output.ts";
import { listenToSignals } from "./stop_signals.ts";

/** In the environment of a daemon: nobody reads what it prints, once it is ready. */
const DAEMON_VARIABLE = "AOE_DAEMON";

/** A line that a daemon writes before it is ready, and the one that says that it is. */
type DaemonMessage =
  | { readonly warning: string; readonly status?: undefined }
  | { readonly status: AttachedStatus };

/**
 * Starts a daemon, and waits until its device can be used.
 *
 * @returns Its status; undefined when it could not be started, which it has explained.
 */
export async function startDaemon(args: readonly string[]): Promise<AttachedStatus | undefined> {
  writeWithoutWaiting("failure");
  const [program = "", ...words] = ownCommand();
  const child = new Deno.Command(program, {
    args: [...words, ...args],
    env: { [DAEMON_VARIABLE]: "1" },
    cwd: "/",
    stdin: "null",
    // Nothing of ours: who waits for the end of our output must not wait for the daemon's.
    stdout: "piped",
    stderr: "piped",
    detached: true,
  }).spawn();
  // A daemon in a session of its own does not hear of Ctrl-C.
  let interrupted = false;
  const stop = () => {
    interrupted = true;
    child.kill("SIGTERM");
  };
  const deaf = listenToSignals({ stop, insist: stop });
  try {
    const status = await untilReady(child);
    if (status === undefined && interrupted) {
      throw new Failure("Interrupted, and not attached", EXIT_INTERRUPTED);
    }
    return status;
  } finally {
    deaf();
  }
}

/** Passes on what a daemon says until it is ready, or has ended. */
async function untilReady(child: Deno.ChildProcess): Promise<AttachedStatus | undefined> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const bytes of child.stdout) {
    text += decoder.decode(bytes, { stream: true });
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      const told = JSON.parse(text.slice(0, end)) as DaemonMessage;
      text = text.slice(end + 1);
      if (told.status !== undefined) {
        child.unref();
        return told.status;
      }
      warn(told.warning);
    }
  }
  const failure = await new Response(child.stderr).text();
  for (const line of failure.trimEnd().split("\n")) if (line !== "") printError(line);
  await child.status;
  return undefined;
}

/** Attaches a disk and serves it until it is detached; the exit code. */
export async function serveDisk(
  address: Address,
  options: AttachCommandOptions,
): Promise<number> {
  writeWithoutWaiting("counted");
  const name = formatAddress(address.shelf, address.slot);
  const resume = takeKeeperState() as ResumeState | undefined;
  const lock = await awaitDiskName(name, resume?.lock);
  if (lock === undefined) throw new Failure(`${name} is attached already, or being attached`);
  const voice = new Voice(resume !== undefined);
  const log: Log = (text, severity) => voice.log(text, severity);
  const { backEnd, skipped } = chosen(options, resume);
  const interfaces = resume?.interfaces ??
    findInterfaces(options.interfaces).map((link) => link.name);
  if (resume !== undefined) {
    // One that is gone may come back.
    const left = survivingInterfaces(interfaces).map((link) => link.name);
    const gone = interfaces.filter((other) => !left.includes(other));
    if (gone.length > 0) log(`${name}: interface ${gone.join(", ")} is gone`, "warning");
  }
  // Heard from here on: nobody ends with a device half made.
  const wishes = new StopWishes(name, log);
  const disk = resume === undefined
    ? await wishes.unlessStopped(admit(address, interfaces, options, log))
    : chosenBefore(address, options);
  const aids = openInitiatorAids(options, (text) => log(`${name}: ${text}`, "warning"));
  const start = AttachedDisk.start({
    address: disk,
    interfaces,
    backEnd,
    skipped,
    readOnly: options.readOnly,
    reserve: options.reserve,
    fuseUring: options.fuseUring,
    settings: sessionSettings(options),
    ringSlots: options.noRing ? 0 : options.ringSlots,
    aids,
    connectMs: options.timeoutMs,
    lock,
    resume,
    args: foregroundArguments(address, options),
    log,
  });
  if (resume !== undefined) start.catch((error) => log(`${name}: ${error.message}`, "warning"));
  const attached = await start;
  const unwatch = watchDisk(attached, options.metrics, log);
  const { fuseUring } = attached.status;
  if (typeof fuseUring === "string" && (options.fuseUring || options.verbose)) {
    log(`${name}: FUSE over io_uring ${fuseUring}`, options.fuseUring ? "warning" : "info");
  }
  voice.ready = true;
  const stopped = wishes.serve(attached);
  if (!wishes.heard) voice.sayAttached(attached.status, options.json);
  for (const { name: other, reason } of skipped) log(`${name}: not by ${other}: ${reason}`, "info");
  const code = await Promise.race([attached.ended.then(() => 0), stopped]);
  await unwatch();
  log(code === 0 ? `${name} is detached` : `${name} stays attached, in the background`, "info");
  return code;
}

/** Lets others see what happens to a disk; without the address that was wanted, by its socket alone. */
function watchDisk(attached: AttachedDisk, at: string | undefined, log: Log): () => Promise<void> {
  const about = { version: configuration.version, address: attached.name };
  const node = () => attached.status.node;
  const watcher = new Watcher(diskSnapshots(about, attached.counters, node));
  attached.overview = (pasts) => watcher.ask(pasts);
  let watch: Watch | undefined;
  try {
    if (at !== undefined) watch = openWatch(at, watcher);
    if (watch?.warning !== undefined) log(watch.warning, "warning");
  } catch (error) {
    log((error as Error).message, "warning");
  }
  return async () => {
    watcher.close();
    await watch?.close();
  };
}

/** Looks whether the disk may be used, and by whom it is reserved. */
async function admit(
  address: Address,
  interfaces: readonly string[],
  options: AttachCommandOptions,
  log: Log,
): Promise<DiskChoice> {
  const wish = { ...options, address, writes: !options.readOnly, pastDevice: false };
  const disk = await admitDisk(wish, (text) => log(text, "warning"));
  if (options.reserve) return disk;
  const holders = await foreignHolders({ address, interfaces, timeoutMs: options.timeoutMs });
  if (holders.length > 0) {
    const name = formatAddress(address.shelf, address.slot);
    const who = holders.join(", ");
    log(`${name} is reserved by ${who}: reads and writes will be refused`, "warning");
  }
  return disk;
}

type Log = (text: string, severity: "warning" | "info") => void;

/** How the process that serves a disk says what there is to say: to whoever hears it. */
class Voice {
  /** The device can be used: nobody waits for it any more. */
  ready = false;
  readonly #resumes: boolean;
  readonly #daemon: boolean;

  /** @param resumes Whether a keeper has started it, so that nobody reads what is printed. */
  constructor(resumes: boolean) {
    this.#resumes = resumes;
    this.#daemon = Deno.env.get(DAEMON_VARIABLE) === "1" || resumes;
  }

  log(text: string, severity: "warning" | "info"): void {
    // What goes wrong before it is ready concerns the command that waits for it.
    const heard = severity === "warning" && !this.ready && !this.#resumes;
    if (this.#daemon && heard) printJson({ warning: text } satisfies DaemonMessage);
    else if (this.#daemon) writeSystemLog(visible(oneLine(text), false), severity);
    else if (severity === "warning") warn(this.ready ? eventTime() + text : text);
    else printError(this.ready ? eventTime() + text : text);
  }

  sayAttached(status: AttachedStatus, json: boolean): void {
    const how = `${status.address} is ${status.node}, by ${status.backEnd} (${status.device})`;
    if (this.#resumes) this.log(`${how}; its daemon was killed, and this one goes on`, "warning");
    else if (this.#daemon) {
      printJson({ status } satisfies DaemonMessage);
      this.log(how, "info");
    } else if (json) printJson(status);
    else printLine(how);
  }
}

/** What was chosen when the daemon was started that was killed. */
function chosenBefore(address: Address, { targets }: AttachCommandOptions): DiskChoice {
  if (targets.length === 0) return address;
  return { ...address, targets: targets.map((target) => Uint8Array.fromHex(target)) };
}

function chosen(
  options: AttachCommandOptions,
  resume: ResumeState | undefined,
): { backEnd: BackEndName; skipped: AttachedStatus["skipped"] } {
  if (resume !== undefined) return { backEnd: resume.backEnd, skipped: [] };
  const wanted = options.backEnd === "auto" || options.backEnd === "kernel"
    ? undefined
    : options.backEnd;
  const { chosen, skipped } = chooseBackEnd(wanted);
  if (chosen !== undefined) return { backEnd: chosen, skipped };
  const reasons = skipped.map(({ name, reason }) => `${name}: ${reason}`).join("; ");
  throw new Failure(
    `No way to make a block device here (${reasons}); ` +
      `aoe nbd serves the disk to programs without one`,
  );
}

/**
 * What signals ask for. Before there is a device the attempt ends; while it is made the wish waits;
 * later it detaches. What is in use stays attached; who insists is left alone with it: the process
 * ends, and its keeper goes on in the background.
 */
class StopWishes {
  /** Somebody wanted the end before there was a device. */
  heard = false;
  readonly #log: Log;
  readonly #none = Promise.withResolvers<never>();
  readonly #stopped = Promise.withResolvers<number>();
  #disk: AttachedDisk | undefined;

  constructor(name: string, log: Log) {
    this.#log = log;
    this.#none.promise.catch(() => {});
    listenToSignals({
      stop: () => this.#stop(name, false),
      insist: () => this.#stop(name, true),
      count: () => log(this.#disk ? countersOf(this.#disk.status) : `${name}: waits`, "info"),
    });
  }

  /** What `preparation` comes to, unless the end is wanted first. */
  unlessStopped<T>(preparation: Promise<T>): Promise<T> {
    return Promise.race([preparation, this.#none.promise]);
  }

  /** The exit code, once a signal has ended the serving of `disk`. */
  serve(disk: AttachedDisk): Promise<number> {
    this.#disk = disk;
    if (this.heard) this.#detach(disk, false);
    return this.#stopped.promise;
  }

  #stop(name: string, insisted: boolean): void {
    if (this.#disk !== undefined) {
      this.#detach(this.#disk, insisted);
      return;
    }
    this.heard = true;
    this.#none.reject(new Failure(`${name} is not attached: interrupted`, EXIT_INTERRUPTED));
  }

  #detach(disk: AttachedDisk, insisted: boolean): void {
    disk.detach(false).then(() => this.#stopped.resolve(0), (error) => {
      this.#log((error as Error).message, "warning");
      if (insisted && disk.status.keeper === true) this.#stopped.resolve(EXIT_INTERRUPTED);
    });
  }
}

function countersOf(status: AttachedStatus): string {
  const { address, reads, readBytes, writes, writtenBytes, retransmitted } = status;
  return `${address}  ${counted(reads, "read")} (${formatBytes(readBytes)}), ` +
    `${counted(writes, "write")} (${formatBytes(writtenBytes)}), ${retransmitted} retransmitted`;
}
