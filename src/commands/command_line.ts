// argv → one subcommand → an exit code. A new command is one line in `COMMANDS`.

import { or } from "@optique/core/constructs";
import { runParserSync } from "@optique/core/facade";
import { formatMessage, message } from "@optique/core/message";
import { map } from "@optique/core/modifiers";
import type { Parser } from "@optique/core/parser";
import configuration from "../../deno.json" with { type: "json" };
import { runAttach } from "./attach.ts";
import { attachParser } from "./attach_arguments.ts";
import { checkParser, runCheck } from "./check.ts";
import { asksItsCaller, completionsParser } from "./completions.ts";
import { configParser, runConfig } from "./config.ts";
import { runBench } from "./bench.ts";
import { runCopy } from "./copy.ts";
import { copyParser } from "./copy_arguments.ts";
import { flushParser, runFlush } from "./flush.ts";
import { runCtl } from "./ctl.ts";
import { ctlParser } from "./ctl_arguments.ts";
import { importVbladeParser, runImportVblade } from "./import_vblade.ts";
import { interfacesParser, runInterfaces } from "./interfaces.ts";
import { revalidateParser, runRevalidate } from "./revalidate.ts";
import { runVersion, versionParser } from "./version.ts";
import { detachParser, runDetach } from "./detach.ts";
import { discoverParser, runDiscover } from "./discover.ts";
import { DiskRefusal } from "../control/admission.ts";
import { EXIT_FAILED, EXIT_INTERNAL, EXIT_SILENT, EXIT_USAGE } from "./exit_codes.ts";
import { identifyParser, runIdentify } from "./identify.ts";
import { manParser, manualPage, runMan } from "./man.ts";
import { maskParser, runMask } from "./mask.ts";
import { nbdParser, runNbd } from "./nbd.ts";
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
import { pingParser, runPing } from "./ping.ts";
import { reserveParser, runReserve } from "./reserve.ts";
import { runServe } from "./serve.ts";
import { serveParser } from "./serve_arguments.ts";
import { runStat, statParser } from "./stat.ts";
import { metricsParser, runMetrics } from "./metrics.ts";
import { runTop, topParser } from "./top.ts";
import { runUnit, unitParser } from "./unit.ts";
import type { Pages } from "./unit_install.ts";
import { benchParser } from "./bench_arguments.ts";

/** Help is hard to read in wider lines. */
const HELP_COLUMNS_MAX = 100;

type Command = Parser<"sync", () => Promise<number>, unknown>;

/** Every command by its name: how its arguments are read, and what runs. */
const COMMANDS: Readonly<Record<string, Command>> = {
  serve: bind(serveParser, runServe),
  ctl: bind(ctlParser, runCtl),
  discover: bind(discoverParser, runDiscover),
  stat: bind(statParser, runStat),
  top: bind(topParser, runTop),
  metrics: bind(metricsParser, runMetrics),
  identify: bind(identifyParser, runIdentify),
  ping: bind(pingParser, runPing),
  check: bind(checkParser, runCheck),
  config: bind(configParser, runConfig),
  mask: bind(maskParser, runMask),
  reserve: bind(reserveParser, runReserve),
  copy: bind(copyParser, runCopy),
  attach: bind(attachParser, runAttach),
  detach: bind(detachParser, runDetach),
  revalidate: bind(revalidateParser, runRevalidate),
  flush: bind(flushParser, runFlush),
  nbd: bind(nbdParser, runNbd),
  interfaces: bind(interfacesParser, runInterfaces),
  unit: bind(unitParser, (options) => runUnit(options, pages())),
  "import-vblade": bind(importVbladeParser, runImportVblade),
  bench: bind(benchParser, runBench),
  version: bind(versionParser, runVersion),
  man: bind(
    manParser,
    (options) => runMan(documented(), options),
  ),
};

/** All that the manual tells of. */
function documented(): Readonly<Record<string, Parser<"sync", unknown, unknown>>> {
  return { ...COMMANDS, completions: completionsParser };
}

/** What an installation has of the manual and the completions. */
function pages(): Pages {
  const commands = documented();
  return {
    commands: Object.keys(commands),
    manual: (name) => manualPage(commands, name).join("\n"),
    completions: (shell) => {
      let script = "";
      runParserSync(or(...Object.values(COMMANDS)), "aoe", ["completions", shell], {
        completion: { command: { names: ["completions"] }, onShow: () => () => Promise.resolve(0) },
        stdout: (text) => script = text,
      });
      return asksItsCaller(script);
    },
  };
}

/** Reads the arguments, runs the command they name, and returns what the process exits with. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  try {
    return await finishOutput(await readArguments(args)());
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

/** Joins a command's parser with what it runs. */
function bind<Options, State>(
  parser: Parser<"sync", Options, State>,
  run: (options: Options) => Promise<number>,
): Command {
  return map(parser, (options) => () => run(options));
}

/** What the arguments ask for; when they ask for help or are wrong, that has been shown. */
function readArguments(args: readonly string[]): () => Promise<number> {
  const exitWith = (exitCode: number) => () => Promise.resolve(exitCode);
  const name = args[0] ?? "";
  // A command that is named is read alone: its own errors say more than those of a choice do.
  const parser = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  const options = optionNames(parser?.usage ?? []);
  const words = splitShortOptions(args, options);
  return runParserSync(
    parser ?? or(...Object.values(COMMANDS)),
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
        const script = args[0] === "completions" && args.length === 2;
        printLine((script ? asksItsCaller(text) : text).replace(/\n$/, ""));
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

/** The sentence for words that are wrong here, but right elsewhere. */
function habitText(words: readonly string[], options: OptionNames): string | undefined {
  const name = words[0] ?? "";
  if (name === "serve") {
    const ordered = serveInOrder(words, options);
    if (ordered === undefined) return undefined;
    return `The interface comes first: aoe ${quoteWords(ordered)}`;
  }
  const hint = Object.hasOwn(COMMANDS, name) ? undefined : hintFor(name);
  return hint === undefined ? undefined : `There is no command "${name}": ${hint}`;
}
