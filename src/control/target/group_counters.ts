// What a running group has counted, as JSON shows it.

import { formatAddress } from "../../wire/aoe.ts";
import {
  DROP_REASONS,
  TARGET_COUNT_DROPS,
  TARGET_COUNT_ERRORS,
  TARGET_COUNT_FLUSHES,
  TARGET_COUNT_GATHERED,
  TARGET_COUNT_KERNEL_DROPS,
  TARGET_COUNT_LOST,
  TARGET_COUNT_NO_FRAME,
  TARGET_COUNT_OVERLAPS,
  TARGET_COUNT_READ_BYTES,
  TARGET_COUNT_READS,
  TARGET_COUNT_RECEIVED,
  TARGET_COUNT_REPEATED,
  TARGET_COUNT_SEND_FAILURES,
  TARGET_COUNT_SENT,
  TARGET_COUNT_SYNCS,
  TARGET_COUNT_TRIMS,
  TARGET_COUNT_WAITS,
  TARGET_COUNT_WRITES,
  TARGET_COUNT_WRITTEN_BYTES,
} from "../../core/target/counters.ts";
import type { ExportFile } from "./open_file.ts";
import type { TargetGroup } from "./threads.ts";

/** Why frames were dropped, behind "Dropped N frames", and how many; those of which there were some. */
export function droppedFrames(group: TargetGroup): [string, number][] {
  const drops: [string, number][] = DROP_REASONS.map((reason, i) => [
    reason,
    group.count(TARGET_COUNT_DROPS + i),
  ]);
  drops.push([
    "by the kernel, faster than they could be taken",
    group.count(TARGET_COUNT_KERNEL_DROPS),
  ]);
  drops.push(["that could not be sent", group.count(TARGET_COUNT_SEND_FAILURES)]);
  drops.push(["of a broadcast for want of memory", group.count(TARGET_COUNT_NO_FRAME)]);
  drops.push(["on purpose (--drop)", group.count(TARGET_COUNT_LOST)]);
  return drops.filter(([, count]) => count > 0);
}

/** All counters of a group and of its exports. */
export function groupCounters(
  group: TargetGroup,
  files: readonly ExportFile[],
): Record<string, unknown> {
  return {
    received: group.count(TARGET_COUNT_RECEIVED),
    sent: group.count(TARGET_COUNT_SENT),
    waits: group.count(TARGET_COUNT_WAITS),
    overlaps: group.count(TARGET_COUNT_OVERLAPS),
    retransmissionsSeen: group.count(TARGET_COUNT_REPEATED),
    dropped: Object.fromEntries(droppedFrames(group)),
    exports: files.map(({ config }) => ({
      address: formatAddress(config.shelf, config.slot),
      reads: group.countOf(config, TARGET_COUNT_READS),
      readBytes: group.countOf(config, TARGET_COUNT_READ_BYTES),
      gathered: group.countOf(config, TARGET_COUNT_GATHERED),
      writes: group.countOf(config, TARGET_COUNT_WRITES),
      writtenBytes: group.countOf(config, TARGET_COUNT_WRITTEN_BYTES),
      flushes: group.countOf(config, TARGET_COUNT_FLUSHES),
      trims: group.countOf(config, TARGET_COUNT_TRIMS),
      syncs: group.countOf(config, TARGET_COUNT_SYNCS),
      errors: group.countOf(config, TARGET_COUNT_ERRORS),
    })),
  };
}
