// A process that serves a disk of its own machine must not wait for that disk when memory is short:
// writing dirty pages to it is how memory becomes free.

import type { Arena } from "./arena.ts";
import { errno, errnoText } from "./errno.ts";
import { openLibc } from "./libc.ts";

/** linux/prctl.h: no reclaim of this thread's waits for I/O; since Linux 5.6. */
const PR_SET_IO_FLUSHER = 57;
/** sys/mman.h: pages stay once they are touched, and are not touched for it. */
const MLOCK_ONFAULT = 1;
const OOM_SCORE_ADJ_MIN = -1000;

const libc = openLibc(
  {
    // int option, unsigned long on, unsigned long, unsigned long, unsigned long
    prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
    // const void *addr, size_t length, unsigned flags
    mlock2: { parameters: ["pointer", "u64", "u32"], result: "i32" },
  } as const,
);

/**
 * Guards this thread and the memory of its requests. (mlockall would make V8 abort.)
 *
 * @returns What could not be had, in one sentence; undefined when all is well.
 */
export function guardAgainstReclaim(arena: Arena): string | undefined {
  const bytes = BigInt(arena.bytes.length);
  const problem = libc.mlock2(arena.pointer(0), bytes, MLOCK_ONFAULT) < 0
    ? `memory cannot be locked: ${errnoText(errno())}`
    : libc.prctl(PR_SET_IO_FLUSHER, 1n, 0n, 0n, 0n) < 0
    ? `PR_SET_IO_FLUSHER: ${errnoText(errno())} (it needs CAP_SYS_RESOURCE)`
    : undefined;
  return problem === undefined
    ? undefined
    : `Not guarded against waiting for its own disk when memory is short: ${problem}`;
}

/** The out-of-memory killer spares this process, where it may. */
export function refuseOutOfMemoryKill(): void {
  try {
    Deno.writeTextFileSync("/proc/self/oom_score_adj", String(OOM_SCORE_ADJ_MIN));
  } catch {
    // Without CAP_SYS_RESOURCE it is one process among others.
  }
}
