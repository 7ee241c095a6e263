import { assertEquals } from "@std/assert";
import { RoundTrips } from "../../../src/core/ask/round_trips.ts";

function summaryOf(values: Iterable<number>) {
  const roundTrips = new RoundTrips();
  for (const ms of values) roundTrips.add(ms);
  return roundTrips.summary();
}

Deno.test("round trips: none, one, a hundred", () => {
  assertEquals(summaryOf([]), undefined);
  assertEquals(summaryOf([0.1234567]), {
    ...{ count: 1, minMs: 0.123, medianMs: 0.123, p99Ms: 0.123, maxMs: 0.123 },
  });
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i);
  assertEquals(summaryOf(hundred), { count: 100, minMs: 1, medianMs: 50, p99Ms: 99, maxMs: 100 });
});

Deno.test("round trips: memory is bounded, extremes are not forgotten", () => {
  function* many() {
    yield 1000;
    yield 0.001;
    for (let i = 0; i < 250_000; i++) yield i < 150_000 ? 7 : 3;
  }
  assertEquals(summaryOf(many()), {
    ...{ count: 250_002, minMs: 0.001, medianMs: 3, p99Ms: 3, maxMs: 1000 },
  });
});
