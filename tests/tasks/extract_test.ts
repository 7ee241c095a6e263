// How ./aoe unpacks itself, in every shell that may be /bin/sh: what is damaged is unpacked again,
// a place that will not do gives way to the next one, and each failure says what it is.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import configuration from "../../deno.json" with { type: "json" };
import { type Outcome, run, RunningProcess } from "../harness/process.ts";
import { findProgram, interopTest } from "../harness/requirements.ts";

const executable = new URL("../../aoe", import.meta.url).pathname;
const version = `${configuration.version}\n`;

/** Only the self-extracting kind unpacks anything. */
const extracting = new TextDecoder()
  .decode(Deno.readFileSync(executable).subarray(0, 9)) === "#!/bin/sh";

/** The shells, each by the words that start it; busybox brings its own gzip, tail, stat and mv. */
const SHELLS = { sh: ["sh"], bash: ["bash"], busybox: ["busybox", "ash"] } as const;
type Shell = keyof typeof SHELLS;
const shells = Object.keys(SHELLS) as Shell[];

/** A scratch directory, with a cache in it and the words that start ./aoe in one shell. */
class Scratch implements AsyncDisposable {
  readonly #path: string;
  readonly #shell: Shell;
  /** In front of everything else that is looked for. */
  readonly bin: string;

  private constructor(path: string, shell: Shell) {
    this.#path = path;
    this.#shell = shell;
    this.bin = `${path}/bin`;
  }

  static async create(shell: Shell = "sh"): Promise<Scratch> {
    const scratch = new Scratch(await Deno.makeTempDir(), shell);
    await Deno.mkdir(scratch.bin);
    if (shell === "busybox") await fillWithBusybox(scratch.bin);
    return scratch;
  }

  get cache(): string {
    return `${this.#path}/aoe`;
  }

  path(name: string): string {
    return `${this.#path}/${name}`;
  }

  /** Words that start a file of ours in the shell, and only in the named cache. */
  words(file = executable): string[] {
    const path = `PATH=${this.bin}:/usr/sbin:/usr/bin:/sbin:/bin`;
    return ["env", "-i", path, `XDG_CACHE_HOME=${this.#path}`, ...SHELLS[this.#shell], file];
  }

  /** Runs `aoe --version`. */
  version(file?: string): Promise<Outcome> {
    return run([...this.words(file), "--version"], { cwd: "/" });
  }

  /** The path of the one file of the cache whose name matches. */
  find(pattern: RegExp): string {
    const names = [...Deno.readDirSync(this.cache)].map((entry) => entry.name);
    const found = names.filter((name) => pattern.test(name));
    assertEquals(found.length, 1, `${pattern} among ${names}`);
    return `${this.cache}/${found[0]}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#path, { recursive: true });
  }
}

/** Makes a directory of links that hide every other program of the same name. */
async function fillWithBusybox(directory: string): Promise<void> {
  const busybox = findProgram("busybox")!;
  const { stdout } = await run([busybox, "--list"]);
  const names = stdout.trim().split("\n").filter((name) => name !== "env" && name !== "busybox");
  for (const name of names) await Deno.symlink(busybox, `${directory}/${name}`);
}

function assertStarts({ code, stdout, stderr }: Outcome, what: string): void {
  assertEquals([code, stdout, stderr], [0, version, ""], what);
}

function assertRefuses({ code, stdout, stderr }: Outcome, pattern: RegExp): void {
  assertEquals([code, stdout], [1, ""], stderr);
  assertMatch(stderr, pattern);
  assertEquals(stderr.split("\n").length, 2, `one line, not: ${stderr}`);
}

function extractTest(
  name: string,
  body: (shell: Shell) => Promise<void>,
  among: readonly Shell[] = shells,
): void {
  if (!extracting) return;
  for (const shell of among) {
    interopTest(`${name} (${shell})`, ["busybox", "strace", "unshare"], () => body(shell));
  }
}

const program = /^aoe-[0-9a-f]{16}\.js$/;
const runtime = /^deno-[\w.-]+$/;
const intact = /\.intact$/;

extractTest("extract: what a power cut leaves is unpacked again, and silently", async (shell) => {
  await using scratch = await Scratch.create(shell);
  // systemd's services ignore SIGPIPE: programs in a pipe would complain.
  const ignoring = ["sh", "-c", `trap '' PIPE; exec "$@"`, "sh", ...scratch.words(), "--version"];
  assertStarts(await run(ignoring), "first start");
  const bytes = Deno.statSync(scratch.find(runtime)).size;
  const damages: Record<string, () => void> = {
    "both are empty": () => {
      Deno.truncateSync(scratch.find(program));
      Deno.truncateSync(scratch.find(runtime));
    },
    "the runtime is cut, and the note of the boot is zeros": () => {
      Deno.truncateSync(scratch.find(runtime), bytes - 4096);
      Deno.writeFileSync(scratch.find(intact), new Uint8Array(52));
    },
    "of both a part is zeros, after another boot": () => {
      for (const path of [scratch.find(program), scratch.find(runtime)]) {
        using file = Deno.openSync(path, { write: true });
        file.seekSync(100_000, Deno.SeekMode.Start);
        file.writeSync(new Uint8Array(8192));
      }
      Deno.writeTextFileSync(scratch.find(intact), "#!/bin/sh\necho of another boot\n");
    },
  };
  const programBytes = Deno.statSync(scratch.find(program)).size;
  for (const [what, damage] of Object.entries(damages)) {
    damage();
    assertStarts(await run(ignoring), what);
    assertEquals(Deno.statSync(scratch.find(program)).size, programBytes, what);
    assertEquals(Deno.statSync(scratch.find(runtime)).size, bytes, what);
    const note = await Deno.readTextFile(scratch.find(intact));
    assertStringIncludes(note, await Deno.readTextFile("/proc/sys/kernel/random/boot_id"));
  }
  assertEquals([...Deno.readDirSync(scratch.cache)].length, 4);
});

extractTest("extract: contents are on the disk before they get their names", async (shell) => {
  await using scratch = await Scratch.create(shell);
  const calls = scratch.path("calls");
  const traced = "trace=fsync,rename,renameat,renameat2";
  const strace = ["strace", "-f", "--seccomp-bpf", "-y", "-s", "300", "-e", traced, "-o", calls];
  assertStarts(await run([...strace, ...scratch.words(), "--version"]), "first start");
  const lines = (await Deno.readTextFile(calls)).split("\n").filter((line) => / = 0$/.test(line));
  const at = (pattern: RegExp) => lines.findIndex((line) => pattern.test(line));
  const renames = [/rename.*\.new\.\w+\/aoe-\w+\.js"/, /rename.*\.new\.\w+\/deno-[\w.-]+"/].map(at);
  const syncs = [/fsync\(.*\.new\.\w+\/aoe-\w+\.js>/, /fsync\(.*\.new\.\w+\/deno-[\w.-]+>/].map(at);
  const folder = at(/fsync\(\d+<[^>]*\/aoe>\)/);
  const order = [
    Math.min(...syncs),
    Math.max(...syncs),
    Math.min(...renames),
    Math.max(...renames),
  ];
  assertEquals([...order, folder], [...order, folder].toSorted((a, b) => a - b), lines.join("\n"));
  assert(order[0]! >= 0, lines.join("\n"));
});

if (extracting) {
  interopTest(
    "extract: eight starts at once mend what is damaged",
    ["busybox", "unshare"],
    async () => {
      await using scratch = await Scratch.create();
      const image = scratch.path("disk.img");
      const serve = ["serve", "lo", "e1.1", image, "--size", "1M"];
      const inNetwork = ["unshare", "-n", "sh", "-c", `ip link set lo up; exec "$@"`, "sh"];
      await using running = new RunningProcess([...inNetwork, ...scratch.words(), ...serve]);
      await running.waitForLine(/e1\.1/);
      for (const path of [scratch.find(program), scratch.find(runtime)]) {
        // What runs has the file that had the name.
        await Deno.remove(path);
        await Deno.writeFile(path, new Uint8Array(100), { mode: 0o700 });
      }
      const words = shells.map((shell) => [...SHELLS[shell], executable, "--version"]);
      const runs = Array.from({ length: 8 }, (_, i) =>
        run(words[i % words.length]!, {
          env: { XDG_CACHE_HOME: scratch.path("") },
        }));
      for (const outcome of await Promise.all(runs)) assertStarts(outcome, "one of eight");
      assertEquals([...Deno.readDirSync(scratch.cache)].length, 4);
      await Deno.remove(scratch.cache, { recursive: true });
      assertEquals((await running.stop("SIGTERM")).code, 0, running.text);
    },
  );
}

/** Hides every place that ./aoe may unpack into behind file systems of its own; $1: options. */
const PLACES = `set -e
mount -t tmpfs none /mnt
mkdir /mnt/home /mnt/bin
touch /mnt/aoe
mount --bind "$AOE" /mnt/aoe
[ ! -d "$BIN" ] || mount --bind "$BIN" /mnt/bin
export PATH=/mnt/bin:$PATH HOME=/mnt/home
unset XDG_CACHE_HOME
for place in /mnt/home /var/cache /var/tmp /dev/shm /tmp; do
  mount -t tmpfs -o "$1" none $place
done
`;

/** Runs ./aoe with places as a script makes them; what it says, and what stands there then. */
async function inPlaces(scratch: Scratch, shell: Shell, options: string, then = "") {
  const script = `${PLACES}${then}
code=0
${SHELLS[shell].join(" ")} /mnt/aoe --version || code=$?
find /mnt/home /var/cache /var/tmp /dev/shm /tmp -mindepth 1 ! -path '*/state*' >&3
exit $code`;
  const listing = scratch.path("listing");
  const words = ["sh", "-c", `exec 3>"$1"; shift; exec unshare -m sh -c "$@"`, "sh", listing];
  const outcome = await run([...words, script, "sh", options], {
    env: { AOE: executable, BIN: scratch.bin },
  });
  const left = (await Deno.readTextFile(listing)).split("\n").filter((line) => line !== "");
  return { outcome, left };
}

extractTest("extract: a place that is or becomes noexec gives way to the next", async (shell) => {
  await using scratch = await Scratch.create(shell);
  const { outcome, left } = await inPlaces(
    scratch,
    shell,
    "noexec",
    `mount -o remount,exec /var/tmp
${SHELLS[shell].join(" ")} /mnt/aoe --version >/dev/null
mount -o remount,noexec /var/tmp
mount -o remount,exec /dev/shm`,
  );
  assertStarts(outcome, `${left}`);
  assertEquals(left.length, 8, `${left}`);
  for (const path of left) assertMatch(path, /^\/(var\/tmp|dev\/shm)\/aoe-0/);
});

const NOWHERE: Record<string, [options: string, then: string, reason: RegExp]> = {
  "is mounted noexec": ["noexec", "", /: mounted noexec; name one in XDG_CACHE_HOME$/m],
  "has no room": ["size=20m", "", /^aoe: .* 9\d MB free .*: 20 MB free; name one/],
  "is read-only": [
    "size=200m",
    "for place in /mnt/home /var/cache /var/tmp /dev/shm /tmp; do mount -o remount,ro $place; done",
    /: Read-only file system; name one/,
  ],
};
for (const [what, [options, then, reason]] of Object.entries(NOWHERE)) {
  extractTest(`extract: every place ${what}: that is said, and nothing is left`, async (shell) => {
    await using scratch = await Scratch.create(shell);
    const { outcome, left } = await inPlaces(scratch, shell, options, then);
    assertRefuses(outcome, reason);
    assertStringIncludes(outcome.stderr, "/mnt/home/.cache/aoe, /var/cache/aoe, /var/tmp/aoe-0,");
    assertEquals(left, []);
  });
}

extractTest("extract: a truncated or damaged ./aoe says so", async (shell) => {
  await using scratch = await Scratch.create(shell);
  const whole = await Deno.readFile(executable);
  const copy = scratch.path("copy");
  for (const bytes of [500, 3000, 5000, 20_000, whole.length - 1]) {
    await Deno.writeFile(copy, whole.subarray(0, bytes));
    const { code, stdout, stderr } = await scratch.version(copy);
    assertEquals([code, stdout], [1, ""], stderr);
    // Where the script itself is cut, the shell may have its say before.
    assertMatch(stderr, /^aoe: ".*\/copy" is truncated.*: .*copy or build it again$/m);
  }
  assertStringIncludes((await scratch.version(copy)).stderr, `of ${whole.length} bytes`);
  whole[whole.length / 2 | 0]! ^= 1;
  await Deno.writeFile(copy, whole);
  assertRefuses(await scratch.version(copy), /^aoe: ".*\/copy" is damaged: copy or build it again/);
  assertEquals(Array.from(Deno.readDirSync(scratch.path("")), ({ name }) => name).sort(), [
    "bin",
    "copy",
  ]);
});

if (extracting) {
  interopTest(
    "extract: without glibc, or with too little of it, what is missing is named",
    ["busybox", "unshare"],
    async () => {
      await using scratch = await Scratch.create();
      const root = scratch.path("root");
      const script = `set -e
mkdir -p ${root}/bin ${root}/proc ${root}/tmp ${root}/dev ${root}/libs ${root}/lib ${root}/lib64
cp "$(command -v busybox)" ${root}/bin/
for name in $(busybox --list); do [ $name = busybox ] || ln -s busybox ${root}/bin/$name; done
touch ${root}/aoe
mount --bind "${executable}" ${root}/aoe
mount --bind /dev ${root}/dev
mount -t proc none ${root}/proc
try() {
  code=0
  LD_LIBRARY_PATH=/libs chroot ${root} /bin/sh /aoe --version 2>&1 || code=$?
  echo "ended with $code"
}
try
libraries=$(LD_TRACE_LOADED_OBJECTS=1 "$1" | sed -nE 's,^[^/]*(/[^ ]+) .*,\\1,p')
for library in $libraries; do
  case $library in
  */ld-*) mkdir -p ${root}\${library%/*} && cp -L $library ${root}$library ;;
  */libgcc_s*) ;;
  *) cp -L $library ${root}/libs/ ;;
  esac
done
try
cp -L $(echo "$libraries" | grep libgcc_s) ${root}/libs/
sed -i 's/GLIBC_2\\.27/GLIBC_9.27/g' ${root}/libs/libc.so.6 ${root}/libs/libm.so.6
try
cp -L $(echo "$libraries" | grep -E 'lib[cm]\\.so') ${root}/libs/
try
ls -A ${root}/var/cache/aoe | wc -l`;
      const words = ["unshare", "-m", "sh", "-c", script, "sh", Deno.execPath()];
      const { stdout, stderr } = await run(words);
      const lines = stdout.trimEnd().split("\n");
      const needs = /: glibc 2\.\d+ or later for \w+ and libgcc_s\.so\.1 are needed/;
      assertEquals(lines.length, 9, stdout + stderr);
      for (const at of [0, 2, 4]) {
        assertMatch(lines[at]!, needs);
        assertEquals(lines[at + 1], "ended with 1");
      }
      assertMatch(lines[0]!, /^aoe: "\/lib\S*\/ld-\S+" is missing: /);
      assertMatch(lines[2]!, /^aoe: The runtime does not start here \(.*libgcc_s\.so\.1: /);
      assertMatch(lines[4]!, /^aoe: The runtime does not start here \(.*GLIBC_2\.\d+' not found/);
      // With all of them it starts; of the failures nothing is left.
      assertEquals(lines.slice(6), [configuration.version, "ended with 0", "4"]);
    },
  );
}

Deno.test("extract: leftovers of a killed first start are swept, a living one's are not", {
  ignore: !extracting,
}, async () => {
  await using scratch = await Scratch.create();
  assertStarts(await scratch.version(), "first start");
  for (const name of [".new.killed", ".new.living"]) {
    await Deno.mkdir(`${scratch.cache}/${name}`);
    await Deno.writeTextFile(`${scratch.cache}/${name}/deno`, "half");
  }
  const twoHoursAgo = Date.now() / 1000 - 7200;
  await Deno.utime(`${scratch.cache}/.new.killed`, twoHoursAgo, twoHoursAgo);
  assertStarts(await scratch.version(), "later");
  const names = [...Deno.readDirSync(scratch.cache)].map((entry) => entry.name);
  assertEquals(names.filter((name) => name.startsWith(".new")), [".new.living"]);
});

extractTest("extract: a first start that takes long says so on a terminal", async (shell) => {
  await using scratch = await Scratch.create(shell);
  const gzip = findProgram("gzip")!;
  const slow = `#!/bin/sh\n[ -e "$0".once ] || { >"$0".once; sleep 2; }\nexec ${gzip} "$@"\n`;
  await Deno.writeTextFile(`${scratch.bin}/gzip`, slow, { mode: 0o755 });
  if (shell === "sh") {
    assertStarts(await scratch.version(), "not on a terminal");
    await Deno.remove(scratch.cache, { recursive: true });
    await Deno.remove(`${scratch.bin}/gzip.once`);
  }
  const words = [...scratch.words(), "--version"].map((word) => `'${word}'`).join(" ");
  const { code, stdout } = await run(["script", "-qec", words, "/dev/null"], { input: "" });
  assertEquals(code, 0);
  assertMatch(stdout, /^aoe: Unpacking \d+ MB into ".*\/aoe", this once\r\n[\d.]+\r\n$/);
  // busybox runs its own gzip, wherever another one stands: it cannot be made slow.
}, ["sh", "bash"]);
