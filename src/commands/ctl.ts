// `aoe ctl ACTION`: asks and changes a running `aoe serve`.

import { visibleText } from "../core/watch/visible_text.ts";
import { formatAddress } from "../wire/aoe.ts";
import { isNbdUri } from "../wire/nbd_uri.ts";
import type { ExportPlan } from "../core/daemon/plan.ts";
import { askServing } from "../control/daemon/requests.ts";
import type {
  DaemonListing,
  DaemonRequest,
  ListedExport,
  Reloaded,
} from "../control/daemon/requests.ts";
import type { CtlOptions } from "./ctl_arguments.ts";
import { planOfExport } from "./arguments.ts";
import { EXIT_FAILED, EXIT_USAGE } from "./exit_codes.ts";
import { Failure, formatBytes, formatTable, printError, printJson, printLine } from "./output.ts";

/** Asks, and shows the answer. */
export async function runCtl(options: CtlOptions): Promise<number> {
  refuseExcess(options);
  const answer = await askServing(options.name, requestOf(options)).catch((error) => {
    // A sentence of the daemon's.
    throw error.name === "Error" ? new Failure(error.message) : error;
  });
  if (options.json) printJson(answer);
  switch (options.action) {
    case "list":
      if (!options.json) showListing(answer as DaemonListing);
      return 0;
    case "stats":
      if (options.json) return 0;
      for (const line of (answer as { lines: readonly string[] }).lines) printLine(line);
      return 0;
    case "add":
      if (!options.json) showAdded(answer as ListedExport);
      return 0;
    case "reload":
      if (!options.json) showReloaded(answer as Reloaded);
      return 0;
    default:
      return showRemoved(answer as { address: string; flushed: boolean }, options);
  }
}

function refuseExcess({ action, address, path }: CtlOptions): void {
  const needsAddress = action === "add" || action === "remove" || action === "drain";
  if (needsAddress && address === undefined) {
    throw new Failure(`Say which export to ${action}, as in: aoe ctl ${action} e1.1`, EXIT_USAGE);
  }
  if (!needsAddress && address !== undefined) {
    throw new Failure(`aoe ctl ${action} is about all exports: leave the address out`, EXIT_USAGE);
  }
  if (action === "add" && path === undefined) {
    throw new Failure("Say what to add, as in: aoe ctl add e1.1 /srv/disk.img", EXIT_USAGE);
  }
  if (action !== "add" && path !== undefined) {
    throw new Failure(`aoe ctl ${action} takes no path`, EXIT_USAGE);
  }
}

function requestOf(options: CtlOptions): DaemonRequest {
  const { action, address } = options;
  switch (action) {
    case "add":
      return { ask: action, plan: planOf(options) };
    case "remove":
    case "drain":
      return { ask: action, address: formatAddress(address!.shelf, address!.slot) };
    default:
      return { ask: action };
  }
}

function planOf(options: CtlOptions): ExportPlan {
  const { path = "" } = options;
  return {
    ...planOfExport(options),
    address: options.address!,
    // The daemon has another working folder.
    path: path.startsWith("/") || isNbdUri(path) ? path : `${Deno.cwd()}/${path}`,
  };
}

function showListing({ exports }: DaemonListing): void {
  const header = ["address", "state", "size", "worker", "interfaces", "path"];
  const rows = exports.map((ex) => [
    ex.address,
    ex.readOnly && ex.state === "serving" ? "read-only" : ex.state,
    ex.bytes === null ? "" : formatBytes(ex.bytes),
    ex.worker === null ? "" : String(ex.worker),
    ex.interfaces.join(","),
    visibleText(ex.path),
  ]);
  for (const line of formatTable(header, rows, { right: ["size", "worker"] })) printLine(line);
  for (const { address, reason } of exports) {
    if (reason !== null) printLine(`${address} waits: ${reason}`);
  }
  if (exports.length === 0) printLine("Nothing is served.");
}

function showAdded({ address, path, bytes, interfaces }: ListedExport): void {
  printLine(
    `${address} is served: ${visibleText(path)}, ${formatBytes(bytes ?? 0)}, on ${
      interfaces.join(", ")
    }`,
  );
}

function showReloaded({ added, removed, changed, same, waiting, leaving }: Reloaded): void {
  const unfinished = [
    ...waiting === 0 ? [] : [`${waiting} waiting`],
    ...leaving === 0 ? [] : [`${leaving} still on the way out`],
  ];
  const rest = unfinished.length === 0 ? "" : `, ${unfinished.join(", ")} (aoe ctl list)`;
  printLine(
    `Reloaded: ${added} added, ${removed} removed, ${changed} changed, ${same} as before${rest}`,
  );
}

function showRemoved(
  { address, flushed }: { readonly address: string; readonly flushed: boolean },
  { json }: CtlOptions,
): number {
  if (!flushed) {
    printError(`aoe: ${address} is served no more, and not flushed: what was written may be lost`);
    return EXIT_FAILED;
  }
  if (!json) printLine(`${address} is served no more`);
  return 0;
}
