// Thousands of seeds: the initiator and our target, or one after vblade or ggaoed, over a network
// that loses, doubles, reorders and delays, with cuts, pauses, crashes, hangs and growth. The other
// half of them, and the proof that they find something, stand in mutations_test.ts.

import { assertEquals } from "@std/assert";
import { runSeeds } from "./seeds.ts";
import { runSeed } from "./world.ts";

/** Others can be asked for with SIMULATION_SEEDS and SIMULATION_FROM. */
const SEEDS = Number(Deno.env.get("SIMULATION_SEEDS") ?? 3000);
const FROM = Number(Deno.env.get("SIMULATION_FROM") ?? 1);

Deno.test(`simulation: seeds ${FROM} to ${FROM + SEEDS - 1}`, () => runSeeds(FROM, SEEDS));

Deno.test("simulation: a seed is repeated exactly", () => {
  for (const seed of [1, 2, 3, 17, 42]) {
    const { pcap: first, ...once } = runSeed(seed, {}, true);
    const { pcap: second, ...again } = runSeed(seed, {}, true);
    assertEquals(once, again);
    assertEquals(first, second);
  }
});
