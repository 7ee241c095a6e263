// What one crossing into the kernel costs on this machine: a tenth of a microsecond on bare metal,
// ten times as much under some hypervisors and mitigations. Which way of doing the same is quicker
// depends on it.

import { Arena } from "./arena.ts";
import { openLibc } from "./libc.ts";
import { Clock } from "./poll.ts";

const CALLS = 200;
const ROUNDS = 10;

const libc = openLibc({ getppid: { parameters: [], result: "i32" } } as const);

/**
 * Measures a system call that does nothing; takes up to three milliseconds.
 *
 * @returns Nanoseconds: the best of several rounds, since a round may be interrupted.
 */
export function measureCrossingNs(): number {
  const clock = new Clock(new Arena(4096));
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const startMs = clock.nowMs();
    for (let call = 0; call < CALLS; call++) libc.getppid();
    best = Math.min(best, ((clock.nowMs() - startMs) * 1e6) / CALLS);
  }
  return best;
}
