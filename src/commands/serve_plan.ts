// The arguments of `aoe serve` as the plan that a configuration would be.

import { SECTOR_BYTES } from "../wire/ata.ts";
import type { DaemonPlan, ExportPlan } from "../core/daemon/plan.ts";
import type { ServeOptions } from "./serve_arguments.ts";

/** What the arguments ask for: one set of options for all exports, and no state. */
export function planOfArguments(options: ServeOptions): DaemonPlan {
  const { macs, offsetSectors = 0, lengthSectors } = options;
  const shared: Omit<ExportPlan, "address" | "path"> = {
    interfaces: options.interfaces,
    direct: options.direct,
    sync: options.sync,
    readOnly: options.readOnly,
    cacheFixed: options.writeCache === "fixed",
    offsetBytes: offsetSectors * SECTOR_BYTES,
    lengthBytes: lengthSectors === undefined ? undefined : lengthSectors * SECTOR_BYTES,
    createBytes: options.sizeBytes,
    format: options.format,
    force: options.force,
    acl: macs.length === 0 ? undefined : { accept: macs, reject: [], readOnly: [] },
    line: 0,
  };
  const { workers, buffers, pollUs, uring, ring, mapBytes } = options;
  const { capture, captureBytes, dropPercent } = options;
  return {
    ...{
      name: options.name,
      stateDir: options.state ?? false,
      control: true,
      metrics: options.metrics,
      user: options.user,
    },
    waits: false,
    ...{ workers, buffers, pollUs, uring, ring, mapBytes },
    ...{ capture, captureBytes, dropPercent },
    exports: options.exports.map(({ address, path }) => ({ address, path, ...shared })),
    initiatorInterfaces: [],
  };
}
