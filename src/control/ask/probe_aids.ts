// What stands between the questions of the main thread and the wire where somebody looks for a fault:
// a capture (--capture), and frames that are lost on purpose (--drop).

import { FrameCapture } from "../../loops/capture.ts";
import { SeededLoss } from "../../loops/seeded_loss.ts";
import { openInitiatorAids } from "../wire_aids.ts";
import type { WireWish } from "../wire_aids.ts";

/** What was asked for, and who hears what there is to say of it. */
export interface ProbeWish extends WireWish {
  readonly warn: (text: string) => void;
}

/** The aids of one set of sockets; without a wish they do nothing. */
export class ProbeAids {
  readonly #capture: FrameCapture | undefined;
  readonly #loss: SeededLoss | undefined;

  /** @throws {Error} One sentence: the capture cannot be made; see `openWireAids`. */
  constructor(wish: ProbeWish | undefined) {
    const aids = wish && openInitiatorAids(wish, wish.warn);
    if (aids?.capture !== undefined) this.#capture = new FrameCapture(aids.capture, wish!.warn);
    if (aids !== undefined && aids.dropPercent > 0) {
      this.#loss = new SeededLoss(aids.dropPercent, aids.dropSeed);
    }
  }

  /** Whether the next frame is lost: one on its way out is not captured, one on its way in is. */
  loses(): boolean {
    return this.#loss !== undefined && this.#loss.next();
  }

  /** A frame was sent or received now. */
  note(view: Uint8Array, at: number, length: number): void {
    if (this.#capture === undefined) return;
    this.#capture.stamp();
    this.#capture.add(view, at, length, 0, 0, length);
  }

  /** Writes what has been gathered, so that the file can be read while others are waited for. */
  write(): void {
    this.#capture?.write();
  }

  close(): void {
    this.#capture?.close();
  }
}
