// A process that has confined itself: every thread of it is another user's, with one capability, and
// opens nothing outside of its folders, whatever their permissions are.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { landlockVersion } from "../../ffi/landlock.ts";

const PROGRAM = new URL("confined_program.ts", import.meta.url).pathname;
const NOBODY = 65534;

interface Outcome {
  readonly threads: readonly (readonly string[])[];
  readonly outcomes: readonly string[];
  readonly reasons: readonly (string | null)[];
}

async function runConfined(words: readonly string[]) {
  const flags = ["run", "-A", "--no-config", "--no-lock", "--quiet"];
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...flags, PROGRAM, ...words],
    stdout: "piped",
    stderr: "piped",
  }).output();
  return [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)) as [string, string];
}

Deno.test("confinement: all threads are the user's, and only its folders can be opened", {
  ignore: Deno.uid() !== 0,
}, async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.chmod(folder, 0o755);
    for (const name of ["inside", "outside"]) await Deno.mkdir(`${folder}/${name}`);
    const [image, second, roots, outside, fresh] = [
      ...["inside/disk.img", "inside/second.img", "inside/roots.img"],
      ...["outside/disk.img", "outside/new.img"],
    ].map((name) => `${folder}/${name}`) as [string, string, string, string, string];
    for (const path of [image, second, outside]) {
      await Deno.writeTextFile(path, "");
      await Deno.chmod(path, 0o666);
    }
    await Deno.writeTextFile(roots, "", { mode: 0o600 });
    await Deno.chmod(`${folder}/outside`, 0o777);
    const tried = [image, second, `${image}.owned/state/kept`, roots, outside, fresh];
    const [stdout, stderr] = await runConfined(["nobody", image, ...tried]);
    assertEquals(stderr, "");
    const lines = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
    const { threads, outcomes, reasons } = lines.at(-1) as Outcome;
    assert(threads.length > 3, `${threads.length} threads`);
    const ids = Array(4).fill(NOBODY).join("\t");
    const raw = (1 << 13).toString(16).padStart(16, "0");
    for (const thread of threads) {
      assertEquals(thread, [ids, ids, `${NOBODY}`, raw, raw, raw, raw, raw, "1"]);
    }
    const landlock = landlockVersion() > 0;
    const denied = "PermissionDenied";
    const beyond = landlock ? denied : "opened";
    assertEquals(outcomes, ["opened", "opened", "opened", denied, beyond, beyond]);
    assertEquals(reasons.slice(0, 4), [null, null, null, null]);
    if (landlock) assertMatch(reasons[4] ?? "", /outside of the folders .*--user nobody/);
    assertEquals(Deno.statSync(`${image}.owned/state`).uid, NOBODY);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
