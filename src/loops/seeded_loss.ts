// Which frames are lost on purpose (--drop): the same ones for the same seed.

const RANGE = 2 ** 32;
/** An odd number whose multiples are far apart: seeds beside each other have nothing in common. */
const SPREAD = 0x9e37_79b1;

/** Says of one frame after the other whether it is lost. */
export class SeededLoss {
  readonly #below: number;
  #state: number;

  /** @param percent Of all frames, from 0 to 100. */
  constructor(percent: number, seed: number) {
    this.#below = percent / 100 * RANGE;
    // Zero would stay zero.
    this.#state = Math.imul(seed + 1, SPREAD) || 1;
  }

  /** Whether the next frame is lost. */
  next(): boolean {
    // Marsaglia's xorshift, 2003.
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) < this.#below;
  }
}
