// Linux tells of an error of writing back once for each open file: whoever takes it must not keep it
// for himself. A disk that loses what was answered, a target, and frames put to it one by one.

import { assertEquals } from "@std/assert";
import { EDQUOT, EIO, ENOSPC } from "../../ffi/errno_numbers.ts";
import { ataRequest, requestOf } from "../core/target/exchange.ts";
import { Disk } from "./disk.ts";
import { Wire } from "./network.ts";
import { INTACT } from "./target_breakages.ts";
import { TargetHost } from "./target_host.ts";
import { Clock, Random } from "./virtual_time.ts";

const WRITE = 0x34;
const WRITE_FUA = 0x3d;
const FLUSH = 0xea;
const SECTORS = 1024;
const GOOD = 0x40;
const FAULT = 0x61;

/** A target that is asked by hand. */
class Scene {
  readonly clock = new Clock();
  readonly disk: Disk;
  readonly #wire: Wire;
  readonly #statuses = new Map<number, number>();
  #tag = 0;

  constructor(disk: { readonly inPlaceMax: number; readonly server: boolean; seed?: number }) {
    const { inPlaceMax, server, seed = 5 } = disk;
    const random = new Random(seed);
    this.#wire = new Wire(this.clock, random, {
      ...{ baseMs: 0.05, loss: 0, duplication: 0, reordering: 0, reorderMs: 0 },
      ...{ spikes: 0, spikeMs: 0, doubleMs: 0, mtu: Infinity, cut: false },
    });
    this.disk = new Disk(random, SECTORS, {
      ...{ latencyMinMs: 1, latencyMaxMs: 1, hangs: 0, hangMs: 0, errors: 0, partial: 0 },
      ...{ syncErrors: 0, writeThrough: false },
    });
    const host = new TargetHost(this.clock, random, this.disk, {
      ...{ shelf: 1, slot: 1, serial: "once", buffers: 16, mtu: 9000, trim: false, sync: false },
      ...{ frames: 64, server, directAlignment: 0, offsetBytes: 0, gathers: false },
      ...{ inPlaceMax, breakages: INTACT },
    });
    host.join(this.#wire, Uint8Array.of(2, 0, 0, 0, 0, 1));
    this.#wire.joinInitiator((bytes) => {
      this.#statuses.set(new DataView(bytes.buffer, bytes.byteOffset).getUint32(20), bytes[27]!);
    });
  }

  /** Puts a command to the target; its tag. */
  send(command: number, lba = 0): number {
    const data = new Uint8Array(command === FLUSH ? 0 : 512).fill(++this.#tag);
    const count = command === FLUSH ? 0 : 1;
    const frame = requestOf({
      ...{ command: 0, shelf: 1, slot: 1 },
      section: ataRequest(command, { lba, count, data }),
    });
    new DataView(frame.buffer).setUint32(20, this.#tag);
    this.#wire.toTargets(frame);
    return this.#tag;
  }

  /** The ATA status that a command was answered with. */
  answerTo(tag: number): number | undefined {
    for (let steps = 0; !this.#statuses.has(tag) && steps < 1000 && this.clock.step(1e4); steps++);
    return this.#statuses.get(tag);
  }

  /** A command's status, after its answer. */
  ask(command: number, lba = 0): number | undefined {
    return this.answerTo(this.send(command, lba));
  }
}

const DISKS = {
  "in place": { inPlaceMax: Infinity, server: false },
  "on the ring": { inPlaceMax: -1, server: false },
  "with a server": { inPlaceMax: -1, server: true },
};
const ERRORS = { EIO, ENOSPC, EDQUOT };

for (const [where, disk] of Object.entries(DISKS)) {
  for (const [name, code] of Object.entries(ERRORS)) {
    Deno.test(`told once: no flush lies after a stable write ${where} has taken ${name}`, () => {
      const scene = new Scene(disk);
      assertEquals([scene.ask(WRITE, 1), scene.ask(FLUSH)], [GOOD, GOOD]);
      assertEquals(scene.ask(WRITE, 2), GOOD);
      scene.disk.loseInWriteback(code);
      assertEquals(scene.ask(WRITE_FUA, 500), FAULT);
      assertEquals([scene.ask(FLUSH), scene.ask(FLUSH)], [FAULT, FAULT]);
    });
  }

  Deno.test(`told once: a full disk ${where} that refuses a stable write lost nobody's data`, () => {
    const scene = new Scene(disk);
    assertEquals(scene.ask(WRITE, 2), GOOD);
    scene.disk.errorCode = ENOSPC;
    scene.disk.manners.errors = 1;
    assertEquals([scene.ask(WRITE_FUA, 500), scene.ask(WRITE, 501)], [FAULT, FAULT]);
    scene.disk.manners.errors = 0;
    const after = [scene.ask(FLUSH), scene.ask(WRITE_FUA, 500), scene.ask(FLUSH)];
    assertEquals(after, [GOOD, GOOD, GOOD]);
  });
}

// With FUA and without, as the seed has it.
for (const seed of [1, 2, 3, 4]) {
  for (const [name, code] of Object.entries({ EIO, ENOSPC })) {
    Deno.test(`told once: neighbours on a server take ${name} of others, seed ${seed}`, () => {
      const scene = new Scene({ ...DISKS["with a server"], seed });
      assertEquals(scene.ask(WRITE, 2), GOOD);
      scene.disk.loseInWriteback(code);
      for (const tag of [500, 501, 502].map((lba) => scene.send(WRITE_FUA, lba))) {
        scene.answerTo(tag);
      }
      assertEquals([scene.ask(FLUSH), scene.ask(FLUSH)], [FAULT, FAULT]);
    });
  }
}
