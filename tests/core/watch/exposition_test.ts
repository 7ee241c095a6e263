// What Prometheus is told: the two formats, and a target's numbers in them.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { DRIVE_READ, DRIVE_WRITE } from "../../../src/core/target/drive.ts";
import { TargetMeter } from "../../../src/core/target/meter.ts";
import { INITIATORS_MAX, TargetMetrics } from "../../../src/core/target/metrics.ts";
import {
  binaryEndsMs,
  CoarseTimes,
  Exposition,
  labelsOf,
  wantsOpenMetrics,
} from "../../../src/core/watch/exposition.ts";
import { exposeSnapshot } from "../../../src/core/watch/families.ts";
import type { Snapshot } from "../../../src/core/watch/snapshot.ts";
import { readTarget } from "../../../src/core/watch/target_reading.ts";
import { TIME_WORDS, timeBucket } from "../../../src/core/time_buckets.ts";
import { COMMAND_ATA, writeAoeHeader } from "../../../src/wire/aoe.ts";

/** A snapshot of threads that have served so many exports to so many initiators. */
function snapshotOf(exports: number, initiators: number, path: (address: string) => string) {
  const threads = [0, 1].map((thread) => {
    const own = Array.from({ length: exports / 2 }, (_, i) => ({ shelf: thread, slot: i }));
    const shared = TargetMetrics.allocate(own.length, 1);
    const metrics = TargetMetrics.named(shared, own, ["eth0"]);
    const clock = { ms: 0, nowMs: () => clock.ms };
    const meter = new TargetMeter(metrics, 1, clock);
    const frame = new Uint8Array(60);
    meter.takeBatch(0, 1);
    for (let i = 0; i < own.length; i++) {
      for (let one = 0; one < initiators; one++) {
        const mac = Uint8Array.of(2, 1, 0, 0, one >> 8, one & 255);
        const header = { flags: 0, shelf: thread, slot: i, command: COMMAND_ATA, tag: one };
        writeAoeHeader(frame, 0, mac, mac, header);
        for (const operation of [DRIVE_READ, DRIVE_WRITE]) {
          meter.takeWork(0, i, { operation, sector: one }, frame, 0);
          meter.diskBegins(0);
          clock.ms += (one % 97 + 1) / 10;
          meter.look();
          meter.diskEnds(0);
          meter.sent(0, 1024, false);
        }
      }
    }
    meter.settle();
    return metrics;
  });
  return {
    ...{ version: "1", name: "", pid: 1, startedMs: 1000, atMs: 2000, disks: [] },
    ...readTarget(threads, path),
  } satisfies Snapshot;
}

Deno.test("exposition: Prometheus' text, and OpenMetrics where that is asked for", () => {
  assert(wantsOpenMetrics("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"));
  assert(!wantsOpenMetrics("application/openmetrics-text;q=0.3, text/plain"));
  assert(!wantsOpenMetrics("text/html"));
  assert(!wantsOpenMetrics(null));
  const text = (openMetrics: boolean) => {
    const out = new Exposition(openMetrics);
    out.family("aoe_reads_total", "counter", "Line\nand \\.");
    out.sample(labelsOf(["export", "e1.1"]), 3);
    out.family("aoe_answer_seconds", "histogram", "Time.");
    out.histogram(labelsOf(["a", "b"]), [1, 0, 2], [0.5, 1], 4.25);
    return out.text();
  };
  assertEquals(
    text(false),
    "# HELP aoe_reads_total Line\\nand \\\\.\n# TYPE aoe_reads_total counter\n" +
      'aoe_reads_total{export="e1.1"} 3\n' +
      "# HELP aoe_answer_seconds Time.\n# TYPE aoe_answer_seconds histogram\n" +
      'aoe_answer_seconds_bucket{a="b",le="0.5"} 1\n' +
      'aoe_answer_seconds_bucket{a="b",le="1.0"} 1\n' +
      'aoe_answer_seconds_bucket{a="b",le="+Inf"} 3\n' +
      'aoe_answer_seconds_sum{a="b"} 4.25\naoe_answer_seconds_count{a="b"} 3\n',
  );
  assertStringIncludes(text(true), "# TYPE aoe_reads counter\naoe_reads_total{");
  assertMatch(text(true), /\n# EOF\n$/);
});

Deno.test("exposition: strings of others are escaped, and nothing in them is unseen", () => {
  const hostile = 'a"} 1\n\\\x1b[31m\u202e<b>\ud800\r';
  const text = exposeSnapshot(snapshotOf(2, 1, () => hostile), false);
  const line = text.split("\n").find((one) => one.includes('e0.0",path='));
  assertEquals(
    line,
    'aoe_target_export_info{export="e0.0",path="a\\"} 1\\\\u{a}\\\\\\\\u{1b}[31m\\\\u{202e}<b>' +
      '\\\\u{d800}\\\\u{d}"} 1',
  );
  for (const one of text.trimEnd().split("\n")) {
    assertMatch(one, /^(# (HELP|TYPE) \w+ .+|\w+(\{(\w+="([^"\\]|\\.)*",?)+\})? [\d.e+-]+)$/);
  }
});

Deno.test("exposition: a coarse bucket has what the fine ones in it have", () => {
  const coarse = new CoarseTimes(binaryEndsMs(5, 23, 1));
  const times = new Float64Array(TIME_WORDS);
  for (const ms of [0.001, 0.031, 0.033, 1.02, 1.03, 70_000]) times[timeBucket(ms)]!++;
  const counts = coarse.fold(times);
  assertEquals(coarse.ends.slice(0, 3), [0.000032, 0.000064, 0.000128]);
  assertEquals(counts.slice(0, 6), [2, 1, 0, 0, 0, 1]);
  assertEquals(counts.at(-1), 1);
  assertEquals(counts.reduce((sum, count) => sum + count), 6);
});

Deno.test("exposition: each command is in one export, one interface and one initiator", () => {
  const snapshot = snapshotOf(4, 3, (address) => `/srv/${address}`);
  const text = exposeSnapshot(snapshot, false);
  const sum = (name: string) =>
    text.split("\n").filter((line) => line.startsWith(`${name}{`))
      .reduce((total, line) => total + Number(line.split(" ").at(-1)), 0);
  for (const  of of["", "_interface", "_initiator"]) {
    assertEquals(sum(`aoe_target${of}_commands_total`), 24, of);
    assertEquals(sum(`aoe_target${of}_read_bytes_total`), 12 * 1024, of);
    assertEquals(sum(`aoe_target${of}_disk_commands_total`), 24, of);
    // Two threads, two exports each, of each initiator a read and a write.
    const ms = 8 * (0.1 + 0.2 + 0.3);
    const share = sum(`aoe_target${of}_disk_command_seconds_total`);
    assert(Math.abs(share - ms / 1000) < 1e-9, `${of}: ${share} s at the disk`);
  }
  assertEquals(sum("aoe_target_load_commands_total"), 24);
  assertEquals(sum("aoe_target_answer_seconds_count"), 24);
  assertEquals(sum("aoe_target_interface_answer_seconds_count"), 24);
  assertStringIncludes(text, '{initiator="02:01:00:00:00:02",kind="read"} 4\n');
});

Deno.test("exposition: 200 exports and 500 initiators are under 3 MB, more than there are rows too", () => {
  const snapshot = snapshotOf(200, 500, (address) => `/srv/images/${address}.img`);
  const text = exposeSnapshot(snapshot, false);
  assert(text.length < 3e6, `${text.length} bytes`);
  const crowd = snapshotOf(200, INITIATORS_MAX + 10, (address) => address);
  assertStringIncludes(exposeSnapshot(crowd, false), 'initiator="other"');
});
