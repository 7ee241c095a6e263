// Targets of the simulation that behave as others do: vblade (one command at a time, no flush worth
// the name, short answers, stale bytes, adverts of version 0), ggaoed (a flush's status is its
// opcode), and a hostile neighbour who talks out of turn.

import {
  AOE_COMMAND,
  AOE_FLAG_RESPONSE,
  AOE_SHELF,
  AOE_SLOT,
  AOE_TAG,
  AOE_VERSION_FLAGS,
  COMMAND_ATA,
  COMMAND_CONFIG,
  turnIntoResponse,
  writeAoeHeader,
} from "../../src/wire/aoe.ts";
import {
  ATA_COMMAND_STATUS,
  ATA_DATA,
  ATA_ERROR_ABRT,
  ATA_ERROR_IDNF,
  ATA_FEATURE_ERROR,
  ATA_FLUSH_CACHE,
  ATA_FLUSH_CACHE_EXT,
  ATA_HEADER_BYTES,
  ATA_IDENTIFY_DEVICE,
  ATA_READ_SECTORS_EXT,
  ATA_SECTOR_COUNT,
  ATA_STATUS_DRDY,
  ATA_STATUS_ERR,
  ATA_WRITE_SECTORS_EXT,
  readLba48,
  SECTOR_BYTES,
} from "../../src/wire/ata.ts";
import { CONFIG_STRING, writeConfigResponse } from "../../src/wire/config.ts";
import { readUint16Be } from "../../src/wire/endian.ts";
import { IDENTIFY_BYTES, writeIdentity } from "../../src/wire/identify.ts";
import type { Disk } from "./disk.ts";
import type { Wire } from "./network.ts";
import type { Clock, Random } from "./virtual_time.ts";

const QUEUE_MAX = 512;

/** What the simulation chooses of a scripted target. */
export interface ScriptedOptions {
  readonly shelf: number;
  readonly slot: number;
  readonly serial: string;
  readonly manner: "vblade" | "ggaoed";
  /** As advertised; 0 is a known oddity of both. */
  readonly buffers: number;
  readonly sectorsPerFrame: number;
}

/** A target after vblade or ggaoed: commands one after the other. */
export class ScriptedTarget {
  readonly disk: Disk;
  paused = false;
  up = true;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #options: ScriptedOptions;
  readonly #ports: { wire: Wire; mac: Uint8Array }[] = [];
  readonly #queue: { port: number; bytes: Uint8Array }[] = [];
  #busy = false;
  #life = 0;

  constructor(clock: Clock, random: Random, disk: Disk, options: ScriptedOptions) {
    this.#clock = clock;
    this.#random = random;
    this.disk = disk;
    this.#options = options;
  }

  /** Adds an interface on a wire. */
  join(wire: Wire, mac: Uint8Array): void {
    const port = this.#ports.length;
    this.#ports.push({ wire, mac });
    wire.joinTarget((bytes) => {
      if (!this.up || this.#queue.length >= QUEUE_MAX) return;
      this.#queue.push({ port, bytes });
      this.#next();
    });
  }

  /** The process dies; its file, and what it has written to it, stay. */
  crash(): void {
    this.up = false;
    this.#life++;
    this.#busy = false;
    this.#queue.length = 0;
  }

  /** The process is started again. */
  restart(): void {
    this.up = true;
    this.advertise();
  }

  /** Goes on after a pause. */
  resume(): void {
    this.paused = false;
    this.#next();
  }

  /** The file has grown; vblade sees that only when it is started. */
  resize(sectors: number): void {
    this.disk.resize(sectors);
  }

  /** The advert at the start has version 0, as vblade's has. */
  advertise(): void {
    for (const { wire, mac } of this.#ports) {
      const { shelf, slot } = this.#options;
      const frame = new Uint8Array(64);
      const header = { flags: AOE_FLAG_RESPONSE, shelf, slot, command: COMMAND_CONFIG, tag: 0 };
      writeAoeHeader(frame, 0, new Uint8Array(6).fill(0xff), mac, header);
      frame[AOE_VERSION_FLAGS] = AOE_FLAG_RESPONSE;
      this.#writeConfig(frame);
      wire.toInitiator(frame.subarray(0, CONFIG_STRING));
    }
  }

  #writeConfig(frame: Uint8Array): number {
    const { buffers, sectorsPerFrame } = this.#options;
    return writeConfigResponse(frame, 0, {
      buffers,
      firmware: 0x4014,
      sectors: sectorsPerFrame,
      string: new Uint8Array(0),
    });
  }

  #next(): void {
    if (this.#busy || this.paused || !this.up) return;
    const first = this.#queue.shift();
    if (first === undefined) return;
    this.#busy = true;
    const life = this.#life;
    this.#clock.after(this.disk.latencyMs(), () => {
      if (life !== this.#life) return;
      this.#busy = false;
      const { wire, mac } = this.#ports[first.port]!;
      const answer = this.#answer(first.bytes, mac);
      if (answer !== undefined) wire.toInitiator(answer);
      this.#next();
    });
  }

  #answer(request: Uint8Array, mac: Uint8Array): Uint8Array | undefined {
    const { shelf, slot } = this.#options;
    if ((request[AOE_VERSION_FLAGS]! & AOE_FLAG_RESPONSE) !== 0) return undefined;
    if (readUint16Be(request, AOE_SHELF) !== shelf || request[AOE_SLOT] !== slot) return undefined;
    // What the request leaves in the buffer goes out with the answer.
    const sectors = Math.max(1, request[ATA_SECTOR_COUNT]!);
    const frame = new Uint8Array(Math.max(request.length + 64, ATA_DATA + sectors * SECTOR_BYTES));
    frame.set(request);
    turnIntoResponse(frame, 0, mac, shelf, slot, 0);
    if (request[AOE_COMMAND] === COMMAND_CONFIG) {
      return frame.subarray(0, this.#writeConfig(frame));
    }
    if (request[AOE_COMMAND] !== COMMAND_ATA) return undefined;
    const length = this.#carryOut(request, frame);
    // Never padded: an answer may be shorter than Ethernet's 60 bytes.
    return frame.slice(0, length);
  }

  #carryOut(request: Uint8Array, frame: Uint8Array): number {
    const command = request[ATA_COMMAND_STATUS]!;
    const sectors = request[ATA_SECTOR_COUNT]!;
    const lba = readLba48(request, 0);
    const { disk } = this;
    frame[ATA_COMMAND_STATUS] = ATA_STATUS_DRDY;
    frame[ATA_FEATURE_ERROR] = 0;
    const transfers = command === ATA_READ_SECTORS_EXT || command === ATA_WRITE_SECTORS_EXT;
    if (transfers && lba + sectors > disk.sectors) {
      frame[ATA_COMMAND_STATUS] = ATA_STATUS_DRDY | ATA_STATUS_ERR;
      frame[ATA_FEATURE_ERROR] = ATA_ERROR_IDNF;
      return ATA_HEADER_BYTES;
    }
    switch (command) {
      case ATA_READ_SECTORS_EXT:
        disk.read(lba, sectors, frame, ATA_DATA);
        return ATA_DATA + sectors * SECTOR_BYTES;
      case ATA_WRITE_SECTORS_EXT:
        disk.write(lba, sectors, request, ATA_DATA);
        // Sometimes with the data that came, sometimes the header alone.
        return ATA_HEADER_BYTES + this.#random.below(64);
      case ATA_IDENTIFY_DEVICE:
        writeIdentity(frame, ATA_DATA, {
          serial: this.#options.serial,
          firmware: "V25",
          model: "vblade",
          sectors: disk.sectors,
          writeCacheSupported: true,
          writeCacheOn: true,
          trim: false,
          physicalSectorBytes: SECTOR_BYTES,
          rotational: true,
        });
        return ATA_DATA + IDENTIFY_BYTES;
      case ATA_FLUSH_CACHE:
      case ATA_FLUSH_CACHE_EXT:
        if (this.#options.manner === "ggaoed") {
          disk.stabilize(disk.dirtySectors());
          frame[ATA_COMMAND_STATUS] = command;
          return ATA_HEADER_BYTES;
        }
        if (command === ATA_FLUSH_CACHE) {
          frame[ATA_COMMAND_STATUS] = 0;
          return ATA_HEADER_BYTES;
        }
    }
    frame[ATA_COMMAND_STATUS] = ATA_STATUS_DRDY | ATA_STATUS_ERR;
    frame[ATA_FEATURE_ERROR] = ATA_ERROR_ABRT;
    return ATA_HEADER_BYTES;
  }
}

/**
 * A neighbour who listens to a wire's answers and sends them again: late, cut short, from another
 * MAC, with another version, address or tag.
 *
 * @returns What to do with each answer that passes.
 */
export function hostileNeighbour(clock: Clock, random: Random, send: (bytes: Uint8Array) => void) {
  return (bytes: Uint8Array): void => {
    if (!random.chance(0.2)) return;
    const forged = bytes.slice();
    let length = forged.length;
    switch (random.below(7)) {
      case 0:
        // A replay, long after.
        break;
      case 1:
        // Cut short behind the header: an answer to a read without its data.
        length = Math.min(length, 24 + random.below(60));
        if (length === forged.length && length > 24) length--;
        // A write's answer needs no more than its registers: do not forge one early.
        if (forged.length < ATA_DATA + SECTOR_BYTES) forged[AOE_SLOT]! ^= 1;
        break;
      case 2:
        forged[6]! ^= 0x02 + random.below(64) * 4;
        forged[11]! ^= 0x55;
        break;
      case 3:
        forged[AOE_VERSION_FLAGS] = AOE_FLAG_RESPONSE | (random.of([0, 2, 15]) << 4);
        if (forged[AOE_COMMAND] === COMMAND_CONFIG) return;
        break;
      case 4:
        forged[AOE_SHELF + 1]! ^= 1;
        break;
      case 5:
        for (let i = 0; i < 4; i++) forged[AOE_TAG + i] = random.below(256);
        // A tag may be hit by chance, but then it was sent by nobody: the session is another's.
        forged[AOE_TAG]! &= 0x7f;
        break;
      default:
        for (let i = 24; i < forged.length; i++) forged[i] = random.below(256);
        forged[AOE_TAG]! &= 0x7f;
    }
    clock.after(random.next() * 3000, () => send(forged.subarray(0, length)));
  };
}
