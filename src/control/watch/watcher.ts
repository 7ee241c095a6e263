// Looks at a process once a second for as long as somebody wants to see it: for as long as it runs
// where metrics are served, otherwise for a minute from the last question on.

import { exposeSnapshot } from "../../core/watch/families.ts";
import { History } from "../../core/watch/history.ts";
import type { Overview, Past } from "../../core/watch/overview.ts";
import type { Snapshot } from "../../core/watch/snapshot.ts";

const STEP_MS = 1000;
/** How long it goes on for who has asked once. */
const LINGER_MS = 60_000;
/** Pasts that one question may ask for. */
const PASTS_MAX = 64;

/** What `aoe top` is told. */
export interface WatchAnswer {
  readonly overview: Overview;
  /** Of those that were asked for, and are kept. */
  readonly pasts: Readonly<Record<string, Past>>;
}

/** What happens in a process, to be seen. */
export class Watcher {
  readonly #snapshot: () => Snapshot;
  #history: History | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #untilMs = 0;
  #next = Promise.withResolvers<Overview | undefined>();
  #closed = false;

  /** @param snapshot What has been done until now. */
  constructor(snapshot: () => Snapshot) {
    this.#snapshot = snapshot;
  }

  /** Goes on for as long as the process does. */
  keep(): void {
    this.#untilMs = Infinity;
    this.#start();
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#next.resolve(undefined);
  }

  /** All numbers as of this moment, as Prometheus reads them. */
  metrics(openMetrics: boolean): string {
    return exposeSnapshot(this.#snapshot(), openMetrics);
  }

  /** What happened in the last second; undefined while it is not known. */
  get overview(): Overview | undefined {
    return this.#history?.overview;
  }

  /** What happened next, as soon as it has; undefined when it is closed. */
  next(): Promise<Overview | undefined> {
    return this.#next.promise;
  }

  /** See `History.past`. */
  past(name: string): Past | undefined {
    return this.#history?.past(name);
  }

  /** Answers who asks now and then; the first of them waits for a moment. */
  async ask(names: unknown): Promise<WatchAnswer> {
    this.#untilMs = Math.max(this.#untilMs, performance.now() + LINGER_MS);
    this.#start();
    const overview = this.overview ?? await this.next();
    if (overview === undefined) throw new Error("It is ending");
    const pasts: Record<string, Past> = {};
    for (const name of Array.isArray(names) ? names.slice(0, PASTS_MAX) : []) {
      const past = this.past(String(name));
      if (past !== undefined) pasts[String(name)] = past;
    }
    return { overview, pasts };
  }

  #start(): void {
    if (this.#timer !== undefined || this.#closed) return;
    const history = new History(STEP_MS);
    // What happened before nobody looked is no rate.
    history.begin(this.#snapshot());
    this.#timer = setInterval(() => {
      if (performance.now() > this.#untilMs) {
        clearInterval(this.#timer);
        this.#timer = undefined;
        this.#history = undefined;
        return;
      }
      const overview = history.take(this.#snapshot());
      this.#history = history;
      const told = this.#next;
      this.#next = Promise.withResolvers();
      told.resolve(overview);
    }, STEP_MS);
  }
}
