// `aoe nbd` between real clients and `aoe serve`, over a wire: nbdinfo, nbdcopy, qemu-img, qemu-io
// and fio, and clients that behave badly.

import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOSPC,
  NBD_EPERM,
  NBD_ESHUTDOWN,
} from "../../../src/wire/nbd.ts";
import { NbdClient } from "./nbd_client.ts";
import { eventually, run, runChecked, type RunningProcess, sleep } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import {
  aoeExecutable,
  onRebootedHost,
  startTarget,
  type TargetOptions,
} from "../../harness/target.ts";
import { type Namespace, Testbed } from "../../harness/testbed.ts";

const MIB = 1 << 20;
const IMAGE_BYTES = 64 * MIB;

/** A target, a server in front of it, and the path of its socket. */
class Stage implements AsyncDisposable {
  readonly testbed: Testbed;
  readonly target: Namespace;
  readonly initiator: Namespace;
  readonly image: string;
  readonly socket: string;
  readonly options: TargetOptions;
  serve: RunningProcess;
  readonly server: RunningProcess;

  private constructor(
    testbed: Testbed,
    namespaces: { readonly target: Namespace; readonly initiator: Namespace },
    options: TargetOptions,
    serve: RunningProcess,
    server: RunningProcess,
  ) {
    this.testbed = testbed;
    this.target = namespaces.target;
    this.initiator = namespaces.initiator;
    this.image = options.exports[0]![1];
    this.socket = testbed.path("socket");
    this.options = options;
    this.serve = serve;
    this.server = server;
  }

  static async create(...flags: readonly string[]): Promise<Stage> {
    const testbed = await Testbed.create();
    const namespaces = await testbed.pair(9000);
    await namespaces.initiator.loopback();
    const image = await testbed.image("disk.img", IMAGE_BYTES);
    const options: TargetOptions = { interfaces: "net0", exports: [["1.1", image]] };
    const serve = await startTarget(namespaces.target, options);
    const place = flags.includes("--listen") ? [] : ["--socket", testbed.path("socket")];
    const server = namespaces.initiator.start(
      [await aoeExecutable(), "nbd", "e1.1", "-i", "net0", ...place, ...flags],
    );
    await server.waitForLine(/is served at|^\{/);
    return new Stage(testbed, namespaces, options, serve, server);
  }

  get uri(): string {
    return `nbd+unix:///?socket=${this.socket}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.testbed[Symbol.asyncDispose]();
  }

  /** Bytes that no two sectors share. */
  async source(bytes: number): Promise<string> {
    const words = new Uint32Array(bytes / 4);
    let x = 0x1234567;
    for (let i = 0; i < words.length; i++) {
      x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) + i;
      words[i] = x;
    }
    const path = this.testbed.path("source.raw");
    await Deno.writeFile(path, new Uint8Array(words.buffer));
    return path;
  }

  /** fio's words for a job that writes what it verifies; reads what it wrote. */
  fio(...words: readonly string[]): string[] {
    return [
      ...["fio", "--name=x", "--ioengine=nbd", `--uri=${this.uri}`, "--size=16m"],
      ...[
        "--verify=crc32c",
        "--verify_fatal=1",
        "--verify_dump=0",
        "--verify_state_save=0",
        ...words,
      ],
    ];
  }
}

interopTest(
  "nbd: nbdinfo finds size, flags and limits on both kinds of socket",
  ["nbdinfo"],
  async () => {
    await using stage = await Stage.create("--name", "disk one");
    const { stdout } = await runChecked(["nbdinfo", "--json", stage.uri]);
    const info = JSON.parse(stdout);
    assertEquals([info.protocol, info.structured], ["newstyle-fixed", true]);
    const [found] = info.exports;
    const expected = {
      "export-size": IMAGE_BYTES,
      is_read_only: false,
      can_flush: true,
      can_fua: true,
      can_df: true,
      can_multi_conn: true,
      can_trim: true,
      can_zero: true,
      can_fast_zero: true,
      can_cache: false,
      block_size_minimum: 512,
      block_size_preferred: 4096,
      block_size_maximum: 32 * MIB,
    };
    for (const [name, value] of Object.entries(expected)) assertEquals(found[name], value, name);
    assertEquals(found.contexts, ["base:allocation"]);
    const list = await runChecked(["nbdinfo", "--list", "--json", stage.uri]);
    assertEquals(JSON.parse(list.stdout).exports[0]["export-name"], "disk one");
    const map = await runChecked(["nbdinfo", "--map", "--json", stage.uri]);
    assertEquals(JSON.parse(map.stdout), [
      { offset: 0, length: IMAGE_BYTES, type: 0, description: "data" },
    ]);
    const wrong = await run(["nbdinfo", `nbd+unix:///e1.1?socket=${stage.socket}`]);
    assert(wrong.code !== 0);

    const tcp = stage.initiator.start([
      ...[await aoeExecutable(), "nbd", "e1.1", "-i", "net0"],
      ...["--listen", "127.0.0.1:0", "--json", "--read-only"],
    ]);
    const [line] = await tcp.waitForLine(/^\{.*/);
    const { uri, port, bytes, readOnly } = JSON.parse(line);
    assertEquals([uri, bytes, readOnly], [`nbd://127.0.0.1:${port}`, IMAGE_BYTES, true]);
    const over = await stage.initiator.runChecked(["nbdinfo", "--json", `${uri}/e1.1`]);
    assertEquals(JSON.parse(over.stdout).exports[0].is_read_only, true);
    assertEquals((await tcp.stop("SIGINT")).code, 0);
  },
);

interopTest(
  "nbd: nbdcopy and qemu-img bring back what they have written",
  ["nbdcopy", "qemu-img"],
  async () => {
    await using stage = await Stage.create();
    const source = await stage.source(IMAGE_BYTES);
    const copy = stage.testbed.path("copy.raw");
    await runChecked(["nbdcopy", "--flush", source, stage.uri]);
    await runChecked(["cmp", source, stage.image]);
    await runChecked(["nbdcopy", stage.uri, copy]);
    await runChecked(["cmp", source, copy]);
    // Requests of one sector, and of the largest size there is.
    for (const size of ["4096", `${32 * MIB}`]) {
      await runChecked(["nbdcopy", `--request-size=${size}`, stage.uri, copy]);
      await runChecked(["cmp", source, copy]);
    }
    const image = stage.testbed.path("copy.qcow2");
    await runChecked(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", stage.uri, image]);
    await runChecked(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", stage.uri, image]);
    await Deno.writeFile(copy, new Uint8Array(IMAGE_BYTES).fill(0x11));
    await runChecked(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", copy, stage.uri]);
    await runChecked(["cmp", copy, stage.image]);
  },
);

interopTest("nbd: qemu-io writes, zeroes, discards and flushes", ["qemu-io"], async () => {
  await using stage = await Stage.create();
  const commands = [
    ...["write -P 7 0 1M", "write -f -P 9 1M 4k", "write -P 5 2M 8M", "flush"],
    ...["write -z 4k 64k", "write -z -u 512k 64k", "discard 128k 128k", "write -z -u -n 640k 4k"],
    ...["read -P 7 0 4k", "read -P 0 4k 64k", "read -P 0 512k 64k", "read -P 0 128k 128k"],
    ...["read -P 0 640k 4k", "read -P 7 644k 4k", "read -P 9 1M 4k", "read -P 5 2M 8M"],
  ];
  const words = commands.flatMap((command) => ["-c", command]);
  const { stdout } = await runChecked(["qemu-io", "-f", "raw", ...words, stage.uri]);
  assert(!/failed|error/i.test(stdout), stdout);
  const disk = await Deno.readFile(stage.image);
  assertEquals([disk[0], disk[4096], disk[68 * 1024], disk[MIB], disk[10 * MIB - 1]], [
    7,
    0,
    7,
    9,
    5,
  ]);
});

interopTest(
  "nbd: two connections at once keep their data while the target is away",
  ["fio"],
  async () => {
    await using stage = await Stage.create();
    const load = run(
      stage.fio(
        ...["--rw=randwrite", "--bsrange=512-256k", "--blockalign=512"],
        ...["--iodepth=16", "--numjobs=2", "--offset_increment=16m", "--fsync=64"],
        ...["--rate=8m"],
      ),
      { timeoutMs: 90_000 },
    );
    await sleep(700);
    await stage.serve.stop("SIGKILL");
    await sleep(1500);
    stage.serve = await startTarget(stage.target, stage.options);
    const { code, stdout, stderr } = await load;
    // What a killed target has answered is in the page cache, of the same host as before.
    assertEquals(code, 0, stdout + stderr);
    const again = stage.fio(
      "--rw=randrw",
      "--bs=4k",
      "--iodepth=32",
      "--numjobs=2",
      "--offset_increment=16m",
    );
    const after = await run(again, { timeoutMs: 60_000 });
    assertEquals(after.code, 0, after.stdout + after.stderr);
  },
);

interopTest(
  "nbd: refusals are errors of the protocol, and the connection goes on",
  [],
  async () => {
    await using stage = await Stage.create();
    using client = await NbdClient.open(stage.socket);
    const data = new Uint8Array(512).fill(0x77);
    const write = { command: NBD_CMD_WRITE, offset: 0, bytes: 512, data };
    assertEquals(await client.ask({ command: NBD_CMD_READ, offset: 100, bytes: 512 }), NBD_EINVAL);
    assertEquals(
      await client.ask({ ...write, bytes: 300, data: data.subarray(0, 300) }),
      NBD_EINVAL,
    );
    assertEquals(await client.ask({ ...write, offset: IMAGE_BYTES }), NBD_ENOSPC);
    const large = new Uint8Array(33 * MIB);
    assertEquals(await client.ask({ ...write, bytes: large.length, data: large }), NBD_EINVAL);
    assertEquals(await client.ask({ command: NBD_CMD_READ, offset: 0, bytes: 0 }), NBD_EINVAL);
    assertEquals(await client.ask({ command: 77, offset: 0, bytes: 512 }), NBD_EINVAL);
    assertEquals(await client.ask({ ...write, flags: NBD_CMD_FLAG_FUA }), 0);
    assertEquals(await client.ask({ command: NBD_CMD_FLUSH, offset: 0, bytes: 0 }), 0);
    await client.send({ command: NBD_CMD_READ, cookie: 2 ** 50 + 3, offset: 0, bytes: 1024 });
    assertEquals(await client.reply(), { error: 0, cookie: 2 ** 50 + 3 });
    const read = await client.read(1024);
    assert(read.subarray(0, 512).every((byte) => byte === 0x77));
    assert(read.subarray(512).every((byte) => byte === 0));
    assertEquals((await Deno.readFile(stage.image))[0], 0x77);
  },
);

interopTest("nbd: a write whose data end too soon has failed", [], async () => {
  await using stage = await Stage.create();
  using client = await NbdClient.open(stage.socket);
  const data = new Uint8Array(300_000).fill(1);
  await client.send({ command: NBD_CMD_WRITE, cookie: 5, offset: 0, bytes: MIB, data });
  await client.endWriting();
  assertEquals(await client.reply(), { error: NBD_EIO, cookie: 5 });
});

interopTest(
  "nbd: each client whose writes a rebooted target may have lost hears of it, once",
  ["unshare"],
  async () => {
    await using stage = await Stage.create();
    const flush = { command: NBD_CMD_FLUSH, offset: 0, bytes: 0 };
    const data = new Uint8Array(4096).fill(1);
    const write = { command: NBD_CMD_WRITE, offset: 0, bytes: data.length, data };
    using first = await NbdClient.open(stage.socket);
    using second = await NbdClient.open(stage.socket);
    using third = await NbdClient.open(stage.socket);
    for (const client of [first, second]) assertEquals(await client.ask(write), 0);
    await stage.serve.stop("SIGKILL");
    const before = await onRebootedHost(stage.testbed);
    stage.serve = await startTarget(stage.target, { ...stage.options, before });
    assertEquals(await first.ask(flush), NBD_EIO);
    assertEquals(await first.ask(flush), 0);
    // A write that is to be stable is no flush of those before.
    assertEquals(await second.ask({ ...write, flags: NBD_CMD_FLAG_FUA }), 0);
    assertEquals(await second.ask(flush), NBD_EIO);
    assertEquals(await second.ask(flush), 0);
    assertEquals(await third.ask(flush), 0);
  },
);

interopTest("nbd: clients that behave badly do no harm to others", [], async () => {
  await using stage = await Stage.create();
  // One reads none of its answers, and asks for as much as it can.
  const greedy = await NbdClient.open(stage.socket);
  let asking = true;
  const asked = (async () => {
    for (let i = 0; asking && i < 10_000; i++) {
      await greedy.send({ command: NBD_CMD_READ, offset: 0, bytes: MIB });
    }
  })().catch(() => {});
  // One says nothing, one half of a write, one nonsense.
  using silent = await NbdClient.connect(stage.socket);
  const half = await NbdClient.open(stage.socket);
  await half.send({
    command: NBD_CMD_WRITE,
    offset: MIB,
    bytes: MIB,
    data: new Uint8Array(300_000).fill(1),
  });
  using noise = await NbdClient.open(stage.socket);
  await noise.write(new Uint8Array(4096).fill(0xff));
  await noise.ended();
  await stage.server.waitForLine(/A client was disconnected: what it sent is no request/);
  using deaf = await NbdClient.connect(stage.socket);
  await deaf.write(new Uint8Array(64).fill(0xff));
  await deaf.ended();

  using good = await NbdClient.open(stage.socket);
  for (let i = 0; i < 50; i++) {
    assertEquals(await good.ask({ command: NBD_CMD_READ, offset: 0, bytes: MIB }), 0);
    await good.read(MIB);
  }
  half[Symbol.dispose]();
  asking = false;
  greedy[Symbol.dispose]();
  await asked;
  // More than there are places: who leaves makes room.
  for (let i = 0; i < 40; i++) {
    using client = await NbdClient.open(stage.socket);
    await client.send({ command: NBD_CMD_READ, offset: 0, bytes: 8 * MIB });
  }
  assertEquals(await good.ask({ command: NBD_CMD_FLUSH, offset: 0, bytes: 0 }), 0);
  await silent.ended();
  await stage.server.waitForLine(/A client was disconnected: it did not say what it wants/);
  const status = await Deno.readTextFile(`/proc/${stage.server.pid}/status`);
  const peakKib = Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]);
  assert(peakKib < 256 * 1024, `${peakKib} KiB`);
});

interopTest("nbd: clients that hold all memory and read nothing are left", [], async () => {
  await using stage = await Stage.create();
  const greedy = [await NbdClient.open(stage.socket), await NbdClient.open(stage.socket)];
  for (const client of greedy) {
    for (let i = 0; i < 40; i++) {
      await client.send({ command: NBD_CMD_READ, offset: 0, bytes: MIB });
    }
  }
  await sleep(1000);
  using good = await NbdClient.open(stage.socket);
  const startMs = performance.now();
  assertEquals(await good.ask({ command: NBD_CMD_READ, offset: 0, bytes: 4 * MIB }), 0);
  await good.read(4 * MIB);
  const seconds = (performance.now() - startMs) / 1000;
  assert(seconds > 20 && seconds < 45, `${seconds} s`);
  await stage.server.waitForLine(/A client was disconnected: it takes no answers/);
  for (const client of greedy) client[Symbol.dispose]();
});

interopTest(
  "nbd: a signal lets requests in flight end, and takes the socket away",
  ["fio"],
  async () => {
    await using stage = await Stage.create();
    const load = run(
      stage.fio("--rw=randwrite", "--bs=64k", "--iodepth=8", "--time_based", "--runtime=30"),
      {
        timeoutMs: 60_000,
      },
    );
    await sleep(1500);
    // A target that is away keeps a request in flight, which is answered when it is back.
    using client = await NbdClient.open(stage.socket);
    await stage.serve.stop("SIGKILL");
    await client.send({ command: NBD_CMD_READ, cookie: 7, offset: 0, bytes: 512 });
    await sleep(300);
    stage.server.signal("SIGTERM");
    await sleep(300);
    await client.send({ command: NBD_CMD_READ, cookie: 8, offset: 0, bytes: 512 });
    assertEquals(await client.reply(), { error: NBD_ESHUTDOWN, cookie: 8 });
    stage.serve = await startTarget(stage.target, stage.options);
    assertEquals(await client.reply(), { error: 0, cookie: 7 });
    await client.read(512);
    assertEquals((await stage.server.ended).code, 0);
    await assertRejects(() => Deno.lstat(stage.socket), Deno.errors.NotFound);
    await load;
  },
);

interopTest("nbd: a socket in use is refused, a stale one replaced, and so on", [], async () => {
  await using stage = await Stage.create("--read-only");
  using client = await NbdClient.open(stage.socket);
  const data = new Uint8Array(512);
  assertEquals(
    await client.ask({ command: NBD_CMD_WRITE, offset: 0, bytes: 512, data }),
    NBD_EPERM,
  );
  const aoe = await aoeExecutable();
  const nbd = (...words: string[]) =>
    stage.initiator.run([aoe, "nbd", "e1.1", "-i", "net0", ...words], { timeoutMs: 10_000 });
  const used = await nbd("--socket", stage.socket);
  assertEquals(used.stderr, `aoe: Another process listens on "${stage.socket}"\n`);
  const file = await nbd("--socket", stage.image);
  assertEquals(file.stderr, `aoe: "${stage.image}" exists and is no socket\n`);
  const nowhere = await nbd("--socket", "/no/such/place");
  const expected = `aoe: Cannot listen on "/no/such/place": no such file or directory (ENOENT)\n`;
  assertEquals([nowhere.code, nowhere.stderr], [1, expected]);
  const silent = await stage.initiator.run([
    ...[aoe, "nbd", "e9.9", "-i", "net0", "--timeout", "1"],
    ...["--socket", stage.testbed.path("other")],
  ]);
  assertEquals([silent.code, silent.stderr], [3, "aoe: No answer from e9.9\n"]);
  await assertRejects(() => Deno.lstat(stage.testbed.path("other")), Deno.errors.NotFound);

  await stage.server.stop("SIGKILL");
  assert((await Deno.lstat(stage.socket)).isSocket);
  const second = stage.initiator.start([
    aoe,
    "nbd",
    "e1.1",
    "-i",
    "net0",
    "--socket",
    stage.socket,
  ]);
  await second.waitForLine(/is served at/);
  await eventually("it answers", async () => {
    using again = await NbdClient.open(stage.socket);
    return await again.ask({ command: NBD_CMD_FLUSH, offset: 0, bytes: 0 }) === 0;
  });
});
