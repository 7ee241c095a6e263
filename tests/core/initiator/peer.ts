// An initiator in the tests' hands: its frames come out one by one, and answers are written by the
// test, byte for byte.

import {
  AOE_COMMAND,
  AOE_ERROR,
  AOE_FLAG_ERROR,
  AOE_FLAG_RESPONSE,
  AOE_SHELF,
  AOE_SLOT,
  AOE_VERSION_FLAGS,
  COMMAND_CONFIG,
} from "../../../src/wire/aoe.ts";
import {
  ATA_COMMAND_STATUS,
  ATA_DATA,
  ATA_FEATURE_ERROR,
  ATA_HEADER_BYTES,
  ATA_IDENTIFY_DEVICE,
  ATA_SECTOR_COUNT,
  SECTOR_BYTES,
} from "../../../src/wire/ata.ts";
import { writeConfigResponse } from "../../../src/wire/config.ts";
import { type Identity, writeIdentity } from "../../../src/wire/identify.ts";
import { writeIncarnation } from "../../../src/wire/incarnation.ts";
import { Initiator } from "../../../src/core/initiator/initiator.ts";
import type { InitiatorEvent } from "../../../src/core/initiator/session.ts";
import { initiatorMemoryBytes, type InitiatorSettings } from "../../../src/core/initiator/state.ts";

export const OWN_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
export const TARGET_MAC = Uint8Array.of(2, 0, 0, 0, 1, 1);
export const PAYLOAD_BYTES = 1 << 20;

/** A disk as the peer describes it. */
export const DISK: Identity = {
  serial: "0123456789",
  firmware: "1.0",
  model: "test disk",
  sectors: 1_000_000,
  writeCacheSupported: true,
  writeCacheOn: true,
  trim: true,
  physicalSectorBytes: 512,
  rotational: false,
};

/** One frame that the initiator has sent. */
export interface SentFrame {
  readonly bytes: Uint8Array;
  readonly tag: number;
  readonly interfaceIndex: number;
}

/** The initiator and the time it lives in. */
export class InitiatorPeer {
  readonly initiator: Initiator;
  readonly memory: Uint8Array;
  nowMs = 1000;
  identity: Identity = DISK;
  incarnation = 0;
  /** The disk knows 28-bit commands and FLUSH CACHE only, and says so. */
  narrow = false;
  buffers = 64;
  sectorsPerFrame = 17;

  constructor(settings: Partial<InitiatorSettings> = {}) {
    this.memory = new Uint8Array(PAYLOAD_BYTES + initiatorMemoryBytes(settings));
    this.initiator = new Initiator({
      ...settings,
      shelf: 7,
      slot: 3,
      memory: this.memory,
      memoryAt: PAYLOAD_BYTES,
      session: 5,
      seed: 99,
    });
  }

  /** Adds an interface and lets it find the target: config, IDENTIFY, and the large probe. */
  connect(mtu = 9000, interfaceIndex = 4): void {
    this.initiator.setInterface(this.nowMs, interfaceIndex, OWN_MAC, mtu);
    this.serve();
  }

  /** Every frame that the initiator wants to send now, as sent. */
  sent(): SentFrame[] {
    const frames: SentFrame[] = [];
    const { initiator, memory } = this;
    if (initiator.pollTimeout() <= this.nowMs) initiator.handleTimeout(this.nowMs);
    while (initiator.pollTransmit(this.nowMs)) {
      const { tag, interfaceIndex, headerAt, headerBytes, payloadAt, payloadBytes } =
        initiator.frame;
      const bytes = new Uint8Array(headerBytes + payloadBytes);
      bytes.set(memory.subarray(headerAt, headerAt + headerBytes));
      bytes.set(memory.subarray(payloadAt, payloadAt + payloadBytes), headerBytes);
      frames.push({ bytes, tag, interfaceIndex });
      initiator.handleSent(this.nowMs, tag);
    }
    return frames;
  }

  /** Answers everything that is asked, as a good target does, until nothing more is. */
  serve(): void {
    for (let frames = this.sent(); frames.length > 0; frames = this.sent()) {
      for (const frame of frames) this.give(this.answer(frame), frame.interfaceIndex);
    }
  }

  /** Lets time pass, step by step as the loop would wake up. */
  wait(ms: number, serve = false): SentFrame[] {
    const untilMs = this.nowMs + ms;
    const frames: SentFrame[] = [];
    for (;;) {
      if (serve) this.serve();
      else frames.push(...this.sent());
      const dueMs = this.initiator.pollTimeout();
      if (dueMs > untilMs) break;
      this.nowMs = Math.max(this.nowMs, dueMs);
    }
    this.nowMs = untilMs;
    return frames;
  }

  /** Hands a frame to the initiator. */
  give(bytes: Uint8Array, interfaceIndex = 4): void {
    this.initiator.receive(this.nowMs, interfaceIndex, bytes, 0, bytes.length);
  }

  /** The answer of a good target. */
  answer(request: SentFrame, change: { status?: number; error?: number } = {}): Uint8Array {
    const asked = request.bytes;
    const sectors = asked[ATA_SECTOR_COUNT]!;
    const frame = new Uint8Array(ATA_DATA + Math.max(1, sectors) * SECTOR_BYTES);
    frame.set(asked.subarray(0, 36));
    frame.set(asked.subarray(6, 12), 0);
    frame.set(TARGET_MAC, 6);
    frame[AOE_VERSION_FLAGS] = 0x10 | AOE_FLAG_RESPONSE;
    if (asked[AOE_COMMAND] === COMMAND_CONFIG) {
      const { buffers, sectorsPerFrame } = this;
      const config = { buffers, firmware: 1, sectors: sectorsPerFrame, string: new Uint8Array(0) };
      return frame.subarray(0, writeConfigResponse(frame, 0, config));
    }
    const command = asked[ATA_COMMAND_STATUS]!;
    frame[ATA_COMMAND_STATUS] = change.status ?? 0x40;
    frame[ATA_FEATURE_ERROR] = change.error ?? 0;
    if (change.status !== undefined && change.status !== 0x40) {
      return frame.subarray(0, ATA_HEADER_BYTES);
    }
    if (command === ATA_IDENTIFY_DEVICE) {
      writeIdentity(frame, ATA_DATA, this.identity);
      // Words 83 and 86: FLUSH CACHE, and neither LBA48 nor FLUSH CACHE EXT.
      if (this.narrow) {
        for (const word of [83, 86]) frame.set([0x00, 0x50], ATA_DATA + 2 * word);
      }
      if (this.incarnation !== 0) writeIncarnation(frame, ATA_DATA, this.incarnation, false);
      return frame.subarray(0, ATA_DATA + SECTOR_BYTES);
    }
    if (command !== 0x24 && command !== 0x20) return frame.subarray(0, 60);
    for (let i = 0; i < sectors * SECTOR_BYTES; i++) frame[ATA_DATA + i] = asked[28]! + i;
    return frame;
  }

  /** An AoE error in answer to a request. */
  error(request: SentFrame, error: number): Uint8Array {
    const frame = this.answer(request, { status: 0x41 }).slice(0, 24);
    frame[AOE_VERSION_FLAGS] = 0x10 | AOE_FLAG_RESPONSE | AOE_FLAG_ERROR;
    frame[AOE_ERROR] = error;
    return frame;
  }

  /** Completions that are there, as [userTag, result]. */
  completions(): [number, number][] {
    const found: [number, number][] = [];
    while (this.initiator.pollCompletion()) {
      const { userTag, result } = this.initiator.completion;
      found.push([userTag, result]);
    }
    return found;
  }

  /** Kinds of the events that are there. */
  events(): InitiatorEvent["kind"][] {
    const kinds: InitiatorEvent["kind"][] = [];
    for (let e = this.initiator.pollEvent(); e !== undefined; e = this.initiator.pollEvent()) {
      kinds.push(e.kind);
    }
    return kinds;
  }
}

/** An advert of the peer's target. */
export function advert(version: number): Uint8Array {
  const frame = new Uint8Array(60);
  frame.fill(0xff, 0, 6);
  frame.set(TARGET_MAC, 6);
  frame[12] = 0x88;
  frame[13] = 0xa2;
  frame[AOE_VERSION_FLAGS] = (version << 4) | AOE_FLAG_RESPONSE;
  frame[AOE_SHELF + 1] = 7;
  frame[AOE_SLOT] = 3;
  frame[AOE_COMMAND] = COMMAND_CONFIG;
  writeConfigResponse(frame, 0, {
    buffers: 64,
    firmware: 1,
    sectors: 2,
    string: new Uint8Array(0),
  });
  return frame;
}
