// `aoe attach` by FUSE and a loop device, as its users meet it: file systems, partitions, discards,
// growth, reservations, signals and refusals. What becomes of it when something is killed, stopped
// or lost: attach_faults_test.ts.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { AttachBench, loopDevices, sizeBecomes } from "./attached.ts";
import { eventually, run, runChecked, sleep } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable } from "../../harness/target.ts";

const MIB = 2 ** 20;

/** What checks a file system that is not mounted, without changing it. */
const FILE_SYSTEMS = [
  { name: "ext4", make: ["mke2fs", "-q", "-t", "ext4"], check: ["e2fsck", "-f", "-n"], mib: 64 },
  { name: "xfs", make: ["mkfs.xfs", "-q"], check: ["xfs_repair", "-n"], mib: 320 },
  { name: "btrfs", make: ["mkfs.btrfs", "-q"], check: ["btrfs", "check"], mib: 128 },
] as const;

for (const { name, make, check, mib } of FILE_SYSTEMS) {
  interopTest(
    `attach: ${name} keeps a tree of files, is trimmed, and is clean afterwards`,
    [loopDevices, make[0], check[0], "fstrim"],
    async () => {
      await using bench = await AttachBench.create(mib * MIB);
      assertMatch(
        await bench.attach(),
        new RegExp(`^${bench.address} is ${bench.node}, [\\d.]+ MiB, by fuse \\(/dev/loop\\d+\\)`),
      );
      await runChecked([...make, bench.node]);
      let folder = await bench.mount();
      const fill = `for i in 0 1 511 512 4095 4096 65537 1000003; do
        head -c $i /dev/urandom > $i; done; mkdir -p a/b; cp 65537 a/b; ln -s a link;
        head -c 24000000 /dev/urandom > large; find . -type f -exec sha256sum {} + > /tmp/sums.$$;
        mv /tmp/sums.$$ sums; sync`;
      await runChecked(["sh", "-c", fill], { cwd: folder });
      const inUse = await bench.aoe(["detach", bench.address]);
      assertEquals([inUse.code, inUse.stdout], [1, ""]);
      assertStringIncludes(inUse.stderr, `aoe: ${bench.address} is in use: unmount it first`);
      assertStringIncludes(inUse.stderr, `it is mounted on "${folder}"`);
      await bench.unmount(folder);
      await isClean([...check, bench.node]);

      // Everything that is read now comes over the wire: a new device has no page cache.
      await bench.detach();
      await bench.attach();
      folder = await bench.mount();
      await runChecked(["sha256sum", "-c", "--quiet", "sums"], { cwd: folder });
      const before = (await Deno.stat(bench.image)).blocks!;
      await runChecked(["rm", `${folder}/large`]);
      await runChecked(["sync", "-f", folder]);
      // xfs frees a deleted file's blocks a moment after it was synced.
      await eventually("the image has shrunk", async () => {
        await runChecked(["fstrim", folder]);
        return (before - (await Deno.stat(bench.image)).blocks!) * 512 > 15 * MIB;
      });
      await runChecked(["sha256sum", "-c", "--quiet", "--ignore-missing", "sums"], { cwd: folder });
      await bench.unmount(folder);
      await isClean([...check, bench.node]);
      await bench.detach();
      assertEquals((await run(["test", "-e", bench.node])).code, 1);
      // The same on the target's side, where the image is a file.
      await isClean([...check, bench.image]);
    },
  );
}

/**
 * Checks a file system that was unmounted. Every `ip netns exec` begins with a copy of all mounts,
 * and a file system is closed, its log written and its device free, once the last copy is gone: a
 * moment after the process that had it.
 */
async function isClean(check: readonly string[]): Promise<void> {
  let said = "";
  await eventually("the file system is clean", async () => {
    const { code, stdout, stderr } = await run(check, { timeoutMs: 60_000 });
    said = stdout + stderr;
    return code === 0;
  }, { timeoutMs: 20_000 }).catch((error) => {
    throw new Error(`${error.message}\n${said}`);
  });
}

interopTest("attach: an fsync reaches the target's disk", [loopDevices], async () => {
  await using bench = await AttachBench.create(16 * MIB);
  await bench.attach();
  await runChecked([
    ...["dd", "if=/dev/zero", `of=${bench.node}`, "bs=4k", "count=1", "conv=fsync"],
  ]);
  await bench.detach();
  await bench.target.stop();
  const flushes = Number(/(\d+) flush/.exec(bench.target.text)?.[1]);
  assert(flushes >= 1, bench.target.text);
});

interopTest(
  "attach: partitions have nodes, and the disk grows with its export",
  [loopDevices, "sfdisk", "partx", "mke2fs", "e2fsck"],
  async () => {
    await using bench = await AttachBench.create(32 * MIB);
    await bench.attach();
    const table = "label: gpt\nsize=8MiB\nsize=8MiB\n";
    await runChecked(["sfdisk", "-q", bench.node], { input: table });
    // A kernel may be built without the code that finds partitions: partx does it for all.
    await runChecked(["partx", "-u", bench.node]);
    const partition = `${bench.node}p2`;
    await eventually(
      `"${partition}" is there`,
      async () => (await run(["test", "-b", partition])).code === 0,
    );
    await runChecked(["mke2fs", "-q", partition]);
    const folder = await bench.mount(partition);
    const inUse = await bench.aoe(["detach", bench.address]);
    assertStringIncludes(inUse.stderr, "is in use");
    assertStringIncludes(inUse.stderr, `it is mounted on "${folder}"`);
    await bench.unmount(folder);
    await runChecked(["e2fsck", "-f", "-n", partition]);
    await Deno.truncate(bench.image, 48 * MIB);
    await sizeBecomes(bench.node, 48 * MIB);
    await bench.detach();
    await bench.attach();
    await runChecked(["partx", "-u", bench.node]);
    await eventually(
      `"${partition}" is there again`,
      async () => (await run(["test", "-b", partition])).code === 0,
    );
    await runChecked(["partx", "-d", "--nr", "1:2", bench.node]);
    await eventually(
      `"${partition}" is gone`,
      async () => (await run(["test", "-e", partition])).code === 1,
    );
    await bench.detach();
    assertEquals((await run(["ls", "/dev/etherd"])).stdout.includes(bench.address), false);
  },
);

interopTest("attach: discarded sectors read as zeros", [loopDevices], async () => {
  await using bench = await AttachBench.create(16 * MIB);
  await bench.attach();
  const write = `yes | dd of=${bench.node} bs=1M count=8 iflag=fullblock oflag=direct`;
  await runChecked(["sh", "-c", write]);
  await runChecked(["blkdiscard", "-o", "1048576", "-l", "2097152", bench.node]);
  await runChecked(["blkdiscard", "-z", "-o", "4194304", "-l", "1048576", bench.node]);
  const zeros = `for at in 1 2 4; do dd if=${bench.node} bs=1M skip=$at count=1 iflag=direct |
    cmp -n 1048576 - /dev/zero || exit 1; done
    for at in 0 3 5; do dd if=${bench.node} bs=1M skip=$at count=1 iflag=direct |
    cmp -n 1048576 - /dev/zero >/dev/null && exit 1; done; exit 0`;
  await runChecked(["sh", "-c", zeros]);
  await bench.detach();
});

interopTest(
  "attach: read-only when the export is, or when it is asked for",
  [loopDevices],
  async () => {
    for (const [serve, attach] of [[["-r"], []], [[], ["--read-only"]]] as const) {
      await using bench = await AttachBench.create(16 * MIB, { flags: serve });
      assertMatch(await bench.attach([...attach]), /, read-only, by fuse/);
      assertEquals((await runChecked(["blockdev", "--getro", bench.node])).stdout, "1\n");
      const write = await run(["dd", "if=/dev/zero", `of=${bench.node}`, "count=1"]);
      assert(write.code !== 0);
      await bench.detach();
    }
  },
);

interopTest("attach: --reserve keeps other hosts out", [loopDevices], async () => {
  await using bench = await AttachBench.create(16 * MIB);
  const { testbed, server, address } = bench;
  const other = await testbed.namespace("other");
  await testbed.wire([server, "net1"], [other, "net0"], 9000);
  await bench.target.stop();
  const aoe = await aoeExecutable();
  bench.target = server.start([aoe, "serve", "net0,net1", address, bench.image]);
  await bench.target.waitForLine(/^Serving/);
  await bench.attach(["--reserve"]);
  assertEquals((await bench.status()).attached.reserved, true);
  const holder = await bench.client.mac("net0");
  const shown = await other.runChecked([aoe, "reserve", address, "-i", "net0"]);
  assertEquals(shown.stdout, `${holder}\n`);
  const read = await other.run([aoe, "copy", address, "-", "--length", "1M", "-i", "net0"]);
  assert(read.code !== 0 && /reserved/.test(read.stderr), read.stderr);
  await bench.detach();
  assertStringIncludes(
    (await other.runChecked([aoe, "reserve", address, "-i", "net0"])).stdout,
    "is not reserved",
  );
  // The other way round: who has it is told of others, and who is not the holder is warned, or refused.
  await other.runChecked([aoe, "reserve", address, "self", "-i", "net0"]);
  const refused = await bench.aoe(["attach", address, "-i", "net0", "--reserve"]);
  assertEquals(refused.code, 1);
  assertMatch(refused.stderr, /is reserved by [0-9a-f:]{17}/);
  assertEquals((await run(["test", "-e", bench.node])).code, 1);
});

interopTest(
  "attach: another initiator that looks for the disk is told of",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    const { testbed, server, address } = bench;
    const other = await testbed.namespace("other");
    await testbed.wire([server, "net1"], [other, "net0"], 9000);
    await bench.target.stop();
    await server.bridge("br0", ["net0", "net1"], 9000);
    const aoe = await aoeExecutable();
    bench.target = server.start([aoe, "serve", "br0", address, bench.image]);
    await bench.target.waitForLine(/^Serving/);
    const daemon = bench.client.start([aoe, "attach", address, "-i", "net0", "--foreground"]);
    await daemon.waitForLine(/is \/dev\/etherd\//);
    await other.runChecked([aoe, "identify", address, "-i", "net0"]);
    const mac = await other.mac("net0");
    await daemon.waitForLine(new RegExp(`warning: .*${mac} on net0 looks for ${address}, too`));
    assertEquals((await daemon.stop("SIGTERM")).code, 0, daemon.text);
  },
);

interopTest(
  "attach: SIGTERM detaches what is not in use, and leaves what is mounted",
  [loopDevices, "mke2fs"],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    const words = [await aoeExecutable(), "attach", bench.address, "-i", "net0", "--foreground"];
    const daemon = bench.client.start(words);
    await daemon.waitForLine(/is \/dev\/etherd\//);
    await runChecked(["mke2fs", "-q", bench.node]);
    const folder = await bench.mount();
    daemon.signal("SIGTERM");
    await daemon.waitForLine(/is in use: unmount it first/);
    await runChecked(["ls", folder]);
    await bench.unmount(folder);
    // Two signals that come at once are one (commands/stop_signals.ts).
    await new Promise((resolve) => setTimeout(resolve, 500));
    const status = await daemon.stop("SIGTERM");
    assertEquals(status.code, 0, daemon.text);
    assertEquals((await run(["test", "-e", bench.node])).code, 1);
  },
);

interopTest("attach: little memory, and no work when there is none", [loopDevices], async () => {
  await using bench = await AttachBench.create(64 * MIB);
  await bench.attach();
  await runChecked(["dd", `if=${bench.node}`, "of=/dev/null", "bs=1M", "iflag=direct"]);
  await runChecked(["dd", "if=/dev/zero", `of=${bench.node}`, "bs=1M", "count=64", "oflag=direct"]);
  const pid = await bench.daemonPid();
  // Pages of the runtime's file are the page cache's, and come and go with it.
  const ownKib = async () =>
    Number(/RssAnon:\s+(\d+)/.exec(await Deno.readTextFile(`/proc/${pid}/status`))?.[1]);
  assert(await ownKib() <= 80 * 1024, `${await ownKib()} KiB are its own`);
  // Each time that the thread of the disk wakes up; how long it then takes depends on the machine. The
  // others also wake up for what happens in /dev, where other disks come and go.
  const wakeUps = async () => {
    let sum = 0;
    for await (const { name } of Deno.readDir(`/proc/${pid}/task`)) {
      const status = await Deno.readTextFile(`/proc/${pid}/task/${name}/status`);
      if (!/^Name:\s+worker-/.test(status)) continue;
      sum += Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]);
    }
    return sum;
  };
  // The runtime may still compile what was hot.
  await sleep(2000);
  const before = await wakeUps();
  assert(before > 0, "The disk has a thread");
  await sleep(3000);
  const times = await wakeUps() - before;
  assert(times <= 60, `${times} times in 3 s`);
  await bench.detach();
});

interopTest("attach, detach: what they refuse, in one sentence", [loopDevices], async () => {
  await using bench = await AttachBench.create(16 * MIB);
  const { address, testbed } = bench;
  const refused = async (args: readonly string[], code: number, sentence: RegExp) => {
    const outcome = await bench.aoe(args);
    assertEquals([outcome.code, outcome.stdout], [code, ""], outcome.stderr);
    assertMatch(outcome.stderr, sentence);
    assertEquals(outcome.stderr.trimEnd().split("\n").length, 1, outcome.stderr);
  };
  await refused(["attach"], 2, /^aoe: Name a disk/);
  await refused(["attach", address, "--all"], 2, /^aoe: Name a disk/);
  await refused(["attach", "e9.9", "-i", "net0", "--timeout", "0.3"], 1, /No answer from e9\.9/);
  await refused(["attach", address, "--backend", "floppy"], 2, /^aoe: .*--backend/);
  await refused(["detach", "e9.9"], 1, /^aoe: e9\.9 is not attached/);
  const config = testbed.path("aoe.conf");
  await Deno.writeTextFile(config, `# disks\n${address} -i net0\ne9.9 --nonsense\n`);
  await refused(["attach", "--config", config], 2, /"[^"]+", line 3: .*--nonsense/);
  await Deno.writeTextFile(config, `${address} -i net0\n\n${address} --reserve\n`);
  await refused(["attach", "--config", config], 2, /line 3: e[0-9.]+ stands in line 1 already$/m);
  await refused(["attach", "--config", "/nowhere"], 1, /^aoe: There is no file "\/nowhere"$/m);
  await refused(["attach", address, "--dead-after", "never"], 2, /or forever, but got "never"/);
  assertEquals((await run(["test", "-e", bench.node])).code, 1);
  await Deno.writeTextFile(config, `# disks\n\n${address} -i net0 --read-only # the first\n`);
  const configured = await bench.aoe(["attach", "--config", config]);
  assertEquals(configured.code, 0, configured.stderr);
  assertStringIncludes(configured.stdout, "read-only");
  // What is attached already in the same way is done, as Restart=on-failure needs it; another is not.
  for (const again of [["--config", config], [address, "-i", "net0", "-r"]]) {
    const { code, stdout, stderr } = await bench.aoe(["attach", ...again]);
    assertEquals([code, stdout, stderr], [
      0,
      `${address} is attached already, as ${bench.node}\n`,
      "",
    ]);
  }
  await refused(["attach", address, "-i", "net0"], 1, /is attached already, read-only: detach it/);
  await bench.detach();
  const all = await bench.aoe(["attach", "--all", "-i", "net0", "--json"]);
  assertEquals(JSON.parse(all.stdout).node, bench.node);
  const twice = await bench.aoe(["attach", "--all", "-i", "net0"]);
  assertEquals([twice.code, twice.stderr], [0, ""]);
  assertStringIncludes(twice.stdout, "is attached already");
  await bench.detach();
  await refused(["detach", address], 1, /is not attached/);
});
