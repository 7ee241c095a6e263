// A ring of frames that overflows: on a network that loses frames, beside a disk that hangs, and under
// a flood of frames that mean harm. Whatever is lost is sent again, and every byte is right.

import { assert, assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import { bench, compiledTool, sharedTool } from "../../harness/aoebench.ts";
import { eventually, runChecked, RunningProcess, sleep } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../../harness/target.ts";
import { type Namespace, Testbed } from "../../harness/testbed.ts";

const SERVER = "qemu-storage-daemon";
const HANG_MS = 5000;
/** Far more than the ring holds. */
const WINDOW = 256;
const FLOOD_PER_SECOND = 100_000;

function program(name: string): string[] {
  const path = new URL(`../../harness/${name}.ts`, import.meta.url).pathname;
  return [Deno.execPath(), "run", "-A", "--quiet", path];
}

interopTest(
  "serve: a ring of 32 slots overflows all the time, the network loses frames, a disk hangs for 5 s",
  [...sharedTool("aoebench"), ...sharedTool("lossybridge"), SERVER],
  async () => {
    await using testbed = await Testbed.create();
    const target = await testbed.namespace("target");
    const middle = await testbed.namespace("middle");
    const initiator = await testbed.namespace("initiator");
    await testbed.wire([target, "net0"], [middle, "left"], 1500);
    await testbed.wire([middle, "right"], [initiator, "net0"], 1500);
    middle.start([await compiledTool("lossybridge"), "left", "right", "1", "1", "5", "10", "7"]);
    const cached = await testbed.image("cached.img", 16 << 20);
    const hanging = await testbed.image("hanging.img", 16 << 20);
    const server = new RunningProcess([
      ...[SERVER, "--blockdev", `driver=file,node-name=disk,filename=${hanging}`, "--export"],
      `type=fuse,id=fuse,node-name=disk,mountpoint=${hanging},writable=on`,
    ]);
    try {
      await eventually("the FUSE mount", async () => {
        return (await Deno.readTextFile("/proc/self/mountinfo")).includes(` ${hanging} `);
      });
      const stop = testbed.path("stop");
      const serve = target.start([
        ...[...program("small_ring_target"), "net0", "32", stop, "1.1", hanging, "1.2", cached],
      ]);
      await serve.waitForLine(/^Serving/);
      await overflow(initiator, ["write", "mixed", "verify"]);

      const aoe = await aoeExecutable();
      const load = initiator.start([
        ...[aoe, "bench", "1.1", "-i", "net0", "--rw", "randrw", "--bs", "1k", "--verify"],
        ...["--iodepth", "64", "--runtime", "2", "--dead-after", "60"],
      ]);
      await sleep(1000);
      server.signal("SIGSTOP");
      const hangs = performance.now();
      // The other disk's page cache is read meanwhile, on the same thread.
      await overflow(initiator, ["verify"]);
      assertEquals(load.status, undefined, load.text);
      await sleep(Math.max(0, HANG_MS - (performance.now() - hangs)));
      server.signal("SIGCONT");
      assertEquals((await load.ended).code, 0, load.text + serve.text);

      await Deno.writeTextFile(stop, "");
      await serve.ended;
      const dropped = Number(serve.text.match(/^dropped (\d+)$/m)?.[1]);
      assert(dropped > 1000, `The ring did not overflow: ${serve.text}`);
    } finally {
      server.signal("SIGCONT");
      await server.stop();
      await runChecked(["sh", "-c", `umount -l "$1" 2>/dev/null; true`, "sh", hanging]);
    }
  },
);

/** Loads e1.2 with more than the ring holds. */
async function overflow(initiator: Namespace, modes: readonly ("write" | "mixed" | "verify")[]) {
  for (const mode of modes) {
    const result = await bench(initiator, { iface: "net0", address: "1.2" }, {
      ...{ mode, sectors: 2, window: WINDOW, spanSectors: 3000, timeoutMs: 30, seconds: 1.5 },
      sequential: mode === "write",
    });
    assertEquals([result.errors, result.mismatches], [0, 0], result.line);
    assert(result.done >= 1500, `Not the whole span: ${result.line}`);
  }
}

interopTest("serve: a flood of 100,000 hostile frames a second costs no byte", [], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", 16 << 20);
  await using serve = await startTarget(target, { interfaces: "net0", exports: [["1.1", path]] });
  const mac = await target.mac("net0");
  const flood = (seconds: number) =>
    initiator.start([
      ...[...program("flood"), "net0", mac, "1.1", `${FLOOD_PER_SECOND}`, `${seconds}`],
    ]);
  const load = [await aoeExecutable(), "bench", "1.1", "-i", "net0", "--rw", "randrw", "--verify"];
  const verified = async (seconds: number) => {
    const words = [...load, "--bs", "1k", "--iodepth", "64", "--runtime", `${seconds}`];
    const { code, stdout, stderr } = await initiator.run(words);
    assertEquals(code, 0, stdout + stderr);
  };
  const hostile = flood(5);
  await verified(2);
  assertEquals(hostile.status, undefined, "the flood ended before the load");
  await hostile.ended;
  assertMatch(hostile.text, /^sent [1-9]\d{4,}$/m);

  // What comes while the target cannot run is more than its ring holds.
  serve.signal("SIGSTOP");
  await flood(0.5).ended;
  serve.signal("SIGCONT");
  await verified(0.5);
  await serve.stop();
  assertMatch(
    serve.text,
    /^Dropped [\d,]+ frames by the kernel, faster than they could be taken\.$/m,
  );
  // What is refused whatever the target's state is has not come that far.
  assertNotMatch(serve.text, / (too short|a response|for another address|not to be broadcast)\./);
});
