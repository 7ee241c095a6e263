// An interface of the target's host behind its seam (core/target/frame_link.ts): frames arrive in
// batches, answers leave at once or wait for a busy interface, and what was gathered is read from the
// disk at the moment at which it leaves.

import { ATA_DATA, SECTOR_BYTES, sectorsPerFrame } from "../../src/wire/ata.ts";
import { ETHERNET_FRAME_BYTES_MIN, ETHERNET_HEADER_BYTES } from "../../src/wire/ethernet.ts";
import type { TargetCommands } from "../../src/core/target/commands.ts";
import type { FrameLink, SendOutcome } from "../../src/core/target/frame_link.ts";
import type { FrameMemory, FramePool } from "../../src/core/target/frames.ts";
import type { Disk } from "./disk.ts";
import type { Wire } from "./network.ts";
import { SimulatedPages } from "./simulated_queue.ts";
import type { Random } from "./virtual_time.ts";

/** Frames that wait for the host at most; more are lost. */
const QUEUE_MAX = 512;
const BATCH = 32;
/** What a frame holds once it is nobody's. */
const POISON = 0xd7;

interface Answer {
  readonly frame: number;
  readonly bytes: number;
  readonly gatheredBytes: number;
}

/** One interface. */
export class SimulatedLink implements FrameLink {
  readonly mac: Uint8Array;
  mtu: number;
  sectors: number;
  running = true;
  blocked = false;

  readonly #wire: Wire;
  readonly #random: Random;
  readonly #pool: FramePool;
  readonly #commands: TargetCommands;
  readonly #disk: Disk;
  readonly #offsetBytes: number;
  readonly #slotsAt: number;
  readonly #arrived: Uint8Array[] = [];
  readonly #received: { frame: number; length: number }[] = [];
  readonly #answers: Answer[] = [];

  constructor(
    mac: Uint8Array,
    mtu: number,
    parts: {
      wire: Wire;
      random: Random;
      pool: FramePool;
      commands: TargetCommands;
      disk: Disk;
      offsetBytes: number;
      slots: FrameMemory;
    },
  ) {
    this.mac = mac;
    this.mtu = mtu;
    this.sectors = sectorsPerFrame(mtu);
    this.#wire = parts.wire;
    this.#random = parts.random;
    this.#pool = parts.pool;
    this.#commands = parts.commands;
    this.#disk = parts.disk;
    this.#offsetBytes = parts.offsetBytes;
    this.#slotsAt = parts.slots.allocate(BATCH * parts.pool.frameBytes, 64);
  }

  /** Bytes of memory for the slots of a link. */
  static bytes(frameBytes: number): number {
    return BATCH * frameBytes + 64;
  }

  /** A frame arrives; it waits until the host takes it. */
  arrive(bytes: Uint8Array): void {
    if (this.#arrived.length < QUEUE_MAX) this.#arrived.push(bytes);
  }

  setMtu(mtu: number): void {
    this.mtu = mtu;
    this.sectors = sectorsPerFrame(mtu);
  }

  get readable(): boolean {
    return this.#arrived.length > 0;
  }

  readonly slept = false;

  get pending(): number {
    return this.#answers.length;
  }

  receive(): number {
    this.#received.length = 0;
    while (this.#arrived.length > 0 && this.#received.length < BATCH && !this.blocked) {
      const frame = this.#pool.take();
      if (frame < 0) break;
      const bytes = this.#arrived.shift()!;
      const length = Math.min(bytes.length, this.#pool.frameBytes);
      const own = this.#pool.start(frame);
      // As a ring does, or recvmmsg.
      if (this.#random.chance(0.7)) {
        const slot = this.#slotsAt + this.#received.length * this.#pool.frameBytes;
        this.#pool.bytes.set(bytes.subarray(0, length), slot);
        this.#pool.bytes.set(bytes.subarray(0, Math.min(length, ETHERNET_FRAME_BYTES_MIN)), own);
        this.#commands.dataAt[frame] = slot + ATA_DATA;
      } else {
        this.#pool.bytes.set(bytes.subarray(0, length), own);
        this.#commands.dataAt[frame] = own + ATA_DATA;
      }
      this.#received.push({ frame, length });
    }
    return this.#received.length;
  }

  takeFrame(i: number): number {
    return this.#received[i]!.frame;
  }

  giveBack(): void {
    const used = this.#received.length * this.#pool.frameBytes;
    this.#pool.bytes.fill(POISON, this.#slotsAt, this.#slotsAt + used);
  }

  length(i: number): number {
    return this.#received[i]!.length;
  }

  enqueue(frame: number, bytes: number): void {
    this.#answers.push({ frame, bytes, gatheredBytes: 0 });
  }

  enqueueGathered(frame: number, headerBytes: number, bytes: number): void {
    this.#answers.push({ frame, bytes: headerBytes, gatheredBytes: bytes });
  }

  flush(outcome: SendOutcome): void {
    this.blocked = false;
    while (this.#answers.length > 0) {
      if (this.#random.chance(0.02)) {
        this.blocked = true;
        return;
      }
      const answer = this.#answers.shift()!;
      const { frame, bytes, gatheredBytes } = answer;
      const tooLarge = bytes + gatheredBytes > this.mtu + ETHERNET_HEADER_BYTES;
      // A page that cannot be read; and what an interface does not carry any more.
      if (tooLarge || (gatheredBytes > 0 && this.#random.chance(0.02))) {
        outcome.sendFailed(frame);
        continue;
      }
      this.#wire.toInitiator(this.#bytesOf(answer));
      const at = this.#pool.start(frame);
      this.#pool.bytes.fill(POISON, at, at + this.#pool.frameBytes);
      outcome.sent(frame);
    }
  }

  #bytesOf({ frame, bytes, gatheredBytes }: Answer): Uint8Array {
    const sent = new Uint8Array(bytes + gatheredBytes);
    const at = this.#pool.start(frame);
    sent.set(this.#pool.bytes.subarray(at, at + bytes));
    if (gatheredBytes > 0) {
      const offset = SimulatedPages.offsetOf(this.#commands.gatherAddress[frame]!);
      const first = (offset - this.#offsetBytes) / SECTOR_BYTES;
      this.#disk.read(first, gatheredBytes / SECTOR_BYTES, sent, ATA_DATA);
    }
    return sent;
  }
}
