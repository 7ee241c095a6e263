// `aoe bench` as a user meets it: fio's words, fio's JSON, and a disk that is caught forging.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { assertSameBytes } from "../harness/bytes.ts";
import { eventually } from "../harness/process.ts";
import { interopTest } from "../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../harness/target.ts";
import { type Namespace, Testbed } from "../harness/testbed.ts";

const MIB = 2 ** 20;

async function prepare(
  testbed: Testbed,
): Promise<{ host: Namespace; aoe: string; disk: string }> {
  const host = await testbed.namespace("host");
  await host.loopback();
  const disk = await testbed.image("disk.img", 16 * MIB);
  await startTarget(host, { interfaces: "lo", exports: [["1.1", disk]] });
  return { host, aoe: await aoeExecutable(), disk };
}

interopTest("bench: reads only, unless it is told to write", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe, disk } = await prepare(testbed);
  const before = await Deno.readFile(disk);
  const { stdout, stderr } = await host.runChecked([aoe, "bench", "e1.1", "--runtime", "0.5"]);
  assertEquals(stderr, "");
  assertMatch(stdout, /^e1\.1: randread, bs 4\.0 KiB, iodepth 32, 0\.5 s\n/);
  assertMatch(stdout, /\n {2}read: IOPS=[\d.]+k?, BW=/);
  assertMatch(stdout, /\n {5,}1% .*99\.99% /s);
  assertMatch(stdout, /\n {4}< \S+ us .*% #+\n/);
  assert(!stdout.includes("write:"), stdout);
  assertSameBytes(await Deno.readFile(disk), before, "disk");
});

interopTest("bench: JSON with fio's names", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe } = await prepare(testbed);
  const argv = [aoe, "bench", "e1.1", "--rw", "randrw", "--rwmixread", "75", "--bs", "8k"];
  const { stdout } = await host.runChecked([
    ...argv,
    ...["--iodepth", "4", "--runtime", "0.5", "--verify", "--size", "4M", "--json"],
  ]);
  const { jobs: [job], aoe: ours } = JSON.parse(stdout);
  assertEquals([job.jobname, job.error, job["job options"].rw], ["e1.1", 0, "randrw"]);
  for (const side of [job.read, job.write]) {
    assertEquals(side.io_bytes, side.total_ios * 8192);
    assertEquals(side.clat_ns.N, side.total_ios);
    const { min, mean, max, percentile } = side.clat_ns;
    assert(min <= mean && mean <= max && min > 0);
    assert(percentile["50.000000"] <= percentile["99.000000"]);
    assert(percentile["99.990000"] <= max);
    assert(Math.abs(side.iops * side.runtime / 1000 - side.total_ios) < 1);
    assert(side.bw_bytes > 0 && side.bw > 0);
  }
  const share = job.read.total_ios / (job.read.total_ios + job.write.total_ios);
  assert(share > 0.6 && share < 0.9, `${share} of the requests read`);
  assertEquals([ours.mismatches, ours.stopped, ours.bytes], [0, false, 16 * MIB]);
  assert(ours.verifiedBlocks > 0 && ours.verifiedBlocks <= 512);
});

interopTest("bench: what is not as it was written is found, and said", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe, disk } = await prepare(testbed);
  const bench = host.start([
    ...[aoe, "bench", "e1.1", "--rw", "write", "--bs", "4k", "--size", "1M"],
    ...["--runtime", "60", "--verify"],
  ]);
  // Stops before verifying, and tells what it has.
  const first = new Uint8Array(512);
  using file = await Deno.open(disk, { read: true, write: true });
  await eventually("bench writes", async () => {
    await file.seek(0, Deno.SeekMode.Start);
    await file.read(first);
    return first.some((byte) => byte !== 0);
  });
  bench.signal("SIGINT");
  assertEquals((await bench.ended).code, 130, bench.text);
  assertStringIncludes(bench.text, "(interrupted)");
  assertStringIncludes(bench.text, "write: IOPS=");
  // Somebody else writes into the disk again and again.
  let over = false;
  const forger = (async () => {
    while (!over) {
      await file.seek(77 * 512, Deno.SeekMode.Start);
      await file.write(new Uint8Array(512).fill(0xaa));
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  const outcome = await host.run([
    ...[aoe, "bench", "e1.1", "--rw", "randrw", "--size", "256k", "--runtime", "1", "--verify"],
  ]);
  over = true;
  await forger;
  assertEquals(outcome.code, 5, outcome.stdout + outcome.stderr);
  assertMatch(outcome.stderr, /Sector 77 holds something that was not written here/);
  assertMatch(outcome.stderr, /did not hold what was written to them/);
});

interopTest("bench: wrong use is refused in one sentence", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe } = await prepare(testbed);
  const rows: readonly (readonly [string, number, RegExp])[] = [
    ["--verify", 2, /--verify compares what was written/],
    ["--bs 1000", 2, /--bs is a multiple of 512/],
    ["--bs 1M --iodepth 512", 2, /at most 64M/],
    ["--rw erase", 2, /--rw/],
    ["--size 17M --runtime 0.2", 2, /reach beyond its end/],
    ["--offset 16M --runtime 0.2", 2, /holds no block/],
  ];
  for (const [words, code, sentence] of rows) {
    const outcome = await host.run([aoe, "bench", "e1.1", ...words.split(" ")]);
    assertEquals(outcome.code, code, `${words}: ${outcome.stderr}`);
    assertMatch(outcome.stderr, sentence);
  }
  const silent = await host.run([aoe, "bench", "e9.9", "--timeout", "0.3", "--runtime", "0.2"]);
  assertEquals(silent.code, 3);
  assertMatch(silent.stderr, /No answer from e9\.9/);
});
