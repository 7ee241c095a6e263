// How long an initiator's thread looks for answers before it sleeps. To be woken takes as long as
// many a round trip, and a target that waits for the next request falls asleep meanwhile as well. But
// a look that finds nothing is a waste: it is tried only where waits have been short, and where it
// has failed for as long as it may take, it is left alone for a while.

/** A look takes no longer; answers that take longer are slept for. */
const LOOK_MS_MAX = 0.1;
const LOOK_MS_MIN = 0.0125;
/** Of a wait that was slept through: a look would have found, had nobody been asleep. */
const SHORT_MS = 0.15;
/** Waits without a look after one in vain: it costs so little of them all. */
const REST = 64;

/** Learns from each wait for answers that are due. */
export class Patience {
  #lookMs = 0;
  #rest = 0;
  /** The last look was as long as one may be. */
  #lookedAll = false;

  /** How long to look before the next sleep; 0 for not at all. */
  lookMs(): number {
    this.#lookedAll = this.#rest === 0 && this.#lookMs === LOOK_MS_MAX;
    if (this.#rest === 0) return this.#lookMs;
    this.#rest--;
    return 0;
  }

  /** A look has found what was waited for. */
  found(): void {
    this.#lookMs = Math.min(LOOK_MS_MAX, 2 * this.#lookMs);
  }

  /** It has found nothing, or there was none, and something came while the thread slept. */
  slept(waitedMs: number): void {
    if (waitedMs >= SHORT_MS) this.#lookMs = this.#lookMs <= LOOK_MS_MIN ? 0 : this.#lookMs / 2;
    else if (this.#lookedAll) this.#rest = REST;
    else this.#lookMs = Math.min(LOOK_MS_MAX, Math.max(LOOK_MS_MIN, 2 * this.#lookMs));
  }
}
