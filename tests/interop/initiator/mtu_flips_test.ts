// The target's MTU changes under load: what was too large for a while must cost no error, and every
// sector must be what was written last.

import { assert, assertEquals } from "@std/assert";
import { eventually, sleep } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

/** More of them can be asked for. */
const FLIPS = Number(Deno.env.get("MTU_FLIPS") ?? 16);
const PAUSES_MS = [20, 60, 150, 300, 700];

for (const bytes of ["64k", "4k"]) {
  interopTest(
    `bench --verify ${bytes}: the target's MTU goes from 9000 to 1500 and back, and no error`,
    [],
    async () => {
      await using testbed = await Testbed.create();
      const { target, initiator } = await testbed.pair(9000);
      const path = await testbed.image("disk.img", 32 << 20);
      // One of them begins small: the ring has to be remade for larger frames under load.
      if (bytes === "4k") await target.ip("link set net0 mtu 1500");
      await using serve = await startTarget(target, {
        interfaces: "net0",
        exports: [["1.1", path]],
      });
      const bench = initiator.start([
        ...[await aoeExecutable(), "bench", "1.1", "-i", "net0", "--rw", "randrw", "--verify"],
        ...["--bs", bytes, "--iodepth", "16", "--dead-after", "30", "--json"],
        ...["--runtime", `${1 + Math.ceil(FLIPS * 0.25)}`],
      ]);
      // The first requests go out with large frames.
      await sleep(500);
      for (let flip = 0; flip < FLIPS; flip++) {
        await target.ip(
          `link set net0 mtu ${(flip % 2 === 0) === (bytes === "64k") ? 1500 : 9000}`,
        );
        await sleep(PAUSES_MS[flip % PAUSES_MS.length]!);
      }
      await target.ip("link set net0 mtu 9000");
      assertEquals((await bench.ended).code, 0, bench.text + serve.text);
    },
  );
}

// A slot of the ring that frames come by is as large as the MTU was when the ring was made.
for (const flags of [[], ["--no-ring"]]) {
  interopTest(
    `bench --verify: both MTUs grow from 1500 to 9000, and large frames come whole ${flags}`.trim(),
    [],
    async () => {
      await using testbed = await Testbed.create();
      const { target, initiator } = await testbed.pair(1500);
      const path = await testbed.image("disk.img", 32 << 20);
      await using serve = await startTarget(target, {
        interfaces: "net0",
        exports: [["1.1", path]],
      });
      const bench = initiator.start([
        ...[await aoeExecutable(), "bench", "1.1", "-i", "net0", "--rw", "randrw", "--verify"],
        ...["--bs", "64k", "--iodepth", "16", "--dead-after", "30", "--json", "--runtime", "3"],
        ...flags,
      ]);
      await eventually("the load runs", async () => {
        const { stdout } = await initiator.runChecked([
          "cat",
          "/sys/class/net/net0/statistics/rx_packets",
        ]);
        return Number(stdout) > 200;
      });
      await target.ip("link set net0 mtu 9000");
      await initiator.ip("link set net0 mtu 9000");
      assertEquals((await bench.ended).code, 0, bench.text + serve.text);
      assert(!bench.text.includes("small ones are used"), bench.text);
      const stdout = bench.lines.filter((line) => line.stream === "stdout").at(-1)?.text ?? "";
      const { jobs: [job], aoe } = JSON.parse(stdout);
      // 8 large frames or 64 small ones carry a request.
      const frames = aoe.commands / (job.read.total_ios + job.write.total_ios + aoe.verifiedBlocks);
      assert(frames < 32, `${frames} frames a request: ${stdout}`);
    },
  );
}
