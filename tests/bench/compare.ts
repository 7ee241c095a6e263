// Runs one row: every peer in turn, round after round, each time in another order, on the same
// image and the same network.

import { type RunningProcess, sleep } from "../harness/process.ts";
import { type Namespace, Testbed } from "../harness/testbed.ts";
import { dropCaches, settle, writeCachedImage, writeDiskImage } from "./images.ts";
import { measure, type Sample, type Station } from "./load.ts";
import { watchUse } from "./machine.ts";
import { build } from "./network.ts";
import { type Export, type PeerName, runFio, startTarget, type TargetName } from "./peers.ts";
import type { Line, Table } from "./report.ts";
import type { Row, Work } from "./rows.ts";

/** How long, how often, and with what. */
export interface Settings {
  readonly rounds: number;
  readonly seconds: number;
  /** Who takes part. */
  readonly peers: readonly PeerName[];
  /** Further flags of `aoe serve`. */
  readonly serveFlags: readonly string[];
  readonly cachedBytes: number;
  readonly diskBytes: number;
  /** Where the compiled tools are. */
  readonly aoebench: string;
  readonly reflector: string;
  /** Is told what happens now. */
  readonly progress: (text: string) => void;
}

const TARGET_CORE = 0;
const GENERATOR_CORE = 1;
/** How long each load runs before it is measured: what is compiled when hot is hot then. */
const WARMUP_SECONDS = 0.5;
/** And the first of a target's loads, in which most of it is compiled. */
const FIRST_WARMUP_SECONDS = 1.5;
const MIB = 1 << 20;
/** How long the machine is left alone between peers, and watched meanwhile. */
const PAUSE_MS = 200;
/** What others may use of the machine before it is said; nobody has it quite alone. */
const BUSY_SHARE_MAX = 0.1;

/** Measures a row. */
export async function compare(row: Row, settings: Settings): Promise<Table> {
  await using testbed = await Testbed.create();
  const cached = row.image === "cached";
  settings.progress(`${row.name}: writing ${row.disks} image(s)`);
  const { target, stations } = await build(testbed, {
    ...{ disks: row.disks, mtu: row.mtu },
    bytes: imageBytes(row, settings),
    write: cached ? writeCachedImage : writeDiskImage,
  });
  const peers = row.peers.filter((name) => settings.peers.includes(name));
  const samples = new Map<PeerName, Sample[][]>(peers.map((name) => [name, []]));
  for (let round = 0; round < settings.rounds; round++) {
    for (let i = 0; i < peers.length; i++) {
      const name = peers[(i + round) % peers.length]!;
      settings.progress(`${row.name}: round ${round + 1} of ${settings.rounds}, ${name}`);
      samples.get(name)!.push(
        name === "fio"
          ? await fioRound(row, stations[0]!.export, settings)
          : await targetRound(row, { name, target, stations }, settings),
      );
      await pause(row, settings);
    }
  }
  const mib = imageBytes(row, settings) / MIB;
  const title = `${row.title} (${row.disks === 1 ? "image" : "images"} of ${mib} MiB)`;
  return { name: row.name, title, columns: row.peers, lines: tableLines(row, samples) };
}

function imageBytes({ image }: Row, { cachedBytes, diskBytes }: Settings): number {
  return image === "cached" ? cachedBytes : diskBytes;
}

/** Leaves the machine alone, and says so when others do not. */
async function pause(row: Row, { progress }: Settings): Promise<void> {
  const use = watchUse();
  await sleep(PAUSE_MS);
  const share = use();
  if (share > BUSY_SHARE_MAX) {
    progress(`${row.name}: ${Math.round(share * 100)} % of the machine go to something else`);
  }
}

/** One target under every load of the row: one sample a load. */
async function targetRound(
  row: Row,
  { name, target, stations }: {
    readonly name: TargetName;
    readonly target: Namespace;
    readonly stations: readonly Station[];
  },
  settings: Settings,
): Promise<Sample[]> {
  const exports = stations.map((station) => station.export);
  await prepare(row, exports);
  const core = row.pinned ? TARGET_CORE : undefined;
  const map = row.mappedShare === undefined
    ? []
    : ["--map", `${Math.floor(imageBytes(row, settings) * row.mappedShare / MIB)}M`];
  const options = { ...row.serve, exports, core, flags: [...settings.serveFlags, ...map] };
  const processes = await startTarget(name, target, settings.reflector, options);
  const samples: Sample[] = [];
  try {
    for (const work of row.works) {
      samples.push(await targetWork(row, work, { stations, processes, settings }));
    }
  } finally {
    for (const process of processes) await process.stop();
  }
  return samples;
}

async function targetWork(
  row: Row,
  work: Work,
  { stations, processes, settings }: {
    readonly stations: readonly Station[];
    readonly processes: readonly RunningProcess[];
    readonly settings: Settings;
  },
): Promise<Sample> {
  const core = row.pinned ? GENERATOR_CORE : undefined;
  const run = (seconds: number) =>
    measure(settings.aoebench, stations, { ...work.load, core, seconds }, processes);
  // Nothing warms up for a cold cache: what a process has mapped would stay in it.
  if (row.cold) await dropCaches();
  else await run(work === row.works[0] ? FIRST_WARMUP_SECONDS : WARMUP_SECONDS);
  const sample = await run(settings.seconds);
  if (sample.retransmissions > 0) {
    const { retransmissions, done } = sample;
    settings.progress(`${row.name}: ${work.label}: ${retransmissions} of ${done} sent again`);
  }
  // What was written must not go to the disk during the next load.
  if (work.load.mode !== "read") {
    for (const station of stations) await settle(station.export.path);
  }
  return sample;
}

/** fio under every load of the row. */
async function fioRound(row: Row, { path }: Export, settings: Settings): Promise<Sample[]> {
  await prepare(row, [{ path }]);
  const samples: Sample[] = [];
  for (const { load: { mode, window: depth }, writesPerSync } of row.works) {
    const { seconds } = settings;
    samples.push(await runFio({ path, mode, depth, seconds, writesPerSync }));
  }
  return samples;
}

/** Gives every peer the same start: nothing to be written back, and for disk work no cache. */
async function prepare(row: Row, exports: readonly { readonly path: string }[]): Promise<void> {
  for (const { path } of exports) await settle(path);
  if (row.image === "disk") await dropCaches();
}

/** Turns samples, by peer, round and work, into lines, by work and reading, with costs below. */
function tableLines(row: Row, samples: ReadonlyMap<PeerName, readonly Sample[][]>): Line[] {
  const lines: Line[] = [];
  const add = (line: Omit<Line, "figures">, figure: (ofRound: readonly Sample[]) => number) => {
    const figures: Record<string, number[]> = {};
    for (const [name, rounds] of samples) {
      const known = rounds.map(figure).filter((value) => !Number.isNaN(value));
      if (known.length > 0) figures[name] = known;
    }
    lines.push({ ...line, figures });
  };
  for (const [i, { label, readings }] of row.works.entries()) {
    for (const { label: suffix, unit, figure, goals } of readings) {
      const whole = suffix === undefined ? label : `${label} ${suffix}`;
      add({ label: whole, unit, goals, compared: true }, (ofRound) => figure(ofRound[i]!));
    }
    const cost = { label: "  CPU a request", unit: "µs", goals: [], compared: false };
    add(cost, (ofRound) => ofRound[i]!.cpuUsPerRequest);
  }
  // What a target holds after its last load is the most that it has held.
  const memory = { unit: "MB", goals: [], compared: false };
  add({ ...memory, label: "RSS" }, (ofRound) => ofRound.at(-1)?.memory?.residentMb ?? NaN);
  add({ ...memory, label: "  its own" }, (ofRound) => ofRound.at(-1)?.memory?.anonymousMb ?? NaN);
  add({ ...memory, label: "  image, mapped" }, (of) => of.at(-1)?.memory?.exportedMb ?? NaN);
  return lines;
}
