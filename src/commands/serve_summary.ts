// What `aoe serve` says at its end: how much was done, and what was dropped and why.

import { formatAddress } from "../wire/aoe.ts";
import type { ExportFile } from "../control/target/open_file.ts";
import {
  COUNT_DROPS,
  COUNT_ERRORS,
  COUNT_FLUSHES,
  COUNT_GATHERED,
  COUNT_KERNEL_DROPS,
  COUNT_NO_FRAME,
  COUNT_OVERLAPS,
  COUNT_READ_BYTES,
  COUNT_READS,
  COUNT_RECEIVED,
  COUNT_SEND_FAILURES,
  COUNT_SENT,
  COUNT_SYNCS,
  COUNT_TRIMS,
  COUNT_WAITS,
  COUNT_WRITES,
  COUNT_WRITTEN_BYTES,
  DROP_REASONS,
} from "../loops/target/counters.ts";
import type { TargetGroup } from "../control/target/threads.ts";
import { formatBytes, printError, printJson, printLine } from "./output.ts";

/** How the run ended, and how it is to be told. */
interface Ending {
  /** Commands a disk never finished. */
  readonly abandoned: number;
  readonly seconds: number;
  readonly json: boolean;
  readonly verbosity: number;
}

/** Prints the summary of a stopped group. */
export function printSummary(
  group: TargetGroup,
  files: readonly ExportFile[],
  ending: Ending,
): void {
  if (ending.abandoned > 0) {
    printError(
      `aoe: ${ending.abandoned} commands were given up: their disk did not answer for 10 seconds`,
    );
  }
  const drops = dropped(group);
  if (ending.json) {
    printSummaryJson(group, files, ending, drops);
    return;
  }
  if (ending.verbosity < 0) return;
  printLine(`Stopped after ${ending.seconds.toFixed(1)} s.`);
  for (const { config } of files) {
    const count = (counter: number) => group.countOf(config, counter);
    const errors = count(COUNT_ERRORS);
    printLine(
      `${formatAddress(config.shelf, config.slot)}  ${count(COUNT_READS)} reads ` +
        `(${formatBytes(count(COUNT_READ_BYTES))}), ${count(COUNT_WRITES)} writes ` +
        `(${formatBytes(count(COUNT_WRITTEN_BYTES))}), ${count(COUNT_FLUSHES)} flushes, ` +
        (errors === 0 ? "no errors" : `${errors} errors`),
    );
  }
  for (const [reason, count] of drops) printLine(`Dropped ${count} frames ${reason}.`);
}

function dropped(group: TargetGroup): [string, number][] {
  const drops: [string, number][] = DROP_REASONS.map((reason, i) => [
    reason,
    group.count(COUNT_DROPS + i),
  ]);
  drops.push(["by the kernel, faster than they could be taken", group.count(COUNT_KERNEL_DROPS)]);
  drops.push(["that could not be sent", group.count(COUNT_SEND_FAILURES)]);
  drops.push(["of a broadcast for want of memory", group.count(COUNT_NO_FRAME)]);
  return drops.filter(([, count]) => count > 0);
}

function printSummaryJson(
  group: TargetGroup,
  files: readonly ExportFile[],
  ending: Ending,
  drops: readonly (readonly [string, number])[],
): void {
  printJson({
    event: "stopped",
    seconds: ending.seconds,
    abandoned: ending.abandoned,
    received: group.count(COUNT_RECEIVED),
    sent: group.count(COUNT_SENT),
    waits: group.count(COUNT_WAITS),
    overlaps: group.count(COUNT_OVERLAPS),
    dropped: Object.fromEntries(drops),
    exports: files.map(({ config }) => ({
      address: formatAddress(config.shelf, config.slot),
      reads: group.countOf(config, COUNT_READS),
      readBytes: group.countOf(config, COUNT_READ_BYTES),
      gathered: group.countOf(config, COUNT_GATHERED),
      writes: group.countOf(config, COUNT_WRITES),
      writtenBytes: group.countOf(config, COUNT_WRITTEN_BYTES),
      flushes: group.countOf(config, COUNT_FLUSHES),
      trims: group.countOf(config, COUNT_TRIMS),
      syncs: group.countOf(config, COUNT_SYNCS),
      errors: group.countOf(config, COUNT_ERRORS),
    })),
  });
}
