// What tables are made of, against plain arrays.

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { EntryLists, FreeStack, NONE, NumberQueue } from "../../src/core/tables.ts";

const SIZE = 8;

Deno.test("tables: of free numbers the one given back last is taken first, and each once", () => {
  const free = new FreeStack(3);
  assertEquals([free.take(), free.take()], [0, 1]);
  free.release(0);
  assertEquals([free.count, free.take(), free.take(), free.take()], [2, 0, 2, NONE]);
  assertEquals(free.count, 0);
});

Deno.test("tables: a queue gives numbers in order of arrival, however often it went round", () => {
  fc.assert(fc.property(fc.array(fc.boolean(), { maxLength: 60 }), (steps) => {
    const queue = new NumberQueue(SIZE);
    const model: number[] = [];
    for (const [i, adds] of steps.entries()) {
      if (adds && model.length < SIZE) {
        queue.append(i);
        model.push(i);
      } else {
        assertEquals(queue.take(), model.shift() ?? NONE);
      }
      assertEquals(model.map((_, position) => queue.at(position)), model);
      assertEquals(queue.count, model.length);
    }
  }));
});

Deno.test("tables: lists hold what was put into them, in order", () => {
  const step = fc.record({
    entry: fc.integer({ min: 0, max: SIZE - 1 }),
    list: fc.integer({ min: 0, max: 1 }),
    /** Behind how many others it goes; 99: behind all. */
    behind: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constant(99)),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    const lists = new EntryLists(2, SIZE);
    const model: number[][] = [[], []];
    for (const { entry, list, behind } of steps) {
      const stands = model.findIndex((entries) => entries.includes(entry));
      if (stands >= 0) {
        lists.remove(stands, entry);
        model[stands] = model[stands]!.filter((other) => other !== entry);
      } else if (behind < model[list]!.length) {
        lists.insert(list, behind === 0 ? NONE : model[list]![behind - 1]!, entry);
        model[list]!.splice(behind, 0, entry);
      } else {
        lists.append(list, entry);
        model[list]!.push(entry);
      }
      assertEquals([entriesOf(lists, 0), entriesOf(lists, 1)], model);
    }
  }));
});

function entriesOf(lists: EntryLists, list: number): number[] {
  const entries: number[] = [];
  for (let entry = lists.first(list); entry !== NONE; entry = lists.next(entry)) {
    entries.push(entry);
  }
  return entries;
}
