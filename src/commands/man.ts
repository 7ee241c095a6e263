// `aoe man [COMMAND]`: a manual page on stdout, made of what `--help` shows, in man(7)'s macros.
// `aoe man serve | man -l -` shows one; `aoe man > /usr/local/share/man/man8/aoe.8` installs it.

import { object, or } from "@optique/core/constructs";
import type { DocEntry } from "@optique/core/doc";
import { formatMessage, lineBreak, type Message, message } from "@optique/core/message";
import { optional } from "@optique/core/modifiers";
import { getDocPageSync, type Parser } from "@optique/core/parser";
import { argument, command } from "@optique/core/primitives";
import { formatUsage, formatUsageTerm } from "@optique/core/usage";
import { string } from "@optique/core/valueparser";
import configuration from "../../deno.json" with { type: "json" };
import { Failure, printLine } from "./output.ts";

/** `aoe man [COMMAND]` */
export const manParser = command(
  "man",
  object({
    command: optional(
      argument(string({ metavar: "COMMAND" }), {
        description: message`The command it is about; without it, all of them.`,
      }),
    ),
  }),
  {
    brief: message`Write a manual page.`,
    footer: message`Example:${lineBreak()}  aoe man serve | man -l -`,
  },
);

/** Writes the manual page of one command, or of the program. */
export function runMan(
  commands: Readonly<Record<string, Parser<"sync", unknown, unknown>>>,
  options: { readonly command: string | undefined },
): Promise<number> {
  const name = options.command;
  if (name !== undefined && !Object.hasOwn(commands, name)) {
    throw new Failure(`No command is called "${name}"`, 2);
  }
  const page = getDocPageSync(or(...Object.values(commands)), name === undefined ? [] : [name]);
  const title = name === undefined ? "aoe" : `aoe-${name}`;
  const brief = name === undefined ? message`ATA over Ethernet` : page?.brief;
  const usage = name === undefined ? "aoe COMMAND ..." : formatUsage("aoe", page?.usage ?? []);
  const footer = plain(page?.footer).replace(/^Examples?:\n/, "");
  const lines = [
    `.TH ${title.toUpperCase()} 8 "" "aoe ${configuration.version}"`,
    ".SH NAME",
    `${roff(title)} \\- ${plain(brief).replace(/\.$/, "")}`,
    ".SH SYNOPSIS",
    roff(usage),
    ...page?.description === undefined ? [] : [".SH DESCRIPTION", plain(page.description)],
    name === undefined ? ".SH COMMANDS" : ".SH OPTIONS",
    ...(page?.sections ?? []).flatMap((section) => section.entries.flatMap(entryLines)),
    ...footer === "" ? [] : [".SH EXAMPLES", ".nf", footer, ".fi"],
  ];
  printLine(lines.join("\n"));
  return Promise.resolve(0);
}

function entryLines({ term, description }: DocEntry): string[] {
  return [
    ".TP",
    `.B ${roff(formatUsageTerm(term, { context: "doc", optionsSeparator: ", " }))}`,
    plain(description),
  ];
}

function plain(text: Message | undefined): string {
  return text === undefined ? "" : roff(formatMessage(text, { quotes: false }));
}

/** Escapes what troff would take for its own: backslashes, hyphens and dots that begin a line. */
function roff(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^([.'])/gm, "\\&$1");
}
