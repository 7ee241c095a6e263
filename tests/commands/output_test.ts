import { assertEquals } from "@std/assert";
import { formatBytes, formatTable, paint } from "../../src/commands/output.ts";

Deno.test("output: colours on a terminal only, and none with NO_COLOR", () => {
  const terminal = { isTerminal: () => true };
  const pipe = { isTerminal: () => false };
  const before = { noColor: Deno.env.get("NO_COLOR"), term: Deno.env.get("TERM") };
  try {
    Deno.env.delete("NO_COLOR");
    Deno.env.set("TERM", "xterm");
    assertEquals(paint("x", "red", terminal), "\x1b[31mx\x1b[0m");
    assertEquals(paint("x", "red", pipe), "x");
    Deno.env.set("TERM", "dumb");
    assertEquals(paint("x", "red", terminal), "x");
    Deno.env.set("TERM", "xterm");
    Deno.env.set("NO_COLOR", "1");
    assertEquals(paint("x", "red", terminal), "x");
    Deno.env.set("NO_COLOR", "");
    assertEquals(paint("x", "red", terminal), "\x1b[31mx\x1b[0m");
  } finally {
    for (const [name, value] of [["NO_COLOR", before.noColor], ["TERM", before.term]] as const) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
});

Deno.test("output: tables align, and fit the width they are given", () => {
  const header = ["ADDRESS", "SIZE", "CONFIG"];
  const rows = [["e1.1", "10", "a string that is long"], ["e65534.254", "2", ""]];
  assertEquals(formatTable(header, rows, { right: ["SIZE"], width: 30 }), [
    "ADDRESS     SIZE  CONFIG",
    "e1.1          10  a string th…",
    "e65534.254     2",
  ]);
  assertEquals(formatTable(header, [], { width: 80 }), ["ADDRESS  SIZE  CONFIG"]);
});

Deno.test("output: sizes for people", () => {
  assertEquals([0, 1023, 1024, 1536, 10 * 1024 ** 3, 2 ** 53].map(formatBytes), [
    "0 B",
    "1023 B",
    "1.0 KiB",
    "1.5 KiB",
    "10.0 GiB",
    "8.0 PiB",
  ]);
});
