// `deno task bench`: `./aoe serve`, vblade, a reflector in C and fio in turn, on the same images and
// the same network, in rounds; a table of medians, ratios and goals; and JSON for machines. Needs
// root, two cores, gcc and iproute2; a peer that is not installed is left out.

import { object } from "@optique/core/constructs";
import { runParserSync } from "@optique/core/facade";
import { formatMessage, message, values } from "@optique/core/message";
import { multiple, optional, withDefault } from "@optique/core/modifiers";
import { option } from "@optique/core/primitives";
import { choice, float, integer, string } from "@optique/core/valueparser";
import { runChecked } from "../harness/process.ts";
import { findProgram, isFile } from "../harness/requirements.ts";
import { Testbed } from "../harness/testbed.ts";
import { compare, type Settings } from "./compare.ts";
import { measureAttach, missingForAttach } from "./attach.ts";
import { measureHang, missingForHang } from "./hang.ts";
import { measureHostile } from "./hostile.ts";
import { describeMachine } from "./machine.ts";
import { measureGrowth, measureMemory } from "./memory.ts";
import { measureNbd, missingForNbd } from "./nbd.ts";
import { missingPeer, peerNames } from "./peers.ts";
import { formatGoals, formatTable, markdownTable, type Table, tableToJson } from "./report.ts";
import { rows } from "./rows.ts";

const MIB = 1 << 20;
/** Where the tools' sources are. */
const sources = Deno.env.get("AOE_TOOLS") ??
  new URL("../../../shared/tools", import.meta.url).pathname;
const rowNames = [
  ...rows.map((row) => row.name),
  "hang",
  "hostile",
  "attach",
  "nbd",
  "memory",
  "growth",
];

const parser = object({
  rounds: withDefault(
    option("--rounds", integer({ metavar: "N", min: 1 }), {
      description: message`How often each peer has its turn.`,
    }),
    5,
  ),
  seconds: withDefault(
    option("--seconds", float({ metavar: "N", min: 0.1 }), {
      description: message`How long each load runs.`,
    }),
    1.5,
  ),
  only: multiple(
    option("--only", choice(rowNames, { metavar: "ROW" }), {
      description: message`Measure one of the rows ${values(rowNames)}; may be repeated.`,
    }),
  ),
  peers: multiple(
    option("--peer", choice(peerNames, { metavar: "PEER" }), {
      description: message`Measure one of the peers ${values(peerNames)}; may be repeated.`,
    }),
  ),
  serve: withDefault(
    option("--serve", string({ metavar: "FLAGS" }), {
      description: message`Further flags of aoe serve, as in ${"--poll 50"}.`,
    }),
    "",
  ),
  json: optional(
    option("--json", string({ metavar: "FILE" }), {
      description: message`Write every figure to a file.`,
    }),
  ),
  markdown: optional(
    option("--markdown", string({ metavar: "FILE" }), {
      description: message`Write the tables as README has them.`,
    }),
  ),
  cachedMib: withDefault(
    option("--cached-mib", integer({ metavar: "MIB", min: 16 }), {
      description:
        message`Size of an image in the page cache (default 256, as real ones are larger than caches of processors).`,
    }),
    256,
  ),
  diskMib: withDefault(
    option("--disk-mib", integer({ metavar: "MIB", min: 16 }), {
      description: message`Size of an image for disk work.`,
    }),
    2048,
  ),
  requests: withDefault(
    option("--requests", float({ metavar: "N", min: 0.1 }), {
      description: message`Million requests over which memory must not grow.`,
    }),
    5,
  ),
  directory: withDefault(
    option("--directory", string({ metavar: "PATH" }), {
      description: message`Where images are written; a file system on a real disk.`,
    }),
    "/var/tmp",
  ),
});

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main(args: readonly string[]): Promise<number> {
  const options = readArguments(args);
  const missing = missingHere();
  if (missing !== undefined) {
    console.error(`bench: ${missing}`);
    return 1;
  }
  const wanted = options.peers.length === 0 ? peerNames : options.peers;
  const absent = wanted.map(missingPeer).filter((sentence) => sentence !== undefined);
  for (const sentence of absent) progress(sentence);
  // Testbeds make their directories there.
  Deno.env.set("TMPDIR", options.directory);
  await using tools = await compileTools();
  const tables = await measureAll({
    ...{ rounds: options.rounds, seconds: options.seconds, progress },
    peers: wanted.filter((name) => missingPeer(name) === undefined),
    serveFlags: options.serve.split(" ").filter((flag) => flag !== ""),
    cachedBytes: options.cachedMib * MIB,
    diskBytes: options.diskMib * MIB,
    aoebench: tools.path("aoebench"),
    reflector: tools.path("aoereflect"),
  }, options);
  for (const line of formatGoals(tables)) console.log(line);
  if (options.markdown !== undefined) {
    const head = [`${describeMachine()}; medians of ${options.rounds} round(s).`];
    const lines = [...head, ...tables.flatMap(markdownTable)];
    await Deno.writeTextFile(options.markdown, lines.join("\n") + "\n");
  }
  if (options.json !== undefined) {
    const { rounds, seconds, serve } = options;
    const date = new Date().toISOString();
    const head = { machine: describeMachine(), date, rounds, seconds, serve };
    const report = { ...head, rows: tables.map(tableToJson) };
    await Deno.writeTextFile(options.json, JSON.stringify(report, null, 2) + "\n");
  }
  return 0;
}

/** Measures the rows that were asked for, and prints each as soon as it is known. */
async function measureAll(
  settings: Settings,
  { only, requests }: { readonly only: readonly string[]; readonly requests: number },
): Promise<Table[]> {
  const tables: Table[] = [];
  const measureIf = async (name: string, measureRow: () => Promise<Table>) => {
    if (only.length > 0 && !only.includes(name)) return;
    const table = await measureRow();
    tables.push(table);
    for (const line of formatTable(table)) console.log(line);
  };
  console.log(`${describeMachine()}\nMedians of ${settings.rounds} round(s) (lowest-highest)`);
  for (const row of rows) {
    if (row.peers.some((name) => settings.peers.includes(name))) {
      await measureIf(row.name, () => compare(row, settings));
    }
  }
  if (settings.peers.includes("aoe")) {
    const why = missingForHang();
    if (why === undefined) await measureIf("hang", () => measureHang(settings));
    else progress(why);
    const whyNotAttached = missingForAttach();
    if (whyNotAttached === undefined) await measureIf("attach", () => measureAttach(settings));
    else progress(whyNotAttached);
    const whyNoNbd = missingForNbd();
    if (whyNoNbd === undefined) await measureIf("nbd", () => measureNbd(settings));
    else progress(whyNoNbd);
    await measureIf("hostile", () => measureHostile(settings));
    await measureIf("memory", () => measureMemory(settings));
    await measureIf("growth", () => measureGrowth(settings, requests * 1e6));
  }
  return tables;
}

function readArguments(args: readonly string[]) {
  return runParserSync(parser, "deno task bench", args, {
    help: { option: true, onShow: () => Deno.exit(0) },
    showDefault: true,
    maxWidth: 80,
    stdout: (text) => console.log(text),
    stderr: () => {},
    aboveError: "none",
    onError: (_, error) => {
      console.error(`bench: ${formatMessage(error)}`);
      Deno.exit(2);
    },
  });
}

/** What this machine lacks for any measurement at all. */
function missingHere(): string | undefined {
  if (Deno.uid() !== 0) return "Network namespaces need root";
  if (navigator.hardwareConcurrency < 2) {
    return "Two cores are needed, one for the target and one for the generator";
  }
  const programs = { gcc: "gcc", ip: "iproute2", taskset: "util-linux" };
  for (const [program, packageName] of Object.entries(programs)) {
    if (findProgram(program) === undefined) {
      return `"${program}" is missing: apt-get install ${packageName}`;
    }
  }
  if (!isFile(`${sources}/aoebench.c`)) {
    return `No "${sources}/aoebench.c"; AOE_TOOLS may name the folder of aoebench.c`;
  }
}

/** Compiles the generator and the reflector into a directory that goes away with the guard. */
async function compileTools(): Promise<Testbed> {
  const testbed = await Testbed.create();
  for (const name of ["aoebench", "aoereflect"]) {
    await runChecked(["gcc", "-O2", "-w", "-o", testbed.path(name), `${sources}/${name}.c`]);
  }
  return testbed;
}

function progress(text: string): void {
  console.error(`bench: ${text}`);
}
