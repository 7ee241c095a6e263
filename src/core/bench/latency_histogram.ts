// How long things took, counted in buckets whose width grows with their height, as fio's: each power
// of two is divided into 64, so that a percentile is right to within 1.6 %.

const SUB_BITS = 6;
const SUBS = 1 << SUB_BITS;
/** Times are counted in units of this; the highest bucket holds what is over 68 seconds. */
const UNIT_NS = 16;
const BUCKETS = SUBS * (32 - SUB_BITS + 1);

/** A histogram in short. */
export interface LatencySummary {
  readonly count: number;
  readonly minNs: number;
  readonly maxNs: number;
  readonly meanNs: number;
  readonly deviationNs: number;
  /** Percentages asked for, and the times within which so many ended. */
  readonly percentiles: readonly (readonly [percent: number, ns: number])[];
  /** Counts between neighbouring powers of two: those below `belowNs` and not below the last. */
  readonly octaves: readonly { readonly belowNs: number; readonly count: number }[];
}

/** Counts of times. */
export class LatencyHistogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #minNs = Infinity;
  #maxNs = 0;
  #sum = 0;
  #squares = 0;

  /** Counts one time. */
  add(ns: number): void {
    this.#count++;
    this.#sum += ns;
    this.#squares += ns * ns;
    if (ns < this.#minNs) this.#minNs = ns;
    if (ns > this.#maxNs) this.#maxNs = ns;
    const units = Math.min(0xffff_ffff, Math.max(0, Math.floor(ns / UNIT_NS)));
    const index = bucketOf(units);
    this.#counts[index] = this.#counts[index]! + 1;
  }

  /** @param percents Percentages, ascending. */
  summary(percents: readonly number[]): LatencySummary {
    const count = this.#count;
    const mean = count === 0 ? 0 : this.#sum / count;
    const variance = count === 0 ? 0 : Math.max(0, this.#squares / count - mean * mean);
    return {
      count,
      minNs: count === 0 ? 0 : this.#minNs,
      maxNs: this.#maxNs,
      meanNs: mean,
      deviationNs: Math.sqrt(variance),
      percentiles: percents.map((percent) => [percent, this.#percentile(percent)] as const),
      octaves: this.#octaves(),
    };
  }

  #percentile(percent: number): number {
    const wanted = Math.max(1, Math.ceil(this.#count * percent / 100));
    let seen = 0;
    for (let i = 0; i < BUCKETS; i++) {
      seen += this.#counts[i]!;
      if (seen >= wanted) return Math.min(this.#maxNs, Math.max(this.#minNs, middleNs(i)));
    }
    return 0;
  }

  #octaves(): { belowNs: number; count: number }[] {
    const octaves = new Map<number, number>();
    for (let i = 0; i < BUCKETS; i++) {
      const count = this.#counts[i]!;
      if (count === 0) continue;
      const below = 2 ** Math.floor(Math.log2(lowest(i) * UNIT_NS || 1) + 1);
      octaves.set(below, (octaves.get(below) ?? 0) + count);
    }
    return [...octaves].map(([belowNs, count]) => ({ belowNs, count }));
  }
}

function bucketOf(units: number): number {
  if (units < 2 * SUBS) return units;
  const shift = 31 - Math.clz32(units) - SUB_BITS;
  return (shift << SUB_BITS) + (units >>> shift);
}

/** Units at which a bucket begins. */
function lowest(index: number): number {
  if (index < 2 * SUBS) return index;
  const shift = (index >>> SUB_BITS) - 1;
  return (index - (shift << SUB_BITS)) * 2 ** shift;
}

function middleNs(index: number): number {
  return (lowest(index) + lowest(index + 1)) / 2 * UNIT_NS;
}
