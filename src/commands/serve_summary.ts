// What `aoe serve` says at its end: how much was done, and what was dropped and why.

import { formatAddress } from "../wire/aoe.ts";
import type { ExportFile } from "../control/target/open_file.ts";
import {
  DROP_REASONS,
  TARGET_COUNT_DROPS,
  TARGET_COUNT_ERRORS,
  TARGET_COUNT_FLUSHES,
  TARGET_COUNT_GATHERED,
  TARGET_COUNT_KERNEL_DROPS,
  TARGET_COUNT_LOST,
  TARGET_COUNT_NO_FRAME,
  TARGET_COUNT_OVERLAPS,
  TARGET_COUNT_READ_BYTES,
  TARGET_COUNT_READS,
  TARGET_COUNT_RECEIVED,
  TARGET_COUNT_REPEATED,
  TARGET_COUNT_SEND_FAILURES,
  TARGET_COUNT_SENT,
  TARGET_COUNT_SYNCS,
  TARGET_COUNT_TRIMS,
  TARGET_COUNT_WAITS,
  TARGET_COUNT_WRITES,
  TARGET_COUNT_WRITTEN_BYTES,
} from "../core/target/counters.ts";
import type { TargetGroup } from "../control/target/threads.ts";
import { counted, formatBytes, printError, printJson, printLine } from "./output.ts";

/** How the run ended, and how it is to be told. */
interface Ending {
  /** Commands a disk never finished. */
  readonly abandoned: number;
  readonly seconds: number;
  readonly json: boolean;
  readonly verbosity: number;
}

/** How a running group's numbers are to be told. */
type Telling = Pick<Ending, "json" | "verbosity">;

/** Prints the numbers of a running group, as its summary will. */
export function printCounters(
  group: TargetGroup,
  files: readonly ExportFile[],
  telling: Telling,
): void {
  if (telling.json) printJson({ event: "counters", ...countersJson(group, files) });
  else for (const line of counterLines(group, files)) printLine(line);
}

/** Prints the summary of a stopped group. */
export function printSummary(
  group: TargetGroup,
  files: readonly ExportFile[],
  ending: Ending,
): void {
  if (ending.abandoned > 0) {
    printError(
      `aoe: ${
        counted(ending.abandoned, "command")
      } given up: the disk did not answer for 10 seconds`,
    );
  }
  const atRisk = group.atRisk.map(({ shelf, slot, forMs }) => ({
    address: formatAddress(shelf, slot),
    since: forMs === undefined ? undefined : new Date(Date.now() - forMs),
  }));
  if (ending.json) {
    const { seconds, abandoned } = ending;
    const about = { seconds, abandoned, ...countersJson(group, files) };
    printJson({
      event: "stopped",
      ...about,
      atRisk: atRisk.map(({ address, since }) => ({
        address,
        since: since?.toISOString() ?? null,
      })),
    });
    return;
  }
  // Not only for those who want a summary.
  for (const { address, since } of atRisk) {
    const from = since === undefined
      ? "since its last flush"
      : `since ${since.toLocaleTimeString("en-GB")}`;
    printError(`aoe: ${address} is not flushed: what was written ${from} may be lost`);
  }
  if (ending.verbosity < 0) return;
  printLine(`Stopped after ${ending.seconds.toFixed(1)} s.`);
  for (const line of counterLines(group, files)) printLine(line);
}

function counterLines(group: TargetGroup, files: readonly ExportFile[]): string[] {
  const lines = files.map(({ config }) => {
    const count = (counter: number) => group.countOf(config, counter);
    const errors = count(TARGET_COUNT_ERRORS);
    return (
      `${formatAddress(config.shelf, config.slot)}  ${
        counted(count(TARGET_COUNT_READS), "read")
      } ` +
      `(${formatBytes(count(TARGET_COUNT_READ_BYTES))}), ${
        counted(count(TARGET_COUNT_WRITES), "write")
      } ` +
      `(${formatBytes(count(TARGET_COUNT_WRITTEN_BYTES))}), ${
        counted(count(TARGET_COUNT_FLUSHES), "flush", "flushes")
      }, ` +
      (errors === 0 ? "no errors" : counted(errors, "error"))
    );
  });
  const seen = group.count(TARGET_COUNT_REPEATED);
  return [
    ...lines,
    ...(seen === 0
      ? []
      : [`${counted(seen, "retransmission")} seen of what the disk had in hand.`]),
    ...dropped(group).map(([reason, count]) => `Dropped ${counted(count, "frame")} ${reason}.`),
  ];
}

function dropped(group: TargetGroup): [string, number][] {
  const drops: [string, number][] = DROP_REASONS.map((reason, i) => [
    reason,
    group.count(TARGET_COUNT_DROPS + i),
  ]);
  drops.push([
    "by the kernel, faster than they could be taken",
    group.count(TARGET_COUNT_KERNEL_DROPS),
  ]);
  drops.push(["that could not be sent", group.count(TARGET_COUNT_SEND_FAILURES)]);
  drops.push(["of a broadcast for want of memory", group.count(TARGET_COUNT_NO_FRAME)]);
  drops.push(["on purpose (--drop)", group.count(TARGET_COUNT_LOST)]);
  return drops.filter(([, count]) => count > 0);
}

function countersJson(group: TargetGroup, files: readonly ExportFile[]): Record<string, unknown> {
  return {
    received: group.count(TARGET_COUNT_RECEIVED),
    sent: group.count(TARGET_COUNT_SENT),
    waits: group.count(TARGET_COUNT_WAITS),
    overlaps: group.count(TARGET_COUNT_OVERLAPS),
    retransmissionsSeen: group.count(TARGET_COUNT_REPEATED),
    dropped: Object.fromEntries(dropped(group)),
    exports: files.map(({ config }) => ({
      address: formatAddress(config.shelf, config.slot),
      reads: group.countOf(config, TARGET_COUNT_READS),
      readBytes: group.countOf(config, TARGET_COUNT_READ_BYTES),
      gathered: group.countOf(config, TARGET_COUNT_GATHERED),
      writes: group.countOf(config, TARGET_COUNT_WRITES),
      writtenBytes: group.countOf(config, TARGET_COUNT_WRITTEN_BYTES),
      flushes: group.countOf(config, TARGET_COUNT_FLUSHES),
      trims: group.countOf(config, TARGET_COUNT_TRIMS),
      syncs: group.countOf(config, TARGET_COUNT_SYNCS),
      errors: group.countOf(config, TARGET_COUNT_ERRORS),
    })),
  };
}
