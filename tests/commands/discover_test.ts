// `aoe discover` on wires made for it: who is listed, who is contested, and what is said when
// nobody is there. vblade plays the targets; tests/interop/target/peers_test.ts looks at the wire.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { quoteConfig } from "../../src/commands/output.ts";
import { interopTest } from "../harness/requirements.ts";
import { aoeExecutable, startTarget, startVblade } from "../harness/target.ts";
import { Testbed } from "../harness/testbed.ts";

Deno.test("discover: config strings are shown so that no terminal is fooled", () => {
  const rows: readonly (readonly [string | Uint8Array, string])[] = [
    ["", ""],
    ["host-7 /dev/sdb", "host-7 /dev/sdb"],
    ["wörld", "wörld"],
    ['say "hi"', 'say "hi"'],
    ['"', '"""'],
    [" x", '" x"'],
    ["x ", '"x "'],
    ["a\nb\0", '"a\\x0ab\\x00"'],
    ["\x1b[31mred", '"\\x1b[31mred"'],
    ["\u009b31m\u202e", '"\\xc2\\x9b31m\\xe2\\x80\\xae"'],
    [new Uint8Array([0xff, 0x41]), '"\\xffA"'],
  ];
  for (const [string, shown] of rows) {
    const bytes = typeof string === "string" ? new TextEncoder().encode(string) : string;
    assertEquals(quoteConfig(bytes), shown);
  }
});

interopTest("discover: the list, in order of addresses, and the same as JSON", [
  "vblade",
  "aoecfg",
], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", 1 << 20);
  await using _ten = await startVblade(target, { iface: "net0", shelf: 10, slot: 0, path });
  await using _two = await startVblade(target, { iface: "net0", shelf: 2, slot: 254, path });
  await initiator.runChecked(["aoecfg", "-t", "2", "-c", "set", "-s", "a\tb", "10", "0", "net0"]);
  const aoe = await aoeExecutable();

  const mac = await target.mac("net0");
  const { stdout, stderr } = await initiator.runChecked([aoe, "discover"]);
  assertEquals(stderr, "");
  const lines = stdout.trimEnd().split("\n").map((line) => line.split(/ {2,}/));
  assertEquals(lines.map((words) => words.slice(0, 3)), [
    ["address", "interface", "mac"],
    ["e2.254", "net0", mac],
    ["e10.0", "net0", mac],
  ]);
  assertEquals(lines[2]?.slice(3), ["16", "2", "0x4019", '"a\\x09b"']);
  assert(stdout.split("\n").every((line) => line.length <= 80), stdout);

  const json = await initiator.runChecked([aoe, "discover", "--json", "-v", "net0", "--timeout=1"]);
  const values = json.stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
  assertEquals(values.length, 2);
  assertEquals(values[1], {
    ...{ address: "e10.0", shelf: 10, slot: 0, interface: "net0", mac },
    ...{ buffers: 16, sectors: 2, firmware: 0x4019, config: "a\tb", configHex: "610962" },
    contested: false,
  });
  assertEquals(json.stderr, "aoe: Asking on net0\n");
});

interopTest("discover: two disks with one address are told apart from one with two cards", [
  "vblade",
], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  await testbed.wire([target, "net1"], [initiator, "net1"], 1500);
  const path = await testbed.image("disk.img", 1 << 20);
  const other = await testbed.image("other.img", 2 << 20);
  await using _serve = await startTarget(target, {
    interfaces: "net0,net1",
    exports: [["3.3", path]],
  });
  const aoe = await aoeExecutable();
  const both = await initiator.runChecked([aoe, "discover"]);
  assertEquals(both.stderr, "");
  assertEquals(both.stdout.match(/^e3\.3 +net[01] /gm)?.length, 2, both.stdout);

  await using _theirs = await startVblade(target, {
    iface: "net0",
    shelf: 3,
    slot: 3,
    path: other,
  });
  const contested = await initiator.runChecked([aoe, "discover", "net0", "net1"]);
  const [net0, net1] = [await target.mac("net0"), await target.mac("net1")];
  assertMatch(contested.stderr, /^aoe: warning: Different disks answer for e3\.3: .*\n$/);
  assertStringIncludes(contested.stderr, `${net0} on net0 (two disks), ${net1} on net1 (serial `);
  const json = await initiator.runChecked([aoe, "discover", "--json"]);
  assertEquals(json.stdout.match(/"contested":true/g)?.length, 2, json.stdout);
});

interopTest("discover: nobody, no such interface, one that is down, and no privilege", [
  "setpriv",
], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  await testbed.wire([target, "net1"], [initiator, "net1"], 1500);
  await initiator.ip("link set net1 down");
  await initiator.ip("tuntap add dev tun0 mode tun");
  const aoe = await aoeExecutable();
  const unprivileged = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"];
  const rows: readonly (readonly [readonly string[], RegExp])[] = [
    [["--timeout", "0.1"], /No target answered on net0 within 0\.1 s \(targets on this host /],
    [["net9"], /No interface is called "net9"; there are "lo" \(down\), .*"net0".* and /],
    [["net0", "net1"], /Interface "net1" is down: ip link set net1 up$/],
    [["tun0"], /Interface "tun0" is not Ethernet; there are /],
  ];
  for (const [words, sentence] of rows) {
    const { code, stdout, stderr } = await initiator.run([aoe, "discover", ...words]);
    assertEquals([code, stdout, stderr.split("\n").length], [1, "", 2], stderr);
    assertMatch(stderr.trimEnd(), sentence);
  }
  const refused = await initiator.run([...unprivileged, aoe, "discover"]);
  assertEquals([refused.code, refused.stdout], [1, ""]);
  assertMatch(
    refused.stderr,
    /^aoe: No CAP_NET_RAW: run as root, or setcap cap_net_raw\+ep \S+\n$/,
  );

  // lo answers for itself only when there is nothing else, or when it is named.
  await initiator.ip("link set net0 down");
  await initiator.loopback();
  const loopback = await initiator.run([aoe, "discover", "--timeout", "0.1"]);
  assertEquals([loopback.code, loopback.stderr], [
    1,
    "aoe: No target answered on lo within 0.1 s\n",
  ]);
  await initiator.ip("link set lo down");
  const nothing = await initiator.run([aoe, "discover"]);
  assertMatch(nothing.stderr, /^aoe: No Ethernet interface is up; there are "lo" \(down\), /);
});

interopTest(
  "discover: our own target on lo is found, and Ctrl-C ends a long wait",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const host = await testbed.namespace("host");
    await host.loopback();
    const path = await testbed.image("disk.img", 1 << 20);
    await using _serve = await startTarget(host, { interfaces: "lo", exports: [["1.1", path]] });
    const aoe = await aoeExecutable();
    const { stdout, stderr } = await host.runChecked([aoe, "discover"]);
    assertMatch(stdout, /^e1\.1 +lo +00:00:00:00:00:00 +64 +127 /m);
    assertEquals(stderr, "");

    const waiting = host.start([aoe, "discover", "-v", "--timeout", "60"]);
    await waiting.waitForLine(/Asking/);
    const { signal } = await waiting.stop("SIGINT", 2_000);
    assertEquals(signal, "SIGINT");
  },
);
