// The arguments of `aoe attach`, and those that start the same again in a process of its own.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map } from "@optique/core/modifiers";
import { command, option } from "@optique/core/primitives";
import type { Address } from "../wire/aoe.ts";
import { formatAddress } from "../wire/aoe.ts";
import {
  attachOptions,
  initiatorRingOptions,
  jsonFlag,
  metricsOption,
  type SessionArguments,
  sessionOptions,
  shortUsage,
  type WireArguments,
  wireOptions,
} from "./arguments.ts";
import type { BackEndName } from "../control/attach/back_end.ts";
import { SUMMARIES } from "./summaries.ts";

/** What `aoe attach` was asked to do. */
export interface AttachCommandOptions extends SessionArguments, WireArguments {
  readonly addresses: readonly Address[];
  readonly all: boolean;
  readonly config: string | undefined;
  readonly backEnd: BackEndName | "auto" | "kernel";
  readonly fuseUring: boolean;
  readonly readOnly: boolean;
  readonly reserve: boolean;
  readonly foreground: boolean;
  readonly metrics: string | undefined;
  readonly verbose: boolean;
  readonly json: boolean;
}

/** `aoe attach SHELF.SLOT` */
export const attachParser = command(
  "attach",
  map(
    object({
      ...attachOptions(),
      foreground: option("--foreground", {
        description: message`Stay in the foreground, and write the log to standard error.`,
      }),
      ...sessionOptions(),
      ...initiatorRingOptions(),
      metrics: metricsOption(),
      ...wireOptions(),
      verbose: option("-v", "--verbose", {
        description: message`Say also what is not used, and how it would be.`,
      }),
      json: jsonFlag(),
    }),
    (options): AttachCommandOptions => options,
  ),
  {
    brief: SUMMARIES.attach,
    description:
      message`Makes /dev/etherd/e1.1 of the disk e1.1, and e1.1p1 and so on of its partitions; returns when it can be used. A daemon stays, and logs to the system's log. A target that goes away is waited for; after --dead-after what waits fails.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe attach e1.1 && mount /dev/etherd/e1.1 /mnt${lineBreak()}  aoe attach --all -i eth0${lineBreak()}  aoe attach e1.1 --reserve --dead-after forever${lineBreak()}  aoe attach --config /etc/aoe.conf`,
  },
);

/** The arguments that attach one disk in the foreground, as these options have it. */
export function foregroundArguments(disk: Address, options: AttachCommandOptions): string[] {
  const { retransmitMs, deadAfterMs } = options;
  return [
    ...["attach", formatAddress(disk.shelf, disk.slot), "--foreground"],
    ...["--backend", options.backEnd, "--timeout", String(options.timeoutMs / 1000)],
    ...["--dead-after", deadAfterMs === Infinity ? "forever" : String(deadAfterMs / 1000)],
    ...(options.targets.length === 0 ? [] : ["--target", options.targets.join(",")]),
    ...(options.fuseUring ? ["--fuse-uring"] : []),
    ...(options.readOnly ? ["--read-only"] : []),
    ...(options.reserve ? ["--reserve"] : []),
    ...(retransmitMs === undefined ? [] : ["--retransmit-ms", String(retransmitMs)]),
    ...options.interfaces.flatMap((name) => ["-i", name]),
    ...(options.noRing ? ["--no-ring"] : []),
    ...(options.metrics === undefined
      ? []
      // A daemon's folder is another one.
      : ["--metrics", options.metrics.replace(/^unix:(?!\/)/, `unix:${Deno.cwd()}/`)]),
    ...(options.verbose ? ["--verbose"] : []),
    ...(options.json ? ["--json"] : []),
  ];
}

/** The arguments for what is done once: a daemon in the place of one that was killed goes without. */
export function wireArguments(options: AttachCommandOptions): string[] {
  const { capture, captureBytes, dropPercent } = options;
  return [
    // A daemon's folder is another one.
    ...(capture === undefined
      ? []
      : ["--capture", capture.startsWith("/") ? capture : `${Deno.cwd()}/${capture}`]),
    ...(captureBytes === undefined ? [] : ["--capture-size", String(captureBytes)]),
    ...(dropPercent === undefined ? [] : ["--drop", String(dropPercent)]),
  ];
}
