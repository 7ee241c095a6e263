// The configurations that the manual shows are such as it describes.

import { assertEquals } from "@std/assert";
import { CONFIGURATION_MANUAL } from "../../../src/commands/man_configuration.ts";
import { parsePlan } from "../../../src/core/daemon/parse_plan.ts";

const examples = CONFIGURATION_MANUAL.flatMap(({ text }) =>
  [...text.matchAll(/^```toml\n(.*?)^```$/gms)].map(([, example]) => example!)
);

Deno.test("configuration: the manual's home lab and classroom have no mistake", () => {
  const plans = examples.map((text) => parsePlan(text, { folder: "/etc", ethers: "" }));
  assertEquals(plans.map(({ mistakes }) => mistakes), [[], []]);
  const [lab, classroom] = plans.map(({ plan }) => plan!);
  assertEquals(lab!.exports.map(({ sync, readOnly }) => [sync, readOnly]), [
    [false, false],
    [true, false],
    [false, true],
  ]);
  assertEquals(classroom!.exports.map(({ acl }) => acl?.accept.length), [1, 1, 2]);
  assertEquals(classroom!.exports[0]!.acl!.readOnly, ["525400"]);
});
