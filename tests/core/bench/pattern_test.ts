// Whatever a sector holds but what was written to it last is found, and named.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { patternDifference, writePattern } from "../../../src/core/bench/pattern.ts";

const SECTOR = 2 ** 33 + 5;
const RUN = 0x1234567;

function written(sector = SECTOR, generation = 3, run = RUN): Int32Array {
  const words = new Int32Array(128 + 2).fill(-1);
  writePattern(words, 1, sector, generation, run);
  assertEquals([words[0], words[129]], [-1, -1], "nothing beside the sector is written");
  return words;
}

function difference(words: Int32Array): string | undefined {
  return patternDifference(words, 1, SECTOR, 3, RUN);
}

Deno.test("bench pattern: what was written is right", () => {
  assertEquals(difference(written()), undefined);
});

Deno.test("bench pattern: what is there instead is named", () => {
  const rows: readonly (readonly [Int32Array, string])[] = [
    [new Int32Array(130), "something that was not written here"],
    [written(SECTOR, 2), "write 2 of it, not 3"],
    [written(SECTOR + 1), `what belongs to sector ${SECTOR + 1}`],
    [written(SECTOR - 2 ** 32), `what belongs to sector ${SECTOR - 2 ** 32}`],
    [written(SECTOR, 3, RUN + 1), "what another run wrote"],
  ];
  for (const [words, name] of rows) assertEquals(difference(words), name);
  const torn = written();
  torn.set(written(SECTOR, 2).subarray(65), 65);
  assertEquals(difference(torn), "a torn sector");
});

Deno.test("bench pattern: one flipped bit anywhere is found", () => {
  fc.assert(fc.property(fc.nat(127), fc.nat(31), (word, bit) => {
    const words = written();
    words[1 + word] = words[1 + word]! ^ (1 << bit);
    assert(difference(words) !== undefined);
  }));
});
