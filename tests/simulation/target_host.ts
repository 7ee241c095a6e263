// A host of the simulation that runs our own target: core/target/loop.ts and all behind it, the very
// code that serves disks, over the simulation's wires and disk. It can be paused, crash and come back.

import { SECTOR_BYTES } from "../../src/wire/ata.ts";
import { ETHERNET_HEADER_BYTES } from "../../src/wire/ethernet.ts";
import { TargetCommands } from "../../src/core/target/commands.ts";
import { TargetCounters } from "../../src/core/target/counters.ts";
import { TargetExport } from "../../src/core/target/export.ts";
import type { ExportSettings } from "../../src/core/target/export.ts";
import { ExportTable } from "../../src/core/target/export_table.ts";
import { FramePool } from "../../src/core/target/frames.ts";
import { TargetMeter } from "../../src/core/target/meter.ts";
import { TargetMetrics } from "../../src/core/target/metrics.ts";
import { CONTROL_WARY, CONTROL_WORDS, TargetLoop } from "../../src/core/target/loop.ts";
import { MAPPED_SEGMENT_BYTES } from "../../src/core/target/residency.ts";
import type { Disk } from "./disk.ts";
import { breakRules, type TargetBreakages } from "./target_breakages.ts";
import type { Wire } from "./network.ts";
import { SimulatedLink } from "./simulated_link.ts";
import {
  SimulatedMemory,
  SimulatedPages,
  SimulatedQueue,
  SimulatedVectors,
} from "./simulated_queue.ts";
import { SimulatedServer } from "./simulated_server.ts";
import type { Clock, Random } from "./virtual_time.ts";

const LINKS_MAX = 4;
const PAUSED_FRAMES_MAX = 512;
const FILE_FD = 3;
const DIRECT_FD = 4;
const SERVER_FD = -2;

/** What the simulation chooses of a host. */
export interface TargetHostOptions {
  readonly shelf: number;
  readonly slot: number;
  readonly serial: string;
  readonly buffers: number;
  readonly mtu: number;
  readonly trim: boolean;
  /** Of its pool. */
  readonly frames: number;
  /** A write is answered once it is stable (`aoe serve -s`). */
  readonly sync: boolean;
  /** An NBD server is behind it, which may be killed and started again. */
  readonly server: boolean;
  /** Around the page cache, on a disk that asks for such an alignment; 0 through it. */
  readonly directAlignment: number;
  /** Where the export begins in its file. */
  readonly offsetBytes: number;
  /** Answers may be gathered from the page cache. */
  readonly gathers: boolean;
  /** Frames of a turn up to which writes are done in place. */
  readonly inPlaceMax: number;
  /** What is taken out, to show that it is needed. */
  readonly breakages: TargetBreakages;
}

/** What lives from one start of the host to its crash. */
interface Life {
  readonly memory: SimulatedMemory;
  readonly loop: TargetLoop;
  readonly exports: ExportTable;
  readonly makeExport: (index: number, suspect: boolean) => TargetExport;
  ex: TargetExport;
  /** The export is on its way out, and back after so long. */
  leaving: { flushes: boolean; readonly backAfterMs: number } | undefined;
  readonly links: SimulatedLink[];
  readonly counters: TargetCounters;
  readonly queue: SimulatedQueue | SimulatedServer;
  readonly pool: FramePool;
  readonly commands: TargetCommands;
  readonly control: Int32Array;
  turnAtMs: number;
}

/** One host. */
export class TargetHost {
  readonly disk: Disk;
  paused = false;
  up = true;
  /** Told when a server has lost what it had answered. */
  onServerLoss: () => void = () => {};
  /** Names the life of the host; ends with a crash. */
  incarnation = 1;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #options: TargetHostOptions;
  readonly #wires: { wire: Wire; mac: Uint8Array; mtu: number }[] = [];
  readonly #waiting: { port: number; bytes: Uint8Array }[] = [];
  #life: Life;

  constructor(clock: Clock, random: Random, disk: Disk, options: TargetHostOptions) {
    this.#clock = clock;
    this.#random = random;
    this.disk = disk;
    this.#options = options;
    this.#life = this.#boot();
  }

  /** Counters of this life. */
  get counters(): TargetCounters {
    return this.#life.counters;
  }

  /** Adds an interface on a wire. */
  join(wire: Wire, mac: Uint8Array): void {
    const port = this.#wires.length;
    this.#wires.push({ wire, mac, mtu: this.#options.mtu });
    this.#addLink(this.#life, port);
    wire.joinTarget((bytes) => this.#receive(port, bytes));
  }

  /** Power fails: volatile content, frames and commands are gone. */
  crash(): void {
    this.up = false;
    this.#waiting.length = 0;
    this.#life.queue.die();
    this.disk.crash();
  }

  /** The host is back after a crash. */
  restart(): void {
    this.incarnation++;
    this.#life = this.#boot();
    this.#wires.forEach((_, port) => this.#addLink(this.#life, port));
    this.up = true;
    this.advertise();
  }

  /** The NBD server behind the export is killed, and what it had not stable is gone. */
  killServer(backAfterMs: number): void {
    const { queue } = this.#life;
    if (!this.up || !(queue instanceof SimulatedServer)) return;
    if (queue.kill(backAfterMs)) {
      this.incarnation++;
      this.#life.ex.drive.incarnation = this.incarnation;
    }
    this.onServerLoss();
  }

  /** The file behind the export has another size. */
  resize(sectors: number): void {
    this.disk.resize(sectors);
    this.#life.ex.refreshSize();
    this.advertise();
  }

  /** The export is taken away while it is in use, and comes back a while later. */
  leave(drain: boolean, backAfterMs: number): void {
    const life = this.#life;
    // A server's would come back with another connection.
    if (!this.up || life.leaving !== undefined || this.#options.server) return;
    if (!life.exports.list.includes(life.ex)) return;
    life.exports.leave(life.ex);
    life.leaving = { flushes: drain, backAfterMs };
    this.#wake(life, 0);
  }

  /** See loops/target/live_changes.ts. */
  #settle(life: Life): void {
    const { leaving, ex } = life;
    if (leaving === undefined || !ex.idle) return;
    if (leaving.flushes) {
      leaving.flushes = false;
      ex.askSync();
      life.loop.activate(ex);
      this.#wake(life, 0);
      return;
    }
    life.leaving = undefined;
    life.exports.forget(ex);
    this.#clock.after(leaving.backAfterMs, () => {
      if (life !== this.#life) return;
      life.ex = life.makeExport(1 - ex.index, ex.syncFailed);
      life.exports.add(life.ex);
      this.advertise();
    });
  }

  /** An interface of the host has another MTU. */
  setMtu(port: number, mtu: number): void {
    this.#wires[port]!.mtu = mtu;
    this.#life.links[port]!.setMtu(mtu);
    if (this.up && !this.paused) this.advertise();
  }

  /** Tells everybody that it is there (decision 14). */
  advertise(): void {
    for (const link of this.#life.links) this.#life.loop.announce(link);
    this.#wake(this.#life, 0);
  }

  /** Goes on after a pause. */
  resume(): void {
    this.paused = false;
    for (const { port, bytes } of this.#waiting.splice(0)) this.#receive(port, bytes);
    this.#wake(this.#life, 0);
  }

  #settings(directFd: number, suspect: boolean): ExportSettings {
    const { shelf, slot, serial, trim, sync, server, directAlignment, offsetBytes } = this.#options;
    return {
      ...{ shelf, slot, serial, trim, sync, directAlignment, offsetBytes, directFd, suspect },
      fd: server ? SERVER_FD : FILE_FD,
      lengthBytes: undefined,
      remote: false,
      readOnly: false,
      physicalSectorBytes: SECTOR_BYTES,
      rotational: false,
      incarnation: this.incarnation,
    };
  }

  #boot(): Life {
    const { buffers, server, frames } = this.#options;
    const { mtu, directAlignment, offsetBytes, gathers, inPlaceMax, breakages } = this.#options;
    const random = this.#random;
    const alignment = directAlignment > 0 ? 4096 : 512;
    const mtuMax = Math.max(mtu, 1500);
    // Twice what the frames hold leaves room for how they are aligned, and for the server.
    const memory = new SimulatedMemory(
      2 * (frames + 4) * (mtuMax + alignment) +
        LINKS_MAX * SimulatedLink.bytes(mtuMax + ETHERNET_HEADER_BYTES),
    );
    const pool = new FramePool(memory, frames, mtuMax, alignment);
    const commands = new TargetCommands(frames);
    const vectors = new SimulatedVectors();
    const directFd = directAlignment > 0 ? DIRECT_FD : -1;
    const wake = () => this.#wake(life, 0);
    const parts = {
      ...{ memory, vectors, pool, commands, offsetBytes, directFd, breakages, wake },
      cached: gathers,
    };
    const queue = server
      ? new SimulatedServer(this.#clock, random, this.disk, parts)
      : new SimulatedQueue(this.#clock, random, this.disk, parts);
    const { disk } = this;
    const fileBytes = () => offsetBytes + disk.sectors * SECTOR_BYTES;
    const makeExport = (index: number, suspect: boolean): TargetExport => {
      const ex = new TargetExport(index, this.#settings(directFd, suspect), {
        backing: {
          get bytes() {
            return fileBytes();
          },
          remoteServer: server,
          get atRisk() {
            return queue instanceof SimulatedServer && queue.atRisk;
          },
          pages: gathers && !server ? new SimulatedPages(random, fileBytes) : undefined,
        },
        frames,
        heldMax: frames - 32,
        segments: Math.ceil(fileBytes() / MAPPED_SEGMENT_BYTES),
        buffers,
      });
      breakRules(ex, breakages);
      return ex;
    };
    const ex = makeExport(0, false);
    const exports = new ExportTable([ex]);
    const links: SimulatedLink[] = [];
    const counters = new TargetCounters(TargetCounters.allocate(2));
    const metrics = new TargetMetrics(TargetMetrics.allocate(2, LINKS_MAX));
    const control = new Int32Array(CONTROL_WORDS);
    const loop = new TargetLoop({
      ...{ pool, commands, vectors, queue, inPlaceMax, counters, links, control },
      inPlace: queue.inPlace,
      exports,
      meter: new TargetMeter(metrics, frames, { nowMs: () => this.#clock.nowMs }),
      onDiskError: () => {},
    });
    const life: Life = {
      ...{ exports, makeExport, leaving: undefined },
      ...{ memory, loop, ex, links, counters, queue, pool, commands, control },
      turnAtMs: Infinity,
    };
    return life;
  }

  #addLink(life: Life, port: number): void {
    const { wire, mac, mtu } = this.#wires[port]!;
    life.links.push(
      new SimulatedLink(mac, mtu, {
        ...{ wire, random: this.#random, disk: this.disk },
        ...{ pool: life.pool, commands: life.commands, slots: life.memory },
        offsetBytes: this.#options.offsetBytes,
      }),
    );
  }

  #receive(port: number, bytes: Uint8Array): void {
    if (!this.up) return;
    if (this.paused) {
      if (this.#waiting.length < PAUSED_FRAMES_MAX) this.#waiting.push({ port, bytes });
      return;
    }
    this.#life.links[port]!.arrive(bytes);
    // A little later, so that what comes together is taken together; on one interface only, since
    // several are not looked at in the order in which their frames came.
    const batches = this.#wires.length === 1 && this.#random.chance(0.7);
    this.#wake(this.#life, batches ? this.#random.next() * 0.1 : 0);
  }

  /** Asks for a turn, unless one is asked for that comes sooner. */
  #wake(life: Life, afterMs: number): void {
    const atMs = this.#clock.nowMs + afterMs;
    if (atMs >= life.turnAtMs) return;
    life.turnAtMs = atMs;
    this.#clock.at(atMs, () => {
      if (life.turnAtMs !== atMs || life !== this.#life) return;
      life.turnAtMs = Infinity;
      if (this.up && !this.paused) this.#turn(life);
    });
  }

  #turn(life: Life): void {
    const random = this.#random;
    life.control[CONTROL_WARY] = random.chance(0.1) ? 1 : 0;
    for (const link of life.links) link.blocked = link.blocked && random.chance(0.5);
    life.loop.turn(true);
    this.#settle(life);
    for (const link of life.links) {
      if (link.blocked || link.readable) this.#wake(life, random.next());
    }
  }
}
