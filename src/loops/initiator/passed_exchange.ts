// What stands before an initiator's link, and passes everything on: capture and loss (see
// frame_exchange.ts) change what they are about, and leave the rest to this.

import type { OutgoingFrame } from "../../core/initiator/frames.ts";
import type { FrameExchange } from "./frame_exchange.ts";
import type { FrameOwner } from "./link.ts";

/** A link in all but what its heirs do otherwise. */
export class PassedExchange implements FrameExchange {
  protected readonly link: FrameExchange;

  constructor(link: FrameExchange) {
    this.link = link;
  }

  get readable(): boolean {
    return this.link.readable;
  }

  get blocked(): boolean {
    return this.link.blocked;
  }

  get pending(): number {
    return this.link.pending;
  }

  receive(): number {
    return this.link.receive();
  }

  frameAt(i: number): number {
    return this.link.frameAt(i);
  }

  length(i: number): number {
    return this.link.length(i);
  }

  giveBack(): void {
    this.link.giveBack();
  }

  enqueue(frame: OutgoingFrame, owner: FrameOwner): void {
    this.link.enqueue(frame, owner);
  }

  flush(nowMs: number): void {
    this.link.flush(nowMs);
  }
}
