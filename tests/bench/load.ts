// One run of the load generator against targets that are up, and what they used for it.

import { type BenchResult, benchResult } from "../harness/aoebench.ts";
import type { RunningProcess } from "../harness/process.ts";
import type { Namespace } from "../harness/testbed.ts";
import { cpuTimeUs, type Memory, memoryOf } from "./machine.ts";
import { type Export, IFACE } from "./peers.ts";
import { summarize } from "./report.ts";

/** What one run found; with several generators the rates are added. */
export interface Sample {
  readonly requestsPerSecond: number;
  /** Median of the latencies; of several generators, the median of theirs. */
  readonly medianUs: number;
  /** The 99.9th percentile, in the same way. */
  readonly tailUs: number;
  /** CPU time of the target's processes for each request. */
  readonly cpuUsPerRequest: number;
  readonly done: number;
  readonly retransmissions: number;
  /** What the target's processes held at the end of the run; of fio it is not known. */
  readonly memory: Memory | undefined;
}

/** What the generators ask for. */
export interface Load {
  readonly mode: "read" | "write" | "mixed";
  readonly sectors: number;
  readonly window: number;
  readonly seconds: number;
  /** In order, not at random places. */
  readonly sequential?: boolean;
  /** The only core that a generator may run on. */
  readonly core?: number | undefined;
}

/** Where one generator runs, and what it asks. */
export interface Station {
  readonly namespace: Namespace;
  readonly export: Export;
}

/** Starts aoebench and leaves it running. */
export function startGenerator(aoebench: string, station: Station, load: Load): RunningProcess {
  const { shelf, slot } = station.export;
  return station.namespace.start([
    ...[aoebench, IFACE, `${shelf}.${slot}`, load.mode, "-s", `${load.sectors}`],
    // Polling: a target is not to pay for waking the generator, which nobody pays on a wire.
    ...["-w", `${load.window}`, "-t", `${load.seconds}`, "-B"],
    ...load.sequential === true ? ["-q"] : [],
    ...load.core === undefined ? [] : ["-c", `${load.core}`],
  ]);
}

/** aoebench's results with the latencies, which the tests of correctness have no use for. */
export interface GeneratorResult extends BenchResult {
  readonly medianUs: number;
  readonly tailUs: number;
  readonly maxUs: number;
}

/** Waits for aoebench's end. @throws when an answer was wrong: a rate of errors is no rate. */
export async function generatorResult(generator: RunningProcess): Promise<GeneratorResult> {
  const result = await benchResult(generator);
  if (result.errors + result.mismatches > 0) {
    throw new Error(`The target answered wrongly: ${result.line}`);
  }
  const field = (name: string) =>
    Number(result.line.match(new RegExp(` ${name}=([\\d.]+)`))?.[1] ?? NaN);
  return { ...result, medianUs: field("p50"), tailUs: field("p999"), maxUs: field("max") };
}

/** Lets one generator run at every station, all at once, and adds up what they found. */
export async function measure(
  aoebench: string,
  stations: readonly Station[],
  load: Load,
  targets: readonly RunningProcess[],
): Promise<Sample> {
  const pids = targets.map((target) => target.pid);
  const before = cpuTimeUs(pids);
  const results = await Promise.all(
    stations.map((station) => generatorResult(startGenerator(aoebench, station, load))),
  ).catch((error: Error) => {
    const said = targets.map((target) => target.text).join("\n");
    throw new Error(`${error.message}\nThe target said: ${said.slice(-1000)}`);
  });
  for (const target of targets) {
    if (target.status !== undefined) throw new Error(`A target ended under load: ${target.text}`);
  }
  const used = cpuTimeUs(pids) - before;
  const done = sum(results.map((result) => result.done));
  return {
    requestsPerSecond: sum(results.map((result) => result.requestsPerSecond)),
    medianUs: summarize(results.map((result) => result.medianUs)).median,
    tailUs: summarize(results.map((result) => result.tailUs)).median,
    cpuUsPerRequest: used / done,
    done,
    retransmissions: sum(results.map((result) => result.retransmissions)),
    memory: memoryOf(pids, stations.map((station) => station.export.path)),
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
