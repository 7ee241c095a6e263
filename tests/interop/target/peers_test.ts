// The tools of Debian's aoetools accept `aoe serve`, `aoe discover` and `aoe stat` read vblade,
// and what all of them said on the wire is flawless to tshark and to tcpdump.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { bench, sharedTool } from "../../harness/aoebench.ts";
import { ataExchanges, Capture, keepCapture, readCapture } from "../../harness/capture.ts";
import { run, runChecked } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget, startVblade } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

/**
 * The judgement of tshark and tcpdump on a capture.
 * @returns how many ATA requests it holds, all of them answered.
 */
async function assertFlawless(path: string): Promise<number> {
  try {
    return await judge(path);
  } catch (error) {
    throw new Error(`The capture is kept as ${await keepCapture(path)}`, { cause: error });
  }
}

async function judge(path: string): Promise<number> {
  const tshark = ["tshark", "-2", "-r", path];
  const complaints = await runChecked([...tshark, "-Y", "_ws.malformed || _ws.expert"]);
  assertEquals(complaints.stdout, "");
  const names = ["frame.number", "aoe.response", "aoe.response_in", "aoe.response_to"];
  const fields = names.flatMap((name) => ["-e", name]);
  const ata = await runChecked([...tshark, "-Y", "aoe.cmd == 0", "-T", "fields", ...fields]);
  let requests = 0;
  for (const line of ata.stdout.trimEnd().split("\n")) {
    const [frame, response, responseIn, responseTo] = line.split("\t");
    if (/^(1|True)$/.test(response ?? "")) assert(responseTo, `Frame ${frame} answers nothing`);
    else {
      requests++;
      assert(responseIn, `Frame ${frame} has no answer`);
    }
  }
  const text = await runChecked(["tcpdump", "-nn", "-v", "-r", path]);
  assert(!text.stdout.includes("(invalid)"), text.stdout.match(/.*\(invalid\).*/)?.[0]);
  assertEquals(text.stdout.match(/Command: Unknown/g), null);
  // Our own reading of the same bytes must agree with tshark's.
  const exchanges = ataExchanges(await readCapture(path));
  assertEquals(exchanges.length, requests);
  assertEquals(exchanges.filter((exchange) => exchange.answer === undefined), []);
  return requests;
}

interopTest(
  "serve: aoeping, aoecfg and aoe-sancheck accept the target, and the wire is flawless",
  ["aoeping", "aoecfg", "aoe-sancheck", "tshark", "tcpdump", ...sharedTool("aoebench")],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(9000);
    const path = await testbed.image("disk.img", 16 << 20);
    const other = await testbed.image("other.img", 1 << 20);
    await using capture = await Capture.start(initiator, "net0", testbed.path("peers.pcap"));
    await using _serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", path], ["300.200", other]],
    });
    const mac = (await target.mac("net0")).replaceAll(":", "");

    const ping = async (flags: string[], address: string[]) =>
      await initiator.run(["aoeping", "-s", "3", ...flags, ...address, "net0"]);
    const fields = await ping(["-v", "-i", "-I"], ["1", "1"]);
    assertEquals([fields.code, fields.stderr], [0, ""], fields.stdout);
    assertStringIncludes(fields.stdout, "config query response:");
    assertStringIncludes(fields.stdout, `found e1.1 with mac ${mac}`);
    assertMatch(fields.stdout, /serial_number: \S+/);
    assertMatch(fields.stdout, /model: \S+/);
    const dump = await ping(["-i"], ["1", "1"]);
    assertEquals(dump.code, 0);
    const bytes = [...dump.stdout.matchAll(/\b[0-9a-f]{2}\b/g)].map((m) => parseInt(m[0], 16));
    const identify = new DataView(Uint8Array.from(bytes.slice(-512)).buffer);
    assertEquals(identify.getUint32(120, true), (16 << 20) / 512, dump.stdout);
    assertEquals(identify.getBigUint64(200, true), BigInt((16 << 20) / 512));
    assertEquals((await ping([], ["300", "200"])).code, 0);
    assertEquals((await ping([], ["1", "2"])).code === 0, false);
    const smart = await ping(["-S", "return_status"], ["1", "1"]);
    assertEquals([smart.code, /SMART/.test(smart.stderr)], [1, true], smart.stderr);

    // What aoecfg prints: the string, *badcfg* for AoE error 4, nothing without an answer.
    const steps: [command: string, text: string | undefined, printed: string][] = [
      ["read", undefined, "\n"],
      ["test", "x", ""],
      ["prefix", "x", ""],
      ["set", "hello", "hello\n"],
      ["read", undefined, "hello\n"],
      ["set", "other", "*badcfg*\n"],
      ["set", "hello", "hello\n"],
      ["test", "hello", "hello\n"],
      ["test", "hell", ""],
      ["prefix", "hell", "hello\n"],
      ["prefix", "hello!", ""],
      ["fset", "x".repeat(1000), `${"x".repeat(1000)}\n`],
      ["read", undefined, `${"x".repeat(1000)}\n`],
      ["fset", "", "\n"],
      ["read", undefined, "\n"],
      ["set", "after", "after\n"],
    ];
    for (const [command, text, printed] of steps) {
      const string = text === undefined ? [] : ["-s", text];
      const argv = ["aoecfg", "-t", "1", "-c", command, ...string, "1", "1", "net0"];
      const outcome = await initiator.run(argv);
      assertEquals(outcome.stdout, printed, argv.join(" "));
    }
    const all = await initiator.run(["aoecfg", "-t", "1", "65535", "255", "net0"]);
    assertMatch(all.stdout, /^1\.1\tafter$/m);
    assertMatch(all.stdout, /^300\.200\t/m);

    const sancheck = await initiator.runChecked(["aoe-sancheck", "net0"]);
    assertMatch(sancheck.stdout, /^e1\.1\s+1\s+8704\s+net0\s*$/m);
    assertMatch(sancheck.stdout, /^e300\.200\s+1\s+8704\s+net0\s*$/m);

    const at = { iface: "net0", address: "1.1" };
    const mixed = await bench(initiator, at, {
      ...{ mode: "mixed", sectors: 17, window: 8, seconds: 0.1, timeoutMs: 1000 },
    });
    assertEquals([mixed.errors, mixed.mismatches, mixed.retransmissions], [0, 0, 0], mixed.line);
    assertEquals(await capture.stop(), 0);
    assert(await assertFlawless(capture.path) > 60);
  },
);

interopTest(
  "discover and stat: vblade is listed, and the wire is flawless",
  ["vblade", "tshark", "tcpdump"],
  async () => {
    await using testbed = await Testbed.create();
    const hosts = [await testbed.namespace("one"), await testbed.namespace("two")] as const;
    const initiator = await testbed.namespace("initiator");
    await testbed.wire([hosts[0], "net0"], [initiator, "net0"], 9000);
    await testbed.wire([hosts[1], "net0"], [initiator, "net1"], 1500);
    const path = await testbed.image("disk.img", 16 << 20);
    const [one, two] = hosts;
    await using _first = await startVblade(one, { iface: "net0", shelf: 1, slot: 1, path });
    await using _second = await startVblade(two, { iface: "net0", shelf: 1, slot: 1, path });
    await using _third = await startVblade(two, { iface: "net0", shelf: 10, slot: 2, path });
    await using capture = await Capture.start(initiator, "net1", testbed.path("peers.pcap"));
    const aoe = await aoeExecutable();

    const json = async (...argv: string[]) => {
      const outcome = await initiator.runChecked([aoe, ...argv, "--json"]);
      return outcome.stdout.trim().split("\n").flatMap((line) => JSON.parse(line));
    };

    const discovered = await initiator.runChecked([aoe, "discover"]);
    const macs = [await one.mac("net0"), await two.mac("net0")] as const;
    for (
      const [address, iface, mac] of [["e1.1", "net0", 0], ["e1.1", "net1", 1], [
        "e10.2",
        "net1",
        1,
      ]] as const
    ) {
      const line = new RegExp(`${address.replace(".", "\\.")}\\b.*${iface}.*${macs[mac]}`, "m");
      assertMatch(discovered.stdout, line);
    }
    const only = await initiator.runChecked([aoe, "discover", "net1"]);
    assertEquals(only.stdout.includes("net0"), false, only.stdout);
    assertEquals((await json("discover")).length, 3);

    // aoe-stat's columns: %10s %15s %10s %-5s %-14s.
    const stat = await initiator.runChecked([aoe, "stat"]);
    const row = (device: string, ifaces: string, payload: string) =>
      `${device.padStart(10)} ${"0.016GB".padStart(15)} ${ifaces.padStart(10)} ${
        payload.padEnd(5)
      } up`;
    const lines = stat.stdout.trimEnd().split("\n").map((line) => line.trimEnd());
    assertEquals(lines, [row("e1.1", "net0,net1", "1024"), row("e10.2", "net1", "1024")]);
    const named = await initiator.runChecked([aoe, "stat", "e10.2", "-i", "net1"]);
    assertEquals(named.stdout.trimEnd().split("\n").map((line) => line.trimEnd()), [
      row("e10.2", "net1", "1024"),
    ]);
    assertEquals((await json("stat")).length, 2);

    await capture.stop();
    assert(await assertFlawless(capture.path) > 2);

    const nobody = await initiator.run([aoe, "discover", "--timeout", "0.3", "lo"]);
    assertEquals([nobody.code, nobody.stdout], [1, ""], nobody.stderr);
    assertEquals(nobody.stderr.trimEnd().split("\n").length, 1, nobody.stderr);
    assertEquals((await run([aoe, "stat", "e9.9.9"])).code, 2);
  },
);
