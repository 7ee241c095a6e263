// How long an initiator looks before it sleeps, over many waits of one kind: what it costs and earns.

import { assert, assertEquals } from "@std/assert";
import { Patience } from "../../../src/core/initiator/patience.ts";

/** Time looked and times slept, over waits whose answers come after so long. */
function waits(patience: Patience, count: number, answerMs: (i: number) => number) {
  let lookedMs = 0;
  let vainMs = 0;
  let sleeps = 0;
  for (let i = 0; i < count; i++) {
    const lookMs = patience.lookMs();
    const waitedMs = answerMs(i);
    lookedMs += Math.min(lookMs, waitedMs);
    if (waitedMs < lookMs) patience.found();
    else {
      vainMs += lookMs;
      sleeps++;
      patience.slept(waitedMs);
    }
  }
  return { lookedMs, vainMs, sleeps };
}

Deno.test("patience: a near target's answers are not slept for", () => {
  const { sleeps } = waits(new Patience(), 1000, () => 0.009);
  assert(sleeps <= 2, `Slept ${sleeps} times`);
});

Deno.test("patience: two that sleep both wake each other no more", () => {
  const patience = new Patience();
  // Whoever sleeps makes the other wait: it takes 85 µs as long as this one sleeps.
  const { sleeps } = waits(patience, 1000, () => patience.lookMs() > 0.05 ? 0.009 : 0.085);
  assert(sleeps <= 8, `Slept ${sleeps} times`);
});

Deno.test("patience: nothing is looked for that takes milliseconds", () => {
  assertEquals(waits(new Patience(), 1000, () => 5).lookedMs, 0);
  const patience = new Patience();
  waits(patience, 1000, () => 0.009);
  assert(waits(patience, 1000, () => 5).vainMs < 0.3);
});

Deno.test("patience: answers just out of reach cost hardly any looks", () => {
  const { vainMs } = waits(new Patience(), 10_000, () => 0.12);
  assert(vainMs < 0.02 * 10_000 * 0.12, `Looked in vain for ${vainMs} ms`);
});

Deno.test("patience: a disk that has become quick is looked for again", () => {
  const patience = new Patience();
  waits(patience, 1000, () => 0.12);
  const { sleeps } = waits(patience, 1000, () => 0.009);
  assert(sleeps <= 65, `Slept ${sleeps} times`);
});
