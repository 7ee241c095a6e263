// How often the same thing is told. Whoever may send frames may cause events, and must not be able to
// fill a disk with them: so many a minute are told one by one, the rest as a count.

/** Told one by one in a minute. */
const TOLD_A_MINUTE = 10;
export const EVENT_WINDOW_MS = 60_000;
/** Different things that are kept apart; beyond, they are one. */
const KEYS_MAX = 1_000;
const EVERYTHING_ELSE = "";

interface Window {
  readonly sinceMs: number;
  told: number;
  withheld: number;
}

/** What was not told one by one. */
export interface WithheldEvents {
  readonly key: string;
  readonly count: number;
}

/** Counts events by what they are. */
export class EventLimits {
  readonly #windows = new Map<string, Window>();

  /** Whether one more of these is to be told now. */
  take(key: string, nowMs: number): boolean {
    const known = this.#windows.has(key) || this.#windows.size < KEYS_MAX ? key : EVERYTHING_ELSE;
    let window = this.#windows.get(known);
    if (window === undefined) {
      window = { sinceMs: nowMs, told: 0, withheld: 0 };
      this.#windows.set(known, window);
    }
    if (window.told < TOLD_A_MINUTE) {
      window.told++;
      return true;
    }
    window.withheld++;
    return false;
  }

  /** What was withheld in the minutes that are over; afterwards they begin anew. */
  collect(nowMs: number): WithheldEvents[] {
    const withheld: WithheldEvents[] = [];
    for (const [key, window] of this.#windows) {
      if (nowMs - window.sinceMs < EVENT_WINDOW_MS) continue;
      this.#windows.delete(key);
      if (window.withheld > 0) withheld.push({ key, count: window.withheld });
    }
    return withheld;
  }
}
