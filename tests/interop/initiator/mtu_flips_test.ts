// The target's MTU changes under load: what was too large for a while must cost no error, and every
// sector must be what was written last.

import { assertEquals } from "@std/assert";
import { sleep } from "../../harness/process.ts";
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
