// `aoe man [COMMAND]`: a manual page on stdout, made of what `--help` shows and of the sections in
// man_*.ts, in man(7)'s macros. `aoe man serve | man -l -` shows one; `aoe man --markdown` writes all
// of them as one reference (src/commands/README.md, by `deno task reference`).

import { object, or } from "@optique/core/constructs";
import type { DocEntry, DocPage } from "@optique/core/doc";
import { formatMessage, lineBreak, type Message, message } from "@optique/core/message";
import { optional } from "@optique/core/modifiers";
import { getDocPageSync, type Parser } from "@optique/core/parser";
import { argument, command, option } from "@optique/core/primitives";
import { formatUsage, formatUsageTerm } from "@optique/core/usage";
import { string } from "@optique/core/valueparser";
import configuration from "../../deno.json" with { type: "json" };
import { CONFIGURATION_MANUAL } from "./man_configuration.ts";
import { ATTACH_MANUAL, NBD_MANUAL } from "./man_disks.ts";
import { OVERVIEW } from "./man_overview.ts";
import { SERVE_MANUAL } from "./man_serve.ts";
import { UNIT_MANUAL } from "./man_unit.ts";
import { type ManualSection, roff, roffLines } from "./man_text.ts";
import {
  BENCH_MANUAL,
  CHECK_MANUAL,
  CONFIG_MANUAL,
  COPY_MANUAL,
  DISCOVER_MANUAL,
  MASK_MANUAL,
  RESERVE_MANUAL,
  STAT_MANUAL,
} from "./man_tools.ts";
import { METRICS_FILES_MANUAL, METRICS_MANUAL, TOP_MANUAL } from "./man_watch.ts";
import { Failure, printLine } from "./output.ts";
import { SUMMARIES } from "./summaries.ts";

/** What the pages hold beyond what `--help` shows, by the command's name. */
const SECTIONS: Readonly<Record<string, readonly ManualSection[]>> = {
  attach: [...ATTACH_MANUAL, ...METRICS_MANUAL],
  bench: BENCH_MANUAL,
  check: CHECK_MANUAL,
  config: CONFIG_MANUAL,
  copy: COPY_MANUAL,
  discover: DISCOVER_MANUAL,
  mask: MASK_MANUAL,
  metrics: METRICS_FILES_MANUAL,
  nbd: [...NBD_MANUAL, ...METRICS_MANUAL],
  reserve: RESERVE_MANUAL,
  serve: [...CONFIGURATION_MANUAL, ...SERVE_MANUAL, ...METRICS_MANUAL],
  stat: STAT_MANUAL,
  top: TOP_MANUAL,
  unit: UNIT_MANUAL,
};

type Commands = Readonly<Record<string, Parser<"sync", unknown, unknown>>>;

/** `aoe man [COMMAND]` */
export const manParser = command(
  "man",
  object({
    command: optional(
      argument(string({ metavar: "COMMAND" }), {
        description: message`The command it is about; without it, the program.`,
      }),
    ),
    markdown: option("--markdown", {
      description: message`Write all pages as one text in Markdown.`,
    }),
  }),
  {
    brief: SUMMARIES.man,
    footer: message`Example:${lineBreak()}  aoe man serve | man -l -`,
  },
);

/** Writes the manual page of one command, or of the program; or all of them in Markdown. */
export function runMan(
  commands: Commands,
  options: { readonly command: string | undefined; readonly markdown: boolean },
): Promise<number> {
  const name = options.command;
  if (name !== undefined && !Object.hasOwn(commands, name)) {
    throw new Failure(`No command is called "${name}"`, 2);
  }
  const lines = options.markdown ? reference(commands) : manualPage(commands, name);
  printLine(lines.join("\n"));
  return Promise.resolve(0);
}

/** One page, in man(7)'s macros; of the program when no command is named. */
export function manualPage(commands: Commands, name: string | undefined): string[] {
  const page = pageOf(commands, name);
  const title = name === undefined ? "aoe" : `aoe-${name}`;
  const brief = name === undefined ? message`ATA over Ethernet` : page?.brief;
  const usage = name === undefined ? "aoe COMMAND ..." : formatUsage("aoe", page?.usage ?? []);
  const footer = roff(examplesOf(page));
  const sections = name === undefined ? OVERVIEW : SECTIONS[name] ?? [];
  return [
    `.TH ${title.toUpperCase()} 8 "" "aoe ${configuration.version}"`,
    ".SH NAME",
    `${roff(title)} \\- ${roff(plain(brief)).replace(/\.$/, "")}`,
    ".SH SYNOPSIS",
    roff(usage),
    ...page?.description === undefined ? [] : [".SH DESCRIPTION", roff(plain(page.description))],
    name === undefined ? ".SH COMMANDS" : ".SH OPTIONS",
    ...entriesOf(page).flatMap(({ term, description }) => [
      ".TP",
      `.B ${roff(term)}`,
      roff(description),
    ]),
    ...sections.flatMap(({ title, text }) => [`.SH ${title}`, ...roffLines(text)]),
    ...footer === "" ? [] : [".SH EXAMPLES", ".nf", footer, ".fi"],
    ".SH SEE ALSO",
    name === undefined ? "aoe man COMMAND" : "aoe(8)",
  ];
}

/** All pages, in Markdown. */
function reference(commands: Commands): string[] {
  const chapter = ({ title, text }: ManualSection) => [
    `### ${title[0]}${title.slice(1).toLowerCase()}`,
    "",
    text.trim(),
    "",
  ];
  return [
    "# Reference of the commands",
    "",
    "`deno task reference` writes this page; `aoe man COMMAND` and `aoe COMMAND --help` say the same.",
    "",
    "## aoe",
    "",
    ...OVERVIEW.flatMap(chapter),
    ...Object.keys(commands).flatMap((name) => {
      const page = pageOf(commands, name);
      const examples = examplesOf(page).replace(/^ {2}/gm, "");
      return [
        `## aoe ${name}`,
        "",
        ...["```", formatUsage("aoe", page?.usage ?? []), "```", ""],
        plain(page?.description ?? page?.brief),
        "",
        ...entriesOf(page).map(({ term, description }) => `- \`${term}\`: ${description}`),
        "",
        ...(SECTIONS[name] ?? []).flatMap(chapter),
        ...examples === "" ? [] : ["```console", examples, "```", ""],
      ];
    }),
  ];
}

function pageOf(commands: Commands, name: string | undefined): DocPage | undefined {
  return getDocPageSync(or(...Object.values(commands)), name === undefined ? [] : [name]);
}

/** Options and arguments, or commands, with what is said of each. */
function entriesOf(page: DocPage | undefined): { term: string; description: string }[] {
  const entries: readonly DocEntry[] = page?.sections.flatMap((section) => section.entries) ?? [];
  return entries.map(({ term, description }) => ({
    term: formatUsageTerm(term, { context: "doc", optionsSeparator: ", " }),
    description: plain(description),
  }));
}

function examplesOf(page: DocPage | undefined): string {
  return plain(page?.footer).replace(/^Examples?:\n/, "");
}

function plain(text: Message | undefined): string {
  return text === undefined ? "" : formatMessage(text, { quotes: false });
}
