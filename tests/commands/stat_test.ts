// `aoe stat` on wires made for it: aoe-stat's columns and arithmetic, several paths, what is missing.

import { assertEquals, assertMatch } from "@std/assert";
import { formatGigabytes } from "../../src/commands/stat.ts";
import { run } from "../harness/process.ts";
import { interopTest } from "../harness/requirements.ts";
import { aoeExecutable, startTarget, startVblade } from "../harness/target.ts";
import { Testbed } from "../harness/testbed.ts";

Deno.test("stat: sizes are reckoned as aoe-stat does", async () => {
  // The lines of aoe-stat itself.
  const script = `for sectors in "$@"; do
    psize=$(((512000 * $sectors) / (1000 * 1000 * 1000)))
    echo \`printf "%04d\\n" $psize | sed 's!\\(...\\)$!.\\1!'\`GB
  done`;
  const sectors = [0, 1, 1953, 1954, 32768, 1953124, 1953125, 7814037168, 2 ** 34 + 1, 2 ** 44 - 1];
  const { stdout } = await run(["bash", "-c", script, "bash", ...sectors.map(String)]);
  assertEquals(sectors.map(formatGigabytes), stdout.trimEnd().split("\n"));
  // Where bash's integers overflow, ours go on.
  assertEquals(formatGigabytes(2 ** 48 - 1), "144115188.075GB");
});

interopTest("stat: columns, order, paths and the narrowest payload", ["vblade"], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(9000);
  await testbed.wire([target, "net1"], [initiator, "net1"], 1500);
  const path = await testbed.image("disk.img", 16 << 20);
  const other = await testbed.image("other.img", 3 * 10 ** 9 + 512);
  const [iface, shelf] = ["net1", 2];
  const theirs = await testbed.image("theirs.img", 16 << 20);
  await using _theirs = await startVblade(target, { iface, shelf, slot: 10, path: theirs });
  await using _serve = await startTarget(target, {
    interfaces: "net0,net1",
    exports: [["2.9", other], ["1.1", path]],
  });
  const aoe = await aoeExecutable();
  const { stdout, stderr } = await initiator.runChecked([aoe, "stat"]);
  assertEquals(stderr, "");
  assertEquals(stdout.split("\n"), [
    "      e1.1         0.016GB  net0,net1 1024  up            ",
    "      e2.9         3.000GB  net0,net1 1024  up            ",
    "     e2.10         0.016GB       net1 1024  up            ",
    "",
  ]);

  const one = await initiator.runChecked([aoe, "stat", "e2.9", "-i", "net0", "--json"]);
  const { serial, model, ...rest } = JSON.parse(one.stdout);
  assertEquals([typeof serial, typeof model], ["string", "string"]);
  assertEquals(rest, {
    ...{ address: "e2.9", shelf: 2, slot: 9, bytes: 3 * 10 ** 9 + 512, interfaces: ["net0"] },
    ...{ payloadBytes: 17 * 512, state: "up", kernel: false },
  });

  // Named ones that answer end the wait; one that does not is said, after those that do.
  const started = performance.now();
  await initiator.runChecked([
    aoe,
    "stat",
    "2.9",
    "1.1",
    "-i",
    "net0",
    "-i",
    "net1",
    "--timeout=9",
  ]);
  assertEquals(performance.now() - started < 5_000, true);
  const missing = await initiator.run([aoe, "stat", "e2.10", "e1.1", "e7.7", "-i", "net0"]);
  assertEquals([missing.code, missing.stdout.split("\n").length], [1, 2], missing.stdout);
  assertMatch(missing.stderr, /^aoe: No answer from e2\.10, e7\.7 on net0 within 0\.5 s.*\n$/);
});

interopTest("stat: nobody answers", [], async () => {
  await using testbed = await Testbed.create();
  const { initiator } = await testbed.pair(1500);
  const aoe = await aoeExecutable();
  const nobody = await initiator.run([aoe, "stat", "--timeout", ".1"]);
  assertEquals([nobody.code, nobody.stdout], [1, ""]);
  assertMatch(nobody.stderr, /^aoe: No target answered on net0 within 0\.1 s.*\n$/);
});
