// `aoe ctl`: a running `aoe serve` is asked and changed by its socket.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { interopTest } from "../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../harness/target.ts";
import { Testbed } from "../harness/testbed.ts";
import { run } from "../harness/process.ts";

interopTest(
  "ctl: shows what is served, in words and as JSON, of the daemon that is named",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const host = await testbed.namespace("host");
    await host.loopback();
    const env = { RUNTIME_DIRECTORY: testbed.path("run") };
    // A name that would hide what stands behind it.
    const disk = await testbed.image("\x1b[8mdisk.img", 1 << 20);
    const target = await startTarget(host, {
      ...{ interfaces: "lo", exports: [["1.1", disk]], flags: ["--name", "rack", "-r"] },
      process: { env },
    });
    const aoe = await aoeExecutable();
    const ctl = (...words: string[]) => run([aoe, "ctl", ...words], { env });

    const shown = await ctl("list", "--name", "rack");
    assertMatch(shown.stdout, /^e1\.1 +read-only +1\.0 MiB +\d+ +lo +\/.*\\u\{1b\}\[8mdisk\.img$/m);
    assertMatch(target.text, /\\u\{1b\}\[8mdisk\.img/);
    assert(!(target.text + shown.stdout).includes("\x1b"));
    const listed = JSON.parse((await ctl("list", "--name", "rack", "--json")).stdout);
    assertEquals(listed.name, "rack");
    assertEquals(listed.pid, target.pid);
    assertEquals(listed.exports.length, 1);
    assertEquals(listed.exports[0].bytes, 1 << 20);
    await host.runChecked([aoe, "stat", "-i", "lo", "e1.1"]);
    const stats = JSON.parse((await ctl("stats", "--name", "rack", "--json")).stdout);
    assert(stats.received > 0 && stats.sent > 0, JSON.stringify(stats));
    assertMatch((await ctl("stats", "--name", "rack")).stdout, /^e1\.1 +0 reads/m);

    const nobody = await ctl("list");
    assertEquals(nobody.code, 1);
    assertMatch(nobody.stderr, /^aoe: No aoe serve called "serve" runs here: /);
    const rival = await host.run(
      [aoe, "serve", "lo", "1.2", await testbed.image("2.img", 512), "--name", "rack"],
      { env },
    );
    assertEquals([rival.code, rival.stderr], [
      1,
      'aoe: Another aoe serve is called "rack": choose another --name\n',
    ]);
    // One that cannot start leaves no socket behind, at which nobody would answer.
    for (const flags of [["--metrics", "unix:/nonexistent/x"], ["--state", "/proc/none"]]) {
      const image = await testbed.image("5.img", 512);
      const failed = await host.run(
        [aoe, "serve", "lo", "1.5", image, "--name", "other", ...flags],
        { env },
      );
      assertEquals(failed.code, 1, failed.stderr);
      assertEquals([...Deno.readDirSync(env.RUNTIME_DIRECTORY)].map(({ name }) => name).sort(), [
        ...["other.lock", "rack.lock", "rack.socket"],
      ]);
    }
    // Without a name a second one is no mistake: it goes without a socket.
    for (const slot of [3, 4]) {
      await startTarget(host, {
        ...{ interfaces: "lo", exports: [[`1.${slot}`, await testbed.image(`${slot}.img`, 512)]] },
        process: { env },
      });
    }
    assertEquals(JSON.parse((await ctl("list", "--json")).stdout).exports[0].address, "e1.3");
  },
);
