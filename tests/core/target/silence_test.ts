// When a silent disk is spoken of: once a silence, and of a slow disk once.

import { assertEquals } from "@std/assert";
import { DiskSilence } from "../../../src/core/target/silence.ts";

Deno.test("silence: a disk that hangs is told of once, and when it is back", () => {
  const silence = new DiskSilence();
  const told: unknown[] = [];
  for (let ms = 0; ms <= 60_000; ms += 1000) {
    const news = silence.look(ms, ms >= 10_000 && ms < 22_000);
    if (news !== undefined) told.push([ms, news]);
  }
  assertEquals(told, [
    [12_000, { silent: true, ms: 2000 }],
    [22_000, { silent: false, ms: 12_000 }],
  ]);
});

Deno.test("silence: work that takes less than two seconds is not spoken of", () => {
  const silence = new DiskSilence();
  for (let ms = 0; ms < 60_000; ms += 100) {
    assertEquals(silence.look(ms, ms % 2000 !== 0), undefined);
  }
});

Deno.test("silence: a disk that takes five seconds a command has two lines", () => {
  const silence = new DiskSilence();
  let lines = 0;
  for (let ms = 0; ms < 3_600_000; ms += 1000) {
    if (silence.look(ms, ms % 5000 !== 0) !== undefined) lines++;
  }
  // Without this there were two every five seconds.
  assertEquals(lines, 2);
});

Deno.test("silence: after a calm time the next one is told of soon again", () => {
  const silence = new DiskSilence();
  const silent = (ms: number) => ms < 10_000 || ms >= 300_000;
  const told: number[] = [];
  for (let ms = 0; ms < 310_000; ms += 1000) {
    if (silence.look(ms, silent(ms))?.silent === true) told.push(ms);
  }
  assertEquals(told, [2000, 302_000]);
});
