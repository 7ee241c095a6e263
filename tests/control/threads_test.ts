import { assertEquals, assertRejects } from "@std/assert";
import { type JobName, prepareWorker, startWorker } from "../../src/control/threads.ts";

Deno.test("pool: an error in a worker becomes one rejection, not a crash", async () => {
  const posted: unknown[] = [];
  const worker = await startWorker(
    "no such job" as JobName,
    {} as never,
    (message) => posted.push(message),
  );
  await assertRejects(() => worker.done, Error, 'No job is called "no such job"');
  assertEquals(posted, []);
});

Deno.test("pool: a worker that is ended is done", async () => {
  const worker = await startWorker("no such job" as JobName, {} as never, () => {});
  worker.terminate();
  await worker.done;
});

Deno.test("pool: a worker that was prepared is told its job when it is started", async () => {
  prepareWorker("no such job" as JobName);
  const worker = await startWorker("no such job" as JobName, {} as never, () => {});
  await assertRejects(() => worker.done, Error, 'No job is called "no such job"');
});
