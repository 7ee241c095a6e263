// aoebench, the independent load generator and checker among the shared tools: compiled once,
// run inside a namespace, its one line of results taken apart.

import type { Requirement } from "./requirements.ts";
import { findProgram, isFile, tool } from "./requirements.ts";
import { runChecked, type RunningProcess, sleep } from "./process.ts";
import type { Namespace } from "./testbed.ts";

const repository = new URL("../..", import.meta.url).pathname;

/** Where the tools' sources are. */
const sources = Deno.env.get("AOE_TOOLS") ?? `${repository}../shared/tools`;

/** What a test needs to run one of the shared tools. */
export function sharedTool(name: "aoebench" | "lossybridge"): readonly Requirement[] {
  return [tool("gcc"), {
    missing: `${name}.c in ${sources} (or where AOE_TOOLS points)`,
    present: () => isFile(`${sources}/${name}.c`),
  }];
}

/** Compiles one of the shared tools, unless this very source was compiled before. */
export async function compiledTool(name: "aoebench" | "lossybridge"): Promise<string> {
  const source = await Deno.readFile(`${sources}/${name}.c`);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", source));
  const directory = `${Deno.env.get("TMPDIR") ?? "/tmp"}/aoe-tools-${Deno.uid()}`;
  const binary = `${directory}/${name}-${digest.slice(0, 8).toHex()}`;
  if (isFile(binary)) return binary;
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  const unfinished = await Deno.makeTempFile({ dir: directory });
  const gcc = findProgram("gcc") ?? "gcc";
  await runChecked([gcc, "-O2", "-w", "-o", unfinished, `${sources}/${name}.c`]);
  await Deno.rename(unfinished, binary);
  return binary;
}

/** aoebench's line of results. */
export interface BenchResult {
  readonly sizeSectors: number;
  readonly buffers: number;
  readonly sectorsPerFrame: number;
  readonly requestsPerSecond: number;
  readonly retransmissions: number;
  /** Answers with an AoE error or an ATA error. */
  readonly errors: number;
  /** Answers whose data were short or not what was written. */
  readonly mismatches: number;
  readonly done: number;
  /** The line itself, for messages. */
  readonly line: string;
}

/** How aoebench is run; see its source. */
export interface BenchOptions {
  readonly mode: "read" | "write" | "verify" | "mixed";
  readonly sectors: number;
  readonly window?: number;
  readonly seconds?: number;
  readonly sequential?: boolean;
  readonly spanSectors?: number;
  readonly timeoutMs?: number;
  /** The processor it stays on. */
  readonly cpu?: number;
}

/** Starts aoebench and leaves it running. */
export async function startBench(
  namespace: Namespace,
  at: { readonly iface: string; readonly address: string },
  options: BenchOptions,
): Promise<RunningProcess> {
  const argv = [await compiledTool("aoebench"), at.iface, at.address, options.mode];
  argv.push("-s", `${options.sectors}`, "-w", `${options.window ?? 32}`);
  if (options.seconds !== undefined) argv.push("-t", `${options.seconds}`);
  if (options.sequential) argv.push("-q");
  if (options.spanSectors !== undefined) argv.push("-n", `${options.spanSectors}`);
  if (options.timeoutMs !== undefined) argv.push("-r", `${options.timeoutMs}`);
  if (options.cpu !== undefined) argv.push("-c", `${options.cpu}`);
  return namespace.start(argv);
}

/** Waits for aoebench's end and takes its line apart. @throws when it printed none. */
export async function benchResult(bench: RunningProcess): Promise<BenchResult> {
  await bench.ended;
  const line = bench.lines.find((l) => /^e\d+\.\d+ size=/.test(l.text))?.text;
  if (line === undefined) throw new Error(`aoebench has no result: ${bench.text}`);
  const field = (pattern: RegExp) => Number(line.match(pattern)?.[1] ?? NaN);
  return {
    sizeSectors: field(/ size=(\d+)/),
    buffers: field(/ bufs=(\d+)/),
    sectorsPerFrame: field(/ scnt=(\d+)/),
    requestsPerSecond: field(/: (\d+) req\/s/),
    retransmissions: field(/ rexmit=(\d+)/),
    errors: field(/ errs=(\d+)/),
    mismatches: field(/ bad=(\d+)/),
    done: field(/ done=(\d+)/),
    line,
  };
}

/** Runs aoebench to its end. */
export async function bench(
  namespace: Namespace,
  at: { readonly iface: string; readonly address: string },
  options: BenchOptions,
): Promise<BenchResult> {
  // It asks twenty times for IDENTIFY and takes one frame after each. On lo that may be nothing but
  // its own twenty frames, which are there at once: then it gives up before the answer can come.
  const deadline = performance.now() + 15_000;
  while (performance.now() < deadline) {
    const process = await startBench(namespace, at, options);
    await process.ended;
    if (!process.text.includes("no identify answer")) return await benchResult(process);
    await sleep(50);
  }
  throw new Error(`${at.address} never answers IDENTIFY`);
}

const mask64 = (1n << 64n) - 1n;

/** The 512 bytes that aoebench writes to a sector. */
export function benchSector(lba: number): Uint8Array {
  const bytes = new Uint8Array(512);
  const view = new DataView(bytes.buffer);
  let x = (BigInt(lba) * 0x9E3779B97F4A7C15n + 1n) & mask64;
  for (let offset = 0; offset < 512; offset += 8) {
    x ^= (x << 13n) & mask64;
    x ^= x >> 7n;
    x ^= (x << 17n) & mask64;
    view.setBigUint64(offset, x, true);
  }
  return bytes;
}

/** How many of the sectors in the image file are not what aoebench writes there. */
export async function countWrongSectors(path: string, lbas: Iterable<number>): Promise<number> {
  using file = await Deno.open(path);
  const sector = new Uint8Array(512);
  let wrong = 0;
  for (const lba of lbas) {
    await file.seek(lba * 512, Deno.SeekMode.Start);
    const count = await file.read(sector);
    const expected = benchSector(lba);
    if (count !== 512 || sector.some((byte, i) => byte !== expected[i])) wrong++;
  }
  return wrong;
}
