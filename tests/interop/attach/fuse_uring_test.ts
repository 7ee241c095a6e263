// FUSE over io_uring: who asks for it gets it where the kernel has it and it is on, and is told what
// that costs; all others keep what they have. The switch is the machine's: it is put back.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { AttachBench, fioVerify, loopDevices } from "./attached.ts";
import { eventually, run, runChecked } from "../../harness/process.ts";
import { interopTest, type Requirement } from "../../harness/requirements.ts";

const MIB = 2 ** 20;
const SWITCH = "/sys/module/fuse/parameters/enable_uring";

const uringSwitch: Requirement = {
  missing: "FUSE over io_uring: Linux 6.14",
  present: () => {
    try {
      Deno.writeTextFileSync(SWITCH, Deno.readTextFileSync(SWITCH));
      return true;
    } catch {
      return false;
    }
  },
};

/** Sets the switch until it is disposed of. */
function switched(value: "Y" | "N"): Disposable {
  const before = Deno.readTextFileSync(SWITCH);
  Deno.writeTextFileSync(SWITCH, value);
  return { [Symbol.dispose]: () => Deno.writeTextFileSync(SWITCH, before) };
}

interopTest(
  "attach: FUSE over io_uring that is off is said by -v, how it is turned on, and that it is missed",
  [loopDevices, uringSwitch],
  async () => {
    await using bench = await AttachBench.create(16 * MIB);
    {
      using _off = switched("N");
      const off = `FUSE over io_uring is off: echo Y >${SWITCH} turns it on`;
      assertStringIncludes(await bench.attach(["--backend", "fuse", "-v"]), `  ${off}\n`);
      await bench.detach();
      const asked = await bench.aoe(["attach", bench.address, "-i", "net0", "--fuse-uring"]);
      assertEquals([asked.code, asked.stderr], [0, `aoe: warning: ${bench.address}: ${off}\n`]);
      // It is as good as any other: its daemon is replaced.
      assertEquals((await bench.status()).attached.keeper, true);
      await bench.detach();
    }
    using _on = switched("Y");
    const said = await bench.attach(["--backend", "fuse", "--verbose"]);
    assertStringIncludes(said, "  FUSE over io_uring is on: --fuse-uring uses it\n");
    assertEquals((await bench.status()).attached.keeper, true);
    const other = await bench.aoe(["attach", bench.address, "-i", "net0", "--fuse-uring"]);
    assertStringIncludes(
      other.stderr,
      "is attached already, without --fuse-uring: detach it first",
    );
    await bench.detach();
    const kernel = await bench.aoe(["attach", bench.address, "--fuse-uring", "--backend", "nbd"]);
    assertEquals(kernel.code, 2);
  },
);

interopTest(
  "attach: FUSE over io_uring carries a verified load, discards and a new size, and fails when killed",
  [loopDevices, uringSwitch, "fio"],
  async () => {
    await using bench = await AttachBench.create(32 * MIB);
    using _on = switched("Y");
    const said = await bench.attach(["--fuse-uring", "-v"]);
    const cost = "a daemon that is killed is not replaced: requests that came by io_uring cannot";
    assertStringIncludes(said, cost);
    assert(!said.includes("FUSE over"), said);
    await runChecked(fioVerify(bench.node, { seconds: 3, bytes: 32 * MIB }), { timeoutMs: 60_000 });
    await runChecked(["sync", bench.node]);
    await runChecked(["cmp", bench.node, bench.image]);
    await runChecked(["blkdiscard", "-z", "-l", String(MIB), bench.node]);
    await runChecked(["cmp", "-n", String(MIB), bench.node, "/dev/zero"]);

    // What waits for a target that is away is given up by force.
    const { device } = (await bench.status()).attached;
    const read = ["dd", `if=${bench.node}`, "of=/dev/null", "count=8", "iflag=direct"];
    await bench.target.stop();
    const waiting = run(read, { timeoutMs: 60_000 });
    await eventually("it waits", async () => {
      const [, , , , , , , , inFlight] = (await Deno.readTextFile(
        `${(device as string).replace("/dev", "/sys/block")}/stat`,
      )).trim().split(/\s+/);
      return Number(inFlight) > 0;
    });
    const forced = await bench.aoe(["detach", "--force", bench.address]);
    assertEquals([forced.code, forced.stderr], [0, ""]);
    assertStringIncludes((await waiting).stderr, "rror");
    await bench.untilFree(device as string);

    // And so is what is under way when the daemon is killed: at once, and the name is free again.
    await bench.serveAgain();
    await bench.attach(["--fuse-uring"]);
    const killed = (await bench.status()).attached;
    const load = run(fioVerify(bench.node, { seconds: 20, bytes: 32 * MIB }), {
      timeoutMs: 60_000,
    });
    await eventually("fio works", async () => {
      const { attached } = await bench.status();
      return (attached.writes as number) > 100;
    });
    Deno.kill(killed.pid as number, "SIGKILL");
    const { code, stderr } = await load;
    assert(code !== 0);
    assertStringIncludes(stderr, "Input/output error");
    await bench.untilFree(killed.device as string);
    await bench.attach(["--fuse-uring"]);
    await runChecked(fioVerify(bench.node, { seconds: 1, bytes: 32 * MIB }), { timeoutMs: 60_000 });
    await bench.detach();
  },
);
