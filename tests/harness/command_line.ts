// A command line run in this process, for the many that only print or are refused: what a user would
// see, without the start of a process for each. That the executable does the same is shown by one of
// each kind in tests/commands/command_line_test.ts.

import { runCommandLine } from "../../src/commands/command_line.ts";
import { loadCommands } from "../../src/commands/command_table.ts";
import type { Outcome } from "./process.ts";

// The libraries that commands open as they are loaded stay open: no test has left them behind.
await loadCommands();
await Promise.all([
  import("../../src/commands/attach.ts"),
  import("../../src/commands/bench.ts"),
  import("../../src/commands/copy.ts"),
  import("../../src/commands/ctl.ts"),
  import("../../src/commands/serve.ts"),
]);

/** What stands in a stream's place: no terminal, and everything that is written to it is kept. */
class KeptStream {
  #text = "";
  #decoder = new TextDecoder();

  writeSync(bytes: Uint8Array): number {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    return bytes.length;
  }

  write(bytes: Uint8Array): Promise<number> {
    return Promise.resolve(this.writeSync(bytes));
  }

  isTerminal(): boolean {
    return false;
  }

  /** Everything that was written since it was asked last. */
  take(): string {
    const text = this.#text;
    this.#text = "";
    return text;
  }
}

// The same for every command line: what writes without waiting keeps its streams.
const stdout = new KeptStream();
const stderr = new KeptStream();
const kept = {
  stdout,
  stderr,
  consoleSize: () => {
    throw new Error("No terminal");
  },
};

/**
 * Runs `aoe WORDS…` to its end in this process. One at a time, and none that listens to signals or
 * starts threads.
 *
 * @param env Variables that are set while it runs.
 */
export async function commandLine(
  words: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  const before = Object.keys(env).map((name) => [name, Deno.env.get(name)] as const);
  const own = { stdout: Deno.stdout, stderr: Deno.stderr, consoleSize: Deno.consoleSize };
  for (const [name, value] of Object.entries(env)) Deno.env.set(name, value);
  Object.assign(Deno, kept);
  try {
    const code = await runCommandLine(words);
    return { code, stdout: stdout.take(), stderr: stderr.take(), timedOut: false };
  } finally {
    Object.assign(Deno, own);
    for (const [name, value] of before) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
}
