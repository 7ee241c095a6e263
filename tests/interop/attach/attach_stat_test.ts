// What `aoe stat` says of attached disks, to scripts first of all; and interfaces that are renamed or
// taken out under an attached disk.

import { assertEquals, assertMatch } from "@std/assert";
import { eventually, runChecked } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../../harness/target.ts";
import { AttachBench, loopDevices } from "./attached.ts";

const MIB = 2 ** 20;

interopTest(
  "attach: aoe stat has aoe-stat's five columns and a line a disk",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(64 * MIB);
    const other = await bench.testbed.image("other.img", 16 * MIB);
    await using _other = await startTarget(bench.server, {
      interfaces: "net0",
      exports: [["e65001.1", other], ["e3.1", other.replace("other", "third")]],
      flags: ["--size", "16M"],
    });
    await bench.attach();
    const { stdout, stderr } = await bench.aoe(["stat", "e65001.1", bench.address, "3.1"]);
    assertEquals(stderr, "");
    // As awk reads it, and as aoe-stat's format lays it out.
    const lines = stdout.split("\n");
    assertEquals(lines.pop(), "");
    assertEquals(lines.map((line) => line.trim().split(/ +/)), [
      ["e3.1", "0.016GB", "net0", "8704", "up"],
      [bench.address, "0.067GB", "net0", "8704", "up"],
      ["e65001.1", "0.016GB", "net0", "8704", "up"],
    ]);
    for (const line of lines) assertMatch(line, /^.{10} .{15} .{10} .{5} .{14}$/);

    const long = await bench.aoe(["stat", "-l", bench.address]);
    const [first, blank, header, row] = long.stdout.split("\n");
    assertEquals([first, blank], [lines[1], ""]);
    assertMatch(header!, /^attached +by +state/);
    assertMatch(row!, new RegExp(`^${bench.node} +fuse +up +net0`));

    const json = (await bench.aoe(["stat", "--json", "e65001.1", "3.1", bench.address])).stdout
      .trimEnd().split("\n");
    assertEquals(json.map((line) => JSON.parse(line).address), ["e3.1", bench.address, "e65001.1"]);
    await bench.detach();
  },
);

interopTest(
  "attach: a disk whose interface was taken out is down at once, and has numbers all the same",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(64 * MIB);
    await bench.attach();
    await bench.client.ip("link add spare type bridge");
    await bench.client.ip("link set dev spare up");
    await bench.client.ip("link del net0");
    // Said when the link went, long before commands could have found out.
    await eventually("it is down", async () => {
      const { stdout } = await bench.aoe(["stat", "--timeout", "0.1", bench.address]);
      return / down +$/m.test(stdout);
    }, { timeoutMs: 3_000 });
    const { stdout } = await bench.aoe(["stat", "--timeout", "0.1", bench.address]);
    assertEquals(stdout.trim().split(/ +/), [bench.address, "0.067GB", "net0", "0", "down"]);
    const json = await bench.status();
    assertEquals([json.payloadBytes, json.bytes, json.state], [0, 64 * MIB, "down"]);
    assertEquals((json.attached as { paths: { state: string }[] }).paths[0]?.state, "lost");
    await bench.testbed.wire([bench.server, "net0"], [bench.client, "net0"], 9000);
    await eventually("it is up", async () => (await bench.status()).state === "up");
    await runChecked([
      "dd",
      `if=${bench.node}`,
      "of=/dev/null",
      "bs=64k",
      "count=1",
      "iflag=direct",
    ]);
    await bench.detach();
  },
);

interopTest(
  "attach: an interface that is renamed goes on under its new name, for the next daemon, too",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.attach(["--dead-after", "2", "--reserve"]);
    const read = ["dd", `if=${bench.node}`, "of=/dev/null", "bs=64k", "count=1", "iflag=direct"];
    // Kernels before 6.2 rename only what is down.
    for (const words of ["net0 down", "net0 name san0", "san0 up"]) {
      await bench.client.ip(`link set dev ${words}`);
    }
    await runChecked(read);
    await eventually("the path has the name of now", async () => {
      const { interfaces, state } = await bench.status();
      return state === "up" && JSON.stringify(interfaces) === '["san0"]';
    });
    const pid = await bench.daemonPid();
    Deno.kill(pid, "SIGKILL");
    await eventually("a new daemon uses it", async () => {
      const { attached, interfaces } = await bench.status();
      return attached !== undefined && attached.pid !== pid && attached.state === "up" &&
        JSON.stringify(interfaces) === '["san0"]';
    }, { timeoutMs: 20_000 });
    await runChecked(read);
    assertEquals((await bench.status()).attached.reserved, true);
    await bench.aoe(["detach", `/dev/etherd/${bench.address}`]);
    assertEquals((await bench.aoe(["detach", bench.address])).code, 1);
  },
);

interopTest(
  "attach: several disks at once, and --all of them detached",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    const other = await bench.testbed.image("other.img", 16 * MIB);
    const second = bench.address.replace(/\.7$/, ".8");
    await using _other = await startTarget(bench.server, {
      interfaces: "net0",
      exports: [[second, other]],
    });
    // Others' attached disks are none of its business: it has a /run/aoe of its own.
    const script = `
    mkdir -p /run/aoe && mount -t tmpfs -o mode=0700 tmpfs /run/aoe || exit 9
    "$1" detach --all || exit 8
    "$1" attach "$2" "/dev/etherd/$3" -i net0 || exit 7
    test -b "/dev/etherd/$2" -a -b "/dev/etherd/$3" || exit 6
    "$1" detach --all`;
    const { code, stdout, stderr } = await bench.client.run([
      ...["unshare", "-m", "sh", "-c", script, "sh"],
      ...[await aoeExecutable(), bench.address, second],
    ], { timeoutMs: 60_000 });
    assertEquals(code, 0, stdout + stderr);
    const lines = stdout.trimEnd().split("\n");
    assertEquals(lines[0], "No disk is attached");
    for (const name of [bench.address, second]) {
      assertEquals(lines.filter((line) => line === `${name} is detached`).length, 1, stdout);
    }
    const both = await bench.aoe(["attach", bench.address, second, "--foreground"]);
    assertEquals([both.code, both.stderr], [2, "aoe: --foreground attaches one disk only\n"]);
  },
);
