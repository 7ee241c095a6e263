// How often a target's thread looks at its rings before it sleeps. To be woken is dear, and frames often
// follow each other within microseconds. But where others want the same processor, a look keeps it
// from the very ones that send: where looks often fail for as long as they may take, though a frame
// comes soon after, they earn nothing and are left alone for a while.

/** A look takes some nanoseconds. */
const LOOKS_MIN = 256;
const LOOKS_MAX = 3072;
/** Sleeps that would rather have been looks. */
const SHORT_SLEEP_MS = 0.04;
/** What looks in vain cost, in what those earn that find a frame; and most that counts as earned. */
const VAIN_COST = 4;
const EARNED_MAX = 64;
/** Waits without a look once more was lost than earned: the next look costs little of them all. */
const REST = 64;

/** Learns from each sleep. */
export class TargetPatience {
  #looks = 0;
  #rest = 0;
  #earned = 0;
  /** Before this sleep it was looked as often as may be. */
  #lookedAll = false;

  /** How often to look before the next sleep; 0 for not at all. */
  looks(): number {
    if (this.#rest > 0) {
      this.#rest--;
      return 0;
    }
    this.#lookedAll = this.#looks === LOOKS_MAX;
    return this.#looks;
  }

  /** Looks have found a frame: no sleep. */
  found(): void {
    this.#lookedAll = false;
    if (this.#earned < EARNED_MAX) this.#earned++;
  }

  /** All of them were in vain, or there were none, and it slept for so long. */
  slept(ms: number): void {
    if (ms >= SHORT_SLEEP_MS) this.#looks = this.#looks <= LOOKS_MIN ? 0 : this.#looks >>> 1;
    else if (this.#lookedAll) this.#lose();
    else this.#looks = Math.min(LOOKS_MAX, Math.max(LOOKS_MIN, 2 * this.#looks));
    this.#lookedAll = false;
  }

  #lose(): void {
    this.#earned -= VAIN_COST;
    if (this.#earned >= 0) return;
    this.#earned = 0;
    this.#rest = REST;
  }
}
