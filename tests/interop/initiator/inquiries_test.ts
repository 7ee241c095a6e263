// The commands that ask single questions — identify, ping, config, mask, reserve, check — against
// `aoe serve` and vblade, on wires that are sound, too narrow, and lossy.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { compiledTool, sharedTool } from "../../harness/aoebench.ts";
import { eventually, type Outcome } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget, startVblade } from "../../harness/target.ts";
import { type Namespace, Testbed } from "../../harness/testbed.ts";

const DISK_BYTES = 16 << 20;

/** Runs `aoe` in a namespace; what is shown must fit a terminal, an error is one sentence. */
async function aoe(namespace: Namespace, ...words: string[]): Promise<Outcome> {
  const outcome = await namespace.run([await aoeExecutable(), ...words]);
  const about = `aoe ${words.join(" ")}\n${outcome.stdout}${outcome.stderr}`;
  assertEquals(outcome.timedOut, false, about);
  if (!words.includes("--json")) {
    assert(outcome.stdout.split("\n").every((line) => line.length <= 80), about);
  }
  if (outcome.stderr !== "") assertMatch(outcome.stderr, /^(aoe: [^\n]+[^.\n]\n)+$/, about);
  return outcome;
}

/** Runs `aoe … --json`, which must succeed, and reads its lines. */
async function json(namespace: Namespace, ...words: string[]) {
  const { code, stdout, stderr } = await aoe(namespace, ...words, "--json");
  assertEquals(code, 0, `aoe ${words.join(" ")}\n${stdout}${stderr}`);
  return stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
}

/** e1.1 by `aoe serve` and e2.1 by vblade on one host, both by net0; e1.1 by net1 as well. */
async function twoTargets(testbed: Testbed) {
  const { target, initiator } = await testbed.pair(9000);
  await testbed.wire([target, "net1"], [initiator, "net1"], 1500);
  const path = await testbed.image("disk.img", DISK_BYTES);
  await startTarget(target, { interfaces: "net0,net1", exports: [["1.1", path]] });
  const other = await testbed.image("other.img", DISK_BYTES);
  const vblade = await startVblade(target, { iface: "net0", shelf: 2, slot: 1, path: other });
  return { target, initiator, vblade };
}

interopTest("identify: what disks say, in words, as words, and as JSON", ["vblade"], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await twoTargets(testbed);
  const mac = await target.mac("net0");

  const ours = await aoe(initiator, "identify", "e1.1", "-i", "net0");
  assertEquals([ours.code, ours.stderr], [0, ""]);
  for (
    const line of [
      `e1.1 at ${mac} on net0`,
      "  size             16.0 MiB, 16777216 bytes, 32768 sectors",
      "  addresses        48 bits (LBA48)",
      "  write cache      on: an answered write may be lost until FLUSH",
      "  flush            FLUSH CACHE, FLUSH CACHE EXT",
      "  trim             yes",
      "  physical sector  4096 bytes",
      "  rotation         none (solid state)",
    ]
  ) {
    assert(ours.stdout.split("\n").includes(line), `${line}\n${ours.stdout}`);
  }
  assertMatch(ours.stdout, /^ {2}model {12}\S.*\n {2}serial {11}\S+\n {2}firmware {9}\S+$/m);

  const theirs = await aoe(initiator, "identify", "2.1");
  assertStringIncludes(theirs.stdout, "  model            Coraid EtherDrive vblade\n");
  assertStringIncludes(theirs.stdout, "  flush            FLUSH CACHE\n");
  assertStringIncludes(theirs.stdout, "  rotation         not said\n");

  const raw = await aoe(initiator, "identify", "2.1", "--raw");
  assertMatch(raw.stdout, /^(([0-9a-f]{4} ){7}[0-9a-f]{4}\n){32}$/);
  const words = raw.stdout.trim().split(/\s/).map((word) => parseInt(word, 16));
  const [value] = await json(initiator, "identify", "2.1", "--raw");
  assertEquals(value.words, words);
  assertEquals(words[100]! + words[101]! * 0x10000, DISK_BYTES / 512);
  assertEquals([value.address, value.interface, value.mac], ["e2.1", "net0", mac]);
  assertEquals([value.bytes, value.lba48, value.turnsPerMinute], [DISK_BYTES, true, null]);

  const nobody = await aoe(initiator, "identify", "9.9", "--timeout", "0.2");
  assertEquals([nobody.code, nobody.stdout], [1, ""]);
  assertStringIncludes(nobody.stderr, "aoe: No answer from e9.9 on net0 and net1 within 0.2 s");
});

interopTest("config: what aoecfg can, with a sentence for each refusal", ["vblade"], async () => {
  await using testbed = await Testbed.create();
  const { initiator } = await twoTargets(testbed);
  const long = "x".repeat(1024);
  const steps: readonly (readonly [words: string[], printed: string | RegExp])[] = [
    [[], ""],
    [["read"], ""],
    [["test", "x"], /^aoe: The config string of e\d.1 is "", not "x"$/],
    [["set", "hello"], "hello"],
    [["set", "hello"], "hello"],
    [["set", "other"], /^aoe: e\d.1 has the config string "hello" already, which only force-set /],
    [["test", "hello"], "hello"],
    [["test", "hell"], /^aoe: The config string of e\d.1 is "hello", not "hell"$/],
    [["prefix", "hell"], "hello"],
    [["prefix", "hello!"], /is "hello", and does not begin with "hello!"$/],
    [["force-set", "wörld \u0007"], '"w\\xc3\\xb6rld \\x07"'],
    [["force-set", long], long],
    [["force-set", ""], ""],
    [["set", "after"], "after"],
  ];
  for (const address of ["e1.1", "e2.1"]) {
    for (const [words, printed] of steps) {
      const argv = ["config", address, ...words, "--timeout", "0.4"];
      const outcome = await initiator.run([await aoeExecutable(), ...argv]);
      const about = `aoe ${argv.join(" ")}`;
      if (typeof printed === "string") {
        assertEquals([about, outcome.stdout, outcome.stderr], [about, `${printed}\n`, ""]);
        assertEquals(outcome.code, 0, about);
      } else {
        assertMatch(outcome.stderr.trimEnd(), printed, about);
        assertEquals([outcome.code, outcome.stdout], [1, ""], about);
      }
    }
    assertEquals(await json(initiator, "config", address), [
      { address, config: "after", configHex: "6166746572" },
    ]);
  }
});

interopTest("mask: edits, and nobody locks himself out unasked", ["vblade"], async () => {
  await using testbed = await Testbed.create();
  const { initiator } = await twoTargets(testbed);
  const own = await initiator.mac("net0");
  const other = "52:54:00:12:34:56";
  for (const address of ["e1.1", "e2.1"]) {
    const mask = (...words: string[]) => aoe(initiator, "mask", address, "-i", "net0", ...words);
    assertEquals((await mask()).stdout, `${address} has no mask list: it answers everybody\n`);
    const alone = await mask("add", other);
    assertEquals([alone.code, alone.stdout], [1, ""]);
    assertStringIncludes(alone.stderr, `${address} would not answer this host (${own}) any more`);
    assertEquals((await mask("add", "self", "525400123456")).stdout, `${own}\n${other}\n`);
    assertEquals((await mask("remove", "self")).code, 1);
    assertEquals(await json(initiator, "mask", address, "-i", "net0"), [
      { address, macs: [own, other] },
    ]);
  }
  const ours = (...words: string[]) => aoe(initiator, "mask", "e1.1", "-i", "net0", ...words);
  assertEquals((await ours("remove", other)).stdout, `${own}\n`);
  assertEquals((await ours("remove", other)).stdout, `${own}\n`);
  assertEquals((await ours("clear")).stdout, "e1.1 has no mask list: it answers everybody\n");
  assertEquals((await ours("clear")).code, 0);
  assertEquals((await ours("add", other, "--force")).stdout, `${other}\n`);
  assertEquals((await ours("--timeout", "0.2")).code, 1);
  // vblade 25 confirms a removal that it does not make; that is no reason to believe it.
  const theirs = await aoe(initiator, "mask", "e2.1", "remove", other);
  assertEquals(theirs.code === 0, theirs.stdout === `${own}\n`, theirs.stdout + theirs.stderr);
});

interopTest("reserve: take, give, be refused, force and release", ["vblade"], async () => {
  await using testbed = await Testbed.create();
  const { initiator } = await twoTargets(testbed);
  const own = await initiator.mac("net0");
  const both = `${own}\n${await initiator.mac("net1")}\n`;
  const other = "52:54:00:12:34:56";
  for (const [address, self] of [["e1.1", both], ["e2.1", `${own}\n`]] as const) {
    const reserve = (...words: string[]) =>
      aoe(initiator, "reserve", address, ...words, "--timeout=0.5");
    const free = `${address} is not reserved\n`;
    assertEquals((await reserve()).stdout, free);
    assertEquals((await reserve("self")).stdout, self);
    assertEquals((await reserve("self")).stdout, self);
    assertEquals((await reserve("525400123456")).stdout, `${other}\n`);
    // Asked again, as after a lost answer, it is done already.
    assertEquals((await reserve("525400123456")).stdout, `${other}\n`);
    for (const words of [["self"], ["--release"]]) {
      const refused = await reserve(...words);
      assertEquals([refused.code, refused.stdout], [1, ""]);
      const sentence = `aoe: ${address} is reserved by ${other}; --force takes it from them\n`;
      assertEquals(refused.stderr, sentence);
    }
    assertEquals((await reserve("--force")).stdout, self);
    assertEquals((await reserve("--release")).stdout, free);
    assertEquals((await reserve(other)).stdout, `${other}\n`);
    assertEquals((await reserve("--force", "--release")).stdout, free);
    const [value] = await json(initiator, "reserve", address, "self", "-i", "net0");
    assertEquals(value, { address, holders: [own] });
  }
});

interopTest("ping: every path, a summary, and Ctrl-C", ["vblade"], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator, vblade } = await twoTargets(testbed);
  const macs = [await target.mac("net0"), await target.mac("net1")];
  const ping = await aoe(initiator, "ping", "e1.1", "-c", "3", "--interval", "0.05");
  assertEquals([ping.code, ping.stderr], [0, ""]);
  const lines = ping.stdout.trimEnd().split("\n");
  assertEquals(lines.length, 6 + 4, ping.stdout);
  for (const sequence of [1, 2, 3]) {
    for (const [i, mac] of macs.entries()) {
      assertMatch(ping.stdout, new RegExp(`^net${i} ${mac} #${sequence}: \\d+\\.\\d{3} ms$`, "m"));
    }
  }
  assertMatch(lines.at(-1)!, new RegExp(`^net1 +${macs[1]} +3 +0% +[\\d.]+ +[\\d.]+ +`));

  const values = await json(initiator, "ping", "2.1", "--read", "-c", "2", "--interval", "0.05");
  assertEquals(values.map(({ sequence }) => sequence), [1, 2, undefined]);
  const { medianMs, p99Ms, minMs, maxMs, ...summary } = values[2];
  assertEquals(summary, {
    ...{ address: "e2.1", interface: "net0", mac: macs[0], sent: 2, lost: 0, again: 0 },
    answered: 2,
  });
  assert(0 < minMs && minMs <= medianMs && medianMs <= p99Ms && p99Ms <= maxMs);

  const half = await aoe(initiator, "ping", "2.1", "-c", "1", "-i", "net0", "-i", "net1");
  assertEquals([half.code, half.stderr], [0, "aoe: warning: e2.1 does not answer on net1\n"]);

  const endless = initiator.start([
    ...[await aoeExecutable(), "ping", "2.1", "--interval", "0.05", "--timeout", "0.3"],
  ]);
  await endless.waitForLine(/#2: [\d.]+ ms$/);
  // Who is stopped does not answer; who goes on answers too late.
  vblade.signal("SIGSTOP");
  await endless.waitForLine(/: no answer$/);
  vblade.signal("SIGCONT");
  endless.signal("SIGINT");
  assertEquals((await endless.ended).code, 0);
  assertMatch(
    endless.text,
    /\n--- e2\.1: round trips in ms\ninterface .*\nnet0 .* [1-9]\d*(\.\d)?% /,
  );

  assertEquals((await aoe(initiator, "reserve", "1.1", "525400123456")).code, 0);
  const refused = await aoe(initiator, "ping", "1.1", "-c", "1", "--read");
  assertStringIncludes(refused.stdout, "ms (refused: target is reserved)\n");
});

interopTest("check: a sound network, jumbo and not", ["vblade"], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await twoTargets(testbed);
  const check = await aoe(initiator, "check");
  assertEquals([check.code, check.stderr], [0, ""], check.stdout);
  assertMatch(check.stdout, /^e1\.1 +net0 .* 9014 +17 +0% +0% +[\d.]+ ms$/m);
  assertMatch(check.stdout, /^e1\.1 +net1 .* 1514 +2 +0% +0% /m);
  assertMatch(check.stdout, /^e2\.1 +net0 .* 9014 +17 +0% +0% /m);
  assertMatch(check.stdout, /\nAll is well\n$/);
  const values = await json(initiator, "check", "net0", "-c", "10");
  assertEquals(values.map((value) => value.interface), ["net0", "net0", "net0"]);
  assertEquals([values[1].usableBytes, values[1].usableSectors], [9014, 17]);
  assertEquals(values[1].single, { sent: 10, lost: 0, again: 0 });

  const image = await testbed.image("lo.img", DISK_BYTES);
  await target.loopback();
  await startTarget(target, { interfaces: "lo", exports: [["7.1", image]] });
  const loopback = await aoe(target, "check", "lo");
  assertEquals(loopback.code, 0, loopback.stdout);
  assertMatch(loopback.stdout, /^e7\.1 +lo +00:00:00:00:00:00 +65550 +127 +0% /m);

  await initiator.loopback();
  const nobody = await aoe(initiator, "check", "lo", "--timeout", "0.2");
  assertEquals(nobody.code, 1);
  assertStringIncludes(nobody.stdout, "problem: Nobody answers on lo.");
});

interopTest("check: MTUs that differ, and two disks with one address", ["vblade"], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await twoTargets(testbed);
  const problems = async (...words: string[]) => {
    const { code, stdout } = await aoe(initiator, "check", ...words, "-c", "10", "--json");
    const values = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
    const kinds: string[] = values.flatMap(({ problem }) => problem === undefined ? [] : [problem]);
    assertEquals(code, kinds.length === 0 ? 0 : 1, stdout);
    return kinds;
  };
  await initiator.ip("link set dev net1 mtu 9000");
  assertEquals(await problems("net1"), ["mtu-mismatch"]);
  const narrow = await aoe(initiator, "check", "net1", "-c", "10");
  const sentence = narrow.stdout.replace(/\s+/g, " ");
  assertMatch(sentence, /MTU of 9000 has room for 17\. Raise the MTU of the target to 9000 $/);

  await target.ip("link set dev net1 mtu 9000");
  await initiator.ip("link set dev net1 mtu 1500");
  await eventually("the target sees its MTU", async () => {
    const [value] = await json(initiator, "discover", "net1");
    return value.sectors === 17;
  });
  assertEquals(await problems("net1"), ["mtu-mismatch"]);
  await target.ip("link set dev net1 mtu 1500");

  const path = await testbed.image("double.img", 2 * DISK_BYTES);
  await using _double = await startVblade(target, { iface: "net0", shelf: 1, slot: 1, path });
  assertEquals(await problems("net0"), ["contested-address"]);
  const set = await aoe(initiator, "config", "e1.1", "set", "x", "-i", "net0");
  assertEquals([set.code, set.stdout], [1, ""]);
  assertMatch(set.stderr, /^aoe: Different disks answer for e1\.1: /);
});

interopTest("check: a narrow switch in between", ["vblade"], async () => {
  await using testbed = await Testbed.create();
  const target = await testbed.namespace("target");
  const middle = await testbed.namespace("switch");
  const initiator = await testbed.namespace("initiator");
  await testbed.wire([target, "net0"], [middle, "left"], 9000);
  await testbed.wire([initiator, "net0"], [middle, "right"], 9000);
  // Two switches and a wire that carries 1500: what is larger vanishes without a word.
  await testbed.wire([middle, "near"], [middle, "far"], 1500);
  await middle.bridge("br0", ["left", "near"], 1500);
  await middle.bridge("br1", ["right", "far"], 1500);
  const path = await testbed.image("disk.img", DISK_BYTES);
  await startTarget(target, { interfaces: "net0", exports: [["1.1", path]] });
  const other = await testbed.image("other.img", DISK_BYTES);
  await startVblade(target, { iface: "net0", shelf: 2, slot: 1, path: other });
  await eventually(
    "the bridges forward",
    async () => (await aoe(initiator, "stat", "e1.1", "--timeout", "0.3")).code === 0,
  );
  const check = await aoe(initiator, "check", "-c", "10");
  assertEquals(check.code, 1);
  assertMatch(check.stdout, /^e1\.1 .* 151[48] +2 +0% +0% /m);
  assertMatch(check.stdout, /^e2\.1 .* 151[48] +2 +0% +0% /m);
  assertEquals(check.stdout.match(/problem:/g)?.length, 1, check.stdout);
  const text = check.stdout.replace(/\s+/g, " ");
  assertMatch(text, /Frames over 151[48] bytes vanish between net0 and e1\.1 and e2\.1 at /);
  assertStringIncludes(text, "lower that of both ends to 1500");
});

interopTest("questions and check on a lossy wire", sharedTool("lossybridge"), async () => {
  await using testbed = await Testbed.create();
  const target = await testbed.namespace("target");
  const middle = await testbed.namespace("middle");
  const initiator = await testbed.namespace("initiator");
  await testbed.wire([target, "net0"], [middle, "left"], 9000);
  await testbed.wire([initiator, "net0"], [middle, "right"], 9000);
  const path = await testbed.image("disk.img", DISK_BYTES);
  await startTarget(target, { interfaces: "net0", exports: [["1.1", path]] });
  const lossy = await compiledTool("lossybridge");
  // Percent dropped, doubled, delayed, and by how many milliseconds at most.
  middle.start([lossy, "left", "right", "10", "5", "20", "50", "1"]);
  const own = await initiator.mac("net0");
  for (let round = 0; round < 5; round++) {
    const string = `round ${round}`;
    assertStringIncludes((await aoe(initiator, "identify", "1.1")).stdout, "32768 sectors");
    assertEquals(
      (await aoe(initiator, "config", "1.1", "force-set", string)).stdout,
      `${string}\n`,
    );
    assertEquals((await aoe(initiator, "mask", "1.1", "add", "self")).stdout, `${own}\n`);
    assertEquals((await aoe(initiator, "mask", "1.1", "clear")).code, 0);
    assertEquals((await aoe(initiator, "reserve", "1.1", "self")).stdout, `${own}\n`);
    assertEquals((await aoe(initiator, "reserve", "1.1", "--release")).code, 0);
  }
  const ping = await json(initiator, "ping", "1.1", "-c", "200", "--interval", "0.005");
  const { sent, lost, again } = ping.at(-1);
  assert(sent === 200 && lost > 5 && lost < 100 && again > 0, JSON.stringify(ping.at(-1)));
  const check = await aoe(initiator, "check");
  assertEquals(check.code, 1);
  assertMatch(check.stdout, /^e1\.1 .* 9014 +17 +[1-9]/m);
  const text = check.stdout.replace(/\s+/g, " ");
  assertMatch(text, /problem: \d+ of 100 single requests were lost between net0 and e1\.1 at /);
  assertMatch(text, /problem: \d+ answers? came twice /);
});
