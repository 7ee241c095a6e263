// argv → one subcommand → an exit code. A new command is an entry in command_table.ts.

// Before Optique, which would make one.
import "./late_segmenter.ts";

import { or } from "@optique/core/constructs";
import { runParserSync } from "@optique/core/facade";
import { formatMessage, message } from "@optique/core/message";
import configuration from "../../deno.json" with { type: "json" };
import { DiskRefusal } from "../control/disk_refusal.ts";
import {
  type Command,
  isCommand,
  listedCommands,
  loadCommand,
  loadCommands,
} from "./command_table.ts";
import { EXIT_FAILED, EXIT_INTERNAL, EXIT_SILENT, EXIT_USAGE } from "./exit_codes.ts";
import {
  Failure,
  finishOutput,
  hasColors,
  oneLine,
  oneSentence,
  outputWidth,
  printError,
  printLine,
} from "./output.ts";
import {
  hintFor,
  type OptionNames,
  optionNames,
  quoteWords,
  serveInOrder,
  splitShortOptions,
} from "./habits.ts";

/** Help is hard to read in wider lines. */
const HELP_COLUMNS_MAX = 100;

/** Reads the arguments, runs the command they name, and returns what the process exits with. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  try {
    return await finishOutput(await (await readArguments(args))());
  } catch (error) {
    return await endWith(error);
  }
}

/** Ends after an error that nobody expected here: says so, and returns what the process exits with. */
export function endWith(error: unknown): Promise<number> {
  return finishOutput(explainError(error));
}

/**
 * Says in one sentence on stderr what went wrong, and returns what the process exits with. The
 * stack is shown with AOE_DEBUG=1 only.
 */
function explainError(error: unknown): number {
  const expected = error instanceof Failure || error instanceof DiskRefusal ||
    isSystemError(error);
  const text = error instanceof Error ? inWords(error) : String(error);
  printError(`aoe: ${expected ? "" : "Internal error: "}${oneLine(text)}`);
  if (Deno.env.get("AOE_DEBUG") === "1" && error instanceof Error) printError(error.stack ?? "");
  if (error instanceof Failure) return error.exitCode;
  if (error instanceof DiskRefusal && error.silent) return EXIT_SILENT;
  return expected ? EXIT_FAILED : EXIT_INTERNAL;
}

/** Deno's own words of a file that it cannot use, as everything else is said here. */
function inWords(error: Error): string {
  const { message, code } = error as Error & { readonly code?: unknown };
  const parts = /^(.+?) \(os error \d+\): (\w+) '(.*)'$/s.exec(message);
  if (parts === null) return message;
  const [, reason, call, path] = parts as unknown as [string, string, string, string];
  const verb =
    new Map([["mkdir", "make"], ["writefile", "write"], ["readfile", "read"]]).get(call) ??
      (/^(open|rename|remove|copy|read|write|truncate)$/.test(call) ? call : "use");
  const why = reason[0]!.toLowerCase() + reason.slice(1);
  return `Cannot ${verb} "${path}": ${why}${typeof code === "string" ? ` (${code})` : ""}`;
}

/** Whether it is the machine's refusal: one of ours, perhaps from a worker, or one of Deno's. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error &&
    (error.name === "SystemError" || Object.hasOwn(Deno.errors, error.name));
}

/** What the arguments ask for; when they ask for help or are wrong, that has been shown. */
async function readArguments(args: readonly string[]): Promise<() => Promise<number>> {
  const exitWith = (exitCode: number) => () => Promise.resolve(exitCode);
  const name = args[0] ?? "";
  // A command that is named is read alone: its own errors say more than those of a choice do.
  const parser = isCommand(name) ? await loadCommand(name) : undefined;
  const options = optionNames(parser?.usage ?? []);
  const asksItsCaller = name === "completions" ? await prepareCompletions() : undefined;
  const words = splitShortOptions(args, options);
  return runParserSync(
    parser ?? or(...await choicesFor(args)),
    "aoe",
    args.length === 0 ? ["--help"] : words,
    {
      brief: message`ATA over Ethernet: serve disks, find them, use them.`,
      usageLine: [{ type: "literal", value: "COMMAND" }, { type: "ellipsis" }],
      colors: hasColors(Deno.stdout),
      maxWidth: Math.min(outputWidth(), HELP_COLUMNS_MAX),
      help: { option: { names: ["-h", "--help"] }, command: { hidden: true }, onShow: exitWith },
      version: {
        value: configuration.version,
        option: { names: ["-V", "--version"] },
        onShow: exitWith,
      },
      completion: { command: { names: ["completions"] }, onShow: exitWith },
      // Help ends with an empty line of its own.
      stdout: (text) => {
        const script = args.length === 2 ? asksItsCaller?.(text) : undefined;
        printLine((script ?? text).replace(/\n$/, ""));
      },
      stderr: () => {},
      aboveError: "none",
      onError: (_, error) => {
        const text = formatMessage(error, { colors: hasColors(Deno.stderr) });
        printError(`aoe: ${habitText(words, options) ?? oneSentence(text)}`);
        return exitWith(EXIT_USAGE);
      },
    },
  );
}

/** Makes disks known to what completes words; resolves to what a script has to go through. */
async function prepareCompletions(): Promise<(script: string) => string> {
  const { completeDisksFrom } = await import("./disk_names.ts");
  completeDisksFrom((await import("../control/attach/known_disks.ts")).disksToComplete);
  return (await import("./completions.ts")).asksItsCaller;
}

/** What is chosen from where no command is named first. */
function choicesFor(args: readonly string[]): Command[] | Promise<Command[]> {
  const onlyLists = args.length === 0 || /^(-h|--help|-V|--version)$/.test(args.join(" "));
  return onlyLists ? listedCommands() : loadCommands();
}

/** The sentence for words that are wrong here, but right elsewhere. */
function habitText(words: readonly string[], options: OptionNames): string | undefined {
  const name = words[0] ?? "";
  if (name === "serve") {
    const ordered = serveInOrder(words, options);
    if (ordered === undefined) return undefined;
    return `The interface comes first: aoe ${quoteWords(ordered)}`;
  }
  const hint = isCommand(name) ? undefined : hintFor(name);
  return hint === undefined ? undefined : `There is no command "${name}": ${hint}`;
}
