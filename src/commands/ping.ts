// `aoe ping SHELF.SLOT`: round trips on every path to a disk, as ping(8) shows those to a host.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, optional, withDefault } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { type Address, formatAddress } from "../wire/aoe.ts";
import { ping } from "../control/ask/ping.ts";
import type { PingEvent, PingSummary } from "../control/ask/ping.ts";
import {
  address,
  integerBetween,
  interfaceOptions,
  jsonFlag,
  seconds,
  shortUsage,
  timeoutOption,
  type WireArguments,
  wireOptions,
} from "./arguments.ts";
import { counted, formatTable, printJson, printLine, warn, writeWithoutWaiting } from "./output.ts";
import { listenToSignals } from "./stop_signals.ts";
import { SUMMARIES } from "./summaries.ts";

const TIMEOUT_MS_DEFAULT = 1000;
const INTERVAL_MS_DEFAULT = 1000;

/** What `aoe ping` was asked to do. */
export interface PingCommandOptions extends WireArguments {
  readonly address: Address;
  /** All that are up when empty. */
  readonly interfaces: readonly string[];
  readonly count: number | undefined;
  readonly intervalMs: number;
  readonly read: boolean;
  readonly timeoutMs: number;
  readonly json: boolean;
}

/** `aoe ping SHELF.SLOT` */
export const pingParser = command(
  "ping",
  map(
    object({
      address: argument(address(), { description: message`Which disk.` }),
      interfaces: interfaceOptions(),
      count: optional(
        option("-c", "--count", integerBetween(1, 2 ** 31), {
          description: message`Requests to each path; without it, until Ctrl-C.`,
        }),
      ),
      intervalMs: withDefault(
        option("--interval", seconds({ min: 0.001, max: 3600 }), {
          description: message`Pause between two requests to a path (default 1).`,
        }),
        INTERVAL_MS_DEFAULT,
      ),
      read: option("--read", {
        description:
          message`Read the first sector each time, so that the disk's time is in it. Otherwise the config string is asked for, which every target answers by itself.`,
      }),
      timeoutMs: timeoutOption(
        message`When an answer counts as lost (default 1).`,
        TIMEOUT_MS_DEFAULT,
      ),
      ...wireOptions(),
      json: jsonFlag(),
    }),
    (options): PingCommandOptions => options,
  ),
  {
    brief: SUMMARIES.ping,
    description:
      message`Asks a disk again and again by every path, an interface and a MAC, and shows how long each answer took; at the end, or on Ctrl-C, minimum, median, 99th percentile and loss. Exits with 1 when nothing was answered.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe ping e1.1${lineBreak()}  aoe ping e1.1 -c 100 --interval 0.01 --read`,
  },
);

/** Pings until it is enough; 1 when nothing was answered. */
export async function runPing(options: PingCommandOptions): Promise<number> {
  writeWithoutWaiting("failure");
  const interruption = new AbortController();
  const deaf = listenToSignals({ stop: () => interruption.abort() });
  try {
    const name = formatAddress(options.address.shelf, options.address.slot);
    const { paths, silent } = await ping(
      { ...options, wish: { ...options, warn } },
      interruption.signal,
      (event) => options.json ? printJson(jsonOf(name, event)) : printLine(formatEvent(event)),
    );
    if (options.json) paths.forEach((path) => printJson(jsonSummary(name, path)));
    else printSummary(name, paths);
    for (const iface of silent) warn(`${name} does not answer on ${iface}`);
    return paths.some((path) => path.roundTrips !== undefined) ? 0 : 1;
  } finally {
    deaf();
  }
}

function formatEvent({ interface: iface, mac, sequence, ms, refusal, again }: PingEvent): string {
  const what = ms === undefined ? "no answer" : `${ms.toFixed(3)} ms`;
  const why = refusal === undefined ? "" : ` (refused: ${refusal})`;
  return `${iface} ${mac} #${sequence}: ${what}${why}${again ? " (again)" : ""}`;
}

function printSummary(name: string, paths: readonly PingSummary[]): void {
  const header = ["interface", "mac", "sent", "lost", "min", "median", "p99", "max"];
  const rows = paths.map(({ interface: iface, mac, sent, lost, roundTrips }) => {
    const { minMs, medianMs, p99Ms, maxMs } = roundTrips ??
      { minMs: undefined, medianMs: undefined, p99Ms: undefined, maxMs: undefined };
    const times = [minMs, medianMs, p99Ms, maxMs].map((ms) => ms?.toFixed(3) ?? "-");
    const percent = sent === 0 ? 0 : 100 * lost / sent;
    return [iface, mac, String(sent), `${Number(percent.toFixed(1))}%`, ...times];
  });
  const twice = paths.reduce((sum, { again }) => sum + again, 0);
  const note = twice === 0 ? "" : `; ${counted(twice, "answer")} came twice`;
  printLine(`--- ${name}: round trips in ms${note}`);
  formatTable(header, rows, { right: header.slice(2) }).every(printLine);
}

function jsonOf(address: string, event: PingEvent): Record<string, unknown> {
  const { ms, refusal, ...rest } = event;
  return {
    address,
    ...rest,
    ms: ms === undefined ? null : Number(ms.toFixed(3)),
    ...refusal === undefined ? {} : { refusal },
  };
}

function jsonSummary(address: string, summary: PingSummary): Record<string, unknown> {
  const { roundTrips, ...rest } = summary;
  const { count: answered = 0, ...times } = roundTrips ?? {};
  return { address, ...rest, answered, ...times };
}
