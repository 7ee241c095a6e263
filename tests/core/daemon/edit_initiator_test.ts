// `aoe interfaces` changes one statement of a configuration, and no other byte of it.

import { assertEquals, assertMatch } from "@std/assert";
import { withInitiatorInterfaces } from "../../../src/core/daemon/edit_initiator.ts";
import { parseInitiator } from "../../../src/core/daemon/parse_plan.ts";

const OTHERS = '# mine\n[defaults]\ninterfaces = ["eth9"]   # kept\n';

/** A configuration, and what it is with eth0 and eth1; then with none. */
const EDITS: readonly (readonly [string, string, string])[] = [
  ["", '[initiator]\ninterfaces = ["eth0", "eth1"]\n', ""],
  [OTHERS, `${OTHERS}\n[initiator]\ninterfaces = ["eth0", "eth1"]\n`, OTHERS],
  [
    `[initiator]\n${OTHERS}`,
    `[initiator]\ninterfaces = ["eth0", "eth1"]\n${OTHERS}`,
    `[initiator]\n${OTHERS}`,
  ],
  [
    `${OTHERS}[initiator] # here\n# why\ninterfaces = [\n  "eth5",  # old\n]\n\n[daemon]\nworkers = 2\n`,
    `${OTHERS}[initiator] # here\n# why\ninterfaces = ["eth0", "eth1"]\n\n[daemon]\nworkers = 2\n`,
    `${OTHERS}[initiator] # here\n# why\n\n[daemon]\nworkers = 2\n`,
  ],
];

for (const [before, some, none] of EDITS) {
  Deno.test(`interfaces: one statement changes: ${JSON.stringify(before)}`, () => {
    assertEquals(withInitiatorInterfaces(before, ["eth0", "eth1"]), { text: some });
    assertEquals(parseInitiator(some), { interfaces: ["eth0", "eth1"], mistakes: [] });
    assertEquals(withInitiatorInterfaces(before, []), { text: none });
    assertEquals(parseInitiator(none).interfaces, []);
  });
}

Deno.test("interfaces: a configuration that cannot be read stays as it is", () => {
  for (const text of ["[initiator]\ninterfaces = [", "initiator = { interfaces = ['a'] }"]) {
    const refused = withInitiatorInterfaces(text, ["eth0"]);
    assertMatch("why" in refused ? refused.why : "", /closed|above its keys/);
  }
});
