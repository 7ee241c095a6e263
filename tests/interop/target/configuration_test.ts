// `aoe serve --config`: what a configuration says is served, to whom it says; and where commands ask
// that are not told on which interfaces.

import { assertEquals, assertMatch } from "@std/assert";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

interopTest(
  "serve --config: exports, an ACL that reads, and [initiator] interfaces",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(1500);
    const file = testbed.path("aoe.toml");
    const mac = await initiator.mac("net0");
    await testbed.image("rw.img", 1 << 20);
    await testbed.image("closed.img", 1 << 20);
    await Deno.writeTextFile(
      file,
      `
[defaults]
interfaces = ["net*"]
[acl.readers]
read-only = ["${mac.slice(0, 8)}:*"]
[[export]]
address = "e1.1"
path = "ro.img"
size = "1M"
acl = "readers"
[[export]]
address = "e1.2"
path = "rw.img"
mac = "${mac}"
[[export]]
address = "e1.3"
path = "closed.img"
acl = { reject = ["${mac}"] }
[initiator]
interfaces = ["net0", "none"]
`,
    );
    const env = {
      ...{ RUNTIME_DIRECTORY: testbed.path("run"), STATE_DIRECTORY: testbed.path("state") },
      AOE_CONFIG: file,
    };
    const aoe = await aoeExecutable();
    // The configuration is the one that is there by habit.
    await using _serve = await startTarget(target, {
      ...{ interfaces: "", exports: [], process: { env } },
    });
    const ask = (...words: string[]) => initiator.run([aoe, ...words], { env });
    const found = await ask("stat", "--json");
    const disks = found.stdout.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(disks.map((disk) => disk.address), ["e1.1", "e1.2"], found.stderr);
    const source = await testbed.image("source.img", 1 << 20);
    await Deno.writeFile(source, new Uint8Array(4096).fill(7));
    assertEquals((await ask("copy", source, "e1.2")).code, 0);
    assertEquals((await Deno.readFile(testbed.path("rw.img")))[4095], 7);
    const refused = await ask("copy", source, "e1.1", "--timeout", "1");
    assertMatch(refused.stderr, /e1\.1: The target refused the command/);
    assertEquals((await Deno.readFile(testbed.path("ro.img"))).some((byte) => byte !== 0), false);
    assertMatch((await ask("config", "e1.1", "set", "mine")).stderr, /e1\.1/);
    assertEquals((await ask("copy", "e1.1", testbed.path("copy.img"))).code, 0);

    await Deno.writeTextFile(file, '[initiator]\ninterfaces = ["none*"]\n');
    const nowhere = await ask("discover");
    assertEquals(nowhere.code, 1);
    assertMatch(nowhere.stderr, /aoe\.toml" has initiators ask on none\*, and none of that is up/);
    assertEquals((await ask("stat", "-i", "net0", "e1.2")).code, 0);
  },
);
