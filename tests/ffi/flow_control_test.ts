// What can be tested without a card: interfaces that have no flow control do not pretend to.

import { assertEquals } from "@std/assert";
import { readFlowControl } from "../../ffi/flow_control.ts";

Deno.test("flow control: undefined for what has none, or does not exist", () => {
  for (const name of ["lo", "nonexistent0", "", "an-interface-name-far-over-15"]) {
    assertEquals(readFlowControl(name), undefined, name);
  }
});
