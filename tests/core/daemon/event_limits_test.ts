// A flood of events fills no disk.

import { assert, assertEquals } from "@std/assert";
import { EVENT_WINDOW_MS, EventLimits } from "../../../src/core/daemon/event_limits.ts";

Deno.test("event limits: ten a minute are told, the rest is counted once", () => {
  const limits = new EventLimits();
  const told = Array.from({ length: 1234 }, (_, i) => limits.take("a", i)).filter((said) => said);
  assertEquals(told.length, 10);
  assertEquals(limits.take("b", 5), true);
  assertEquals(limits.collect(EVENT_WINDOW_MS - 1), []);
  assertEquals(limits.collect(EVENT_WINDOW_MS), [{ key: "a", count: 1224 }]);
  assertEquals(limits.collect(2 * EVENT_WINDOW_MS), []);
  assertEquals(limits.take("a", EVENT_WINDOW_MS), true);
});

Deno.test("event limits: a flood of different things is bounded as well", () => {
  const limits = new EventLimits();
  let told = 0;
  for (let i = 0; i < 100_000; i++) if (limits.take(`thing ${i}`, 0)) told++;
  assert(told <= 1_010, `${told} were told`);
  assertEquals(limits.collect(EVENT_WINDOW_MS), [{ key: "", count: 100_000 - told }]);
});
