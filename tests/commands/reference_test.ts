// The reference page is what `aoe man` says.

import { assertEquals } from "@std/assert";

Deno.test("reference: src/commands/README.md is written from the manual (deno task reference)", async () => {
  const root = new URL("../..", import.meta.url).pathname;
  const script = "deno=$1; $deno run -A main.ts man --markdown | $deno fmt --ext md -";
  const { stdout } = await new Deno.Command("sh", {
    args: ["-c", script, "sh", Deno.execPath()],
    cwd: root,
    stderr: "null",
  }).output();
  const written = await Deno.readTextFile(`${root}src/commands/README.md`);
  assertEquals(new TextDecoder().decode(stdout), written);
});
