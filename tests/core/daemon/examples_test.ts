// The configurations that the manual and README.md show are such as they describe.

import { assertEquals } from "@std/assert";
import { CONFIGURATION_MANUAL } from "../../../src/commands/man_configuration.ts";
import type { DaemonPlan } from "../../../src/core/daemon/plan.ts";
import { parsePlan } from "../../../src/core/daemon/parse_plan.ts";

/** What the examples in a text come to. */
function plansIn(text: string): DaemonPlan[] {
  const examples = [...text.matchAll(/^```toml\n(.*?)^```$/gms)].map(([, example]) => example!);
  const plans = examples.map((example) => parsePlan(example, { folder: "/etc", ethers: "" }));
  assertEquals(plans.map(({ mistakes }) => mistakes), [[], []]);
  return plans.map(({ plan }) => plan!);
}

Deno.test("configuration: README's home lab and classroom have no mistake", async () => {
  const [lab, classroom] = plansIn(
    await Deno.readTextFile(new URL("../../../README.md", import.meta.url)),
  );
  assertEquals(lab!.exports.map(({ sync, readOnly }) => [sync, readOnly]), [
    [false, false],
    [true, false],
    [false, true],
  ]);
  assertEquals(classroom!.exports.map(({ direct, acl }) => [direct, acl?.accept.length]), [
    [true, 1],
    [true, 1],
  ]);
});

Deno.test("configuration: the manual's home lab and classroom have no mistake", () => {
  const [lab, classroom] = plansIn(CONFIGURATION_MANUAL.map(({ text }) => text).join(""));
  assertEquals(lab!.exports.map(({ sync, readOnly }) => [sync, readOnly]), [
    [false, false],
    [true, false],
    [false, true],
  ]);
  assertEquals(classroom!.exports.map(({ acl }) => acl?.accept.length), [1, 1, 2]);
  assertEquals(classroom!.exports[0]!.acl!.readOnly, ["525400"]);
});
