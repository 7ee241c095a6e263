// How far a copy is, in one line: what is done, how fast, and how long it will take. While nothing
// comes it waits, and says for how long: a rate that only fades would promise centuries.

import {
  PHASE_COPYING,
  PHASE_FLUSHING,
  PHASE_PROVING,
  PHASE_READING_AGAIN,
  PHASE_VERIFYING,
} from "../loops/copy/config.ts";
import { formatBytes } from "./output.ts";

/** Nothing has come for so long: it waits. */
const WAITING_MS = 2_000;
/** The rate is not taken over less. */
const RATE_MS_MIN = 50;

/** What a phase is called. */
export const COPY_PHASE_NAMES: Readonly<Record<number, string>> = {
  [PHASE_PROVING]: "checking what was copied before",
  [PHASE_COPYING]: "copying",
  [PHASE_FLUSHING]: "flushing",
  [PHASE_READING_AGAIN]: "reading the source again",
  [PHASE_VERIFYING]: "verifying",
};

/** What is known at one moment. */
export interface CopyMoment {
  /** A PHASE constant of the copy's. */
  readonly phase: number;
  readonly bytes: number;
  /** 0: nobody knows. */
  readonly total: number;
  readonly retransmitted: number;
  readonly paths: number;
}

/** The line, from moment to moment. */
export class CopyProgress {
  #rate = 0;
  #bytes = 0;
  #phase = -1;
  #ms = 0;
  #movedMs = 0;

  /**
   * @param nowMs Of a clock that only goes forward.
   * @returns Undefined while there is nothing to say.
   */
  line(moment: CopyMoment, nowMs: number): string | undefined {
    const { phase, bytes, total, retransmitted, paths } = moment;
    const name = COPY_PHASE_NAMES[phase];
    if (name === undefined) return undefined;
    this.#measure(moment, nowMs);
    const silentMs = phase === PHASE_FLUSHING ? 0 : nowMs - this.#movedMs;
    const waits = paths === 0 || silentMs >= WAITING_MS;
    const left = total > 0 && this.#rate > 0 ? (total - bytes) / this.#rate : NaN;
    return [
      total > 0 ? `${(100 * bytes / total).toFixed(1).padStart(5)}%` : "",
      `${name} ${formatBytes(bytes)}${total > 0 ? ` of ${formatBytes(total)}` : ""}`,
      waits
        ? `waiting for ${Math.floor(silentMs / 1000)} s`
        : `${formatBytes(Math.round(this.#rate))}/s`,
      !waits && Number.isFinite(left) ? `${formatDuration(left)} left` : "",
      retransmitted > 0 ? `${retransmitted} retransmitted` : "",
      paths === 0 ? "no path" : paths > 1 ? `${paths} paths` : "",
    ].filter((part) => part !== "").join("  ");
  }

  #measure({ phase, bytes }: CopyMoment, nowMs: number): void {
    if (phase !== this.#phase) {
      this.#phase = phase;
      this.#rate = 0;
      this.#bytes = bytes;
      this.#ms = this.#movedMs = nowMs;
      return;
    }
    if (bytes !== this.#bytes && nowMs - this.#movedMs >= WAITING_MS) this.#rate = 0;
    if (bytes !== this.#bytes) this.#movedMs = nowMs;
    if (nowMs - this.#ms < RATE_MS_MIN) return;
    const rate = Math.max(0, (bytes - this.#bytes) / (nowMs - this.#ms) * 1000);
    // Smoothed over about a second.
    this.#rate = this.#rate === 0 ? rate : this.#rate + (rate - this.#rate) / 4;
    this.#bytes = bytes;
    this.#ms = nowMs;
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
