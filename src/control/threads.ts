// Threads: `startWorker` starts one, and the lower half of this file is what runs in it.
//
// A worker is told its job's config once and then blocks in system calls: it never comes back to its
// event loop while it works, so nothing can be posted to it. What the main thread has to say to it
// goes through shared memory and an eventfd in the job's config; what it has to say is posted.
//
// Spawner and entry are one module because `import.meta.url` is the only address that is right in
// all three of `deno run`, a bundle and `deno compile` (main.ts does the same for the bundle).

// deno-lint-ignore no-explicit-any -- every job has its own config and messages
type Job = (config: any, post: (message: any) => void) => void | Promise<void>;

/**
 * The jobs by name, one line each. The module is loaded only in the worker that does the job. A job
 * takes its config (whatever can be cloned: plain objects, SharedArrayBuffer) and `post`, which sends
 * a message to the main thread, and returns when its work is over.
 */
const JOBS = {
  target: async () => (await import("../loops/target/thread.ts")).runTarget,
  copy: async () => (await import("../loops/copy/driver.ts")).runCopyDriver,
  bench: async () => (await import("../loops/bench/driver.ts")).runBenchDriver,
  nbd: async () => (await import("../loops/nbd_server/driver.ts")).runNbdDriver,
  fuse: async () => (await import("../loops/attach/fuse_driver.ts")).runFuseDriver,
  ublk: async () => (await import("../loops/attach/ublk_driver.ts")).runUblkDriver,
} as const satisfies Record<string, () => Promise<Job>>;

/** What a worker can be started for. */
export type JobName = keyof typeof JOBS;

/** What a job is started with, and what it posts, both taken from the job's own signature. */
type Signature<Name extends JobName> = Name extends JobName
  ? Awaited<ReturnType<(typeof JOBS)[Name]>> extends
    (config: infer Config, post: (message: infer Message) => void) => unknown
    ? { readonly config: Config; readonly message: Message }
  : never
  : never;

/** What a job is started with. */
export type JobConfig<Name extends JobName> = Signature<Name>["config"];

/** What a job posts. */
export type JobMessage<Name extends JobName> = Signature<Name>["message"];

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

/** A worker that loads its job, or waits for its config. */
interface PreparedWorker {
  readonly job: JobName;
  readonly worker: Worker;
  /** Resolves when it can be told; rejects when it has no thread. */
  readonly ready: Promise<void>;
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
  readonly config: unknown;
}

/** Of a job that is about to be started. */
let prepared: PreparedWorker | undefined;

/**
 * Lets a thread load a job's modules beside everything that has to be known to start it:
 * `startWorker` takes it. A runtime and a copy's modules take 50 to 80 ms.
 */
export function prepareWorker(job: JobName): void {
  prepared = boot(job);
}

/**
 * Starts a thread and gives it its job. Resolves when the thread runs and has been told; whether
 * the job's own set-up succeeded is for the job to post.
 *
 * @param onMessage called on the main thread with everything the job posts, in order
 */
export async function startWorker<Name extends JobName>(
  job: Name,
  config: JobConfig<Name>,
  onMessage: (message: JobMessage<Name>) => void,
): Promise<RunningWorker> {
  const { worker, ready } = takePrepared(job) ?? boot(job);
  const done = Promise.withResolvers<void>();
  // A caller that only waits for messages must not be brought down by an error it did not ask for.
  done.promise.catch(() => {});
  const fail = (error: Error) => {
    worker.terminate();
    done.reject(error);
  };
  await ready;
  worker.onerror = (event) => {
    event.preventDefault();
    fail(new Error(event.message));
  };
  worker.onmessage = ({ data: report }: MessageEvent<Report>) => {
    switch (report.kind) {
      case "message":
        onMessage(report.message as JobMessage<Name>);
        break;
      case "done":
        worker.terminate();
        done.resolve();
        break;
      case "failed":
        fail(Object.assign(new Error(), report.error));
    }
  };
  worker.postMessage({ config } satisfies Assignment);
  return {
    done: done.promise,
    terminate: () => {
      worker.terminate();
      done.resolve();
    },
  };
}

function takePrepared(job: JobName): PreparedWorker | undefined {
  if (prepared?.job !== job) return undefined;
  const taken = prepared;
  prepared = undefined;
  return taken;
}

/** A new thread, which begins to load its job. */
function boot(job: JobName): PreparedWorker {
  const worker = new Worker(import.meta.url, { type: "module", name: job });
  const ready = Promise.withResolvers<void>();
  // Whoever starts it hears of it.
  ready.promise.catch(() => {});
  worker.onerror = (event) => {
    event.preventDefault();
    worker.terminate();
    ready.reject(new Error(event.message));
  };
  // It says nothing else before it has been told.
  worker.onmessage = () => ready.resolve();
  return { job, worker, ready: ready.promise };
}

/** The part of a worker's global scope used here; the default library only knows the window's. */
interface WorkerScope {
  readonly name: string;
  onmessage: ((event: MessageEvent<Assignment>) => void) | null;
  postMessage(report: Report): void;
}

/** The worker's half: loads its job, waits for the one assignment and carries it out. */
function serveAsWorker(scope: WorkerScope): void {
  scope.onmessage = async ({ data: { config } }) => {
    scope.onmessage = null;
    try {
      const run = await loading;
      await run(config, (message) => scope.postMessage({ kind: "message", message }));
      scope.postMessage({ kind: "done" });
    } catch (error) {
      scope.postMessage(failureReport(error));
    }
  };
  scope.postMessage({ kind: "ready" });
  const loading = loadJob(scope.name);
  // It is told once the worker has been told.
  loading.catch(() => {});
}

async function loadJob(name: string): Promise<Job> {
  const load = (JOBS as Record<string, () => Promise<Job>>)[name];
  if (load === undefined) throw new Error(`No job is called "${name}"`);
  return await load();
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
