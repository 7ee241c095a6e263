// Thousands of seeds: the initiator and our target, or one after vblade or ggaoed, over a network
// that loses, doubles, reorders and delays, with cuts, pauses, crashes, hangs and growth. And the
// proof that this finds something: each rule taken out is noticed.

import { assert, assertEquals } from "@std/assert";
import { type Mutation, runSeed } from "./world.ts";

/** Seeds of one run; others can be asked for with SIMULATION_SEEDS and SIMULATION_FROM. */
const SEEDS = Number(Deno.env.get("SIMULATION_SEEDS") ?? 6000);
const FROM = Number(Deno.env.get("SIMULATION_FROM") ?? 1);
/** Seeds within which a rule that was taken out must be missed. */
const SEEDS_OF_MUTATIONS = 1500;

/** Runs the failing seed again with a capture, and says where that is. */
function explain(seed: number, mutation: Mutation): string {
  const { failure, pcap, profile } = runSeed(seed, mutation, true);
  const path = Deno.makeTempFileSync({ prefix: `aoe-simulation-${seed}-`, suffix: ".pcap" });
  if (pcap !== undefined) Deno.writeFileSync(path, pcap);
  return `seed ${seed}: ${failure}\n  ${profile}\n  frames in ${path}; again with ` +
    `SIMULATION_FROM=${seed} SIMULATION_SEEDS=1`;
}

Deno.test(`simulation: seeds ${FROM} to ${FROM + SEEDS - 1}`, () => {
  const seen = new Map<string, number>();
  let operations = 0;
  for (let seed = FROM; seed < FROM + SEEDS; seed++) {
    const outcome = runSeed(seed);
    operations += outcome.operationsChecked;
    for (const [name, count] of outcome.results) seen.set(name, (seen.get(name) ?? 0) + count);
    if (outcome.failure !== undefined) throw new Error(explain(seed, {}));
  }
  // A simulation in which nothing goes wrong proves little.
  if (SEEDS >= 1000) {
    for (const name of ["Ok", "Timeout", "MediumError", "DeviceFault", "WritesLost"]) {
      assert((seen.get(name) ?? 0) > 0, `no request ended with ${name}`);
    }
    assert(operations > 100 * SEEDS, `only ${operations} operations on sectors were checked`);
  }
});

Deno.test("simulation: a seed is repeated exactly", () => {
  for (const seed of [1, 2, 3, 17, 42]) {
    const { pcap: first, ...once } = runSeed(seed, {}, true);
    const { pcap: second, ...again } = runSeed(seed, {}, true);
    assertEquals(once, again);
    assertEquals(first, second);
  }
});

for (
  const [name, mutation] of [
    ["the quarantine of retransmitted writes", { quarantineMs: 0 }],
    ["rule 13, the order of overlapping commands at the target", { unordered: true }],
    ["the generation of a tag", { forgetGeneration: true }],
    ["the order of those that wait", { promoteYounger: true }],
    ["the fdatasync of a flush", { skipSync: true }],
    ["waiting for the fdatasync before the answer", { earlySync: true }],
    ["the last command of a merged write", { loseNeighbour: true }],
    ["the memory of a failed fdatasync", { forgetFailure: true }],
    ["the rule that a tag is not free while a queue holds it", { releaseEarly: true }],
  ] as const
) {
  Deno.test(`simulation: without ${name} it fails`, () => {
    let failure: string | undefined;
    for (let seed = 1; seed <= SEEDS_OF_MUTATIONS && failure === undefined; seed++) {
      failure = runSeed(seed, mutation).failure;
    }
    assert(failure !== undefined, `${SEEDS_OF_MUTATIONS} seeds went well without ${name}`);
  });
}
