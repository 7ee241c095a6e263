// The part of `aoe stat` that shows which disks `aoe attach` has made block devices of, by which
// back end and paths, and how busy they are.

import type { Address } from "../wire/aoe.ts";
import { formatAddress } from "../wire/aoe.ts";
import { attachedDisks } from "../control/attach/status.ts";
import type { AttachedStatus } from "../control/attach/status.ts";
import { formatBytes, formatTable } from "./output.ts";

/** The shortest time over which a rate says something. */
const RATE_MS_MIN = 100;

/** What a daemon says of its disk, with its rates of late. */
export interface Attached extends AttachedStatus {
  readonly readBytesPerSecond: number;
  readonly writtenBytesPerSecond: number;
}

/**
 * Looks at attached disks now, and again when the result is called: rates are of the time between.
 *
 * @param rated Whether the rates are wanted, which is worth some waiting.
 */
export async function attachedSince(
  options: { readonly addresses: readonly Address[]; readonly interfaces: readonly string[] },
  rated: boolean,
): Promise<() => Promise<Attached[]>> {
  const names = new Set(options.addresses.map(({ shelf, slot }) => formatAddress(shelf, slot)));
  const before = await attachedDisks();
  const beganMs = performance.now();
  return async () => {
    const waitMs = before.length === 0 || !rated ? 0 : RATE_MS_MIN - (performance.now() - beganMs);
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    const now = await attachedDisks();
    return now.filter(({ address, paths }) =>
      (names.size === 0 || names.has(address)) &&
      (options.interfaces.length === 0 ||
        paths.some((path) => options.interfaces.includes(path.interface)))
    ).map((disk) => {
      const first = before.find(({ pid }) => pid === disk.pid) ?? disk;
      const seconds = Math.max((disk.atMs - first.atMs) / 1000, RATE_MS_MIN / 1000);
      return {
        ...disk,
        readBytesPerSecond: Math.round((disk.readBytes - first.readBytes) / seconds),
        writtenBytesPerSecond: Math.round((disk.writtenBytes - first.writtenBytes) / seconds),
      };
    });
  };
}

/** A line for each path of each attached disk. */
export function attachedTable(disks: readonly Attached[]): string[] {
  const rows = disks.flatMap((disk) =>
    disk.paths.map((path, index) => [
      ...(index === 0 ? [disk.node, disk.backEnd, disk.state] : ["", "", ""]),
      path.interface,
      path.mac,
      path.state,
      ...(index === 0
        ? [
          `${formatBytes(disk.readBytesPerSecond)}/s`,
          `${formatBytes(disk.writtenBytesPerSecond)}/s`,
        ]
        : []),
    ])
  );
  const header = ["attached", "by", "state", "on", "path", "", "reads", "writes"];
  return formatTable(header, rows, { right: ["reads", "writes"] });
}
