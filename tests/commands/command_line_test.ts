// What a user meets before anything is served or found: help, errors, completions, manual pages. One
// of each kind is asked of the executable; `deno task test` builds ./aoe before.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import configuration from "../../deno.json" with { type: "json" };
import { commandLine } from "../harness/command_line.ts";
import { run } from "../harness/process.ts";

function aoe(...args: string[]) {
  return commandLine(args);
}

function assertFits(text: string): void {
  for (const line of text.split("\n")) assert(line.length <= 80, `over 80 columns: ${line}`);
}

/** The commands that the short help lists, without Optique's own. */
async function commandNames(): Promise<string[]> {
  const { stdout } = await aoe();
  return [...stdout.matchAll(/^ {2}([a-z]+) {2}/gm)].map((match) => match[1] ?? "")
    .filter((name) => name !== "completions");
}

Deno.test("command line: without arguments a short help, which fits 80 columns", async () => {
  const { code, stdout, stderr } = await aoe();
  assertEquals([code, stderr], [0, ""]);
  assertFits(stdout);
  assert(stdout.split("\n").length <= 36, "over a screen");
  for (
    const name of ["  serve ", "  discover ", "  stat ", "  man ", "  completions ", "--version"]
  ) {
    assertStringIncludes(stdout, name);
  }
  assertEquals((await aoe("--help")).stdout, stdout);
  assertEquals((await aoe("-h")).stdout, stdout);
});

Deno.test("command line: the executable says and returns what its command line does", async () => {
  const lines = ["", "--version", "serve --help", "man serve", "serv", "serve eth0 1.1 a -b 0"];
  for (const line of lines) {
    const words = line.split(" ").filter((word) => word !== "");
    assertEquals(await run(["./aoe", ...words]), await aoe(...words), line);
  }
});

Deno.test("command line: --version is deno.json's", async () => {
  assertEquals((await aoe("--version")).stdout, `${configuration.version}\n`);
  assertEquals((await aoe("-V")).stdout, `${configuration.version}\n`);
});

Deno.test("command line: every command has help with an example, in 80 columns", async () => {
  for (const name of await commandNames()) {
    const { code, stdout, stderr } = await aoe(name, "--help");
    assertEquals([code, stderr], [0, ""]);
    assertFits(stdout);
    assertStringIncludes(stdout, `Usage: aoe ${name}`);
    assertMatch(stdout, new RegExp(`Examples?:\\n +(.*\\| )?aoe ${name}`), name);
    assertEquals((await aoe("help", name)).stdout, stdout);
  }
});

/** Wrong command lines, and what the one sentence says. */
const wrong: readonly (readonly [string, RegExp])[] = [
  ["serv", /serv.*Did you mean.*serve/],
  ["discoverr", /Did you mean.*discover/],
  ["--nonsense", /--nonsense/],
  ["serve", /Missing the interface.*aoe serve eth0 1\.1/],
  ["serve eth0", /Missing what to export/],
  ["serve eth0 1.1", /Missing the path/],
  ["serve eth0 1.1 a 1.2", /Missing the path/],
  ["serve eth0 1.1 a --ofset 1", /--ofset.*Did you mean.*--offset/],
  ["serve eth0 1.1 a -b", /-b.*requires/],
  ["serve eth0 1.1 a -b 0", /--buffers.*from 1 to 65535.*"0"/],
  ["serve eth0 1.1 a -b65536", /--buffers.*from 1 to 65535/],
  ["serve eth0 1.1 a -b -3", /-3/],
  ["serve eth0 1.1 a -b 20 -b 30", /multiple times/],
  ["serve eth0 1.1 a -m 00:11:22:33:44", /--mac.*12 hex digits.*"00:11:22:33:44"/],
  ["serve eth0 1.1 a -m 001122334455,x", /--mac.*"x"/],
  ["serve eth0 1.1 a -o 1.5", /--offset.*512/],
  ["serve eth0 1.1 a -o 700B", /--offset.*multiple of 512.*"700B"/],
  ["serve eth0 1.1 a -o -1", /-1/],
  ["serve eth0 1.1 a -l 0", /--length.*at least 1/],
  ["serve eth0 1.1 a --size 511", /--size.*at least 512/],
  ["serve eth0 1.1 a --size 1X", /--size.*K, M, G or T.*"1X"/],
  ["serve eth0 1.1 a --workers 0", /--workers.*from 1 to/],
  ["serve eth0 1.1 a --poll 1s", /--poll.*whole number/],
  ["serve eth0,eth0 1.1 a", /once.*"eth0" twice/],
  ["serve eth0, 1.1 a", /name of a network interface/],
  ["serve an/interface 1.1 a", /name of a network interface/],
  ["serve eth0 e1 a", /shelf from 0 to 65534 and a slot from 0 to 254.*"e1"/],
  ["serve eth0 65535.1 a", /shelf from 0 to 65534/],
  ["serve eth0 1.255 a", /slot from 0 to 254/],
  ["ctl", /Missing `ACTION`: --help/],
  ["revalidate", /Missing an argument: --help/],
  ["detach", /Say which disk to detach/],
  ["unit attach e1.1 --program ./aoe", /--program.*whole path/],
  ["attach --config disks --read-only", /on its line in "disks"/],
  ["man nonsense", /No command is called "nonsense"/],
  ["completions tcsh", /tcsh.*bash/],
];

Deno.test("command line: what is wrong is said in one sentence, with exit code 2", async () => {
  for (const [line, sentence] of wrong) {
    const { code, stdout, stderr } = await aoe(...line.split(" "));
    assertEquals([line, code, stdout], [line, 2, ""]);
    assertMatch(stderr, sentence, line);
    assertMatch(stderr, /^aoe: [^\n]+[^.\n]\n$/, line);
  }
});

Deno.test("command line: completions for bash, zsh and fish", async () => {
  for (const shell of ["bash", "zsh", "fish"]) {
    const { code, stdout, stderr } = await aoe("completions", shell);
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, "aoe");
  }
  const script = await run(["bash", "-c", "./aoe completions bash | bash -n"]);
  assertEquals([script.code, script.stderr], [0, ""]);
  assertStringIncludes((await aoe("completions", "bash", "ser")).stdout, "serve");
  assertStringIncludes((await aoe("completions", "bash", "serve", "--of")).stdout, "--offset");
  assertStringIncludes((await aoe("completions", "bash", "serve", "l")).stdout, "lo");
  assertStringIncludes((await aoe("completions", "bash", "serve", "eth9,l")).stdout, "eth9,lo");
});

Deno.test("command line: manual pages", async () => {
  const all = await aoe("man");
  assertEquals([all.code, all.stderr], [0, ""]);
  assertMatch(all.stdout, /^\.TH AOE 8 /);
  for (const name of [...await commandNames(), "completions"]) {
    assertStringIncludes(all.stdout, `.B ${name}\n`);
    const page = await aoe("man", name);
    assertEquals([page.code, page.stderr], [0, ""]);
    assertMatch(page.stdout, new RegExp(`^\\.TH AOE-${name.toUpperCase()} 8 `));
    assertMatch(page.stdout, /^\.SH SYNOPSIS\naoe /m);
  }
});

Deno.test("command line: what is too long for the help stands in the manual and the reference", async () => {
  const page = (await aoe("man", "serve")).stdout;
  assertMatch(page, /^\.SH DURABILITY\n\.PP\nFLUSH is an fdatasync/m);
  assertMatch(page, /^\.IP \\\(bu 2\nFLUSH is NBD's flush/m);
  const reference = (await aoe("man", "--markdown")).stdout;
  for (const name of await commandNames()) {
    assertStringIncludes(reference, `\n## aoe ${name}\n`);
  }
  assertStringIncludes(reference, "### Durability\n\nFLUSH is an fdatasync");
  assertStringIncludes(reference, "- `-s, --sync`: ");
});

Deno.test("command line: a reader that goes away is no error", async () => {
  const script = "(sleep 0.2; ./aoe man serve; echo $? >&2) | true";
  assertEquals((await run(["sh", "-c", script])).stderr, "0\n");
});

Deno.test("command line: our own mistakes end as a sentence, the stack on demand", async () => {
  const code = `
    import { endWith } from "./src/commands/command_line.ts";
    import { Failure } from "./src/commands/output.ts";
    await endWith(new Failure("No such image"));
    try { Deno.openSync("/nonexistent") } catch (error) { await endWith(error) }
    Deno.exit(await endWith(new TypeError("Broken\\n  in two")));`;
  const told = await run([Deno.execPath(), "eval", code]);
  assertMatch(
    told.stderr,
    /^aoe: No such image\naoe: Cannot open "\/nonexistent": no such file or directory \(ENOENT\)\n/,
  );
  assertMatch(told.stderr, /\naoe: Internal error: Broken in two\n$/);
  assertEquals(told.code, 70);
  const { stderr } = await run([Deno.execPath(), "eval", code], { env: { AOE_DEBUG: "1" } });
  assertMatch(stderr, /Broken in two\nTypeError: Broken\n.*\n\s+at /);
});
