// `deno task simulate -- SEED [COUNT]`: the simulation with one seed again, or with COUNT seeds from
// it on.

const [seed, count = "1"] = Deno.args.filter((word) => word !== "--");
if (![seed ?? "", count].every((word) => /^\d+$/.test(word))) {
  console.error("Usage: deno task simulate -- SEED [COUNT]");
  Deno.exit(2);
}
const { code } = await new Deno.Command(Deno.execPath(), {
  args: ["test", "-A", "tests/simulation/simulation_test.ts", "--filter", "simulation: seeds"],
  env: { SIMULATION_FROM: seed ?? "", SIMULATION_SEEDS: count },
}).spawn().status;
Deno.exit(code);
