// What identify, ping, config, mask, reserve and check refuse before they ask anybody;
// tests/interop/initiator/inquiries_test.ts has them ask. `deno task test` builds ./aoe before.

import { assertEquals, assertMatch } from "@std/assert";
import { commandLine } from "../harness/command_line.ts";
import { run } from "../harness/process.ts";

/** Wrong command lines, and what the one sentence says. */
const wrong: readonly (readonly [string[], RegExp])[] = [
  [["identify"], /SHELF\.SLOT/],
  [["identify", "e1"], /shelf from 0 to 65534.*"e1"/],
  [["identify", "e1.1", "e1.2"], /e1\.2/],
  [["ping", "e1.1", "-c", "0"], /--?c.*whole number from 1/],
  [["ping", "e1.1", "--interval", "0"], /--interval.*seconds from 0\.001/],
  [["ping", "e1.1", "--timeout", "x"], /--timeout.*seconds from/],
  [["config", "e1.1", "tset", "x"], /ACTION.*"tset"|tset/],
  [["config", "e1.1", "test"], /Missing the STRING to test/],
  [["config", "e1.1", "force-set"], /Missing the STRING to force-set/],
  [["config", "e1.1", "read", "x"], /takes no STRING/],
  [["config", "e1.1", "set", "ü".repeat(513)], /at most 1024 bytes/],
  [["mask", "e1.1", "add"], /Missing the MACs to add/],
  [["mask", "e1.1", "remove"], /Missing the MACs to remove/],
  [["mask", "e1.1", "clear", "self"], /takes no MACs/],
  [["mask", "e1.1", "self"], /"add", "remove", and "clear".*"self"/],
  [["mask", "e1.1", "add", "52:54:00"], /MAC address of 12 hex digits.*"self".*"52:54:00"/],
  [["reserve", "e1.1", "--release", "self"], /takes no MACs/],
  [["reserve", "e1.1", "me"], /"self".*"me"/],
  [["check", "eth0", "-c", "0"], /whole number from 1/],
  [["check", "n".repeat(128)], /name of a network interface/],
];

Deno.test("inquiries: what is wrong is said in one sentence, with exit code 2", async () => {
  for (const [words, sentence] of wrong) {
    const { code, stdout, stderr } = await commandLine(words);
    assertEquals([words, code, stdout], [words, 2, ""], stderr);
    assertMatch(stderr, sentence, words.join(" "));
    assertMatch(stderr, /^aoe: [^\n]+[^.\n]\n$/, words.join(" "));
  }
});

Deno.test("inquiries: an interface that does not exist is a failure of the machine", async () => {
  for (
    const words of [
      ...["identify", "ping", "config", "mask", "reserve"].map((name) => [name, "e1.1", "-i"]),
      ["check"],
    ]
  ) {
    const { code, stdout, stderr } = await run(["./aoe", ...words, "nonexistent0"]);
    assertEquals([words, code, stdout], [words, 1, ""], stderr);
    assertMatch(stderr, /^aoe: No interface is called "nonexistent0"; .*[^.]\n$/);
  }
});
