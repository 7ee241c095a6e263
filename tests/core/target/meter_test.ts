// What a target's thread counts, for whom: the meter writes, the tables are read.

import { assert, assertEquals } from "@std/assert";
import { AOE_VERSION_FLAGS, COMMAND_ATA, writeAoeHeader } from "../../../src/wire/aoe.ts";
import { DRIVE_READ, DRIVE_WRITE } from "../../../src/core/target/drive.ts";
import { TargetMeter } from "../../../src/core/target/meter.ts";
import {
  HISTOGRAM_READ,
  INITIATORS_MAX,
  KIND_CONFIG,
  KIND_READ,
  KIND_WRITE,
  LOAD_READS,
  ROW_COMMANDS,
  ROW_DISK_MS,
  ROW_DROPS,
  ROW_ENDED,
  ROW_ERRORS,
  ROW_READ_BYTES,
  ROW_RETRANSMISSIONS,
  ROW_TAKEN,
  ROW_WRITTEN_BYTES,
  TargetMetrics,
} from "../../../src/core/target/metrics.ts";
import {
  TIME_BUCKETS,
  timeBucket,
  timeBucketEndMs,
  timePercentileMs,
} from "../../../src/core/time_buckets.ts";

const TARGET = Uint8Array.of(2, 0, 0, 0, 0, 1);

function setUp(exports = 2) {
  const metrics = new TargetMetrics(TargetMetrics.allocate(exports, 2));
  for (let i = 0; i < exports; i++) metrics.nameExport(i, 1, i);
  const clock = { ms: 1000, nowMs: () => clock.ms };
  const meter = new TargetMeter(metrics, 8, clock);
  const frame = new Uint8Array(64);
  const from = (number: number, tag = 1) => {
    const mac = Uint8Array.of(2, 1, 0, 0, number >> 8, number & 255);
    writeAoeHeader(frame, 0, TARGET, mac, {
      ...{ flags: 0, shelf: 1, slot: 0, command: COMMAND_ATA, tag },
    });
    return frame;
  };
  const word = (row: number, at: number) => metrics.words[row + at]!;
  return { metrics, meter, clock, from, word };
}

Deno.test("meter: a read is counted for its export, its interface and its initiator", () => {
  const { metrics, meter, clock, from, word } = setUp();
  meter.look();
  meter.takeBatch(1, 2);
  for (const frame of [0, 1]) {
    const drive = { operation: DRIVE_READ, sector: 8 * frame };
    meter.takeWork(frame, 1, drive, from(7, frame), 0);
    meter.diskBegins(frame);
  }
  meter.settle();
  const rows = [metrics.rowOfExport(1), metrics.rowOfLink(1), metrics.rowOfInitiator(1)];
  for (const row of rows) assertEquals(word(row, ROW_TAKEN) - word(row, ROW_ENDED), 2);
  clock.ms += 3;
  meter.look();
  for (const frame of [0, 1]) meter.diskEnds(frame);
  clock.ms += 1;
  meter.look();
  for (const frame of [0, 1]) meter.sent(frame, 1024, false);
  meter.settle();
  for (const row of rows) {
    assertEquals(word(row, ROW_COMMANDS + KIND_READ), 2);
    assertEquals(word(row, ROW_READ_BYTES), 2048);
    assertEquals(word(row, ROW_ENDED), 2);
    assertEquals(word(row, ROW_DISK_MS), 6);
  }
  assertEquals(metrics.macAt(1), "020100000007");
  const load = metrics.loadsUsed - 1;
  assertEquals([metrics.loadInitiator(load), metrics.loadExport(load)], [1, 1]);
  assertEquals(word(metrics.rowOfLoad(load), LOAD_READS), 2);
  const at = metrics.histogram(rows[0]!, HISTOGRAM_READ);
  assertEquals(metrics.words[at + timeBucket(4)], 2);
  assertEquals(metrics.words[at + TIME_BUCKETS], 8);
  assertEquals(metrics.linkCounts(1).batches, [0, 1, 0, 0, 0, 0, 0, 0]);
  assertEquals(word(metrics.rowOfExport(0), ROW_TAKEN), 0);
});

Deno.test("meter: the same tag and sectors again are a retransmission, other sectors are not", () => {
  const { metrics, meter, from, word } = setUp();
  meter.look();
  meter.takeBatch(0, 1);
  const write = (sector: number, tag: number, initiator = 7) =>
    meter.takeWork(0, 0, { operation: DRIVE_WRITE, sector }, from(initiator, tag), 0);
  const seen = () => word(metrics.rowOfExport(0), ROW_RETRANSMISSIONS);
  write(8, 0x8000_0001);
  write(16, 0x8000_0001);
  write(16, 0x8000_0002);
  write(16, 0x8000_0001, 8);
  assertEquals(seen(), 0);
  write(16, 0x8000_0002);
  assertEquals(seen(), 1);
  assertEquals(word(metrics.rowOfInitiator(1), ROW_RETRANSMISSIONS), 1);
});

Deno.test("meter: an answer that is an error has no bytes, and a drop its reason", () => {
  const { metrics, meter, from, word } = setUp();
  meter.look();
  meter.takeBatch(0, 1);
  meter.takeWork(0, 0, { operation: DRIVE_WRITE, sector: 0 }, from(7), 0);
  meter.failed(0);
  meter.sent(0, 1024, false);
  const frame = from(7);
  frame.copyWithin(0, 6, 12);
  frame[AOE_VERSION_FLAGS] = 0x1c;
  meter.takeAnswered(1, 0, KIND_CONFIG, frame, 0);
  meter.sent(1, 1024, false);
  meter.drop(0, -4, from(7), 0);
  meter.drop(0, -4, from(9), 0);
  meter.settle();
  const row = metrics.rowOfExport(0);
  assertEquals(word(row, ROW_COMMANDS + KIND_WRITE), 1);
  assertEquals(word(row, ROW_WRITTEN_BYTES), 0);
  assertEquals([0, 1, 2].map((kind) => word(row, ROW_ERRORS + kind)), [1, 0, 1]);
  assertEquals(word(row, ROW_DROPS + 4), 2);
  assertEquals(word(metrics.rowOfInitiator(1), ROW_DROPS + 4), 1);
  assertEquals(metrics.initiatorsUsed, 2, "who is only dropped gets no row");
});

Deno.test("meter: 500 initiators have rows of their own, and those beyond the table share one", () => {
  const { metrics, meter, from, word } = setUp();
  meter.look();
  meter.takeBatch(0, 1);
  const many = INITIATORS_MAX + 100;
  for (let initiator = 0; initiator < many; initiator++) {
    meter.takeWork(0, 0, { operation: DRIVE_READ, sector: 0 }, from(initiator), 0);
    meter.sent(0, 512, false);
  }
  meter.settle();
  assert(INITIATORS_MAX > 500);
  assertEquals(metrics.initiatorsUsed, INITIATORS_MAX);
  assertEquals(word(metrics.rowOfInitiator(0), ROW_COMMANDS + KIND_READ), 101);
  assertEquals(metrics.macAt(0), undefined);
  // What has no row of its own is its export's all the same.
  assertEquals(word(metrics.rowOfLoad(0), LOAD_READS), 101);
  assertEquals(word(metrics.rowOfExport(0), ROW_COMMANDS + KIND_READ), many);
  assertEquals(new Set(Array.from({ length: 1023 }, (_, i) => metrics.macAt(i + 1))).size, 1023);
});

Deno.test("meter: another export in the same place begins with nothing", () => {
  const { metrics, meter, from, word } = setUp();
  meter.look();
  meter.takeBatch(0, 1);
  meter.takeWork(0, 1, { operation: DRIVE_READ, sector: 0 }, from(7), 0);
  meter.sent(0, 512, false);
  meter.settle();
  metrics.nameExport(1, 4, 2);
  assertEquals(metrics.exportAt(1), { shelf: 4, slot: 2 });
  assertEquals(word(metrics.rowOfExport(1), ROW_COMMANDS), 0);
  assertEquals(word(metrics.rowOfLoad(metrics.loadsUsed - 1), LOAD_READS), 0);
  metrics.forgetExport(1);
  assertEquals(metrics.exportAt(1), undefined);
});

Deno.test("time buckets: a time lies in its bucket, and none is wider than an eighth", () => {
  for (let ms = 0.0005; ms < 60_000; ms *= 1.01) {
    const bucket = timeBucket(ms);
    const begin = bucket === 0 ? 0 : timeBucketEndMs(bucket - 1);
    const end = timeBucketEndMs(bucket);
    assert(begin <= ms && ms < end, `${ms} ms`);
    assert(end - begin <= Math.max(begin / 8, 0.00025) + 1e-12, `${ms} ms`);
  }
  assertEquals(timeBucket(1e12), TIME_BUCKETS - 1);
  assertEquals(timeBucket(-1), 0);
});

Deno.test("time buckets: percentiles are right to within the width of a bucket", () => {
  const counts = new Float64Array(TIME_BUCKETS);
  for (let us = 1; us <= 1000; us++) counts[timeBucket(us / 1000)]!++;
  for (const percent of [1, 50, 90, 99, 100]) {
    const ms = timePercentileMs(counts, percent);
    assert(Math.abs(ms - percent / 100) <= percent / 100 / 8, `${percent} %: ${ms} ms`);
  }
  assertEquals(timePercentileMs(new Float64Array(TIME_BUCKETS), 50), 0);
});
