// What people type who know other programs: what they get, or which words are right.

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  hintFor,
  optionNames,
  quoteWords,
  serveInOrder,
  splitShortOptions,
} from "../../src/commands/habits.ts";
import { detachParser } from "../../src/commands/detach.ts";
import { discoverParser } from "../../src/commands/discover.ts";
import { serveParser } from "../../src/commands/serve_arguments.ts";
import { statParser } from "../../src/commands/stat.ts";
import { parseSync } from "@optique/core/parser";
import { commandLine } from "../harness/command_line.ts";
import { interopTest } from "../harness/requirements.ts";
import { aoeExecutable, startTarget, startVblade } from "../harness/target.ts";
import { Testbed } from "../harness/testbed.ts";

const serveOptions = optionNames(serveParser.usage);
const words = (line: string) => line.split(" ");

Deno.test("habits: a short option and its value may be one word, as getopt has it", () => {
  const rows: readonly (readonly [string, string])[] = [
    ["serve -b32 eth0 1.1 f", "serve -b 32 eth0 1.1 f"],
    ["serve -ds eth0 1.1 f", "serve -ds eth0 1.1 f"],
    ["serve -dsb32 eth0 1.1 f", "serve -ds -b 32 eth0 1.1 f"],
    ["serve -b -b32 eth0", "serve -b -b32 eth0"],
    ["serve -b 32 -o8 -- -b9", "serve -b 32 -o 8 -- -b9"],
    ["serve -x32 --buffers=32 -", "serve -x32 --buffers=32 -"],
    ["serve --mac -b32 -r", "serve --mac -b32 -r"],
  ];
  for (const [line, split] of rows) {
    assertEquals(splitShortOptions(words(line), serveOptions).join(" "), split);
  }
  const stat = optionNames(statParser.usage);
  assertEquals(splitShortOptions(["stat", "-ieth0,eth1"], stat), ["stat", "-i", "eth0,eth1"]);
  assertEquals(splitShortOptions(["stat", "-lieth0"], stat), ["stat", "-l", "-i", "eth0"]);
});

Deno.test("habits: serve's words in the order of vblade are put right", () => {
  const rows: readonly (readonly [string, string | undefined])[] = [
    ["serve 1 1 eth0 f", "serve eth0 1.1 f"],
    ["serve -b 16 -d 1 254 eth0 /dev/sdb", "serve -b 16 -d eth0 1.254 /dev/sdb"],
    ["serve -m 00:11:22:33:44:55 1 1 eth0 f -r", "serve -m 00:11:22:33:44:55 -r eth0 1.1 f"],
    ["serve eth0 1 1 f", "serve eth0 1.1 f"],
    ["serve e1.1 eth0 f", "serve eth0 e1.1 f"],
    ["serve eth0 1.1 f", undefined],
    ["serve eth0 1.1 f 1.2", undefined],
    ["serve 1 1 2 f", undefined],
  ];
  for (const [line, ordered] of rows) {
    assertEquals(serveInOrder(words(line), serveOptions)?.join(" "), ordered, line);
  }
  assertEquals(quoteWords(["serve", "my disk's.img"]), `serve 'my disk'\\''s.img'`);
});

Deno.test("habits: the commands of others have a hint that names one of ours", () => {
  for (
    const name of ["ls", "list", "mount", "umount", "unmount", "start", "export", "find", "info"]
  ) assertMatch(hintFor(name) ?? "", /aoe [a-z]+/, name);
  assertStringIncludes(hintFor("status")!, "aoe stat ");
  assertStringIncludes(hintFor("aoe-mount")!, "aoe attach ");
  assertEquals([hintFor("constructor"), hintFor("frobnicate")], [undefined, undefined]);
});

Deno.test("habits: interfaces by -i, by position and with commas; disks by the names of their devices", () => {
  const parse = (parser: Parameters<typeof parseSync>[0], line: string) => {
    const result = parseSync(parser, words(line));
    return result.success ? result.value as Record<string, unknown> : undefined;
  };
  for (
    const line of ["discover eth0 -i eth1", "discover eth0,eth1", "discover -i eth0,eth1 eth0"]
  ) {
    assertEquals((parse(discoverParser, line)!.interfaces as string[]).sort(), ["eth0", "eth1"]);
  }
  const stat = parse(statParser, "stat e1.1 eth0 /dev/etherd/e7.3 -i eth1")!;
  assertEquals(stat.interfaces, ["eth0", "eth1"]);
  assertEquals(stat.addresses, [{ shelf: 1, slot: 1 }, { shelf: 7, slot: 3 }]);
  assertEquals(parse(statParser, "stat e1"), undefined);
  const detach = parse(detachParser, "detach /dev/etherd/e1.1 1.2")!;
  assertEquals(detach.addresses, [{ shelf: 1, slot: 1 }, { shelf: 1, slot: 2 }]);
  assertEquals(parse(detachParser, "detach /dev/etherd/e1.1p1"), undefined);
});

Deno.test("habits: what is wrong here and right elsewhere is said in the user's own words", async () => {
  const rows: readonly (readonly [string, string])[] = [
    ["serve -b32 1 1 eth0 f", "The interface comes first: aoe serve -b 32 eth0 1.1 f"],
    ["ls", 'There is no command "ls": aoe stat lists disks, aoe discover the paths to them'],
    ["identify /dev/etherd/e1.1p2", '"/dev/etherd/e1.1p2" is a partition; name the disk, "e1.1"'],
  ];
  for (const [line, sentence] of rows) {
    const { code, stdout, stderr } = await commandLine(words(line));
    assertEquals([code, stdout], [2, ""]);
    assertMatch(stderr, /^aoe: [^\n]+\n$/);
    assertStringIncludes(stderr, sentence);
  }
});

interopTest(
  "habits: few buffers are announced as asked for, but never fewer than Linux needs",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(1500);
    const aoe = await aoeExecutable();
    for (const [asked, announced] of [["-b8", 8], ["-b1", 2]] as const) {
      const path = await testbed.image(`disk${asked}.img`, 1 << 20);
      const serve = await startTarget(target, {
        interfaces: "net0",
        exports: [["1.1", path]],
        flags: [asked],
      });
      assertMatch(serve.errorLines.join("\n"), /^aoe: warning: .*buffers/);
      const { stdout } = await initiator.runChecked([aoe, "discover", "--json"]);
      assertEquals(JSON.parse(stdout).buffers, announced);
      await serve.stop();
    }
  },
);

interopTest(
  "habits: a shell completes ./aoe, which is not on PATH, and addresses",
  ["vblade"],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(1500);
    const path = await testbed.image("disk.img", 1 << 20);
    await using _serve = await startVblade(target, { iface: "net0", shelf: 12, slot: 3, path });
    const aoe = await aoeExecutable();
    const script = `
    cd "$1"
    eval "$(./aoe completions bash)"
    complete -p aoe
    try() {
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=\${#COMP_LINE}
      _aoe
      echo "\${COMPREPLY[@]}"
    }
    try ./aoe ser
    try ./aoe identify e12
    try ./aoe copy 12
    try ./aoe stat ne
    try ./aoe attach /dev/etherd/e12
    export XDG_CACHE_HOME="\${XDG_CACHE_HOME:-$HOME/.cache}"
    HOME=$PWD try '~/aoe' detac`;
    const { stdout, stderr } = await initiator.runChecked(
      ["bash", "-c", script, "bash", aoe.replace(/\/aoe$/, "")],
      { env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" } },
    );
    assertEquals(stderr, "");
    assertEquals(stdout.trimEnd().split("\n").slice(1).map((line) => line.trim()), [
      ...["serve", "e12.3", "12.3", "net0", "/dev/etherd/e12.3", "detach"],
    ]);
    assertMatch(stdout, /^complete .*-F _aoe.* aoe\n/);
  },
);
