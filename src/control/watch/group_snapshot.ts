// What a serving process has done, as its threads have counted it.

import { formatAddress } from "../../wire/aoe.ts";
import { readTarget } from "../../core/watch/target_reading.ts";
import type { Snapshot } from "../../core/watch/snapshot.ts";
import type { ExportFile } from "../target/open_file.ts";
import type { TargetGroup } from "../target/threads.ts";

/** Takes snapshots of a group, whose exports may come and go. */
export function groupSnapshots(
  group: TargetGroup,
  files: () => readonly ExportFile[],
  about: { readonly version: string; readonly name: string },
): () => Snapshot {
  const startedMs = Date.now();
  return () => {
    const paths = new Map(
      files().map(({ config }) => [formatAddress(config.shelf, config.slot), config.path]),
    );
    return {
      ...about,
      ...{ pid: Deno.pid, startedMs, atMs: Date.now() },
      ...readTarget(group.metrics, (address) => paths.get(address) ?? ""),
      disks: [],
    };
  };
}
