// `aoe nbd` called wrongly: one sentence, and nothing is left behind.

import { assertEquals, assertMatch } from "@std/assert";
import { commandLine } from "../harness/command_line.ts";

async function nbd(...words: readonly string[]): Promise<[number, string]> {
  const { code, stderr } = await commandLine(["nbd", ...words]);
  return [code, stderr];
}

Deno.test("nbd: it has to be said where to listen, once", async () => {
  const expected = "aoe: Say where to listen: --socket PATH or --listen HOST:PORT\n";
  assertEquals(await nbd("e1.1"), [2, expected]);
  const both = ["--socket", "/tmp/never-made", "--listen", "127.0.0.1:0"];
  const excluded = "aoe: --socket and --listen exclude each other: one place to listen\n";
  assertEquals(await nbd("e1.1", ...both), [2, excluded]);
});

Deno.test("nbd: wrong arguments are named", async () => {
  const [code, text] = await nbd("e1.1", "--listen", "10809");
  assertEquals(code, 2);
  assertEquals(
    text,
    'aoe: `--listen`: Expected a host and a port, as in "127.0.0.1:10809" or "[::1]:10809", ' +
      'but got "10809"\n',
  );
  assertEquals(await nbd("e1.1", "--socket", "/tmp/never-made", "--socket-mode", "rw"), [
    2,
    'aoe: `--socket-mode`: Expected permissions in octal digits, as in "0660", but got "rw"\n',
  ]);
  const alone = await nbd("e1.1", "--listen", "127.0.0.1:0", "--socket-mode", "660");
  assertEquals(alone, [2, "aoe: --socket-mode is for a --socket\n"]);
  const [none, noInterface] = await nbd("e1.1", "--socket", "/tmp/never-made", "-i", "no-such-if");
  assertEquals(none, 1);
  assertMatch(noInterface, /^aoe: No interface is called "no-such-if"/);
  const long = await nbd("e1.1", "--socket", "/tmp/never-made", "--name", "x".repeat(4097));
  assertEquals(long, [2, "aoe: --name is at most 4096 bytes long\n"]);
});
