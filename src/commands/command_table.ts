// Every command by its name. What a command consists of is loaded when it is named: reading the
// arguments of all of them takes several times as long as everything else before the first frame.

import { object } from "@optique/core/constructs";
import { map } from "@optique/core/modifiers";
import type { Parser } from "@optique/core/parser";
import { command } from "@optique/core/primitives";
import type { JobName } from "../control/threads.ts";
import { SUMMARIES } from "./summaries.ts";
import type { Pages } from "./unit_install.ts";

/** How the arguments of a command are read; the value runs it and resolves to an exit code. */
export type Command = Parser<"sync", () => Promise<number>, unknown>;

/** What the manual tells of. */
type Documented = Readonly<Record<string, Parser<"sync", unknown, unknown>>>;

type CommandName = Exclude<keyof typeof SUMMARIES, "completions">;

/**
 * A new command is an entry here and in `SUMMARIES`. Where the arguments have a file of their own,
 * what runs is loaded once they have been read.
 */
const LOADERS: Readonly<Record<CommandName, () => Promise<Command>>> = {
  serve: async () =>
    bind(
      (await import("./serve_arguments.ts")).serveParser,
      async (options) => (await import("./serve.ts")).runServe(options),
    ),
  ctl: async () =>
    bind(
      (await import("./ctl_arguments.ts")).ctlParser,
      async (options) => (await import("./ctl.ts")).runCtl(options),
    ),
  discover: async () => {
    const { discoverParser, runDiscover } = await import("./discover.ts");
    return bind(discoverParser, runDiscover);
  },
  stat: async () => {
    const { statParser, runStat } = await import("./stat.ts");
    return bind(statParser, runStat);
  },
  top: async () => {
    const { topParser, runTop } = await import("./top.ts");
    return bind(topParser, runTop);
  },
  metrics: async () => {
    const { metricsParser, runMetrics } = await import("./metrics.ts");
    return bind(metricsParser, runMetrics);
  },
  identify: async () => {
    const { identifyParser, runIdentify } = await import("./identify.ts");
    return bind(identifyParser, runIdentify);
  },
  ping: async () => {
    const { pingParser, runPing } = await import("./ping.ts");
    return bind(pingParser, runPing);
  },
  check: async () => {
    const { checkParser, runCheck } = await import("./check.ts");
    return bind(checkParser, runCheck);
  },
  config: async () => {
    const { configParser, runConfig } = await import("./config.ts");
    return bind(configParser, runConfig);
  },
  mask: async () => {
    const { maskParser, runMask } = await import("./mask.ts");
    return bind(maskParser, runMask);
  },
  reserve: async () => {
    const { reserveParser, runReserve } = await import("./reserve.ts");
    return bind(reserveParser, runReserve);
  },
  copy: async () => {
    await prepareThread("copy");
    return bind(
      (await import("./copy_arguments.ts")).copyParser,
      async (options) => (await import("./copy.ts")).runCopy(options),
    );
  },
  attach: async () =>
    bind(
      (await import("./attach_arguments.ts")).attachParser,
      async (options) => (await import("./attach.ts")).runAttach(options),
    ),
  detach: async () => {
    const { detachParser, runDetach } = await import("./detach.ts");
    return bind(detachParser, runDetach);
  },
  revalidate: async () => {
    const { revalidateParser, runRevalidate } = await import("./revalidate.ts");
    return bind(revalidateParser, runRevalidate);
  },
  flush: async () => {
    const { flushParser, runFlush } = await import("./flush.ts");
    return bind(flushParser, runFlush);
  },
  nbd: async () => {
    const { nbdParser, runNbd } = await import("./nbd.ts");
    return bind(nbdParser, runNbd);
  },
  interfaces: async () => {
    const { interfacesParser, runInterfaces } = await import("./interfaces.ts");
    return bind(interfacesParser, runInterfaces);
  },
  unit: async () => {
    const { unitParser, runUnit } = await import("./unit.ts");
    return bind(unitParser, async (options) => runUnit(options, await pages()));
  },
  "import-vblade": async () => {
    const { importVbladeParser, runImportVblade } = await import("./import_vblade.ts");
    return bind(importVbladeParser, runImportVblade);
  },
  bench: async () => {
    await prepareThread("bench");
    return bind(
      (await import("./bench_arguments.ts")).benchParser,
      async (options) => (await import("./bench.ts")).runBench(options),
    );
  },
  version: async () => {
    const { versionParser, runVersion } = await import("./version.ts");
    return bind(versionParser, runVersion);
  },
  man: async () => {
    const { manParser, runMan } = await import("./man.ts");
    return bind(manParser, async (options) => runMan(await documented(), options));
  },
};

/** Lets a thread load its driver while the arguments are read. */
async function prepareThread(job: JobName): Promise<void> {
  (await import("../control/threads.ts")).prepareWorker(job);
}

/** Whether a word names a command. */
export function isCommand(name: string): name is CommandName {
  return Object.hasOwn(LOADERS, name);
}

/** Loads what one command consists of. */
export function loadCommand(name: CommandName): Promise<Command> {
  return LOADERS[name]();
}

/** Loads all commands, in the order of their list. */
export function loadCommands(): Promise<Command[]> {
  return Promise.all(Object.values(LOADERS).map((load) => load()));
}

/** What the list of commands says of each, without loading it. */
export function listedCommands(): Command[] {
  return Object.keys(LOADERS).map((name) =>
    map(
      command(name, object({}), { brief: SUMMARIES[name as CommandName] }),
      () => () => Promise.reject(new Error(`${name} is only listed`)),
    )
  );
}

/** All that the manual tells of. */
async function documented(): Promise<Documented> {
  const { completionsParser } = await import("./completions.ts");
  const commands = await loadCommands();
  const named = Object.keys(LOADERS).map((name, at) => [name, commands[at]!]);
  return { ...Object.fromEntries(named), completions: completionsParser };
}

/** What an installation has of the manual and the completions. */
async function pages(): Promise<Pages> {
  const { manualPage } = await import("./man.ts");
  const { completionScript } = await import("./completions.ts");
  const commands = await documented();
  const choices = await loadCommands();
  return {
    commands: Object.keys(commands),
    manual: (name) => manualPage(commands, name).join("\n"),
    completions: (shell) => completionScript(choices, shell),
  };
}

/** Joins a command's parser with what it runs. */
function bind<Options, State>(
  parser: Parser<"sync", Options, State>,
  run: (options: Options) => Promise<number>,
): Command {
  return map(parser, (options) => () => run(options));
}
