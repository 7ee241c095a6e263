// `deno task test`: all checks, the build, then all tests in two lanes beside each other. What
// needs the machine's block devices stands in one lane, since it may not meet another of its kind;
// everything else has networks and folders of its own. The closing line counts both lanes.

const MACHINE_WIDE = ["tests/interop/attach", "tests/interop/nbd", "tests/tidy_test.ts"];
/** Where deno's own closing line is looked for. */
const CLOSING_CHARACTERS = 2000;
const root = new URL("..", import.meta.url).pathname;

/** Runs one command, its output shown; ends everything when it fails. */
async function step(...args: string[]): Promise<void> {
  const { code } = await new Deno.Command(Deno.execPath(), { args, cwd: root }).spawn().status;
  if (code !== 0) Deno.exit(code);
}

/** Folders of tests, and files beside them, that are not in the first lane. */
function others(): string[] {
  return ["tests", "tests/interop"].flatMap((folder) =>
    [...Deno.readDirSync(root + folder)].map(({ name }) => `${folder}/${name}`)
  ).filter((path) =>
    !MACHINE_WIDE.includes(path) &&
    !["tests/interop", "tests/bench", "tests/harness"].includes(path) &&
    (path.endsWith("_test.ts") || Deno.statSync(root + path).isDirectory)
  ).sort();
}

interface LaneResult {
  readonly code: number;
  readonly passed: number;
  readonly failed: number;
}

/**
 * A shell's words that hide the machine's attached disks: `aoe stat` shows them, and the other lane
 * makes some.
 */
const HIDE_DISKS = `mkdir -p /run/aoe /dev/etherd
mount -t tmpfs -o mode=0755 none /run/aoe && mount -t tmpfs none /dev/etherd
exec "$@"`;

/** Runs tests; the output is shown as it comes, or as a whole at the end. */
async function lane(
  paths: readonly string[],
  options: { readonly live: boolean; readonly hidden: boolean },
): Promise<LaneResult> {
  const test = [Deno.execPath(), "test", "-A", ...paths];
  const [program = "", ...args] = options.hidden && Deno.uid() === 0
    ? ["unshare", "--mount", "sh", "-c", HIDE_DISKS, "sh", ...test]
    : test;
  const child = new Deno.Command(program, {
    args,
    cwd: root,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const shown: Uint8Array[] = [];
  for await (const chunk of child.stdout) {
    if (options.live) Deno.stdout.writeSync(chunk);
    shown.push(chunk);
  }
  if (!options.live) { for (const chunk of shown) Deno.stdout.writeSync(chunk); }
  const { code } = await child.status;
  const text = await new Blob(shown as BlobPart[]).text();
  const [, passed = 0, failed = 0] =
    /\| (\d+) passed(?: \(\d+ steps?\))? \| (\d+) failed/.exec(text.slice(-CLOSING_CHARACTERS)) ??
      [];
  return { code, passed: Number(passed), failed: Number(failed) };
}

await step("fmt", "--check");
await step("lint");
await step("check");
await step("run", "-A", ".tasks/build.ts");
const lanes = await Promise.all([
  lane(others(), { live: true, hidden: true }),
  lane(MACHINE_WIDE, { live: false, hidden: false }),
]);
const passed = lanes.reduce((sum, result) => sum + result.passed, 0);
const failed = lanes.reduce((sum, result) => sum + result.failed, 0);
const code = lanes.find((result) => result.code !== 0)?.code ?? 0;
console.log(`\n${code === 0 ? "ok" : "FAILED"} | ${passed} passed | ${failed} failed\n`);
Deno.exit(code);
