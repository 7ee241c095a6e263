// One path of the initiator: an interface and a MAC address of the target. Here are its window, its
// health and its frame size; how long answers take is in pace.ts, and which command goes where is
// decided in initiator.ts.

import { TIME_BUCKETS, TIME_WORDS, timeBucket } from "../time_buckets.ts";
import {
  CLASS_FLUSH,
  CLASS_IDENTIFY,
  CLASS_READ,
  CLASS_WRITE,
  CLASSES,
  Pace,
  type PaceTimes,
} from "./pace.ts";

/** Bounds of the timers, all in milliseconds. */
export interface PathTimes extends PaceTimes {
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
/** Requests of full size that vanish in a row, while small ones are answered. */
const SIZED_LOST_MAX = 2;
/**
 * Answers that take so long, and so many times longer than they could, wait in the disk's own
 * queue: a smaller window costs nothing, and lets others in between.
 */
const QUEUED_MS = 1000;
const QUEUED_FACTOR = 4;
const WINDOW_QUEUED_MIN = 4;
const WINDOW_QUEUED_STEP = 0.5;
/** A loss that was proven is taken for the network's manner for this long. */
const LOSSY_MS = 60_000;
/** So many losses of late tell what the network is like, when so few of them were needless. */
const LOST_ENOUGH = 16;
const NEEDLESS_FACTOR = 4;
const LOST_REMEMBERED = 256;
/** A disk that is silent for so long is looked after: its target is asked every so often. */
const SILENT_MS = 1000;
const SILENT_PROBE_MS = 2000;
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
  // Three numbers that become fractions with the first loss are none from the beginning: V8 compiles
  // everything that touches a path anew when the kind of a field changes.
  /** Commands that may be in flight, fractions included. */
  window = 1 + Number.EPSILON;
  /** The target's buffer count within our own bound. */
  windowMax = 1;
  /** Credit of the weighted round robin; kept by the initiator. */
  credit = -0;

  /** Sectors a frame may carry now. */
  sectors = SECTORS_SMALL;
  /** What MTU and target would allow. */
  sectorsMax = SECTORS_SMALL;

  /** How long answers take, by class. */
  readonly paces: readonly Pace[];
  /** Latest sending time of a frame that was answered. */
  answeredSentMs = -Infinity;
  /** When anything valid came over this path last. */
  heardMs = -Infinity;

  /** When the next probe is due; Infinity while one is in flight. */
  probeAtMs = -Infinity;
  /** When the next large probe is due; Infinity: none wanted, or one in flight. */
  largeProbeAtMs = Infinity;
  /** A timeout wants to know whether requests of full size come through. */
  sizedProbeDue = false;

  /** Counters for people. */
  readonly counters = { sent: 0, answered: 0, lost: 0, needless: 0, timesLost: 0 };

  /** How long the disk's answers took, a histogram for people; IDENTIFY, which needs no disk, is not in it. */
  readonly trips = new Float64Array(TIME_WORDS);

  readonly #times: PathTimes;
  #slowStartEnd = Infinity;
  /** Losses of frames sent before this belong to a decrease that is made already. */
  #recoverMs = -Infinity;
  #windowBefore = -0;
  #timeouts = 0;
  /** First sending after the last answer. */
  #silentSinceMs = Infinity;
  #lossyUntilMs = -Infinity;
  // Overtaken commands that were sent again, and those of them that were answered after all.
  #lostOfLate = 0;
  #needlessOfLate = 0;
  /** When the disk was last heard of over this path. */
  #diskMs = -Infinity;
  #largeLost = 0;
  #sizedLost = 0;
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
    this.paces = Array.from({ length: CLASSES }, () => new Pace(times));
  }

  /** Smoothed round trip of the disk, of IDENTIFY while the disk has not been heard; 0: none yet. */
  get srttMs(): number {
    const read = this.paces[CLASS_READ]!.srttMs;
    const write = this.paces[CLASS_WRITE]!.srttMs;
    if (read > 0 && write > 0) return Math.min(read, write);
    return read + write > 0 ? read + write : this.paces[CLASS_IDENTIFY]!.srttMs;
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
    // A request of full size that needs no disk tells sooner; a read of that size is for when it
    // does not.
    this.sizedProbeDue = this.sectors < this.sectorsMax;
    this.#wantLarge(nowMs + PROBE_MIN_MS);
  }

  /** The path is given up until a probe is answered. */
  lose(nowMs: number): void {
    this.state = PATH_PROBING;
    this.counters.timesLost++;
    this.probeAtMs = nowMs;
    this.largeProbeAtMs = Infinity;
    this.sizedProbeDue = false;
    for (const pace of this.paces) pace.forgive();
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
   * @param paceClass Its class.
   */
  answered(nowMs: number, sentMs: number, sectors: number, paceClass: number): void {
    this.counters.answered++;
    this.heardMs = nowMs;
    this.#timeouts = 0;
    this.#silentSinceMs = this.flying > 0 ? nowMs : Infinity;
    if (sectors > SECTORS_SMALL) {
      this.#largeLost = 0;
      this.#largeHeardMs = nowMs;
    }
    if (sentMs > this.answeredSentMs) this.answeredSentMs = sentMs;
    const pace = this.paces[paceClass]!;
    // An IDENTIFY waits for no disk: one before it was lost.
    if (paceClass === CLASS_IDENTIFY && pace.timeouts > 0) this.lossProven(nowMs);
    pace.answered(nowMs, sentMs);
    if (paceClass === CLASS_IDENTIFY) {
      this.#leaveAlone(nowMs, sentMs);
      return;
    }
    this.#diskMs = nowMs;
    if (sentMs === sentMs) this.#countTrip(nowMs - sentMs);
    if (paceClass === CLASS_FLUSH) return;
    this.paces[paceClass === CLASS_READ ? CLASS_WRITE : CLASS_READ]!.learn(pace);
    this.paces[CLASS_FLUSH]!.learn(pace);
    if (pace.srttMs > QUEUED_MS && pace.srttMs > QUEUED_FACTOR * pace.rttMinMs) {
      const smaller = Math.max(WINDOW_QUEUED_MIN, this.window - WINDOW_QUEUED_STEP);
      this.window = Math.min(this.window, smaller);
      return;
    }
    // A window that is not used tells nothing about what the network could carry.
    if (this.flying + 1 < Math.floor(this.window)) return;
    this.window += this.window < this.#slowStartEnd ? 1 : 1 / this.window;
    if (this.window > this.windowMax) this.window = this.windowMax;
  }

  #countTrip(ms: number): void {
    const { trips } = this;
    const bucket = timeBucket(ms);
    trips[bucket] = trips[bucket]! + 1;
    trips[TIME_BUCKETS] = trips[TIME_BUCKETS]! + ms;
  }

  /** The target lives: what it has not answered is with its disk, unless the network loses much. */
  #leaveAlone(nowMs: number, sentMs: number): void {
    if (nowMs < this.#lossyUntilMs) return;
    for (let i = CLASS_READ; i <= CLASS_FLUSH; i++) this.paces[i]!.leaveAlone(sentMs);
  }

  /**
   * Whether frames that count as lost mostly are: a slow disk answers to each copy in the end, and
   * whatever was sent again was so needlessly.
   */
  get isLossy(): boolean {
    return this.#lostOfLate >= LOST_ENOUGH &&
      this.#needlessOfLate * NEEDLESS_FACTOR < this.#lostOfLate;
  }

  /** The network does lose frames: what is not answered may be gone. */
  lossProven(nowMs: number): void {
    this.#lossyUntilMs = nowMs + LOSSY_MS;
  }

  /** When the target is asked next whether it lives: soon while its disk is silent. */
  nextProbeMs(nowMs: number, probeMs: number): number {
    const silent = this.flying > 0 && nowMs - this.#diskMs >= SILENT_MS;
    return nowMs + (silent ? Math.min(SILENT_PROBE_MS, probeMs) : probeMs);
  }

  /** A frame was lost while later ones were answered: the network is alive, but full or noisy. */
  lostOne(nowMs: number, sentMs: number, sectors: number, paceClass: number): void {
    this.counters.lost++;
    if (++this.#lostOfLate > LOST_REMEMBERED) {
      this.#lostOfLate /= 2;
      this.#needlessOfLate /= 2;
    }
    this.#lostLarge(nowMs, sectors);
    if (sentMs <= this.#recoverMs) return;
    this.#recoverMs = nowMs;
    this.#windowBefore = this.window;
    const { srttMs, rttMinMs } = this.paces[paceClass]!;
    const queued = srttMs > 2 * rttMinMs;
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
   * Nothing was answered within the timeout of a class (RFC 6298, 5.5). The first says little: the
   * disk may be slow.
   *
   * @returns Whether the path is to be given up.
   */
  timedOut(nowMs: number, paceClass: number): boolean {
    this.#timeouts++;
    this.paces[paceClass]!.timedOut(nowMs);
    if (this.#timeouts > 1) {
      this.#recoverMs = nowMs;
      if (this.window > WINDOW_AFTER_TIMEOUT) {
        this.#windowBefore = this.window;
        this.#slowStartEnd = Math.max(WINDOW_AFTER_TIMEOUT, this.window / 2);
      }
      this.window = Math.min(WINDOW_AFTER_TIMEOUT, this.window);
    }
    return this.#timeouts >= TIMEOUTS_LOST &&
      nowMs - this.#silentSinceMs >= this.#times.pathLostMs;
  }

  /** The answer to a copy came although it had counted as lost: wait longer, take the window back. */
  needless(paceClass: number): void {
    this.counters.needless++;
    this.#needlessOfLate++;
    this.paces[paceClass]!.needless();
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

  /**
   * A request of full size that needs no disk was answered.
   *
   * @param sectors Its size.
   * @returns Whether large frames are used from now on: while the disk has not said anything of
   * them, that is trusted; a large read that vanishes all the same is found out.
   */
  sizedAnswered(nowMs: number, sectors: number): boolean {
    this.#sizedLost = 0;
    if (this.#largeProbeWaitMs > 0 || this.sectors >= this.sectorsMax) return false;
    if (sectors !== this.sectorsMax) return false;
    this.largeProbeAtMs = Infinity;
    this.sectors = sectors;
    this.#largeSinceMs = nowMs;
    this.#largeHeardMs = nowMs;
    this.#largeLost = 0;
    return true;
  }

  /** A request of full size was not answered; one of the smallest was, if `smallAnswered`. */
  sizedFailed(nowMs: number, smallAnswered: boolean): void {
    if (!smallAnswered || this.sectors <= SECTORS_SMALL) return;
    if (++this.#sizedLost >= SIZED_LOST_MAX && nowMs - this.#largeHeardMs >= LARGE_SILENCE_MS) {
      this.#shrink(nowMs);
      return;
    }
    this.sizedProbeDue = true;
    if (this.probeAtMs < Infinity) this.probeAtMs = nowMs;
  }

  #lostLarge(nowMs: number, sectors: number): void {
    if (sectors <= SECTORS_SMALL || this.sectors <= SECTORS_SMALL) return;
    if (++this.#largeLost < LARGE_LOST_MAX) return;
    if (nowMs - this.#largeHeardMs < LARGE_SILENCE_MS) return;
    this.#shrink(nowMs);
  }

  #shrink(nowMs: number): void {
    this.sectors = SECTORS_SMALL;
    this.sizedProbeDue = false;
    this.#sizedLost = 0;
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
