// Before a disk is written to: two disks under one address are refused, --target chooses, and what
// this host has attached and in use is not written past.

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { assertSameBytes } from "../../harness/bytes.ts";
import { run, runChecked } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../../harness/target.ts";
import { type Namespace, Testbed } from "../../harness/testbed.ts";

const DISK_BYTES = 4 << 20;

/** The last sentence on standard error; warnings of what was left alone may stand before it. */
function verdict(stderr: string): string {
  return stderr.trimEnd().split("\n").at(-1) ?? "";
}

/** Two disks under one address on one wire, and an initiator. */
async function twoDisks(testbed: Testbed, address: string) {
  const hosts: Namespace[] = [];
  for (const label of ["one", "two", "initiator"]) hosts.push(await testbed.namespace(label));
  const [one, two, initiator] = hosts as [Namespace, Namespace, Namespace];
  await testbed.wire([initiator, "port1"], [one, "net0"], 1500);
  await testbed.wire([initiator, "port2"], [two, "net0"], 1500);
  await initiator.bridge("net0", ["port1", "port2"], 1500);
  const paths = [
    await testbed.image("u1.img", DISK_BYTES),
    await testbed.image("u2.img", DISK_BYTES),
  ];
  await startTarget(one, { interfaces: "net0", exports: [[address, paths[0]!]] });
  await startTarget(two, {
    interfaces: "net0",
    exports: [[address, paths[1]!]],
    flags: ["--force"],
  });
  const macs = [await one.mac("net0"), await two.mac("net0")] as const;
  return { initiator, paths, macs };
}

interopTest("two disks, one address: nothing is written until --target chooses", [], async () => {
  await using testbed = await Testbed.create();
  const { initiator, paths, macs } = await twoDisks(testbed, "1.1");
  const aoe = await aoeExecutable();
  const image = testbed.path("source.img");
  await Deno.writeFile(image, new Uint8Array(DISK_BYTES).fill(0x5a));
  const zeros = new Uint8Array(DISK_BYTES);
  const writers: [words: string[], exitCode: number][] = [
    [["copy", image, "e1.1"], 1],
    [["bench", "e1.1", "--rw", "randwrite", "--runtime", "0.2"], 1],
    [["nbd", "e1.1", "--socket", testbed.path("nbd.sock")], 1],
    [["attach", "e1.1"], 1],
    [["attach", "e1.1", "--foreground"], 1],
  ];
  for (const [words, exitCode] of writers) {
    const { code, stderr } = await initiator.run([aoe, ...words, "-i", "net0"]);
    assertEquals(code, exitCode, `${words.join(" ")}\n${stderr}`);
    const sentence = verdict(stderr);
    assertMatch(
      sentence,
      /^aoe: Different disks answer for e1\.1: .*: choose one with --target MAC$/,
    );
    for (const mac of macs) {
      assertMatch(sentence, new RegExp(`${mac} on net0 \\(serial "e1\\.1-[0-9a-f]+"\\)`));
    }
  }
  for (const path of paths) assertSameBytes(await Deno.readFile(path), zeros, path);
  // Three times each, since what is left to chance is right half of the time.
  for (const chosen of [0, 1]) {
    for (let i = 0; i < 3; i++) {
      const [path, other] = [paths[chosen]!, paths[1 - chosen]!];
      await overwrite(path, zeros);
      const before = await Deno.readFile(other);
      const target = ["--target", macs[chosen]!, "-i", "net0"];
      await initiator.runChecked([aoe, "copy", image, "e1.1", "--verify", ...target]);
      assertEquals((await Deno.readFile(path))[DISK_BYTES - 1], 0x5a);
      assertSameBytes(await Deno.readFile(other), before, "the other");
    }
  }
  // For reading, too.
  await overwrite(paths[0]!, zeros);
  for (const chosen of [0, 1]) {
    const back = testbed.path(`back${chosen}.img`);
    const target = ["--target", macs[chosen]!, "-i", "net0"];
    await initiator.runChecked([aoe, "copy", "e1.1", back, ...target]);
    assertSameBytes(await Deno.readFile(back), await Deno.readFile(paths[chosen]!), "copy");
  }
  const nobody = await initiator.run([
    ...[aoe, "copy", image, "e1.1", "-i", "net0", "--target", "02:00:00:00:00:01"],
  ]);
  assertEquals(nobody.code, 3, nobody.stderr);
  assertMatch(verdict(nobody.stderr), /No answer from e1\.1 at 02:00:00:00:00:01, but from /);
  for (const mac of macs) assertStringIncludes(nobody.stderr, mac);
});

interopTest("one disk by two cards is one disk", [], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  await testbed.wire([target, "net1"], [initiator, "net1"], 1500);
  const path = await testbed.image("disk.img", DISK_BYTES);
  await startTarget(target, { interfaces: "net0,net1", exports: [["1.1", path]] });
  const image = testbed.path("source.img");
  await Deno.writeFile(image, new Uint8Array(DISK_BYTES).fill(0x5a));
  await initiator.runChecked([await aoeExecutable(), "copy", image, "e1.1"]);
  assertSameBytes(await Deno.readFile(path), await Deno.readFile(image), "disk");
});

interopTest("a disk that is attached and mounted here is not written past", [
  "mke2fs",
], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", 16 << 20);
  await runChecked(["mke2fs", "-q", path]);
  // The names of attached disks are the machine's.
  const address = `e${20_000 + Math.floor(Math.random() * 40_000)}.3`;
  await startTarget(target, { interfaces: "net0", exports: [[address.slice(1), path]] });
  const aoe = await aoeExecutable();
  const image = testbed.path("source.img");
  await Deno.writeFile(image, new Uint8Array(1 << 20).fill(0x5a));
  const node = `/dev/etherd/${address}`;
  await initiator.runChecked([aoe, "attach", address, "-i", "net0"]);
  try {
    const idle = await initiator.runChecked([aoe, "copy", image, address, "--seek", "8M"]);
    assertMatch(idle.stderr, new RegExp(`warning: ${address} is attached here, too`));
    const mount = testbed.path("mnt");
    await Deno.mkdir(mount);
    // One that may be written to would be, by the kernel, whenever it finds the time.
    await runChecked(["mount", "-r", node, mount]);
    try {
      const before = await Deno.readFile(path);
      const socket = testbed.path("nbd.sock");
      const writers = [
        ["copy", image, address],
        ["bench", address, "--rw", "randwrite", "--runtime", "0.2"],
        ["nbd", address, "--socket", socket],
      ];
      for (const words of writers) {
        const { code, stderr } = await initiator.run([aoe, ...words, "-i", "net0"]);
        assertEquals(code, 1, stderr);
        assertEquals(
          verdict(stderr),
          `aoe: ${address} is attached here as ${node} and in use ` +
            `(it is mounted on "${mount}"): end that first, or write past it with --force`,
        );
      }
      assertSameBytes(await Deno.readFile(path), before, "disk");
      const detach = await initiator.run([aoe, "detach", address]);
      assertMatch(verdict(detach.stderr), /is in use: unmount it first/);
      assertStringIncludes(verdict(detach.stderr), `(it is mounted on "${mount}"`);
      // Reading harms nobody, and who insists knows what he does.
      await initiator.runChecked([aoe, "bench", address, "--runtime", "0.1", "-i", "net0"]);
      await initiator.runChecked([
        ...[aoe, "copy", image, address, "--seek", "8M", "--force", "-i", "net0"],
      ]);
    } finally {
      await run(["umount", mount]);
    }
  } finally {
    await initiator.run([aoe, "detach", address, "--force"]);
  }
});

interopTest("copy: a file or device that this host uses is not written over", [
  "losetup",
  "mke2fs",
], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", DISK_BYTES);
  await startTarget(target, { interfaces: "net0", exports: [["1.1", path]] });
  const aoe = await aoeExecutable();
  const image = await testbed.image("mounted.img", DISK_BYTES);
  await runChecked(["mke2fs", "-q", image]);
  const before = await Deno.readFile(image);
  const device = (await runChecked(["losetup", "-f", "--show", image])).stdout.trim();
  const mount = testbed.path("mnt");
  await Deno.mkdir(mount);
  try {
    await runChecked(["mount", "-r", device, mount]);
    try {
      const rows: [destination: string, uses: string][] = [
        [image, `${device} stands on it and is mounted on "${mount}"`],
        [device, `it is mounted on "${mount}"`],
      ];
      for (const [destination, uses] of rows) {
        const { code, stderr } = await initiator.run([aoe, "copy", "e1.1", destination]);
        assertEquals(code, 1, stderr);
        assertEquals(
          verdict(stderr),
          `aoe: "${destination}" is in use on this host (${uses}): ` +
            "end that first, or write to it with --force",
        );
      }
      assertSameBytes(await Deno.readFile(image), before, "image");
    } finally {
      await run(["umount", mount]);
    }
    await initiator.runChecked([aoe, "copy", "e1.1", device]);
    await initiator.runChecked([aoe, "copy", "e1.1", image, "--force"]);
    assertSameBytes(await Deno.readFile(image), await Deno.readFile(path), "image");
  } finally {
    await run(["losetup", "-d", device]);
  }
});

/** Writes a served image in place: its size must not change, not even for a moment. */
async function overwrite(path: string, bytes: Uint8Array): Promise<void> {
  using file = await Deno.open(path, { write: true });
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}
