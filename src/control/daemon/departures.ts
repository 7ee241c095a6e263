// Exports that are on their way out: nobody's commands are taken any more, and their disks have not
// finished those that they have. A disk that hangs takes its time, for which nothing else waits: not
// the rest of a change, not other changes, only who wants to serve something by the same address.

import type { WantedExport } from "./wanted_export.ts";

/** How long a disk may take over its last commands before it is spoken of. */
const FINISH_MS = 2_000;

/** One of them. */
export interface Departure {
  readonly wanted: WantedExport;
  readonly sinceMs: number;
  /** Whether all that was written is on stable storage, as far as that is known, once it is gone. */
  readonly gone: Promise<boolean>;
}

/** All of a daemon's. */
export class Departures {
  readonly #all = new Map<string, Departure>();

  /** In the order in which they began. */
  get list(): readonly Departure[] {
    return [...this.#all.values()];
  }

  /** The one that has an address, `e1.1`, still. */
  of(address: string): Departure | undefined {
    return this.#all.get(address);
  }

  /**
   * Begins one.
   *
   * @param address `e1.1`
   * @param removal Of the group; undefined for one that waited, and is gone at once: before it, what
   * it waited for may be on its way out.
   * @param gone Told when it is over.
   */
  begin(
    address: string,
    wanted: WantedExport,
    removal: Promise<{ readonly flushed: boolean }> | undefined,
    gone: (flushed: boolean) => void,
  ): Departure {
    const sinceMs = performance.now();
    if (removal === undefined) {
      gone(true);
      return { wanted, sinceMs, gone: Promise.resolve(true) };
    }
    const departure: Departure = {
      ...{ wanted, sinceMs },
      gone: removal.then(({ flushed }) => flushed).finally(() => this.#all.delete(address)),
    };
    this.#all.set(address, departure);
    // A thread that has ended has ended the daemon, which tells so.
    departure.gone.then(gone, () => {});
    return departure;
  }
}

/** What is waited for, to stand behind "e1.1 waits: "; undefined while it is not worth a word. */
export function whyNotGone({ wanted: { plan }, sinceMs }: Departure): string | undefined {
  const ms = performance.now() - sinceMs;
  return ms < FINISH_MS
    ? undefined
    : `"${plan.path}" has not finished what it was given (${Math.floor(ms / 1000)} s so far)`;
}

/**
 * Waits until some are gone, for so long at most.
 *
 * @returns Those that are not.
 */
export async function awaitGone(some: readonly Departure[], ms: number): Promise<Departure[]> {
  const left = new Set(some);
  const all = Promise.all(some.map(async (departure) => {
    await departure.gone;
    left.delete(departure);
  }));
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => timer = setTimeout(resolve, ms));
  try {
    await Promise.race([all, late]);
  } finally {
    clearTimeout(timer);
  }
  // What fails later fails for nobody.
  all.catch(() => {});
  return [...left];
}
