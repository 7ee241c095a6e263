// An attached disk against what its network and target can do: fio on the block device of `aoe
// attach --backend fuse` beside aoebench on the same target, and beside the same kernel path with
// other programs: nbdkit and nbdfuse under a loop device, on the same image, with no network.

import { aoeExecutable } from "../harness/target.ts";
import { eventually, runChecked, RunningProcess } from "../harness/process.ts";
import { findProgram } from "../harness/requirements.ts";
import { type Namespace, Testbed } from "../harness/testbed.ts";
import type { Settings } from "./compare.ts";
import { writeCachedImage } from "./images.ts";
import { generatorResult, startGenerator, type Station } from "./load.ts";
import { build } from "./network.ts";
import { startTarget } from "./peers.ts";
import type { Goal, Line, Table } from "./report.ts";

const MTU = 9000;
/** Block devices are the machine's own: an address that nobody else has there. */
const SHELF = 61_000;
const PEER = "nbdfuse";
const AOEBENCH = "aoebench";

/** One load in fio's words, and in aoebench's. */
interface Work {
  readonly label: string;
  readonly fio: readonly string[];
  readonly sectors: number;
  readonly window: number;
  readonly sequential: boolean;
  readonly unit: string;
  readonly figure: (result: { perSecond: number; bytes: number; medianUs: number }) => number;
  readonly goals: readonly Goal[];
  readonly blockBytes: number;
}

const works: readonly Work[] = [
  {
    label: "4 KiB random, depth 32",
    fio: ["--rw=randread", "--bs=4k", "--iodepth=32"],
    blockBytes: 4096,
    sectors: 8,
    window: 32,
    sequential: false,
    unit: "k/s",
    figure: ({ perSecond }) => perSecond / 1000,
    goals: [
      { against: AOEBENCH, bound: "at least", value: 0.6 },
      { against: PEER, bound: "at least", value: 2 },
    ],
  },
  {
    label: "128 KiB in order",
    fio: ["--rw=read", "--bs=128k", "--iodepth=8"],
    blockBytes: 128 * 1024,
    sectors: 16,
    window: 64,
    sequential: true,
    unit: "MB/s",
    figure: ({ bytes }) => bytes / 1e6,
    goals: [{ against: AOEBENCH, bound: "at least", value: 0.6 }],
  },
  {
    label: "4 KiB, depth 1, p50",
    fio: ["--rw=randread", "--bs=4k", "--iodepth=1"],
    blockBytes: 4096,
    sectors: 8,
    window: 1,
    sequential: false,
    unit: "µs",
    figure: ({ medianUs }) => medianUs,
    goals: [{ against: AOEBENCH, bound: "at most", value: 2.2 }],
  },
];

/** Why the row cannot be measured, or undefined when it can. */
export function missingForAttach(): string | undefined {
  return findProgram("fio") === undefined
    ? "fio is not installed (apt-get install fio), and so no block device is measured."
    : undefined;
}

/** Measures the block device, aoebench and nbdfuse in turn. */
export async function measureAttach(settings: Settings): Promise<Table> {
  await using testbed = await Testbed.create();
  const plan = { disks: 1, mtu: MTU, bytes: settings.cachedBytes, write: writeCachedImage };
  const { target, stations } = await build(testbed, plan);
  const [first] = stations as [Station];
  const station = { ...first, export: { ...first.export, shelf: SHELF } };
  const exports = [station.export];
  const flags = settings.serveFlags;
  const [serve] = await startTarget("aoe", target, settings.reflector, { exports, flags });
  const peer = ["nbdkit", "nbdfuse", "losetup"].every((name) => findProgram(name) !== undefined);
  const name = `e${SHELF}.${station.export.slot}`;
  const aoe = await aoeExecutable();
  const attach = [aoe, "attach", name, "--backend", "fuse"];
  await station.namespace.runChecked(attach);
  const device = peer ? await startNbdfuse(testbed, target, station.export.path) : undefined;
  const figures = works.map((): Record<string, number[]> => ({}));
  try {
    for (let round = 0; round < settings.rounds; round++) {
      for (const [index, work] of works.entries()) {
        settings.progress(`attach: ${work.label}, round ${round + 1} of ${settings.rounds}`);
        const note = (column: string, figure: number) => {
          (figures[index]![column] ??= []).push(figure);
        };
        note("attach", await fio(`/dev/etherd/${name}`, work, settings.seconds));
        note(AOEBENCH, await wire(settings, station, work));
        if (device !== undefined) note(PEER, await fio(device.path, work, settings.seconds));
      }
    }
  } finally {
    await device?.stop();
    await station.namespace.run([aoe, "detach", name]);
    await serve?.stop();
  }
  const lines = works.map(({ label, unit, goals }, index): Line => ({
    ...{ label, unit, goals, figures: figures[index]!, compared: true },
  }));
  const title = "fio on /dev/etherd (fuse + loop), aoebench on the wire, nbdkit + nbdfuse + loop";
  return { name: "attach", title, columns: ["attach", AOEBENCH, PEER], lines };
}

async function fio(file: string, work: Work, seconds: number): Promise<number> {
  const { stdout } = await runChecked([
    ...["fio", "--name=bench", `--filename=${file}`, "--readonly", "--direct=1"],
    ...["--ioengine=libaio", "--time_based", `--runtime=${seconds}`, "--ramp_time=1"],
    ...["--output-format=json", ...work.fio],
  ], { timeoutMs: 60_000 + seconds * 1000 });
  const { read } = JSON.parse(stdout).jobs[0];
  const medianUs = read.clat_ns.percentile["50.000000"] / 1000;
  const perSecond = read.iops as number;
  return work.figure({ perSecond, bytes: perSecond * work.blockBytes, medianUs });
}

async function wire(settings: Settings, station: Station, work: Work): Promise<number> {
  const { sectors, window, sequential } = work;
  const load = { mode: "read", sectors, window, sequential, seconds: settings.seconds } as const;
  const result = await generatorResult(startGenerator(settings.aoebench, station, load));
  const { requestsPerSecond, medianUs } = result;
  return work.figure({
    perSecond: requestsPerSecond,
    bytes: requestsPerSecond * sectors * 512,
    medianUs,
  });
}

/** Puts nbdfuse over nbdkit's file plugin, and a loop device on its file. */
async function startNbdfuse(
  testbed: Testbed,
  host: Namespace,
  image: string,
): Promise<{ path: string; stop: () => Promise<void> }> {
  const folder = testbed.path("nbdfuse");
  const socket = testbed.path("nbd.sock");
  await Deno.mkdir(folder);
  // Not in a namespace's own mounts: the loop device is opened from here.
  const kit = host.start(["nbdkit", "-f", "-U", socket, "file", image]);
  await eventually("nbdkit listens", () => Deno.stat(socket).then(() => true, () => false));
  const fuse = new RunningProcess(["nbdfuse", folder, "--unix", socket]);
  const file = `${folder}/nbd`;
  await eventually("nbdfuse is mounted", () => Deno.stat(file).then(() => true, () => false));
  const losetup = ["losetup", "--direct-io=on", "--show", "-f", file];
  const path = (await runChecked(losetup)).stdout.trim();
  return {
    path,
    stop: async () => {
      await runChecked(["losetup", "-d", path]);
      await runChecked(["umount", folder]);
      await fuse.stop();
      await kit.stop();
    },
  };
}
