// What a process that uses a disk of somebody else's has done, as its thread has counted it.

import type { Snapshot } from "../../core/watch/snapshot.ts";
import {
  INITIATOR_COUNT_COMMANDS,
  INITIATOR_COUNT_KERNEL_DROPS,
  INITIATOR_COUNT_READ_BYTES,
  INITIATOR_COUNT_READS,
  INITIATOR_COUNT_RETRANSMITTED,
  INITIATOR_COUNT_WRITES,
  INITIATOR_COUNT_WRITTEN_BYTES,
} from "../../loops/initiator/counters.ts";
import type { InitiatorCounters } from "../../loops/initiator/counters.ts";

/** Takes snapshots of one disk; `nodeOf` says where it is to be had. */
export function diskSnapshots(
  about: { readonly version: string; readonly address: string },
  counters: InitiatorCounters,
  nodeOf: () => string,
): () => Snapshot {
  const startedMs = Date.now();
  const { version, address } = about;
  return () => {
    const paths = counters.paths();
    return {
      ...{ version, name: address, pid: Deno.pid, startedMs, atMs: Date.now() },
      ...{ exports: [], interfaces: [], initiators: [], loads: [] },
      disks: [{
        ...{ address, node: nodeOf(), up: paths.some((path) => path.up), paths },
        reads: counters.value(INITIATOR_COUNT_READS),
        writes: counters.value(INITIATOR_COUNT_WRITES),
        readBytes: counters.value(INITIATOR_COUNT_READ_BYTES),
        writtenBytes: counters.value(INITIATOR_COUNT_WRITTEN_BYTES),
        commands: counters.value(INITIATOR_COUNT_COMMANDS),
        retransmissions: counters.value(INITIATOR_COUNT_RETRANSMITTED),
        overflows: counters.value(INITIATOR_COUNT_KERNEL_DROPS),
      }],
    };
  };
}
