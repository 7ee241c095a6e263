// `--capture` and `--drop` as a user meets them: tshark reads what both sides have captured and
// counts what they have counted, and a copy over a wire that loses frames on purpose ends equal.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { keepCapture, readCapture } from "../../harness/capture.ts";
import { runChecked, type RunningProcess } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, serveCommand, startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

const MIB = 2 ** 20;

/** A frame as tshark reads it. */
interface Dissected {
  readonly from: string;
  readonly length: number;
  readonly kept: number;
  readonly answer: boolean;
  /** Of the ATA registers; empty for other commands. */
  readonly ataCommand: string;
  readonly tag: string;
}

/** What tshark makes of a capture, in which it finds nothing wrong and nothing else. */
async function dissect(path: string): Promise<Dissected[]> {
  try {
    const tshark = ["tshark", "-r", path];
    const filter = "_ws.malformed || _ws.expert || !aoe";
    assertEquals((await runChecked([...tshark, "-Y", filter])).stdout, "");
    const names = [
      "eth.src",
      "frame.len",
      "frame.cap_len",
      "aoe.response",
      "aoe.ata.cmd",
      "aoe.tag",
    ];
    const fields = names.flatMap((name) => ["-e", name]);
    const { stdout } = await runChecked([...tshark, "-T", "fields", ...fields]);
    return stdout.trimEnd().split("\n").map((line) => {
      const [from = "", length, kept, response = "", ataCommand = "", tag = ""] = line.split("\t");
      const answer = /^(1|True)$/.test(response);
      return { from, length: Number(length), kept: Number(kept), answer, ataCommand, tag };
    });
  } catch (error) {
    throw new Error(`The capture is kept as ${await keepCapture(path)}`, { cause: error });
  }
}

/** Ends `aoe serve --json`; its last line. */
async function stopped(target: RunningProcess): Promise<Record<string, unknown>> {
  assertEquals((await target.stop()).code, 0, target.text);
  const events = target.text.split("\n").filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
  return events.find(({ event }) => event === "stopped");
}

async function noise(path: string, bytes: number): Promise<void> {
  await runChecked(["sh", "-c", `head -c ${bytes} /dev/urandom > ${path}`]);
}

interopTest("capture: tshark counts what serve and copy have counted", ["tshark"], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(9000);
  const disk = testbed.path("disk.img");
  await noise(disk, 2 * MIB);
  const [atTarget, atCopy] = [testbed.path("target.pcap"), testbed.path("copy.pcap")];
  const serve = target.start(
    await serveCommand({
      interfaces: "net0",
      exports: [["1.1", disk]],
      flags: ["--json", "--capture", atTarget],
    }),
  );
  const serving = JSON.parse((await serve.waitForLine(/^.*"event":"serving".*$/))[0]);
  assertEquals([serving.capture, "drop" in serving], [atTarget, false]);
  const to = testbed.path("copy.img");
  const aoe = await aoeExecutable();
  const copied = JSON.parse(
    (await initiator.runChecked([aoe, "copy", "e1.1", to, "--json", "--capture", atCopy])).stdout,
  );
  await runChecked(["cmp", disk, to]);
  assertEquals(copied.retransmitted, 0);
  const { received, sent } = await stopped(serve);
  const mac = await target.mac("net0");

  const there = await dissect(atTarget);
  assertEquals(there.filter(({ from }) => from === mac).length, sent);
  assertEquals(there.filter(({ from }) => from !== mac).length, received);
  // Data that went straight from the page cache to the wire is known by its length alone.
  const short = there.filter(({ length, kept }) => kept < length);
  assert(short.length > 0, "nothing was gathered");
  for (const { kept, length, answer } of short) {
    assertEquals([kept, answer, (length - 36) % 512], [36, true, 0]);
  }
  // On a wire that loses nothing both have seen the same of the copy, which has it whole.
  const here = await dissect(atCopy);
  assertEquals(here.filter(({ kept, length }) => kept !== length), []);
  const READ_EXT = "0x24";
  const reads = (frames: readonly Dissected[]) =>
    frames.filter(({ ataCommand, answer }) => ataCommand === READ_EXT && !answer);
  assertEquals(reads(here).map(({ tag }) => tag), reads(there).map(({ tag }) => tag));
  assert(reads(here).length >= 2 * MIB / 8704, `${reads(here).length} reads`);
  for (const path of [atTarget, atCopy]) {
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
  }
});

interopTest("capture: each thread of serve has a file of its own", ["tshark"], async () => {
  await using testbed = await Testbed.create();
  const host = await testbed.namespace("host");
  await host.loopback();
  const disks = [await testbed.image("a.img", MIB), await testbed.image("b.img", MIB)];
  const capture = testbed.path("x.pcap");
  const serve = await startTarget(host, {
    interfaces: "lo",
    exports: [["1.1", disks[0]!], ["1.2", disks[1]!]],
    flags: ["--workers", "2", "--capture", capture],
  });
  const aoe = await aoeExecutable();
  await host.runChecked([aoe, "copy", "e1.2", testbed.path("copy.img")]);
  await serve.stop();
  const counts = [];
  for (const i of [1, 2]) {
    const frames = await dissect(`${capture}.${i}`);
    counts.push(frames.filter(({ ataCommand, answer }) => ataCommand === "0x24" && answer).length);
  }
  assertEquals(counts[0], 0);
  assert(counts[1]! > 0);
});

interopTest("capture: its limit, a full disk and a name that is taken", ["tshark"], async () => {
  await using testbed = await Testbed.create();
  const host = await testbed.namespace("host");
  await host.loopback();
  const disk = testbed.path("disk.img");
  await noise(disk, 2 * MIB);
  const small = testbed.path("small");
  await Deno.mkdir(small);
  const mount = `mount -t tmpfs -o size=256k none ${small} && exec "$@"`;
  const serve = await startTarget(host, {
    interfaces: "lo",
    exports: [["1.1", disk]],
    before: ["unshare", "-m", "sh", "-c", mount, "sh"],
    flags: ["--capture", `${small}/x.pcap`],
  });
  const aoe = await aoeExecutable();
  const to = testbed.path("copy.img");
  const capture = testbed.path("x.pcap");
  const words = ["--capture", capture, "--capture-size", "64k"];
  const copy = await host.runChecked([aoe, "copy", "e1.1", to, ...words]);
  await runChecked(["cmp", disk, to]);
  assertStringIncludes(copy.stderr, `"${capture}" has reached 65536 bytes and ends`);
  assert((await Deno.stat(capture)).size <= 65_536);
  // Writes lie in their frames, and are captured whole.
  await noise(to, 2 * MIB);
  await host.runChecked([aoe, "copy", to, "e1.1", "--verify"]);
  await serve.waitForLine(/The capture ".*small\/x.pcap" ends: no space left on device/);
  // What there was room for can be read.
  await dissect(`/proc/${serve.pid}/root${small}/x.pcap`);
  await host.runChecked([aoe, "copy", "e1.1", "/dev/null"]);
  assertEquals((await serve.stop()).code, 0, serve.text);

  const link = testbed.path("link.pcap");
  await Deno.symlink(testbed.path("elsewhere"), link);
  for (const taken of [capture, link]) {
    const flags = ["--capture", taken];
    const { code, stderr } = await host.run(
      await serveCommand({ interfaces: "lo", exports: [["1.1", disk]], flags }),
    );
    assertEquals([code, stderr], [
      1,
      `aoe: "${taken}" exists, and a capture replaces nothing: remove it, or name another file\n`,
    ]);
  }
});

interopTest("capture: commands that ask have their own frames in it", ["tshark"], async () => {
  await using testbed = await Testbed.create();
  const host = await testbed.namespace("host");
  await host.loopback();
  await startTarget(host, {
    interfaces: "lo",
    exports: [["1.1", await testbed.image("disk.img", MIB)]],
  });
  const aoe = await aoeExecutable();
  const QUERY = 1, ATA = 0, MASK = 2, RESERVE = 3;
  const asked: [words: string[], commands: number[]][] = [
    [["discover"], [QUERY, ATA]],
    [["stat", "e1.1"], [QUERY, ATA]],
    [["identify", "e1.1"], [QUERY, ATA]],
    [["config", "e1.1", "set", "node7"], [QUERY, ATA]],
    [["mask", "e1.1", "add", "self"], [QUERY, ATA, MASK]],
    [["reserve", "e1.1", "self"], [QUERY, ATA, RESERVE]],
    [["ping", "e1.1", "-c", "3", "--interval", "0.01"], [QUERY, ATA]],
    [["check", "-c", "1"], [QUERY, ATA]],
  ];
  for (const [words, commands] of asked) {
    const path = testbed.path(`${words[0]}.pcap`);
    await host.runChecked([aoe, ...words, "--capture", path]);
    const frames = await readCapture(path);
    const [requests, answers] = [false, true].map((answer) =>
      frames.filter(({ bytes }) => (bytes[14]! & 8) !== 0 === answer)
    );
    // A question that was answered, and what was answered to it.
    const tags = new Set(requests!.map(({ bytes }) => bytes.slice(20, 24).toHex()));
    const answered = answers!.filter(({ bytes }) => tags.has(bytes.slice(20, 24).toHex()));
    for (const command of commands) {
      const of = (some: typeof frames) => some.some(({ bytes }) => bytes[19] === command);
      assertEquals([of(requests!), of(answered)], [true, true], `${words[0]}: ${command}`);
    }
    assert(frames.every(({ bytes, length }) => bytes.length === length && length >= 60));
  }
  // tshark finds nothing wrong, and every ping.
  assert((await dissect(testbed.path("mask.pcap"))).some(({ answer }) => answer));
  const pings = (await dissect(testbed.path("ping.pcap"))).filter(({ answer }) => answer);
  assert(pings.length >= 4, `${pings.length} answers to three pings and a search`);

  const taken = testbed.path("mask.pcap");
  const { code, stderr } = await host.run([aoe, "discover", "--capture", taken]);
  assertEquals(code, 1);
  assertStringIncludes(stderr, `aoe: "${taken}" exists, and a capture replaces nothing`);
  const lossy = [aoe, "ping", "e1.1", "-c", "100", "--interval", "0.001", "--timeout", "0.2"];
  const lost = await host.runChecked([...lossy, "--drop", "20", "--json"]);
  assertStringIncludes(lost.stderr, "--drop: 20 % of all frames are lost on purpose");
  const summary = JSON.parse(lost.stdout.trimEnd().split("\n").at(-1)!);
  assertEquals([summary.sent, summary.lost > 0, summary.lost < 100], [100, true, true]);
});

interopTest("drop: a copy over a wire that loses frames on both sides ends equal", [], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(9000);
  const disk = await testbed.image("disk.img", 4 * MIB);
  const from = testbed.path("from.img");
  await noise(from, 4 * MIB);
  const serve = await startTarget(target, {
    interfaces: "net0",
    exports: [["1.1", disk]],
    flags: ["--drop", "5"],
  });
  assertMatch(serve.text, /^aoe: .*--drop: 5 % of all frames are lost on purpose/m);
  assertMatch(serve.text, /^Of all frames 5 % ARE LOST/m);
  const aoe = await aoeExecutable();
  const copy = [aoe, "copy", from, "e1.1", "--verify", "--drop", "5"];
  const told = await initiator.runChecked(copy);
  assertStringIncludes(told.stderr, "--drop: 5 % of all frames are lost on purpose");
  assertMatch(told.stdout, /\d+ retransmissions, \d+ frames lost on purpose \(--drop\)/);
  await runChecked(["cmp", from, disk]);
  const back = testbed.path("back.img");
  const words = [aoe, "copy", "e1.1", back, "--drop", "5", "--json"];
  const lines = (await initiator.runChecked(words)).stdout.trimEnd().split("\n");
  const result = JSON.parse(lines.at(-1)!);
  assertEquals([result.event, result.drop, result.lost > 0], ["copied", 5, true]);
  assertStringIncludes(JSON.parse(lines[0]!).text, "lost on purpose");
  await runChecked(["cmp", from, back]);
  const bench = [aoe, "bench", "e1.1", "--runtime", "0.2", "--drop", "5", "--json"];
  const measured = await initiator.runChecked(bench);
  assertEquals(JSON.parse(measured.stdout).aoe.drop, 5);
  assertStringIncludes(measured.stderr, "lost on purpose");
  assertEquals((await serve.stop()).code, 0);
  assertMatch(serve.text, /^Dropped \d+ frames on purpose \(--drop\)\.$/m);
});

interopTest("drop: what makes no sense is refused", [], async () => {
  await using testbed = await Testbed.create();
  const host = await testbed.namespace("host");
  const aoe = await aoeExecutable();
  for (const percent of ["0", "0.001", "99.5", "100", "5%", "-1"]) {
    const { code, stderr } = await host.run([aoe, "copy", "e1.1", "x", "--drop", percent]);
    assertEquals([code, /--drop/.test(stderr)], [2, true], `${percent}: ${stderr}`);
  }
});
