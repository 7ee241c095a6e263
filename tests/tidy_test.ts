// The house rules that a program can check: which layer may import which, what the pure layers may
// not name, what no file may be, and that nothing is exported for nobody.

import { assert, assertEquals } from "@std/assert";

/** Lines that a file may have before it has to be divided. */
const LINES_MAX = 600;

/** What a layer may import, as prefixes of paths from the top and of package names. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  "main.ts": ["src/commands/command_line.ts", "src/control/threads.ts"],
  "src/wire/": ["src/wire/"],
  "src/core/": ["src/core/", "src/wire/"],
  "src/control/": [
    "src/control/",
    "src/loops/",
    "src/core/",
    "src/wire/",
    "ffi/",
    "node:crypto",
    "node:zlib",
  ],
  "src/loops/": [
    "src/loops/",
    "src/control/",
    "src/core/",
    "src/wire/",
    "ffi/",
    "node:crypto",
    "node:zlib",
  ],
  "src/commands/": [
    "src/commands/",
    "src/control/",
    "src/loops/",
    "src/wire/",
    "@optique/core/",
    "deno.json",
  ],
  "ffi/": ["ffi/"],
  ".std/": ["npm:deno-std@"],
  ".tasks/": ["src/wire/", "ffi/", "tests/harness/", ".tasks/", "deno.json"],
  "tests/": ["tests/", "src/", "ffi/", "main.ts", "deno.json", "@std/", "@optique/", "fast-check"],
};

/** What every command shares; beyond it a command imports only its own parts (serve_*.ts). */
const SHARED_BY_COMMANDS = ["arguments", "exit_codes", "output", "stop_signals"];

/** The target and the initiator know nothing of each other. */
const STRANGERS: readonly (readonly [RegExp, RegExp])[] = [
  [/^src\/core\/(target|drive)/, /^src\/core\/initiator/],
  [/^src\/core\/initiator/, /^src\/core\/(target|drive)/],
];

/** What makes a decision depend on more than its arguments. */
const IMPURE =
  /\b(Deno|Date|performance|Promise|setTimeout|setInterval|queueMicrotask|globalThis)\b|\bMath\.random\b|"node:|\bcrypto\b|\basync\b|\bawait\b/;

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

Deno.test("tidy: each layer imports only what its rule allows", () => {
  const broken = [...sources].flatMap(([path, text]) => {
    const layer = Object.keys(LAYERS).find((prefix) => path.startsWith(prefix));
    if (layer === undefined) return [`${path} belongs to no layer`];
    const allowed = LAYERS[layer] ?? [];
    return importsOf(path, text)
      .filter((target) => !allowed.some((prefix) => target.startsWith(prefix)))
      .map((target) => `${path} imports ${target}`);
  });
  assertEquals(broken, []);
});

Deno.test("tidy: no command imports another, and target and initiator stay strangers", () => {
  const broken = programSources.flatMap(([path, text]) =>
    importsOf(path, text).filter((target) => {
      if (STRANGERS.some(([from, to]) => from.test(path) && to.test(target))) return true;
      const [from, to] = [commandOf(path), commandOf(target)];
      return from !== undefined && to !== undefined && from !== "command" && from !== to &&
        !SHARED_BY_COMMANDS.includes(to);
    }).map((target) => `${path} imports ${target}`)
  );
  assertEquals(broken, []);
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

Deno.test("tidy: what should not exist does not", () => {
  const broken = [...sources].flatMap(([path, text]) => [
    ...(/(^|\/)(index|mod|utils?|helpers?|common|types?)(\.d)?\.ts$/.test(path)
      ? [`${path} has a name that says nothing`]
      : []),
    ...(/(^|\/)[^/]*[A-Z-][^/]*\.ts$/.test(path) ? [`${path} is not in snake_case`] : []),
    ...(/^export default\b/m.test(text) ? [`${path} has a default export`] : []),
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

/** Which command a file belongs to: `serve` for src/commands/serve.ts and serve_arguments.ts. */
function commandOf(path: string): string | undefined {
  return /^src\/commands\/([a-z0-9]+)/.exec(path)?.[1];
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
