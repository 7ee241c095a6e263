// More seeds, and the proof that seeds find something: each rule taken out is noticed.

import { assert } from "@std/assert";
import { runSeeds } from "./seeds.ts";
import { runSeed } from "./world.ts";

/** Seeds within which a rule that was taken out must be missed. */
const SEEDS_OF_MUTATIONS = 1500;

const SEEDS = Number(Deno.env.get("SIMULATION_SEEDS") ?? 3000);
Deno.test(`simulation: seeds 3001 to ${3000 + SEEDS}`, () => runSeeds(3001, SEEDS));

for (
  const [name, mutation] of [
    ["the quarantine of retransmitted writes", { quarantineMs: 0 }],
    ["rule 13, the order of overlapping commands at the target", { unordered: true }],
    ["the generation of a tag", { forgetGeneration: true }],
    ["the order of those that wait", { promoteYounger: true }],
    ["the fdatasync of a flush", { skipSync: true }],
    ["waiting for the fdatasync before the answer", { earlySync: true }],
    ["the last command of a merged write", { loseNeighbour: true }],
    ["the end of stores that ended early", { wholeStores: true }],
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
