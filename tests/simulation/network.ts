// The simulation's wires: each joins one interface of the initiator with the targets' interfaces
// of the same number, and loses, doubles, delays and reorders frames as its conditions say.

import {
  PCAP_HEADER_BYTES,
  PCAP_RECORD_BYTES,
  writePcapHeader,
  writePcapRecord,
} from "../../src/wire/pcap.ts";
import type { Clock, Random } from "./virtual_time.ts";

/** What a wire does to frames; changed while the simulation runs. */
export interface Conditions {
  /** Shortest way, milliseconds. */
  baseMs: number;
  /** Share of frames lost, each direction. */
  loss: number;
  /** Share of frames that arrive twice. */
  duplication: number;
  /** Share of frames delayed by up to `reorderMs`, so that others overtake them. */
  reordering: number;
  reorderMs: number;
  /** Share of frames at which the whole queue stands still for up to `spikeMs`, in order. */
  spikes: number;
  spikeMs: number;
  /** The second of two may come this much later. */
  doubleMs: number;
  /** Larger payloads vanish. */
  mtu: number;
  /** Nothing gets through. */
  cut: boolean;
}

/** Takes a frame that arrived. */
export type Receiver = (bytes: Uint8Array) => void;

/** A frame as it was sent, for a capture. */
export interface CapturedFrame {
  readonly atMs: number;
  readonly bytes: Uint8Array;
}

/** One wire. */
export class Wire {
  readonly conditions: Conditions;
  /** What was sent, when it is wanted. */
  capture: CapturedFrame[] | undefined;
  frames = 0;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #targets: Receiver[] = [];
  #initiator: Receiver = () => {};
  /** Per direction: until when nothing moves. */
  readonly #stillUntilMs: [number, number] = [0, 0];
  /** Per direction: when the last frame that kept its place arrives. */
  readonly #arrivedMs: [number, number] = [0, 0];

  constructor(clock: Clock, random: Random, conditions: Conditions) {
    this.#clock = clock;
    this.#random = random;
    this.conditions = conditions;
  }

  /** Joins a target's interface. */
  joinTarget(receive: Receiver): void {
    this.#targets.push(receive);
  }

  /** Joins the initiator's interface. */
  joinInitiator(receive: Receiver): void {
    this.#initiator = receive;
  }

  /** From the initiator to every target. */
  toTargets(bytes: Uint8Array): void {
    this.capture?.push({ atMs: this.#clock.nowMs, bytes });
    for (const receive of this.#targets) {
      this.#carry(bytes, receive, 0, this.conditions.doubleMs);
    }
  }

  /** From a target to the initiator. */
  toInitiator(bytes: Uint8Array): void {
    this.capture?.push({ atMs: this.#clock.nowMs, bytes });
    this.#carry(bytes, this.#initiator, 1, this.conditions.spikeMs);
  }

  #carry(bytes: Uint8Array, receive: Receiver, direction: 0 | 1, doubleMs: number): void {
    const { conditions } = this;
    const random = this.#random;
    this.frames++;
    if (conditions.cut || bytes.length - 14 > conditions.mtu) return;
    if (random.chance(conditions.loss)) return;
    let ms = conditions.baseMs * (1 + 0.2 * random.next());
    if (random.chance(conditions.reordering)) ms += random.next() * conditions.reorderMs;
    const { nowMs } = this.#clock;
    if (random.chance(conditions.spikes)) {
      const untilMs = nowMs + random.next() * conditions.spikeMs;
      this.#stillUntilMs[direction] = Math.max(this.#stillUntilMs[direction], untilMs);
    }
    const still = this.#stillUntilMs[direction];
    let atMs = Math.max(nowMs + ms, still);
    // A wire keeps the order of frames unless it is told not to.
    if (conditions.reordering === 0) {
      atMs = Math.max(atMs, this.#arrivedMs[direction]);
      this.#arrivedMs[direction] = atMs;
    }
    this.#clock.at(atMs, () => receive(bytes));
    if (random.chance(conditions.duplication)) {
      const againMs = Math.max(nowMs + ms + random.next() * doubleMs, atMs);
      this.#clock.at(againMs, () => receive(bytes));
    }
  }
}

/** A capture of the whole network, for tshark. */
export function pcapOf(frames: readonly CapturedFrame[]): Uint8Array {
  const sorted = [...frames].sort((a, b) => a.atMs - b.atMs);
  const whole = (sum: number, { bytes }: CapturedFrame) => sum + PCAP_RECORD_BYTES + bytes.length;
  const pcap = new Uint8Array(sorted.reduce(whole, PCAP_HEADER_BYTES));
  writePcapHeader(pcap, 0);
  let at = PCAP_HEADER_BYTES;
  for (const { atMs, bytes } of sorted) {
    const { length } = bytes;
    const nanoseconds = Math.floor((atMs % 1000) * 1e6);
    writePcapRecord(pcap, at, Math.floor(atMs / 1000), nanoseconds, length, length);
    at += PCAP_RECORD_BYTES;
    pcap.set(bytes, at);
    at += length;
  }
  return pcap;
}
