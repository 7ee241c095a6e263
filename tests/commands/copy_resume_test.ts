// `aoe copy --resume`: after whatever end, at whatever moment, the copy is whole and equal, or is
// refused because what was copied is not there any more. No 'equal' is said over a hole.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { eventually, type Outcome, run, runChecked, sleep } from "../harness/process.ts";
import { interopTest } from "../harness/requirements.ts";
import { aoeExecutable, onRebootedHost, startTarget } from "../harness/target.ts";
import { type Namespace, Testbed } from "../harness/testbed.ts";

const MIB = 2 ** 20;
const DISK_MIB = 48;

/** A host with a disk of noise on its loopback interface, and another that is empty. */
async function prepare(testbed: Testbed, flags: readonly string[] = []): Promise<{
  readonly host: Namespace;
  readonly aoe: string;
  readonly disk: string;
  readonly empty: string;
  readonly env: Record<string, string>;
}> {
  const host = await testbed.namespace("host");
  await host.loopback();
  // Small frames, so that a copy takes long enough to be interrupted.
  await host.ip("link set dev lo mtu 1500");
  const disk = testbed.path("disk.img");
  await runChecked(["sh", "-c", `head -c ${DISK_MIB}M /dev/urandom > ${disk}`]);
  const empty = await testbed.image("empty.img", DISK_MIB * MIB);
  await startTarget(host, {
    interfaces: "lo",
    exports: [["1.1", disk], ["1.2", empty]],
    flags,
  });
  return {
    host,
    disk,
    empty,
    aoe: await aoeExecutable(),
    env: { XDG_STATE_HOME: testbed.path("state") },
  };
}

/** Copies a part of a disk, and is told to end when so much is there: the copy waits for more. */
async function interruptedCopy(
  testbed: Testbed,
  { host, aoe, disk, env }: Awaited<ReturnType<typeof prepare>>,
  mib: number,
): Promise<string[]> {
  const fifo = testbed.path("fifo");
  await runChecked(["mkfifo", fifo]);
  const feed = host.start(["sh", "-c", `exec >${fifo}; head -c ${mib}M ${disk}; exec sleep 60`]);
  const argv = [aoe, "copy", fifo, "e1.2"];
  const copy = host.start([...argv, "--state-every", "0.05", "--json"], { env });
  await waitForState(`${env.XDG_STATE_HOME}/aoe/e1.2.aoe-copy`, mib * MIB);
  copy.signal("SIGKILL");
  await copy.ended;
  await feed.stop("SIGKILL", 0);
  return argv;
}

async function waitForState(path: string, done: number): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    const text = await Deno.readTextFile(path).catch(() => "{}");
    if (JSON.parse(text).done === done) return;
    await sleep(50);
  }
  throw new Error(`"${path}" does not say that ${done} bytes are there`);
}

function lines({ stderr }: Outcome): string[] {
  return stderr.trim().split("\n");
}

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}

for (const signal of ["SIGTERM", "SIGHUP", "SIGKILL"] as const) {
  interopTest(
    `copy: interrupted at twenty random moments by ${signal}, resumed each time, and equal`,
    [],
    async () => {
      await using testbed = await Testbed.create();
      const { host, aoe, disk, empty, env } = await prepare(testbed);
      const file = testbed.path("copy.img");
      const rounds = [
        { argv: [aoe, "copy", "e1.1", file], copied: file, state: `${file}.aoe-copy` },
        {
          argv: [aoe, "copy", disk, "e1.2"],
          copied: empty,
          state: `${env.XDG_STATE_HOME}/aoe/e1.2.aoe-copy`,
        },
      ];
      let resumed = 0;
      for (const { argv, copied, state } of rounds) {
        let wholeMs = 1000;
        for (let interruption = 0; interruption < 10;) {
          const again = await exists(state);
          if (again) resumed++;
          const startedMs = performance.now();
          const copy = host.start([
            ...[...argv, "--state-every", "0.02", "--json"],
            ...(again ? ["--resume"] : []),
          ], { env });
          const timer = setTimeout(() => copy.signal(signal), Math.random() * wholeMs);
          const { code } = await copy.ended;
          clearTimeout(timer);
          if (code === 0) {
            // It was faster: what it left must be right, and the next begins anew.
            wholeMs = Math.min(wholeMs, performance.now() - startedMs);
            await runChecked(["cmp", disk, copied]);
            assertEquals(await exists(state), false, "a state of a copy that is over");
            // Not cut off first: the target would see a disk of no bytes, and say so for a second.
            const zeros = ["if=/dev/zero", "bs=1M", `count=${DISK_MIB}`, "conv=notrunc"];
            await runChecked(["dd", `of=${copied}`, ...zeros]);
          } else {
            interruption++;
            // One that came before anything was kept: a busy machine takes longer to begin.
            if (!await exists(state)) wholeMs *= 1.5;
            assert(signal === "SIGKILL" || code === 130 || code > 128, `${code}: ${copy.text}`);
          }
        }
        const last = await exists(state) ? ["--resume"] : [];
        const end = await host.runChecked([...argv, "--verify", "--json", ...last], { env });
        const result = JSON.parse(end.stdout.trim().split("\n").at(-1)!);
        assertEquals([result.event, result.verified], ["copied", true]);
        await runChecked(["cmp", disk, copied]);
        assertEquals(await exists(state), false);
      }
      assert(resumed > 0, "No interruption left anything to resume");
      // Not even what was killed between making a file and renaming it.
      const left = [testbed.directory, `${env.XDG_STATE_HOME}/aoe`].flatMap((folder) =>
        [...Deno.readDirSync(folder)].map(({ name }) => name)
      ).filter((name) => name.includes(".aoe-copy"));
      assertEquals(left, []);
    },
  );
}

interopTest(
  "copy: --resume finds that the destination was removed, cut or changed",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const stage = await prepare(testbed);
    const { host, aoe, empty, disk, env } = stage;
    const argv = await interruptedCopy(testbed, stage, 8);
    // A byte of what was copied.
    const file = await Deno.open(empty, { write: true });
    await file.seek(3 * MIB + 77, Deno.SeekMode.Start);
    await file.write(new Uint8Array(1));
    file.close();
    const fed = host.start(["sh", "-c", `cat ${disk} > ${testbed.path("fifo")}`]);
    const refused = await host.run([...argv, "--resume", "--verify"], { env });
    assertEquals(refused.code, 5, refused.stdout);
    assertMatch(refused.stderr, /^aoe: e1\.2 does not hold any more what was copied to it/);
    assertEquals(lines(refused).length, 1);
    await fed.stop("SIGKILL", 0);

    for (const spoil of ["rm", "truncate -s 0", "truncate -s 1M"]) {
      const { words, copy, state } = await leaveState(testbed, host, aoe);
      const before = await Deno.readTextFile(state);
      await runChecked([...spoil.split(" "), copy]);
      const outcome = await host.run([...words, "--resume", "--verify"], { env });
      assert(
        outcome.code === 1 || outcome.code === 5,
        `${spoil}: ${outcome.code} ${outcome.stdout}`,
      );
      assertMatch(outcome.stderr, /is gone|does not hold any more what was copied to it/);
      assertEquals(outcome.stdout, "");
      // Nothing was touched: who puts the file back can go on.
      assertEquals(await Deno.readTextFile(state), before);
      if (spoil === "rm") assertEquals(await exists(copy), false, "an empty file");
      await runChecked(["rm", "-f", copy, state]);
    }
  },
);

/**
 * A copy of a disk to a file that has ended half-way, since there was no room for more.
 *
 * @returns The copy and what is remembered of it.
 */
async function leaveState(
  testbed: Testbed,
  host: Namespace,
  aoe: string,
): Promise<{ readonly words: string[]; readonly copy: string; readonly state: string }> {
  const [folder, kept] = [testbed.path("half"), testbed.path("kept")];
  const copy = `${folder}/copy.img`;
  // The small file system is gone with the namespace that it is mounted in.
  const script = `rm -rf ${kept} && mkdir -p ${folder} ${kept} &&
mount -t tmpfs -o size=8M none ${folder} && ! ${aoe} copy e1.1 ${copy} &&
cp -p ${folder}/* ${kept} && umount ${folder} && cp -p ${kept}/* ${folder}`;
  await host.runChecked(["unshare", "-m", "sh", "-c", script]);
  const state = `${copy}.aoe-copy`;
  assert(JSON.parse(await Deno.readTextFile(state)).done > MIB);
  return { words: [aoe, "copy", "e1.1", copy], copy, state };
}

interopTest("copy: --resume finds that the source is another by now", [], async () => {
  await using testbed = await Testbed.create();
  const stage = await prepare(testbed);
  const { host, disk, env } = stage;
  const argv = await interruptedCopy(testbed, stage, 8);
  const fifo = testbed.path("fifo");
  host.start(["sh", "-c", `(head -c 1M /dev/zero; cat ${disk}) > ${fifo}`]);
  const other = await host.run([...argv, "--resume"], { env });
  assertEquals(other.code, 5, other.stdout);
  assertMatch(other.stderr, /^aoe: "[^"]+fifo" is another by now, or was changed/);
  // The right one goes on, and the sum is that of the whole.
  const right = host.start(["sh", "-c", `cat ${disk} > ${fifo}`]);
  const resumed = await host.runChecked([
    ...[...argv, "--resume", "--verify", "--json", "--checksum", "sha256"],
  ], { env });
  await right.ended;
  const { checksum, verified } = JSON.parse(resumed.stdout);
  const sum = (await runChecked(["sha256sum", disk])).stdout.slice(0, 64);
  assertEquals([checksum.sha256, verified], [sum, true]);
});

interopTest("copy: another disk behind the source's address is not gone on with", [], async () => {
  await using testbed = await Testbed.create();
  const host = await testbed.namespace("host");
  await host.loopback();
  // Small frames, so that a copy takes long enough to be interrupted.
  await host.ip("link set dev lo mtu 1500");
  const aoe = await aoeExecutable();
  const disk = testbed.path("disk.img");
  const fill = `head -c ${DISK_MIB}M /dev/urandom > ${disk}`;
  await runChecked(["sh", "-c", fill]);
  const exports = [["1.1", disk]] as const;
  const target = await startTarget(host, { interfaces: "lo", exports });
  const { words } = await leaveState(testbed, host, aoe);
  await target.stop();
  // The same address and path, so the same serial number and size; but other data.
  await Deno.remove(disk);
  await runChecked(["sh", "-c", fill]);
  await startTarget(host, { interfaces: "lo", exports });
  const refused = await host.run([...words, "--resume"]);
  assertEquals(refused.code, 5, refused.stdout);
  assertMatch(refused.stderr, /^aoe: e1\.1 is another by now, or was changed/m);
  // Who says that it is the same has it not read again; reading everything again shows it.
  const trusted = await host.run([...words, "--resume", "--trust-source", "--verify"]);
  assertEquals(trusted.code, 5, trusted.stdout);
});

interopTest(
  "copy: --verify compares with the source, and finds what changed meanwhile",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { host, aoe } = await prepare(testbed);
    const source = testbed.path("source");
    await runChecked(["sh", "-c", `head -c 24M /dev/urandom > ${source}`]);
    using file = await Deno.open(source, { write: true });
    let over = false;
    const writer = (async () => {
      for (let i = 0; !over; i++) {
        await file.seek(17 * MIB + 5, Deno.SeekMode.Start);
        await file.write(new Uint8Array(new Uint32Array([i]).buffer));
        await sleep(1);
      }
    })();
    const outcome = await host.run([aoe, "copy", source, "e1.2", "--verify"]);
    over = true;
    await writer;
    assertEquals(outcome.code, 5, outcome.stdout + outcome.stderr);
    assertMatch(outcome.stderr, /was changed while it was copied, first between byte 16777216 and/);
  },
);

interopTest(
  "copy: a full file system has a sentence, and the copy goes on once there is room",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { host, aoe, disk } = await prepare(testbed);
    const folder = testbed.path("small");
    await Deno.mkdir(folder);
    // The mount is gone with its namespace.
    const script = `
mount -t tmpfs -o size=8M none ${folder}
${aoe} copy e1.1 ${folder}/x >${folder}.out 2>${folder}.err; echo "first $?"
ls ${folder}
mount -o remount,size=80M none ${folder}
${aoe} copy e1.1 ${folder}/x --resume --verify; echo "second $?"
cmp ${disk} ${folder}/x; echo "cmp $?"
ls ${folder}
${aoe} copy e1.1 ${folder}/y --no-sparse --length 40M 2>&1 | head -1
mount -o remount,size=56M none ${folder}
${aoe} copy e1.1 ${folder}/y --no-sparse 2>&1; echo "third $?"
ls ${folder}`;
    const { stdout } = await host.runChecked(["unshare", "-m", "sh", "-c", script]);
    assertMatch(
      stdout,
      /^first 1\nx\nx\.aoe-copy\nCopied 50331648 (.*\n){2,3}second 0\ncmp 0\nx\n/,
    );
    const said = await Deno.readTextFile(`${folder}.out`);
    assertMatch(said, /^Stopped after \d+ bytes .* --resume goes on there\n$/);
    const [warning, failure, nothing] = (await Deno.readTextFile(`${folder}.err`)).split("\n");
    assertMatch(
      warning!,
      /has room for \d+ bytes of the 50331648 to be copied: it is enough only if/,
    );
    assertMatch(failure!, /^aoe: Cannot write ".*x": no space left on device \(ENOSPC\)$/);
    assertEquals(nothing, "");
    assertMatch(stdout, /has room for \d+ bytes, but 50331648 would be copied\nthird 1\nx\n$/);
  },
);

interopTest("copy: the state is put in place of a link, and never through it", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe } = await prepare(testbed);
  const victim = testbed.path("victim");
  await Deno.writeTextFile(victim, "theirs");
  const copy = testbed.path("copy.img");
  for (const name of [`${copy}.aoe-copy`, `${copy}.aoe-copy.new`]) await Deno.symlink(victim, name);
  await host.runChecked([aoe, "copy", "e1.1", copy, "--state-every", "0.01"]);
  assertEquals(await Deno.readTextFile(victim), "theirs");
  assertEquals(await exists(`${copy}.aoe-copy`), false);
  const home = testbed.path("home");
  await Deno.mkdir(`${home}/aoe`, { recursive: true });
  await Deno.chown(`${home}/aoe`, 65534, 65534);
  await Deno.symlink(victim, `${home}/aoe/e1.2.aoe-copy`);
  await host.runChecked([aoe, "copy", copy, "e1.2"], { env: { XDG_STATE_HOME: home } });
  assertEquals(await Deno.readTextFile(victim), "theirs");
  assertEquals(
    [...Deno.readDirSync(`${home}/aoe`)].length,
    1,
    "another user's folder is left alone",
  );
  const read = await host.run([aoe, "copy", "e1.1", copy, "--resume"]);
  await Deno.symlink(victim, `${copy}.aoe-copy`);
  const linked = await host.run([aoe, "copy", "e1.1", copy, "--resume"]);
  assertMatch(read.stderr, /Nothing to resume/);
  assertMatch(linked.stderr, /is not read: it is no plain file/);
});

interopTest("copy: a cause is said once, and who holds a reservation is named", [], async () => {
  await using testbed = await Testbed.create();
  const target = await testbed.namespace("target");
  const aoe = await aoeExecutable();
  const { holder, other } = await threeHosts(testbed, target);
  const out = testbed.path("out");
  await Deno.writeTextFile(out, "the copy of last night");
  for (const flags of [[], ["-q"]]) {
    const refused = await other.run([aoe, "copy", "e1.1", out, ...flags]);
    assertEquals(refused.code, 4, refused.stderr);
    assertEquals(lines(refused).length, 1, refused.stderr);
    assertStringIncludes(
      refused.stderr,
      `aoe: e1.1 is reserved by ${await holder.mac("net0")}, and`,
    );
    assertEquals(await Deno.readTextFile(out), "the copy of last night");
  }
  const bench = await other.run([aoe, "bench", "e1.1"]);
  assertEquals([bench.code, lines(bench).length], [4, 1], bench.stderr);
  assertStringIncludes(bench.stderr, `e1.1 is reserved by ${await holder.mac("net0")}`);
  // A thin image on a file system that is full.
  const full = await holder.run([aoe, "copy", testbed.path("noise"), "e1.2"]);
  assertEquals([full.code, lines(full).length], [4, 1], full.stderr);
  assertMatch(full.stderr, /^aoe: e1\.2: .*\(write at sector \d+, .*\)(, and \d+ more like it)?$/m);
});

/** A target with a thin image, one host that has reserved a disk, and another; one network. */
async function threeHosts(
  testbed: Testbed,
  target: Namespace,
): Promise<{ readonly holder: Namespace; readonly other: Namespace }> {
  const [holder, other] = [await testbed.namespace("holder"), await testbed.namespace("other")];
  await testbed.wire([target, "p1"], [holder, "net0"], 1500);
  await testbed.wire([target, "p2"], [other, "net0"], 1500);
  await target.bridge("net0", ["p1", "p2"], 1500);
  const disk = await testbed.image("disk.img", DISK_MIB * MIB);
  const thin = testbed.path("thin");
  await Deno.mkdir(thin);
  await runChecked(["sh", "-c", `head -c 16M /dev/urandom > ${testbed.path("noise")}`]);
  const setUp =
    `mount -t tmpfs -o size=4M none ${thin} && truncate -s 24M ${thin}/t.img && exec "$@"`;
  await startTarget(target, {
    interfaces: "net0",
    exports: [["1.1", disk], ["1.2", `${thin}/t.img`]],
    before: ["unshare", "-m", "sh", "-c", setUp, "sh"],
  });
  await holder.runChecked([await aoeExecutable(), "reserve", "e1.1", "self"]);
  return { holder, other };
}

interopTest(
  "copy: writes that a rebooted target may have lost are told of, and read back",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const host = await testbed.namespace("host");
    await host.loopback();
    const image = await testbed.image("disk.img", DISK_MIB * MIB);
    const target = { interfaces: "lo", exports: [["1.2", image]] as const };
    const first = await startTarget(host, target);
    const [noise, fifo, go] = ["noise", "fifo", "go"].map((name) => testbed.path(name));
    await runChecked(["sh", "-c", `head -c 16M /dev/urandom > ${noise}; mkfifo ${fifo}`]);
    const feed = `exec >${fifo}; head -c 8M ${noise}; until [ -e ${go} ]; do sleep 0.1; done;
tail -c 8M ${noise}`;
    host.start(["sh", "-c", feed]);
    const env = { XDG_STATE_HOME: testbed.path("state") };
    const aoe = await aoeExecutable();
    const copy = host.start([aoe, "copy", fifo!, "e1.2", "--state-every", "4", "--json"], { env });
    // All that has come is written, and nothing of it flushed.
    await eventually("8 MiB on the disk", async () => {
      return (await run(["cmp", "-n", `${8 * MIB}`, noise!, image])).code === 0;
    });
    await first.stop("SIGKILL", 0);
    await startTarget(host, { ...target, before: await onRebootedHost(testbed) });
    // What is remembered must not claim what may be lost.
    await copy.waitForLine(/may have lost answered writes.*reading everything back/);
    const state = JSON.parse(await Deno.readTextFile(`${env.XDG_STATE_HOME}/aoe/e1.2.aoe-copy`));
    assertEquals(state.done, 0);
    await Deno.writeTextFile(go!, "");
    assertEquals((await copy.ended).code, 0, copy.text);
    const result = JSON.parse(copy.lines.findLast(({ stream }) => stream === "stdout")!.text);
    assertEquals([result.event, result.bytes, result.verified], ["copied", 16 * MIB, true]);
    await runChecked(["cmp", "-n", `${16 * MIB}`, noise!, image]);
  },
);

interopTest("copy: a terminal is spared a disk's bytes", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe } = await prepare(testbed);
  const { stdout } = await host.run([
    "script",
    "-qec",
    `${aoe} copy e1.1 - --length 1`,
    "/dev/null",
  ]);
  assertMatch(stdout, /^aoe: Standard output is a terminal/);
  assertEquals(stdout.trim().split("\n").length, 1);
});

interopTest("copy: a flush that failed is not mended by the next", ["strace"], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe, env } = await prepare(testbed);
  const file = testbed.path("copy.img");
  // As after a write-back that failed: the kernel says so once, and has dropped the data.
  const fault = ["-e", "inject=fsync,fdatasync:error=EIO:when=1"];
  const failing = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", file, ...fault];
  const argv = [aoe, "copy", "e1.1", file, "--state-every", "0.02", "--no-uring", "--json"];
  const { code, stdout, stderr } = await host.run([...failing, ...argv], { env });
  assertEquals(code, 1, stdout + stderr);
  assertStringIncludes(stderr, "Cannot flush");
  const { event, flushed, resumable } = JSON.parse(stdout.trim().split("\n").at(-1)!);
  assertEquals([event, flushed, resumable], ["failed", false, false]);
  // Standard output may be a file, too.
  const shell = `exec ${failing.join(" ")} ${aoe} copy e1.1 - --no-uring >${file}`;
  const piped = await host.run(["sh", "-c", shell], { env });
  assertEquals(piped.code, 1, piped.stderr);
  assertStringIncludes(piped.stderr, "Cannot flush standard output: ");
  for (const flag of ["", "--no-uring"]) {
    const pipe = `set -o pipefail; ${aoe} copy e1.1 - -q ${flag} | wc -c`;
    const whole = await host.run(["bash", "-c", pipe], { env });
    assertEquals([whole.code, Number(whole.stdout)], [0, DISK_MIB * MIB], whole.stderr);
  }
});
