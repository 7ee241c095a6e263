// What a user would take instead: the same image over the same wire by NBD, as nbdkit and qemu-nbd
// serve it over TCP, with fio's nbd engine and nbdcopy as clients; beside `aoe bench` and `aoe copy`
// at `aoe serve`. aoebench at the same target shows what the wire gives at most.

import { aoeExecutable } from "../harness/target.ts";
import { eventually } from "../harness/process.ts";
import { findProgram } from "../harness/requirements.ts";
import { type Namespace, Testbed } from "../harness/testbed.ts";
import type { Settings } from "./compare.ts";
import { writeCachedImage } from "./images.ts";
import { generatorResult, startGenerator, type Station } from "./load.ts";
import { build } from "./network.ts";
import { IFACE, startTarget } from "./peers.ts";
import type { Goal, Line, Table } from "./report.ts";

const MTU = 9000;
const HOST = "192.0.2.1";
const CLIENT = "192.0.2.2";
/** What is copied is so many times as large as a cached image: a process has to start, too. */
const COPIED_TIMES = 4;
/** Copies go to memory: a disk would be measured otherwise. */
const MEMORY = "/dev/shm";
const [AOE, NBDKIT, QEMU, AOEBENCH] = ["aoe", "nbdkit", "qemu-nbd", "aoebench"] as const;
const SERVERS = { [NBDKIT]: 10809, [QEMU]: 10810 } as const;

/** Why the row cannot be measured, or undefined when it can. */
export function missingForNbd(): string | undefined {
  const packages = {
    fio: "fio",
    nbdkit: "nbdkit",
    nbdcopy: "libnbd-bin",
    "qemu-nbd": "qemu-utils",
  };
  const absent = Object.entries(packages).filter(([name]) => findProgram(name) === undefined);
  if (absent.length === 0) return undefined;
  const [names, install] = [0, 1].map((i) => absent.map((entry) => entry[i]).join(" "));
  return `Not installed: ${names} (apt-get install ${install}), and so NBD is not measured.`;
}

/** Where everything runs, and with what. */
interface Place {
  readonly aoe: string;
  readonly host: Namespace;
  readonly client: Namespace;
  readonly station: Station;
  readonly settings: Settings;
  /** A file in memory that may be made and is removed. */
  readonly scratch: string;
}

/** One line of the table: who is measured, and how. */
interface Work {
  readonly label: string;
  readonly unit: string;
  readonly goals: readonly Goal[];
  readonly measure: Readonly<Record<string, (place: Place) => Promise<number>>>;
}

const works: readonly Work[] = [
  {
    label: "4 KiB, depth 32",
    unit: "k/s",
    goals: [{ against: NBDKIT, bound: "at least", value: 2 }],
    measure: {
      [AOE]: async (place) => (await bench(place, 32)).iops / 1000,
      [NBDKIT]: async (place) => (await fio(place, NBDKIT, 32)).iops / 1000,
      [QEMU]: async (place) => (await fio(place, QEMU, 32)).iops / 1000,
    },
  },
  {
    label: "4 KiB, depth 1, p50",
    unit: "µs",
    goals: [{ against: NBDKIT, bound: "at most", value: 0.6 }],
    measure: {
      [AOE]: async (place) => (await bench(place, 1)).medianUs,
      [NBDKIT]: async (place) => (await fio(place, NBDKIT, 1)).medianUs,
      [QEMU]: async (place) => (await fio(place, QEMU, 1)).medianUs,
    },
  },
  {
    label: "copy from, wall",
    unit: "s",
    goals: [{ against: NBDKIT, bound: "at most", value: 1 }],
    measure: {
      [AOE]: async (place) => (await copyFrom(place)).wallSeconds,
      [NBDKIT]: (place) => nbdcopy(place, NBDKIT),
      [QEMU]: (place) => nbdcopy(place, QEMU),
    },
  },
  {
    label: "copy from",
    unit: "MB/s",
    goals: [{ against: AOEBENCH, bound: "at least", value: 0.9 }],
    measure: {
      [AOE]: async (place) => (await copyFrom(place)).bytesPerSecond / 1e6,
      [AOEBENCH]: (place) => inOrder(place, "read"),
    },
  },
  {
    label: "copy to",
    unit: "MB/s",
    goals: [{ against: AOEBENCH, bound: "at least", value: 0.9 }],
    measure: {
      [AOE]: async (place) => (await copyTo(place)).bytesPerSecond / 1e6,
      [AOEBENCH]: (place) => inOrder(place, "write"),
    },
  },
];

/** Measures all of them in turn. */
export async function measureNbd(settings: Settings): Promise<Table> {
  await using testbed = await Testbed.create();
  const bytes = settings.cachedBytes * COPIED_TIMES;
  const { target: host, stations } = await build(testbed, {
    ...{ disks: 1, mtu: MTU, bytes, write: writeCachedImage },
  });
  const [station] = stations as [Station];
  const client = station.namespace;
  await host.runChecked(["ip", "address", "add", `${HOST}/24`, "dev", IFACE]);
  await client.runChecked(["ip", "address", "add", `${CLIENT}/24`, "dev", IFACE]);
  const image = station.export.path;
  const folder = await Deno.makeTempDir({ dir: MEMORY, prefix: "aoe-bench-" });
  const place: Place = {
    ...{ aoe: await aoeExecutable(), host, client, station, settings },
    scratch: `${folder}/copy`,
  };
  const columns = [AOE, NBDKIT, QEMU, AOEBENCH];
  const figures = works.map((): Record<string, number[]> => ({}));
  const flags = settings.serveFlags;
  const options = { exports: [station.export], flags };
  const servers = await startTarget("aoe", host, settings.reflector, options);
  servers.push(
    host.start(["nbdkit", "-f", "-i", HOST, "-p", `${SERVERS[NBDKIT]}`, "file", image]),
    host.start([
      ...["qemu-nbd", "-t", "-r", "-f", "raw", "-b", HOST, "-p", `${SERVERS[QEMU]}`, image],
    ]),
  );
  try {
    for (const port of Object.values(SERVERS)) {
      const info = ["nbdinfo", "--size", `nbd://${HOST}:${port}`];
      await eventually("it listens", async () => (await client.run(info)).code === 0);
    }
    for (let round = 0; round < settings.rounds; round++) {
      for (const [index, { label, measure }] of works.entries()) {
        settings.progress(`nbd: ${label}, round ${round + 1} of ${settings.rounds}`);
        for (let i = 0; i < columns.length; i++) {
          const column = columns[(i + round) % columns.length]!;
          const figure = await measure[column]?.(place);
          if (figure !== undefined) (figures[index]![column] ??= []).push(figure);
        }
      }
    }
  } finally {
    for (const server of servers) await server.stop();
    await Deno.remove(folder, { recursive: true });
  }
  const lines = works.map(({ label, unit, goals }, index): Line => ({
    ...{ label, unit, goals, figures: figures[index]!, compared: true },
  }));
  const size = `${bytes / 2 ** 20} MiB in the page cache, MTU ${MTU}`;
  return { name: "nbd", title: `AoE and NBD over TCP, image of ${size}`, columns, lines };
}

/** What was reached; the latency is that from submission to completion. */
interface Rates {
  readonly iops: number;
  readonly medianUs: number;
}

/** Reads fio's JSON, which `aoe bench` writes, too; `latency` names the times with percentiles. */
function ratesOf(json: string, latency: "clat_ns" | "lat_ns"): Rates {
  const { read } = JSON.parse(json).jobs[0];
  return { iops: read.iops, medianUs: read[latency].percentile["50.000000"] / 1000 };
}

function nameOf({ station }: Place): string {
  return `e${station.export.shelf}.${station.export.slot}`;
}

async function bench(place: Place, depth: number): Promise<Rates> {
  const { aoe, client, settings: { seconds } } = place;
  const { stdout } = await client.runChecked([
    ...[aoe, "bench", nameOf(place), "--iodepth", `${depth}`, "--runtime", `${seconds}`, "--json"],
  ], { timeoutMs: 60_000 + seconds * 1000 });
  return ratesOf(stdout, "clat_ns");
}

async function fio(place: Place, server: keyof typeof SERVERS, depth: number): Promise<Rates> {
  const { client, settings: { seconds } } = place;
  const { stdout } = await client.runChecked([
    ...["fio", "--name=bench", "--ioengine=nbd", `--uri=nbd://${HOST}:${SERVERS[server]}`],
    ...["--rw=randread", "--bs=4k", `--iodepth=${depth}`, "--norandommap", "--randrepeat=0"],
    ...["--time_based", `--runtime=${seconds}`, "--output-format=json"],
    // Not those of the completion alone: an engine that sends while it takes the request has had the
    // answer by then, where the server is quick.
    ...["--clat_percentiles=0", "--lat_percentiles=1"],
  ], { timeoutMs: 60_000 + seconds * 1000 });
  return ratesOf(stdout.slice(stdout.indexOf("{")), "lat_ns");
}

async function inOrder(place: Place, mode: "read" | "write"): Promise<number> {
  const { settings, station } = place;
  const load = { mode, sectors: 16, window: 64, sequential: true, seconds: settings.seconds };
  const result = await generatorResult(startGenerator(settings.aoebench, station, load));
  return result.requestsPerSecond * 8192 / 1e6;
}

/** A copy, with its process, and by its own clock. */
interface Copied {
  readonly wallSeconds: number;
  readonly bytesPerSecond: number;
}

async function copyFrom(place: Place): Promise<Copied> {
  await Deno.remove(place.scratch).catch(() => undefined);
  return copy(place, nameOf(place), place.scratch);
}

async function copyTo(place: Place): Promise<Copied> {
  const { scratch, station } = place;
  if (!await Deno.stat(scratch).then(() => true, () => false)) {
    await Deno.copyFile(station.export.path, scratch);
  }
  return copy(place, scratch, nameOf(place));
}

async function copy({ aoe, client }: Place, from: string, to: string): Promise<Copied> {
  const beganMs = performance.now();
  const { stdout } = await client.runChecked([aoe, "copy", from, to, "--json"], {
    timeoutMs: 60_000,
  });
  const wallSeconds = (performance.now() - beganMs) / 1000;
  const { bytes, seconds } = JSON.parse(stdout.trim().split("\n").at(-1)!);
  return { wallSeconds, bytesPerSecond: bytes / seconds };
}

async function nbdcopy(place: Place, server: keyof typeof SERVERS): Promise<number> {
  const { client, scratch } = place;
  await Deno.remove(scratch).catch(() => undefined);
  const beganMs = performance.now();
  await client.runChecked(["nbdcopy", `nbd://${HOST}:${SERVERS[server]}`, scratch], {
    timeoutMs: 60_000,
  });
  return (performance.now() - beganMs) / 1000;
}
