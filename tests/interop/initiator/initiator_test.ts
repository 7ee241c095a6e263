// The initiator on bad networks, against our own target and vblade: whatever is lost, sent twice or
// late, cut, stopped or killed, not one byte differs in the end. Everything goes through `aoe copy`
// and `aoe bench --verify`, and the images are looked at directly besides.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { compiledTool, sharedTool } from "../../harness/aoebench.ts";
import { runChecked, type RunningProcess, sleep } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget, startVblade } from "../../harness/target.ts";
import { type Namespace, Testbed } from "../../harness/testbed.ts";

const MIB = 2 ** 20;
/** Of the tested disk; no multiple of what any frame carries. */
const DISK_BYTES = 8 * MIB + 1536;
const ADDRESS = "e3.4";

/** One network. */
interface Network {
  readonly label: string;
  readonly mtu: number;
  /** Percentages of lost frames, and of those sent twice and those that are late. */
  readonly loss?: number;
  readonly twice?: number;
  readonly late?: number;
  readonly lateMs?: number;
  /** Of the commands: how they receive. By a ring of shared memory, unless told. */
  readonly flags?: readonly string[];
}

const targets = ["aoe serve", "vblade"] as const;

function startPeer(
  namespace: Namespace,
  peer: (typeof targets)[number],
  iface: string,
  path: string,
): Promise<RunningProcess> {
  return peer === "vblade"
    ? startVblade(namespace, { iface, shelf: 3, slot: 4, path })
    : startTarget(namespace, { interfaces: iface, exports: [["3.4", path]] });
}

/** A file of random bytes. */
async function noiseFile(testbed: Testbed, name: string, bytes: number): Promise<string> {
  const path = testbed.path(name);
  await runChecked(["sh", "-c", `head -c ${bytes} /dev/urandom > ${path}`]);
  return path;
}

/** The target's host, the initiator's, and between them a bridge that loses frames, if asked. */
async function network(
  testbed: Testbed,
  { mtu, loss = 0, twice = 0, late = 0, lateMs = 0 }: Network,
): Promise<{ target: Namespace; initiator: Namespace; bridge: RunningProcess | undefined }> {
  if (loss + twice + late === 0) return { ...await testbed.pair(mtu), bridge: undefined };
  const target = await testbed.namespace("target");
  const middle = await testbed.namespace("middle");
  const initiator = await testbed.namespace("initiator");
  await testbed.wire([target, "net0"], [middle, "left"], mtu);
  await testbed.wire([middle, "right"], [initiator, "net0"], mtu);
  const bridge = middle.start([
    ...[await compiledTool("lossybridge"), "left", "right"],
    ...[loss, twice, late, lateMs, 7].map(String),
  ]);
  return { target, initiator, bridge };
}

/** Copies there with reading back, and back again; the image is what was sent. */
async function copyBothWays(
  testbed: Testbed,
  initiator: Namespace,
  image: string,
  flags: readonly string[] = [],
): Promise<{ retransmitted: number; seconds: number }> {
  const aoe = await aoeExecutable();
  const source = await noiseFile(testbed, "source", DISK_BYTES);
  const back = testbed.path("back");
  const options = { timeoutMs: 60_000 };
  const there = await initiator.runChecked(
    [aoe, "copy", source, ADDRESS, "--verify", "--json", ...flags],
    options,
  );
  await runChecked(["cmp", source, image]);
  const here = await initiator.runChecked(
    [aoe, "copy", ADDRESS, back, "--json", ...flags],
    options,
  );
  await runChecked(["cmp", source, back]);
  const results = [there, here].map(({ stdout }) =>
    JSON.parse(stdout.trim().split("\n").at(-1) ?? "")
  );
  assertEquals(results[0].verified, true);
  return {
    retransmitted: results[0].retransmitted + results[1].retransmitted,
    seconds: results[0].seconds + results[1].seconds,
  };
}

/** Random reads and writes that overlap in time, all checked. */
async function benchVerified(
  initiator: Namespace,
  seconds: number,
  flags: readonly string[] = [],
): Promise<BenchCounts> {
  const { stdout } = await initiator.runChecked([
    ...[await aoeExecutable(), "bench", ADDRESS, "--rw", "randrw", "--bs", "12k"],
    ...["--runtime", `${seconds}`, "--size", "2M", "--verify", "--json", ...flags],
  ], { timeoutMs: 60_000 });
  return benchResult(stdout);
}

/** What a measurement counted. */
interface BenchCounts {
  readonly retransmitted: number;
  readonly requests: number;
  /** Frames that came and found no room. */
  readonly kernelDrops: number;
}

function benchResult(stdout: string): BenchCounts {
  const { jobs: [job], aoe } = JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
  assertEquals([job.error, aoe.mismatches], [0, 0]);
  assert(aoe.verifiedBlocks > 0, "something was read back");
  return {
    retransmitted: aoe.retransmitted,
    kernelDrops: aoe.kernelDrops,
    requests: job.read.total_ios + job.write.total_ios,
  };
}

const clean: readonly Network[] = [
  { label: "MTU 1500", mtu: 1500 },
  { label: "MTU 9000", mtu: 9000 },
  { label: "MTU 9000, without a ring", mtu: 9000, flags: ["--no-ring"] },
];

const lossy: readonly Network[] = [
  { label: "1 % loss", mtu: 9000, loss: 1, twice: 1, late: 1, lateMs: 50 },
  { label: "5 % loss", mtu: 1500, loss: 5, twice: 2, late: 2, lateMs: 50, flags: ["--no-ring"] },
  { label: "10 % loss", mtu: 9000, loss: 10, twice: 5, late: 5, lateMs: 50 },
];

for (const peer of targets) {
  for (const net of clean) {
    interopTest(
      `initiator: not a byte differs with ${peer} at ${net.label}`,
      peer === "vblade" ? ["vblade"] : [],
      async () => {
        await using testbed = await Testbed.create();
        const { target, initiator } = await network(testbed, net);
        const image = await testbed.image("disk.img", DISK_BYTES);
        await startPeer(target, peer, "net0", image);
        await copyBothWays(testbed, initiator, image, net.flags);
        await benchVerified(initiator, 0.5, net.flags);
      },
    );
  }

  for (const net of lossy) {
    interopTest(
      `initiator: not a byte differs with ${peer} at ${net.label}, repeats and reordering`,
      [...sharedTool("lossybridge"), ...(peer === "vblade" ? ["vblade" as const] : [])],
      async () => {
        await using testbed = await Testbed.create();
        const { target, initiator, bridge } = await network(testbed, net);
        const image = await testbed.image("disk.img", DISK_BYTES);
        await startPeer(target, peer, "net0", image);
        const copied = await copyBothWays(testbed, initiator, image, net.flags);
        const measured = await benchVerified(initiator, 1, net.flags);
        await bridge!.stop();
        const counts = bridge!.text.match(/dropped (\d+) duplicated (\d+) delayed (\d+)/);
        assert(counts?.slice(1).every((count) => Number(count) > 10), bridge!.text);
        assert(copied.retransmitted > 10, "Nothing was retransmitted");
        assert(measured.requests > 50, `Only ${measured.requests} requests in a second`);
      },
    );
  }
}

interopTest("initiator: a ring of six slots overflows all the time, and not a byte differs", [
  ...sharedTool("lossybridge"),
], async () => {
  await using testbed = await Testbed.create();
  const net = { label: "", mtu: 9000, loss: 1, twice: 1, late: 1, lateMs: 20 };
  const { target, initiator } = await network(testbed, net);
  const image = await testbed.image("disk.img", DISK_BYTES);
  await startTarget(target, {
    interfaces: "net0",
    exports: [["3.4", image]],
    flags: ["--buffers", "256"],
  });
  const flags = ["--ring-slots", "6"];
  await copyBothWays(testbed, initiator, image, flags);
  const { kernelDrops } = await benchVerified(initiator, 1, [...flags, "--iodepth", "128"]);
  assert(kernelDrops > 10, `Only ${kernelDrops} frames found the ring full`);
});

interopTest("initiator: says once that there is no memory for a ring", [], async () => {
  await using testbed = await Testbed.create();
  const host = await testbed.namespace("host");
  // One slot would be more than a whole ring may be.
  await host.runChecked(["ip", "link", "set", "lo", "mtu", "17000000", "up"]);
  const aoe = await aoeExecutable();
  const bench = host.start([aoe, "bench", ADDRESS, "--timeout", "0.3", "-i", "lo"]);
  assertEquals((await bench.ended).code, 3, bench.text);
  const told = "Frames are received by system calls, which is slower: " +
    "Receive by a ring of shared memory: out of memory (ENOMEM)";
  assertEquals(bench.text.split(told).length, 2, bench.text);
});

interopTest("initiator: not a byte differs on lo", [], async () => {
  await using testbed = await Testbed.create();
  const host = await testbed.namespace("host");
  await host.loopback();
  const image = await testbed.image("disk.img", DISK_BYTES);
  await startPeer(host, "aoe serve", "lo", image);
  await copyBothWays(testbed, host, image);
  await benchVerified(host, 0.5);
});

interopTest("initiator: every command sent again after 0.5 ms, and still not a byte differs", [
  ...sharedTool("lossybridge"),
], async () => {
  await using testbed = await Testbed.create();
  // Answers take longer than that, so that nearly all is sent twice and more.
  const net = { label: "", mtu: 9000, loss: 1, twice: 1, late: 20, lateMs: 5 };
  const { target, initiator } = await network(testbed, net);
  const image = await testbed.image("disk.img", DISK_BYTES);
  await startPeer(target, "aoe serve", "net0", image);
  const flags = ["--retransmit-ms", "0.5"];
  const { retransmitted } = await copyBothWays(testbed, initiator, image, flags);
  assert(retransmitted > 100, `Only ${retransmitted} retransmissions`);
  await benchVerified(initiator, 1, flags);
});

interopTest("initiator: one of two paths is cut and comes back during a copy", [], async () => {
  await using testbed = await Testbed.create();
  const target = await testbed.namespace("target");
  const initiator = await testbed.namespace("initiator");
  for (const name of ["net0", "net1"]) {
    await testbed.wire([target, name], [initiator, name], 1500);
  }
  const image = await testbed.image("disk.img", 64 * MIB);
  await startTarget(target, { interfaces: "net0,net1", exports: [["3.4", image]] });
  const source = await noiseFile(testbed, "source", 64 * MIB);
  const aoe = await aoeExecutable();
  // Reads that go on throughout: the slowest is the stall. Writes may take longer, since one that
  // overlaps an older one waits until no copy of that can be on its way any more.
  const bench = initiator.start([
    ...[aoe, "bench", ADDRESS, "--offset", "32M", "--runtime", "6", "--json"],
    ...["-i", "net0", "-i", "net1"],
  ]);
  const copy = initiator.start([
    ...[aoe, "copy", source, ADDRESS, "--length", "32M", "--verify", "--json"],
    ...["-i", "net0", "-i", "net1"],
  ]);
  await sleep(1500);
  // Nobody is told of this cut: the frames just vanish.
  await target.runChecked(["ip", "link", "set", "net1", "down"]);
  await sleep(1500);
  await target.runChecked(["ip", "link", "set", "net1", "up"]);
  assertEquals((await copy.ended).code, 0, copy.text);
  assertEquals((await bench.ended).code, 0, bench.text);
  await runChecked(["cmp", "-n", `${32 * MIB}`, source, image]);
  assertMatch(bench.text, /the path to \S+ on net1 is lost/);
  assertMatch(bench.text, /the path to \S+ on net1 is back/);
  const stdout = bench.lines.filter((line) => line.stream === "stdout").at(-1)?.text ?? "";
  const { jobs: [job], aoe: ours } = JSON.parse(stdout);
  assertEquals([job.error, ours.pathsUp], [0, 2]);
  const slowestMs = job.read.clat_ns.max / 1e6;
  assert(slowestMs < 1000, `The slowest request took ${slowestMs} ms`);
});

interopTest(
  "initiator: bench --verify outlives a target that stops, dies and returns",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(9000);
    const image = await testbed.image("disk.img", DISK_BYTES);
    const first = await startPeer(target, "aoe serve", "net0", image);
    const bench = initiator.start([
      ...[await aoeExecutable(), "bench", ADDRESS, "--rw", "randrw", "--verify", "--json"],
      ...["--size", "8M", "--runtime", "8"],
    ]);
    await sleep(1200);
    first.signal("SIGSTOP");
    await sleep(3000);
    first.signal("SIGCONT");
    await sleep(1000);
    await first.stop("SIGKILL", 0);
    await sleep(500);
    await startPeer(target, "aoe serve", "net0", image);
    assertEquals((await bench.ended).code, 0, bench.text);
    const stdout = bench.lines.filter((line) => line.stream === "stdout").at(-1)?.text ?? "";
    const { requests } = benchResult(stdout);
    assert(requests > 1000, `Only ${requests} requests`);
    assertStringIncludes(bench.text, "is lost");
  },
);
