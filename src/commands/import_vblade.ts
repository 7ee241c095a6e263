// `aoe import-vblade`: what vblade serves at boot as a configuration of ours.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { multiple, optional } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { readVbladeFiles } from "../control/vblade_files.ts";
import { mergeVbladeExports } from "../core/daemon/vblade.ts";
import { parsePlan } from "../core/daemon/parse_plan.ts";
import { writeConfiguration } from "../core/daemon/write_plan.ts";
import { path, shortUsage } from "./arguments.ts";
import { EXIT_FAILED } from "./exit_codes.ts";
import { counted, Failure, printLine, warn } from "./output.ts";
import { SUMMARIES } from "./summaries.ts";

/** `aoe import-vblade [PATH...]` */
export const importVbladeParser = command(
  "import-vblade",
  object({
    paths: multiple(
      argument(path(), {
        description:
          message`Files and folders to read. Without one: /etc/vblade.conf, /etc/vblade.conf.d and /var/lib/vblade-persist/vblades.`,
      }),
    ),
    output: optional(
      option("-o", "--output", path("FILE"), {
        description: message`Write to a new file; without it, to standard output.`,
      }),
    ),
    force: option("--force", { description: message`Write also over a file that is there.` }),
  }),
  {
    brief: SUMMARIES["import-vblade"],
    description:
      message`Reads what vblade and vblade-persist start at boot, and writes it as a configuration for aoe serve. What is not understood is shown, and stands in the configuration as a remark; then it exits with 1.`,
    usageLine: shortUsage,
    footer: message`Example:${lineBreak()}  aoe import-vblade -o /etc/aoe.toml`,
  },
);

/** Reads and writes; resolves with the exit code. */
export function runImportVblade(
  options: {
    readonly paths: readonly string[];
    readonly output: string | undefined;
    readonly force: boolean;
  },
): Promise<number> {
  const { exports: found, strangers } = readVbladeFiles(options.paths);
  const exports = mergeVbladeExports(found);
  if (exports.length + strangers.length === 0) {
    const where = options.paths.length === 0 ? "This host" : options.paths.join(", ");
    throw new Failure(`${where} has nothing that vblade serves: name its files or folders`);
  }
  const text = writeConfiguration(exports, strangers);
  for (const { from, text, why } of strangers) warn(`${from} is left out, since ${why}: ${text}`);
  const { mistakes } = parsePlan(text, { folder: "/", ethers: "" });
  for (const { line, text } of mistakes) warn(`Line ${line} needs your hand: ${text}`);
  if (options.output === undefined) {
    if (!printLine(text.trimEnd())) return Promise.resolve(EXIT_FAILED);
  } else {
    write(options.output, text, options.force);
    printLine(`${options.output} has ${counted(exports.length, "export")}`);
  }
  return Promise.resolve(strangers.length + mistakes.length === 0 ? 0 : EXIT_FAILED);
}

function write(path: string, text: string, force: boolean): void {
  try {
    if (!force) return Deno.writeTextFileSync(path, text, { createNew: true });
    // Whoever reads it meanwhile gets the old one or the new one.
    const made = `${path}.${Deno.pid}`;
    Deno.writeTextFileSync(made, text, { createNew: true });
    Deno.renameSync(made, path);
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    throw new Failure(`"${path}" is there already: --force writes over it`);
  }
}
