// The reference page is what `aoe man` says.

import { assertEquals } from "@std/assert";
import { commandLine } from "../harness/command_line.ts";
import { runChecked } from "../harness/process.ts";

Deno.test("reference: src/commands/README.md is written from the manual (deno task reference)", async () => {
  const { stdout: page } = await commandLine(["man", "--markdown"]);
  const formatter = [Deno.execPath(), "fmt", "--ext", "md", "-"];
  const { stdout } = await runChecked(formatter, { input: page });
  assertEquals(stdout, await Deno.readTextFile("src/commands/README.md"));
});
