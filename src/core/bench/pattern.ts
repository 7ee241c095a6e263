// What `aoe bench --verify` writes: every sector says where it belongs, how often it was written, and
// in which run, and carries a checksum over all of that and its filling. A sector that is elsewhere,
// old, torn or half of another shows.

/** "aoeb". */
const MAGIC = 0x616f_6562;
const WORDS = 128;
const HEADER_WORDS = 6;
const CHECKSUM = 5;

/**
 * Writes one sector.
 *
 * @param words Memory as 32-bit words.
 * @param at Index of the sector's first word.
 */
export function writePattern(
  words: Int32Array,
  at: number,
  sector: number,
  generation: number,
  run: number,
): void {
  words[at] = MAGIC;
  words[at + 1] = generation;
  words[at + 2] = sector;
  words[at + 3] = highOf(sector);
  words[at + 4] = run;
  let x = seedOf(sector, generation, run);
  let sum = 0;
  for (let i = HEADER_WORDS; i < WORDS; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[at + i] = x;
    sum = Math.imul(sum ^ x, 0x0100_0193);
  }
  words[at + CHECKSUM] = sum ^ generation ^ sector;
}

/** What stands in a sector that should hold something else; undefined when it is right. */
export function patternDifference(
  words: Int32Array,
  at: number,
  sector: number,
  generation: number,
  run: number,
): string | undefined {
  let x = seedOf(sector, generation, run);
  let sum = 0;
  let same = words[at] === MAGIC && words[at + 1] === (generation | 0) &&
    words[at + 2] === (sector | 0) && words[at + 3] === highOf(sector) &&
    words[at + 4] === (run | 0);
  for (let i = HEADER_WORDS; i < WORDS; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    sum = Math.imul(sum ^ x, 0x0100_0193);
    same &&= words[at + i] === x;
  }
  if (same && words[at + CHECKSUM] === (sum ^ generation ^ sector)) return undefined;
  if (words[at] !== MAGIC) return "something that was not written here";
  if (words[at + 4] !== (run | 0)) return "what another run wrote";
  const there = (words[at + 2]! >>> 0) + (words[at + 3]! >>> 0) * 0x1_0000_0000;
  if (there !== sector) return `what belongs to sector ${there}`;
  const old = words[at + 1]! >>> 0;
  if (old !== generation) return `write ${old} of it, not ${generation}`;
  return "a torn sector";
}

/** The upper 32 bits of a sector's number. */
function highOf(sector: number): number {
  return Math.floor(sector / 0x1_0000_0000);
}

function seedOf(sector: number, generation: number, run: number): number {
  const place = (sector | 0) ^ Math.imul(highOf(sector), 0xc2b2_ae35);
  const mixed = Math.imul(place ^ Math.imul(generation, 0x9e37_79b1), 0x85eb_ca6b) ^ run;
  return mixed === 0 ? 1 : mixed;
}
