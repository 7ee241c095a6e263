// How V8 is told to run the program: by ./aoe, and by the tests that count what it allocates.

/**
 * Options of V8, as `--v8-flags` takes them.
 *
 * - A loop that serves few requests a second would run slow code for seconds, then share its core
 *   with the compiler: optimized at a third of V8's usual count, p99.9 at window 1 is half. At a tenth
 *   it is compiled before it has seen half of what comes, and again and again: a copy of a gigabyte
 *   took up to twice as long.
 * - What comes seldom (a client's first questions) is remembered from its first time on. Otherwise
 *   the next client's undid what was compiled: the first two seconds of a load were a fifth slower.
 * - A thread keeps little alive: it needs neither a large nursery nor a near copy of the built-ins,
 *   which are two of the five megabytes that these save for each.
 * - A frame's way through the loop is longer than what V8 inlines at most (920 bytes of its code):
 *   where it stopped differed from run to run, and each number that is passed on there is boxed.
 */
export const V8_FLAGS: readonly string[] = [
  "--invocation-count-for-turbofan=1000",
  "--invocation-count-for-osr=300",
  "--no-lazy-feedback-allocation",
  "--max-semi-space-size=1",
  "--min-semi-space-size=1",
  "--no-short-builtin-calls",
  "--max-inlined-bytecode-size-cumulative=2500",
];
