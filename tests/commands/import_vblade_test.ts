// `aoe import-vblade` with files: what is found where, and what is not written over.

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { commandLine } from "../harness/command_line.ts";

Deno.test("import-vblade: files, folders and vblade-persist's folders, into a new file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const persist = `${folder}/vblades/e1.7`;
    for (const path of ["env", "macs", "supervise"]) {
      await Deno.mkdir(`${persist}/${path}`, { recursive: true });
    }
    for (
      const [name, value] of Object.entries({ SHELF: 1, SLOT: 7, NETIF: "eth0", SOURCE: "/p" })
    ) {
      await Deno.writeTextFile(`${persist}/env/${name}`, `${value}\n`);
    }
    await Deno.writeTextFile(`${persist}/macs/001122334455`, "");
    await Deno.writeTextFile(`${folder}/vblade.conf`, "eth0 1 8 /q\neth0 what\n");
    await Deno.mkdir(`${folder}/conf.d`);
    await Deno.writeTextFile(
      `${folder}/conf.d/a.conf`,
      "shelf=1\nslot=9\nnetif=eth0\nfilename=/r\noptions='-s'\n",
    );
    const output = `${folder}/aoe.toml`;
    const places = ["vblade.conf", "conf.d", "vblades"].map((name) => `${folder}/${name}`);
    const aoe = (...args: string[]) => commandLine(["import-vblade", ...args]);
    const made = await aoe("-o", output, ...places);
    assertEquals([made.code, made.stdout], [1, `${output} has 3 exports\n`]);
    assertStringIncludes(made.stderr, `${folder}/vblade.conf:2 is left out`);
    assertMatch(made.stderr, /: eth0 what\n$/);
    const text = await Deno.readTextFile(output);
    for (const address of ["e1.7", "e1.8", "e1.9"]) assertStringIncludes(text, `"${address}"`);
    const checked = await commandLine(["serve", "--config", output, "--check"]);
    assertEquals([checked.code, checked.stdout], [0, `${output} has no mistake: 3 exports\n`]);

    const again = await aoe("-o", output, places[1]!);
    assertEquals(again.code, 1);
    assertMatch(again.stderr, /is there already: --force writes over it/);
    assertEquals(await Deno.readTextFile(output), text);
    assertEquals((await aoe("--force", "-o", output, places[1]!)).code, 0);
    assertStringIncludes((await aoe(places[1]!)).stdout, "sync = true");
    assertMatch((await aoe(`${folder}/none`)).stderr, /none" is not there/);
    await Deno.mkdir(`${folder}/empty`);
    const nothing = await aoe(`${folder}/empty`);
    assertEquals([nothing.code, nothing.stdout], [1, ""]);
    assertMatch(nothing.stderr, /^aoe: \/.*empty has nothing that vblade serves: /);
    // What Deno says of a file is said as everything else is.
    const nowhere = await aoe("-o", `${folder}/none/aoe.toml`, places[1]!);
    assertEquals([nowhere.code, nowhere.stderr], [
      1,
      `aoe: Cannot write "${folder}/none/aoe.toml": no such file or directory (ENOENT)\n`,
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
