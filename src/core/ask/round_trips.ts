// Round trips in numbers: the smallest, the median, the 99th percentile, the largest.

/** How many are remembered for median and percentile: the latest, so that a ping may run for ever. */
const REMEMBERED_MAX = 100_000;

/** What round trips come to, in milliseconds with three places. */
export interface RoundTripSummary {
  readonly count: number;
  readonly minMs: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** Collects round trips. */
export class RoundTrips {
  #count = 0;
  #minMs = Infinity;
  #maxMs = -Infinity;
  readonly #latest: number[] = [];

  add(ms: number): void {
    this.#latest[this.#count % REMEMBERED_MAX] = ms;
    this.#count++;
    this.#minMs = Math.min(this.#minMs, ms);
    this.#maxMs = Math.max(this.#maxMs, ms);
  }

  /** Undefined when there was none. */
  summary(): RoundTripSummary | undefined {
    if (this.#count === 0) return undefined;
    const sorted = Float64Array.from(this.#latest).sort();
    return {
      count: this.#count,
      minMs: toMicroseconds(this.#minMs),
      medianMs: toMicroseconds(percentile(sorted, 0.5)),
      p99Ms: toMicroseconds(percentile(sorted, 0.99)),
      maxMs: toMicroseconds(this.#maxMs),
    };
  }
}

/** The smallest value that so large a part of all does not exceed (nearest rank). */
function percentile(sorted: Float64Array, part: number): number {
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)]!;
}

/** The clock tells no more. */
function toMicroseconds(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
