// A target's link that loses some of its frames on purpose (--drop), as a bad wire would: received
// ones are not handed over, and of those to be sent it is said that they were.

import { PassedTargetLink } from "./passed_link.ts";
import { TARGET_COUNT_LOST } from "../../core/target/counters.ts";
import type { TargetCounters } from "../../core/target/counters.ts";
import type { FrameLink, SendOutcome } from "../../core/target/frame_link.ts";
import type { FramePool } from "../../core/target/frames.ts";
import type { SeededLoss } from "../seeded_loss.ts";
import { RECEIVE_BATCH } from "./link.ts";

/** Stands before a link and passes on what is not lost. */
export class LossyTargetLink extends PassedTargetLink {
  readonly #pool: FramePool;
  readonly #loss: SeededLoss;
  readonly #counters: TargetCounters;
  /** The link's numbers of the received frames that are handed over. */
  readonly #kept = new Uint16Array(RECEIVE_BATCH);
  /** Frames to be sent that are lost. */
  readonly #lost: Int32Array;
  #lostCount = 0;

  constructor(
    link: FrameLink,
    { pool, loss, counters }: {
      readonly pool: FramePool;
      readonly loss: SeededLoss;
      readonly counters: TargetCounters;
    },
  ) {
    super(link);
    this.#pool = pool;
    this.#loss = loss;
    this.#counters = counters;
    this.#lost = new Int32Array(pool.count);
  }

  override get pending(): number {
    return this.link.pending + this.#lostCount;
  }

  override receive(): number {
    const count = this.link.receive();
    let kept = 0;
    for (let i = 0; i < count; i++) {
      if (!this.#loses()) this.#kept[kept++] = i;
      else this.#pool.release(this.link.takeFrame(i));
    }
    return kept;
  }

  override takeFrame(i: number): number {
    return this.link.takeFrame(this.#kept[i]!);
  }

  override length(i: number): number {
    return this.link.length(this.#kept[i]!);
  }

  override enqueue(frame: number, bytes: number): void {
    if (this.#loses()) this.#lost[this.#lostCount++] = frame;
    else this.link.enqueue(frame, bytes);
  }

  override enqueueGathered(frame: number, headerBytes: number, bytes: number): void {
    if (this.#loses()) this.#lost[this.#lostCount++] = frame;
    else this.link.enqueueGathered(frame, headerBytes, bytes);
  }

  override flush(outcome: SendOutcome): void {
    while (this.#lostCount > 0) outcome.sent(this.#lost[--this.#lostCount]!);
    if (this.link.pending > 0) this.link.flush(outcome);
  }

  #loses(): boolean {
    const loses = this.#loss.next();
    if (loses) this.#counters.add(TARGET_COUNT_LOST, 1);
    return loses;
  }
}
