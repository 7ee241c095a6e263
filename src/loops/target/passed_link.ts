// What stands before a target's link, and passes everything on: the aids (see link_aids.ts) change
// what they are about, and leave the rest to this.

import type { FrameLink, SendOutcome } from "../../core/target/frame_link.ts";

/** A link in all but what its heirs do otherwise. */
export class PassedTargetLink implements FrameLink {
  protected readonly link: FrameLink;

  constructor(link: FrameLink) {
    this.link = link;
  }

  get mac(): Uint8Array {
    return this.link.mac;
  }

  get mtu(): number {
    return this.link.mtu;
  }

  get sectors(): number {
    return this.link.sectors;
  }

  get running(): boolean {
    return this.link.running;
  }

  get readable(): boolean {
    return this.link.readable;
  }

  get slept(): boolean {
    return this.link.slept;
  }

  get pending(): number {
    return this.link.pending;
  }

  get blocked(): boolean {
    return this.link.blocked;
  }

  receive(): number {
    return this.link.receive();
  }

  takeFrame(i: number): number {
    return this.link.takeFrame(i);
  }

  length(i: number): number {
    return this.link.length(i);
  }

  giveBack(): void {
    this.link.giveBack();
  }

  enqueue(frame: number, bytes: number): void {
    this.link.enqueue(frame, bytes);
  }

  enqueueGathered(frame: number, headerBytes: number, bytes: number): void {
    this.link.enqueueGathered(frame, headerBytes, bytes);
  }

  flush(outcome: SendOutcome): void {
    this.link.flush(outcome);
  }
}
