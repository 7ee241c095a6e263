// From one plan to another: what is the same is not touched.

import { assertEquals } from "@std/assert";
import type { ExportPlan } from "../../../src/core/daemon/plan.ts";
import { planChanges } from "../../../src/core/daemon/plan_changes.ts";

function planOf(slot: number, different: Partial<ExportPlan> = {}): ExportPlan {
  return {
    ...{ address: { shelf: 1, slot }, path: `/disk${slot}`, interfaces: ["eth0"] },
    ...{ direct: false, sync: false, readOnly: false, cacheFixed: false, offsetBytes: 0 },
    ...{ lengthBytes: undefined, createBytes: undefined, format: undefined, force: false },
    ...{ acl: undefined, line: slot, ...different },
  };
}

const before = Array.from({ length: 200 }, (_, slot) => planOf(slot));

/** What becomes of the 200 when one of them is like this. */
function changesWith(different: Partial<ExportPlan>) {
  return planChanges(before, before.map((plan) => plan.line === 7 ? planOf(7, different) : plan));
}

Deno.test("plan changes: the same plan is no change, wherever in a file it stands", () => {
  const moved = before.map((plan) => ({
    ...plan,
    address: { ...plan.address },
    line: plan.line + 9,
  }));
  assertEquals(planChanges(before, moved.reverse()), []);
  assertEquals(changesWith({ createBytes: 512, format: "raw", force: true }), []);
});

Deno.test("plan changes: one of 200 that differs is the only one that is touched", () => {
  const acl = { accept: ["525400000001"], reject: [], readOnly: [] };
  for (
    const changes of [
      { acl },
      { interfaces: ["eth0", "eth1"] },
      { lengthBytes: 4096 },
      { readOnly: true },
      { readOnly: true, acl },
    ]
  ) {
    assertEquals(changesWith(changes), [{ kind: "change", plan: planOf(7, changes), changes }]);
  }
  for (
    const different of [
      { path: "/other" },
      { direct: true },
      { sync: true },
      { cacheFixed: true },
      { offsetBytes: 512, acl },
    ]
  ) {
    assertEquals(changesWith(different), [{ kind: "replace", plan: planOf(7, different) }]);
  }
});

Deno.test("plan changes: what goes is gone before what comes may want its place", () => {
  const comes = planOf(201, { path: "/disk3" });
  assertEquals(planChanges(before.slice(0, 4), [...before.slice(0, 3), comes]), [
    { kind: "remove", plan: planOf(3) },
    { kind: "add", plan: comes },
  ]);
  assertEquals(planChanges([], before.slice(0, 1)), [{ kind: "add", plan: planOf(0) }]);
  assertEquals(planChanges(before.slice(0, 1), []), [{ kind: "remove", plan: planOf(0) }]);
});
