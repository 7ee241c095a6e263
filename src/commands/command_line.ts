// argv → one subcommand → an exit code. A new command is one line in `commands`.

import { or } from "@optique/core/constructs";
import { runParserSync } from "@optique/core/facade";
import { formatMessage, message } from "@optique/core/message";
import { map } from "@optique/core/modifiers";
import type { Parser } from "@optique/core/parser";
import configuration from "../../deno.json" with { type: "json" };
import { Failure, hasColors, outputWidth, printError, printLine } from "./output.ts";
import { runServe } from "./serve.ts";
import { serveParser } from "./serve_arguments.ts";

/** What the process exits with when it was called wrongly. */
const EXIT_USAGE = 2;
/** What it exits with after a mistake of our own (EX_SOFTWARE of sysexits.h). */
const EXIT_INTERNAL = 70;

/** Every command: how its arguments are read, and what runs. */
const commands = or(
  bind(serveParser, runServe),
);

/** Reads the arguments, runs the command they name, and returns what the process exits with. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  try {
    return await readArguments(args)();
  } catch (error) {
    return explainError(error);
  }
}

/**
 * Says in one sentence on stderr what went wrong, and returns what the process exits with. The
 * stack is shown with AOE_DEBUG=1 only.
 */
export function explainError(error: unknown): number {
  const known = error instanceof Failure;
  const text = error instanceof Error ? error.message : String(error);
  printError(`aoe: ${known ? "" : "Internal error: "}${text.replace(/\s*\n\s*/g, " ")}`);
  if (Deno.env.get("AOE_DEBUG") === "1" && error instanceof Error) printError(error.stack ?? "");
  return known ? error.exitCode : EXIT_INTERNAL;
}

/** Joins a command's parser with what it runs. */
function bind<Options, State>(
  parser: Parser<"sync", Options, State>,
  run: (options: Options) => Promise<number>,
) {
  return map(parser, (options) => () => run(options));
}

/** What the arguments ask for; when they ask for help or are wrong, that has been shown. */
function readArguments(args: readonly string[]): () => Promise<number> {
  const exitWith = (exitCode: number) => () => Promise.resolve(exitCode);
  return runParserSync(commands, "aoe", args.length === 0 ? ["--help"] : args, {
    brief: message`ATA over Ethernet: serve disks, find them, use them.`,
    colors: hasColors(Deno.stdout),
    maxWidth: Math.min(outputWidth(), 100),
    showDefault: true,
    help: { option: true, command: true, onShow: exitWith },
    version: { value: configuration.version, option: true, onShow: exitWith },
    completion: { command: { names: ["completions"] }, onShow: exitWith },
    stdout: printLine,
    stderr: () => {},
    aboveError: "none",
    onError: (_, error) => {
      printError(`aoe: ${formatMessage(error, { colors: hasColors(Deno.stderr), quotes: true })}`);
      return exitWith(EXIT_USAGE);
    },
  });
}
