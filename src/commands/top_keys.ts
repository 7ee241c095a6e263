// What keys do in `aoe top`.

import { TOP_SORTS, TOP_VIEWS } from "../core/watch/top_screen.ts";
import type { TopChoice } from "../core/watch/top_screen.ts";

const FILTER_LENGTH_MAX = 64;
const PAGE_ROWS = 10;

/** The user's choice, as keys change it. */
export class TopKeys {
  #choice: TopChoice;

  constructor(choice: TopChoice) {
    this.#choice = choice;
  }

  get choice(): TopChoice {
    return this.#choice;
  }

  /**
   * Does what a key asks for.
   *
   * @param key A character, or an escape sequence.
   * @returns False when it asks for the end.
   */
  press(key: string): boolean {
    if (key === "\x03") return false;
    if (this.#choice.typing) this.#type(key);
    else if (key === "q" || key === "Q") return false;
    else this.#command(key);
    return true;
  }

  #command(key: string): void {
    const { view, sort, skipped } = this.#choice;
    switch (key) {
      case "\t":
        return this.#set({ view: next(TOP_VIEWS, view, 1), skipped: 0 });
      case "\x1b[Z":
        return this.#set({ view: next(TOP_VIEWS, view, -1), skipped: 0 });
      case "s":
        return this.#set({ sort: next(TOP_SORTS, sort, 1) });
      case "S":
        return this.#set({ sort: next(TOP_SORTS, sort, -1) });
      case "/":
      case "f":
        return this.#set({ typing: true });
      case "\x1b":
        return this.#set({ filter: "", skipped: 0 });
      case "\x1b[B":
      case "j":
        return this.#set({ skipped: skipped + 1 });
      case "\x1b[A":
      case "k":
        return this.#set({ skipped: Math.max(0, skipped - 1) });
      case "\x1b[6~":
      case " ":
        return this.#set({ skipped: skipped + PAGE_ROWS });
      case "\x1b[5~":
        return this.#set({ skipped: Math.max(0, skipped - PAGE_ROWS) });
      case "\x1b[H":
      case "g":
        return this.#set({ skipped: 0 });
      default: {
        const number = "12345".indexOf(key);
        if (key.length === 1 && number >= 0) this.#set({ view: TOP_VIEWS[number]!, skipped: 0 });
      }
    }
  }

  #type(key: string): void {
    const { filter } = this.#choice;
    if (key === "\r" || key === "\n") this.#set({ typing: false });
    else if (key === "\x1b") this.#set({ typing: false, filter: "" });
    else if (key === "\x7f" || key === "\b") {
      this.#set({ filter: [...filter].slice(0, -1).join("") });
    } else if (key === "\x15") this.#set({ filter: "" });
    else if (!/\p{C}/u.test(key) && filter.length < FILTER_LENGTH_MAX) {
      this.#set({ filter: filter + key, skipped: 0 });
    }
  }

  #set(change: Partial<TopChoice>): void {
    this.#choice = { ...this.#choice, ...change };
  }
}

function next<Item>(items: readonly Item[], item: Item, step: number): Item {
  return items[(items.indexOf(item) + step + items.length) % items.length]!;
}
