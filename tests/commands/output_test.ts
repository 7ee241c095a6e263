import { assertEquals } from "@std/assert";
import {
  counted,
  formatBytes,
  formatJson,
  formatTable,
  paint,
  visible,
} from "../../src/commands/output.ts";

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

Deno.test("output: nothing in JSON is unseen, and it is read back as it was", () => {
  const nasty = "a\u0007\u007f\u009b31m\u061c\u200e\u202eexe.txt\u2028\u2066\ufeff\u{e0041}ü";
  const text = formatJson({ serial: nasty, "\u202e": 1 });
  assertEquals(JSON.parse(text), { serial: nasty, "\u202e": 1 });
  assertEquals(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text), false, text);
  assertEquals(text.includes("ü"), true);
});

Deno.test("output: of a line only our own colours are more than visible text", () => {
  const line = "e1.1 \x1b[1mbold\x1b[0m \x1b[8mhidden\x1b[2J\u202egpj\u{e0041}\r\x9b31m ü";
  const seen = "\\u{1b}[8mhidden\\u{1b}[2J\\u{202e}gpj\\u{e0041}\\u{d}\\u{9b}31m ü";
  assertEquals(visible(line, true), `e1.1 \x1b[1mbold\x1b[0m ${seen}`);
  assertEquals(visible(line, false), `e1.1 \\u{1b}[1mbold\\u{1b}[0m ${seen}`);
  assertEquals(visible("\x1b[1;8mx\x1b[08m", true), "\\u{1b}[1;8mx\\u{1b}[08m");
});

Deno.test("output: what is counted stands in the right number", () => {
  assertEquals([0, 1, 2].map((count) => counted(count, "retransmission")), [
    ...["0 retransmissions", "1 retransmission", "2 retransmissions"],
  ]);
  assertEquals([1, 3].map((n) => counted(n, "flush", "flushes")), ["1 flush", "3 flushes"]);
});
