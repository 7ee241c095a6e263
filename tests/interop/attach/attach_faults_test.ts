// Attached disks when something is killed, stopped or lost: the daemon, its keeper, the target, or
// frames. fio writes what it can recognise, and finds every byte again.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { compiledTool, sharedTool } from "../../harness/aoebench.ts";
import { AttachBench, childrenOf, fioVerify, loopDevices } from "./attached.ts";
import { eventually, run, runChecked, RunningProcess, sleep } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable } from "../../harness/target.ts";

const MIB = 2 ** 20;

/** A device that nobody serves any more, if it is still there, must not hold up who reads it. */
async function assertFailsAtOnce(device: string): Promise<void> {
  const startedMs = performance.now();
  const read = await run(["dd", `if=${device}`, "of=/dev/null", "iflag=direct", "count=8"]);
  assert(/^0\+0 records in/m.test(read.stderr), read.stderr);
  assert(performance.now() - startedMs < 5000, read.stderr);
}

interopTest(
  "attach: fio verifies mixed sizes at depth 32, clean and where 3 % of the frames are lost",
  [loopDevices, "fio", ...sharedTool("lossybridge")],
  async () => {
    for (const lossy of [false, true]) {
      const bridge = [await compiledTool("lossybridge"), "left", "right", "3", "1", "1", "2", "7"];
      await using bench = await AttachBench.create(64 * MIB, lossy ? { lossy: bridge } : {});
      await bench.attach();
      const fio = fioVerify(bench.node, { seconds: 3, bytes: 32 * MIB });
      await runChecked(fio, { timeoutMs: 60_000 });
      if (lossy) assert(Number((await bench.status()).attached.retransmitted) > 10);
      await bench.detach();
    }
  },
);

interopTest(
  "attach: a daemon that is killed is replaced, and fio finds every byte",
  [loopDevices, "fio"],
  async () => {
    await using bench = await AttachBench.create(64 * MIB);
    await bench.attach();
    const fio = new RunningProcess(fioVerify(bench.node, { seconds: 6, bytes: 32 * MIB }));
    const pids = new Set<number>();
    for (let i = 0; i < 3; i++) {
      await sleep(1000);
      const pid = await eventually("there is a daemon", async () => {
        const { stdout } = await bench.aoe(["stat", "--json", bench.address]);
        return JSON.parse(stdout).attached?.pid as number | undefined;
      });
      pids.add(pid);
      Deno.kill(pid, "SIGKILL");
    }
    assertEquals(pids.size, 3);
    assertEquals((await fio.ended).code, 0, fio.text);
    await bench.detach();
  },
);

interopTest(
  "attach: without a keeper a killed daemon's device fails at once, and its name is free",
  [loopDevices, "mke2fs"],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.attach();
    await runChecked(["mke2fs", "-q", bench.node]);
    const folder = await bench.mount();
    const { device } = (await bench.status()).attached;
    await bench.killWithKeeper();
    await assertFailsAtOnce(device as string);
    await bench.unmount(folder);
    await bench.attach();
    await bench.detach();
  },
);

interopTest(
  "attach: a daemon that is killed without a keeper does not wait for what was not written back",
  [loopDevices],
  async () => {
    for (const detaching of [false, true]) {
      await using bench = await AttachBench.create(16 * MIB);
      await bench.attach();
      const { device } = (await bench.status()).attached;
      if (detaching) await bench.target.stop();
      await runChecked(["dd", "if=/dev/urandom", `of=${bench.node}`, "bs=1M", "count=8"]);
      // This one waits for a flush that the target does not answer.
      const detach = detaching ? bench.aoe(["detach", bench.address]) : undefined;
      if (detaching) await sleep(1000);
      await bench.killWithKeeper();
      await assertFailsAtOnce(device as string);
      await bench.untilFree(device as string);
      if (detach !== undefined) assertEquals((await detach).code, 1);
      else {
        await bench.attach();
        await bench.detach();
      }
    }
  },
);

interopTest(
  "attach: a keeper that is killed is replaced",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.attach();
    const pid = await bench.daemonPid();
    const keeper = async () => (await childrenOf(pid, "aoe-keeper"))[0] ?? 0;
    const first = await keeper();
    Deno.kill(first, "SIGKILL");
    await eventually("there is another keeper", async () => {
      const now = await keeper();
      return now > 0 && now !== first;
    });
    assertEquals((await bench.status()).attached.keeper, true);
    await bench.detach();
  },
);

interopTest(
  "attach: retransmitted far too early, with a target that stands still, nothing is torn",
  [loopDevices, "fio"],
  async () => {
    await using bench = await AttachBench.create(64 * MIB);
    await bench.attach(["--retransmit-ms", "0.5"]);
    const fio = new RunningProcess(
      fioVerify(bench.node, { seconds: 5, bytes: 24 * MIB, sizes: "4k/70:64k/30" }),
    );
    await sleep(1000);
    bench.target.signal("SIGSTOP");
    await sleep(2000);
    bench.target.signal("SIGCONT");
    assertEquals((await fio.ended).code, 0, fio.text);
    assert(Number((await bench.status()).attached.retransmitted) > 100);
    await bench.detach();
  },
);

interopTest(
  "attach: I/O waits for a target that is killed and served again",
  [loopDevices, "fio"],
  async () => {
    await using bench = await AttachBench.create(64 * MIB);
    await bench.attach();
    const fio = new RunningProcess(fioVerify(bench.node, { seconds: 5, bytes: 32 * MIB }));
    await sleep(1000);
    await bench.target.stop("SIGKILL");
    await eventually(
      "aoe stat says down",
      async () => (await bench.status()).attached.state === "down",
    );
    const { stdout } = await bench.aoe(["stat", "-l", bench.address, "--timeout", "0.2"]);
    assertMatch(stdout, new RegExp(`^${bench.node}\\s+fuse\\s+down\\s+net0`, "m"));
    await bench.serveAgain();
    assertEquals((await fio.ended).code, 0, fio.text);
    assertEquals((await bench.status()).attached.state, "up");
    await bench.detach();
  },
);

interopTest(
  "attach: after --dead-after a read fails with ETIMEDOUT, and works when the target is back",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.attach(["--dead-after", "2"]);
    await bench.target.stop();
    const read = ["dd", `if=${bench.node}`, "of=/dev/null", "iflag=direct", "bs=4k", "count=1"];
    const failed = await run(read, { timeoutMs: 20_000 });
    assertStringIncludes(failed.stderr, "Connection timed out");
    const refused = await bench.aoe(["detach", bench.address]);
    assertEquals(refused.code, 1);
    assertStringIncludes(refused.stderr, "could not be flushed");
    await bench.serveAgain();
    await eventually("it reads again", async () => (await run(read)).code === 0);
    await bench.detach();
  },
);

interopTest(
  "attach: a disk that is reserved by others refuses, and is told of once a second",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    const words = [await aoeExecutable(), "attach", bench.address, "-i", "net0", "--foreground"];
    const daemon = bench.client.start(words);
    await daemon.waitForLine(/is \/dev\/etherd/);
    const reserve = async (...words: readonly string[]) => {
      const outcome = await bench.aoe(["reserve", "-i", "net0", bench.address, ...words]);
      assertEquals(outcome.code, 0, outcome.stderr);
    };
    await reserve("025400123456");
    const untilMs = performance.now() + 2500;
    let failures = 0;
    while (performance.now() < untilMs) {
      const read = ["dd", `if=${bench.node}`, "of=/dev/null", "iflag=direct", "bs=512"];
      const { stderr } = await run([...read, "conv=noerror", "count=50"], { timeoutMs: 30_000 });
      failures += stderr.split("Invalid exchange").length - 1;
    }
    assert(failures > 50, `${failures} failures`);
    const told = daemon.lines.filter((line) => line.text.includes("more before)"));
    assert(told.length >= 1 && daemon.lines.length < 15, daemon.text);
    const refused = await bench.aoe(["detach", bench.address]);
    assertEquals(refused.code, 1);
    assertStringIncludes(refused.stderr, "not be flushed, it is reserved by 02:54:00:12:34:56: it");
    await reserve("--release", "--force");
    await bench.detach();
    assertEquals((await daemon.ended).code, 0, daemon.text);
  },
);

interopTest(
  "attach: more requests than the daemon takes, and the first after them is served",
  [loopDevices, "fio"],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.attach();
    for (let i = 0; i < 4; i++) {
      bench.target.signal("SIGSTOP");
      const burst = new RunningProcess([
        ...["fio", "--name=burst", `--filename=${bench.node}`, "--ioengine=libaio", "--direct=1"],
        ...["--rw=randread", "--bs=4k", "--iodepth=256", "--number_ios=512"],
      ]);
      await sleep(700);
      bench.target.signal("SIGCONT");
      assertEquals((await burst.ended).code, 0, burst.text);
      const one = ["dd", `if=${bench.node}`, "of=/dev/null", "bs=4k", "count=1", "iflag=direct"];
      await runChecked(one, { timeoutMs: 5000 });
    }
    await bench.detach();
  },
);

interopTest(
  "attach: whoever asks to detach while a flush waits hears how it ended",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.attach(["--dead-after", "3"]);
    bench.target.signal("SIGSTOP");
    // Both wait for the flush, which fails when the target is given up.
    const outcomes = await Promise.all([
      bench.aoe(["detach", bench.address]),
      sleep(500).then(() => bench.aoe(["detach", bench.address])),
    ]);
    bench.target.signal("SIGCONT");
    for (const { code, stderr } of outcomes) {
      assertEquals(code, 1, stderr);
      assertStringIncludes(stderr, "could not be flushed");
    }
    await eventually(
      "it answers again",
      async () => (await bench.status()).attached.state === "up",
    );
    await bench.detach();
  },
);

interopTest(
  "attach: --force detaches what is mounted and what is dead, and whoever waits for it goes on",
  [loopDevices, "mke2fs"],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.attach(["--dead-after", "forever"]);
    await runChecked(["mke2fs", "-q", bench.node]);
    const folder = await bench.mount();
    await bench.target.stop();
    const reader = new RunningProcess([
      ...["dd", `if=${bench.node}`, "of=/dev/null", "iflag=direct", "bs=4k", "count=1"],
    ]);
    await sleep(500);
    assertEquals(reader.status, undefined);
    const pid = await bench.daemonPid();
    const forced = await bench.aoe(["detach", "--force", bench.address]);
    assertEquals([forced.code, forced.stdout], [0, `${bench.address} is detached\n`]);
    assert((await reader.ended).code !== 0, reader.text);
    await eventually(
      "the daemon is gone",
      async () => (await run(["test", "-e", `/proc/${pid}`])).code === 1,
    );
    await bench.unmount(folder);
    assertEquals((await run(["test", "-e", bench.node])).code, 1);
  },
);

interopTest(
  "attach: --force gives up what was not written back to a dead target",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.attach(["--dead-after", "forever"]);
    const { device } = (await bench.status()).attached;
    await bench.target.stop();
    await runChecked(["dd", "if=/dev/urandom", `of=${bench.node}`, "bs=1M", "count=8"]);
    const forced = await bench.aoe(["detach", "--force", bench.address], 15_000);
    assertEquals([forced.code, forced.stdout], [0, `${bench.address} is detached\n`]);
    await bench.untilFree(device as string);
  },
);

interopTest(
  "attach: Ctrl-C while the disk is looked for leaves no daemon that attaches it later",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.target.stop();
    const words = ["attach", bench.address, "-i", "net0", "--timeout", "20"];
    const attach = bench.client.start([await aoeExecutable(), ...words]);
    await eventually("a daemon looks for it", () => {
      return Deno.stat(`/run/aoe/${bench.address}.lock`).then(() => true, () => false);
    });
    await sleep(500);
    attach.signal("SIGINT");
    assertEquals((await attach.ended).code, 130, attach.text);
    await bench.serveAgain();
    await sleep(1500);
    const left = await bench.aoe(["detach", bench.address]);
    assertStringIncludes(left.stderr, "is not attached");
  },
);

interopTest(
  "detach: a device that a program has open goes when it is closed, and that is said",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.attach();
    const file = await Deno.open(bench.node);
    const { code, stdout } = await bench.aoe(["detach", bench.address]);
    assertEquals(code, 0);
    assertStringIncludes(stdout, "goes when the last program that has it open closes it");
    file.close();
    await eventually("its name is free", async () => {
      return (await bench.aoe(["attach", bench.address, "-i", "net0"])).code === 0;
    });
    await bench.detach();
  },
);
