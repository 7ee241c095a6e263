// The folder of kept settings: the old or the new ones after a kill at any moment, one daemon at a
// time, and a sentence for what cannot be read.

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { parseKeptFile } from "../../../src/core/daemon/kept_file.ts";
import { StateFolder } from "../../../src/control/daemon/state_folder.ts";

/** How often a writer is killed; 1,000 by hand. */
const KILLS = Number(Deno.env.get("AOE_KILLS") ?? 12);
const ADDRESS = { shelf: 1, slot: 1 };
const NONE = new Uint8Array();
const NOBODY = 65534;

Deno.test("state: kill -9 at any moment leaves the old settings or the new ones", async () => {
  const folder = await Deno.makeTempDir();
  const script = new URL("state_writer.ts", import.meta.url).pathname;
  let first = 0;
  try {
    for (let kill = 0; kill < KILLS; kill++) {
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", script, folder, `${first}`],
        stdout: "piped",
      }).spawn();
      let told = "";
      const decoder = new TextDecoder();
      await child.stdout.pipeTo(
        new WritableStream({
          write: (chunk) => {
            // Killed some time after it has begun, within a write more often than not.
            if (told === "") setTimeout(() => child.kill("SIGKILL"), ((kill * 7919) % 331) / 10);
            told += decoder.decode(chunk);
          },
        }),
      );
      await child.status;
      const answered = Number(told.trimEnd().split("\n").at(-1));
      const { settings, refusal } = parseKeptFile(
        "e1.1",
        Deno.readTextFileSync(`${folder}/test/e1.1.json`),
      );
      assertEquals(refusal, undefined);
      const found = Number(decoder.decode(settings!.configString));
      assert(found === answered || found === answered + 1, `${answered} was kept, not ${found}`);
      first = found + 1;
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("state: what cannot be read is said, with what would be lost, and stays", async () => {
  await withFolder(async (folder, path) => {
    assertEquals(folder.load(ADDRESS), undefined);
    await folder.keep(ADDRESS, { configString: NONE, mask: NONE, reservation: NONE });
    const good = Deno.readTextFileSync(path);
    const texts = [
      ["", "is damaged (it is no JSON)"],
      [good.slice(0, -9), "is damaged (it is no JSON)"],
      [good.replace('"schema": 1', '"schema": 7'), "is a newer aoe's (schema 7; this one knows 1)"],
      [good.replace('"config": ""', '"config": "61"'), "is damaged (its checksum is wrong)"],
    ] as const;
    for (const [text, why] of texts) {
      Deno.writeTextFileSync(path, text);
      assertThrows(
        () => folder.load(ADDRESS),
        Deno.errors.InvalidData,
        `"${path}" ${why}: mend or remove it (then e1.1 has no config string, mask list and ` +
          `reservation any more)`,
      );
      assertEquals(Deno.readTextFileSync(path), text);
    }
    Deno.chmodSync(path, 0o666);
    const refusal = "others may write to it";
    assertThrows(() => folder.load(ADDRESS), Deno.errors.PermissionDenied, refusal);
  });
});

Deno.test("state: what cannot be written leaves what there was", async () => {
  await withFolder(async (folder, path) => {
    const kept = { configString: Uint8Array.of(1), mask: NONE, reservation: NONE };
    await folder.keep(ADDRESS, kept);
    const top = path.slice(0, path.lastIndexOf("/"));
    Deno.renameSync(top, `${top}.away`);
    let refusal = "";
    await folder.keep(ADDRESS, { ...kept, configString: Uint8Array.of(2) })
      .catch((error: Error) => refusal = error.message);
    assertMatch(refusal, /No such file or directory/);
    Deno.renameSync(`${top}.away`, top);
    assertEquals(folder.load(ADDRESS), kept);
    // And the next one is kept again, of several the last.
    const keep = (byte: number) => ({ ...kept, configString: Uint8Array.of(byte) });
    await Promise.all([3, 4, 5].map((byte) => folder.keep(ADDRESS, keep(byte))));
    assertEquals(folder.load(ADDRESS)?.configString, Uint8Array.of(5));
  });
});

async function withFolder(
  body: (folder: StateFolder, path: string) => Promise<void>,
): Promise<void> {
  const top = await Deno.makeTempDir();
  try {
    // What a killed process has left is taken away.
    Deno.mkdirSync(`${top}/test`);
    Deno.writeTextFileSync(`${top}/test/e1.1.json.01234567-89ab`, "half");
    await body(new StateFolder(top, "test"), `${top}/test/e1.1.json`);
    const names = [...Deno.readDirSync(`${top}/test`)].map(({ name }) => name).sort();
    assertEquals(names, ["e1.1.json", "lock"]);
    assertThrows(() => new StateFolder(top, "test"), Deno.errors.AddrInUse, "--name");
  } finally {
    await Deno.remove(top, { recursive: true });
  }
}

Deno.test({
  name: "state: root goes on with what serve --user has left, and follows nobody's links",
  ignore: Deno.uid() !== 0,
  fn: async () => {
    const top = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "aoe-state-" });
    try {
      const first = new StateFolder(top, "serve");
      const text = new TextEncoder().encode("kept");
      await first.keep(ADDRESS, { configString: text, mask: NONE, reservation: NONE });
      const path = `${top}/serve`;
      Deno.writeTextFileSync(`${top}/victim`, "root's own", { mode: 0o600 });
      Deno.symlinkSync(`${top}/victim`, `${path}/e1.2.json`);
      Deno.writeTextFileSync(`${top}/other`, "somebody's");
      Deno.chownSync(`${top}/other`, NOBODY - 1, NOBODY - 1);
      Deno.linkSync(`${top}/other`, `${path}/e1.3.json`);
      for (const name of ["", "/e1.1.json", "/lock"]) {
        Deno.chownSync(`${path}${name}`, NOBODY, NOBODY);
      }
      // While that process serves, it is its own.
      assertThrows(() => new StateFolder(top, "serve"), Deno.errors.AddrInUse);
      assertEquals(Deno.statSync(path).uid, NOBODY);
      first.close();

      const again = new StateFolder(top, "serve");
      assertEquals(again.load(ADDRESS)?.configString, text);
      assertThrows(() => again.load({ shelf: 1, slot: 2 }), Deno.errors.PermissionDenied);
      assertThrows(() => again.load({ shelf: 1, slot: 3 }), Deno.errors.PermissionDenied);
      assertEquals(Deno.statSync(`${top}/other`).uid, NOBODY - 1);
      again.close();

      // In a folder that is not root's it could be anybody's.
      Deno.chownSync(path, NOBODY, NOBODY);
      Deno.chownSync(top, NOBODY, NOBODY);
      const { message } = assertThrows(() => new StateFolder(top, "serve"), Error);
      assertMatch(message, /is another user's \(uid 65534\): start as that user, .* --no-state$/);
      assertEquals(Deno.statSync(path).uid, NOBODY);
    } finally {
      await Deno.remove(top, { recursive: true });
    }
  },
});
