// wire/README.md, 'What we decide', decision 13, against a naive list of commands that looks at all of
// them each time.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { OverlapOrder } from "../../../src/core/target/overlap.ts";

/** A command of the naive list. */
interface Command {
  readonly frame: number;
  readonly write: boolean;
  readonly first: number;
  readonly end: number;
  running: boolean;
}

/** Decision 13 word for word. */
class NaiveOrder {
  /** In order of arrival, those that are finished taken out. */
  readonly commands: Command[] = [];

  admit(frame: number, write: boolean, first: number, end: number): boolean {
    const command = { frame, write, first, end, running: false };
    this.commands.push(command);
    command.running = this.#mayStart(command);
    return command.running;
  }

  finish(frame: number): void {
    this.commands.splice(this.commands.findIndex((command) => command.frame === frame), 1);
  }

  /** Those that may start now, oldest first, all started. */
  promoteAll(): number[] {
    const started = this.commands.filter((command) => !command.running && this.#mayStart(command));
    for (const command of started) command.running = true;
    return started.map(({ frame }) => frame);
  }

  /** No older command, running or waiting, overlaps with it. */
  #mayStart(command: Command): boolean {
    return this.commands.slice(0, this.commands.indexOf(command)).every((older) =>
      !overlap(older, command)
    );
  }
}

function overlap(a: Command, b: Command): boolean {
  return (a.write || b.write) && a.first < b.end && b.first < a.end;
}

function promoteAll(order: OverlapOrder): number[] {
  const started: number[] = [];
  for (let frame = order.promote(); frame >= 0; frame = order.promote()) started.push(frame);
  return started;
}

Deno.test("decision 13: reads run in parallel, however they overlap", () => {
  const order = new OverlapOrder(4);
  for (let frame = 0; frame < 4; frame++) assert(order.admit(frame, false, frame, 8));
  assertEquals([order.running, order.waiting], [4, 0]);
});

Deno.test("decision 13: writes of other sectors run in parallel, side by side too", () => {
  const order = new OverlapOrder(4);
  assert(order.admit(0, true, 8, 16));
  assert(order.admit(1, true, 16, 24));
  assert(order.admit(2, true, 0, 8));
  assert(order.admit(3, false, 24, 32));
});

for (
  const [name, older, newer] of [
    ["a write behind a write", true, true],
    ["a write behind a read", false, true],
    ["a read behind a write", true, false],
  ] as const
) {
  for (
    const [how, first, end] of [
      ["the same sectors", 10, 20],
      ["its first sector", 9, 11],
      ["its last sector", 19, 21],
      ["a sector within", 15, 16],
      ["all around it", 0, 100],
    ] as const
  ) {
    Deno.test(`decision 13: ${name} waits for ${how}`, () => {
      const order = new OverlapOrder(2);
      assert(order.admit(0, older, 10, 20));
      assert(!order.admit(1, newer, first, end));
      assertEquals(promoteAll(order), []);
      order.finish(0);
      assertEquals(promoteAll(order), [1]);
      assertEquals([order.running, order.waiting], [1, 0]);
    });
  }
}

Deno.test("decision 13: an old write sent again never lands on top of a newer one", () => {
  const order = new OverlapOrder(3);
  const disk: string[] = [];
  assert(order.admit(0, true, 0, 2));
  assert(!order.admit(1, true, 0, 2));
  // The retransmission of the first, come late.
  assert(!order.admit(2, true, 0, 2));
  for (const frame of [0, 1, 2]) {
    disk.push(`write ${frame}`);
    order.finish(frame);
    assertEquals(promoteAll(order), frame === 2 ? [] : [frame + 1]);
  }
  assertEquals(disk, ["write 0", "write 1", "write 2"]);
});

Deno.test("decision 13: reads that keep coming do not starve a write", () => {
  const order = new OverlapOrder(5);
  assert(order.admit(0, false, 0, 8));
  assert(!order.admit(1, true, 4, 5));
  // Younger reads of the same sector wait behind the write; those of others do not.
  assert(!order.admit(2, false, 4, 6));
  assert(!order.admit(3, false, 0, 8));
  assert(order.admit(4, false, 5, 6));
  order.finish(0);
  assertEquals(promoteAll(order), [1]);
  order.finish(1);
  assertEquals(promoteAll(order), [2, 3]);
});

Deno.test("decision 13: a chain of waiting commands keeps its order where links overlap", () => {
  const order = new OverlapOrder(4);
  assert(order.admit(0, true, 0, 4));
  assert(!order.admit(1, true, 3, 8));
  // Behind a waiting command, not behind a running one.
  assert(!order.admit(2, true, 7, 12));
  assert(order.admit(3, true, 12, 16));
  order.finish(0);
  assertEquals(promoteAll(order), [1]);
  order.finish(1);
  assertEquals(promoteAll(order), [2]);
});

Deno.test("decision 13: a TRIM overlaps with everything", () => {
  const order = new OverlapOrder(3);
  assert(order.admit(0, false, 2 ** 47, 2 ** 47 + 1));
  assert(!order.admit(1, true, 0, Infinity));
  assert(!order.admit(2, false, 5, 6));
  order.finish(0);
  assertEquals(promoteAll(order), [1]);
  order.finish(1);
  assertEquals(promoteAll(order), [2]);
});

Deno.test("decision 13: whatever comes and ends, it starts what a naive list of all would", () => {
  const CAPACITY = 24;
  const command = fc.record({
    write: fc.boolean(),
    first: fc.nat(30),
    sectors: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.constant(Infinity)),
  });
  const step = fc.oneof(
    { arbitrary: command.map((arrives) => ({ arrives })), weight: 3 },
    { arbitrary: fc.nat().map((ends) => ({ ends })), weight: 2 },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const order = new OverlapOrder(CAPACITY);
      const naive = new NaiveOrder();
      const free = Array.from({ length: CAPACITY }, (_, i) => i);
      const finish = (which: number): void => {
        const running = naive.commands.filter((each) => each.running);
        const ended = running[which % running.length];
        if (ended === undefined) return;
        order.finish(ended.frame);
        naive.finish(ended.frame);
        free.push(ended.frame);
        assertEquals(promoteAll(order), naive.promoteAll());
      };
      for (const each of steps) {
        if ("ends" in each) {
          finish(each.ends);
        } else if (free.length > 0) {
          const { write, first, sectors } = each.arrives;
          const frame = free.splice(first % free.length, 1)[0]!;
          assertEquals(
            order.admit(frame, write, first, first + sectors),
            naive.admit(frame, write, first, first + sectors),
          );
        }
        const running = naive.commands.filter((each) => each.running);
        assertEquals(
          [order.running, order.waiting],
          [running.length, naive.commands.length - running.length],
        );
        // What runs at the same time does not overlap, whatever the naive list thinks.
        for (const a of running) {
          for (const b of running) assert(a === b || !overlap(a, b));
        }
      }
      // As long as something ends, everything gets its turn.
      for (let left = naive.commands.length; left > 0; left--) {
        assert(order.running > 0, "all wait for each other");
        finish(left);
      }
      assertEquals([order.running, order.waiting], [0, 0]);
    }),
    { numRuns: 500 },
  );
});
