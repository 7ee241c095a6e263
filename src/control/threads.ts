// Threads: `startWorker` starts one, and the lower half of this file is what runs in it.
//
// A worker is told its job once and then blocks in system calls: it never comes back to its event
// loop while it works, so nothing can be posted to it. What the main thread has to say to it goes
// through shared memory and an eventfd in the job's config; what it has to say is posted.
//
// Spawner and entry are one module because `import.meta.url` is the only address that is right in
// all three of `deno run`, a bundle and `deno compile` (main.ts does the same for the bundle).

// deno-lint-ignore no-explicit-any -- every job has its own config and messages
type Job = (config: any, post: (message: any) => void) => void | Promise<void>;

/**
 * The jobs by name, one line each: `target: async () => (await import("../core/target/loop.ts")).runTarget`.
 * The module is loaded only in the worker that does the job. A job takes its config (whatever can
 * be cloned: plain objects, SharedArrayBuffer) and `post`, which sends a message to the main
 * thread, and returns when its work is over.
 */
const JOBS = {
  target: async () => (await import("../loops/target/thread.ts")).runTarget,
  initiator: async () => (await import("../loops/drivers.ts")).runInitiator,
} as const satisfies Record<string, () => Promise<Job>>;

/** What a worker can be started for. */
export type JobName = keyof typeof JOBS;

/** What a job is started with, and what it posts, both taken from the job's own signature. */
type Signature<Name extends JobName> = (typeof JOBS)[Name] extends
  () => Promise<(config: infer Config, post: (message: infer Message) => void) => unknown>
  ? { readonly config: Config; readonly message: Message }
  : never;

/** A running worker. */
export interface RunningWorker {
  /**
   * Resolves when the job has returned; rejects with an error of the name, message and `code` (an
   * errno, say) that the job's had. The thread is gone in both cases.
   */
  readonly done: Promise<void>;
  /** Ends the thread where it stands, as soon as it leaves the system call it is in. */
  terminate(): void;
}

/** From the worker to the main thread. */
type Report =
  | { readonly kind: "ready" }
  | { readonly kind: "message"; readonly message: unknown }
  | { readonly kind: "done" }
  | { readonly kind: "failed"; readonly error: ErrorFields };

/** An error as it crosses threads: cloning would keep neither its class nor its code. */
interface ErrorFields {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  /** An errno, or a name of one; undefined for most errors. */
  readonly code: unknown;
}

/** From the main thread to the worker, once. */
interface Assignment {
  readonly job: string;
  readonly config: unknown;
}

/**
 * Starts a thread and gives it its job. Resolves when the thread runs and has been told; whether
 * the job's own set-up succeeded is for the job to post.
 *
 * @param onMessage called on the main thread with everything the job posts, in order
 */
export function startWorker<Name extends JobName>(
  job: Name,
  config: Signature<Name>["config"],
  onMessage: (message: Signature<Name>["message"]) => void,
): Promise<RunningWorker> {
  const worker = new Worker(import.meta.url, { type: "module", name: job });
  const started = Promise.withResolvers<RunningWorker>();
  const done = Promise.withResolvers<void>();
  // A caller that only waits for messages must not be brought down by an error it did not ask for.
  done.promise.catch(() => {});
  const fail = (error: Error) => {
    worker.terminate();
    done.reject(error);
    started.reject(error);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    fail(new Error(event.message));
  };
  worker.onmessage = (event: MessageEvent<Report>) => {
    const report = event.data;
    switch (report.kind) {
      case "ready":
        worker.postMessage({ job, config } satisfies Assignment);
        started.resolve({
          done: done.promise,
          terminate: () => {
            worker.terminate();
            done.resolve();
          },
        });
        break;
      case "message":
        onMessage(report.message as Signature<Name>["message"]);
        break;
      case "done":
        worker.terminate();
        done.resolve();
        break;
      case "failed":
        fail(Object.assign(new Error(), report.error));
    }
  };
  return started.promise;
}

/** The part of a worker's global scope used here; the default library only knows the window's. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<Assignment>) => void) | null;
  postMessage(report: Report): void;
}

/** The worker's half: waits for the one assignment and carries it out. */
function serveAsWorker(scope: WorkerScope): void {
  scope.onmessage = async ({ data: { job, config } }) => {
    scope.onmessage = null;
    try {
      const load = (JOBS as Record<string, () => Promise<Job>>)[job];
      if (load === undefined) throw new Error(`No job is called "${job}"`);
      const run = await load();
      await run(config, (message) => scope.postMessage({ kind: "message", message }));
      scope.postMessage({ kind: "done" });
    } catch (error) {
      scope.postMessage(failureReport(error));
    }
  };
  scope.postMessage({ kind: "ready" });
}

/** What is told of something thrown. */
function failureReport(thrown: unknown): Report {
  const error: Error & { code?: unknown } = thrown instanceof Error
    ? thrown
    : new Error(String(thrown));
  const { name, message, stack, code } = error;
  return { kind: "failed", error: { name, message, stack, code } };
}

if ("WorkerGlobalScope" in globalThis) serveAsWorker(globalThis as unknown as WorkerScope);
