// Which parts of a file are believed to be in the page cache, and which are worth mapping. Both are
// guesses that save work: a wrong one costs one page fault or one slower read, never a wrong answer.

import { NONE } from "../tables.ts";

/** Bytes of the unit in which residency is remembered. */
export const RESIDENCY_CHUNK_BYTES = 65536;
/** Bytes of a segment, the unit in which a file is mapped. */
export const MAPPED_SEGMENT_BYTES = 16 * 2 ** 20;
// Both are powers of two: what is left of a division is had by a mask, while V8 divides numbers that
// may be larger than 32 bits by a loop, for tens of nanoseconds.
const CHUNKS_PER_SEGMENT = MAPPED_SEGMENT_BYTES / RESIDENCY_CHUNK_BYTES;
/** A page is the unit in which the kernel notes what is to be written back: 16 to a chunk. */
const PAGE_SHIFT = 12;
/** How long a chunk that was wholly in memory is taken to be so still. */
const RESIDENT_MS = 1000;
/** How long one that was not is left alone, so that a cold disk is not asked at every read. */
const ABSENT_MS = 20;
/** A table's times are counted from a moment that is moved on so often: 32 bits hold twice that. */
const EPOCH_MS = 2 ** 30;
/** Before every time. */
const NEVER = -(2 ** 31);

/** `ChunkMemory.recall`: not known, or too long ago. */
export const CHUNK_UNKNOWN = 0;
export const CHUNK_RESIDENT = 1;
export const CHUNK_ABSENT = 2;

/**
 * Remembers for a bounded time what was found out about the chunks of mapped segments of one file. Few
 * tables, of small numbers: with a large image a look at one is a miss of the cache, or would be.
 */
export class ChunkMemory {
  /** Until when a chunk is taken to be in memory; negative: to be absent. */
  readonly #until: Int32Array;
  // Of chunks that have been written: which of their pages, a bit each, and since when that is noted.
  readonly #written: Uint16Array;
  readonly #writtenSince: Int32Array;
  // Times in the tables are milliseconds from the epoch's begin on.
  #epochMs = 0;
  #now = 0;

  /** @param places How many segments may be mapped at a time. */
  constructor(places: number) {
    const chunks = places * CHUNKS_PER_SEGMENT;
    this.#until = new Int32Array(chunks);
    this.#written = new Uint16Array(chunks);
    this.#writtenSince = new Int32Array(chunks).fill(NEVER);
  }

  /** What follows happens at this time. */
  setTime(nowMs: number): void {
    if (nowMs - this.#epochMs >= EPOCH_MS) {
      this.#until.fill(0);
      this.#writtenSince.fill(NEVER);
      this.#epochMs = Math.floor(nowMs);
    }
    this.#now = nowMs - this.#epochMs | 0;
  }

  /** Another segment is mapped in a place: nothing is known of its chunks. */
  forget(place: number): void {
    const from = place * CHUNKS_PER_SEGMENT;
    this.#until.fill(0, from, from + CHUNKS_PER_SEGMENT);
    this.#writtenSince.fill(NEVER, from, from + CHUNKS_PER_SEGMENT);
  }

  /** What is known of a chunk of the segment that is mapped in a place: a CHUNK constant. */
  recall(place: number, chunk: number): number {
    const until = this.#until[entryOf(place, chunk)]!;
    if (this.#now < until) return CHUNK_RESIDENT;
    return this.#now < -until ? CHUNK_ABSENT : CHUNK_UNKNOWN;
  }

  /** Notes what has just been found out. */
  remember(place: number, chunk: number, resident: boolean): void {
    const at = entryOf(place, chunk);
    this.#until[at] = resident ? this.#now + RESIDENT_MS : -(this.#now + ABSENT_MS);
  }

  /**
   * Notes that a range of a chunk is written.
   *
   * @param from Bytes into the chunk; the range ends in it.
   * @returns Whether all of its pages had been written before, and after `sinceMs`.
   */
  rewrites(place: number, chunk: number, from: number, bytes: number, sinceMs: number): boolean {
    const at = entryOf(place, chunk);
    if (this.#writtenSince[at]! <= sinceMs - this.#epochMs) {
      this.#written[at] = 0;
      this.#writtenSince[at] = this.#now;
    }
    const before = this.#written[at]!;
    const end = (from + bytes - 1 >>> PAGE_SHIFT) + 1;
    const pages = (1 << end) - (1 << (from >>> PAGE_SHIFT));
    this.#written[at] = before | pages;
    return (before & pages) === pages;
  }
}

/** A chunk's entry in the tables, as the segment is mapped in a place. */
function entryOf(place: number, chunk: number): number {
  return place * CHUNKS_PER_SEGMENT + (chunk & CHUNKS_PER_SEGMENT - 1);
}

/** Writes between two judgements. */
const JUDGED_WRITES = 256;

/**
 * Tells whether what is written is mostly written again, from the writes of late: the pages that were
 * not will be before long.
 */
export class RewriteHabit {
  /** It is. */
  rewrites = false;
  #writes = 0;
  #again = 0;

  /** Takes note of a write; `again`: of pages that had been written, see `ChunkMemory.rewrites`. */
  note(again: boolean): void {
    this.#writes++;
    if (again) this.#again++;
    if (this.#writes < JUDGED_WRITES) return;
    // Not to and fro where it is about half of them.
    this.rewrites = this.#again * (this.rewrites ? 4 : 2) >= this.#writes;
    this.#writes = 0;
    this.#again = 0;
  }
}

/** Entries of the table of segments: what most files need, and what a terabyte does. */
const SEGMENT_TABLE_MIN = 256;
const SEGMENT_TABLE_MAX = 65536;
/** Reads and writes of an unmapped segment, decayed, before it can push a mapped one out. */
const HEAT_MIN = 4096;

/**
 * Chooses which segments of a file are mapped when not all may be: those used most. Changing one
 * costs thousands of page faults, so a newcomer must be twice as hot as what it replaces.
 *
 * Segments far apart share an entry of the table. It counts for one of them, the uses of
 * the others against it, so that it goes to the one used most (Boyer and Moore's majority vote);
 * and they share a place, so that they cannot take turns in emptying all others.
 */
export class SegmentChoice {
  readonly #owner: Float64Array;
  /** Whom the entry counts for. */
  readonly #segmentOf: Float64Array;
  readonly #placeOf: Int32Array;
  readonly #heat: Uint32Array;
  /** Of the number of entries. */
  readonly #mask: number;
  #used = 0;

  /**
   * @param places How many segments may be mapped at a time.
   * @param segments How many the file has; it may grow.
   */
  constructor(places: number, segments: number) {
    this.#owner = new Float64Array(places).fill(NONE);
    let entries = SEGMENT_TABLE_MIN;
    while (entries < Math.min(segments, SEGMENT_TABLE_MAX)) entries *= 2;
    this.#mask = entries - 1;
    this.#segmentOf = new Float64Array(entries).fill(NONE);
    this.#placeOf = new Int32Array(entries).fill(NONE);
    this.#heat = new Uint32Array(entries);
  }

  /** Counts a read or write; the place where the segment is mapped, `NONE` for none. */
  touch(segment: number): number {
    const at = segment & this.#mask;
    const heat = this.#heat[at]!;
    if (this.#segmentOf[at] === segment) {
      this.#heat[at] = heat + 1;
    } else if (heat > 0) {
      this.#heat[at] = heat - 1;
    } else {
      this.#segmentOf[at] = segment;
      this.#heat[at] = 1;
    }
    const place = this.#placeOf[at]!;
    return place >= 0 && this.#owner[place] === segment ? place : NONE;
  }

  /**
   * Offers an unmapped segment that has just been used.
   *
   * @returns The place it takes from now on, emptied of any other; `NONE` when it is not worth it.
   */
  offer(segment: number): number {
    const at = segment & this.#mask;
    if (this.#segmentOf[at] !== segment) return NONE;
    const heat = this.#heat[at]!;
    const hot = heat >= HEAT_MIN && heat % 64 === 0;
    let place = this.#placeOf[at]!;
    if (place < 0 && this.#used < this.#owner.length) {
      place = this.#used++;
    } else if (!hot) {
      return NONE;
    } else if (place < 0) {
      place = this.#coldest();
      if (heat < 2 * this.#heatAt(place)) return NONE;
      this.#placeOf[this.#owner[place]! & this.#mask] = NONE;
    }
    this.#owner[place] = segment;
    this.#placeOf[at] = place;
    return place;
  }

  /** Halves every count, so that what was hot an hour ago is not for ever; once a second. */
  decay(): void {
    for (let i = 0; i < this.#heat.length; i++) this.#heat[i] = this.#heat[i]! >>> 1;
  }

  #coldest(): number {
    let coldest = 0;
    for (let place = 1; place < this.#owner.length; place++) {
      if (this.#heatAt(place) < this.#heatAt(coldest)) coldest = place;
    }
    return coldest;
  }

  #heatAt(place: number): number {
    const segment = this.#owner[place]!;
    const at = segment & this.#mask;
    return this.#segmentOf[at] === segment ? this.#heat[at]! : 0;
  }
}

/** How many segments of each export may be mapped so that all stay within a bound of bytes. */
export function segmentsWithin(bytes: number, exports: number): number {
  return Math.floor(bytes / exports / MAPPED_SEGMENT_BYTES);
}
