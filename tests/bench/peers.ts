// Everything that answers or does the work under load: `aoe serve`, vblade, the reflector in C
// that shows what AF_PACKET allows at most, by recvmmsg and by a ring, and fio on the file itself,
// which shows what the disk does.

import { findProgram } from "../harness/requirements.ts";
import { runChecked, type RunningProcess } from "../harness/process.ts";
import { aoeExecutable } from "../harness/target.ts";
import type { Namespace } from "../harness/testbed.ts";
import type { Sample } from "./load.ts";

export const peerNames = ["aoe", "vblade", "reflector", "ring", "fio"] as const;

/** Who is measured. */
export type PeerName = typeof peerNames[number];

/** Who answers AoE. */
export type TargetName = Exclude<PeerName, "fio">;

/** One disk that a target is to serve. */
export interface Export {
  readonly shelf: number;
  readonly slot: number;
  readonly path: string;
  readonly bytes: number;
}

/** How a target is to serve. */
export interface ServeOptions {
  readonly exports: readonly Export[];
  readonly direct?: boolean;
  readonly sync?: boolean;
  /** Threads of `aoe serve`; its default without it. */
  readonly workers?: number;
  /** Further flags of `aoe serve`. */
  readonly flags?: readonly string[];
  /** The only core that it may run on. */
  readonly core?: number | undefined;
  /** A process whose mounts it must see. */
  readonly mountsOf?: RunningProcess;
}

/** The interface in every namespace here. */
export const IFACE = "net0";

/** Buffers that vblade advertises. Its default of 16 loses frames at a window of 64. */
const VBLADE_BUFFERS = 64;

const REFLECTOR_BATCH = 64;

/** Why a peer cannot take part, or undefined when it can. */
export function missingPeer(name: PeerName): string | undefined {
  if (name !== "vblade" && name !== "fio") return undefined;
  return findProgram(name) === undefined
    ? `${name} is not installed (apt-get install ${name}), and so is not measured.`
    : undefined;
}

/** Starts a target; it answers when this returns. Ends as its namespace does, at the latest. */
export async function startTarget(
  name: TargetName,
  namespace: Namespace,
  reflector: string,
  options: ServeOptions,
): Promise<RunningProcess[]> {
  const processes = (await commands(name, reflector, options)).map((argv) =>
    namespace.start(prefixed(argv, options))
  );
  // The reflector says nothing; aoebench asks for it again and again.
  if (name === "reflector" || name === "ring") return processes;
  for (const { shelf, slot } of options.exports) {
    const line = new RegExp(`\\be?${shelf}\\.${slot}\\b`);
    await Promise.any(processes.map((process) => process.waitForLine(line))).catch((error) => {
      throw error instanceof AggregateError ? error.errors[0] : error;
    });
  }
  return processes;
}

async function commands(
  name: TargetName,
  reflector: string,
  { exports, direct, sync, workers, flags: further }: ServeOptions,
): Promise<string[][]> {
  const flags = [...direct ? ["-d"] : [], ...sync ? ["-s"] : []];
  switch (name) {
    case "aoe": {
      if (workers !== undefined) flags.push("--workers", `${workers}`);
      const disks = exports.flatMap(({ shelf, slot, path }) => [`${shelf}.${slot}`, path]);
      return [[await aoeExecutable(), "serve", ...flags, ...further ?? [], IFACE, ...disks]];
    }
    case "vblade":
      flags.push("-b", `${VBLADE_BUFFERS}`);
      return exports.map(({ shelf, slot, path }) => [
        ...["vblade", ...flags, `${shelf}`, `${slot}`, IFACE, path],
      ]);
    case "reflector":
    case "ring":
      return exports.map(({ shelf, slot, bytes }) => [
        ...[reflector, IFACE, `${shelf}.${slot}`, `${Math.ceil(bytes / (1 << 20))}`],
        ...name === "ring" ? [`${REFLECTOR_BATCH}`, "ring"] : [],
      ]);
  }
}

function prefixed(argv: readonly string[], { core, mountsOf }: ServeOptions): string[] {
  return [
    ...mountsOf === undefined ? [] : ["nsenter", "--mount", "--target", `${mountsOf.pid}`],
    ...core === undefined ? [] : ["taskset", "-c", `${core}`],
    ...argv,
  ];
}

/** What fio is to do to a file: 4 KiB at a time, at random places, around the page cache. */
interface FioOptions {
  readonly path: string;
  readonly mode: "read" | "write";
  readonly depth: number;
  readonly seconds: number;
  /** Writes between one fdatasync and the next; none without it. */
  readonly writesPerSync?: number | undefined;
}

/** Runs fio on the file itself, through io_uring. */
export async function runFio(options: FioOptions): Promise<Sample> {
  const sync = options.writesPerSync === undefined ? [] : [`--fdatasync=${options.writesPerSync}`];
  const { stdout } = await runChecked([
    ...["fio", "--name=bench", `--filename=${options.path}`, `--rw=rand${options.mode}`],
    ...["--bs=4k", "--direct=1", "--ioengine=io_uring", `--iodepth=${options.depth}`, ...sync],
    ...[`--runtime=${options.seconds}`, "--time_based", "--norandommap", "--randrepeat=0"],
    "--output-format=json",
  ], { timeoutMs: (options.seconds + 60) * 1000 });
  // Warnings may stand before the JSON.
  const job: FioJob = JSON.parse(stdout.slice(stdout.indexOf("{"))).jobs[0];
  const direction = job[options.mode];
  const cpuShare = (job.usr_cpu + job.sys_cpu) / 100;
  return {
    requestsPerSecond: direction.iops,
    medianUs: (direction.clat_ns.percentile?.["50.000000"] ?? NaN) / 1000,
    tailUs: (direction.clat_ns.percentile?.["99.900000"] ?? NaN) / 1000,
    cpuUsPerRequest: cpuShare * 1e6 / direction.iops,
    done: direction.total_ios,
    retransmissions: 0,
    memory: undefined,
  };
}

interface FioDirection {
  readonly iops: number;
  readonly total_ios: number;
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
}

interface FioJob {
  readonly read: FioDirection;
  readonly write: FioDirection;
  readonly usr_cpu: number;
  readonly sys_cpu: number;
}
