// Which thread of the process this is, by its number in /proc/self/task; and the clock that service
// managers compare with.

import { openLibc } from "./libc.ts";

const CLOCK_MONOTONIC = 1;

const libc = openLibc(
  {
    // Since glibc 2.30.
    gettid: { parameters: [], result: "i32", optional: true },
    // clockid_t clock, struct timespec *time
    clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
  } as const,
);

/** The kernel's number of the calling thread; 0 where the C library does not tell. */
export function currentThread(): number {
  return libc.gettid?.() ?? 0;
}

/** Microseconds of CLOCK_MONOTONIC. */
export function monotonicMicroseconds(): bigint {
  const time = new BigInt64Array(2);
  libc.clock_gettime(CLOCK_MONOTONIC, time);
  return time[0]! * 1_000_000n + time[1]! / 1000n;
}
