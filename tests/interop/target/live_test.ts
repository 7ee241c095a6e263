// Exports and interfaces that come, go and change while others are under load: those lose nothing.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { benchResult, benchSector, sharedTool, startBench } from "../../harness/aoebench.ts";
import type { BenchResult } from "../../harness/aoebench.ts";
import { startLiveTarget } from "../../harness/live_target.ts";
import type { LiveTarget } from "../../harness/live_target.ts";
import { eventually, sleep } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable } from "../../harness/target.ts";
import { type Namespace, Testbed } from "../../harness/testbed.ts";

/** Sectors that are under load. */
const SPAN_SECTORS = 2048;
const IMAGE_BYTES = SPAN_SECTORS * 512;

/** A load of reads and writes until `isOver`, and looks at all that was written. */
async function load(
  initiator: Namespace,
  address: string,
  isOver: () => boolean,
): Promise<BenchResult[]> {
  // A machine that is busy with others takes its time, and nothing is lost for that.
  const options = {
    ...{ sectors: 2, window: 16, spanSectors: SPAN_SECTORS, timeoutMs: 5_000 },
  } as const;
  const at = { iface: "net0", address };
  const results: BenchResult[] = [];
  do {
    for (const mode of ["mixed", "verify"] as const) {
      results.push(
        await benchResult(await startBench(initiator, at, { ...options, mode, seconds: 3 })),
      );
    }
  } while (!isOver());
  return results;
}

/** An image that holds what the load writes. */
async function filledImage(testbed: Testbed, name: string): Promise<string> {
  const path = await testbed.image(name, IMAGE_BYTES);
  const content = new Uint8Array(IMAGE_BYTES);
  for (let lba = 0; lba < SPAN_SECTORS; lba++) content.set(benchSector(lba), 512 * lba);
  await Deno.writeFile(path, content);
  return path;
}

/** Nothing went wrong, and no frame had to be sent twice. */
function assertUndisturbed(results: readonly BenchResult[]): void {
  for (const { errors, mismatches, retransmissions, done, line } of results) {
    assertEquals([errors, mismatches, retransmissions], [0, 0, 0], line);
    assert(done >= SPAN_SECTORS / 2, line);
  }
}

async function answers(initiator: Namespace, address: string, iface = "net0"): Promise<boolean> {
  const words = ["identify", address, "-i", iface, "--timeout", "0.3"];
  return (await initiator.run([await aoeExecutable(), ...words])).code === 0;
}

async function commandsOf(live: LiveTarget, address: string): Promise<number> {
  return (await live.do({ ask: "look", address })).commands!;
}

interopTest(
  "live: 200 rounds of adding, changing and removing others disturb no command",
  [...sharedTool("aoebench")],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(1500);
    // On a wire of its own: aoebench takes another's answers for its own.
    const second = await testbed.namespace("second");
    await testbed.wire([target, "net1"], [second, "net0"], 1500);
    const paths = await Promise.all(
      [1, 2, 3, 4].map((i) => filledImage(testbed, `disk${i}.img`)),
    );
    await using live = await startLiveTarget(target, ["net0", "net1"]);
    for (const slot of [1, 2]) {
      await live.do({ ask: "add", address: `1.${slot}`, path: paths[slot - 1]! });
    }
    const before = await live.do({ ask: "look", address: "1.1" });
    // Both threads are under load, and both change.
    let over = false;
    const loads = [
      load(initiator, "1.1", () => over),
      load(second, "1.2", () => over),
    ];
    for (let round = 0; round < 200; round++) {
      const drain = round % 2 === 0;
      for (const slot of [3, 4]) {
        await live.do({ ask: "add", address: `1.${slot}`, path: paths[slot - 1]! });
      }
      const changes = { lengthBytes: 512 * (1 + round), readOnly: drain };
      await live.do({ ask: "change", address: "1.3", changes });
      for (const slot of [3, 4]) {
        const { flushed } = await live.do({ ask: "remove", address: `1.${slot}`, drain });
        assertEquals(flushed, true);
      }
    }
    over = true;
    for (const results of loads) assertUndisturbed(await results);
    const after = await live.do({ ask: "look", address: "1.1" });
    assertEquals(after.thread, before.thread);
    // Descriptors, locks and addresses are free again.
    await live.do({ ask: "add", address: "1.3", path: paths[2]! });
    const fds = await target.runChecked(["ls", `/proc/${live.process.pid}/fd`]);
    assert(fds.stdout.split("\n").length < 80, fds.stdout);
  },
);

interopTest("live: what is removed answers no more, and is free for another", [], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", IMAGE_BYTES);
  await using live = await startLiveTarget(target, ["net0"]);
  await live.do({ ask: "add", address: "1.1", path });
  assert(await answers(initiator, "1.1"));
  const twice = await live.ask({ ask: "add", address: "1.1", path: `${path}` });
  assertMatch(twice.refusal!, /is exported already|is served already/);
  await live.do({ ask: "remove", address: "1.1", drain: true });
  assertEquals(await answers(initiator, "1.1"), false);
  const gone = await live.ask({ ask: "remove", address: "1.1", drain: true });
  assertEquals(gone.refusal, "e1.1 is not served");
  // The same file, and the same address in another process.
  await using other = await startLiveTarget(target, ["net0"]);
  await other.do({ ask: "add", address: "1.1", path });
  assert(await answers(initiator, "1.1"));
  const held = await live.ask({
    ...{ ask: "add", address: "1.1", path: await testbed.image("other.img", IMAGE_BYTES) },
  });
  assertEquals(
    held.refusal,
    "e1.1 is already served by another aoe serve on net0 of this host: choose another address, " +
      "or serve it all the same with --force",
  );
});

interopTest(
  "live: another target for the same address is heard, and told of once",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(1500);
    await using live = await startLiveTarget(target, ["net0"]);
    await live.do({ ask: "add", address: "1.1", path: await testbed.image("a.img", IMAGE_BYTES) });
    await using other = await startLiveTarget(initiator, ["net0"]);
    const path = await testbed.image("b.img", IMAGE_BYTES);
    await other.do({ ask: "add", address: "1.2", path });
    await other.do({ ask: "remove", address: "1.2", drain: false });
    // Each that comes says so; the third time it is no news.
    for (let i = 0; i < 3; i++) {
      await other.do({ ask: "add", address: "1.1", path });
      await sleep(i === 0 ? 1500 : 500);
      await other.do({ ask: "remove", address: "1.1", drain: false });
    }
    await sleep(1500);
    const told = live.process.lines.filter(({ text }) => text.includes(`"kind":"rival"`));
    assertEquals(told.map(({ text }) => JSON.parse(text)), [{
      kind: "rival",
      shelf: 1,
      slot: 1,
      mac: await initiator.mac("net0"),
      interface: "net0",
    }]);
  },
);

interopTest("live: size, ACL and write protection change while it is served", [], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", IMAGE_BYTES);
  const aoe = await aoeExecutable();
  await using live = await startLiveTarget(target, ["net0"]);
  await live.do({ ask: "add", address: "1.1", path });
  const change = (changes: object) => live.do({ ask: "change", address: "1.1", changes });
  const identify = async () => {
    const words = ["identify", "1.1", "-i", "net0", "--json", "--timeout", "0.3"];
    const { code, stdout } = await initiator.run([aoe, ...words]);
    return code === 0 ? JSON.parse(stdout) : undefined;
  };
  await change({ lengthBytes: 512 * 100 });
  assertEquals((await identify()).sectors, 100);
  await live.process.waitForLine(/"kind":"resized".*"sectors":100/);
  await change({ lengthBytes: null });
  assertEquals((await identify()).sectors, SPAN_SECTORS);
  const mac = (await initiator.mac("net0")).replaceAll(":", "");
  await change({ acl: { accept: [], reject: [mac], readOnly: [] } });
  assertEquals(await identify(), undefined);
  await change({ acl: { accept: [mac], reject: [], readOnly: [] } });
  assertEquals((await identify()).sectors, SPAN_SECTORS);
  await live.do({ ask: "remove", address: "1.1", drain: false });
  await live.do({ ask: "add", address: "1.1", path, readOnly: true });
  const refused = await live.ask({
    ...{ ask: "change", address: "1.1", changes: { readOnly: false } },
  });
  assertMatch(refused.refusal!, /was opened to be read only: remove e1\.1 and add it again$/);
});

interopTest(
  "live: each export is served on its own interfaces, which come and go",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(1500);
    const paths = [
      await testbed.image("one.img", IMAGE_BYTES),
      await testbed.image("two.img", IMAGE_BYTES),
    ];
    await using live = await startLiveTarget(target, ["net0"], 1);
    await live.do({ ask: "add", address: "1.1", path: paths[0]! });
    await live.do({ ask: "add", address: "1.2", path: paths[1]!, interfaces: ["net1"] });
    assertEquals([await answers(initiator, "1.1"), await answers(initiator, "1.2")], [true, false]);
    // It is not there yet, and is served on as soon as it is.
    await live.do({ ask: "add-interface", name: "net1" });
    await testbed.wire([target, "net1"], [initiator, "net1"], 1500);
    await live.process.waitForLine(/"kind":"link","name":"net1","state":"up"/);
    const onBoth = async (address: string) => [
      await answers(initiator, address, "net0"),
      await answers(initiator, address, "net1"),
    ];
    assertEquals([await onBoth("1.1"), await onBoth("1.2")], [[true, true], [false, true]]);
    await live.do({ ask: "change", address: "1.2", changes: { interfaces: ["net0"] } });
    assertEquals([await onBoth("1.1"), await onBoth("1.2")], [[true, true], [true, false]]);
    await live.do({ ask: "remove-interface", name: "net1" });
    assertEquals([await onBoth("1.1"), await onBoth("1.2")], [[true, false], [true, false]]);
    // Its place is taken by another.
    await testbed.wire([target, "net2"], [initiator, "net2"], 1500);
    await live.do({ ask: "add-interface", name: "net2" });
    await eventually("e1.1 answers on net2", () => answers(initiator, "1.1", "net2"));
    assertEquals(await answers(initiator, "1.2", "net2"), false);
    await live.do({ ask: "remove-interface", name: "net2" });
    await target.ip("link add link net2 name mv0 type macvlan mode bridge");
    await target.ip("link set dev mv0 up");
    await live.do({ ask: "add-interface", name: "mv0" });
    await eventually("e1.1 answers on mv0", () => answers(initiator, "1.1", "net2"));
    await target.bridge("br0", ["net1"], 1500);
    const port = await live.ask({ ask: "add-interface", name: "net1" });
    assertEquals(port.refusal, "net1 is a port of br0: name br0");
    await live.do({ ask: "add-interface", name: "br0" });
    await eventually("e1.1 answers behind br0", () => answers(initiator, "1.1", "net1"));
  },
);

interopTest(
  "live: interfaces plugged in and out, a name and an MTU that change disturb no command",
  [...sharedTool("aoebench")],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(9000);
    const path = await filledImage(testbed, "disk.img");
    await using live = await startLiveTarget(target, ["net0"], 1);
    await live.do({ ask: "add", address: "1.1", path });
    let name = "net0";
    let over = false;
    const results = load(initiator, "1.1", () => over);
    const done = await commandsOf(live, "1.1");
    for (let round = 0; round < 5; round++) {
      await testbed.wire([target, "net1"], [initiator, "net1"], 1500);
      await live.do({ ask: "add-interface", name: "net1" });
      assert(await answers(initiator, "1.1", "net1"), `round ${round}`);
      // A card that is pulled out, then one that is given up.
      if (round % 2 === 0) await target.ip("link delete dev net1");
      await live.do({ ask: "remove-interface", name: "net1" });
      if (round % 2 === 1) await target.ip("link delete dev net1");
      for (const mtu of [1500, 9000]) await target.ip(`link set dev ${name} mtu ${mtu}`);
      const next = name === "net0" ? "wire0" : "net0";
      const from = live.process.lines.length;
      // Older kernels rename only what is down, which is a disturbance of its own.
      const renamed = await target.run(["ip", "link", "set", "dev", name, "name", next]);
      if (renamed.code !== 0) continue;
      name = next;
      await live.process.waitForLine(new RegExp(`"kind":"renamed","name":"${name}"`), { from });
    }
    over = true;
    assertUndisturbed(await results);
    assert((await commandsOf(live, "1.1")) > done + 1000);
  },
);
