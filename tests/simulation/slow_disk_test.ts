// A slow disk behind a target that lives, in virtual time: nothing fails, hardly anything is sent
// again, and the disk is kept as busy as it can be. And a fast disk that stands still for a while.

import { assert, assertEquals } from "@std/assert";
import {
  ATA_COMMAND_STATUS,
  ATA_IDENTIFY_DEVICE,
  ATA_READ_SECTORS_EXT,
  ATA_WRITE_SECTORS_EXT,
  readLba48,
} from "../../src/wire/ata.ts";
import { AOE_COMMAND, COMMAND_ATA } from "../../src/wire/aoe.ts";
import type { InitiatorSettings } from "../../src/core/initiator/state.ts";
import { Disk } from "./disk.ts";
import { History } from "./history.ts";
import { InitiatorHost } from "./initiator_host.ts";
import { Wire } from "./network.ts";
import { INTACT } from "./target_breakages.ts";
import { TargetHost } from "./target_host.ts";
import { Clock, Random } from "./virtual_time.ts";

const SECTORS = 200_000;
const REQUEST_SECTORS = 16;

/** A disk whose operations take a time each, so many of them at once. */
class SlowDisk extends Disk {
  readonly #clock: Clock;
  readonly #freeAtMs: number[];
  /** Nothing ends before this. */
  stillUntilMs = 0;
  commandMs: number;

  constructor(clock: Clock, random: Random, commandMs: number, parallel: number) {
    super(random, SECTORS, {
      ...{ latencyMinMs: 0, latencyMaxMs: 0, hangs: 0, hangMs: 0, errors: 0 },
      ...{ partial: 0, syncErrors: 0 },
      writeThrough: true,
    });
    this.#clock = clock;
    this.#freeAtMs = new Array(parallel).fill(0);
    this.commandMs = commandMs;
  }

  override latencyMs(): number {
    const { nowMs } = this.#clock;
    const soonest = this.#freeAtMs.indexOf(Math.min(...this.#freeAtMs));
    const fromMs = Math.max(nowMs, this.#freeAtMs[soonest]!, this.stillUntilMs);
    this.#freeAtMs[soonest] = fromMs + this.commandMs;
    return this.#freeAtMs[soonest]! - nowMs;
  }
}

interface Scene {
  readonly clock: Clock;
  readonly host: InitiatorHost;
  readonly disk: SlowDisk;
  readonly wire: Wire;
  /** Transmissions of each command, by opcode and sector. */
  readonly sent: Map<string, number>;
  /** Runs to the end; requests per virtual second. */
  readonly run: () => number;
}

function scene(
  choice: {
    commandMs: number;
    window: number;
    requests: number;
    parallel?: number;
    writeShare?: number;
    loss?: number;
    /** Share of frames that come twice, and of those that others overtake. */
    disorder?: number;
    settings?: Partial<InitiatorSettings>;
  },
): Scene {
  const { commandMs, window, requests, parallel = 64, writeShare = 0.5, loss = 0, disorder = 0 } =
    choice;
  const random = new Random(11);
  const clock = new Clock();
  const wire = new Wire(clock, random, {
    ...{ baseMs: 0.05, loss, duplication: disorder, doubleMs: 0.09 },
    ...{ reordering: disorder, reorderMs: 5 },
    ...{ spikes: 0, spikeMs: 0, mtu: Infinity, cut: false },
  });
  const disk = new SlowDisk(clock, random, commandMs, parallel);
  const address = { shelf: 1, slot: 1 };
  const target = new TargetHost(clock, random, disk, {
    ...{ ...address, serial: "slow", buffers: window, mtu: 9000, trim: false, sync: false },
    frames: 64 + 2 * window,
    ...{ server: false, directAlignment: 0, offsetBytes: 0, gathers: false, inPlaceMax: -1 },
    breakages: INTACT,
  });
  const host = new InitiatorHost(clock, random, new History(SECTORS), {
    ...address,
    workload: {
      ...{ requests, depth: window, thinkMs: 0, sectorsMax: REQUEST_SECTORS },
      ...{ hotSectors: SECTORS, writeShare, flushShare: 0, discardShare: 0 },
    },
    breakages: { forgetGeneration: false, releaseEarly: false },
    settings: choice.settings ?? {},
    held: 0,
    heldMs: 0,
  });
  const sent = new Map<string, number>();
  wire.joinTarget((bytes) => {
    const opcode = bytes[ATA_COMMAND_STATUS]!;
    if (bytes[AOE_COMMAND] !== COMMAND_ATA || opcode === ATA_IDENTIFY_DEVICE) return;
    const key = `${opcode} ${readLba48(bytes, 0)}`;
    sent.set(key, (sent.get(key) ?? 0) + 1);
  });
  target.join(wire, Uint8Array.of(2, 0, 0, 0, 1, 0));
  host.join(wire, Uint8Array.of(2, 0, 0, 0, 0, 0), 9000);
  const run = () => {
    clock.after(0, () => host.turn());
    while (!host.isDone && host.failure === undefined && clock.step(4e7));
    assertEquals(host.failure, undefined);
    assert(host.isDone, "not everything has ended");
    return 1000 * requests / clock.nowMs;
  };
  return { clock, host, disk, wire, sent, run };
}

/** Most transmissions of one command; the large probe's sector left out. */
function mostSent(sent: ReadonlyMap<string, number>): number {
  const probed = [ATA_READ_SECTORS_EXT, ATA_WRITE_SECTORS_EXT].map((opcode) => `${opcode} 0`);
  return Math.max(...[...sent].map(([key, count]) => probed.includes(key) ? 0 : count));
}

for (const seconds of [0.2, 1, 2, 5, 20]) {
  for (const window of [1, 64]) {
    for (const parallel of [64, 1]) {
      const name =
        `simulation: a disk of ${seconds} s a command, ${parallel} at once, window ${window}`;
      Deno.test(`${name}: no error, three copies at most, 0.8 of its throughput`, () => {
        const requests = 16 * window;
        const { host, sent, run } = scene({
          commandMs: 1000 * seconds,
          window,
          requests,
          parallel,
        });
        const rate = run();
        assertEquals([...host.results], [["Ok", requests]]);
        const most = mostSent(sent);
        assert(most <= 3, `a command was sent ${most} times`);
        const possible = Math.min(window, parallel) / seconds;
        assert(rate >= 0.8 * possible, `${rate} of ${possible} requests a second`);
        assertEquals(host.initiator.paths[0]!.counters.timesLost, 0);
      });
    }
  }
}

Deno.test("simulation: a spin-up of 9 s costs a handful of retransmissions, and no path", () => {
  for (const writeShare of [0, 0.5, 1]) {
    const { clock, host, disk, run } = scene({
      ...{ commandMs: 0.1, window: 64, requests: 4000, writeShare },
    });
    clock.at(3, () => disk.stillUntilMs = 9003);
    run();
    assertEquals([...host.results.keys()], ["Ok"]);
    const { retransmitted } = host.initiator.counters;
    assert(retransmitted <= 50, `${retransmitted} retransmissions`);
    assertEquals(host.initiator.paths[0]!.counters.timesLost, 0);
    assert(host.slowestMs > 8900 && host.slowestMs < 10_000, `a request took ${host.slowestMs} ms`);
  }
});

Deno.test("simulation: a slow disk and a network that loses frames: no error", () => {
  for (const commandMs of [200, 2000]) {
    const requests = 640;
    const { host, run } = scene({ commandMs, window: 64, requests, loss: 0.02 });
    const rate = run();
    assertEquals([...host.results], [["Ok", requests]]);
    assert(rate >= 0.1 * 64_000 / commandMs, `${rate} requests a second`);
  }
});

Deno.test("simulation: a network that loses and reorders makes nobody wait for a fast disk", () => {
  for (const writeShare of [0, 1]) {
    const { host, run } = scene({
      ...{ commandMs: 0.1, window: 64, requests: 4000, writeShare },
      ...{ loss: 0.1, disorder: 0.1 },
    });
    run();
    assertEquals([...host.results.keys()], ["Ok"]);
    // Nine in ten thousand are lost four times in a row; three seconds would be a slow disk's.
    assert(host.slowestMs < 2000, `a request took ${host.slowestMs} ms`);
  }
});

Deno.test("simulation: a disk that hangs for good fails what waits, deadAfterMs after its last answer", () => {
  const { clock, host, disk, run } = scene({
    ...{ commandMs: 1000, window: 8, requests: 200, settings: { deadAfterMs: 30_000 } },
  });
  clock.at(5500, () => {
    disk.stillUntilMs = 60_000;
    disk.commandMs = 1;
  });
  run();
  assert((host.results.get("Timeout") ?? 0) >= 8, "nothing has failed");
  assert((host.results.get("Ok") ?? 0) > 100, "what came when the disk was back failed, too");
  assert(host.slowestMs > 30_000 && host.slowestMs < 33_000, `after ${host.slowestMs} ms`);
});

/** Kinds of the events that people are told of. */
function told(host: InitiatorHost): string[] {
  const kinds: string[] = [];
  for (;;) {
    const event = host.initiator.pollEvent();
    if (event === undefined) return kinds;
    if (event.kind.startsWith("disk-") || event.kind === "path-lost") kinds.push(event.kind);
  }
}

Deno.test("simulation: a disk that is silent is told of once, and once when it answers", () => {
  const { clock, host, disk, run } = scene({ commandMs: 0.1, window: 64, requests: 4000 });
  clock.at(3, () => disk.stillUntilMs = 40_000);
  run();
  assertEquals(told(host), ["disk-silent", "disk-answers"]);
});

Deno.test("simulation: a disk of 20 s a command is told of at its first command only", () => {
  const { host, run } = scene({ commandMs: 20_000, window: 1, requests: 16, writeShare: 0 });
  run();
  assertEquals(told(host), ["disk-silent", "disk-answers"]);
});
