// Rule 13 of wire/README.md: commands that overlap in LBA run in order of arrival, and each finishes
// before the next starts, however parallel the rest is. Without it an old retransmitted write could
// land on top of a newer one.
//
// A command is admitted (it may start) or waits behind every older command that it overlaps with,
// waiting ones included. Two reads never overlap in this sense.

import { NONE } from "../tables.ts";

/** Tables for the commands of one export. A command is named by a small number: its frame. */
export class OverlapOrder {
  readonly #first: Float64Array;
  readonly #end: Float64Array;
  readonly #writes: Uint8Array;
  readonly #position: Int32Array;
  readonly #running: readonly [CommandList, CommandList];
  readonly #waiting: CommandList;

  /** @param capacity One more than the largest command number. */
  constructor(capacity: number) {
    this.#first = new Float64Array(capacity);
    this.#end = new Float64Array(capacity);
    this.#writes = new Uint8Array(capacity);
    this.#position = new Int32Array(capacity);
    this.#running = [new CommandList(capacity), new CommandList(capacity)];
    this.#waiting = new CommandList(capacity);
  }

  /** Commands admitted and not yet finished. */
  get running(): number {
    return this.#running[0].size + this.#running[1].size;
  }

  /** Commands waiting for an older one. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Takes note of a command's sectors. */
  enter(command: number, write: boolean, first: number, end: number): void {
    this.#first[command] = first;
    this.#end[command] = end;
    this.#writes[command] = write ? 1 : 0;
  }

  /**
   * Takes a new command for the sectors from `first` to before `end`.
   *
   * @returns Whether it may start now; otherwise `promote` names it later.
   */
  admit(command: number, write: boolean, first: number, end: number): boolean {
    this.enter(command, write, first, end);
    if (this.#blocked(command, this.#waiting.size)) {
      this.#waiting.items[this.#waiting.size++] = command;
      return false;
    }
    this.#start(command);
    return true;
  }

  /**
   * The command that a new one for the same sectors may be a repetition of: a read that runs or
   * waits, or the newest write that overlaps with it. What that one comes to is an answer to both:
   * nothing that overlaps has an effect in between.
   *
   * @param command One that has been entered, and not admitted.
   * @returns `NONE` when there is none. The caller compares what else the two have to have in common.
   */
  repeatedBy(command: number): number {
    const first = this.#first[command]!;
    const end = this.#end[command]!;
    const write = this.#writes[command] === 1;
    for (let i = this.#waiting.size - 1; i >= 0; i--) {
      const other = this.#waiting.items[i]!;
      if ((this.#writes[other] === 1) !== write) continue;
      if (this.#first[other] === first && this.#end[other] === end) return other;
      // A write in between would have the last word.
      if (write && this.#first[other]! < end && first < this.#end[other]!) return NONE;
    }
    const running = this.#running[write ? 1 : 0];
    for (let i = 0; i < running.size; i++) {
      const other = running.items[i]!;
      if (this.#first[other] === first && this.#end[other] === end) return other;
    }
    return NONE;
  }

  /** Ends an admitted command: its effect on the disk, or its look at it, is over. */
  finish(command: number): void {
    const list = this.#running[this.#writes[command] === 1 ? 1 : 0];
    const position = this.#position[command]!;
    const last = list.items[--list.size]!;
    list.items[position] = last;
    this.#position[last] = position;
  }

  /** The oldest waiting command that may start now, and starts it; `NONE` when there is none. */
  promote(): number {
    const waiting = this.#waiting;
    for (let i = 0; i < waiting.size; i++) {
      const command = waiting.items[i]!;
      if (this.#blocked(command, i)) continue;
      waiting.items.copyWithin(i, i + 1, waiting.size--);
      this.#start(command);
      return command;
    }
    return NONE;
  }

  #start(command: number): void {
    const list = this.#running[this.#writes[command] === 1 ? 1 : 0];
    this.#position[command] = list.size;
    list.items[list.size++] = command;
  }

  /** Whether a command overlaps with a running one or with the `older` first of the waiting. */
  #blocked(command: number, older: number): boolean {
    const write = this.#writes[command] === 1;
    return this.#overlapsAny(command, this.#running[1], this.#running[1].size, write) ||
      (write && this.#overlapsAny(command, this.#running[0], this.#running[0].size, write)) ||
      this.#overlapsAny(command, this.#waiting, older, write);
  }

  #overlapsAny(command: number, list: CommandList, count: number, write: boolean): boolean {
    const first = this.#first[command]!;
    const end = this.#end[command]!;
    for (let i = 0; i < count; i++) {
      const other = list.items[i]!;
      if (
        this.#first[other]! < end && first < this.#end[other]! &&
        (write || this.#writes[other] === 1)
      ) {
        return true;
      }
    }
    return false;
  }
}

/** A list of command numbers with room for all of them. */
class CommandList {
  size = 0;
  readonly items: Int32Array;
  constructor(capacity: number) {
    this.items = new Int32Array(capacity);
  }
}
