// A thread that runs away or deadlocks is told from one that waits for a disk.

import { assertEquals } from "@std/assert";
import { threadActivity, ThreadHealth } from "../../../src/control/target/thread_health.ts";
import type { ThreadActivity } from "../../../src/control/target/thread_health.ts";

/** Looks once a second for as long as a thread does this and its pulse stands still. */
function looks(
  seconds: number,
  activity: (second: number) => ThreadActivity | undefined,
): boolean[] {
  const health = new ThreadHealth();
  return Array.from({ length: seconds }, (_, i) => health.look(i * 1000, 7, activity(i)));
}

const WELL = [false, false, false, false, false];

Deno.test("thread health: one that runs away has stopped after five seconds", () => {
  const runaway = (i: number) => ({ doing: "work", workMs: 1000 * i }) as const;
  assertEquals(looks(7, runaway), [...WELL, true, true]);
});

Deno.test("thread health: one that waits for another thread for ever has stopped", () => {
  assertEquals(looks(6, () => ({ doing: "lock", workMs: 100 })), [...WELL, true]);
});

Deno.test("thread health: one that waits for a disk, has no processor, or is unknown is well", () => {
  const well = [...WELL, false, false];
  assertEquals(looks(7, () => ({ doing: "else", workMs: 100 })), well);
  assertEquals(looks(7, (i) => ({ doing: i === 3 ? "else" : "work", workMs: 1000 * i })), well);
  assertEquals(looks(7, (i) => ({ doing: "work", workMs: 10 * i })), well);
  assertEquals(looks(7, () => undefined), well);
});

Deno.test("thread health: a pulse that moves begins anew", () => {
  const health = new ThreadHealth();
  const look = (i: number, pulse: number) =>
    health.look(i * 1000, pulse, { doing: "work", workMs: 1000 * i });
  const found = Array.from({ length: 16 }, (_, i) => look(i, Math.floor(i / 4)));
  assertEquals(found.includes(true), false);
});

Deno.test("thread health: the kernel tells work, a lock and a wait apart", async () => {
  const source = new URL("../../../ffi/threads.ts", import.meta.url);
  const script = `
    const source = "${source}";
    const { currentThread } = await import(source);
    onmessage = ({ data }) => {
      postMessage(currentThread());
      if (data === "work") for (;;);
      if (data === "lock") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      const { poll } = Deno.dlopen("libc.so.6", {
        poll: { parameters: ["pointer", "u64", "i32"], result: "i32" },
      }).symbols;
      poll(null, 0n, 60_000);
    };
    postMessage(0);`;
  const address = URL.createObjectURL(new Blob([script], { type: "text/typescript" }));
  for (const doing of ["work", "lock", "else"] as const) {
    const worker = new Worker(address, { type: "module" });
    const next = () =>
      new Promise<number>((resolve) => worker.onmessage = ({ data }) => resolve(data));
    await next();
    const told = next();
    worker.postMessage(doing);
    const thread = await told;
    let found: ThreadActivity | undefined;
    for (let tries = 0; tries < 500 && found?.doing !== doing; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      found = threadActivity(thread);
    }
    assertEquals(found?.doing, doing);
    worker.terminate();
  }
  URL.revokeObjectURL(address);
  assertEquals(threadActivity(0), undefined);
});
