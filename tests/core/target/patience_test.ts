// How often a target's thread looks before it sleeps, over many waits of one kind.

import { assert, assertEquals } from "@std/assert";
import { TargetPatience } from "../../../src/core/target/patience.ts";

/** About what a look costs. */
const LOOK_MS = 13e-6;

/** Sleeps, and milliseconds looked in vain, over waits of so long. */
function waits(patience: TargetPatience, count: number, frameMs: (lookMs: number) => number) {
  let vainMs = 0;
  let sleeps = 0;
  for (let i = 0; i < count; i++) {
    const lookMs = patience.looks() * LOOK_MS;
    const waitMs = frameMs(lookMs);
    if (waitMs < lookMs) {
      patience.found();
      continue;
    }
    vainMs += lookMs;
    sleeps++;
    patience.slept(waitMs - lookMs);
  }
  return { vainMs, sleeps };
}

Deno.test("target: frames that follow each other soon are not slept for", () => {
  assert(waits(new TargetPatience(), 1000, () => 0.02).sleeps <= 8);
});

Deno.test("target: looks cost hardly anything where the sender waits for this processor", () => {
  // It comes to send only while this thread sleeps.
  const { vainMs } = waits(new TargetPatience(), 10_000, (lookMs) => lookMs + 0.015);
  assert(vainMs < 10_000 * 0.001, `Looked in vain for ${vainMs} ms`);
});

Deno.test("target: a sender that gets a processor of its own is looked for again", () => {
  const patience = new TargetPatience();
  waits(patience, 1000, (lookMs) => lookMs + 0.015);
  assert(waits(patience, 1000, () => 0.02).sleeps <= 65);
});

Deno.test("target: a sender that is held up now and then is looked for all the same", () => {
  const patience = new TargetPatience();
  let i = 0;
  const { sleeps } = waits(patience, 1000, (lookMs) => i++ % 25 === 24 ? lookMs + 0.015 : 0.02);
  assert(sleeps <= 48, `Slept ${sleeps} times`);
});

Deno.test("target: nothing is looked for that takes milliseconds", () => {
  const patience = new TargetPatience();
  assertEquals(waits(patience, 1000, () => 5).vainMs, 0);
  waits(patience, 1000, () => 0.02);
  assert(waits(patience, 1000, () => 5).vainMs < 0.2);
});
