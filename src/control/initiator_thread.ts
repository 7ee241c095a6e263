// The main thread's side of an initiator's thread: starts it, reads its counters, stops it.

import { openEvent, signalEvent } from "../../ffi/poll.ts";
import { InitiatorCounters } from "../loops/initiator/counters.ts";
import type { InitiatorJobConfig, InitiatorMessage } from "../loops/drivers.ts";
import { startWorker } from "./threads.ts";
import type { RunningWorker } from "./threads.ts";

/** What to start; the rest is made here. */
export type InitiatorThreadOptions = Omit<
  InitiatorJobConfig,
  "control" | "controlEvent" | "counters"
>;

/** A running thread. */
export class InitiatorThread {
  readonly counters: InitiatorCounters;
  readonly #control: Int32Array;
  readonly #controlEvent: number;
  readonly #worker: RunningWorker;

  private constructor(
    worker: RunningWorker,
    counters: InitiatorCounters,
    control: Int32Array,
    controlEvent: number,
  ) {
    this.#worker = worker;
    this.counters = counters;
    this.#control = control;
    this.#controlEvent = controlEvent;
  }

  /** Starts it; what it tells comes to `onMessage`. */
  static async start(
    options: InitiatorThreadOptions,
    onMessage: (message: InitiatorMessage) => void,
  ): Promise<InitiatorThread> {
    const control = new SharedArrayBuffer(4);
    const controlEvent = openEvent();
    const counters = InitiatorCounters.allocate();
    const config = { ...options, control, controlEvent, counters };
    const worker = await startWorker("initiator", config, onMessage);
    return new InitiatorThread(
      worker,
      new InitiatorCounters(counters),
      new Int32Array(control),
      controlEvent,
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
    Atomics.store(this.#control, 0, 1);
    signalEvent(this.#controlEvent);
  }
}
