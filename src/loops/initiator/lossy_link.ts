// An initiator's link that loses some of its frames on purpose (--drop), as a bad wire would.

import { PassedExchange } from "./passed_exchange.ts";
import type { OutgoingFrame } from "../../core/initiator/frames.ts";
import type { SeededLoss } from "../seeded_loss.ts";
import { INITIATOR_COUNT_LOST, type InitiatorCounters } from "./counters.ts";
import type { FrameExchange } from "./frame_exchange.ts";
import type { FrameOwner } from "./link.ts";

/** Stands before a link and passes on what is not lost. */
export class LossyInitiatorLink extends PassedExchange {
  readonly #loss: SeededLoss;
  readonly #counters: InitiatorCounters;
  /** The link's numbers of the received frames that are passed on. */
  readonly #kept: number[] = [];
  /** Frames to be sent that are lost: who has not yet heard that they are sent. */
  readonly #lost: { readonly tag: number; readonly owner: FrameOwner }[] = [];

  constructor(
    link: FrameExchange,
    { loss, counters }: { readonly loss: SeededLoss; readonly counters: InitiatorCounters },
  ) {
    super(link);
    this.#loss = loss;
    this.#counters = counters;
  }

  override get pending(): number {
    return this.link.pending + this.#lost.length;
  }

  override receive(): number {
    const count = this.link.receive();
    this.#kept.length = 0;
    for (let i = 0; i < count; i++) if (!this.#loses()) this.#kept.push(i);
    return this.#kept.length;
  }

  override frameAt(i: number): number {
    return this.link.frameAt(this.#kept[i]!);
  }

  override length(i: number): number {
    return this.link.length(this.#kept[i]!);
  }

  override enqueue(frame: OutgoingFrame, owner: FrameOwner): void {
    if (this.#loses()) this.#lost.push({ tag: frame.tag, owner });
    else this.link.enqueue(frame, owner);
  }

  override flush(nowMs: number): void {
    for (const { tag, owner } of this.#lost) owner.handleSent(nowMs, tag);
    this.#lost.length = 0;
    if (this.link.pending > 0) this.link.flush(nowMs);
  }

  #loses(): boolean {
    const loses = this.#loss.next();
    if (loses) this.#counters.add(INITIATOR_COUNT_LOST, 1);
    return loses;
  }
}
