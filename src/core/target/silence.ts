// When a disk that does not answer is worth a line: once it has been silent for two seconds, and when
// it answers again. One that is so each time, being slow, is spoken of once.

const PATIENCE_MIN_MS = 2_000;
const PATIENCE_MAX_MS = 300_000;
/** After so many patiences without a silence worth a line the next one is told of soon again. */
const CALM_FACTOR = 4;

/** What `look` has found. */
export interface SilenceNews {
  /** False when it is over. */
  readonly silent: boolean;
  /** For how long it has been, or had been. */
  readonly ms: number;
}

/** The silences of one disk. */
export class DiskSilence {
  #patienceMs = PATIENCE_MIN_MS;
  #sinceMs = Infinity;
  #told = false;
  #endedMs = -Infinity;

  /**
   * Looks at the disk, about once a second or oftener.
   *
   * @param silent Whether work waits for it, and none has been done since the last look.
   * @returns What there is to tell.
   */
  look(nowMs: number, silent: boolean): SilenceNews | undefined {
    if (silent) {
      this.#sinceMs = Math.min(this.#sinceMs, nowMs);
      const ms = nowMs - this.#sinceMs;
      if (this.#told || ms < this.#patienceMs) return undefined;
      this.#told = true;
      return { silent, ms };
    }
    const ms = nowMs - this.#sinceMs;
    this.#sinceMs = Infinity;
    if (ms >= PATIENCE_MIN_MS) this.#endedMs = nowMs;
    if (this.#told) {
      this.#told = false;
      this.#patienceMs = Math.min(2 * Math.max(this.#patienceMs, ms), PATIENCE_MAX_MS);
      return { silent, ms };
    }
    if (nowMs - this.#endedMs > CALM_FACTOR * this.#patienceMs) this.#patienceMs = PATIENCE_MIN_MS;
    return undefined;
  }
}
