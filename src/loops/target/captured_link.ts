// A target's link whose frames are captured: those received as they are handed over, those sent once
// the kernel has taken them. Of data sent straight from the page cache only the length is known.

import { PassedTargetLink } from "./passed_link.ts";
import { ATA_DATA } from "../../wire/ata.ts";
import type { TargetCommands } from "../../core/target/commands.ts";
import type { FrameLink, SendOutcome } from "../../core/target/frame_link.ts";
import type { FramePool } from "../../core/target/frames.ts";
import type { FrameCapture } from "../capture.ts";

/** Stands before a link and passes everything on. */
export class CapturedTargetLink extends PassedTargetLink implements SendOutcome {
  readonly #pool: FramePool;
  readonly #commands: TargetCommands;
  readonly #capture: FrameCapture;
  /** Of frames in line: bytes that lie in them, and bytes in all. */
  readonly #heldBytes: Int32Array;
  readonly #wireBytes: Int32Array;
  #outcome: SendOutcome | undefined;

  constructor(
    link: FrameLink,
    { pool, commands }: { readonly pool: FramePool; readonly commands: TargetCommands },
    capture: FrameCapture,
  ) {
    super(link);
    this.#pool = pool;
    this.#commands = commands;
    this.#capture = capture;
    this.#heldBytes = new Int32Array(pool.count);
    this.#wireBytes = new Int32Array(pool.count);
  }

  override receive(): number {
    const count = this.link.receive();
    if (count > 0) this.#capture.stamp();
    return count;
  }

  override takeFrame(i: number): number {
    const frame = this.link.takeFrame(i);
    const bytes = this.link.length(i);
    const header = Math.min(bytes, ATA_DATA);
    const dataAt = this.#commands.dataAt[frame]!;
    const at = this.#pool.start(frame);
    this.#capture.add(this.#pool.bytes, at, header, dataAt, bytes - header, bytes);
    return frame;
  }

  override enqueue(frame: number, bytes: number): void {
    this.#heldBytes[frame] = this.#wireBytes[frame] = bytes;
    this.link.enqueue(frame, bytes);
  }

  override enqueueGathered(frame: number, headerBytes: number, bytes: number): void {
    this.#heldBytes[frame] = headerBytes;
    this.#wireBytes[frame] = headerBytes + bytes;
    this.link.enqueueGathered(frame, headerBytes, bytes);
  }

  override flush(outcome: SendOutcome): void {
    this.#outcome = outcome;
    this.#capture.stamp();
    this.link.flush(this);
  }

  sent(frame: number): void {
    const [held, whole] = [this.#heldBytes[frame]!, this.#wireBytes[frame]!];
    this.#capture.add(this.#pool.bytes, this.#pool.start(frame), held, 0, 0, whole);
    this.#outcome!.sent(frame);
  }

  sendFailed(frame: number): void {
    this.#outcome!.sendFailed(frame);
  }
}
