// `aoe completions SHELL`: Optique makes the script; here stands what the manual says of it, and
// whom the script asks.

import { object, or } from "@optique/core/constructs";
import { runParserSync } from "@optique/core/facade";
import { lineBreak, message } from "@optique/core/message";
import type { Parser } from "@optique/core/parser";
import { argument, command } from "@optique/core/primitives";
import { choice } from "@optique/core/valueparser";
import { SUMMARIES } from "./summaries.ts";

/** `aoe completions SHELL`, for its manual page: Optique reads the words itself. */
export const completionsParser = command(
  "completions",
  object({
    shell: argument(choice(["bash", "zsh", "fish", "nu", "pwsh"], { metavar: "SHELL" }), {
      description: message`Whose completions.`,
    }),
  }),
  {
    brief: SUMMARIES.completions,
    description:
      message`Writes a script that completes commands, options, interfaces and the addresses of disks: those that are attached, and those that answer within a tenth of a second.`,
    footer:
      message`Examples:${lineBreak()}  eval "$(aoe completions bash)"${lineBreak()}  aoe completions fish > ~/.config/fish/completions/aoe.fish`,
  },
);

/** The script that completes the words of these commands in a shell. */
export function completionScript(
  commands: readonly Parser<"sync", () => Promise<number>, unknown>[],
  shell: string,
): string {
  let script = "";
  runParserSync(or(...commands), "aoe", ["completions", shell], {
    completion: { command: { names: ["completions"] }, onShow: () => () => Promise.resolve(0) },
    stdout: (text) => script = text,
  });
  return asksItsCaller(script);
}

/**
 * A script that asks the very program whose words are completed: `./aoe` need not be on PATH.
 *
 * @param script As Optique writes it, which asks `aoe`.
 */
export function asksItsCaller(script: string): string {
  return script
    .replaceAll("aoe 'completions' 'bash'", `"\${COMP_WORDS[0]/#'~/'/$HOME/}" 'completions' 'bash'`)
    .replaceAll("aoe 'completions' 'zsh'", "${~words[1]} 'completions' 'zsh'")
    .replace(
      /^( *)set -l output \(aoe 'completions' 'fish'/m,
      `$1set -l program (string replace -r '^~/' "$HOME/" -- (commandline -opc)[1])\n` +
        `$1set -l output ($program 'completions' 'fish'`,
    );
}
