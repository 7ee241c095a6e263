// The main thread's side of an initiator's thread: starts it, reads its counters, stops it.

import { InitiatorCounters } from "../loops/initiator/counters.ts";
import type { InitiatorJobConfig } from "../loops/initiator/job.ts";
import { ThreadControl } from "./thread_control.ts";
import { startWorker } from "./threads.ts";
import type { JobConfig, JobMessage, JobName, RunningWorker } from "./threads.ts";

/** What an initiator's disks can be used for. */
type InitiatorUse = JobConfig<Exclude<JobName, "target">>["use"];

/** What to start; the rest is made here. */
type InitiatorThreadOptions<Use> = Omit<
  InitiatorJobConfig<Use>,
  "control" | "controlEvent" | "counters"
>;

/** A running thread. */
export class InitiatorThread {
  readonly counters: InitiatorCounters;
  readonly #control: ThreadControl;
  readonly #worker: RunningWorker;

  private constructor(
    worker: RunningWorker,
    counters: InitiatorCounters,
    control: ThreadControl,
  ) {
    this.#worker = worker;
    this.counters = counters;
    this.#control = control;
  }

  /** Starts it; what it tells comes to `onMessage`. */
  static async start<Use extends InitiatorUse>(
    options: InitiatorThreadOptions<Use>,
    onMessage: (message: JobMessage<Use["kind"]>) => void,
  ): Promise<InitiatorThread> {
    const thread = new ThreadControl(1);
    const { control, controlEvent } = thread;
    const counters = InitiatorCounters.allocate();
    const job: Use["kind"] = options.use.kind;
    const config = { ...options, control, controlEvent, counters };
    const worker = await startWorker(job, config as JobConfig<Use["kind"]>, onMessage);
    return new InitiatorThread(
      worker,
      new InitiatorCounters(counters),
      thread,
    );
  }

  /** Resolves when the thread has ended; rejects with its error. */
  get ended(): Promise<void> {
    return this.#worker.done;
  }

  /** Ends it where it stands. */
  terminate(): void {
    this.#worker.terminate();
  }

  /** Tells its driver to come to an end. */
  stop(): void {
    this.#control.stop();
  }
}
