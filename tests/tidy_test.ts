// The house rules that a program can check: which layer may import which, what the pure layers may
// not name, what no file may be, and that nothing is exported for nobody.

import { assert, assertEquals } from "@std/assert";

/** Lines that a file may have before it has to be divided. */
const LINES_MAX = 600;
/** Lines from the head of a function to its closing brace. */
const FUNCTION_LINES_MAX = 70;
/** A file of ours in a comment: with its folders from the top, with some of them, or alone. */
const NAMED_FILE = /(?<![\w./*-])(?:[\w.]+\/)*\w+\.(?:ts|md|sh)\b/g;
/** The first line of a function or method, its parameters begun or complete. */
const FUNCTION_HEAD =
  /^(\s*)(?:export |static |override |async |function\*? |get |set |\*)*(#?\w+)(?:<.*>)?\((?:|(?:.*\))?(?:: [^=]*)? \{)$/;
const CONTROL_FLOW = ["if", "for", "while", "switch", "catch"];
/** Files that comments name and that are somebody else's. */
const FOREIGN_FILES = ["doc/proto.md", "doc/uri.md"];

/**
 * What a wall may import, as prefixes of paths from the top and of package names. Commands
 * may have types from ffi: the shapes of what is handed upwards.
 */
const WALLS: Readonly<Record<string, readonly string[]>> = {
  "main.ts": ["src/commands/command_line.ts", "src/control/threads.ts", "ffi/signals.ts"],
  "src/wire/": ["src/wire/"],
  // Errno's numbers are of the kernel's interface as a layout is of the wire's: pure.
  "src/core/": ["src/core/", "src/wire/", "ffi/errno_numbers.ts", "@std/toml"],
  "src/loops/": ["src/loops/", "src/core/", "src/wire/", "ffi/"],
  "src/control/": ["src/control/", "src/loops/", "src/core/", "src/wire/", "ffi/"],
  "src/commands/": [
    "src/commands/",
    "src/control/",
    "src/loops/",
    "src/core/",
    "src/wire/",
    // Where a daemon prints.
    "ffi/syslog.ts",
    "@optique/core/",
    "deno.json",
  ],
  "ffi/": ["ffi/"],
  ".std/": ["npm:deno-std@"],
  ".tasks/": ["src/wire/", "ffi/", "tests/harness/", ".tasks/", "deno.json"],
  "tests/": [
    ...["tests/", "src/", "ffi/", "main.ts", "deno.json", "@std/", "@optique/", "fast-check"],
    // What the program is run with, for what counts its garbage.
    ".tasks/v8_flags.ts",
  ],
};

/**
 * The rooms below a room. A room imports itself, the rooms below it and what is below those, in
 * its own wall and in the walls below, where a room of the same name is the same subject. What
 * stands at a wall itself, in no room, is for all of them.
 */
const ROOMS_BELOW: Readonly<Record<string, readonly string[]>> = {
  "src/core/daemon": ["target"],
  "src/core/nbd_server": ["block"],
  "src/core/watch": ["target", "initiator"],
  "src/control/watch": ["target", "attach", "daemon"],
  "src/loops/target": ["nbd_client"],
  "src/loops/block": ["initiator"],
  "src/loops/copy": ["initiator"],
  "src/loops/bench": ["initiator"],
  "src/loops/attach": ["block"],
  "src/loops/nbd_server": ["block"],
  "src/control/target": ["ask", "nbd_client"],
  "src/control/daemon": ["target"],
  "src/control/attach": ["ask", "nbd_server"],
};

/** What every command shares; beyond it a command imports only its own parts (serve_*.ts). */
const SHARED_BY_COMMANDS = [
  ...["arguments", "exit_codes", "inquiries", "output", "stop_signals", "summaries"],
];

/** What makes a decision depend on more than its arguments. */
const IMPURE =
  /\b(Deno|Date|performance|Promise|setTimeout|setInterval|queueMicrotask|globalThis)\b|\bMath\.random\b|"node:|\bcrypto\b|\basync\b|\bawait\b/;

/** What a thread that blocks in one system call would never see, or must not do. */
const ASYNCHRONOUS =
  /\b(async|await|Promise|setTimeout|setInterval|queueMicrotask|Date|performance)\b|\bDeno\.(?!PointerValue|PointerObject|UnsafePointer|errors\b|execPath\b)/;

/** Everything the top level holds. */
const TOP_LEVEL = [
  ".ci",
  ".gitattributes",
  ".gitignore",
  ".std",
  ".tasks",
  "README.md",
  "deno.json",
  "deno.lock",
  "ffi",
  "main.ts",
  "src",
  "tests",
];

const root = new URL("..", import.meta.url).pathname;
const files = trackedFiles();
const sources = new Map(
  files.filter((path) => path.endsWith(".ts")).map((path) =>
    [path, Deno.readTextFileSync(root + path)] as const
  ),
);
/** The files that make up the program and its tasks. */
const programSources = [...sources].filter(([path]) => !/^(tests|\.std)\//.test(path));

Deno.test("tidy: each wall imports only what its rule allows", () => {
  const broken = [...sources].flatMap(([path, text]) => {
    const wall = Object.keys(WALLS).find((prefix) => path.startsWith(prefix));
    if (wall === undefined) return [`${path} stands behind no wall`];
    const allowed = WALLS[wall] ?? [];
    const typesFrom = path.startsWith("src/commands/") ? ["ffi/"] : [];
    const valuesOnly = importsOf(path, text.replace(/^import type [^;]*;/gm, ""));
    return importsOf(path, text)
      .filter((target) =>
        !allowed.some((prefix) => target.startsWith(prefix)) &&
        (valuesOnly.includes(target) || !typesFrom.some((prefix) => target.startsWith(prefix)))
      )
      .map((target) => `${path} imports ${target}`);
  });
  assertEquals(broken, []);
});

Deno.test("tidy: each room imports only itself and the rooms below it", () => {
  const broken = programSources.flatMap(([path, text]) => {
    const [, wall, room] = /^src\/(\w+)\/(?:(\w+)\/)?/.exec(path) ?? [];
    if (wall === undefined || room === undefined) return [];
    const rooms = roomsFrom(wall, room);
    return importsOf(path, text).filter((target) => {
      const [, , other] = /^src\/(\w+)\/(\w+)\//.exec(target) ?? [];
      return other !== undefined && !rooms.has(other);
    }).map((target) => `${path} imports ${target}`);
  });
  assertEquals(broken, []);
});

Deno.test("tidy: no command imports another", () => {
  const broken = programSources.flatMap(([path, text]) =>
    importsOf(path, text).filter((target) => {
      const [from, to] = [commandOf(path), commandOf(target)];
      return from !== undefined && to !== undefined && from !== "command" && from !== to;
    }).map((target) => `${path} imports ${target}`)
  );
  assertEquals(broken, []);
});

Deno.test("tidy: what every start loads is the command line alone", () => {
  const loaded = new Set(["src/commands/command_line.ts"]);
  for (const path of loaded) {
    const atOnce = (sources.get(path) ?? "").replace(
      /^import type [^;]*;|\bimport\("[^"]*"\)/gm,
      "",
    );
    for (const target of importsOf(path, atOnce)) loaded.add(target);
  }
  const ours = [...loaded].filter((path) => path.endsWith(".ts")).sort();
  assertEquals(ours, [
    "src/commands/command_line.ts",
    "src/commands/command_table.ts",
    "src/commands/exit_codes.ts",
    "src/commands/habits.ts",
    "src/commands/late_segmenter.ts",
    "src/commands/output.ts",
    "src/commands/output_queue.ts",
    "src/commands/summaries.ts",
    "src/control/disk_refusal.ts",
  ]);
});

Deno.test("tidy: wire and core name nothing impure", () => {
  const broken = programSources
    .filter(([path]) => /^src\/(wire|core)\//.test(path))
    .flatMap(([path, text]) => {
      const found = IMPURE.exec(withoutComments(text));
      return found === null ? [] : [`${path} names ${found[0]}`];
    });
  assertEquals(broken, []);
});

Deno.test("tidy: a loop blocks in one system call and is never asynchronous", () => {
  const broken = programSources
    .filter(([path]) => path.startsWith("src/loops/"))
    .flatMap(([path, text]) => {
      const found = ASYNCHRONOUS.exec(withoutComments(text));
      return found === null ? [] : [`${path} names ${found[0]}`];
    });
  assertEquals(broken, []);
});

Deno.test("tidy: what should not exist does not", () => {
  const broken = [...sources].flatMap(([path, text]) => [
    ...(/(^|\/)(index|mod|utils?|helpers?|common|types?)(\.d)?\.ts$/.test(path)
      ? [`${path} has a name that says nothing`]
      : []),
    ...(/(^|\/)[^/]*[A-Z-][^/]*\.ts$/.test(path) ? [`${path} is not in snake_case`] : []),
    ...(/^export default\b/m.test(text) ? [`${path} has a default export`] : []),
    ...(/^export (type )?(\*|\{[^}]*\}) from/m.test(text) && !path.startsWith(".std/")
      ? [`${path} exports what another file declares`]
      : []),
    ...(/\bextends EventTarget\b|\bEventEmitter\b/.test(withoutComments(text))
      ? [`${path} emits events`]
      : []),
  ]);
  const names = [...new Set(files.map((path) => path.split("/")[0] ?? ""))];
  const strangers = names.filter((name) => !TOP_LEVEL.includes(name));
  assertEquals([...broken, ...strangers.map((name) => `${name} at the top level`)], []);
});

Deno.test("tidy: files stay small", () => {
  const broken = [...sources]
    .map(([path, text]) => [path, text.split("\n").length - 1] as const)
    .filter(([, lines]) => lines > LINES_MAX)
    .map(([path, lines]) => `${path} has ${lines} lines`);
  assertEquals(broken, []);
});

Deno.test("tidy: files begin by saying what they are, and exported functions are documented", () => {
  const broken = programSources.flatMap(([path, text]) => [
    ...(/^(\/\/|\/\*\*)/.test(text) ? [] : [`${path} does not say what it is`]),
    ...exportsOf(text)
      .filter(({ kind, documented }) => kind === "function" && !documented)
      .map(({ name }) => `${path} exports ${name} without a comment`),
  ]);
  assertEquals(broken, []);
});

Deno.test("tidy: an exported name is one thing", () => {
  const homes = new Map<string, string[]>();
  for (const [path, text] of programSources) {
    for (const { name } of exportsOf(text)) homes.set(name, [...homes.get(name) ?? [], path]);
  }
  const broken = [...homes].filter(([, paths]) => paths.length > 1)
    .map(([name, paths]) => `${name} is exported by ${paths.join(" and ")}`);
  assertEquals(broken, []);
});

Deno.test("tidy: a file that a comment names exists", () => {
  const broken = [...sources].flatMap(([path, text]) =>
    [...commentsOf(text).matchAll(NAMED_FILE)].map(([name]) => name)
      .filter((name) => !isNamed(path, name))
      .map((name) => `${path} names ${name}`)
  );
  assertEquals(broken, []);
});

Deno.test("tidy: a section that a comment names exists", () => {
  const papers = new Map(
    files.filter((path) => path.endsWith("README.md")).map((path) =>
      [path, Deno.readTextFileSync(root + path)] as const
    ),
  );
  const broken = [...sources].flatMap(([path, text]) =>
    [...unwrapped(commentsOf(text)).matchAll(/([\w/]*README\.md), '([^']+)'/g)]
      .filter(([, paper = "", section = ""]) =>
        ![...papers].some(([name, content]) =>
          (name === paper || name.endsWith(`/${paper}`)) && unwrapped(content).includes(section)
        )
      ).map(([name]) => `${path} names ${name}`)
  );
  assertEquals(broken, []);
});

Deno.test("tidy: functions stay small", () => {
  const broken = [...sources].flatMap(([path, text]) =>
    functionsOf(text).filter(({ lines }) => lines > FUNCTION_LINES_MAX)
      .map(({ name, lines }) => `${path}: ${name} has ${lines} lines`)
  );
  assertEquals(broken, []);
});

Deno.test("tidy: nothing is exported for nobody, and the program uses what it exports", () => {
  const code = [...sources].map(([path, text]) => ({ path, words: wordsOf(text) }));
  const dead = programSources
    .filter(([path]) => path.startsWith("src/") || path.startsWith("ffi/"))
    .flatMap(([path, text]) =>
      exportsOf(text).flatMap(({ kind, name }) => {
        const users = code.filter((file) =>
          (file.words.get(name) ?? 0) > (file.path === path ? 1 : 0)
        ).map((file) => file.path);
        // A type that stands in an exported signature is exported for who names it some day, and
        // the specification's constants are complete whether or not each has its user.
        if (users.includes(path) && (kind === "interface" || kind === "type")) return [];
        if (/^src\/(wire|core)\//.test(path) && /^[A-Z0-9_]+$/.test(name)) return [];
        if (users.every((user) => user.startsWith("tests/"))) {
          return [`${path} exports ${name}, and the program does not use it`];
        }
        return users.some((user) => user !== path)
          ? []
          : [`${path} exports ${name}, and nobody imports it`];
      })
    );
  assertEquals(dead, []);
});

/** The comments alone. */
function commentsOf(text: string): string {
  const pattern = /"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`|(\/\*[\s\S]*?\*\/|\/\/[^\n]*)/g;
  return [...text.matchAll(pattern)].map((match) => match[1] ?? "").join("\n");
}

/** A text without line breaks, and without what begins a comment's line. */
function unwrapped(text: string): string {
  return text.replace(/\n *(?:\/\/|\*)? */g, " ");
}

/** Whether there is a file of that name: from the top, beside the one that names it, or anywhere. */
function isNamed(path: string, name: string): boolean {
  if (FOREIGN_FILES.includes(name)) return true;
  const beside = new URL(name, `file:///${path}`).pathname.slice(1);
  return files.some((file) => file === name || file === beside || file.endsWith(`/${name}`));
}

/** Functions and methods, by their indentation: deno fmt closes each at the depth of its head. */
function functionsOf(text: string): { name: string; lines: number }[] {
  const lines = text.split("\n");
  return lines.flatMap((line, at) => {
    const [, indent, name] = FUNCTION_HEAD.exec(line) ?? [];
    if (indent === undefined || name === undefined || CONTROL_FLOW.includes(name)) return [];
    const isAtDepth = (other: string) => other.startsWith(indent) && other[indent.length] !== " ";
    const open = line.endsWith("(")
      ? lines.findIndex((other, i) => i > at && isAtDepth(other))
      : at;
    if (!lines[open]?.endsWith("{")) return [];
    const close = lines.indexOf(`${indent}}`, open);
    return close < 0 ? [] : [{ name, lines: close - at + 1 }];
  });
}

/** A room and every room below it, by way of its own wall and of the walls below. */
function roomsFrom(wall: string, room: string): Set<string> {
  const walls = ["control", "loops", "core"];
  const found = new Set([room]);
  for (const name of found) {
    for (const lower of walls.slice(walls.indexOf(wall))) {
      for (const below of ROOMS_BELOW[`src/${lower}/${name}`] ?? []) found.add(below);
    }
  }
  return found;
}

/** Which command a file belongs to: `serve` for src/commands/serve.ts and serve_arguments.ts. */
function commandOf(path: string): string | undefined {
  const file = /^src\/commands\/(\w+)\.ts$/.exec(path)?.[1];
  return SHARED_BY_COMMANDS.includes(file ?? "") ? undefined : file?.split("_")[0];
}

/** How often each word stands in the code. */
function wordsOf(text: string): Map<string, number> {
  const words = new Map<string, number>();
  for (const [word] of withoutComments(text).matchAll(/\w+/g)) {
    words.set(word, (words.get(word) ?? 0) + 1);
  }
  return words;
}

/** What git would commit: tracked files and new ones that are not ignored. */
function trackedFiles(): string[] {
  const args = ["ls-files", "--cached", "--others", "--exclude-standard"];
  const { success, stdout } = new Deno.Command("git", { args, cwd: root }).outputSync();
  assert(success, "git ls-files failed");
  const listed = new TextDecoder().decode(stdout).trimEnd().split("\n");
  return [...new Set(listed)].sort().filter((path) => {
    try {
      return Deno.statSync(root + path).isFile;
    } catch {
      return false;
    }
  });
}

/** What a file imports, relative paths resolved from the top. */
function importsOf(path: string, text: string): string[] {
  const pattern =
    /^\s*(?:import|export)\b[^;"']*?\bfrom\s*"([^"]+)"|^\s*import\s*"([^"]+)"|\bimport\(\s*"([^"]+)"/gm;
  return [...text.matchAll(pattern)].map((match) => {
    const specifier = match[1] ?? match[2] ?? match[3] ?? "";
    if (!specifier.startsWith(".")) return specifier;
    return new URL(specifier, `file:///${path}`).pathname.slice(1);
  });
}

/** What a file exports by declaring it. */
function exportsOf(text: string): { kind: string; name: string; documented: boolean }[] {
  const pattern =
    /^export (?:declare )?(?:abstract )?(?:async )?(function|const|let|class|interface|type|enum)\*? (\w+)/gm;
  return [...text.matchAll(pattern)].map((match) => ({
    kind: match[1] ?? "",
    name: match[2] ?? "",
    documented: /\*\/\s*$/.test(text.slice(0, match.index)),
  }));
}

/** The code alone: comments blanked, strings kept. */
function withoutComments(text: string): string {
  return text.replace(
    /("(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g,
    (_, string) => string ?? " ",
  );
}
