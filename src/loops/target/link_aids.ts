// What stands before a target's links where somebody looks for a fault: a capture, and loss. Without
// either the loop has the links themselves.

import type { TargetCommands } from "../../core/target/commands.ts";
import type { TargetCounters } from "../../core/target/counters.ts";
import type { FrameLink } from "../../core/target/frame_link.ts";
import type { FramePool } from "../../core/target/frames.ts";
import { FrameCapture } from "../capture.ts";
import type { WireAids } from "../capture.ts";
import { SeededLoss } from "../seeded_loss.ts";
import { CapturedTargetLink } from "./captured_link.ts";
import { LossyTargetLink } from "./lossy_link.ts";

/** The links as the loop is to have them, by their numbers, and what has to be written and closed. */
export interface AidedTargetLinks {
  readonly links: FrameLink[];
  readonly capture: FrameCapture | undefined;
  /** Puts the aids before one more. */
  readonly aid: (link: FrameLink) => FrameLink;
}

/**
 * Puts the aids before the links. What is lost on the way in is captured, since it was on the wire;
 * what is lost on the way out is not.
 */
export function aidTargetLinks(
  links: readonly FrameLink[],
  aids: WireAids | undefined,
  { pool, commands, counters, tell }: {
    readonly pool: FramePool;
    readonly commands: TargetCommands;
    readonly counters: TargetCounters;
    /** Hears why a capture has ended. */
    readonly tell: (text: string) => void;
  },
): AidedTargetLinks {
  const capture = aids?.capture && new FrameCapture(aids.capture, tell);
  const loss = aids !== undefined && aids.dropPercent > 0
    ? new SeededLoss(aids.dropPercent, aids.dropSeed)
    : undefined;
  const aid = (link: FrameLink) => {
    const captured = capture === undefined
      ? link
      : new CapturedTargetLink(link, { pool, commands }, capture);
    return loss === undefined ? captured : new LossyTargetLink(captured, { pool, loss, counters });
  };
  return { links: links.map(aid), capture, aid };
}
