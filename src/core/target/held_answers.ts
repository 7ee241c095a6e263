// Answers that leave once what they confirm is on stable storage: of a config string, a mask list or
// a reservation that has changed. The main thread writes it down and says here how that went; other
// commands go on meanwhile.

import type { TargetExport } from "./export.ts";
import type { FrameLink } from "./frame_link.ts";
import type { FramePool } from "./frames.ts";
import { FreeStack, NONE } from "../tables.ts";

/** Most at a time of one thread; initiators repeat what is beyond. */
export const HELD_ANSWERS_MAX = 32;

/** What the main thread says of one: it is kept, */
export const OUTCOME_KEPT = 1;
/** or could not be. */
export const OUTCOME_NOT_KEPT = 2;

/** The held answers of one thread. */
export class HeldAnswers {
  readonly #outcomes: Int32Array;
  readonly #exports: (TargetExport | undefined)[] = [];
  readonly #links: (FrameLink | undefined)[] = [];
  readonly #frames = new Int32Array(HELD_ANSWERS_MAX);
  readonly #lengths = new Int32Array(HELD_ANSWERS_MAX);
  readonly #free = new FreeStack(HELD_ANSWERS_MAX);

  /** @param outcomes Shared with the main thread: a word for each. */
  constructor(outcomes: Int32Array) {
    this.#outcomes = outcomes;
  }

  /** How many there are. */
  get size(): number {
    return HELD_ANSWERS_MAX - this.#free.count;
  }

  /**
   * Holds an answer.
   *
   * @returns The number of its word, or `NONE` when there is no room for one more.
   */
  hold(ex: TargetExport, link: FrameLink, frame: number, length: number): number {
    const entry = this.#free.take();
    if (entry === NONE) return NONE;
    this.#exports[entry] = ex;
    this.#links[entry] = link;
    this.#frames[entry] = frame;
    this.#lengths[entry] = length;
    Atomics.store(this.#outcomes, entry, 0);
    return entry;
  }

  /** Sends those of which it is known how they went. */
  settle(pool: FramePool): void {
    for (let entry = 0; entry < HELD_ANSWERS_MAX; entry++) {
      const ex = this.#exports[entry];
      if (ex === undefined) continue;
      const outcome = Atomics.load(this.#outcomes, entry);
      if (outcome === 0) continue;
      const link = this.#links[entry]!;
      const frame = this.#frames[entry]!;
      let length = this.#lengths[entry]!;
      if (outcome === OUTCOME_KEPT) ex.target.keepProposal();
      else length = ex.target.refuseProposal(pool.bytes, pool.start(frame), link);
      this.#exports[entry] = undefined;
      this.#links[entry] = undefined;
      this.#free.release(entry);
      link.enqueue(frame, length);
    }
  }
}
