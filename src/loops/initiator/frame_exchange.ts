// What an initiator's loop asks of an interface while frames flow: its link, or what stands before
// it where somebody looks for a fault.

import type { Arena } from "../../../ffi/arena.ts";
import type { OutgoingFrame } from "../../core/initiator/frames.ts";
import { FrameCapture } from "../capture.ts";
import type { WireAids } from "../capture.ts";
import { SeededLoss } from "../seeded_loss.ts";
import { CapturedInitiatorLink } from "./captured_link.ts";
import type { InitiatorCounters } from "./counters.ts";
import type { FrameOwner } from "./link.ts";
import { LossyInitiatorLink } from "./lossy_link.ts";

/** Frames in, frames out; see `InitiatorLink`. */
export interface FrameExchange {
  readonly readable: boolean;
  readonly blocked: boolean;
  readonly pending: number;
  receive(): number;
  frameAt(i: number): number;
  length(i: number): number;
  giveBack(): void;
  enqueue(frame: OutgoingFrame, owner: FrameOwner): void;
  flush(nowMs: number): void;
}

/** The links as the loop is to have them, in the same order, and what has to be written and closed. */
export interface AidedInitiatorLinks {
  readonly links: readonly FrameExchange[];
  readonly capture: FrameCapture | undefined;
}

/**
 * Puts a capture and loss before the links, as far as they are wanted. What is lost on the way in is
 * captured, since it was on the wire; what is lost on the way out is not.
 *
 * @param tell Hears why a capture has ended.
 */
export function aidInitiatorLinks(
  links: readonly FrameExchange[],
  aids: WireAids | undefined,
  { arena, queued, counters, tell }: {
    readonly arena: Arena;
    /** Most frames that can wait on a link. */
    readonly queued: number;
    readonly counters: InitiatorCounters;
    readonly tell: (text: string) => void;
  },
): AidedInitiatorLinks {
  const capture = aids?.capture && new FrameCapture(aids.capture, tell);
  let aided = links;
  if (capture !== undefined) {
    aided = aided.map((link) => new CapturedInitiatorLink(link, { arena, queued, capture }));
  }
  if (aids !== undefined && aids.dropPercent > 0) {
    const loss = new SeededLoss(aids.dropPercent, aids.dropSeed);
    aided = aided.map((link) => new LossyInitiatorLink(link, { loss, counters }));
  }
  return { links: aided, capture };
}
