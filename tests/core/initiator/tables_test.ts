// The initiator's tables: tags, and which writes wait for which, against a plain model.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  COMMAND_KIND_READ,
  commandOfTag,
  CommandTable,
  COPIES_MAX,
  copyOfTag,
  identityOfTag,
  NO_REQUEST,
} from "../../../src/core/initiator/commands.ts";
import { WriteRanges } from "../../../src/core/initiator/writes.ts";

Deno.test("commands: a tag is bit 31, session, generation, copy and slot", () => {
  const table = new CommandTable(64, 1, 6, 0x1234);
  const slot = table.take(COMMAND_KIND_READ, NO_REQUEST, 0, 1);
  for (let copy = 0; copy < COPIES_MAX; copy++) {
    const tag = table.nextCopyTag(slot);
    assertEquals(tag >>> 31, 1);
    assertEquals((tag >>> 28) & 7, 6);
    assertEquals((tag >>> 14) & 0x3fff, 0x1235);
    assertEquals([copyOfTag(tag), commandOfTag(tag)], [copy, slot]);
    assertEquals(identityOfTag(tag), table.tag[slot]);
  }
});

Deno.test("commands: a copy that was not sent, and an earlier generation, are not current", () => {
  const table = new CommandTable(2, 1, 0, 0);
  const slot = table.take(COMMAND_KIND_READ, NO_REQUEST, 0, 1);
  const tag = table.nextCopyTag(slot);
  assert(table.isCurrent(slot, tag));
  assert(!table.isCurrent(slot, tag | (1 << 11)));
  assert(!table.isCurrent(1, tag + 1));
  table.renew(slot);
  table.nextCopyTag(slot);
  assert(!table.isCurrent(slot, tag));
});

Deno.test("commands: a slot is used again only after all others, with another tag", () => {
  const table = new CommandTable(8, 1, 0, -1);
  const tags = new Set<number>();
  for (let i = 0; i < 8 * 100; i++) {
    const slot = table.take(COMMAND_KIND_READ, NO_REQUEST, 0, 1);
    assertEquals(slot, i % 8);
    tags.add(table.nextCopyTag(slot));
    table.release(slot);
  }
  assertEquals(tags.size, 800);
});

const SECTORS = 4000;

/** What is being or may be written, as a list. */
class Model {
  readonly ranges: { slot: number; lba: number; end: number }[] = [];
  overlaps(lba: number, sectors: number): boolean {
    return this.ranges.some((range) => range.lba < lba + sectors && lba < range.end);
  }
}

Deno.test("writes: overlaps are found as by looking at every range", () => {
  fc.assert(fc.property(
    fc.array(
      fc.record({
        lba: fc.integer({ min: 0, max: SECTORS }),
        sectors: fc.oneof(fc.integer({ min: 1, max: 255 }), fc.integer({ min: 256, max: 5000 })),
        remove: fc.boolean(),
      }),
      { maxLength: 60 },
    ),
    (steps) => {
      const writes = new WriteRanges(32, 4, 1, 100);
      const model = new Model();
      // Far behind 2^32, where sloppy arithmetic shows.
      const base = 2 ** 40;
      for (const { lba, sectors, remove } of steps) {
        assertEquals(writes.overlaps(base + lba, sectors), model.overlaps(lba, sectors));
        if (remove || model.ranges.length === 32) {
          const [first] = model.ranges.splice(0, 1);
          if (first !== undefined) writes.remove(first.slot);
        } else {
          const used = new Set(model.ranges.map(({ slot }) => slot));
          const slot = [...Array(32).keys()].find((slot) => !used.has(slot))!;
          writes.add(slot, base + lba, sectors);
          model.ranges.push({ slot, lba, end: lba + sectors });
        }
      }
    },
  ));
});

Deno.test("writes: a quarantine ends when every copy has been answered", () => {
  const writes = new WriteRanges(4, 4, 1, 100);
  writes.add(1, 100, 8);
  writes.quarantine(1, 0x801, 0b110, 1, 50, 5050);
  assert(writes.overlaps(107, 1));
  assert(!writes.overlaps(108, 1));
  assert(!writes.lateAnswer(1, 0x801, 1));
  assert(!writes.lateAnswer(1, 0x801, 1), "the same copy twice");
  assert(!writes.lateAnswer(1, 0x1801, 2), "another command");
  assert(writes.overlaps(100, 8));
  assert(writes.lateAnswer(1, 0x801, 2));
  assert(!writes.overlaps(100, 8));
  assertEquals(writes.counters.answered, 1);
});

Deno.test("writes: or when every path that carried a copy has overtaken it", () => {
  const writes = new WriteRanges(4, 4, 3, 100);
  writes.add(0, 100, 8);
  writes.quarantine(0, 0, 0, 0b101, 1000, 6000);
  writes.answeredSentMs[1] = 5000;
  assertEquals(writes.settle(1050), 0, "nothing could show it yet");
  assertEquals(writes.settle(1100), 0b101);
  writes.answeredSentMs[0] = 1100;
  assertEquals(writes.settle(1200), 0b100);
  assert(writes.overlaps(100, 1));
  writes.answeredSentMs[2] = 1099;
  assertEquals(writes.settle(1200), 0b100);
  writes.answeredSentMs[2] = 1100.5;
  assertEquals(writes.settle(1200), 0);
  assert(!writes.overlaps(100, 1));
  assertEquals([writes.inQuarantine, writes.counters.overtaken], [0, 1]);
});

Deno.test("writes: or when its time is over; what has no room is one range", () => {
  const writes = new WriteRanges(8, 2, 1, 100);
  for (let slot = 0; slot < 5; slot++) {
    writes.add(slot, 1000 * slot, 8);
    writes.quarantine(slot, slot, 1, 1, slot, 5000 + slot);
  }
  assertEquals(writes.counters.overflowed, 3);
  assertEquals([0, 1000, 1500, 2500, 4007, 4008].map((lba) => writes.overlaps(lba, 1)), [
    ...[true, true, false, true, true, false],
  ]);
  writes.settle(5001);
  assertEquals([0, 1000, 2000].map((lba) => writes.overlaps(lba, 1)), [false, false, true]);
  writes.settle(5004);
  assertEquals([writes.overlaps(0, 10_000), writes.inQuarantine], [false, 0]);
});
