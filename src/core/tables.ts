// What tables of fixed size are made of. An entry is known by its number; these say which numbers
// are free, and in which order entries stand. Made at start: nothing is allocated afterwards.

/** In place of an entry's number: there is none. */
export const NONE = -1;

/** Free numbers from 0; the one given back last is taken first, since its memory is warm. */
export class FreeStack {
  /** How many are free. */
  count: number;
  readonly #numbers: Int32Array;

  /** @param size How many numbers there are, all of them free. */
  constructor(size: number) {
    this.count = size;
    this.#numbers = new Int32Array(size);
    for (let i = 0; i < size; i++) this.#numbers[i] = size - 1 - i;
  }

  /** Takes a number, or `NONE`. */
  take(): number {
    return this.count === 0 ? NONE : this.#numbers[--this.count]!;
  }

  /** Gives a number back. */
  release(number: number): void {
    this.#numbers[this.count++] = number;
  }
}

/** Numbers in order of arrival; none stands in it twice. */
export class NumberQueue {
  /** How many are in it. */
  count = 0;
  readonly #numbers: Int32Array;
  #first = 0;

  /** @param size How many numbers there are. */
  constructor(size: number) {
    this.#numbers = new Int32Array(size);
  }

  /** Adds a number as the last. */
  append(number: number): void {
    this.#numbers[this.#at(this.count++)] = number;
  }

  /** Takes the first, or `NONE`. */
  take(): number {
    if (this.count === 0) return NONE;
    const number = this.#numbers[this.#first]!;
    this.#first = this.#at(1);
    this.count--;
    return number;
  }

  /** The number that stands behind `i` others. */
  at(i: number): number {
    return this.#numbers[this.#at(i)]!;
  }

  /** Forgets all of them. */
  clear(): void {
    this.count = 0;
  }

  #at(i: number): number {
    const at = this.#first + i;
    return at < this.#numbers.length ? at : at - this.#numbers.length;
  }
}

/**
 * Lists through the entries of one table: each entry stands in at most one, and its owner knows in
 * which.
 */
export class EntryLists {
  readonly #first: Int32Array;
  readonly #last: Int32Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;

  /**
   * @param lists How many lists, all of them empty.
   * @param size Entries of the table.
   */
  constructor(lists: number, size: number) {
    this.#first = new Int32Array(lists).fill(NONE);
    this.#last = new Int32Array(lists).fill(NONE);
    this.#next = new Int32Array(size).fill(NONE);
    this.#previous = new Int32Array(size).fill(NONE);
  }

  /** The first of a list, or `NONE`. */
  first(list: number): number {
    return this.#first[list]!;
  }

  /** The one behind an entry in its list, or `NONE`. */
  next(entry: number): number {
    return this.#next[entry]!;
  }

  /** Puts an entry that stands in no list at the end of one. */
  append(list: number, entry: number): void {
    const last = this.#last[list]!;
    this.#previous[entry] = last;
    this.#next[entry] = NONE;
    if (last === NONE) this.#first[list] = entry;
    else this.#next[last] = entry;
    this.#last[list] = entry;
  }

  /** Puts an entry that stands in no list behind another one; behind `NONE`: at the begin. */
  insert(list: number, after: number, entry: number): void {
    const next = after === NONE ? this.#first[list]! : this.#next[after]!;
    this.#previous[entry] = after;
    this.#next[entry] = next;
    if (after === NONE) this.#first[list] = entry;
    else this.#next[after] = entry;
    if (next === NONE) this.#last[list] = entry;
    else this.#previous[next] = entry;
  }

  /** Takes an entry out of the list in which it stands. */
  remove(list: number, entry: number): void {
    const next = this.#next[entry]!;
    const previous = this.#previous[entry]!;
    if (previous === NONE) this.#first[list] = next;
    else this.#next[previous] = next;
    if (next === NONE) this.#last[list] = previous;
    else this.#previous[next] = previous;
  }
}
