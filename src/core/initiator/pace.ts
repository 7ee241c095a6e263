// How long answers take, for one class of commands on one path, and so when one counts as lost.
//
// A class is what takes its time for the same reasons: reads, writes, what concerns the whole disk
// (flushes, discards), and IDENTIFY, which needs no disk. Kept apart, since a read from the
// target's memory says nothing of a write that has to be stable, and a target that answers IDENTIFY
// at once may have a disk that takes seconds.
//
// Round trips follow RFC 6298. The tag names the copy of a command that was answered, so a
// sample is never ambiguous: what RFC 6298 section 3 allows with TCP's timestamps in place of
// Karn's rule. A copy whose sending time is no longer known gives no sample.
//
// Two things tell of a loss. A command that was sent later has been answered: then this one is
// overdue soon (RFC 8985). Or nothing comes at all: then one command is sent again, and an IDENTIFY
// beside it (RFC 8985, 7). When only that is answered the disk is slow, and what was sent stays
// with it: the next copy has to wait for long, however short the timeout is.

/** Bounds of the timers, all in milliseconds. */
export interface PaceTimes {
  /** Timeout before the first sample. */
  readonly rtoInitialMs: number;
  /** Smallest timeout; generous, since a timeout that is too short breeds duplicates. */
  readonly rtoMinMs: number;
  /** Largest one, and longest wait for a slow disk. */
  readonly rtoMaxMs: number;
}

export const CLASS_READ = 0;
export const CLASS_WRITE = 1;
/** Flushes and discards. */
export const CLASS_FLUSH = 2;
/** IDENTIFY, which needs no disk. */
export const CLASS_IDENTIFY = 3;
export const CLASSES = 4;

/** Doubling ends here, unless answers take longer. */
const BACKOFF_MAX_MS = 4000;
/** A timeout leaves at least so much of the round trip for what has not been seen yet. */
const RTO_MARGIN = 1.5;
/** The smallest round trip is forgotten after this long, since routes change, or so many trips. */
const RTT_FLOOR_MS = 10_000;
const RTT_FLOOR_TRIPS = 30;
/** A later command's answer alone never proves a loss sooner than this. */
const REORDERING_MIN_MS = 1;
const REORDERING_FACTOR_MAX = 32;
/** Answers without a needless retransmission after which less reordering is assumed. */
const REORDERING_DECAY = 1000;
/** Each copy waits so many times longer than the one before for the proof of its loss … */
const AGAIN_FACTOR = 4;
/** … but not for longer than this, nor than one copy would wait. */
const AGAIN_MAX_MS = 30_000;
/**
 * After the first, the second and each further timeout in a row: how long a disk is left alone
 * whose target answers. A disk of 20 s a command gets three copies of it.
 */
const SLOW_WAITS_MS = [1000, 25_000, 60_000];
/**
 * The same for a disk that is known to be quick: it may hang, but as well the network may have lost
 * what was sent, copies and all.
 */
const QUICK_WAITS_MS = [1000, 5000, 8000];

/** One estimate. Fields are read by others and written here only. */
export class Pace {
  rtoMs: number;
  srttMs = 0;
  rttvarMs = 0;
  /** Smallest round trip of late, Infinity before the first. */
  rttMinMs = Infinity;
  /** Latest sending time of a command that was answered. */
  answeredSentMs = -Infinity;
  /** When the last answer came. */
  answeredMs = -Infinity;
  /** Timeouts since the last answer, and when the last one was. */
  timeouts = 0;
  timedOutMs = -Infinity;

  readonly #times: PaceTimes;
  /** No timeout before this. */
  #holdMs = -Infinity;
  #rttMinAtMs = 0;
  #reordering = 1;
  #answersInOrder = 0;

  constructor(times: PaceTimes) {
    this.#times = times;
    this.rtoMs = times.rtoInitialMs;
  }

  /**
   * A command was answered.
   *
   * @param sentMs When that copy was sent, or NaN when it is not known any more.
   */
  answered(nowMs: number, sentMs: number): void {
    this.answeredMs = nowMs;
    this.timeouts = 0;
    this.#holdMs = -Infinity;
    if (sentMs === sentMs) {
      if (sentMs > this.answeredSentMs) this.answeredSentMs = sentMs;
      this.#sample(nowMs, nowMs - sentMs);
    }
    if (this.#reordering > 1 && ++this.#answersInOrder >= REORDERING_DECAY) {
      this.#answersInOrder = 0;
      this.#reordering /= 2;
    }
  }

  /** RFC 6298, section 2. */
  #sample(nowMs: number, rttMs: number): void {
    if (this.srttMs === 0) {
      this.srttMs = rttMs;
      this.rttvarMs = rttMs / 2;
    } else {
      this.rttvarMs += (Math.abs(this.srttMs - rttMs) - this.rttvarMs) / 4;
      this.srttMs += (rttMs - this.srttMs) / 8;
    }
    this.rtoMs = this.#estimateMs();
    const floorMs = Math.max(RTT_FLOOR_MS, RTT_FLOOR_TRIPS * this.srttMs);
    if (rttMs <= this.rttMinMs || nowMs - this.#rttMinAtMs > floorMs) {
      this.rttMinMs = rttMs;
      this.#rttMinAtMs = nowMs;
    }
  }

  #estimateMs(): number {
    const { rtoInitialMs, rtoMinMs, rtoMaxMs } = this.#times;
    if (this.srttMs === 0) return rtoInitialMs;
    const rtoMs = Math.max(this.srttMs + 4 * this.rttvarMs, RTO_MARGIN * this.srttMs);
    return rtoMs < rtoMinMs ? rtoMinMs : rtoMs > rtoMaxMs ? rtoMaxMs : rtoMs;
  }

  /** Begins with what another class has found out, where nothing is known of this one. */
  learn(other: Pace): void {
    if (this.srttMs === 0 && this.timeouts === 0 && other.srttMs > 0) {
      this.rtoMs = Math.max(this.rtoMs, other.rtoMs);
    }
  }

  /** The path was given up: what is known of the disk stays, what was waited for does not. */
  forgive(): void {
    this.rtoMs = this.#estimateMs();
    this.timeouts = 0;
    this.#holdMs = -Infinity;
  }

  /** How old a command must be to count as lost once one sent after it was answered. */
  reorderingMs(): number {
    if (this.srttMs === 0) return this.rtoMs;
    const tripMs = Math.max(this.srttMs + 4 * this.rttvarMs, RTO_MARGIN * this.srttMs);
    const ms = tripMs * this.#reordering;
    return Math.min(this.rtoMs, Math.max(ms, REORDERING_MIN_MS));
  }

  /**
   * When a command that was overtaken counts as lost.
   *
   * @param tries Copies of it that were sent. A disk may take very long for one place, and answer
   * for others: the next copy waits longer.
   * @param lossy The network is known to lose frames: then one that was overtaken is gone, however
   * often it has been sent.
   */
  overtakenAtMs(sentMs: number, tries: number, lossy: boolean): number {
    const onceMs = this.reorderingMs();
    const factor = lossy ? 1 : AGAIN_FACTOR ** (tries - 1);
    return sentMs + Math.max(onceMs, Math.min(onceMs * factor, AGAIN_MAX_MS));
  }

  /** When silence since a command was sent is a timeout (RFC 6298, section 5). */
  timeoutAtMs(sentMs: number): number {
    return Math.max(Math.max(sentMs, this.answeredMs) + this.rtoMs, this.#holdMs);
  }

  /** Nothing was answered for the timeout: it doubles (RFC 6298, 5.5). */
  timedOut(nowMs: number): void {
    this.timeouts++;
    this.timedOutMs = nowMs;
    const maxMs = Math.max(this.#estimateMs(), BACKOFF_MAX_MS);
    this.rtoMs = Math.min(2 * this.rtoMs, maxMs, this.#times.rtoMaxMs);
    this.#holdMs = nowMs + this.rtoMs;
  }

  /** The target has answered an IDENTIFY that was sent since the timeout: it is the disk. */
  leaveAlone(sentMs: number): void {
    if (this.timeouts === 0 || sentMs < this.timedOutMs) return;
    const waitsMs = this.srttMs === 0 || this.srttMs > QUICK_WAITS_MS[0]!
      ? SLOW_WAITS_MS
      : QUICK_WAITS_MS;
    const step = Math.min(this.timeouts, waitsMs.length) - 1;
    const waitMs = Math.min(waitsMs[step]!, this.#times.rtoMaxMs);
    this.#holdMs = Math.max(this.#holdMs, this.timedOutMs + waitMs);
  }

  /** The answer to a copy came although it had counted as lost: wait longer. */
  needless(): void {
    this.#answersInOrder = 0;
    this.#reordering = Math.min(2 * this.#reordering, REORDERING_FACTOR_MAX);
  }
}
