// The largest size that passes, found by trying: the largest first, since it passes on a healthy
// network, then the customary ones, then by halves. Each failure costs the time of a few
// retransmissions, hence the care.

/** One search; sizes are whole numbers. */
export class SizeSearch {
  readonly #min: number;
  readonly #max: number;
  readonly #guesses: readonly number[];
  /** The largest that passed; `min − 1` when none did. */
  #passed: number;
  /** The smallest that failed. */
  #failed: number;

  /**
   * @param min The smallest size that is worth trying.
   * @param max The largest.
   * @param guesses Sizes to try once the largest has failed, in this order.
   */
  constructor(min: number, max: number, guesses: readonly number[]) {
    this.#min = min;
    this.#max = max;
    this.#guesses = guesses;
    this.#passed = min - 1;
    this.#failed = max + 1;
  }

  /** The size to try next; undefined when the search is over. */
  next(): number | undefined {
    if (this.#passed + 1 >= this.#failed) return undefined;
    if (this.#failed > this.#max) return this.#max;
    const guess = this.#guesses.find((size) => size > this.#passed && size < this.#failed);
    if (guess !== undefined) return guess;
    return this.#passed < this.#min ? this.#min : Math.floor((this.#passed + this.#failed) / 2);
  }

  /** Says what became of a size that `next` gave. */
  report(size: number, passed: boolean): void {
    if (passed) this.#passed = Math.max(this.#passed, size);
    else this.#failed = Math.min(this.#failed, size);
  }

  /** The largest size that passed; undefined when none did. */
  result(): number | undefined {
    return this.#passed < this.#min ? undefined : this.#passed;
  }
}
