// `deno task test`: the build, then all tests, three jobs beside each other, and all checks beside
// the first of them. A job is a file of the interoperability tests or a folder of the others: what
// takes longest begins first, and whatever ends takes the next. What needs the machine's block
// devices may not meet another of its kind, and stands in a line of its own; everything else has
// networks and folders of its own. The closing line counts all of them.

/** Jobs at once: most of them wait for something most of the time, guests apart. */
const WORKERS = 3;
/** What makes block devices of the machine's, as far as no guest does. */
const MACHINE_WIDE = "tests/interop/attach/";
/** Files that boot a guest, or more, have this in them. */
const GUEST = /"[./]*harness\/guest/;
/** These take longest, the longest first; the other guests come behind them. */
const LONGEST = [
  "tests/interop/attach/boot_test.ts",
  "tests/commands",
  "tests/interop/attach/nbd_kernel_test.ts",
  "tests/interop/attach/ublk_test.ts",
  "tests/interop/attach/memory_pressure_test.ts",
  "tests/tasks",
  "tests/interop/target/executable_test.ts",
  "tests/interop/nbd/nbd_source_test.ts",
  "tests/simulation",
  "tests/interop/nbd/nbd_test.ts",
  "tests/interop/initiator/inquiries_test.ts",
];
/** No tests, or looked into file by file. */
const NO_JOBS = ["tests/interop", "tests/bench", "tests/harness"];
/** Where deno's own closing line is looked for. */
const CLOSING_CHARACTERS = 2000;
const root = new URL("..", import.meta.url).pathname;

/** Runs one command, its output shown; what it exits with. */
async function step(...args: string[]): Promise<number> {
  return (await new Deno.Command(Deno.execPath(), { args, cwd: root }).spawn().status).code;
}

/** Files of tests in a folder, and folders. */
function entriesOf(folder: string): string[] {
  return [...Deno.readDirSync(root + folder)]
    .filter(({ name, isDirectory }) => isDirectory || name.endsWith("_test.ts"))
    .map(({ name }) => `${folder}/${name}`).sort();
}

/** Everything to be run: what can stand beside anything, and what only beside those. */
function jobs(): { readonly free: string[]; readonly machineWide: string[] } {
  const files = entriesOf("tests/interop").flatMap((folder) => entriesOf(folder));
  const bootsGuest = (file: string) => GUEST.test(Deno.readTextFileSync(root + file));
  const guests = files.filter(bootsGuest);
  const machineWide = files.filter((file) =>
    file.startsWith(MACHINE_WIDE) && !guests.includes(file)
  );
  const folders = entriesOf("tests").filter((path) => !NO_JOBS.includes(path));
  const all = [...folders, ...files].filter((path) => !machineWide.includes(path));
  // A name that has gone from the list's tests is no job.
  const first = LONGEST.filter((path) => all.includes(path));
  return { free: [...new Set([...first, ...guests, ...all])], machineWide };
}

interface JobResult {
  readonly code: number;
  readonly passed: number;
  readonly failed: number;
}

/**
 * A shell's words that hide the machine's attached disks: `aoe stat` shows them, and another job
 * makes some. What that job has mounted just then would stay in use here after it was unmounted there.
 */
const HIDE_DISKS = `mkdir -p /run/aoe /dev/etherd
sed -n 's/^[^ ]* \\([^ ]*aoe-interop-[^ ]*\\) .*/\\1/p' /proc/self/mounts | xargs -r umount -l
mount -t tmpfs -o mode=0755 none /run/aoe && mount -t tmpfs none /dev/etherd
exec "$@"`;

function writeAll(to: { writeSync(bytes: Uint8Array): number }, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += to.writeSync(bytes.subarray(done));
}

/** Runs tests, and shows what they said once they are over. */
async function runJob(path: string, hidden: boolean): Promise<JobResult> {
  // Types have been checked.
  const test = [Deno.execPath(), "test", "-A", "--no-check", path];
  const [program = "", ...args] = hidden && Deno.uid() === 0
    ? ["unshare", "--mount", "sh", "-c", HIDE_DISKS, "sh", ...test]
    : test;
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args,
    cwd: root,
    // It is up to date; else each file that needs it would look.
    env: { NO_COLOR: "1", AOE_EXECUTABLE: `${root}aoe` },
    stdin: "null",
  }).output();
  writeAll(Deno.stderr, stderr);
  writeAll(Deno.stdout, stdout);
  const text = new TextDecoder().decode(stdout);
  const [, passed = 0, failed = 0] =
    /\| (\d+) passed(?: \(\d+ steps?\))? \| (\d+) failed/.exec(text.slice(-CLOSING_CHARACTERS)) ??
      [];
  return { code, passed: Number(passed), failed: Number(failed) };
}

const built = await step("run", "-A", ".tasks/build.ts");
if (built !== 0) Deno.exit(built);
const { free, machineWide } = jobs();
const results: JobResult[] = [];

/** One check after the other; where one fails, no test begins any more. */
async function runChecks(): Promise<void> {
  for (const args of [["fmt", "--check"], ["lint"], ["check"]]) {
    const code = await step(...args);
    results.push({ code, passed: 0, failed: 0 });
    if (code !== 0) free.length = machineWide.length = 0;
  }
}

await Promise.all([
  runChecks(),
  ...Array.from({ length: WORKERS }, async (_, worker) => {
    // The first has the machine's devices, and helps the others afterwards.
    const own = worker === 0 ? machineWide : [];
    for (let path = own.shift(); path !== undefined; path = own.shift()) {
      results.push(await runJob(path, false));
    }
    for (let path = free.shift(); path !== undefined; path = free.shift()) {
      results.push(await runJob(path, true));
    }
  }),
]);
const passed = results.reduce((sum, result) => sum + result.passed, 0);
const failed = results.reduce((sum, result) => sum + result.failed, 0);
const code = results.find((result) => result.code !== 0)?.code ?? 0;
console.log(`\n${code === 0 ? "ok" : "FAILED"} | ${passed} passed | ${failed} failed\n`);
Deno.exit(code);
