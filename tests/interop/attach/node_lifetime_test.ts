// No name under /dev/etherd outlives its device: the kernel gives the number to somebody else, and
// the name would lead to his data. Each test goes several rounds while other programs keep every
// processor busy; AOE_NODE_ROUNDS=200 asks for more than the usual ones.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { AttachBench, childrenOf, loopDevices } from "./attached.ts";
import { eventually, run, runChecked, RunningProcess } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";

const MIB = 2 ** 20;
const ROUNDS = Number(Deno.env.get("AOE_NODE_ROUNDS") ?? "0");

/** Keeps all processors busy until it is disposed of. */
function busyProcessors(): AsyncDisposable {
  const loops = Array.from(
    { length: navigator.hardwareConcurrency },
    () => new RunningProcess(["sh", "-c", "while :; do :; done"]),
  );
  return {
    [Symbol.asyncDispose]: async () => {
      for (const loop of loops) await loop.stop("SIGKILL");
    },
  };
}

/** Kills the daemon $1 and its keeper $2, and takes loop devices until one is the disk's $3. */
const TAKE_ITS_DEVICE = `
kill -9 "$2" "$1"
n=0
while :; do
  loop=$(losetup -f --show "$5") || exit 1
  if [ "$(stat -c %t:%T "$4" 2>/dev/null)" = "$(stat -c %t:%T "$loop")" ]; then
    losetup -d "$loop"
    echo "$4 leads to $loop, which is somebody else's"
    exit 1
  fi
  losetup -d "$loop"
  [ "$loop" = "$3" ] && exit 0
  n=$((n + 1))
  [ $n -lt 2000 ] || { echo "$3 is never free"; exit 1; }
done`;

interopTest(
  "attach: when daemon and keeper are killed, the node is gone before its number is anybody else's",
  [loopDevices, "losetup"],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    const other = await bench.testbed.image("other.img", MIB);
    for (let round = 0; round < (ROUNDS || 12); round++) {
      const { pid, device } = JSON.parse(await bench.attach(["--json"]));
      const [keeper] = await childrenOf(pid, "aoe-keeper");
      // Only while it counts: attaching would take all the longer.
      await using _load = busyProcessors();
      const words = [pid, keeper, device, bench.node, other].map(String);
      const taken = await run(["sh", "-c", TAKE_ITS_DEVICE, "sh", ...words], { timeoutMs: 60_000 });
      assertEquals([taken.code, taken.stdout], [0, ""], `round ${round}`);
    }
  },
);

interopTest(
  "attach: when the watcher is killed as well, whatever of aoe runs next takes the node away",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    for (const next of [["stat"], ["discover", "--timeout", "0.1"], ["detach"], ["attach"]]) {
      const { pid } = JSON.parse(await bench.attach(["--json"]));
      const all = await childrenOf(pid, "aoe-");
      assertEquals(all.length, 2);
      for (const child of [...all, pid]) Deno.kill(child, "SIGKILL");
      await bench.whenDead();
      const named = next[0] === "discover" ? [] : [bench.address];
      const outcome = await bench.aoe([...next, ...named]);
      assertEquals(outcome.code, 0, outcome.stderr);
      const there = (await run(["test", "-e", bench.node])).code === 0;
      assertEquals(there, next[0] === "attach", next[0]);
    }
    await bench.detach();
  },
);

interopTest(
  "attach: a watcher that is killed is replaced, and its successor watches a resumed daemon's nodes",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    const { pid } = JSON.parse(await bench.attach(["--json"]));
    const [first] = await childrenOf(pid, "aoe-watcher");
    Deno.kill(first!, "SIGKILL");
    await eventually("there is another watcher", async () => {
      const [second] = await childrenOf(pid, "aoe-watcher");
      return second !== undefined && second !== first;
    });
    const { keeper } = (await bench.status()).attached;
    if (keeper !== true) return;
    Deno.kill(pid, "SIGKILL");
    await eventually("the keeper has gone on", async () => {
      const { stdout } = await bench.aoe(["stat", "--json", "--timeout", "0.2", bench.address]);
      const attached = stdout === "" ? undefined : JSON.parse(stdout).attached;
      return attached !== undefined && attached.pid !== pid;
    });
    const now = await bench.daemonPid();
    assertEquals((await childrenOf(now, "aoe-watcher")).length, 1);
    // The killed daemon's watcher has gone, and has taken nothing away.
    await runChecked(["dd", `if=${bench.node}`, "of=/dev/null", "iflag=direct", "count=8"]);
    await bench.killWithKeeper();
    await eventually("the node is gone", async () => {
      return (await run(["test", "-e", bench.node])).code === 1;
    });
    const again = await bench.aoe(["attach", bench.address, "-i", "net0"]);
    assertEquals(again.code, 0, again.stderr);
    await bench.detach();
  },
);

interopTest(
  "attach: the node belongs to the group disk, as the kernel driver's does",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.attach();
    const { stdout } = await runChecked(["stat", "-c", "%U %G %a", bench.node]);
    assertEquals(stdout.trim(), "root disk 660");
    await bench.detach();
  },
);

interopTest(
  "attach: a partition's name goes with the partition, and never leads to another disk's",
  [loopDevices, "sfdisk", "partx", "losetup"],
  async () => {
    await using bench = await AttachBench.create(32 * MIB);
    const table = "label: gpt\nsize=8MiB\nsize=8MiB\n";
    const other = await bench.testbed.image("other.img", 32 * MIB);
    await runChecked(["sfdisk", "-q", other], { input: table });
    await bench.attach();
    await runChecked(["sfdisk", "-q", bench.node], { input: table });
    const loop = (await runChecked(["losetup", "-f", "--show", other])).stdout.trim();
    try {
      await using _load = busyProcessors();
      for (let round = 0; round < (ROUNDS || 25); round++) {
        await partitionsComeAndGo(bench, loop);
      }
    } finally {
      await run(["losetup", "-d", loop]);
    }
    await bench.detach();
  },
);

/** One round; the other device's partitions get the numbers that this one's have had. */
async function partitionsComeAndGo(bench: AttachBench, loop: string): Promise<void> {
  const names = [1, 2].map((number) => `${bench.node}p${number}`);
  await runChecked(["partx", "-u", bench.node]);
  await eventually("both partitions have names", async () => {
    return (await run(["test", "-b", names[0]!, "-a", "-b", names[1]!])).code === 0;
  });
  await runChecked(["partx", "-d", "--nr", "1:2", bench.node]);
  await runChecked(["partx", "-a", loop]);
  for (const name of names) {
    const led = await run(["stat", "-L", "-c", "%t:%T", name]);
    assertEquals(led.stdout, "", `${name} leads somewhere`);
    assertStringIncludes(led.stderr, "No such file");
  }
  await runChecked(["partx", "-d", "--nr", "1:2", loop]);
  await eventually("the names are gone", () => {
    const folder = bench.node.slice(0, bench.node.lastIndexOf("/"));
    const left = [...Deno.readDirSync(folder)].map((entry) => `${folder}/${entry.name}`);
    assert(left.includes(bench.node));
    return Promise.resolve(!names.some((name) => left.includes(name)));
  });
}
