// `aoe check [IFACE...]`: what is wrong with a storage network, and what to do about it.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, multiple, withDefault } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { checkNetwork } from "../control/ask/check.ts";
import type { CheckReport, PathReport } from "../control/ask/check.ts";
import {
  integerBetween,
  interfaceList,
  interfaceOptions,
  jsonFlag,
  shortUsage,
  timeoutOption,
  type WireArguments,
  wireOptions,
} from "./arguments.ts";
import { Failure, formatTable, outputWidth, paint, printJson, printLine, warn } from "./output.ts";
import { SUMMARIES } from "./summaries.ts";

const TIMEOUT_MS_DEFAULT = 500;
const COUNT_DEFAULT = 100;
const COUNT_MAX = 10_000;

/** What `aoe check` was asked to do. */
export interface CheckCommandOptions extends WireArguments {
  /** All that are up when empty. */
  readonly interfaces: readonly string[];
  readonly count: number;
  readonly timeoutMs: number;
  readonly json: boolean;
}

/** `aoe check [IFACE...]` */
export const checkParser = command(
  "check",
  map(
    object({
      names: multiple(
        argument(interfaceList(), { description: message`The same as -i IFACE.` }),
      ),
      more: interfaceOptions(),
      count: withDefault(
        option("-c", "--count", integerBetween(1, COUNT_MAX), {
          description: message`Single requests to each path, to see losses (default 100).`,
        }),
        COUNT_DEFAULT,
      ),
      timeoutMs: timeoutOption(
        message`How long to wait for answers, each time (default 0.5).`,
        TIMEOUT_MS_DEFAULT,
      ),
      ...wireOptions(),
      json: jsonFlag(),
    }),
    ({ names, more, ...options }): CheckCommandOptions => ({
      ...options,
      interfaces: [...new Set([...names.flat(), ...more])],
    }),
  ),
  {
    brief: SUMMARIES.check,
    description:
      message`Measures every path, an interface and a MAC of each disk: the largest frame that passes, losses alone and in bursts, round trips. Only reads. Names MTUs that differ, frames that vanish, addresses that are used twice, lossy paths and missing flow control, and says what to do. Exits with 1 when something is wrong, or nobody answers.`,
    usageLine: shortUsage,
    footer: message`Examples:${lineBreak()}  aoe check${lineBreak()}  aoe check eth0 eth1 -c 1000`,
  },
);

/** Shows paths and problems; 1 when there are problems. */
export async function runCheck(options: CheckCommandOptions): Promise<number> {
  const report = await checkNetwork({ ...options, wish: { ...options, warn } });
  report.warnings.forEach(warn);
  if (report.paths.length === 0 && report.problems.length === 0) {
    const names = report.interfaces.map(({ name }) => name).join(", ");
    throw new Failure(`No target answered on ${names} within ${options.timeoutMs / 1000} s`);
  }
  if (options.json) printReportAsJson(report);
  else printReport(report);
  return report.problems.length === 0 ? 0 : 1;
}

function printReport({ interfaces, paths, problems }: CheckReport): void {
  const header = ["address", "interface", "mac", "frame", "sectors", "lost", "burst", "median"];
  const lines = paths.length === 0
    ? []
    : formatTable(header, paths.map(pathRow), { right: header.slice(3) });
  const refusals = paths.flatMap(({ address, mac, refusal }) =>
    refusal === undefined ? [] : [
      `${address} at ${mac} does not let itself be read (${refusal}): what it sends is unchecked`,
    ]
  );
  const unknown = interfaces.filter((link) =>
    link.answered && !link.loopback && link.flowControl === undefined
  );
  const silence = unknown.length === 0
    ? []
    : [`Flow control is unknown: ${unknown.map(({ name }) => name).join(", ")} cannot tell`];
  lines.push(...[...refusals, ...silence].flatMap((note) => wrap(note, "")));
  for (const { text } of problems) lines.push(...wrap(text, `${paint("problem:", "red")} `, 9));
  if (problems.length === 0) lines.push(paint("All is well", "green"));
  lines.every(printLine);
}

function pathRow(path: PathReport): string[] {
  const { address, interface: name, mac, single, burst, roundTrips } = path;
  const percent = ({ sent, lost }: { sent: number; lost: number }) =>
    `${Number((100 * lost / Math.max(1, sent)).toFixed(1))}%`;
  return [
    ...[address, name, mac, String(path.usableBytes), String(path.usableSectors)],
    ...[percent(single), percent(burst)],
    roundTrips === undefined ? "-" : `${roundTrips.medianMs.toFixed(3)} ms`,
  ];
}

/** Breaks a sentence into lines behind a first word, which is `indent` columns wide. */
function wrap(text: string, first: string, indent = 0): string[] {
  const width = Math.max(40, Math.min(outputWidth(), 100)) - indent;
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!;
    if (line !== "" && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines.map((line, i) => (i === 0 ? first : " ".repeat(indent)) + line);
}

function printReportAsJson({ interfaces, paths, problems }: CheckReport): void {
  const values = [
    ...interfaces.map(({ flowControl, ...link }) => ({
      interface: link.name,
      mtu: link.mtu,
      carrier: link.running,
      answered: link.answered,
      flowControl: flowControl ?? null,
    })),
    ...paths.map(({ requestBytes, readSectors, refusal, roundTrips, ...path }) => ({
      ...path,
      requestBytes: requestBytes ?? null,
      readSectors: readSectors ?? null,
      refusal: refusal ?? null,
      roundTrips: roundTrips ?? null,
    })),
    ...problems.map(({ kind, text }) => ({ problem: kind, text })),
  ];
  values.every(printJson);
}
