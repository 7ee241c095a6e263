// What `aoe serve` says at its end: how much was done, and what was dropped and why.

import { formatAddress } from "../wire/aoe.ts";
import type { ExportFile } from "../control/target/open_file.ts";
import {
  TARGET_COUNT_ERRORS,
  TARGET_COUNT_FLUSHES,
  TARGET_COUNT_READ_BYTES,
  TARGET_COUNT_READS,
  TARGET_COUNT_REPEATED,
  TARGET_COUNT_WRITES,
  TARGET_COUNT_WRITTEN_BYTES,
} from "../core/target/counters.ts";
import { droppedFrames, groupCounters } from "../control/target/group_counters.ts";
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
  if (telling.json) printJson({ event: "counters", ...groupCounters(group, files) });
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
    const about = { seconds, abandoned, ...groupCounters(group, files) };
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

/** The same for people, line by line. */
export function counterLines(group: TargetGroup, files: readonly ExportFile[]): string[] {
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
    ...droppedFrames(group).map(([reason, count]) =>
      `Dropped ${counted(count, "frame")} ${reason}.`
    ),
  ];
}
