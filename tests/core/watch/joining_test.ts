// Several processes that use disks of others, as one.

import { assertEquals } from "@std/assert";
import { TIME_BUCKETS, TIME_WORDS, timeBucket } from "../../../src/core/time_buckets.ts";
import { ALL, History } from "../../../src/core/watch/history.ts";
import { joinOverviews, joinPasts } from "../../../src/core/watch/joining.ts";
import type { Snapshot } from "../../../src/core/watch/snapshot.ts";

/** A process that has used a disk, and read so often of it, each time for so long. */
function processOf(pid: number, atMs: number, reads: number, ms: number): Snapshot {
  const trips = new Float64Array(TIME_WORDS);
  trips[timeBucket(ms)] = reads;
  trips[TIME_BUCKETS] = reads * ms;
  return {
    ...{ version: "1", name: `e1.${pid}`, pid, startedMs: pid, atMs },
    ...{ exports: [], interfaces: [], initiators: [], loads: [] },
    disks: [{
      ...{ address: `e1.${pid}`, node: "", up: true, reads, writes: 0, readBytes: reads * 512 },
      ...{ writtenBytes: 0, commands: reads, retransmissions: pid, overflows: 0 },
      paths: [{
        ...{ interface: "eth0", mac: "02:00:00:00:00:01", up: true, window: 1 },
        ...{ roundTripMs: ms, timeoutMs: 5, frameBytes: 1024, trips },
      }],
    }],
  };
}

Deno.test("top: processes without exports are one, with rates added up and the longest times", () => {
  const histories = [1, 2].map((pid) => {
    const history = new History(1000);
    history.begin(processOf(pid, 1000, 0, pid));
    history.take(processOf(pid, 2000, 100 * pid, pid));
    return history;
  });
  histories[1]!.take(processOf(2, 3000, 250, 2));
  const [first, second] = histories.map((history) => history.overview!);
  assertEquals(joinOverviews(first!, []), first!);
  const both = joinOverviews(first!, [second!]);
  assertEquals([both.name, both.startedMs], ["", 1]);
  assertEquals(both.disks.map(({ address }) => address), ["e1.1", "e1.2"]);
  assertEquals([both.all.reads, both.all.readBytes], [150, 150 * 512]);
  assertEquals(both.all.total.retransmissions, 3);
  assertEquals(both.all.p99Ms, second!.all.p99Ms);
  const pasts = joinPasts(histories.map((history) => ({ [ALL]: history.past(ALL)! })));
  // The second began one second earlier.
  assertEquals(pasts[ALL]!.series.commands, [200, 100 + 50]);
  assertEquals(pasts[ALL]!.series.p99Ms[1], second!.all.p99Ms);
});
