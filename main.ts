// The entry: of the process, and of every worker in the bundled executable, where all modules share
// this file's address. Both halves load lazily, so that a worker never pays for the command line.

import { ignoreUserSignal } from "./ffi/signals.ts";

if ("WorkerGlobalScope" in globalThis) {
  await import("./src/control/threads.ts");
} else {
  // Before the first await: until then Deno has not taken the signal over.
  ignoreUserSignal();
  // Deno keeps what V8 has compiled, which makes later starts a third shorter, once its event loop
  // has turned: commands that end before would never have it kept.
  for (let turns = 0; turns < 2; turns++) await Deno.lstat("/").catch(() => {});
  const { endWith, runCommandLine } = await import("./src/commands/command_line.ts");
  const giveUp = (event: Event, error: unknown) => {
    event.preventDefault();
    endWith(error).then(Deno.exit);
  };
  addEventListener("error", (event) => giveUp(event, event.error));
  addEventListener("unhandledrejection", (event) => giveUp(event, event.reason));
  Deno.exit(await runCommandLine(Deno.args));
}
