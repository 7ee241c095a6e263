// What a target asks of an interface: the second of its two seams. A packet socket is such a link,
// and so is an end of the simulation's wires.

import type { Link } from "./target.ts";

/** One interface: frames come in batches, answers leave in batches, and nothing blocks. */
export interface FrameLink extends Link {
  /** Set up, with a carrier. */
  readonly running: boolean;
  /** Whether the next turn should look for frames. */
  readonly readable: boolean;
  /** Whether the last `receive` slept until a frame came. */
  readonly slept: boolean;
  /** Answers not yet sent. */
  readonly pending: number;
  /** The interface takes no more answers for now. */
  readonly blocked: boolean;

  /** Takes frames that have arrived; returns how many, see `takeFrame` and `length`. */
  receive(): number;
  /**
   * Hands over received frame `i`: it is the caller's until released. Its first 60 bytes lie in it;
   * what stands behind its ATA header lies where `commands.dataAt` says: there, too, or in a slot
   * that is somebody else's after `giveBack`.
   */
  takeFrame(i: number): number;
  /** Bytes of received frame `i`. */
  length(i: number): number;
  /** Gives the slots of what was received back; their data have been used or copied. */
  giveBack(): void;
  /** Puts an answer in line that lies in its frame as a whole. */
  enqueue(frame: number, bytes: number): void;
  /** Puts an answer in line whose data lie at the pool's `gatherAddress`. */
  enqueueGathered(frame: number, headerBytes: number, bytes: number): void;
  /**
   * Sends what waits, as far as the interface takes it.
   *
   * @param outcome Told of each frame: sent, or not to be sent because of an error.
   */
  flush(outcome: SendOutcome): void;
}

/** Who owns the frames that a link sends. */
export interface SendOutcome {
  sent(frame: number): void;
  sendFailed(frame: number): void;
}
