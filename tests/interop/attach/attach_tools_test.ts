// `aoe revalidate` and `aoe flush` with a disk that is attached.

import { assertEquals, assertMatch } from "@std/assert";
import { eventually, runChecked } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { AttachBench, loopDevices } from "./attached.ts";

interopTest(
  "revalidate shows growth at once; flush forgets a disk that is gone, and no other",
  [loopDevices],
  async () => {
    await using bench = await AttachBench.create(1 << 20);
    await bench.attach();
    const { address } = bench;
    const size = async () =>
      Number((await runChecked(["blockdev", "--getsize64", bench.node])).stdout);
    await Deno.truncate(bench.image, 3 << 20);
    // The target looks at its file each second.
    await eventually("growth is seen", async () => {
      const { code, stdout } = await bench.aoe(["revalidate", address]);
      assertEquals(code, 0);
      return stdout === `${address} has 3.0 MiB (6144 sectors)\n`;
    });
    assertEquals(await size(), 3 << 20);
    const unknown = await bench.aoe(["revalidate", "e65000.250"]);
    assertEquals(unknown.code, 1);
    assertMatch(unknown.stderr, /e65000\.250 is not attached/);

    assertEquals((await bench.aoe(["flush", address])).stdout, "There is nothing to forget\n");
    await bench.target.stop();
    const flushed = await eventually("the disk is down", async () => {
      const outcome = await bench.aoe(["flush", address], 90_000);
      return outcome.stdout !== "There is nothing to forget\n" && outcome;
    }, { timeoutMs: 20_000 });
    assertEquals([flushed.code, flushed.stdout], [0, `${address} is forgotten\n`], flushed.stderr);
    assertEquals((await bench.aoe(["flush", address, "--json"])).stdout, '{"forgotten":[]}\n');
  },
);
