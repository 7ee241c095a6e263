// `aoe serve --config` before anything is served: what it says of mistakes, and what it refuses.

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { commandLine } from "../harness/command_line.ts";

const NONE = { AOE_CONFIG: "/nonexistent/aoe.toml" };

function serve(...args: string[]) {
  return commandLine(["serve", ...args], NONE);
}

Deno.test("serve --check: every mistake with its line on standard error, exit code 2", async () => {
  await using file = await configuration('[daemon]\nwokers = 2\n[[export]]\naddress = "x"\n');
  const { code, stdout, stderr } = await serve("--config", file.path, "--check");
  assertEquals([code, stdout], [2, ""]);
  const lines = stderr.trim().split("\n");
  assertEquals(lines.length, 5);
  assertStringIncludes(lines[0]!, `aoe: ${file.path}:2: `);
  assertMatch(lines[4]!, /has 4 mistakes/);
  const json = await serve("--config", file.path, "--check", "--json");
  const events = json.stdout.trim().split("\n").map((line) => JSON.parse(line));
  assertEquals(
    events.map(({ event, line }) => [event, line]),
    [2, 3, 3, 4].map((line) => {
      return ["mistake", line];
    }),
  );
  // Nothing starts, either.
  assertEquals((await serve("--config", file.path)).code, 2);
});

Deno.test("serve --check: what is not there now is a warning", async () => {
  await using file = await configuration(`
[[export]]
address = "e1.1"
path = "no.img"
interfaces = ["nobody0"]
`);
  const { code, stdout, stderr } = await serve("--check", "--config", file.path);
  assertEquals([code, stdout], [0, `${file.path} has no mistake: 1 export\n`]);
  assertMatch(stderr, /aoe\.toml:2: e1\.1: "\/.*no\.img" is not there now/);
  assertMatch(stderr, /aoe\.toml:2: e1\.1: no Ethernet interface is called "nobody0" now/);
});

/** Arguments that go with nothing, and what is said. */
const WRONG: readonly (readonly [readonly string[], RegExp])[] = [
  [["-s"], /--sync stands in it: write sync into/],
  [["--workers", "2"], /write workers in \[daemon\] into/],
  [["--state", "/srv/state", "--no-state"], /--state or --no-state, not both/],
  [["lo", "1.1", "x.img"], /an interface stands in it/],
];

Deno.test("serve --config: what stands in a configuration is not said twice", async () => {
  await using file = await configuration("[initiator]\ninterfaces = 'lo'\n");
  for (const [args, said] of WRONG) {
    const { code, stderr } = await serve("--config", file.path, ...args);
    assertEquals(code, 2, stderr);
    assertMatch(stderr, said);
  }
  const empty = await serve("--config", file.path);
  assertEquals(empty.code, 1);
  assertMatch(empty.stderr, /has no \[\[export\]\]: nothing to serve/);
});

Deno.test("serve --config: a file that cannot be read is named", async () => {
  for (
    const [path, said] of [
      ["/nonexistent/aoe.toml", /There is no configuration "\/nonexistent\/aoe\.toml"/],
      ["/tmp", /is no file/],
      ["./aoe", /it is no configuration/],
    ] as const
  ) {
    const { code, stderr } = await serve("--config", path, "--check");
    assertEquals(code, 1);
    assertMatch(stderr, said);
  }
  const arguments_ = await serve("lo", "1.1", "x", "--check");
  assertEquals(arguments_.code, 2);
  assertMatch(arguments_.stderr, /--check looks at a configuration/);
});

async function configuration(text: string) {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/aoe.toml`;
  await Deno.writeTextFile(path, text);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}
