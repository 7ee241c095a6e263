// A host of the simulation that runs our own target (core/target/target.ts): what core/target/loop.ts
// does, over the simulation's wires and disk. It can be paused, crash and come back.

import { COMMAND_ATA } from "../../src/wire/aoe.ts";
import {
  ATA_DATA,
  ATA_IDENTIFY_DEVICE,
  DSM_RANGE_BYTES,
  SECTOR_BYTES,
} from "../../src/wire/ata.ts";
import { ETHERNET_HEADER_BYTES } from "../../src/wire/ethernet.ts";
import { writeIncarnation } from "../../src/wire/incarnation.ts";
import {
  Drive,
  DRIVE_FLUSH,
  DRIVE_READ,
  DRIVE_TRIM,
  DRIVE_WRITE,
  trimSector,
  trimSectors,
} from "../../src/core/target/drive.ts";
import { OverlapOrder } from "../../src/core/target/overlap.ts";
import {
  DISK_WORK,
  type Link,
  OUTCOME_DONE,
  OUTCOME_FAILED,
  receiveFrame,
  Target,
} from "../../src/core/target/target.ts";
import { sectorsPerFrame } from "../../src/wire/ata.ts";
import type { Disk } from "./disk.ts";
import type { Wire } from "./network.ts";
import type { Clock, Random } from "./virtual_time.ts";

const COMMANDS_MAX = 8192;
const PAUSED_FRAMES_MAX = 512;

/** One command in the host's hands. */
interface Work {
  readonly frame: Uint8Array;
  readonly port: number;
  readonly operation: number;
  readonly sector: number;
  readonly sectors: number;
  /** Repetitions of it, answered with it. */
  readonly repetitions: Work[];
}

/** What the simulation chooses of a host. */
export interface TargetHostOptions {
  readonly shelf: number;
  readonly slot: number;
  readonly serial: string;
  readonly buffers: number;
  readonly mtu: number;
  readonly trim: boolean;
  /** Whether commands that overlap wait for each other (rule 13); false only to show the need. */
  readonly ordered: boolean;
}

/** One host. */
export class TargetHost {
  readonly disk: Disk;
  paused = false;
  up = true;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #options: TargetHostOptions;
  readonly #links: Link[] = [];
  readonly #wires: Wire[] = [];
  readonly #waiting: { port: number; bytes: Uint8Array }[] = [];
  readonly #works = new Map<number, Work>();
  #target: Target;
  #order = new OverlapOrder(COMMANDS_MAX);
  #nextWork = 0;
  /** Commands that were not done again. */
  repeated = 0;
  /** Names the life of the host; ends with a crash. */
  incarnation = 1;

  constructor(clock: Clock, random: Random, disk: Disk, options: TargetHostOptions) {
    this.#clock = clock;
    this.#random = random;
    this.disk = disk;
    this.#options = options;
    this.#target = this.#boot();
  }

  /** Adds an interface on a wire. */
  join(wire: Wire, mac: Uint8Array): void {
    const port = this.#links.length;
    const { mtu } = this.#options;
    this.#links.push({ mac, mtu, sectors: sectorsPerFrame(mtu) });
    this.#wires.push(wire);
    wire.joinTarget((bytes) => this.#receive(port, bytes));
  }

  /** Power fails: volatile content, frames and commands are gone. */
  crash(): void {
    this.up = false;
    this.#waiting.length = 0;
    for (const work of this.#works.values()) {
      if (work.operation === DRIVE_WRITE && this.#random.chance(0.3)) {
        this.disk.write(work.sector, work.sectors, work.frame, ATA_DATA, true);
      }
    }
    this.#works.clear();
    this.disk.crash();
  }

  /** The host is back after a crash. */
  restart(): void {
    this.incarnation++;
    this.#order = new OverlapOrder(COMMANDS_MAX);
    this.#target = this.#boot();
    this.up = true;
    this.advertise();
  }

  /** The file behind the export has another size. */
  resize(sectors: number): void {
    this.disk.resize(sectors);
    this.#target.drive.sectors = sectors;
    this.advertise();
  }

  /** An interface of the host has another MTU. */
  setMtu(port: number, mtu: number): void {
    const link = this.#links[port]!;
    link.mtu = mtu;
    link.sectors = sectorsPerFrame(mtu);
    if (this.up && !this.paused) this.advertise();
  }

  /** Tells everybody that it is there (decision 14). */
  advertise(): void {
    this.#links.forEach((link, port) => {
      const frame = new Uint8Array(2048);
      const length = this.#target.writeAdvert(frame, 0, link);
      this.#wires[port]!.toInitiator(frame.subarray(0, length));
    });
  }

  /** Goes on after a pause. */
  resume(): void {
    this.paused = false;
    for (const { port, bytes } of this.#waiting.splice(0)) this.#receive(port, bytes);
  }

  #boot(): Target {
    const { shelf, slot, serial, buffers, trim } = this.#options;
    const drive = new Drive({
      sectors: this.disk.sectors,
      readOnly: false,
      sync: this.disk.manners.writeThrough,
      trim,
      physicalSectorBytes: SECTOR_BYTES,
      rotational: false,
      serial,
      firmware: "0001",
      model: "aoe target",
    });
    return new Target({ shelf, slot, drive, buffers, allowed: [] });
  }

  #receive(port: number, bytes: Uint8Array): void {
    if (!this.up) return;
    if (this.paused) {
      if (this.#waiting.length < PAUSED_FRAMES_MAX) this.#waiting.push({ port, bytes });
      return;
    }
    const link = this.#links[port]!;
    const room = ATA_DATA + link.sectors * SECTOR_BYTES;
    const frame = new Uint8Array(Math.max(2048, room, bytes.length));
    frame.set(bytes);
    const target = this.#target;
    const verdict = receiveFrame(target, frame, 0, bytes.length, link);
    if (verdict < 0) return;
    if (verdict !== DISK_WORK) {
      // The target does not name its incarnation itself yet.
      if (bytes[19] === COMMAND_ATA && bytes[27] === ATA_IDENTIFY_DEVICE) {
        writeIncarnation(frame, ATA_DATA, this.incarnation, false);
      }
      this.#wires[port]!.toInitiator(frame.subarray(0, verdict));
      return;
    }
    const { operation, sector, sectorsWanted } = target.drive;
    const number = this.#nextWork++ % COMMANDS_MAX;
    const work = { frame, port, operation, sector, sectors: sectorsWanted, repetitions: [] };
    this.#works.set(number, work);
    if (operation === DRIVE_FLUSH || !this.#options.ordered) {
      this.#start(number, work);
      return;
    }
    const trim = operation === DRIVE_TRIM;
    const end = trim ? Infinity : sector + sectorsWanted;
    const writes = trim || operation === DRIVE_WRITE;
    if (this.#repeats(work, writes, end)) {
      this.#works.delete(number);
      return;
    }
    if (this.#order.admit(number, writes, sector, end)) this.#start(number, work);
  }

  /** What the disk has in hand already is not done again (core/target/loop.ts). */
  #repeats(work: Work, writes: boolean, end: number): boolean {
    if (work.operation !== DRIVE_READ && work.operation !== DRIVE_WRITE) return false;
    const elder = this.#works.get(this.#order.repeated(writes, work.sector, end));
    if (elder === undefined || elder.operation !== work.operation) return false;
    for (let i = ATA_DATA; writes && i < ATA_DATA + work.sectors * SECTOR_BYTES; i++) {
      if (elder.frame[i] !== work.frame[i]) return false;
    }
    elder.repetitions.push(work);
    this.repeated++;
    return true;
  }

  #start(number: number, work: Work): void {
    const incarnation = this.incarnation;
    const dirty = work.operation === DRIVE_FLUSH ? this.disk.dirtySectors() : [];
    this.#clock.after(this.disk.latencyMs(), () => {
      if (!this.up || incarnation !== this.incarnation) return;
      this.#works.delete(number);
      const outcome = this.#carryOut(work, dirty);
      this.#answer(work, outcome);
      for (const repetition of work.repetitions) {
        if (work.operation === DRIVE_READ) {
          const end = ATA_DATA + work.sectors * SECTOR_BYTES;
          repetition.frame.set(work.frame.subarray(ATA_DATA, end), ATA_DATA);
        }
        this.#answer(repetition, outcome);
      }
      if (work.operation === DRIVE_FLUSH || !this.#options.ordered) return;
      this.#order.finish(number);
      for (;;) {
        const next = this.#order.promote();
        if (next < 0) break;
        this.#start(next, this.#works.get(next)!);
      }
    });
  }

  #answer(work: Work, outcome: number): void {
    const { frame, port, operation, sectors } = work;
    const link = this.#links[port]!;
    const length = this.#target.complete(frame, 0, link, operation, sectors, outcome);
    // What the interface does not carry any more never leaves.
    if (length > link.mtu + ETHERNET_HEADER_BYTES) return;
    this.#wires[port]!.toInitiator(frame.subarray(0, length));
  }

  #carryOut(work: Work, dirty: readonly number[]): number {
    const { frame, sector, sectors } = work;
    const disk = this.disk;
    switch (work.operation) {
      case DRIVE_READ:
        if (sector + sectors > disk.sectors || disk.fails()) return OUTCOME_FAILED;
        disk.read(sector, sectors, frame, ATA_DATA);
        return OUTCOME_DONE;
      case DRIVE_WRITE: {
        if (sector + sectors > disk.sectors) return OUTCOME_FAILED;
        const failing = disk.fails();
        disk.write(sector, sectors, frame, ATA_DATA, failing);
        return failing ? OUTCOME_FAILED : OUTCOME_DONE;
      }
      case DRIVE_TRIM:
        for (let at = ATA_DATA; at < ATA_DATA + SECTOR_BYTES; at += DSM_RANGE_BYTES) {
          const first = trimSector(frame, at);
          const count = trimSectors(frame, at);
          if (first + count <= disk.sectors) disk.discard(first, count);
        }
        return OUTCOME_DONE;
      case DRIVE_FLUSH:
        disk.stabilize(dirty.filter((lba) => lba < disk.sectors));
        return OUTCOME_DONE;
      default:
        return OUTCOME_DONE;
    }
  }
}
