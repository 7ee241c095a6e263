// Which thread gets which export.

import { assertEquals } from "@std/assert";
import { dealOut } from "../../../src/control/target/threads.ts";

/** Exports of these disks, named by where they stand and dealt out. */
function dealt(disks: string, threads: number): string[] {
  const exports = [...disks].map((disk, i) => ({ disk, name: `${disk}${i}` }));
  return dealOut(exports, threads).map((share) => share.map(({ name }) => name).join(" "));
}

Deno.test("threads: each has as many exports as the others, of as few disks as may be", () => {
  assertEquals(dealt("aaaa", 2), ["a0 a1", "a2 a3"]);
  assertEquals(dealt("abab", 2), ["a0 a2", "b1 b3"]);
  assertEquals(dealt("aabb", 2), ["a0 a1", "b2 b3"]);
  assertEquals(dealt("abca", 3), ["a0 a3", "b1", "c2"]);
  assertEquals(dealt("abb", 3), ["a0", "b1", "b2"]);
  assertEquals(dealt("aaaab", 1), ["a0 a1 a2 a3 b4"]);
});

Deno.test("threads: none is without an export", () => {
  for (let threads = 1; threads <= 9; threads++) {
    for (let count = threads; count <= 20; count++) {
      const shares = dealOut(Array.from({ length: count }, () => ({ disk: "a" })), threads);
      assertEquals(shares.flat().length, count);
      assertEquals(shares.filter(({ length }) => length < Math.floor(count / threads)), []);
    }
  }
});
