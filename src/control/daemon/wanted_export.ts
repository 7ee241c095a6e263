// An export that a daemon wants to serve: served, or waited for.

import type { NetworkInterface } from "../../../ffi/netlink.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import type { ExportPlan } from "../../core/daemon/plan.ts";
import { ExportRefusal } from "../target/open_file.ts";
import type { ExportFile } from "../target/open_file.ts";
import type { TargetGroup } from "../target/threads.ts";
import { whyNotGone } from "./departures.ts";
import type { Departure } from "./departures.ts";
import { plannedInterfaces, whyUnreachable } from "./opening.ts";
import type { ExportOrigin, ListedExport } from "./requests.ts";

/** One of them; it is served if it has a file. */
export interface WantedExport {
  plan: ExportPlan;
  readonly from: ExportOrigin;
  file: ExportFile | undefined;
  /** Why it is not served. */
  reason: string | undefined;
  /** Why the last change of it was refused, if it was. */
  refusal: string | undefined;
  /** It is looked for again after so long, */
  retryMs: number;
  /** which is then. */
  dueMs: number;
}

/** `e1.1` */
export function exportName({ address: { shelf, slot } }: ExportPlan): string {
  return formatAddress(shelf, slot);
}

/** Why nobody is served by it; undefined when it is served. */
export function whyWaiting(
  { plan, file, reason }: WantedExport,
  existing: readonly NetworkInterface[],
): string | undefined {
  return file === undefined ? reason ?? "" : whyUnreachable(plan, existing);
}

/** By how much longer it is waited each time. */
export function retryFactor({ path }: ExportPlan): number {
  return path.startsWith("nbd") ? 2 : 1;
}

/** Whether an error says what is missing, in a sentence that a user understands. */
export function isSentence(error: unknown): error is Error {
  return error instanceof ExportRefusal || error instanceof Deno.errors.InvalidData ||
    error instanceof Deno.errors.PermissionDenied;
}

/** As `aoe ctl list` shows it. */
export function listedExport(
  wanted: WantedExport,
  existing: readonly NetworkInterface[],
  { group, leaving }: {
    readonly group: TargetGroup;
    /** Undefined unless it is on its way out. */
    readonly leaving?: Departure | undefined;
  },
): ListedExport {
  const { plan, file, from } = wanted;
  const why = leaving === undefined ? whyWaiting(wanted, existing) : whyNotGone(leaving);
  return {
    ...{ address: exportName(plan), path: plan.path, from },
    state: leaving !== undefined ? "draining" : why === undefined ? "serving" : "waiting",
    reason: why ?? null,
    kind: file?.kind ?? null,
    bytes: file === undefined ? null : file.sectors * SECTOR_BYTES,
    readOnly: file?.config.readOnly ?? plan.readOnly,
    ...{ sync: plan.sync, direct: plan.direct },
    interfaces: file?.config.interfaces ?? plannedInterfaces(plan, existing),
    worker: file === undefined ? null : group.threadOf(plan.address) ?? null,
  };
}
