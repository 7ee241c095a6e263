// What `aoe copy` says while it works and at its end, on stdout or, when the data go there, on stderr.

import type { CopyResult } from "../loops/copy/config.ts";
import {
  INITIATOR_COUNT_BYTES,
  INITIATOR_COUNT_BYTES_TOTAL,
  INITIATOR_COUNT_LOST,
  INITIATOR_COUNT_PATHS_UP,
  INITIATOR_COUNT_PHASE,
  INITIATOR_COUNT_RETRANSMITTED,
  type InitiatorCounters,
} from "../loops/initiator/counters.ts";
import type { CopyOptions } from "./copy_arguments.ts";
import { COPY_PHASE_NAMES, type CopyMoment, CopyProgress } from "./copy_progress.ts";
import {
  counted,
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

const PROGRESS_EVERY_MS = 200;

/** The reporter of one copy. */
export class CopyReport {
  readonly #options: CopyOptions;
  readonly #line: ProgressLine;
  readonly #progress = new CopyProgress();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: CopyOptions) {
    writeWithoutWaiting("failure");
    this.#options = options;
    this.#line = new ProgressLine(!options.quiet && !options.json);
  }

  /** Shows progress while the thread works. */
  watch(counters: InitiatorCounters): void {
    this.#timer = setInterval(() => {
      const text = this.#progress.line(momentOf(counters), performance.now());
      if (text !== undefined) this.#line.show(text);
    }, PROGRESS_EVERY_MS);
  }

  /** Nothing goes on any more. */
  close(): void {
    clearInterval(this.#timer);
    this.#line.clear();
  }

  /** What the user should know, though the copy goes on. */
  note(text: string): void {
    this.#line.clear();
    if (this.#options.json) this.#json({ event: "note", text });
    else warn(text);
  }

  /** Says how far it is, when somebody asks by a signal. */
  count(counters: InitiatorCounters): void {
    const moment = momentOf(counters);
    if (this.#options.json) {
      this.#json({
        event: "progress",
        doing: COPY_PHASE_NAMES[moment.phase] ?? "connecting",
        bytes: moment.bytes,
        bytesTotal: moment.total,
        retransmitted: moment.retransmitted,
        paths: moment.paths,
      });
      return;
    }
    this.#line.clear();
    printError(this.#progress.line(moment, performance.now()) ?? "connecting");
  }

  /**
   * What became of it.
   *
   * @param before Bytes of earlier runs, which took none of this one's time.
   * @param kept Bytes that --resume would go on behind; 0: it would not.
   */
  ended(
    result: CopyResult,
    { before, kept, counters }: {
      readonly before: number;
      readonly kept: number;
      readonly counters: InitiatorCounters;
    },
  ): void {
    const { bytes, seconds, checksum, zeroBytes, verified, flushed } = result;
    const retransmitted = counters.value(INITIATOR_COUNT_RETRANSMITTED);
    const lost = counters.value(INITIATOR_COUNT_LOST);
    const { dropPercent: drop } = this.#options;
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
        ...(verified ? { sourceReadAgain: result.sourceReadAgain } : {}),
        resumable: kept > 0,
        ...(kept > 0 ? { kept } : {}),
        ...(drop === undefined ? {} : { drop, lost }),
      });
      return;
    }
    if (result.stopped || result.failure !== undefined) {
      if (kept > 0) {
        this.#say(
          `Stopped after ${kept} bytes (${formatBytes(kept)}), which are on stable storage: ` +
            "the same command with --resume goes on there",
        );
      }
      return;
    }
    if (this.#options.quiet) return;
    const rate = seconds > 0 ? `, ${formatBytes(Math.round((bytes - before) / seconds))}/s` : "";
    const equal = !verified
      ? ""
      : result.sourceReadAgain
      ? "; read back, and equal"
      : "; equal to what came";
    this.#say(
      `${paint("Copied", "bold")} ${counted(bytes, "byte")} (${formatBytes(bytes)}) in ` +
        `${seconds.toFixed(1)} s${rate}${equal}`,
    );
    const besides = [
      ...zeroBytes > 0 ? [`${formatBytes(zeroBytes)} of it left out as zeros`] : [],
      ...retransmitted > 0 ? [counted(retransmitted, "retransmission")] : [],
      ...lost > 0 ? [`${counted(lost, "frame")} lost on purpose (--drop)`] : [],
    ];
    if (besides.length > 0) this.#say(besides.join(", "));
    if (checksum !== "") this.#say(`${this.#options.checksum}  ${checksum}`);
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

function momentOf(counters: InitiatorCounters): CopyMoment {
  return {
    phase: counters.value(INITIATOR_COUNT_PHASE),
    bytes: counters.value(INITIATOR_COUNT_BYTES),
    total: counters.value(INITIATOR_COUNT_BYTES_TOTAL),
    retransmitted: counters.value(INITIATOR_COUNT_RETRANSMITTED),
    paths: counters.value(INITIATOR_COUNT_PATHS_UP),
  };
}
