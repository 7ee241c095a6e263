// Requests that failed, by cause: the first of each is told in full, the others are counted. A disk
// that refuses one command of a window refuses all of them, for the same reason.

import type { InitiatorEvent } from "../../core/initiator/session.ts";
import { describeEvent } from "./events.ts";
import type { InitiatorLoop } from "./loop.ts";

/** One cause. */
interface FailureCause {
  readonly text: string;
  readonly disk: number;
  readonly result: number;
  count: number;
}

/** What has failed so far, on all disks of a loop. */
export class FailureTally {
  readonly #causes: FailureCause[] = [];

  /** Takes an event; whether it was a failed command, of which nothing need be said at once. */
  take(loop: InitiatorLoop, disk: number, event: InitiatorEvent): boolean {
    if (event.kind !== "failed") return false;
    const { result } = event;
    const known = this.#causes.find((cause) => cause.disk === disk && cause.result === result);
    if (known !== undefined) known.count++;
    else this.#causes.push({ text: describeEvent(loop, disk, event)!, disk, result, count: 1 });
    return true;
  }

  /**
   * A sentence about a failure, with what the target said and how often.
   *
   * @param text The sentence without it: `e1.1: The target's disk failed`.
   */
  explain(text: string): string {
    const cause = this.#causes.find((cause) => cause.text.startsWith(text));
    if (cause === undefined) return text;
    return cause.count === 1 ? cause.text : `${cause.text}, and ${cause.count - 1} more like it`;
  }
}
