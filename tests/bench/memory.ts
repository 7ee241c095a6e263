// What `aoe serve` holds in memory: with one export, for each further worker, and whether any of
// it grows with the number of requests.

import { Testbed } from "../harness/testbed.ts";
import type { Settings } from "./compare.ts";
import { writeCachedImage } from "./images.ts";
import { type Load, measure } from "./load.ts";
import { cpuTimeUs, type Memory } from "./machine.ts";
import { build } from "./network.ts";
import { sleep } from "../harness/process.ts";
import { startTarget } from "./peers.ts";
import type { Goal, Line, Table } from "./report.ts";

const MTU = 9000;
const IMAGE_BYTES = 64 << 20;
const EXPORTS = [1, 2, 4] as const;
const LOAD = { mode: "mixed", sectors: 2, window: 64 } as const satisfies Omit<Load, "seconds">;
const SETTLE_SECONDS = 2;
/** Requests between two looks at the memory, and what a look is compared with at the end. */
const SLICES = 10;
/** What the collector leaves lying about is no growth. */
const GROWTH_MB_MAX = 10;

const one: readonly Goal[] = [{ bound: "at most", value: 150 }];
/** Long enough for the kernel's clock ticks, of 10 ms. */
const IDLE_MS = 4000;
/** Sizes and counters are looked at once a second. */
const idle: readonly Goal[] = [{ bound: "at most", value: 2.5 }];
const further: readonly Goal[] = [{ bound: "at most", value: 20 }];

/** Measures memory with one, two and four exports, each with a worker of its own. */
export async function measureMemory(settings: Settings): Promise<Table> {
  const memories: Memory[] = [];
  const idleMs: number[] = [];
  for (const count of EXPORTS) {
    settings.progress(`memory: ${count} export(s) and worker(s)`);
    await using testbed = await Testbed.create();
    const load = { ...LOAD, seconds: SETTLE_SECONDS };
    const { processes, stations } = await serve(testbed, count, settings);
    const { memory } = await measure(settings.aoebench, stations, load, processes);
    memories.push(memory!);
    await sleep(IDLE_MS);
    const before = cpuTimeUs(processes.map(({ pid }) => pid));
    await sleep(IDLE_MS);
    idleMs.push((cpuTimeUs(processes.map(({ pid }) => pid)) - before) / IDLE_MS);
  }
  const [first, , last] = memories as [Memory, Memory, Memory];
  const withoutImages = memories.map(({ residentMb, exportedMb }) => residentMb - exportedMb);
  const added = EXPORTS[2] - EXPORTS[0];
  const line = (label: string, figure: number, goals: readonly Goal[] = []): Line => {
    return { label, unit: "MB", figures: { aoe: [figure] }, goals, compared: false };
  };
  const lines = [
    ...EXPORTS.map((count, i) => line(`RSS, ${count} export(s)`, memories[i]!.residentMb)),
    line("without images", withoutImages[0]!, one),
    line("a worker more", (withoutImages[2]! - withoutImages[0]!) / added, further),
    { ...line("CPU, an idle second", idleMs[0]!, idle), unit: "ms" },
    line("own, 1 export", first.anonymousMb),
    line("own, a worker more", (last.anonymousMb - first.anonymousMb) / added),
  ];
  const title = "Memory of aoe serve, one worker an export (images of 64 MiB, mapped)";
  return { name: "memory", title, columns: ["aoe"], lines };
}

/** Watches the memory over many requests. */
export async function measureGrowth(settings: Settings, requests: number): Promise<Table> {
  await using testbed = await Testbed.create();
  const { processes, stations } = await serve(testbed, 1, settings);
  const resident: number[] = [];
  const own: number[] = [];
  let done = 0;
  for (let slice = 1; slice <= SLICES; slice++) {
    let sample;
    while (done < requests * slice / SLICES) {
      const load = { ...LOAD, seconds: settings.seconds };
      sample = await measure(settings.aoebench, stations, load, processes);
      done += sample.done;
      settings.progress(`growth: ${(done / 1e6).toFixed(1)} million requests`);
    }
    if (!sample?.memory) continue;
    resident.push(sample.memory.residentMb);
    own.push(sample.memory.anonymousMb);
  }
  const growth = (figures: readonly number[]) => [figures.at(-1)! - figures[0]!];
  const line = { unit: "MB", compared: false };
  const goals: readonly Goal[] = [{ bound: "at most", value: GROWTH_MB_MAX }];
  return {
    name: "growth",
    title: `Memory of aoe serve over ${(done / 1e6).toFixed(1)} million requests`,
    columns: ["aoe"],
    lines: [
      { ...line, label: "RSS", figures: { aoe: resident }, goals: [] },
      { ...line, label: "its own", figures: { aoe: own }, goals: [] },
      { ...line, label: "RSS, growth", figures: { aoe: growth(resident) }, goals },
      { ...line, label: "its own, growth", figures: { aoe: growth(own) }, goals },
    ],
  };
}

/** Starts `aoe serve` with as many exports as workers; it ends with the testbed. */
async function serve(testbed: Testbed, count: number, settings: Settings) {
  const plan = { disks: count, mtu: MTU, bytes: IMAGE_BYTES, write: writeCachedImage };
  const { target, stations } = await build(testbed, plan);
  const exports = stations.map((station) => station.export);
  const options = { exports, workers: count, flags: settings.serveFlags };
  const processes = await startTarget("aoe", target, settings.reflector, options);
  return { processes, stations };
}
