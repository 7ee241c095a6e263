// What all drivers that make a block device of a remote disk have in common: what the loop tells
// them is for the disk's requests.

import type { InitiatorEvent } from "../../core/initiator/session.ts";
import type { InitiatorDriver } from "../initiator/loop.ts";
import type { BlockRequests } from "./requests.ts";

/** A driver whose requests come from a block device. */
export abstract class BlockDriver implements InitiatorDriver {
  protected abstract readonly blocks: BlockRequests;

  abstract turn(nowMs: number): boolean;
  abstract wakeAtMs(): number;
  abstract stop(nowMs: number): void;

  complete(nowMs: number, _disk: number, userTag: number, result: number): void {
    this.blocks.complete(nowMs, userTag, result);
  }

  linkChanged(text: string | undefined): void {
    this.blocks.linkChanged(text);
  }

  event(nowMs: number, _disk: number, event: InitiatorEvent): void {
    this.blocks.event(nowMs, event);
  }
}
