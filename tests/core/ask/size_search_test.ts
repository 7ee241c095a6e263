import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { SizeSearch } from "../../../src/core/ask/size_search.ts";

/** Searches where sizes up to `limit` pass; the result, and what was tried. */
function search(min: number, max: number, guesses: readonly number[], limit: number) {
  const size = new SizeSearch(min, max, guesses);
  const tried: number[] = [];
  for (let next = size.next(); next !== undefined; next = size.next()) {
    tried.push(next);
    assert(tried.length < 100, `without end: ${tried}`);
    size.report(next, next <= limit);
  }
  return { result: size.result(), tried };
}

Deno.test("size search: a healthy path costs one try, a customary one few", () => {
  assertEquals(search(60, 9014, [1518, 1519], 65_550), { result: 9014, tried: [9014] });
  assertEquals(search(60, 9014, [1518, 1519], 1518), { result: 1518, tried: [9014, 1518, 1519] });
  assertEquals(search(60, 1514, [1518, 1519], 0), { result: undefined, tried: [1514, 60] });
  assertEquals(search(1, 1, [2], 1), { result: 1, tried: [1] });
  assertEquals(search(1, 0, [], 1), { result: undefined, tried: [] });
});

Deno.test("size search: finds any limit within its bounds, without trying any size twice", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 100 }),
    fc.integer({ min: 0, max: 70_000 }),
    fc.array(fc.integer({ min: 0, max: 80_000 }), { maxLength: 8 }),
    fc.integer({ min: 0, max: 80_000 }),
    (min, range, guesses, limit) => {
      const max = min + range;
      const { result, tried } = search(min, max, guesses, limit);
      assertEquals(result, limit < min ? undefined : Math.min(limit, max));
      assertEquals(new Set(tried).size, tried.length);
      assert(tried.length <= 2 + guesses.length + 18);
    },
  ));
});
