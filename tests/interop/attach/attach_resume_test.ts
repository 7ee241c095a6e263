// A daemon that is killed when something else is wrong, too: the target is away, an interface is gone,
// writes were lost, frames may still be on their way. What the keeper starts must go on, or fail in
// time, and never make a flush of what is lost.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { AttachBench, loopDevices } from "./attached.ts";
import { eventually, run, runChecked } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, onRebootedHost, startTarget } from "../../harness/target.ts";

const MIB = 2 ** 20;

function dd(bench: AttachBench, words: readonly string[]): string[] {
  return ["dd", "bs=4k", "count=8", ...words.map((word) => word.replace("NODE", bench.node))];
}

/** Kills the daemon and waits for its successor. */
async function killDaemon(bench: AttachBench): Promise<void> {
  const pid = await bench.daemonPid();
  Deno.kill(pid, "SIGKILL");
  await eventually("there is another daemon", async () => {
    const { stdout } = await bench.aoe(["stat", "--json", "--timeout", "0.2", bench.address]);
    const now = stdout === "" ? undefined : JSON.parse(stdout).attached?.pid;
    return now !== undefined && now !== pid;
  });
}

interopTest(
  "attach: killed while the target is away: --dead-after holds, and reading goes on when it is back",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.attach(["--dead-after", "2"]);
    await bench.target.stop();
    await killDaemon(bench);
    assertEquals((await bench.status()).attached.state, "down");
    const read = dd(bench, ["if=NODE", "of=/dev/null", "iflag=direct"]);
    assertStringIncludes((await run(read, { timeoutMs: 20_000 })).stderr, "Connection timed out");
    // Once more: the successor has a keeper, too.
    await killDaemon(bench);
    await bench.serveAgain();
    await eventually("it reads again", async () => (await run(read)).code === 0);
    await bench.detach();
  },
);

interopTest(
  "attach: killed under a read, and again, with the target away: it answers, and --force detaches",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.attach();
    const { device } = (await bench.status()).attached;
    const connections = async () => {
      const folder = `/proc/${await bench.daemonPid()}/fd`;
      const files = [...Deno.readDirSync(folder)].map(({ name }) =>
        Deno.readLinkSync(`${folder}/${name}`)
      );
      return files.filter((file) => file === "/dev/fuse").length;
    };
    await bench.target.stop();
    // No --dead-after: it waits for ever.
    const read = run(dd(bench, ["if=NODE", "of=/dev/null", "iflag=direct"]), { timeoutMs: 60_000 });
    await killDaemon(bench);
    assertEquals(await connections(), 1);
    await killDaemon(bench);
    assertEquals(await connections(), 1);
    const forced = await bench.aoe(["detach", "--force", bench.address]);
    assertEquals([forced.code, forced.stderr], [0, ""]);
    assertStringIncludes((await read).stderr, "rror");
    await bench.untilFree(device as string);
  },
);

interopTest(
  "attach: killed twice about a reboot of the target, the next fsync tells of the lost writes",
  [loopDevices, "unshare"],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.attach();
    const write = ["of=NODE", "if=/dev/urandom", "oflag=direct"];
    await runChecked(dd(bench, [...write, "conv=fsync"]));
    await runChecked(dd(bench, write));
    await bench.target.stop("SIGKILL");
    await killDaemon(bench);
    await using _rebooted = await startTarget(bench.server, {
      interfaces: "net0",
      exports: [[bench.address, bench.image]],
      before: await onRebootedHost(bench.testbed),
    });
    await eventually("it is up", async () => (await bench.status()).attached.state === "up");
    await killDaemon(bench);
    const sync = dd(bench, [...write, "conv=fsync"]);
    const lost = await run(sync);
    assert(lost.code !== 0, "the writes before the reboot were not told of");
    assertStringIncludes(lost.stderr, "Input/output error");
    await runChecked(sync);
    await bench.detach();
  },
);

interopTest(
  "attach: killed when its cache was swept, and made again by somebody else, it goes on",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    const cache = bench.testbed.path("cache");
    await Deno.mkdir(cache);
    const words = [await aoeExecutable(), "attach", bench.address, "-i", "net0"];
    await bench.client.runChecked(words, { env: { XDG_CACHE_HOME: cache }, timeoutMs: 60_000 });
    const written = bench.testbed.path("written");
    await runChecked(["dd", "if=/dev/urandom", `of=${written}`, "bs=4k", "count=8"]);
    await Deno.remove(`${cache}/aoe`, { recursive: true });
    await Deno.mkdir(`${cache}/aoe/state`, { recursive: true });
    await Deno.chown(`${cache}/aoe`, 65534, 65534);
    for (let life = 1; life <= 2; life++) {
      await killDaemon(bench);
      await runChecked(dd(bench, [`if=${written}`, "of=NODE", "oflag=direct"]));
      const { stdout } = await run(["cmp", "-n", "32768", written, bench.node]);
      assertEquals(stdout, "");
      const folder = `/proc/${await bench.daemonPid()}`;
      // It trusts nothing there, it can be found by its name, and it keeps what its keeper held once.
      const environment = (await Deno.readTextFile(`${folder}/environ`)).split("\0");
      assert(environment.includes("DENO_DIR=/run/aoe/state"), `${environment}`);
      assertEquals(await Deno.readTextFile(`${folder}/comm`), "aoe\n");
      const open = [...Deno.readDirSync(`${folder}/fd`)].map(({ name }) =>
        Deno.readLinkSync(`${folder}/fd/${name}`)
      );
      assertEquals(open.filter((path) => path.includes("/deno-")), []);
      assertEquals(open.filter((path) => path.includes("/aoe-")).length, 1, open.join(" "));
    }
    assertEquals([...Deno.readDirSync(`${cache}/aoe/state`)], []);
    await bench.detach();
  },
);

interopTest(
  "attach: killed with one of two links gone, its reservation is kept and old frames are waited for",
  [loopDevices, "mke2fs"],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    await bench.testbed.wire([bench.server, "net1"], [bench.client, "net1"], 9000);
    await bench.target.stop();
    const both = { interfaces: "net0,net1", exports: [[bench.address, bench.image]] } as const;
    const serve = await startTarget(bench.server, both);
    await bench.attach(["-i", "net1", "--reserve"]);
    await eventually("both paths are known", async () => {
      return ((await bench.status()).attached.paths as unknown[]).length === 2;
    });
    const holders = async () =>
      (await bench.aoe(["reserve", "-i", "net0", bench.address])).stdout.trim().split("\n");
    assertEquals((await holders()).length, 2);
    await runChecked(["mke2fs", "-q", bench.node]);
    const folder = await bench.mount();
    await bench.client.runChecked(["ip", "link", "del", "net1"]);
    const killedMs = performance.now();
    await killDaemon(bench);
    await runChecked(["dd", "if=/dev/urandom", `of=${folder}/file`, "count=9", "conv=fsync"]);
    const waitedMs = performance.now() - killedMs;
    assert(waitedMs > 4000, `Frames of the other daemon had only ${waitedMs} ms to arrive`);
    await bench.unmount(folder);
    // The other link is there again, and is used.
    await bench.testbed.wire([bench.server, "net1"], [bench.client, "net1"], 9000);
    await eventually("both paths are used again", async () => {
      const paths = (await bench.status()).attached.paths as { interface: string; state: string }[];
      return paths.some((path) => path.interface === "net1" && path.state === "up");
    }, { timeoutMs: 20_000 });
    // A target that is back within a second is missed by nobody, and has forgotten who reserved it.
    await serve.stop();
    await bench.serveAgain();
    await eventually("it is reserved again", async () => {
      return !(await holders()).join().includes("not reserved");
    }, { timeoutMs: 20_000 });
    await bench.detach();
  },
);
