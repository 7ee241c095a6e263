// One disk of four hangs, hard: its file is a FUSE mount whose server is stopped with SIGSTOP, so
// that reads, page faults and writes of it wait, and cannot be killed. The other three must not
// notice. The generator of the hanging disk keeps retransmitting, which fills queues.

import { eventually, type RunningProcess, sleep } from "../harness/process.ts";
import { findProgram } from "../harness/requirements.ts";
import { type Namespace, Testbed } from "../harness/testbed.ts";
import type { Settings } from "./compare.ts";
import { writeCachedImage } from "./images.ts";
import { generatorResult, startGenerator, type Station } from "./load.ts";
import { build } from "./network.ts";
import { startTarget } from "./peers.ts";
import type { Line, Table } from "./report.ts";

const HANG_MS = 5_000;
/** The others are measured in the midst of the hang. */
const MEASURED_SECONDS = 4;
const LEAD_MS = 500;
const DISKS = 4;
/** A round takes half a minute. */
const ROUNDS_MAX = 2;
const MTU = 9000;
const IMAGE_BYTES = 64 << 20;
/** Few enough in flight that the machine's two cores are not what the disks wait for. */
const OTHERS = { mode: "read", sectors: 8, window: 4, seconds: MEASURED_SECONDS } as const;
const HANGING = { mode: "mixed", sectors: 8, window: 16, seconds: 1 } as const;

/** What a disk did that was not even found: its target hung with the other. */
const STANDSTILL = { medianUs: HANG_MS * 1000, requestsPerSecond: 0 };

const SERVER = "qemu-storage-daemon";

/** Why the row cannot be measured, or undefined when it can. */
export function missingForHang(): string | undefined {
  return findProgram(SERVER) === undefined
    ? `${SERVER} is not installed (apt-get install qemu-system-common), and so no disk hangs.`
    : undefined;
}

/** Measures the other disks beside an idle one and beside a hanging one, with 1 and 2 workers. */
export async function measureHang(settings: Settings): Promise<Table> {
  await using testbed = await Testbed.create();
  const plan = { disks: DISKS, mtu: MTU, bytes: IMAGE_BYTES, write: writeCachedImage };
  const { target, stations } = await build(testbed, plan);
  const lines: Line[] = [];
  for (const workers of [1, 2]) {
    const medians: Record<string, number[]> = { hanging: [], idle: [] };
    const rates: Record<string, number[]> = { hanging: [], idle: [] };
    const rounds = Math.min(settings.rounds, ROUNDS_MAX);
    for (let round = 0; round < rounds; round++) {
      for (const state of round % 2 === 0 ? ["idle", "hanging"] : ["hanging", "idle"]) {
        const what = `${workers} worker(s), round ${round + 1} of ${rounds}, ${state}`;
        settings.progress(`hang: ${what}`);
        const options = { target, stations, workers, hanging: state === "hanging" };
        const { medianUs, requestsPerSecond } = await measureOthers(options, settings);
        medians[state]!.push(medianUs);
        rates[state]!.push(requestsPerSecond / 1000);
      }
    }
    const goals = [{ against: "idle", bound: "at most", value: 1.1 }] as const;
    const label = `${workers} worker${workers === 1 ? "" : "s"}`;
    lines.push({ label: `${label}, p50`, unit: "µs", figures: medians, goals, compared: true });
    lines.push({ label: `${label}, rate`, unit: "k/s", figures: rates, goals: [], compared: true });
  }
  const title = "4 KiB reads of three exports (window 4) while the disk of a fourth hangs";
  return { name: "hang", title, columns: ["hanging", "idle"], lines };
}

/** The slowest median and the summed rate of the three disks that do not hang. */
async function measureOthers(
  { target, stations, workers, hanging }: {
    readonly target: Namespace;
    readonly stations: readonly Station[];
    readonly workers: number;
    readonly hanging: boolean;
  },
  settings: Settings,
): Promise<{ medianUs: number; requestsPerSecond: number }> {
  const last = stations.at(-1)!;
  // The mount lives in the server's own mount namespace (`ip netns exec` makes one), which the
  // target joins; it goes away with them, whatever happens.
  await using server = await startFuse(target, last.export.path);
  const exports = stations.map((station) => station.export);
  const [serve] = await startTarget("aoe", target, settings.reflector, {
    ...{ exports, workers, mountsOf: server, flags: settings.serveFlags },
  });
  try {
    const others = stations.slice(0, -1);
    await Promise.all(others.map((station) => {
      return generatorResult(startGenerator(settings.aoebench, station, { ...OTHERS, seconds: 1 }));
    }));
    const until = performance.now() + HANG_MS;
    const stuck = hanging ? startGenerator(settings.aoebench, last, HANGING) : undefined;
    if (hanging) {
      await sleep(LEAD_MS);
      server.signal("SIGSTOP");
    }
    const results = await Promise.all(others.map((station) => {
      const result = generatorResult(startGenerator(settings.aoebench, station, OTHERS));
      return hanging ? result.catch(() => STANDSTILL) : result;
    }));
    await sleep(Math.max(0, until + LEAD_MS - performance.now()));
    server.signal("SIGCONT");
    // Its every request is answered at last, and rightly; and some did wait.
    const late = stuck && await generatorResult(stuck);
    if (late && late.maxUs < MEASURED_SECONDS * 1e6) throw new Error(`No hang: ${late.line}`);
    return {
      medianUs: Math.max(...results.map((result) => result.medianUs)),
      requestsPerSecond: results.reduce((sum, result) => sum + result.requestsPerSecond, 0),
    };
  } finally {
    server.signal("SIGCONT");
    await serve?.stop();
  }
}

/** Mounts a file over itself through FUSE; nothing of it is in the page cache then. */
async function startFuse(namespace: Namespace, path: string): Promise<RunningProcess> {
  const server = namespace.start([
    ...[SERVER, "--blockdev", `driver=file,node-name=disk,filename=${path}`, "--export"],
    `type=fuse,id=fuse,node-name=disk,mountpoint=${path},writable=on`,
  ]);
  await eventually("the FUSE mount", async () => {
    if (server.status !== undefined) throw new Error(`${SERVER} ended: ${server.text}`);
    return (await Deno.readTextFile(`/proc/${server.pid}/mountinfo`)).includes(` ${path} `);
  });
  return server;
}
