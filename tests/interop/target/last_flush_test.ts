// The end of a target whose last flush fails: its exit code, and what it says.

import { assertEquals, assertMatch } from "@std/assert";
import { run, runChecked } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

interopTest("serve: a last flush that fails ends with 1 and says what may be lost", [
  "losetup",
], async () => {
  await using testbed = await Testbed.create();
  const host = await testbed.namespace("host");
  await host.loopback();
  await withFullDevice(testbed, async (device) => {
    const aoe = await aoeExecutable();
    for (const flags of [[], ["--json"]]) {
      const state = ["--state", testbed.path("state")];
      const options = { interfaces: "lo", exports: [["1.1", device]] as const, flags: state };
      const target = flags.length === 0
        ? await startTarget(host, options)
        : host.start([aoe, "serve", ...state, ...flags, "lo", "1.1", device]);
      if (flags.length > 0) await target.waitForLine(/"serving"/);
      // Its own flush fails, too; what is written afterwards is not flushed by anybody.
      const write = ["bench", "1.1", "--rw", "write", "--size", "4M", "--runtime", "0.3"];
      await host.run([aoe, ...write]);
      const { code } = await target.stop("SIGTERM", 20_000);
      assertEquals(code, 1, target.text);
      if (flags.length === 0) {
        assertMatch(
          target.text,
          /^aoe: e1\.1 is not flushed: what was written since \d\d:\d\d:\d\d may be lost$/m,
        );
        continue;
      }
      const stopped = JSON.parse(target.lines.findLast(({ text }) => text.startsWith("{"))!.text);
      assertEquals(stopped.atRisk.length, 1);
      assertMatch(stopped.atRisk[0].since, /^\d{4}-.*Z$/);
    }
  });
});

interopTest("serve: initiators learn from the next target what the last one could not flush", [
  "losetup",
  "qemu-io",
], async () => {
  await using testbed = await Testbed.create();
  const host = await testbed.namespace("host");
  await host.loopback();
  await withFullDevice(testbed, async (device) => {
    const aoe = await aoeExecutable();
    const options = {
      ...{ interfaces: "lo", exports: [["1.1", device]] as const },
      flags: ["--state", testbed.path("state")],
    };
    const first = await startTarget(host, options);
    const socket = testbed.path("nbd.sock");
    await using nbd = host.start([aoe, "nbd", "1.1", "-i", "lo", "--socket", socket]);
    await nbd.waitForLine(/is served at/);
    const io = ["qemu-io", "-t", "writeback", "-f", "raw", `nbd+unix:///?socket=${socket}`];
    const go = testbed.path("go");
    const script = `{ echo "write 0 1M"; while [ ! -e ${go} ]; do sleep 0.05; done; echo flush; }`;
    await using client = host.start(["sh", "-c", `${script} | "$@"`, "sh", ...io]);
    await client.waitForLine(/^(qemu-io> )*wrote 1048576/);
    assertEquals((await first.stop("SIGTERM", 20_000)).code, 1, first.text);
    await using _second = await startTarget(host, options);
    await Deno.writeTextFile(go, "");
    await nbd.waitForLine(/warning: .*e1\.1 was restarted/);
    await client.ended;
  });
});

/** A device that takes writes into the page cache, and has no room for them when it is flushed. */
async function withFullDevice(
  testbed: Testbed,
  body: (device: string) => Promise<void>,
): Promise<void> {
  const folder = testbed.path("small");
  await Deno.mkdir(folder);
  await runChecked(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]);
  const backing = `${folder}/backing.img`;
  await runChecked(["truncate", "-s", "8M", backing]);
  const device = (await runChecked(["losetup", "-f", "--show", backing])).stdout.trim();
  try {
    await body(device);
  } finally {
    await run(["losetup", "-d", device]);
    await run(["umount", "-l", folder]);
  }
}
