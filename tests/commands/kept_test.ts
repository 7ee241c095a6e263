// What initiators set of a disk survives its daemon, where a state folder is given.

import { assertEquals, assertMatch } from "@std/assert";
import { interopTest } from "../harness/requirements.ts";
import { aoeExecutable, serveCommand, startTarget } from "../harness/target.ts";
import { Testbed } from "../harness/testbed.ts";

interopTest("serve --state: what was set is there after kill -9, or was refused", [], async () => {
  await using testbed = await Testbed.create();
  const host = await testbed.namespace("host");
  await host.loopback();
  const state = testbed.path("state");
  const options = {
    ...{ interfaces: "lo", exports: [["1.1", await testbed.image("disk.img", 1 << 20)]] as const },
    flags: ["--state", state],
    process: { env: { RUNTIME_DIRECTORY: testbed.path("run") } },
  };
  const aoe = await aoeExecutable();
  const ask = async (...words: string[]) => {
    const { code, stdout, stderr } = await host.run([aoe, ...words, "-i", "lo"]);
    return `${code} ${stdout}${stderr}`.trimEnd();
  };
  const target = await startTarget(host, options);
  assertMatch(await ask("config", "1.1", "set", "node7"), /^0 /);
  assertMatch(await ask("reserve", "1.1", "52:54:00:00:00:01"), /^0 /);
  assertMatch(await ask("mask", "1.1", "add", "self", "52:54:00:00:00:02"), /^0 /);
  const before = [
    await ask("config", "1.1"),
    await ask("reserve", "1.1"),
    await ask("mask", "1.1"),
  ];
  await target.stop("SIGKILL");

  const second = await startTarget(host, options);
  assertEquals(
    [await ask("config", "1.1"), await ask("reserve", "1.1"), await ask("mask", "1.1")],
    before,
  );
  assertMatch(before[0]!, /node7/);
  assertMatch(before[1]!, /52:54:00:00:00:01/);
  assertMatch(before[2]!, /52:54:00:00:00:02/);
  // A folder that is not there any more: nothing changes, and it is said.
  await Deno.rename(`${state}/serve`, `${state}/away`);
  assertMatch(await ask("config", "1.1", "force-set", "node8"), /^1 .*device unavailable/i);
  await second.waitForLine(
    /e1\.1: a change of its config string, .* it cannot be kept: No such file/,
  );
  assertEquals(await ask("config", "1.1"), before[0]);
  await Deno.rename(`${state}/away`, `${state}/serve`);
  assertMatch(await ask("config", "1.1", "force-set", "node8"), /^0 /);
  await second.stop();

  const file = `${state}/serve/e1.1.json`;
  await Deno.writeTextFile(
    file,
    (await Deno.readTextFile(file)).replace('"schema": 1', '"schema": 2'),
  );
  const refused = await host.run(await serveCommand(options), options.process);
  assertEquals([refused.code, refused.stderr], [
    1,
    `aoe: "${file}" is a newer aoe's (schema 2; this one knows 1): mend or remove it ` +
    `(then e1.1 has no config string, mask list and reservation any more)\n`,
  ]);
});
