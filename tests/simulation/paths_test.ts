// What faults of the network cost, in virtual time: a path that is cut, frames that are lost, large
// frames that vanish.

import { assert, assertEquals } from "@std/assert";
import { PATH_UP } from "../../src/core/initiator/path.ts";
import { Disk } from "./disk.ts";
import { History } from "./history.ts";
import { InitiatorHost } from "./initiator_host.ts";
import { Wire } from "./network.ts";
import { ScriptedTarget } from "./scripted_target.ts";
import { Clock, Random } from "./virtual_time.ts";

const SECTORS = 200_000;
/** One command at a time, as long as vblade takes. */
const SERVICE_MS = 0.012;

interface Scene {
  readonly host: InitiatorHost;
  readonly wires: readonly Wire[];
  readonly clock: Clock;
  /** Runs to the end; requests per virtual second. */
  readonly run: () => number;
}

function scene(
  choice: { requests: number; wires?: number; loss?: number; writeShare?: number; depth?: number },
): Scene {
  const { requests, wires: count = 1, loss = 0, writeShare = 0, depth = 64 } = choice;
  const random = new Random(7);
  const clock = new Clock();
  const wires = Array.from({ length: count }, () =>
    new Wire(clock, random, {
      ...{ baseMs: 0.03, loss, duplication: 0, doubleMs: 0, reordering: 0, reorderMs: 0 },
      ...{ spikes: 0, spikeMs: 0, mtu: Infinity, cut: false },
    }));
  const disk = new Disk(random, SECTORS, {
    ...{ latencyMinMs: SERVICE_MS, latencyMaxMs: SERVICE_MS, hangs: 0, hangMs: 0, errors: 0 },
    partial: 0,
    syncErrors: 0,
    writeThrough: true,
  });
  const address = { shelf: 1, slot: 1 };
  const target = new ScriptedTarget(clock, random, disk, {
    ...{ ...address, serial: "paths", manner: "vblade", buffers: 64, sectorsPerFrame: 17 },
  });
  const host = new InitiatorHost(clock, random, new History(SECTORS), {
    ...address,
    workload: {
      ...{ requests, depth, thinkMs: 0, sectorsMax: 16, hotSectors: SECTORS, writeShare },
      ...{ flushShare: 0, discardShare: 0 },
    },
    breakages: { forgetGeneration: false, releaseEarly: false },
    settings: {},
    held: 0,
    heldMs: 0,
  });
  wires.forEach((wire, i) => {
    target.join(wire, Uint8Array.of(2, 0, 0, 0, 1, i));
    host.join(wire, Uint8Array.of(2, 0, 0, 0, 0, i), 9000);
  });
  const run = () => {
    clock.after(0, () => host.turn());
    while (!host.isDone && host.failure === undefined && clock.step(600_000));
    assertEquals(host.failure, undefined);
    assert(host.isDone, "not everything has ended");
    return 1000 * requests / clock.nowMs;
  };
  return { host, wires, clock, run };
}

Deno.test("simulation: a path that is cut costs no error and less than a second", () => {
  const { host, wires, clock, run } = scene({ requests: 40_000, wires: 2 });
  clock.at(100, () => wires[0]!.conditions.cut = true);
  run();
  assertEquals([...host.results.keys()], ["Ok"]);
  assert(host.slowestMs < 1000, `a request took ${host.slowestMs} ms`);
  assert(host.initiator.paths[0]!.state !== PATH_UP);
});

Deno.test("simulation: a path that is back is used again", () => {
  const { host, wires, clock, run } = scene({ requests: 200_000, wires: 2 });
  clock.at(100, () => wires[0]!.conditions.cut = true);
  clock.at(600, () => wires[0]!.conditions.cut = false);
  run();
  const [first, second] = host.initiator.paths;
  assertEquals([first!.state, first!.sectors], [PATH_UP, 17]);
  assert(first!.counters.answered > 0.1 * second!.counters.answered);
});

Deno.test("simulation: at 1 % loss half of the rate is left, at 5 % a tenth, reading and writing", () => {
  for (const writeShare of [0, 1]) {
    const clean = scene({ requests: 20_000, writeShare }).run();
    for (const [loss, share] of [[0.01, 0.5], [0.05, 0.1]] as const) {
      const rate = scene({ requests: 20_000, writeShare, loss }).run();
      assert(rate >= share * clean, `${rate} of ${clean} requests a second at ${loss}`);
    }
  }
});

Deno.test("simulation: when large frames vanish small ones are used, until they come through", () => {
  const { host, wires, clock, run } = scene({ requests: 150_000 });
  let small = Infinity;
  clock.at(100, () => wires[0]!.conditions.mtu = 1500);
  clock.at(600, () => small = host.initiator.paths[0]!.sectors);
  clock.at(700, () => wires[0]!.conditions.mtu = 9000);
  run();
  assertEquals([...host.results.keys()], ["Ok"]);
  assertEquals(small, 2);
  assertEquals(host.initiator.paths[0]!.sectors, 17);
  assert(host.slowestMs < 1000, `a request took ${host.slowestMs} ms`);
});
