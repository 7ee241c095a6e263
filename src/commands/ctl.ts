// `aoe ctl ACTION`: asks and changes a running `aoe serve`.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, optional } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { choice } from "@optique/core/valueparser";
import { askServing } from "../control/daemon/requests.ts";
import type { DaemonListing, ListedExport } from "../control/daemon/requests.ts";
import { daemonName, jsonFlag, shortUsage } from "./arguments.ts";
import { formatBytes, formatTable, printJson, printLine } from "./output.ts";

/** What `aoe ctl` was asked to do. */
export interface CtlOptions {
  readonly action: "list" | "stats";
  readonly name: string | undefined;
  readonly json: boolean;
}

/** `aoe ctl ACTION` */
export const ctlParser = command(
  "ctl",
  map(
    object({
      action: argument(choice(["list", "stats"], { metavar: "ACTION" }), {
        description: message`list: what is served; stats: what has been counted.`,
      }),
      name: optional(option("--name", daemonName(), {
        description: message`Which daemon, where there are several (default serve).`,
      })),
      json: jsonFlag(),
    }),
    (options): CtlOptions => options,
  ),
  {
    brief: message`Ask a running aoe serve.`,
    description:
      message`Asks a running aoe serve of this host by its control socket. Exits with 1 when there is none, or it refuses.`,
    usageLine: shortUsage,
    footer: message`Examples:${lineBreak()}  aoe ctl list${lineBreak()}  aoe ctl stats --json`,
  },
);

/** Asks, and shows the answer. */
export async function runCtl(options: CtlOptions): Promise<number> {
  const { action, name, json } = options;
  const answer = await askServing(name, { ask: action });
  if (json) printJson(answer);
  else if (action === "list") showListing(answer as DaemonListing);
  else for (const line of (answer as { lines: readonly string[] }).lines) printLine(line);
  return 0;
}

function showListing({ exports }: DaemonListing): void {
  const header = ["address", "state", "size", "worker", "interfaces", "path"];
  const rows = exports.map((ex) => [
    ex.address,
    stateOf(ex),
    ex.bytes === null ? "" : formatBytes(ex.bytes),
    ex.worker === null ? "" : String(ex.worker),
    ex.interfaces.join(","),
    ex.path,
  ]);
  for (const line of formatTable(header, rows, { right: ["size", "worker"] })) printLine(line);
  const waiting = exports.filter(({ reason }) => reason !== null);
  for (const { address, reason } of waiting) printLine(`${address} waits: ${reason}`);
  if (exports.length === 0) printLine("Nothing is served.");
}

function stateOf({ state, readOnly }: ListedExport): string {
  return readOnly && state === "serving" ? "read-only" : state;
}
