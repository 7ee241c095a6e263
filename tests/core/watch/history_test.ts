// What happens now, and what happened in the last ten minutes, made of one snapshot after the other.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { COMMAND_KINDS } from "../../../src/core/target/metrics.ts";
import { DROP_NAMES } from "../../../src/core/target/target.ts";
import { TIME_BUCKETS, TIME_WORDS, timeBucket } from "../../../src/core/time_buckets.ts";
import { ALL, History } from "../../../src/core/watch/history.ts";
import type { Snapshot, Work } from "../../../src/core/watch/snapshot.ts";

const NO_TIMES = new Float64Array(TIME_WORDS);

function workOf(reads: number, more: Partial<Work> = {}): Work {
  return {
    commands: COMMAND_KINDS.map((_, i) => i === 0 ? reads : 0),
    ...{ readBytes: reads * 1024, writtenBytes: 0, errors: [0, 0, 0], retransmissions: 0 },
    ...{ overlaps: 0, gathered: 0, merged: 0, inHand: 0, diskMs: 0, diskCommands: 0 },
    drops: DROP_NAMES.map(() => 0),
    ...more,
  };
}

function snapshotAt(atMs: number, reads: number, more: Partial<Snapshot> = {}): Snapshot {
  const times = new Float64Array(TIME_WORDS);
  times[timeBucket(2)] = reads;
  times[TIME_BUCKETS] = reads * 2;
  const work = workOf(reads, { diskMs: reads, diskCommands: reads });
  return {
    ...{ version: "1", name: "a", pid: 1, startedMs: 0, atMs, disks: [] },
    exports: [{
      ...{ address: "e1.1", path: "/d", work },
      answers: { read: times, write: NO_TIMES, other: NO_TIMES },
      disk: { read: NO_TIMES, write: NO_TIMES },
    }],
    interfaces: [{
      ...{ name: "eth0", work, answers: times, received: reads, overflows: 0, sendFailures: 0 },
      batches: [reads, 0, 0, 0, 0, 0, 0, 0],
    }],
    initiators: [{ mac: "02:00:00:00:00:01", work, answers: times }],
    loads: [{
      ...{ mac: "02:00:00:00:00:01", address: "e1.1", reads, writes: 0, others: 0, errors: 0 },
      ...{ readBytes: reads * 1024, writtenBytes: 0, answerMs: reads * 2, inHand: 0 },
    }],
    ...more,
  };
}

Deno.test("history: rates, times and depth are of the time between two snapshots", () => {
  const history = new History(1000);
  history.begin(snapshotAt(1000, 0));
  const overview = history.take(snapshotAt(3000, 4000));
  for (const one of [overview.all, overview.exports[0]!, overview.initiators[0]!]) {
    assertEquals(one.reads, 2000);
    assertEquals(one.readBytes, 2000 * 1024);
    assertEquals(one.others, 0);
    assertAlmostEquals(one.p50Ms, 2, 0.25);
    assertAlmostEquals(one.p99Ms, 2, 0.25);
    // 4,000 commands of 2 ms in 2 s: four at a time.
    assertEquals(one.depth, 4);
    assertEquals(one.diskMs, 1);
    assertEquals(one.total.commands, 4000);
  }
  assertEquals(overview.initiators[0]!.most, "e1.1");
  assertEquals(overview.loads.map((load) => [load.commands, load.meanMs]), [[2000, 2]]);
  const idle = history.take(snapshotAt(4000, 4000));
  assertEquals([idle.all.reads, idle.all.p99Ms, idle.loads.length], [0, 0, 0]);
});

Deno.test("history: the past is ten minutes at most, the newest last", () => {
  const history = new History(1000);
  for (let second = 1; second <= 700; second++) {
    history.take(snapshotAt(second * 1000, second * second));
  }
  const past = history.past("e1.1")!;
  assertEquals(past.stepMs, 1000);
  assertEquals(past.series.commands.length, 600);
  assertEquals(past.series.commands.at(-1), 700 ** 2 - 699 ** 2);
  assertEquals(past.series.commands[0], 101 ** 2 - 100 ** 2);
  assert(history.past(ALL) !== undefined && history.past("e9.9") === undefined);
});

Deno.test("history: an export that is gone is forgotten, one that began anew is no fault", () => {
  const history = new History(1000);
  history.take(snapshotAt(1000, 5000));
  history.take(snapshotAt(2000, 6000));
  const anew = history.take(snapshotAt(3000, 10));
  assertEquals(anew.exports[0]!.reads, 0);
  history.take(snapshotAt(4000, 20, { exports: [] }));
  assertEquals(history.past("e1.1"), undefined);
});

Deno.test("history: drops are told of by reason, and disks by their paths", () => {
  const history = new History(1000);
  const path = { interface: "eth0", mac: "02:00:00:00:00:09", up: true, window: 8 };
  const disk = {
    ...{ address: "e3.4", node: "/dev/etherd/e3.4", up: true, reads: 0, writes: 0 },
    ...{ readBytes: 0, writtenBytes: 0, commands: 0, retransmissions: 0, overflows: 0 },
    paths: [{ ...path, roundTripMs: 0.25, timeoutMs: 5, frameBytes: 1500, trips: NO_TIMES }],
  };
  const trips = new Float64Array(TIME_WORDS);
  trips[timeBucket(2)] = 400;
  const used = {
    ...{ ...disk, reads: 400, readBytes: 4096, retransmissions: 2 },
    paths: [{ ...disk.paths[0]!, trips }],
  };
  const drops = DROP_NAMES.map((_, i) => i === 4 ? 30 : 0);
  const link = (work: Partial<Work>, overflows: number) => ({
    ...snapshotAt(0, 0).interfaces[0]!,
    work: workOf(0, work),
    overflows,
  });
  history.take(snapshotAt(1000, 0, { interfaces: [link({}, 0)], disks: [disk] }));
  const overview = history.take(snapshotAt(3000, 0, {
    interfaces: [link({ drops }, 7)],
    disks: [used],
  }));
  assertEquals(overview.drops, [
    { reason: "from a MAC that is not allowed", total: 30, rate: 15 },
    { reason: "by the kernel, too fast to be taken", total: 7, rate: 3.5 },
  ]);
  assertEquals([overview.disks[0]!.reads, overview.disks[0]!.retransmissions], [200, 1]);
  const { p50Ms } = overview.disks[0]!;
  assertAlmostEquals(p50Ms, 2, 0.25);
  assertEquals(history.past("disk e3.4")!.series.p50Ms.map((ms) => ms > 0), [false, true]);
  assertEquals("trips" in overview.disks[0]!.paths[0]!, false);

  // Where nothing is served, the disks are all there is.
  const alone = new History(1000);
  const none = { exports: [], interfaces: [], initiators: [], loads: [] };
  alone.begin(snapshotAt(1000, 0, { ...none, disks: [disk] }));
  const { all } = alone.take(snapshotAt(3000, 0, { ...none, disks: [used] }));
  assertEquals([all.reads, all.writes, all.readBytes, all.retransmissions], [200, 0, 2048, 1]);
  assertEquals(all.p50Ms, p50Ms);
  const without = alone.take(snapshotAt(4000, 0, { ...none, disks: [] }));
  assertEquals([without.all.reads, without.all.others, without.all.total.commands], [0, 0, 0]);
});

Deno.test("history: who loads what is told apart, wherever a new pair stands among the others", () => {
  const [mac, other] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
  const loadOf = (mac: string, reads: number) => ({
    ...{ mac, address: "e1.1", reads, writes: 0, others: 0, errors: 0, readBytes: reads * 512 },
    ...{ writtenBytes: 0, answerMs: reads * 2, inHand: 0 },
  });
  const history = new History(1000);
  const still = loadOf("02:00:00:00:00:03", 7);
  history.begin(snapshotAt(1000, 0, { loads: [loadOf(mac, 100), still] }));
  const { loads } = history.take(
    snapshotAt(2000, 0, { loads: [loadOf(other, 5), loadOf(mac, 150), still] }),
  );
  assertEquals(loads.map((load) => [load.mac, load.commands, load.readBytes, load.meanMs]), [
    [mac, 50, 50 * 512, 2],
    [other, 5, 5 * 512, 2],
  ]);
});
