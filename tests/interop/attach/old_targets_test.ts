// Disks of targets that know less than ours: no LBA48, no FLUSH CACHE EXT, no mask, no reservations.

import { assertEquals, assertMatch } from "@std/assert";
import { assertSameBytes } from "../../harness/bytes.ts";
import { run, runChecked } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";
import { loopDevices } from "./attached.ts";

const SCRIPT = new URL("../../harness/old_target.ts", import.meta.url).pathname;

for (const manner of ["silent", "error"]) {
  interopTest(
    `attach: a target with 28-bit commands only, to reservations ${manner}, is used`,
    [loopDevices],
    async () => {
      await using testbed = await Testbed.create();
      const { target, initiator } = await testbed.pair(9000);
      const shelf = 1000 + Math.floor(Math.random() * 60_000);
      const address = `e${shelf}.7`;
      const old = target.start([
        ...[Deno.execPath(), "run", "-A", SCRIPT],
        ...["net0", `${shelf}`, "7", manner],
      ]);
      await old.waitForLine(/^Serving/);
      const aoe = await aoeExecutable();
      const data = crypto.getRandomValues(new Uint8Array(65536));
      await Deno.writeFile(testbed.path("data"), data);
      const node = `/dev/etherd/${address}`;
      try {
        await initiator.runChecked([aoe, "attach", address, "-i", "net0"]);
        const copy = ["dd", "bs=64K", "conv=fsync", "status=none"];
        await runChecked([...copy, `if=${testbed.path("data")}`, `of=${node}`, "seek=3"]);
        await runChecked(["blockdev", "--flushbufs", node]);
        await runChecked([
          ...["dd", "bs=64K", "skip=3", "count=1", "status=none"],
          ...[`if=${node}`, `of=${testbed.path("back")}`],
        ]);
        assertSameBytes(await Deno.readFile(testbed.path("back")), data, "copy");
        await initiator.runChecked([aoe, "detach", address]);
        const refused = await initiator.run([aoe, "attach", address, "-i", "net0", "--reserve"]);
        assertEquals(refused.code, 1);
        assertMatch(
          refused.stderr,
          /^aoe: e\d+\.7 knows no reservations: attach it without [^\n]+\n$/,
        );
        // Beside what was attached: questions without a session speak 28 bits, too.
        const ping = await initiator.run([aoe, "ping", address, "--read", "-c", "1", "-i", "net0"]);
        assertEquals(ping.code, 0, ping.stdout + ping.stderr);
      } finally {
        await run([aoe, "detach", "--force", address]);
      }
    },
  );
}
