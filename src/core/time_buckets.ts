// How long things take, in buckets whose width grows with their height: each power of two is divided
// into eight, so that a percentile is right to within 12.5 %. A histogram is `TIME_WORDS` numbers in
// a row, wherever they lie: a thread counts, another reads.

const SUB_BITS = 3;
const SUBS = 1 << SUB_BITS;
/** Times are counted in quarters of a microsecond; the last bucket holds what takes over a minute. */
const UNITS_PER_MS = 4000;
const UNITS_MAX = 2 ** 28 - 1;

/** Buckets of a histogram. */
export const TIME_BUCKETS = SUBS * (28 - SUB_BITS + 1);

/** Words of a histogram: the buckets' counts, then the sum of all times in milliseconds. */
export const TIME_WORDS = TIME_BUCKETS + 1;

/** The bucket of a time in milliseconds. */
export function timeBucket(ms: number): number {
  const units = ms <= 0 ? 0 : ms * UNITS_PER_MS >= UNITS_MAX ? UNITS_MAX : (ms * UNITS_PER_MS) | 0;
  if (units < 2 * SUBS) return units;
  const shift = 31 - Math.clz32(units) - SUB_BITS;
  return (shift << SUB_BITS) + (units >>> shift);
}

/** Milliseconds at which a bucket ends and the next begins. */
export function timeBucketEndMs(bucket: number): number {
  return lowestUnit(bucket + 1) / UNITS_PER_MS;
}

/**
 * The times within which so many percent of the counted ended, as `timePercentileMs` says them, of a
 * histogram of which it is known how many there are in all, and where the first lie.
 *
 * @param first No bucket before it has counted anything.
 * @param percents In ascending order.
 */
export function timePercentilesMs(
  counts: ArrayLike<number>,
  all: number,
  first: number,
  percents: readonly number[],
): number[] {
  let bucket = first;
  let seen = 0;
  return percents.map((percent) => {
    if (all === 0) return 0;
    const wanted = Math.max(1, Math.ceil(all * percent / 100));
    while (bucket < TIME_BUCKETS && seen + counts[bucket]! < wanted) seen += counts[bucket++]!;
    return middleMs(Math.min(bucket, TIME_BUCKETS - 1));
  });
}

/**
 * The time within which so many percent ended: the middle of the bucket that it falls into.
 *
 * @param counts `TIME_BUCKETS` of them.
 * @returns Milliseconds; 0 when nothing was counted.
 */
export function timePercentileMs(counts: ArrayLike<number>, percent: number): number {
  let all = 0;
  for (let i = 0; i < TIME_BUCKETS; i++) all += counts[i]!;
  return timePercentilesMs(counts, all, 0, [percent])[0]!;
}

function middleMs(bucket: number): number {
  return (lowestUnit(bucket) + lowestUnit(bucket + 1)) / 2 / UNITS_PER_MS;
}

function lowestUnit(bucket: number): number {
  if (bucket < 2 * SUBS) return bucket;
  const shift = (bucket >>> SUB_BITS) - 1;
  return (bucket - (shift << SUB_BITS)) * 2 ** shift;
}
