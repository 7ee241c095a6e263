// What `aoe bench` shows: a live line, a report in the manner of fio's, and JSON with fio's names.

import configuration from "../../deno.json" with { type: "json" };
import { formatAddress } from "../wire/aoe.ts";
import {
  BENCH_FLUSHING,
  BENCH_RUNNING,
  BENCH_VERIFYING,
  type BenchResult,
  type BenchSide,
} from "../loops/bench/driver.ts";
import {
  INITIATOR_COUNT_BYTES,
  INITIATOR_COUNT_BYTES_TOTAL,
  INITIATOR_COUNT_COMMANDS,
  INITIATOR_COUNT_KERNEL_DROPS,
  INITIATOR_COUNT_LOST,
  INITIATOR_COUNT_PATHS,
  INITIATOR_COUNT_PATHS_UP,
  INITIATOR_COUNT_PHASE,
  INITIATOR_COUNT_READ_BYTES,
  INITIATOR_COUNT_READS,
  INITIATOR_COUNT_RETRANSMITTED,
  INITIATOR_COUNT_RTT_MS,
  INITIATOR_COUNT_WINDOW,
  INITIATOR_COUNT_WRITES,
  INITIATOR_COUNT_WRITTEN_BYTES,
  type InitiatorCounters,
} from "../loops/initiator/counters.ts";
import { counted, formatBytes } from "./output.ts";
import type { BenchOptions } from "./bench_arguments.ts";

const BAR_COLUMNS = 40;

/** A function that says how it goes, from what has changed since it was called last. */
export function liveLine(counters: InitiatorCounters): () => string {
  let lastMs = performance.now();
  let last = { reads: 0, writes: 0, bytes: 0 };
  return () => {
    const nowMs = performance.now();
    const seconds = (nowMs - lastMs) / 1000;
    const now = {
      reads: counters.value(INITIATOR_COUNT_READS),
      writes: counters.value(INITIATOR_COUNT_WRITES),
      bytes: counters.value(INITIATOR_COUNT_READ_BYTES) +
        counters.value(INITIATOR_COUNT_WRITTEN_BYTES),
    };
    const done = counters.value(INITIATOR_COUNT_BYTES) /
      (counters.value(INITIATOR_COUNT_BYTES_TOTAL) || Infinity);
    const percent = `${(100 * Math.min(1, done)).toFixed(0).padStart(3)}%`;
    const reads = (now.reads - last.reads) / seconds;
    const writes = (now.writes - last.writes) / seconds;
    const rate = (now.bytes - last.bytes) / seconds;
    lastMs = nowMs;
    last = now;
    const retransmitted = counters.value(INITIATOR_COUNT_RETRANSMITTED);
    const paths = counters.value(INITIATOR_COUNT_PATHS_UP);
    switch (counters.value(INITIATOR_COUNT_PHASE)) {
      case BENCH_RUNNING:
        return [
          percent,
          ...(now.reads > 0 ? [`read ${formatCount(reads)} IOPS`] : []),
          ...(now.writes > 0 ? [`write ${formatCount(writes)} IOPS`] : []),
          `${formatBytes(Math.round(rate))}/s`,
          `rtt ${formatNs(counters.value(INITIATOR_COUNT_RTT_MS) * 1e6)}`,
          `window ${Math.floor(counters.value(INITIATOR_COUNT_WINDOW))}`,
          ...(retransmitted > 0 ? [`${retransmitted} retransmitted`] : []),
          ...(paths === 0 ? ["no path"] : paths > 1 ? [`${paths} paths`] : []),
        ].join("  ");
      case BENCH_FLUSHING:
        return "flushing";
      case BENCH_VERIFYING:
        return `${percent}  verifying`;
      default:
        return "looking for the disk";
    }
  };
}

/** The report, line by line. */
export function reportText(
  options: BenchOptions,
  result: BenchResult,
  counters: InitiatorCounters,
): string[] {
  const { rw, blockBytes, iodepth } = options;
  const name = formatAddress(options.address.shelf, options.address.slot);
  const lines = [
    `${name}: ${rw}, bs ${formatBytes(blockBytes)}, iodepth ${iodepth}, ` +
    `${result.seconds.toFixed(1)} s${result.stopped ? " (interrupted)" : ""}`,
  ];
  const paths = counters.value(INITIATOR_COUNT_PATHS_UP);
  lines.push(
    `  ${counters.value(INITIATOR_COUNT_RETRANSMITTED)} of ${
      counters.value(INITIATOR_COUNT_COMMANDS)
    } commands ` +
      `retransmitted, round trip ${formatNs(counters.value(INITIATOR_COUNT_RTT_MS) * 1e6)}, ` +
      `window ${Math.floor(counters.value(INITIATOR_COUNT_WINDOW))}, ${paths} path${
        paths === 1 ? "" : "s"
      }`,
  );
  for (const [direction, side] of [["read", result.read], ["write", result.write]] as const) {
    if (side.latency.count > 0) lines.push(...sideText(direction, side, result.seconds));
  }
  const lost = counters.value(INITIATOR_COUNT_LOST);
  if (lost > 0) lines.push(`  ${counted(lost, "frame")} lost on purpose (--drop)`);
  if (result.verified !== undefined) {
    const bad = result.mismatches === 0
      ? "all as written"
      : `${counted(result.mismatches, "sector")} wrong`;
    lines.push(`  verify: ${result.verified} blocks read back, ${bad}`);
  }
  return lines;
}

function sideText(direction: string, side: BenchSide, seconds: number): string[] {
  const { count, minNs, maxNs, meanNs, deviationNs, percentiles, octaves } = side.latency;
  const rate = side.bytes / seconds;
  const lines = [
    `  ${direction}: IOPS=${formatCount(count / seconds)}, BW=${formatBytes(Math.round(rate))}/s ` +
    `(${(rate / 1e6).toFixed(1)} MB/s), ${formatBytes(side.bytes)}`,
    `    latency: min ${formatNs(minNs)}, mean ${formatNs(meanNs)}, max ${formatNs(maxNs)}, ` +
    `deviation ${formatNs(deviationNs)}`,
  ];
  const cells = percentiles.map(([percent, ns]) =>
    `${`${percent}%`.padStart(7)} ${formatNs(ns).padEnd(9)}`
  );
  for (let i = 0; i < cells.length; i += 4) {
    lines.push(`    ${cells.slice(i, i + 4).join(" ")}`.trimEnd());
  }
  const most = Math.max(...octaves.map((octave) => octave.count));
  for (const { belowNs, count: there } of octaves) {
    const bar = "#".repeat(Math.max(1, Math.round(BAR_COLUMNS * there / most)));
    const share = (100 * there / count).toFixed(2).padStart(6);
    lines.push(`    < ${formatNs(belowNs).padEnd(8)} ${share}% ${bar}`);
  }
  return lines;
}

/** fio's JSON, as far as it has the same things. */
export function reportJson(
  options: BenchOptions,
  result: BenchResult,
  counters: InitiatorCounters,
): unknown {
  const runtimeMs = Math.round(result.seconds * 1000);
  const name = formatAddress(options.address.shelf, options.address.slot);
  return {
    "fio version": `aoe-${configuration.version}`,
    timestamp: Math.floor(Date.now() / 1000),
    time: new Date().toString(),
    jobs: [{
      jobname: name,
      groupid: 0,
      error: result.failure === undefined && result.mismatches === 0 ? 0 : 5,
      elapsed: Math.ceil(result.seconds),
      "job options": {
        rw: options.rw,
        bs: String(options.blockBytes),
        iodepth: String(options.iodepth),
        runtime: String(options.runtimeMs / 1000),
        ...(options.verify ? { verify: "pattern" } : {}),
      },
      read: sideJson(result.read, runtimeMs),
      write: sideJson(result.write, runtimeMs),
    }],
    aoe: {
      address: name,
      serial: result.serial,
      model: result.model,
      bytes: result.diskBytes,
      commands: counters.value(INITIATOR_COUNT_COMMANDS),
      retransmitted: counters.value(INITIATOR_COUNT_RETRANSMITTED),
      kernelDrops: counters.value(INITIATOR_COUNT_KERNEL_DROPS),
      rttMs: counters.value(INITIATOR_COUNT_RTT_MS),
      window: counters.value(INITIATOR_COUNT_WINDOW),
      paths: counters.value(INITIATOR_COUNT_PATHS),
      pathsUp: counters.value(INITIATOR_COUNT_PATHS_UP),
      stopped: result.stopped,
      verifiedBlocks: result.verified ?? null,
      mismatches: result.mismatches,
      ...(options.dropPercent === undefined
        ? {}
        : { drop: options.dropPercent, lost: counters.value(INITIATOR_COUNT_LOST) }),
    },
  };
}

function sideJson({ bytes, latency }: BenchSide, runtimeMs: number): Record<string, unknown> {
  const perSecond = runtimeMs === 0 ? 0 : 1000 / runtimeMs;
  const times = {
    min: Math.round(latency.minNs),
    max: Math.round(latency.maxNs),
    mean: latency.meanNs,
    stddev: latency.deviationNs,
    N: latency.count,
  };
  const percentile = Object.fromEntries(
    latency.percentiles.map(([percent, ns]) => [percent.toFixed(6), Math.round(ns)]),
  );
  return {
    io_bytes: bytes,
    io_kbytes: Math.floor(bytes / 1024),
    bw_bytes: Math.round(bytes * perSecond),
    bw: Math.round(bytes * perSecond / 1024),
    iops: latency.count * perSecond,
    runtime: latency.count === 0 ? 0 : runtimeMs,
    total_ios: latency.count,
    short_ios: 0,
    drop_ios: 0,
    clat_ns: latency.count === 0 ? times : { ...times, percentile },
    lat_ns: times,
  };
}

function formatCount(value: number): string {
  if (value < 1000) return value.toFixed(0);
  return value < 1e6 ? `${(value / 1000).toFixed(1)}k` : `${(value / 1e6).toFixed(2)}M`;
}

function formatNs(ns: number): string {
  if (ns < 1e6) return `${(ns / 1000).toFixed(ns < 1e5 ? 1 : 0)} us`;
  return ns < 1e9 ? `${(ns / 1e6).toFixed(ns < 1e7 ? 2 : 1)} ms` : `${(ns / 1e9).toFixed(2)} s`;
}
