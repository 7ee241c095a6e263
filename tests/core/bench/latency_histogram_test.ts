// Percentiles are right to within a bucket's width, whatever the times are.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { LatencyHistogram } from "../../../src/core/bench/latency_histogram.ts";

Deno.test("latency histogram: nothing counted", () => {
  const { count, minNs, maxNs, meanNs, percentiles, octaves } = new LatencyHistogram().summary([
    50,
  ]);
  assertEquals([count, minNs, maxNs, meanNs, percentiles, octaves], [0, 0, 0, 0, [[50, 0]], []]);
});

Deno.test("latency histogram: percentiles are those of the sorted times, to within 2 %", () => {
  fc.assert(fc.property(
    fc.array(fc.integer({ min: 1000, max: 60_000_000_000 }), { minLength: 1, maxLength: 300 }),
    fc.constantFrom(1, 50, 90, 99, 99.9),
    (times, percent) => {
      const histogram = new LatencyHistogram();
      for (const ns of times) histogram.add(ns);
      const summary = histogram.summary([percent]);
      const sorted = times.toSorted((a, b) => a - b);
      const exact = sorted[Math.max(1, Math.ceil(sorted.length * percent / 100)) - 1]!;
      const [, found] = summary.percentiles[0]!;
      assert(Math.abs(found - exact) <= exact * 0.02 + 16, `${found} instead of ${exact}`);
      assertEquals([summary.minNs, summary.maxNs], [sorted[0], sorted.at(-1)]);
      assertEquals(summary.octaves.reduce((sum, { count }) => sum + count, 0), times.length);
      let below = 0;
      for (const octave of summary.octaves) {
        assert(octave.belowNs > below, "octaves ascend");
        below = octave.belowNs;
      }
    },
  ));
});

Deno.test("latency histogram: what is longer than its last bucket is still counted", () => {
  const histogram = new LatencyHistogram();
  histogram.add(180e9);
  const { maxNs, percentiles } = histogram.summary([99]);
  assertEquals(maxNs, 180e9);
  assert(percentiles[0]![1] > 60e9);
});
