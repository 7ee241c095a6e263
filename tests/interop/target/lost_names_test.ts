// A served file that is replaced, deleted or moved away is told of, once: what is written goes on
// with the old file, and the next start would find another, or none.

import { assertEquals, assertMatch } from "@std/assert";
import { eventually, runChecked } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

interopTest("serve: a file that lost its name is told of once, and served on", [], async () => {
  await using testbed = await Testbed.create();
  const { target } = await testbed.pair(1500);
  const names = ["replaced", "deleted", "moved", "kept"];
  const paths: string[] = [];
  for (const name of names) paths.push(await testbed.image(`${name}.img`, 1 << 20));
  await using serving = await startTarget(target, {
    interfaces: "net0",
    exports: paths.map((path, i) => [`1.${i}`, path] as const),
  });
  const other = await testbed.image("other.img", 1 << 20);
  // As rsync does it.
  await Deno.rename(other, paths[0]!);
  await Deno.remove(paths[1]!);
  await Deno.rename(paths[2]!, testbed.path("elsewhere.img"));
  await Deno.writeFile(paths[3]!, new Uint8Array(1 << 20).fill(1));
  const told = () =>
    serving.errorLines.filter((line) => / was (replaced|deleted|moved)/.test(line));
  await eventually("all are told of", () => Promise.resolve(told().length >= 3));
  for (const [i, name] of ["replaced", "deleted", "moved"].entries()) {
    const line = told().find((line) => line.includes(` e1.${i}: "${paths[i]}" was ${name}`));
    assertMatch(line ?? "", /served on/, serving.text);
  }
  // What was deleted can be saved where the sentence says.
  const open = /\/proc\/\d+\/fd\/\d+/.exec(serving.text)?.[0] ?? "";
  await runChecked(["cmp", "-n", String(1 << 20), open, paths[0]!]);
  // Looked at every second: two looks later nothing is said twice.
  await new Promise((resolve) => setTimeout(resolve, 2_200));
  assertEquals(told().length, 3, serving.text);
  assertEquals((await serving.stop()).code, 0, serving.text);
});
