// One path of the initiator: an interface and a MAC address of the target. Here are its round trip
// estimate, its window, its health and its frame size; which command goes where is decided in
// initiator.ts.
//
// Round trips follow RFC 6298. The tag names the copy of a command that was answered, so a
// sample is never ambiguous: what RFC 6298 section 3 allows with TCP's timestamps in place of
// Karn's rule. A copy whose sending time is no longer known gives no sample.

/** Bounds of the timers, all in milliseconds. */
export interface PathTimes {
  /** Timeout before the first sample. */
  readonly rtoInitialMs: number;
  /** Smallest timeout; generous, since a timeout that is too short breeds duplicates. */
  readonly rtoMinMs: number;
  readonly rtoMaxMs: number;
  /** Silence, with commands in flight, after which a path is given up and probed. */
  readonly pathLostMs: number;
}

/** Known, but nobody has answered an IDENTIFY over it yet, or not any more: only probes use it. */
export const PATH_PROBING = 0;
export const PATH_UP = 1;
/** It leads to a different disk: never used. */
export const PATH_REFUSED = 2;

/** Frames that every Ethernet carries: 2 sectors (wire/README.md, 'Query config'). */
export const SECTORS_SMALL = 2;

const WINDOW_INITIAL = 16;
/**
 * Smallest windows after a timeout and after a single loss. TCP goes down to one; here a window
 * seldom is more than 64 frames, and what is lost at random must not leave a path idle.
 */
const WINDOW_AFTER_TIMEOUT = 4;
const WINDOW_AFTER_LOSS = 8;
/** Unanswered timeouts in a row that, with `pathLostMs` of silence, give a path up. */
const TIMEOUTS_LOST = 3;
/** Large frames lost with none answered between, and for how long, before small ones are used. */
const LARGE_LOST_MAX = 6;
const LARGE_SILENCE_MS = 250;
/** A loss without queueing (round trips near the smallest) is noise, not congestion. */
const SHRINK_NOISE = 0.85;
const SHRINK_CONGESTION = 0.5;
/** The smallest round trip is forgotten after this long, since routes change. */
const RTT_FLOOR_MS = 10_000;
/** A later command's answer alone never proves a loss sooner than this. */
const REORDERING_MIN_MS = 1;
const REORDERING_FACTOR_MAX = 32;
/** Answers without a needless retransmission after which less reordering is assumed. */
const REORDERING_DECAY = 1000;
const PROBE_MIN_MS = 100;
const PROBE_MAX_MS = 1000;
const LARGE_PROBE_MAX_MS = 30_000;
/** Large frames that worked for this many waits were no accident: the next wait is short again. */
const LARGE_STABLE_WAITS = 10;

/** State of one path. Fields are read by the initiator and written here only, unless it says so. */
export class Path {
  /** Index in the initiator's table, which is also the list of its commands in flight. */
  readonly index: number;
  /** The loop's number of the interface. */
  readonly interfaceIndex: number;
  /** Remote MAC, six bytes. */
  readonly mac: Uint8Array;
  /** The same as two numbers, for comparison. */
  readonly macHigh: number;
  readonly macLow: number;

  state = PATH_PROBING;
  /** Commands in flight, probes not counted; counted by the initiator. */
  flying = 0;
  /** Commands that may be in flight, fractions included. */
  window = 1;
  /** The target's buffer count within our own bound. */
  windowMax = 1;
  /** Credit of the weighted round robin; kept by the initiator. */
  credit = 0;

  /** Sectors a frame may carry now. */
  sectors = SECTORS_SMALL;
  /** What MTU and target would allow. */
  sectorsMax = SECTORS_SMALL;

  rtoMs: number;
  srttMs = 0;
  rttvarMs = 0;
  /** Smallest round trip of late, Infinity before the first. */
  rttMinMs = Infinity;
  /** Latest sending time of a frame that was answered. */
  answeredSentMs = -Infinity;
  /** When anything valid came over this path last. */
  heardMs = -Infinity;

  /** When the next probe is due; Infinity while one is in flight. */
  probeAtMs = -Infinity;
  /** When the next large probe is due; Infinity: none wanted, or one in flight. */
  largeProbeAtMs = Infinity;

  /** Counters for people. */
  readonly counters = { sent: 0, answered: 0, lost: 0, needless: 0, timesLost: 0 };

  readonly #times: PathTimes;
  #slowStartEnd = Infinity;
  /** Losses of frames sent before this belong to a decrease that is made already. */
  #recoverMs = -Infinity;
  #windowBefore = 0;
  #rttMinMs = 0;
  #timeouts = 0;
  /** First sending after the last answer. */
  #silentSinceMs = Infinity;
  #reordering = 1;
  #answersInOrder = 0;
  #largeLost = 0;
  #largeProbeWaitMs = 0;
  #largeSinceMs = -Infinity;
  #largeHeardMs = -Infinity;
  #probeWaitMs = PROBE_MIN_MS;

  constructor(index: number, interfaceIndex: number, mac: Uint8Array, times: PathTimes) {
    this.index = index;
    this.interfaceIndex = interfaceIndex;
    this.mac = mac.slice(0, 6);
    this.macHigh = (mac[0]! << 8) | mac[1]!;
    this.macLow = (mac[2]! << 24) | (mac[3]! << 16) | (mac[4]! << 8) | mac[5]!;
    this.#times = times;
    this.rtoMs = times.rtoInitialMs;
  }

  /** Takes what a query config answer and the interface's MTU say. */
  configure(buffers: number, sectorsMax: number, windowMax: number, nowMs: number): void {
    // Some targets advertise 0 buffers and mean that they do not know.
    this.windowMax = Math.max(1, Math.min(buffers, windowMax));
    this.window = Math.min(this.window, this.windowMax);
    const grown = sectorsMax > this.sectorsMax;
    this.sectorsMax = Math.max(1, sectorsMax);
    this.sectors = Math.min(this.sectors, this.sectorsMax);
    if (grown && this.state === PATH_UP) this.#wantLarge(nowMs);
  }

  /** The interface carries no more than this any longer; more is found out by the next answer. */
  limit(sectorsMax: number): void {
    this.sectorsMax = Math.max(1, Math.min(this.sectorsMax, sectorsMax));
    this.sectors = Math.min(this.sectors, this.sectorsMax);
  }

  /** A probe was answered by the right disk: commands may use the path. */
  up(nowMs: number): void {
    this.state = PATH_UP;
    this.window = Math.min(this.windowMax, WINDOW_INITIAL);
    this.#slowStartEnd = Infinity;
    this.#timeouts = 0;
    this.#silentSinceMs = Infinity;
    this.#probeWaitMs = PROBE_MIN_MS;
    this.sectors = Math.min(SECTORS_SMALL, this.sectorsMax);
    this.#largeProbeWaitMs = 0;
    this.#wantLarge(nowMs);
  }

  /** The path is given up until a probe is answered. */
  lose(nowMs: number): void {
    this.state = PATH_PROBING;
    this.counters.timesLost++;
    this.probeAtMs = nowMs;
    this.largeProbeAtMs = Infinity;
    this.rtoMs = this.#times.rtoInitialMs;
  }

  /** The path leads elsewhere. */
  refuse(): void {
    this.state = PATH_REFUSED;
    this.probeAtMs = Infinity;
    this.largeProbeAtMs = Infinity;
  }

  /** Whether one more command may be in flight. */
  hasRoom(): boolean {
    return this.state === PATH_UP && this.flying < Math.floor(this.window);
  }

  /** A frame that wants an answer goes out. */
  sent(nowMs: number): void {
    this.counters.sent++;
    if (this.#silentSinceMs === Infinity) this.#silentSinceMs = nowMs;
  }

  /**
   * A frame sent over this path was answered.
   *
   * @param sentMs When that copy was sent, or NaN when it is not known any more.
   * @param sectors Payload of request or response: how large a frame this proves.
   */
  answered(nowMs: number, sentMs: number, sectors: number): void {
    this.counters.answered++;
    this.heardMs = nowMs;
    this.#timeouts = 0;
    this.#silentSinceMs = this.flying > 0 ? nowMs : Infinity;
    if (sectors > SECTORS_SMALL) {
      this.#largeLost = 0;
      this.#largeHeardMs = nowMs;
    }
    if (sentMs === sentMs) {
      if (sentMs > this.answeredSentMs) this.answeredSentMs = sentMs;
      this.#sample(nowMs, nowMs - sentMs);
    }
    if (this.#reordering > 1 && ++this.#answersInOrder >= REORDERING_DECAY) {
      this.#answersInOrder = 0;
      this.#reordering /= 2;
    }
    // A window that is not used tells nothing about what the network could carry.
    if (this.flying + 1 < Math.floor(this.window)) return;
    this.window += this.window < this.#slowStartEnd ? 1 : 1 / this.window;
    if (this.window > this.windowMax) this.window = this.windowMax;
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
    const { rtoMinMs, rtoMaxMs } = this.#times;
    const rtoMs = this.srttMs + 4 * this.rttvarMs;
    this.rtoMs = rtoMs < rtoMinMs ? rtoMinMs : rtoMs > rtoMaxMs ? rtoMaxMs : rtoMs;
    if (rttMs <= this.rttMinMs || nowMs - this.#rttMinMs > RTT_FLOOR_MS) {
      this.rttMinMs = rttMs;
      this.#rttMinMs = nowMs;
    }
  }

  /** How old a frame must be to count as lost once a frame sent after it was answered. */
  reorderingMs(): number {
    if (this.srttMs === 0) return this.rtoMs;
    const ms = (this.srttMs + 4 * this.rttvarMs) * this.#reordering;
    return Math.min(this.rtoMs, Math.max(ms, REORDERING_MIN_MS));
  }

  /** When the frame sent at `sentMs` counts as lost, as far as is known now. */
  lostAtMs(sentMs: number): number {
    return sentMs + (sentMs < this.answeredSentMs ? this.reorderingMs() : this.rtoMs);
  }

  /** A frame was lost while later ones were answered: the network is alive, but full or noisy. */
  lostOne(nowMs: number, sentMs: number, sectors: number): void {
    this.counters.lost++;
    this.#lostLarge(nowMs, sectors);
    if (sentMs <= this.#recoverMs) return;
    this.#recoverMs = nowMs;
    this.#windowBefore = this.window;
    const queued = this.srttMs > 2 * this.rttMinMs;
    const shrink = queued ? SHRINK_CONGESTION : SHRINK_NOISE;
    this.window = Math.max(Math.min(WINDOW_AFTER_LOSS, this.window), this.window * shrink);
    this.window = Math.min(this.window, this.windowMax);
    this.#slowStartEnd = this.window;
  }

  /** One of the frames that `timedOut` is about. */
  lostInTimeout(nowMs: number, sectors: number): void {
    this.counters.lost++;
    this.#lostLarge(nowMs, sectors);
  }

  /**
   * Frames got no answer within the timeout, and neither did any later one (RFC 6298, 5.5).
   *
   * @returns Whether the path is to be given up.
   */
  timedOut(nowMs: number): boolean {
    this.#timeouts++;
    this.#recoverMs = nowMs;
    if (this.window > WINDOW_AFTER_TIMEOUT) {
      this.#windowBefore = this.window;
      this.#slowStartEnd = Math.max(WINDOW_AFTER_TIMEOUT, this.window / 2);
    }
    this.window = Math.min(WINDOW_AFTER_TIMEOUT, this.windowMax);
    this.rtoMs = Math.min(2 * this.rtoMs, this.#times.rtoMaxMs);
    return this.#timeouts >= TIMEOUTS_LOST &&
      nowMs - this.#silentSinceMs >= this.#times.pathLostMs;
  }

  /** The answer to a copy came although it had counted as lost: wait longer, take the window back. */
  needless(): void {
    this.counters.needless++;
    this.#answersInOrder = 0;
    this.#reordering = Math.min(2 * this.#reordering, REORDERING_FACTOR_MAX);
    if (this.#windowBefore > this.window) this.window = this.#windowBefore;
    this.#windowBefore = 0;
    if (this.window > this.windowMax) this.window = this.windowMax;
  }

  /** A probe got no answer: the next one comes later. */
  probeFailed(nowMs: number): void {
    this.probeAtMs = nowMs + this.#probeWaitMs;
    this.#probeWaitMs = Math.min(2 * this.#probeWaitMs, PROBE_MAX_MS);
  }

  /** A frame of full size came through, in both directions. */
  largeAnswered(nowMs: number): void {
    this.largeProbeAtMs = Infinity;
    if (this.sectors === this.sectorsMax) return;
    this.sectors = this.sectorsMax;
    this.#largeSinceMs = nowMs;
    this.#largeHeardMs = nowMs;
    this.#largeLost = 0;
  }

  /** A large probe got no answer. */
  largeFailed(nowMs: number): void {
    if (this.state === PATH_UP) this.#scheduleLarge(nowMs);
  }

  #lostLarge(nowMs: number, sectors: number): void {
    if (sectors <= SECTORS_SMALL || this.sectors <= SECTORS_SMALL) return;
    if (++this.#largeLost < LARGE_LOST_MAX) return;
    if (nowMs - this.#largeHeardMs < LARGE_SILENCE_MS) return;
    this.sectors = SECTORS_SMALL;
    const workedMs = nowMs - this.#largeSinceMs;
    if (workedMs > LARGE_STABLE_WAITS * this.#largeProbeWaitMs) this.#largeProbeWaitMs = 0;
    this.#scheduleLarge(nowMs);
  }

  #wantLarge(nowMs: number): void {
    if (this.sectorsMax <= SECTORS_SMALL) {
      this.sectors = this.sectorsMax;
      this.largeProbeAtMs = Infinity;
    } else if (this.sectors < this.sectorsMax) {
      this.largeProbeAtMs = nowMs;
    }
  }

  #scheduleLarge(nowMs: number): void {
    this.#largeProbeWaitMs = Math.min(
      2 * this.#largeProbeWaitMs + PROBE_MIN_MS,
      LARGE_PROBE_MAX_MS,
    );
    this.largeProbeAtMs = nowMs + this.#largeProbeWaitMs;
  }
}
