// Interfaces as administrators have them: ports of bridges, alternative names, names that change
// while they are up, cards that go and come back. A kernel with bonding is not needed: a bond's port
// is told from any other interface by the same two attributes of netlink as a bridge's.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { eventually } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, serveCommand, startTarget } from "../../harness/target.ts";
import { type Namespace, Testbed } from "../../harness/testbed.ts";

/** Older kernels rename only what is down. */
async function rename(host: Namespace, before: string, name: string): Promise<void> {
  const { code } = await host.run(["ip", "link", "set", "dev", before, "name", name]);
  if (code === 0) return;
  for (const words of [`${before} down`, `${before} name ${name}`, `${name} up`]) {
    await host.ip(`link set dev ${words}`);
  }
}

interopTest(
  "interfaces: a port of a bridge is refused by name, its bridge serves and asks",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(1500);
    for (const host of [target, initiator]) await host.bridge("br0", ["net0"], 1500);
    const path = await testbed.image("disk.img", 1 << 20);
    const aoe = await aoeExecutable();
    const sentence = "aoe: net0 is a port of br0: name br0\n";
    const refused = await target.run(
      await serveCommand({ interfaces: "net0", exports: [["1.1", path]] }),
    );
    assertEquals([refused.code, refused.stdout, refused.stderr], [1, "", sentence]);
    await using _serve = await startTarget(target, { interfaces: "br0", exports: [["1.1", path]] });
    for (
      const words of [["discover", "net0"], ["identify", "1.1", "-i", "net0"], [
        "bench",
        "1.1",
        "-i",
        "net0",
      ]]
    ) {
      const { code, stdout, stderr } = await initiator.run([aoe, ...words]);
      assertEquals([code, stdout, stderr], [1, "", sentence], words.join(" "));
    }
    // Without a name the bridge is asked alone.
    await eventually(
      "the bridge forwards",
      async () => (await initiator.run([aoe, "discover"])).code === 0,
    );
    const { stdout } = await initiator.runChecked([aoe, "discover", "--json", "-v"]);
    assertEquals(stdout.trimEnd().split("\n").map((line) => JSON.parse(line).interface), ["br0"]);
    const unknown = await initiator.run([aoe, "discover", "eth7"]);
    assertMatch(unknown.stderr, /"net0" \(a port of "br0"\)/);
  },
);

interopTest(
  "interfaces: a target says once that its interface became a port, and serves on after it",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(1500);
    const [one, two] = [
      await testbed.image("one.img", 1 << 20),
      await testbed.image("two.img", 1 << 20),
    ];
    await using serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", one], ["1.2", two]],
      flags: ["--workers", "2"],
    });
    const aoe = await aoeExecutable();
    await target.bridge("br0", ["net0"], 1500);
    const said = /^aoe: .* net0 is a port of br0 now: name br0$/;
    await serve.waitForLine(/net0 is a port of br0/);
    await target.ip("link set dev net0 nomaster");
    await serve.waitForLine(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d net0 is up/);
    await eventually(
      "it answers",
      async () => (await initiator.run([aoe, "identify", "e1.1"])).code === 0,
    );
    await serve.stop();
    assertEquals(serve.errorLines.filter((line) => said.test(line)).length, 1, serve.text);
  },
);

interopTest(
  "interfaces: an initiator says that its interface became a port, and goes on after it",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(1500);
    const path = await testbed.image("disk.img", 1 << 20);
    await using _serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", path]],
    });
    const aoe = await aoeExecutable();
    const bench = initiator.start([aoe, "bench", "1.1", "-i", "net0", "--runtime", "6"]);
    const received = "/sys/class/net/net0/statistics/rx_bytes";
    const bytes = async () => Number((await initiator.runChecked(["cat", received])).stdout);
    await eventually("it reads", async () => (await bytes()) > 100_000);
    await initiator.bridge("br0", ["net0"], 1500);
    await bench.waitForLine(/net0 is a port of br0 now: name br0$/);
    await initiator.ip("link set dev net0 nomaster");
    const before = await bytes();
    await eventually("it reads again", async () => (await bytes()) > before + 1_000_000);
    assertEquals((await bench.ended).code, 0, bench.text);
  },
);

interopTest("interfaces: alternative names are taken, and shown", [], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  const altName = "enp9s0f0np0";
  for (const host of [target, initiator]) {
    await host.ip(
      `link property add dev net0 altname ${altName} altname enxwithmorethan15characters`,
    );
  }
  const path = await testbed.image("disk.img", 1 << 20);
  await using serve = await startTarget(target, { interfaces: altName, exports: [["1.1", path]] });
  const aoe = await aoeExecutable();
  const found = await initiator.runChecked([
    aoe,
    "discover",
    "--json",
    "enxwithmorethan15characters",
  ]);
  assertEquals(JSON.parse(found.stdout).interface, "net0");
  const unknown = await initiator.run([aoe, "discover", "eth7"]);
  assertMatch(unknown.stderr, /"net0" \(also "enp9s0f0np0", also "enxwithmorethan15characters"\)/);
  const [line] = await serve.waitForLine(/^on net0.*/);
  assertMatch(line, /^on net0 \(enp9s0f0np0\) {2}/);
});

interopTest(
  "interfaces: a name that changes while a disk is used changes nothing else",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(1500);
    const path = await testbed.image("disk.img", 1 << 20);
    await using serve = await startTarget(target, { interfaces: "net0", exports: [["1.1", path]] });
    const aoe = await aoeExecutable();
    // Never silent for longer than two seconds: who lost the interface would fail.
    const words = [
      "bench",
      "1.1",
      "-i",
      "net0",
      "--runtime",
      "5",
      "--iodepth",
      "1",
      "--dead-after",
      "2",
    ];
    const bench = initiator.start([aoe, ...words]);
    await eventually(
      "it reads",
      async () =>
        Number((await initiator.ip("-s -o link show net0")).match(/RX:.*?\\\s+(\d+)/)?.[1]) >
          100_000,
    );
    await rename(target, "net0", "lan0");
    await serve.waitForLine(
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d net0 is called lan0 now: served as before$/,
    );
    await rename(initiator, "net0", "san0");
    assertEquals((await bench.ended).code, 0, bench.text);
    assertMatch(bench.errorLines.join("\n"), /net0 is called san0 now/);
    // The lines show the name of now; another card with the old one is nobody's.
    await target.ip("link add net0 type bridge");
    await target.ip("link set dev net0 up");
    await target.ip("link set dev lan0 down");
    await serve.waitForLine(
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d lan0 is down: waiting for it to come back$/,
    );
    await target.ip("link set dev lan0 up");
    await serve.waitForLine(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d lan0 is up/);
    await eventually(
      "it answers",
      async () => (await initiator.run([aoe, "identify", "e1.1"])).code === 0,
    );
  },
);

interopTest(
  "interfaces: a card that is taken out and put back is known by its name",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(1500);
    const path = await testbed.image("disk.img", 1 << 20);
    await using serve = await startTarget(target, { interfaces: "net0", exports: [["1.1", path]] });
    await target.ip("link del net0");
    await serve.waitForLine(
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d net0 is (down|gone): waiting for it to come back$/,
    );
    await testbed.wire([target, "net0"], [initiator, "net0"], 1500);
    await serve.waitForLine(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d net0 is up/);
    const aoe = await aoeExecutable();
    await initiator.runChecked([aoe, "identify", "e1.1", "-i", "net0"]);
  },
);

interopTest(
  "interfaces: what serve says fits 80 columns and tells when, in JSON as well",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(9000);
    const path = await testbed.image("d", 1 << 20);
    await using serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["65534.254", path]],
      flags: ["-v"],
    });
    const json = target.start(
      (await serveCommand({
        interfaces: "net0",
        exports: [["1.2", await testbed.image("e", 512)]],
      }))
        .concat("--json"),
    );
    await json.waitForLine(/"serving"/);
    const aoe = await aoeExecutable();
    await initiator.runChecked([aoe, "copy", "65534.254", "/dev/null", "--length", "1"]);
    await target.ip("link set dev net0 down");
    await serve.waitForLine(/net0 is down/);
    const [event] = await json.waitForLine(/.*"link".*/);
    assert(Math.abs(Date.parse(JSON.parse(event).time) - Date.now()) < 60_000, event);
    assertMatch(JSON.parse(event).time, /^\d{4}-\d\d-\d\dT.*Z$/);
    await json.stop();
    assertEquals((await serve.stop()).code, 0, serve.text);
    assertMatch(
      serve.text,
      /^e65534\.254 {2}\d+ reads? \(.*\), 0 writes \(0 B\), 0 flushes, no errors$/m,
    );
    const long = serve.text.replace(path, "disk.img").split("\n").filter((line) =>
      line.length > 80
    );
    assertEquals(long, []);
  },
);
