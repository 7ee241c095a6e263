// What `aoe unit attach` writes: every word of the command line comes out of systemd as it went in,
// nothing that was given adds a line, and all that `aoe attach` can be told can stand in a unit.

import { assertEquals, assertMatch } from "@std/assert";
import { commandLine } from "../harness/command_line.ts";
import { run } from "../harness/process.ts";

function unit(...args: string[]) {
  return commandLine(["unit", "attach", ...args]);
}

/** The value of a unit's directive, which stands there once. */
function valueOf(text: string, directive: string): string {
  const lines = text.split("\n").filter((line) => line.startsWith(`${directive}=`));
  assertEquals(lines.length, 1, text);
  return lines[0]!.slice(directive.length + 1);
}

/** A command line as systemd.service(5) reads it: quotes, escapes, specifiers, then variables. */
function wordsOf(value: string): string[] {
  const words = value.match(/"(?:[^"\\]|\\.)*"|[^\s"\\]+/g) ?? [];
  assertEquals(words.join(" "), value);
  return words.map((word, index) => {
    const plain = word.startsWith('"') ? word.slice(1, -1).replace(/\\(.)/g, "$1") : word;
    const text = plain.replaceAll("%%", "\0");
    assertEquals(text.includes("%"), false, word);
    const literal = text.replaceAll("\0", "%");
    if (index === 0) return literal;
    assertEquals(literal.replaceAll("$$", "").includes("$"), false, word);
    return literal.replaceAll("$$", "$");
  });
}

Deno.test("unit: words come out of systemd as they went in", async () => {
  for (
    const [program, link] of [
      ["/usr/local/bin/aoe", "eth0"],
      ['/opt/an "aoe" of\\mine/100%/$HOME/aoe', "et$h%0"],
      ["/opt/aoe;", ";"],
      ["/opt/'aoe'", '"eth\\0"'],
    ] as const
  ) {
    const { code, stdout, stderr } = await unit("e1.1", "--program", program, "-i", link);
    assertEquals([code, stderr], [0, ""]);
    assertEquals(wordsOf(valueOf(stdout, "ExecStart")), [
      ...[program, "attach", "e1.1", "--timeout", "60", "-i", link],
    ]);
    assertEquals(wordsOf(valueOf(stdout, "ExecStop")), [program, "detach", "e1.1"]);
  }
});

Deno.test("unit: what would add a line is refused", async () => {
  for (
    const args of [
      ["e1.1", "--program", "/bin/aoe\nExecStartPre=/bin/sh"],
      ["e1.1", "-i", "eth0\u0085x"],
      ["e1.1", "-i", "eth0\u0001"],
      ["--config", "/etc/aoe.conf\nUser=nobody"],
    ]
  ) {
    const { code, stdout, stderr } = await unit(...args);
    assertEquals([code, stdout], [2, ""], stderr);
    assertMatch(stderr, /^aoe: [^\n]+\n$/);
  }
});

Deno.test("unit: everything that attach can be told", async () => {
  const all = ["-r", "--reserve", "--backend", "nbd", "--dead-after", "forever", "-i", "eth0"];
  const one = await unit("e1.1", ...all);
  assertEquals(wordsOf(valueOf(one.stdout, "ExecStart")).slice(1), [
    ...["attach", "e1.1", "--timeout", "60", "--dead-after", "forever", "--backend", "nbd"],
    ...["--read-only", "--reserve", "-i", "eth0"],
  ]);
  const every = await unit("--all", "--dead-after", "20", "-i", "a", "-i", "b-c");
  assertEquals(wordsOf(valueOf(every.stdout, "ExecStart")).slice(1), [
    ...["attach", "--all", "--dead-after", "20", "-i", "a", "-i", "b-c"],
  ]);
  assertMatch(every.stdout, /^After=.*-devices-a\.device .*-devices-b\\x2dc\.device$/m);
  const config = await unit("--config", "/etc/my aoe.conf");
  assertEquals(wordsOf(valueOf(config.stdout, "ExecStart")).slice(1), [
    ...["attach", "--config", "/etc/my aoe.conf"],
  ]);
});

Deno.test("unit: contradictions are refused in one sentence", async () => {
  for (
    const [args, sentence] of [
      [[], /Name a disk/],
      [["e1.1", "--all"], /Name a disk/],
      [["--config", "aoe.conf"], /whole path/],
      [["--config", "/etc/aoe.conf", "-r"], /stand on its line in "\/etc\/aoe\.conf"/],
      [["--config", "/etc/aoe.conf", "-i", "eth0"], /stand on its line/],
      [["e1.1", "--program", "aoe"], /whole path/],
    ] as const
  ) {
    const { code, stdout, stderr } = await unit(...args);
    assertEquals([code, stdout], [2, ""], stderr);
    assertMatch(stderr, sentence);
    assertMatch(stderr, /^aoe: [^\n]+[^.\n]\n$/);
  }
});

Deno.test("unit: the runtime is kept where nobody sweeps, and nothing is killed that is in use", async () => {
  const { stdout } = await unit("e1.1");
  assertEquals(valueOf(stdout, "CacheDirectory"), "aoe");
  assertEquals(valueOf(stdout, "Environment"), "XDG_CACHE_HOME=%C");
  assertEquals(valueOf(stdout, "SendSIGKILL"), "no");
});

function serveUnit(...args: string[]) {
  return commandLine(["unit", "serve", ...args]);
}

Deno.test("unit serve: one capability, nothing but images to write to, and what it watches", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const config = `${folder}/my aoe.toml`;
    await Deno.writeTextFile(
      config,
      `[defaults]\ninterfaces = ["eth0"]\n[[export]]\naddress = "e1.1"\npath = "/home/of us/a.img"\n` +
        `[[export]]\naddress = "e1.2"\npath = "/dev/sdx"\n`,
    );
    const { code, stdout, stderr } = await serveUnit("--config", config, "--name", "lab");
    assertEquals([code, stderr], [0, ""]);
    assertEquals(wordsOf(valueOf(stdout, "ExecStart")), [
      ...["/usr/local/bin/aoe", "serve", "--config", config, "--name", "lab"],
    ]);
    const rows: readonly (readonly [directive: string, value: string])[] = [
      ["Type", "notify"],
      ["AmbientCapabilities", "CAP_NET_RAW"],
      ["CapabilityBoundingSet", "CAP_NET_RAW"],
      ["NoNewPrivileges", "yes"],
      ["DynamicUser", "yes"],
      ["ProtectSystem", "strict"],
      ["ReadWritePaths", '-/srv -/mnt -/media "-/home/of us"'],
      ["ProtectHome", "no"],
      ["RuntimeDirectory", "aoe/lab"],
    ];
    for (const [directive, value] of rows) assertEquals(valueOf(stdout, directive), value);
    assertEquals(/^MemoryDenyWriteExecute/m.test(stdout), false);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("unit serve: what has no meaning for it is refused", async () => {
  for (
    const args of [["e1.1"], ["-i", "eth0"], ["--prefix", "/usr"], ["--config", "aoe.toml"], [
      "--user",
      "a b",
    ]]
  ) {
    const { code, stdout, stderr } = await serveUnit(...args);
    assertEquals([code, stdout], [2, ""]);
    assertMatch(stderr, /^aoe: /);
  }
  const { code, stderr } = await unit("e1.1", "--user", "aoe");
  assertEquals(code, 2);
  assertMatch(stderr, /--user has no meaning for aoe unit attach/);
});

const analyze = await run(["systemd-analyze", "--version"]).then(
  ({ code }) => code === 0,
  () => false,
);

Deno.test(
  "unit serve: systemd takes it, and finds little to object to",
  { ignore: !analyze },
  async () => {
    const folder = await Deno.makeTempDir();
    try {
      // A program that is there: its own would be missed.
      const { stdout } = await serveUnit("--before-remote-fs", "--program", "/bin/true");
      const path = `${folder}/aoe.service`;
      await Deno.writeTextFile(path, stdout);
      const verified = await run(["systemd-analyze", "verify", "--man=no", path]);
      assertEquals([verified.code, verified.stderr], [0, ""]);
      // In tenths; the manual names it.
      const security = ["systemd-analyze", "security", "--offline=true"];
      const secure = await run([...security, "--threshold=22", "--no-pager", path]);
      assertEquals(secure.code, 0, secure.stdout + secure.stderr);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
