// `aoe serve` in front of NBD servers: data end to end, errors told as they are, servers that are
// slow, that hang, that are killed under load, and what is lost with them.

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  bench,
  type BenchOptions,
  benchResult,
  sharedTool,
  startBench,
} from "../../harness/aoebench.ts";
import { qcow2Image, startNbdkit, startQemuNbd } from "./nbd_server.ts";
import { eventually, runChecked, type RunningProcess, sleep } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../../harness/target.ts";
import { type Namespace, Testbed } from "../../harness/testbed.ts";

const mebibyte = 1 << 20;
const at = { iface: "net0", address: "1.1" };
const spanSectors = 4 * 2048;
const checked = { sectors: 8, window: 32, spanSectors, timeoutMs: 2000 } satisfies Partial<
  BenchOptions
>;

/** Writes a pattern over the span; every write is answered well. */
async function write(initiator: Namespace): Promise<void> {
  const options = { ...checked, mode: "write", sequential: true, seconds: 3 } as const;
  const result = await bench(initiator, at, options);
  assertEquals([result.errors, result.mismatches], [0, 0], result.line);
  assert(result.done >= spanSectors / checked.sectors, result.line);
}

/** Reads the pattern back; how many answers were errors, and no other was wrong. */
async function errorsOfVerify(initiator: Namespace): Promise<number> {
  const result = await bench(initiator, at, { ...checked, mode: "verify" });
  assertEquals(result.mismatches, 0, result.line);
  return result.errors;
}

/** `aoe copy` with the interface of these tests. */
async function copy(initiator: Namespace, words: readonly string[]) {
  const argv = [await aoeExecutable(), "copy", ...words, "-i", "net0"];
  return await initiator.run(argv, { timeoutMs: 60_000 });
}

interopTest(
  "nbd source: data come back over Unix and TCP sockets, files beside them in one thread",
  [...sharedTool("aoebench"), "nbdkit"],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(9000);
    await target.loopback();
    const socket = testbed.path("nbd");
    await using _unix = await startNbdkit(target, socket, ["memory", "32M"]);
    await using tcp = target.start([
      ...["nbdkit", "-f", "-v", "-i", "127.0.0.1", "-p", "10810", "--filter=exportname", "memory"],
      ...["48M", "exportname=a disk", "exportname-strict=true"],
    ]);
    await tcp.waitForLine(/bound to IP address/);
    const image = await testbed.image("disk.img", 8 * mebibyte);
    await using serve = await startTarget(target, {
      interfaces: "net0",
      exports: [
        ["1.1", `nbd+unix://${socket}`],
        ["1.2", "nbd://127.0.0.1:10810/a%20disk"],
        ["1.3", image],
      ],
      flags: ["--workers", "1"],
    });
    assertMatch(serve.text, /e1\.1 {2}nbd\+unix:\S+ {2}32\.0 MiB, 65536 sectors, NBD export$/m);
    assertMatch(serve.text, /e1\.2 {2}nbd:\S+ {2}48\.0 MiB, 98304 sectors, NBD export$/m);
    await write(initiator);
    assertEquals(await errorsOfVerify(initiator), 0);
    const random = testbed.path("random");
    await runChecked(["sh", "-c", `head -c 7M /dev/urandom > ${random}`]);
    for (const address of ["e1.2", "e1.3"]) {
      const copied = await copy(initiator, [random, address, "--verify"]);
      assertEquals(copied.code, 0, copied.stderr);
    }
    assertEquals((await serve.stop()).code, 0, serve.text);
    assertEquals(serve.errorLines, []);
  },
);

interopTest(
  "nbd source: a qcow2 image behind qemu-nbd, and -o and -l of it",
  [...sharedTool("aoebench"), "qemu-nbd", "qemu-img"],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(9000);
    const image = await qcow2Image(testbed, "disk.qcow2", 48 * mebibyte);
    const socket = testbed.path("nbd");
    const random = testbed.path("random");
    await runChecked(["sh", "-c", `head -c 20M /dev/urandom > ${random}`]);
    {
      await using server = await startQemuNbd(target, socket, image);
      const uri = `nbd+unix:///?socket=${socket}`;
      const serving = { interfaces: "net0", exports: [["1.1", uri]] } as const;
      await using serve = await startTarget(target, serving);
      await write(initiator);
      assertEquals(await errorsOfVerify(initiator), 0);
      assertEquals((await serve.stop()).code, 0, serve.text);

      await using part = await startTarget(target, {
        ...serving,
        flags: ["-o", "4M", "-l", "24M", "-s"],
      });
      assertMatch(part.text, /24\.0 MiB, 49152 sectors/);
      const copied = await copy(initiator, [random, "e1.1", "--verify"]);
      assertEquals(copied.code, 0, copied.stderr);
      assertEquals((await part.stop()).code, 0, part.text);
      assertEquals([...serve.errorLines, ...part.errorLines], []);
      await server.stop();
    }
    await runChecked(["qemu-img", "check", "-q", image]);
    await runChecked(["qemu-img", "convert", "-O", "raw", image, testbed.path("raw")]);
    await runChecked([
      "cmp",
      "-n",
      `${20 * mebibyte}`,
      "-i",
      `${4 * mebibyte}:0`,
      testbed.path("raw"),
      random,
    ]);
  },
);

for (
  const { name, needs, start } of [
    {
      name: "qemu-nbd, which knows FUA",
      needs: ["qemu-nbd", "qemu-img"],
      start: async (testbed: Testbed) => {
        const image = await qcow2Image(testbed, "disk.qcow2", 32 * mebibyte);
        return (target: Namespace, socket: string) => startQemuNbd(target, socket, image);
      },
    },
    {
      name: "nbdkit without FUA",
      needs: ["nbdkit"],
      start: async (testbed: Testbed) => {
        const image = await testbed.image("disk.img", 32 * mebibyte);
        const words = ["--filter=fua", "file", image];
        return (target: Namespace, socket: string) => startNbdkit(target, socket, words);
      },
    },
  ] as const
) {
  interopTest(
    `nbd source: ${name}, killed under load and started again: -s keeps every answered write`,
    [...sharedTool("aoebench"), ...needs],
    async () => {
      await using testbed = await Testbed.create();
      const { target, initiator } = await testbed.pair(9000);
      const socket = testbed.path("nbd");
      const startServer = await start(testbed);
      const killed = await startServer(target, socket);
      await using serve = await startTarget(target, {
        interfaces: "net0",
        exports: [["1.1", `nbd+unix://${socket}`]],
        flags: ["-s"],
      });
      const writer = await startBench(initiator, at, {
        ...{ ...checked, mode: "write", sequential: true, seconds: 8 },
      });
      for (let server = killed, i = 0; i < 3; i++) {
        await sleep(700);
        const lines = serve.lines.length;
        await server.stop("SIGKILL");
        await serve.waitForLine(/is away .*: commands wait until it is back$/, { from: lines });
        await Deno.remove(socket);
        await sleep(300);
        server = await startServer(target, socket);
        await serve.waitForLine(/is back after \d+\.\d s$/, { from: lines });
      }
      const result = await benchResult(writer);
      assertEquals([result.errors, result.mismatches], [0, 0], result.line);
      assert(result.done >= spanSectors / checked.sectors, result.line);
      assertEquals(await errorsOfVerify(initiator), 0);
      assertEquals((await serve.stop()).code, 0, serve.text);
    },
  );
}

interopTest(
  "nbd source: what is lost with a server is told: the flush fails once, the incarnation changes",
  [...sharedTool("aoebench"), "nbdkit"],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(9000);
    const socket = testbed.path("nbd");
    const server = await startNbdkit(target, socket, ["memory", "32M"]);
    await using serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", `nbd+unix://${socket}`]],
    });
    const small = await testbed.image("small", mebibyte);
    const aoe = await aoeExecutable();
    const identify = async () =>
      (await initiator.runChecked([aoe, "identify", "e1.1", "-i", "net0", "--raw"])).stdout;
    const before = await identify();
    // Writes that no flush has covered.
    await write(initiator);
    await server.stop("SIGKILL");
    await serve.waitForLine(/may be lost, as the next flush says$/);
    await Deno.remove(socket);
    await using _larger = await startNbdkit(target, socket, ["memory", "64M"]);
    await serve.waitForLine(/is back after/);
    await serve.waitForLine(/e1\.1 has now 64\.0 MiB/);
    const after = await identify();
    assert(before !== after);
    const failed = await copy(initiator, [small, "e1.1"]);
    assertEquals(failed.code, 4, failed.stdout + failed.stderr);
    const good = await copy(initiator, [small, "e1.1", "--verify"]);
    assertEquals(good.code, 0, good.stderr);
    // What was flushed is at no risk: the server may come and go.
    await _larger.stop("SIGKILL");
    await Deno.remove(socket);
    await using _last = await startNbdkit(target, socket, ["memory", "64M"]);
    await eventually("it is back", () => serve.text.match(/is back after/g)?.length === 2);
    assertEquals(await identify(), after);
    const flushed = await copy(initiator, [small, "e1.1"]);
    assertEquals(flushed.code, 0, flushed.stderr);
    assertEquals((await serve.stop()).code, 0, serve.text);
  },
);

interopTest(
  "nbd source: the errors of a server are ATA errors, and the log has their names",
  [...sharedTool("aoebench"), "nbdkit"],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(9000);
    const socket = testbed.path("nbd");
    const [reads, writes] = [testbed.path("fail-reads"), testbed.path("fail-writes")];
    await using _server = await startNbdkit(target, socket, [
      ...["--filter=error", "memory", "32M", "error-pread=EIO", "error-pread-rate=0.5"],
      ...[`error-pread-file=${reads}`, "error-pwrite=ENOSPC", "error-pwrite-rate=1"],
      `error-pwrite-file=${writes}`,
    ]);
    await using serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", `nbd+unix://${socket}`]],
    });
    await write(initiator);
    await Deno.writeTextFile(reads, "");
    assert(await errorsOfVerify(initiator) > 10, "reads do not fail");
    await serve.waitForLine(/Reading of "nbd\S+" at sector \d+: input\/output error \(EIO\)$/);
    await Deno.remove(reads);
    assertEquals(await errorsOfVerify(initiator), 0);
    await Deno.writeTextFile(writes, "");
    const options = { ...checked, mode: "write", sequential: true, seconds: 1 } as const;
    const result = await bench(initiator, at, options);
    assert(result.errors > 10, result.line);
    await serve.waitForLine(
      /Writing of "nbd\S+" at sector \d+: no space left on device \(ENOSPC\)$/,
    );
    await Deno.remove(writes);
    await write(initiator);
    assertEquals(await errorsOfVerify(initiator), 0);
    assertEquals((await serve.stop()).code, 0, serve.text);
  },
);

interopTest(
  "nbd source: a slow server, and one that hangs, stop nobody else in their thread",
  [...sharedTool("aoebench"), "nbdkit"],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(9000);
    await testbed.wire([target, "net1"], [initiator, "net1"], 9000);
    const socket = testbed.path("nbd");
    const words = ["--filter=delay", "memory", "32M", "rdelay=200ms"];
    await using server = await startNbdkit(target, socket, words);
    const image = await testbed.image("disk.img", 32 * mebibyte);
    await using serve = await startTarget(target, {
      interfaces: "net0,net1",
      exports: [["1.1", `nbd+unix://${socket}`], ["1.2", image]],
      flags: ["--workers", "1"],
    });
    const slow = await startBench(initiator, at, { ...checked, mode: "read", seconds: 6 });
    await sleep(500);
    const neighbour = { iface: "net1", address: "1.2" };
    const read = { mode: "read", sectors: 8, window: 8, seconds: 1 } as const;
    const beside = await bench(initiator, neighbour, read);
    assertEquals(beside.errors, 0, beside.line);
    assert(beside.requestsPerSecond > 2000, `beside a slow server: ${beside.line}`);
    server.signal("SIGSTOP");
    const besideHanging = await bench(initiator, neighbour, read);
    server.signal("SIGCONT");
    assertEquals(besideHanging.errors, 0, besideHanging.line);
    assert(besideHanging.requestsPerSecond > 2000, `beside a hanging one: ${besideHanging.line}`);
    const result = await benchResult(slow);
    assertEquals(result.errors, 0, result.line);
    assert(result.done > 50, result.line);
    assertEquals((await serve.stop("SIGTERM", 15_000)).code, 0, serve.text);
  },
);

interopTest(
  "nbd source: what cannot be served is refused in one sentence",
  ["nbdkit"],
  async () => {
    await using testbed = await Testbed.create();
    const { target } = await testbed.pair(1500);
    const socket = testbed.path("nbd");
    const named = testbed.path("named");
    const coarse = testbed.path("coarse");
    await using _plain = await startNbdkit(target, socket, ["memory", "1M"]);
    await using _named = await startNbdkit(target, named, [
      ...["--filter=exportname", "memory", "1M", "exportname=disk", "exportname-strict=true"],
    ]);
    await using _coarse = await startNbdkit(target, coarse, [
      ...["--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=4096"],
      ...["blocksize-preferred=4096", "blocksize-maximum=1M", "blocksize-error-policy=error"],
    ]);
    const uri = `nbd+unix://${socket}`;
    const cases: readonly (readonly [readonly string[], readonly string[], RegExp])[] = [
      [
        ["1.1", `${uri}-not`],
        [],
        /^aoe: Cannot use "nbd\S+": no such file or directory \(ENOENT\)$/,
      ],
      [["1.1", "nbd://127.0.0.1:1/x"], [], /^aoe: Cannot use "nbd\S+": .*\(E[A-Z]+\)$/],
      [["1.1", `nbd+unix:///other?socket=${named}`], [], /": its server has no such export/],
      [["1.1", `nbd+unix://${coarse}`], [], /takes blocks of 4096 bytes and no less/],
      [["1.1", uri], ["-d"], /^aoe: -d goes around the page cache/],
      [["1.1", uri], ["--size", "1M"], /^aoe: --size makes image files/],
      [["1.1", uri], ["-o", "1M"], /leave no whole sector to export from byte 1048576 on$/],
      [["1.1", uri, "1.2", uri], [], /^aoe: "nbd\S+" is given twice/],
      [["1.1", "nbds://host/x"], [], /asks for TLS/],
    ];
    for (const [words, flags, expected] of cases) {
      const argv = [await aoeExecutable(), "serve", ...flags, "net0", ...words];
      const outcome = await target.run(argv, { timeoutMs: 15_000 });
      assertEquals([outcome.code, outcome.stdout], [1, ""], outcome.stderr);
      assertMatch(outcome.stderr.trimEnd(), expected);
      assertEquals(outcome.stderr.trimEnd().split("\n").length, 1, outcome.stderr);
    }
  },
);

interopTest(
  "nbd source: two hosts with one URI are paths of one disk, read-only as their server is",
  ["nbdkit"],
  async () => {
    await using testbed = await Testbed.create();
    const one = await testbed.namespace("one");
    const two = await testbed.namespace("two");
    const socket = testbed.path("nbd");
    await using _server = await startNbdkit(one, socket, ["-r", "pattern", "32M"]);
    const hosts = [one, two];
    const initiator = await testbed.namespace("initiator");
    for (const [i, host] of hosts.entries()) {
      await testbed.wire([host, "net0"], [initiator, `net${i}`], 9000);
      const serving = { interfaces: "net0", exports: [["1.1", `nbd+unix://${socket}`]] } as const;
      const serve = await startTarget(host, serving);
      assertMatch(serve.text, /NBD export, read-only$/m);
    }
    const aoe = await aoeExecutable();
    const found = await initiator.runChecked([aoe, "discover", "net0", "net1"]);
    assertEquals(found.stderr, "");
    assertEquals(found.stdout.match(/^e1\.1 /gm)?.length, 2, found.stdout);
    const out = testbed.path("out");
    const words = ["copy", "e1.1", out, "-i", "net0", "-i", "net1"];
    const copied = await initiator.run([aoe, ...words], { timeoutMs: 60_000 });
    assertEquals(copied.code, 0, copied.stderr);
    // nbdkit's pattern: each 8 bytes are their own offset.
    const bytes = new DataView((await Deno.readFile(out)).buffer);
    for (let at = 0; at < 32 * mebibyte; at += 4096 + 8) {
      assertEquals(Number(bytes.getBigUint64(at)), at);
    }
  },
);

interopTest(
  "nbd source: two hosts write through one server with -s; one is killed, and nothing is lost",
  ["qemu-nbd", "qemu-img"],
  async () => {
    await using testbed = await Testbed.create();
    const hosts = [await testbed.namespace("one"), await testbed.namespace("two")] as const;
    const initiator = await testbed.namespace("initiator");
    const image = await qcow2Image(testbed, "disk.qcow2", 96 * mebibyte);
    const socket = testbed.path("nbd");
    const server = await startQemuNbd(hosts[0], socket, image, ["--shared=4"]);
    const serving = {
      interfaces: "net0",
      exports: [["1.1", `nbd+unix://${socket}`]],
      flags: ["-s", "--force"],
    } as const;
    const targets: RunningProcess[] = [];
    for (const [i, host] of hosts.entries()) {
      await testbed.wire([host, "net0"], [initiator, `net${i}`], 9000);
      targets.push(await startTarget(host, serving));
      assertEquals(targets[i]!.errorLines, []);
    }
    const random = testbed.path("random");
    await runChecked(["sh", "-c", `head -c 96M /dev/urandom > ${random}`]);
    const copying = initiator.start([
      ...[await aoeExecutable(), "copy", random, "e1.1", "--verify", "-i", "net0", "-i", "net1"],
    ]);
    await eventually(
      "a part is written",
      async () => (await Deno.stat(image)).size > 24 * mebibyte,
    );
    await targets[0]!.stop("SIGKILL");
    assertEquals((await copying.ended).code, 0, copying.text);
    assertMatch(copying.text, /the path to \S+ on net0 is lost/);
    assertEquals((await targets[1]!.stop()).code, 0, targets[1]!.text);
    assertMatch(targets[1]!.text, /, [1-9]\d* writes /);
    await server.stop();
    await runChecked(["qemu-img", "convert", "-O", "raw", image, testbed.path("raw")]);
    await runChecked(["cmp", testbed.path("raw"), random]);

    await Deno.remove(socket).catch(() => undefined);
    await using _alone = await startQemuNbd(hosts[0], socket, image);
    await using warned = await startTarget(hosts[0], serving);
    assertMatch(
      warned.errorLines.join(),
      /NBD_FLAG_CAN_MULTI_CONN\): do not serve it from a second/,
    );
  },
);
