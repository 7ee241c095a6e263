// An initiator's link whose frames are captured: those received as they come, those sent as the link
// lets go of them.

import { PassedExchange } from "./passed_exchange.ts";
import type { Arena } from "../../../ffi/arena.ts";
import type { OutgoingFrame } from "../../core/initiator/frames.ts";
import type { FrameCapture } from "../capture.ts";
import type { FrameExchange } from "./frame_exchange.ts";
import type { FrameOwner } from "./link.ts";

/** Integers that are kept of a frame in line. */
const FIELDS = 4;

/** Stands before a link and passes everything on. */
export class CapturedInitiatorLink extends PassedExchange implements FrameOwner {
  readonly #arena: Arena;
  readonly #capture: FrameCapture;
  readonly #capacity: number;
  /** Of frames in line, in its order: where header and payload lie, and how long they are. */
  readonly #spans: Int32Array;
  readonly #owners: (FrameOwner | undefined)[];
  #first = 0;
  #count = 0;
  /** The first in line is not sent, since nobody wants it any more. */
  #unwanted = false;

  constructor(
    link: FrameExchange,
    { arena, queued, capture }: {
      readonly arena: Arena;
      readonly queued: number;
      readonly capture: FrameCapture;
    },
  ) {
    super(link);
    this.#arena = arena;
    this.#capture = capture;
    this.#capacity = queued;
    this.#spans = new Int32Array(queued * FIELDS);
    this.#owners = new Array(queued).fill(undefined);
  }

  override receive(): number {
    const count = this.link.receive();
    if (count === 0) return 0;
    this.#capture.stamp();
    for (let i = 0; i < count; i++) {
      const bytes = this.length(i);
      this.#capture.add(this.#arena.bytes, this.frameAt(i), bytes, 0, 0, bytes);
    }
    return count;
  }

  override enqueue(frame: OutgoingFrame, owner: FrameOwner): void {
    this.link.enqueue(frame, this);
    const entry = (this.#first + this.#count++) % this.#capacity;
    this.#owners[entry] = owner;
    const at = entry * FIELDS;
    this.#spans[at] = frame.headerAt;
    this.#spans[at + 1] = frame.headerBytes;
    this.#spans[at + 2] = frame.payloadAt;
    this.#spans[at + 3] = frame.payloadBytes;
  }

  override flush(nowMs: number): void {
    this.#capture.stamp();
    this.link.flush(nowMs);
  }

  isWanted(tag: number): boolean {
    const wanted = this.#owners[this.#first]!.isWanted(tag);
    this.#unwanted = !wanted;
    return wanted;
  }

  handleSent(nowMs: number, tag: number): void {
    const entry = this.#first;
    const at = entry * FIELDS;
    const [header, payload] = [this.#spans[at + 1]!, this.#spans[at + 3]!];
    const [headerAt, payloadAt] = [this.#spans[at]!, this.#spans[at + 2]!];
    if (!this.#unwanted) {
      const whole = header + payload;
      this.#capture.add(this.#arena.bytes, headerAt, header, payloadAt, payload, whole);
    }
    this.#unwanted = false;
    this.#first = (entry + 1) % this.#capacity;
    this.#count--;
    this.#owners[entry]!.handleSent(nowMs, tag);
  }
}
