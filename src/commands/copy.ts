// `aoe copy SRC DST`: opens both ends, starts the thread that copies (loops/copy/driver.ts), shows
// how it goes, and says in the end what became of it.

import { findInterfaces } from "../control/network_interfaces.ts";
import { openCopySource, openDestination, standardEnd } from "../control/copy_ends.ts";
import {
  type CopyEndConfig,
  type CopyResult,
  PHASE_COPYING,
  PHASE_FLUSHING,
  PHASE_SUMMING,
  PHASE_VERIFYING,
} from "../loops/copy/config.ts";
import {
  INITIATOR_COUNT_BYTES,
  INITIATOR_COUNT_BYTES_TOTAL,
  INITIATOR_COUNT_PATHS_UP,
  INITIATOR_COUNT_PHASE,
  INITIATOR_COUNT_RETRANSMITTED,
  type InitiatorCounters,
} from "../loops/initiator/counters.ts";
import { InitiatorThread } from "../control/initiator_thread.ts";
import type { CopyEndName, CopyOptions } from "./copy_arguments.ts";
import {
  type CopyIdentity,
  nameOfEnd,
  readState,
  removeState,
  statePath,
  writeState,
} from "./copy_state.ts";
import {
  EXIT_FAILED,
  EXIT_INTERRUPTED,
  EXIT_MISMATCH,
  EXIT_REFUSED,
  EXIT_SILENT,
  EXIT_USAGE,
} from "./exit_codes.ts";
import {
  Failure,
  formatBytes,
  formatJson,
  paint,
  printError,
  printJson,
  printLine,
  ProgressLine,
  warn,
  writeWithoutWaiting,
} from "./output.ts";
import { listenToSignals } from "./stop_signals.ts";

const PROGRESS_EVERY_MS = 200;
/** By kind of failure; the help of the command names them. */
const EXIT_CODES = {
  local: EXIT_FAILED,
  usage: EXIT_USAGE,
  silent: EXIT_SILENT,
  refused: EXIT_REFUSED,
  lost: EXIT_REFUSED,
  mismatch: EXIT_MISMATCH,
} as const;

const PHASE_NAMES: Readonly<Record<number, string>> = {
  [PHASE_SUMMING]: "summing up what is there",
  [PHASE_COPYING]: "copying",
  [PHASE_FLUSHING]: "flushing",
  [PHASE_VERIFYING]: "verifying",
};

/** Copies; returns the exit code. */
export async function runCopy(options: CopyOptions): Promise<number> {
  const { source, destination } = options;
  const ends = [source, destination];
  if (!ends.some((end) => end.kind === "address")) {
    throw new Failure("Neither SRC nor DST is a SHELF.SLOT: cp copies between files", 2);
  }
  const identity: CopyIdentity = {
    source: nameOfEnd(source),
    destination: nameOfEnd(destination),
    offset: options.offsetSectors * 512,
    seek: options.seekSectors * 512,
    length: options.lengthBytes ?? null,
  };
  if (identity.source === identity.destination && source.kind !== "standard") {
    throw new Failure("SRC and DST are the same", 2);
  }
  const state = statePath(destination);
  if (options.resume && destination.kind === "standard") {
    throw new Failure("What went to standard output cannot be resumed", 2);
  }
  const before = options.resume ? readState(state, identity) : undefined;
  const interfaces = findInterfaces(options.interfaces).map((link) => link.name);
  const disks = ends.flatMap((end) => end.kind === "address" ? [end.address] : []);
  const sourceEnd = openEnd(source, disks, "in");
  const destinationEnd = openEnd(destination, disks, "out");
  const { retransmitMs } = options;
  const report = new Reporter(options);
  let result: CopyResult | undefined;
  let serials: readonly string[] = [];
  let changed = false;
  const thread = await InitiatorThread.start({
    interfaces,
    disks,
    settings: {
      deadAfterMs: options.deadAfterMs,
      ...(retransmitMs === undefined ? {} : { rtoMinMs: retransmitMs, rtoMaxMs: retransmitMs }),
    },
    use: {
      kind: "copy",
      source: sourceEnd,
      destination: destinationEnd,
      sourceOffset: identity.offset,
      destinationOffset: identity.seek,
      bytes: options.lengthBytes,
      resumeAt: before?.done ?? 0,
      truncate: destinationEnd.disk === undefined && destinationEnd.kind === "file" &&
        identity.seek === 0,
      verify: options.verify,
      sparse: options.sparse,
      checksum: options.checksum,
      uring: options.uring,
      connectMs: options.timeoutMs,
    },
  }, (message) => {
    if (message.kind === "note") report.note(message.text);
    else if (message.kind === "copied") result = message;
    else if (message.kind === "ready") {
      serials = message.serials;
      if (before !== undefined && serials.join() !== before.serials.join()) {
        report.note("The disk is not the one that was copied before");
        changed = true;
        thread.stop();
      }
    }
  });
  const deaf = listenToSignals({
    stop: () => thread.stop(),
    count: () => report.count(thread.counters),
  });
  report.watch(thread.counters);
  try {
    await thread.ended;
  } finally {
    deaf();
    report.close();
  }
  if (result === undefined) throw new Failure("The copy ended without a result");
  if (changed) throw new Failure("Nothing was copied: the serial number differs", 2);
  const unfinished = result.stopped || result.failure !== undefined;
  if (unfinished && result.bytes === 0 && destination.kind === "path") {
    // An empty file that nobody asked for says nothing.
    if (destinationEnd.disk === undefined && destinationEnd.made) Deno.removeSync(destination.path);
  }
  const kept = unfinished && result.flushed && result.bytes > 0 &&
    result.failure?.kind !== "mismatch" && destination.kind !== "standard";
  if (kept) {
    const done = result.bytes - result.bytes % 512;
    writeState(state, { ...identity, serials, done });
  } else if (!unfinished) removeState(state);
  report.ended(result, kept, thread.counters);
  if (result.failure !== undefined) {
    throw new Failure(result.failure.text, EXIT_CODES[result.failure.kind]);
  }
  return result.stopped ? EXIT_INTERRUPTED : 0;
}

function openEnd(
  end: CopyEndName,
  disks: readonly unknown[],
  direction: "in" | "out",
): CopyEndConfig {
  switch (end.kind) {
    case "address":
      return { disk: disks.indexOf(end.address) };
    case "standard":
      return standardEnd(direction);
    case "path":
      return direction === "in" ? openCopySource(end.path) : openDestination(end.path);
  }
}

/** Says what happens, on stdout or, when the data go there, on stderr. */
class Reporter {
  readonly #options: CopyOptions;
  readonly #line: ProgressLine;
  #timer: ReturnType<typeof setInterval> | undefined;
  #rate = 0;
  #bytes = 0;
  #ms = 0;

  constructor(options: CopyOptions) {
    writeWithoutWaiting("failure");
    this.#options = options;
    this.#line = new ProgressLine(!options.quiet && !options.json);
  }

  /** Shows progress while the thread works. */
  watch(counters: InitiatorCounters): void {
    this.#ms = performance.now();
    this.#timer = setInterval(() => this.#show(counters), PROGRESS_EVERY_MS);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#line.clear();
  }

  note(text: string): void {
    this.#line.clear();
    if (this.#options.json) this.#json({ event: "note", text });
    else warn(text);
  }

  ended(result: CopyResult, kept: boolean, counters: InitiatorCounters): void {
    const { bytes, seconds, checksum, checksumFrom, zeroBytes, verified, flushed } = result;
    const retransmitted = counters.value(INITIATOR_COUNT_RETRANSMITTED);
    if (this.#options.json) {
      this.#json({
        event: result.failure !== undefined ? "failed" : result.stopped ? "stopped" : "copied",
        bytes,
        seconds,
        zeroBytes,
        retransmitted,
        flushed,
        verified,
        ...(checksum === "" ? {} : { checksum: { [this.#options.checksum]: checksum } }),
        ...(checksumFrom === 0 ? {} : { checksumFrom }),
        resumable: kept,
      });
      return;
    }
    if (result.stopped || result.failure !== undefined) {
      if (kept) {
        this.#say(
          `Stopped after ${bytes} bytes (${formatBytes(bytes)}), which are on stable storage: ` +
            "the same command with --resume goes on there",
        );
      }
      return;
    }
    if (this.#options.quiet) return;
    const rate = seconds > 0 ? `, ${formatBytes(Math.round(bytes / seconds))}/s` : "";
    const zeros = zeroBytes > 0 ? `, ${formatBytes(zeroBytes)} of it left out as zeros` : "";
    this.#say(
      `${paint("Copied", "bold")} ${bytes} bytes (${formatBytes(bytes)}) in ` +
        `${seconds.toFixed(1)} s${rate}${zeros}; ${retransmitted} retransmissions` +
        (verified ? "; read back, and equal" : ""),
    );
    if (checksum !== "") {
      const from = checksumFrom === 0 ? "" : `  (from byte ${checksumFrom} on)`;
      this.#say(`${this.#options.checksum}  ${checksum}${from}`);
    }
  }

  /** Says how far it is, when somebody asks by a signal. */
  count(counters: InitiatorCounters): void {
    if (this.#options.json) {
      this.#json({
        event: "progress",
        doing: PHASE_NAMES[counters.value(INITIATOR_COUNT_PHASE)] ?? "connecting",
        bytes: counters.value(INITIATOR_COUNT_BYTES),
        bytesTotal: counters.value(INITIATOR_COUNT_BYTES_TOTAL),
        retransmitted: counters.value(INITIATOR_COUNT_RETRANSMITTED),
        paths: counters.value(INITIATOR_COUNT_PATHS_UP),
      });
      return;
    }
    this.#line.clear();
    printError(this.#progress(counters) ?? "connecting");
  }

  #show(counters: InitiatorCounters): void {
    const text = this.#progress(counters);
    if (text !== undefined) this.#line.show(text);
  }

  #progress(counters: InitiatorCounters): string | undefined {
    const phase = counters.value(INITIATOR_COUNT_PHASE);
    const name = PHASE_NAMES[phase];
    if (name === undefined) return undefined;
    const bytes = counters.value(INITIATOR_COUNT_BYTES);
    const total = counters.value(INITIATOR_COUNT_BYTES_TOTAL);
    const nowMs = performance.now();
    const rate = Math.max(0, (bytes - this.#bytes) / (nowMs - this.#ms) * 1000);
    // Smoothed over about a second.
    this.#rate = this.#rate === 0 ? rate : this.#rate + (rate - this.#rate) / 4;
    this.#bytes = bytes;
    this.#ms = nowMs;
    const retransmitted = counters.value(INITIATOR_COUNT_RETRANSMITTED);
    const paths = counters.value(INITIATOR_COUNT_PATHS_UP);
    const left = total > 0 && this.#rate > 0 ? (total - bytes) / this.#rate : NaN;
    return ([
      total > 0 ? `${(100 * bytes / total).toFixed(1).padStart(5)}%` : "",
      `${name} ${formatBytes(bytes)}${total > 0 ? ` of ${formatBytes(total)}` : ""}`,
      `${formatBytes(Math.round(this.#rate))}/s`,
      Number.isFinite(left) ? `${formatDuration(left)} left` : "",
      retransmitted > 0 ? `${retransmitted} retransmitted` : "",
      paths === 0 ? "no path" : paths > 1 ? `${paths} paths` : "",
    ].filter((part) => part !== "").join("  "));
  }

  #say(text: string): void {
    if (this.#options.destination.kind === "standard") printError(text);
    else printLine(text);
  }

  #json(value: unknown): void {
    if (this.#options.destination.kind === "standard") printError(formatJson(value));
    else printJson(value);
  }
}

/** `1:02:03` or `2:03`. */
function formatDuration(seconds: number): string {
  const whole = Math.ceil(seconds);
  const two = (n: number) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours > 0
    ? `${hours}:${two(minutes)}:${two(whole % 60)}`
    : `${minutes}:${two(whole % 60)}`;
}
