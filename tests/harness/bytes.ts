// Contents of whole disks compared: assertEquals looks at each byte as at any value, which takes
// seconds for some megabytes, and minutes where it has to show a difference.

import { assertEquals } from "@std/assert";

/** Asserts that two contents are the same; `what` names them when they are not. */
export function assertSameBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  assertEquals(actual.length, expected.length, `${what}: length`);
  let at = 0;
  while (at < actual.length && actual[at] === expected[at]) at++;
  assertEquals(at, actual.length, `${what}: first difference`);
}
