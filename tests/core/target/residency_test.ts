import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  CHUNK_ABSENT,
  CHUNK_RESIDENT,
  CHUNK_UNKNOWN,
  ChunkMemory,
  RewriteHabit,
  SegmentChoice,
} from "../../../src/core/target/residency.ts";

/** Segments of a file of a terabyte or more; so far apart they share an entry. */
const SEGMENT_TABLE = 65536;

Deno.test("residency: nothing is known of a chunk at first", () => {
  const memory = new ChunkMemory(2);
  for (const nowMs of [0, 7, 2 ** 33]) {
    memory.setTime(nowMs);
    for (const chunk of [0, 1, 255, 2 ** 33]) {
      assertEquals(memory.recall(1, chunk), CHUNK_UNKNOWN);
    }
  }
});

/** What is known of chunk 7 at a time. */
function recallAt(memory: ChunkMemory, nowMs: number, place = 1): number {
  memory.setTime(nowMs);
  return memory.recall(place, 7);
}

Deno.test("residency: a resident chunk is taken to be so for a second, an absent one for 20 ms", () => {
  for (const [resident, known, ms] of [[true, CHUNK_RESIDENT, 1000], [false, CHUNK_ABSENT, 20]]) {
    for (const nowMs of [0, 5000, 2 ** 31, 2 ** 40]) {
      const memory = new ChunkMemory(2);
      memory.setTime(nowMs);
      memory.remember(1, 7, resident === true);
      const at = [0, ms as number - 1, ms as number].map((ms) => recallAt(memory, nowMs + ms));
      assertEquals(at, [known, known, CHUNK_UNKNOWN]);
    }
  }
});

Deno.test("residency: what is found out later counts", () => {
  const memory = new ChunkMemory(2);
  memory.remember(1, 7, false);
  memory.setTime(10);
  memory.remember(1, 7, true);
  assertEquals(recallAt(memory, 1000), CHUNK_RESIDENT);
  memory.remember(1, 7, false);
  assertEquals(recallAt(memory, 1001), CHUNK_ABSENT);
});

Deno.test("residency: what was known is not known again after weeks", () => {
  for (const resident of [true, false]) {
    const memory = new ChunkMemory(2);
    memory.remember(1, 7, resident);
    for (let days = 1; days < 120; days++) {
      assertEquals(recallAt(memory, days * 86_400_000), CHUNK_UNKNOWN);
    }
  }
});

Deno.test("residency: a chunk of another place is never taken for another", () => {
  const memory = new ChunkMemory(2);
  memory.remember(1, 7, true);
  assertEquals(recallAt(memory, 1, 0), CHUNK_UNKNOWN);
});

Deno.test("residency: when a place gets another segment, nothing is known of its chunks", () => {
  const memory = new ChunkMemory(2);
  for (const place of [0, 1]) {
    for (const chunk of [0, 7, 255]) memory.remember(place, chunk, chunk !== 7);
  }
  memory.forget(1);
  const known = (place: number) => [0, 7, 255].map((chunk) => memory.recall(place, chunk));
  assertEquals(known(0), [CHUNK_RESIDENT, CHUNK_ABSENT, CHUNK_RESIDENT]);
  assertEquals(known(1), [CHUNK_UNKNOWN, CHUNK_UNKNOWN, CHUNK_UNKNOWN]);
});

Deno.test("residency: pages that were written before, since a time, and in this chunk, are known", () => {
  const memory = new ChunkMemory(1);
  const rewrites = (page: number, pages: number, sinceMs: number, nowMs: number) => {
    memory.setTime(nowMs);
    return memory.rewrites(0, 7, page * 4096 + 512, pages * 4096 - 1024, sinceMs);
  };
  assertEquals([rewrites(3, 2, 0, 1000), rewrites(3, 2, 0, 1001)], [false, true]);
  // Only a part of the pages; then all.
  assertEquals([rewrites(4, 2, 0, 1002), rewrites(5, 1, 0, 1003)], [false, true]);
  assertEquals([rewrites(0, 16, 0, 1004), rewrites(15, 1, 0, 1005)], [false, true]);
  // What was written up to then is clean by now.
  assertEquals([rewrites(3, 1, 1000, 1006), rewrites(3, 1, 1000, 1007)], [false, true]);
  assertEquals(rewrites(4, 1, 1000, 1008), false);
  // Another segment has taken the place, and then this one again.
  memory.forget(0);
  assertEquals([rewrites(3, 1, 0, 1009), rewrites(3, 1, 0, 1010)], [false, true]);
  // Weeks later.
  assertEquals(rewrites(3, 1, 2 ** 33 - 30_000, 2 ** 33), false);
  assertEquals(rewrites(3, 1, 2 ** 33 - 30_000, 2 ** 33 + 1), true);
});

Deno.test("residency: a file that is written again is told from one that is written once", () => {
  const habit = new RewriteHabit();
  const write = (count: number, isAgain: (i: number) => boolean) => {
    for (let i = 0; i < count; i++) habit.note(isAgain(i));
  };
  write(255, () => true);
  assertEquals(habit.rewrites, false, "too soon to tell");
  write(1, () => true);
  assertEquals(habit.rewrites, true);
  write(256, (i) => i % 3 === 0);
  assertEquals(habit.rewrites, true, "not to and fro");
  // A copy of a disk, of which some blocks are written twice.
  write(256, (i) => i % 5 === 0);
  assertEquals(habit.rewrites, false);
  write(256, (i) => i % 3 === 0);
  assertEquals(habit.rewrites, false);
});

Deno.test("residency: a small file that has grown shares entries as a large one does", () => {
  const choice = new SegmentChoice(2, 1);
  assert(read(choice, 3).mapped);
  for (const segment of [300, 3 + 256, 70_000]) readOften(choice, segment, 100);
  assertEquals(choice.touch(3), 0);
});

/** Reads a segment as an export does; the place where it is mapped, and whether that is new. */
function read(choice: SegmentChoice, segment: number): { place: number; mapped: boolean } {
  const place = choice.touch(segment);
  if (place >= 0) return { place, mapped: false };
  const offered = choice.offer(segment);
  return { place: offered, mapped: offered >= 0 };
}

function readOften(choice: SegmentChoice, segment: number, times: number): number {
  let mappings = 0;
  for (let i = 0; i < times; i++) if (read(choice, segment).mapped) mappings++;
  return mappings;
}

Deno.test("residency: segments are mapped at their first read while there is room", () => {
  const choice = new SegmentChoice(3, SEGMENT_TABLE);
  for (const segment of [5, 9, 2]) assert(read(choice, segment).mapped);
  assertEquals([5, 9, 2].map((segment) => read(choice, segment)), [
    { place: 0, mapped: false },
    { place: 1, mapped: false },
    { place: 2, mapped: false },
  ]);
  assertEquals(read(choice, 7), { place: -1, mapped: false });
});

Deno.test("residency: a newcomer must be read twice as much as the coldest it replaces", () => {
  const choice = new SegmentChoice(2, SEGMENT_TABLE);
  readOften(choice, 1, 10_000);
  readOften(choice, 2, 3_000);
  assertEquals(readOften(choice, 3, 5_900), 0);
  assertEquals(readOften(choice, 3, 200), 1);
  assertEquals([choice.touch(1), choice.touch(2), choice.touch(3)], [0, -1, 1]);
});

Deno.test("residency: what was replaced comes back by the same rule", () => {
  const choice = new SegmentChoice(1, SEGMENT_TABLE);
  readOften(choice, 1, 100);
  assertEquals(readOften(choice, 2, 10_000), 1);
  assertEquals(readOften(choice, 1, 19_000), 0);
  assertEquals(readOften(choice, 1, 1_000), 1);
});

Deno.test("residency: a few reads of cold segments push nothing out", () => {
  const choice = new SegmentChoice(1, SEGMENT_TABLE);
  assert(read(choice, 0).mapped);
  for (let segment = 1; segment < 2000; segment++) assertEquals(readOften(choice, segment, 64), 0);
  assertEquals(choice.touch(0), 0);
});

Deno.test("residency: what was hot long ago gives way", () => {
  const choice = new SegmentChoice(1, SEGMENT_TABLE);
  readOften(choice, 1, 1_000_000);
  assertEquals(readOften(choice, 2, 10_000), 0);
  for (let second = 0; second < 12; second++) choice.decay();
  assertEquals(readOften(choice, 2, 10_000), 1);
  assertEquals([choice.touch(1), choice.touch(2)], [-1, 0]);
});

Deno.test("residency: two segments a terabyte apart do not take turns in being mapped", () => {
  const choice = new SegmentChoice(16, SEGMENT_TABLE);
  const [near, far] = [3, 3 + SEGMENT_TABLE];
  let mappings = 0;
  for (let i = 0; i < 100_000; i++) {
    for (const segment of [near, far]) if (read(choice, segment).mapped) mappings++;
  }
  // Each at most once or twice: a mapping costs thousands of page faults.
  assert(mappings <= 4, `${mappings} mappings`);
  // And the other places are still free for other segments.
  for (let segment = 100; segment < 114; segment++) assert(read(choice, segment).mapped);
});

Deno.test("residency: of two segments a terabyte apart the one that is read more is mapped", () => {
  const choice = new SegmentChoice(1, SEGMENT_TABLE);
  const [near, far] = [3, 3 + SEGMENT_TABLE];
  readOften(choice, near, 1000);
  readOften(choice, far, 20_000);
  assertEquals([choice.touch(near), choice.touch(far)], [-1, 0]);
});

Deno.test("residency: whatever is read, a place belongs to one segment and is given away once", () => {
  const PLACES = 4;
  // Few segments, some of which share an entry of the table, read in bursts.
  const burst = fc.record({
    segment: fc.oneof(fc.nat(5), fc.nat(5).map((near) => near + SEGMENT_TABLE)),
    times: fc.integer({ min: 1, max: 6000 }),
    decays: fc.nat(1),
  });
  fc.assert(
    fc.property(fc.array(burst, { maxLength: 15 }), (bursts) => {
      const choice = new SegmentChoice(PLACES, SEGMENT_TABLE);
      /** What is mapped at each place: exactly what was last offered it. */
      const mapped = new Map<number, number>();
      for (const { segment, times, decays } of bursts) {
        for (let i = 0; i < times; i++) {
          const { place, mapped: isNew } = read(choice, segment);
          if (place < 0) continue;
          assert(place < PLACES);
          if (isNew) mapped.set(place, segment);
          assertEquals(mapped.get(place), segment, "another segment is mapped there");
        }
        for (let i = 0; i < decays; i++) choice.decay();
      }
      assertEquals(new Set(mapped.values()).size, mapped.size, "a segment mapped twice");
    }),
    { numRuns: 60 },
  );
});
