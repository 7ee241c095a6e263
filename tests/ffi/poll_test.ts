// Waiting for descriptors, waking a waiter, and the clock.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Arena } from "../../ffi/arena.ts";
import { closeFile } from "../../ffi/files.ts";
import { clearEvent, Clock, openEvent, POLLIN, PollSet, signalEvent } from "../../ffi/poll.ts";

Deno.test("poll: what is ready is found, what was found is forgotten", () => {
  const poll = Arena.fit((arena) => new PollSet(arena, 2)).built;
  const events = [openEvent(), openEvent()] as const;
  const places = events.map((fd) => poll.add(fd, POLLIN));
  const found = () => places.map((entry) => poll.found(entry));
  assertThrows(() => poll.add(events[0], POLLIN), RangeError);
  assertEquals([poll.wait(0), found()], [0, [0, 0]]);
  signalEvent(events[1]);
  signalEvent(events[1]);
  assertEquals([poll.wait(-1), found()], [1, [0, POLLIN]]);
  clearEvent(events[1]);
  assertEquals([poll.wait(0), found()], [0, [0, 0]]);
  // A entry that is empty or not wanted is silent.
  signalEvent(events[0]);
  poll.want(0, 0);
  assertEquals(poll.wait(0), 0);
  poll.want(0, POLLIN);
  poll.replace(0, -1);
  assertEquals(poll.wait(0), 0);
  poll.replace(0, events[0]);
  assertEquals([poll.wait(0), found()], [1, [POLLIN, 0]]);
  events.forEach(closeFile);
});

Deno.test("poll: the wait lasts as long as it was told, by a clock that agrees with Deno's", () => {
  const arena = new Arena(4096);
  const clock = new Clock(arena);
  const poll = new PollSet(arena, 1);
  const [start, startOfDeno] = [clock.nowMs(), performance.now()];
  assertEquals(poll.wait(30_500), 0);
  const elapsed = clock.nowMs() - start;
  assert(elapsed >= 30.5, `${elapsed} ms`);
  const disagreement = Math.abs(elapsed - (performance.now() - startOfDeno));
  assert(disagreement < 5, `${disagreement} ms`);
});

Deno.test("poll: another thread's signal ends a wait", async () => {
  const fd = openEvent();
  const code = `
    const { symbols } = Deno.dlopen("libc.so.6", {
      eventfd_write: { parameters: ["i32", "u64"], result: "i32" },
    });
    symbols.eventfd_write(${fd}, 1n);
    postMessage("signalled");`;
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  const signalled = new Promise((resolve) => worker.onmessage = resolve);
  const poll = Arena.fit((arena) => new PollSet(arena, 1)).built;
  poll.add(fd, POLLIN);
  assertEquals(poll.wait(20e6), 1);
  await signalled;
  worker.terminate();
  URL.revokeObjectURL(url);
  closeFile(fd);
});
