// ./aoe as a file: it starts from anywhere, whoever runs it, however many start at once.

import { assert, assertEquals, assertMatch } from "@std/assert";
import configuration from "../../deno.json" with { type: "json" };
import { run } from "../harness/process.ts";

const executable = new URL("../../aoe", import.meta.url).pathname;
const version = `${configuration.version}\n`;

/** Only the self-extracting kind has a cache to get wrong. */
const extracting = new TextDecoder()
  .decode(Deno.readFileSync(executable).subarray(0, 9)) === "#!/bin/sh";

/** Runs ./aoe with nothing in its environment but these. */
function runAlone(env: Record<string, string>) {
  const assignments = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const argv = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", ...assignments];
  return run([...argv, executable, "--version"], { cwd: "/" });
}

Deno.test("build: says that ./aoe is up to date when nothing changed", async () => {
  const { code, stdout } = await run([Deno.execPath(), "run", "-A", ".tasks/build.ts"]);
  assertEquals([code, stdout], [0, "./aoe is up to date.\n"]);
});

Deno.test("build: eight first runs at once, and a later one", async () => {
  const cache = await Deno.makeTempDir();
  try {
    const runs = Array.from({ length: 8 }, () => runAlone({ XDG_CACHE_HOME: cache }));
    for (const { code, stdout, stderr } of await Promise.all(runs)) {
      assertEquals([code, stdout, stderr], [0, version, ""]);
    }
    if (extracting) {
      const left = [...Deno.readDirSync(`${cache}/aoe`)].map((entry) => entry.name).sort();
      assertEquals(left.length, 4, `left in the cache: ${left}`);
      assertMatch(left.join(" "), /^(aoe-[0-9a-f]{16}\.js) \1\.intact deno-\S+ state$/);
      assertEquals((Deno.statSync(`${cache}/aoe`).mode ?? 0) & 0o777, 0o700);
    }
    assertEquals((await runAlone({ XDG_CACHE_HOME: cache })).stdout, version);
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
});

Deno.test("build: what V8 has compiled is kept from one of the first starts on, however short", {
  ignore: !extracting,
}, async () => {
  const cache = await Deno.makeTempDir();
  try {
    // Deno writes it beside what the program does, which may end before that.
    for (let start = 0; !await keepsCompiled(`${cache}/aoe/state`); start++) {
      assert(start < 20, "nothing is kept");
      assertEquals((await runAlone({ XDG_CACHE_HOME: cache })).stdout, version);
    }
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
});

/** Whether V8's compiled form of the program is in Deno's folder. */
async function keepsCompiled(folder: string): Promise<boolean> {
  try {
    const kept = [...Deno.readDirSync(folder)]
      .filter(({ name }) => name.startsWith("v8_code_cache"))
      .map(({ name }) => Deno.readFileSync(`${folder}/${name}`));
    const text = new TextDecoder("latin1").decode(await new Blob(kept).arrayBuffer());
    return /file:\/\/\/proc\/self\/fd\/\d/.test(text);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

Deno.test("build: runs without HOME, and with one that cannot be written", async () => {
  for (const env of [{}, { HOME: "/proc/nonexistent" }, { HOME: "/dev/null" }]) {
    const { code, stdout, stderr } = await runAlone(env as Record<string, string>);
    assertEquals([code, stdout, stderr], [0, version, ""]);
  }
});

Deno.test("build: does not run what stands in somebody else's cache", {
  ignore: !extracting || Deno.uid() !== 0,
}, async () => {
  const cache = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${cache}/aoe`);
    await Deno.chown(`${cache}/aoe`, 65534, 65534);
    assertEquals((await runAlone({ XDG_CACHE_HOME: cache })).stdout, version);
    assertEquals([...Deno.readDirSync(`${cache}/aoe`)], []);
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
});

Deno.test("build: an interrupted first run leaves nothing half done", {
  ignore: !extracting,
}, async () => {
  const cache = await Deno.makeTempDir();
  try {
    const interrupted = new Deno.Command(executable, {
      args: ["--version"],
      env: { XDG_CACHE_HOME: cache },
      stdout: "null",
      stderr: "null",
    }).spawn();
    await new Promise((resolve) => setTimeout(resolve, 100));
    try {
      interrupted.kill("SIGTERM");
    } catch { /* It was faster. */ }
    await interrupted.status;
    assertEquals((await runAlone({ XDG_CACHE_HOME: cache })).stdout, version);
    // What unpacks runs on behind the script that was ended, and clears up after itself.
    const unfinished = () =>
      [...Deno.readDirSync(`${cache}/aoe`)].filter((entry) => entry.name.startsWith(".new"));
    for (let tries = 0; tries < 50 && unfinished().length > 0; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assertEquals(unfinished(), []);
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
});
