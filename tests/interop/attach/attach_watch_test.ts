// What an attached disk's daemon shows of it: to `aoe top`, and to Prometheus.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { eventually, type Outcome, run } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable } from "../../harness/target.ts";
import { AttachBench, loopDevices } from "./attached.ts";

const MIB = 2 ** 20;
const PORT = 9478;

/** The number of the first series that begins so. */
function series(metrics: string, start: string): number {
  return Number(metrics.split("\n").find((line) => line.startsWith(start))?.split(" ").at(-1));
}

interopTest(
  "attach: aoe top and Prometheus are told how a disk is used, how long it takes, what was lost",
  [loopDevices, "fio", "promtool"],
  async () => {
    await using bench = await AttachBench.create(64 * MIB);
    const { address, client, node } = bench;
    const aoe = await aoeExecutable();
    await client.loopback();
    // Others' attached disks are none of its business: where nothing runs, there is nothing to see.
    const alone = (words: string): Promise<Outcome> =>
      client.run([
        ...["unshare", "-m", "sh", "-c"],
        `mount -t tmpfs -o mode=0700 tmpfs /run/aoe || exit 9; ${words}`,
        ...["sh", aoe],
      ]);
    await bench.attach(["--metrics", `${PORT}`]);
    for (const flags of ["--once", "--once --json"]) {
      assertEquals(await alone(`"$1" top ${flags}`), {
        ...{ code: 1, stdout: "", timedOut: false },
        stderr:
          'aoe: No disk is attached, and no aoe serve called "serve" runs here: aoe serve starts one\n',
      });
    }

    const script = `console.log(await (await fetch("http://127.0.0.1:${PORT}/metrics")).text())`;
    const metrics = async () =>
      (await client.runChecked([Deno.execPath(), "eval", script])).stdout.trimEnd() + "\n";
    const count = async (name: string) =>
      series(await metrics(), `aoe_initiator_${name}{disk="${address}"`);
    const top = async (...words: string[]) =>
      (await client.runChecked([aoe, "top", "--once", ...words])).stdout;
    const own = async () => JSON.parse(await top("--json", address)).disks[0];

    const before = { reads: await count("reads_total"), bytes: await count("read_bytes_total") };
    assertEquals(await count("retransmissions_total"), 0);
    const load = run([
      ...["fio", "--name=load", `--filename=${node}`, "--size=64m", "--rw=randread", "--bs=4k"],
      ...["--direct=1", "--ioengine=libaio", "--iodepth=8", "--time_based", "--runtime=4"],
      // So many that there is something to count, and that a busy machine loses no answer.
      ...["--rate_iops=2000"],
      ...["--output-format=json"],
    ]);
    let disk = await own();
    await eventually("the load is seen", async () => (disk = await own()).reads > 0);
    assertEquals([disk.address, disk.node, disk.up, disk.writes], [address, node, true, 0]);
    assert(Math.abs(disk.readBytes / disk.reads - 4096) < 41, `${disk.readBytes} / ${disk.reads}`);
    const [path] = disk.paths;
    assertEquals([path.interface, path.up], ["net0", true]);
    assert(path.roundTripMs > 0 && disk.p50Ms > 0 && disk.p99Ms >= disk.p50Ms);
    // Beside the export of the same address, if its daemon has the name that is asked by default.
    assertMatch(
      await top(address),
      /^e\d+\.7 +1\/1 +[\d.]+k? +[\d.]+[kM]? +0 +[\d.]+(us|ms) +[\d.]+(us|ms) .* \/dev\/etherd\/e\d+\.7 +net0 [\da-f:]{17}$/m,
    );
    assertMatch(await top("no such"), /^Nothing has "no such" in it\.$/m);
    assertEquals(JSON.parse(await top("--json", "no such")).disks, []);

    const { read } = JSON.parse((await load).stdout).jobs[0];
    // The daemon's thread tells what it has done a few times a second.
    const reads = async () => await count("reads_total") - before.reads;
    await eventually("all reads are counted", async () => await reads() >= read.total_ios);
    const bytes = await count("read_bytes_total") - before.bytes;
    for (const [is, wanted] of [[await reads(), read.total_ios], [bytes, read.io_bytes]]) {
      assert(is >= wanted && is <= wanted * 1.01, `${is} of ${wanted}`);
    }
    // The disk itself answered all of them, and each has its time.
    const trips = await count("path_answer_seconds_count");
    assert(trips >= await reads() && trips <= await count("commands_total"), `${trips} trips`);
    // Where other programs have the processors, an answer may have come too late.
    const retransmitted = await count("retransmissions_total");
    const checked = await run(["promtool", "check", "metrics"], { input: await metrics() });
    assertEquals([checked.code, checked.stdout, checked.stderr], [0, "", ""]);

    // A target that is gone for a moment.
    await bench.server.ip("link set dev net0 down");
    const waiting = run(["dd", `if=${node}`, "of=/dev/null", "bs=4k", "count=1", "iflag=direct"]);
    await eventually(
      "it is sent again",
      async () => await count("retransmissions_total") > retransmitted,
    );
    await bench.server.ip("link set dev net0 up");
    assertEquals((await waiting).code, 0);
    await eventually(
      "top says so",
      async () => (await own()).total.retransmissions > retransmitted,
    );
    await bench.detach();
  },
);
