// What this host uses itself is not served over its head: images behind loop devices, images that
// another program writes, addresses that another program serves on the same interface.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type Outcome, run, runChecked } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import {
  aoeExecutable,
  serveCommand,
  startTarget,
  startVblade,
  type TargetOptions,
} from "../../harness/target.ts";
import { type Namespace, Testbed } from "../../harness/testbed.ts";

/** Asserts that `aoe serve` refuses in one sentence. */
async function refusedServe(host: Namespace, options: TargetOptions): Promise<string> {
  const outcome: Outcome = await host.run(await serveCommand(options));
  assertEquals([outcome.code, outcome.timedOut], [1, false], outcome.stderr + outcome.stdout);
  assertMatch(outcome.stderr, /^aoe: [^\n]+[^.\n]\n$/);
  return outcome.stderr;
}

interopTest("serve: an image behind a loop device is refused, with the mount point", [
  "losetup",
  "mke2fs",
], async () => {
  await using testbed = await Testbed.create();
  const { target } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", 8 << 20);
  await runChecked(["mke2fs", "-q", path]);
  const mount = testbed.path("a mount");
  await Deno.mkdir(mount);
  const device = (await runChecked(["losetup", "-f", "--show", path])).stdout.trim();
  const serving = { interfaces: "net0", exports: [["1.1", path]] } as const;
  try {
    // Of another name, it is the same file.
    await Deno.link(path, testbed.path("other.img"));
    const other = { interfaces: "net0", exports: [["1.1", testbed.path("other.img")]] } as const;
    assertMatch(await refusedServe(target, other), new RegExp(`${device} stands on it.*--force`));
    await runChecked(["mount", device, mount]);
    try {
      const refusal = await refusedServe(target, serving);
      assertStringIncludes(refusal, `${device} stands on it and is mounted on "${mount}"`);
      await using reading = await startTarget(target, { ...serving, flags: ["-r"] });
      assertMatch(reading.errorLines.join(), /warning: .*mounted on .*half of a change/);
      assertEquals((await reading.stop()).code, 0, reading.text);
      await using forced = await startTarget(target, { ...serving, flags: ["--force"] });
      assertEquals((await forced.stop()).code, 0, forced.text);
    } finally {
      await run(["umount", mount]);
    }
  } finally {
    await run(["losetup", "-d", device]);
  }
  await using free = await startTarget(target, serving);
  assertEquals(free.errorLines, []);
});

interopTest("serve: an image or address that another program of this host has is refused", [
  "vblade",
], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  const theirs = await testbed.image("theirs.img", 1 << 20);
  const ours = await testbed.image("ours.img", 1 << 20);
  await using vblade = await startVblade(target, {
    ...{ iface: "net0", shelf: 1, slot: 1, path: theirs },
  });
  const image = { interfaces: "net0", exports: [["1.2", theirs]] } as const;
  const who = `vblade \\(pid ${vblade.pid}\\)`;
  assertMatch(await refusedServe(target, image), new RegExp(`theirs\\.img.*${who}.*--force`));
  const address = { interfaces: "net0", exports: [["1.1", ours]] } as const;
  assertMatch(
    await refusedServe(target, address),
    new RegExp(`e1\\.1 is already served by ${who} on net0.*--force`),
  );
  {
    await using forced = await startTarget(target, { ...address, flags: ["--force"] });
    assertEquals((await forced.stop()).code, 0, forced.text);
  }
  // Another address is none of its business, and who only asks for disks is no target.
  await using serving = await startTarget(target, {
    interfaces: "net0",
    exports: [["1.2", ours]],
  });
  assertEquals(serving.errorLines, []);
  const second = await testbed.image("second.img", 1 << 20);
  const aoe = await aoeExecutable();
  const socket = testbed.path("nbd.sock");
  const nbd = initiator.start([aoe, "nbd", "e1.2", "-i", "net0", "-r", "--socket", socket]);
  await nbd.waitForLine(/is served at/);
  await using beside = await startTarget(initiator, {
    interfaces: "net0",
    exports: [["1.2", second]],
    flags: ["--force"],
  });
  assertEquals((await beside.stop()).code, 0, beside.text);
  await using other = await startTarget(initiator, {
    interfaces: "net0",
    exports: [["2.2", second]],
  });
  assertEquals(other.errorLines, []);
  // What another aoe serve has locked is said to be its.
  const again = { interfaces: "net0", exports: [["3.1", ours]] } as const;
  assertMatch(
    await refusedServe(initiator, again),
    new RegExp(`ours\\.img.*by aoe serve \\(pid ${serving.pid}\\)`),
  );
});

interopTest("serve: a program that speaks AoE and does not say for which address is told of", [
  "vblade",
], async () => {
  await using testbed = await Testbed.create();
  const { target } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", 1 << 20);
  // ETH_P_AOE on every interface, as a target has it that reads its addresses from a file.
  const script = `
    const libc = Deno.dlopen("libc.so.6", {
      socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    });
    console.log(libc.symbols.socket(17, 3, 0xa288));
    setInterval(() => {}, 1000);`;
  const stranger = target.start([Deno.execPath(), "eval", script]);
  await stranger.waitForLine(/^\d+$/);
  await using serving = await startTarget(target, { interfaces: "net0", exports: [["1.1", path]] });
  assertMatch(
    serving.errorLines.join("\n"),
    new RegExp(`^aoe: warning: \\S+ \\(pid ${stranger.pid}\\) on net0 of this host speaks AoE`),
  );
});

interopTest("serve: all that is missing is named at once, and nothing is served", [], async () => {
  await using testbed = await Testbed.create();
  const { target } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", 1 << 20);
  const missing = ["a.img", "b.img", "c.img"].map((name) => testbed.path(name));
  const { code, stdout, stderr } = await target.run(
    await serveCommand({
      interfaces: "net0",
      exports: [path, ...missing].map((image, i) => [`1.${i}`, image] as const),
    }),
  );
  assertEquals([code, stdout], [1, ""], stderr);
  const lines = stderr.trimEnd().split("\n");
  assertEquals(lines.length, 3, stderr);
  for (const [i, name] of missing.entries()) assertStringIncludes(lines[i]!, `"${name}"`);
  assert(!stderr.includes("disk.img"), stderr);
});
