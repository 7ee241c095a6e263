// `aoe interfaces` and `aoe version`, on a host of their own.

import { assertEquals, assertMatch } from "@std/assert";
import { interopTest } from "../harness/requirements.ts";
import { aoeExecutable } from "../harness/target.ts";
import { Testbed } from "../harness/testbed.ts";

interopTest(
  "interfaces: shows what is asked on, sets it in the configuration alone",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { initiator } = await testbed.pair(1500);
    const file = testbed.path("aoe.toml");
    const env = { AOE_CONFIG: file };
    const aoe = await aoeExecutable();
    const ask = (...words: string[]) => initiator.run([aoe, ...words], { env });
    const first = await ask("interfaces");
    assertMatch(first.stdout, /^aoe uses net0 \(all Ethernet interfaces that are up\)\n/);
    const set = await ask("interfaces", "net0", "san*");
    assertMatch(set.stdout, /^aoe uses net0 \(net0, san\* in \//);
    assertMatch(set.stderr, /No Ethernet interface is called "san\*" now/);
    assertEquals(await Deno.readTextFile(file), '[initiator]\ninterfaces = ["net0", "san*"]\n');
    const json = JSON.parse((await ask("interfaces", "--json")).stdout);
    assertEquals([json.configured, json.used], [["net0", "san*"], ["net0"]]);
    assertMatch((await ask("interfaces", "--all")).stdout, /^aoe uses net0 \(all/);
    assertEquals(await Deno.readTextFile(file), "[initiator]\n");
    assertEquals((await ask("interfaces", "--all", "net0")).code, 2);
    await Deno.writeTextFile(file, "[initiator]\ninterfaces = [\n");
    const broken = await ask("interfaces", "net0");
    assertEquals(broken.code, 1);
    assertMatch(broken.stderr, /aoe\.toml:2: .*mend this first/);

    const version = JSON.parse((await ask("version", "--json")).stdout);
    assertEquals(version.version, (await ask("--version")).stdout.trim());
    assertMatch((await ask("version")).stdout, /^aoe \S+ \(Deno \S+\)\nThe kernel's aoe driver /);
  },
);
