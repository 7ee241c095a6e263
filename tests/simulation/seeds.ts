// A row of seeds, and what is said of the first that fails.

import { assert } from "@std/assert";
import { type Mutation, runSeed } from "./world.ts";

/** Runs the failing seed again with a capture, and says where that is. */
function explain(seed: number, mutation: Mutation): string {
  const { failure, pcap, profile } = runSeed(seed, mutation, true);
  const path = Deno.makeTempFileSync({ prefix: `aoe-simulation-${seed}-`, suffix: ".pcap" });
  if (pcap !== undefined) Deno.writeFileSync(path, pcap);
  return `seed ${seed}: ${failure}\n  ${profile}\n  frames in ${path}; again with ` +
    `SIMULATION_FROM=${seed} SIMULATION_SEEDS=1`;
}

/** Runs so many seeds; throws with the first that fails. */
export function runSeeds(from: number, count: number): void {
  const seen = new Map<string, number>();
  let operations = 0;
  for (let seed = from; seed < from + count; seed++) {
    const outcome = runSeed(seed);
    operations += outcome.operationsChecked;
    for (const [name, times] of outcome.results) seen.set(name, (seen.get(name) ?? 0) + times);
    if (outcome.failure !== undefined) throw new Error(explain(seed, {}));
  }
  // A simulation in which nothing goes wrong proves little.
  if (count < 1000) return;
  for (const name of ["Ok", "Timeout", "MediumError", "DeviceFault", "WritesLost"]) {
    assert((seen.get(name) ?? 0) > 0, `no request ended with ${name}`);
  }
  assert(operations > 100 * count, `only ${operations} operations on sectors were checked`);
}
