// `deno task build`: makes ./aoe, one executable file, and says in one sentence which kind it is.
//
// Real `deno compile` needs `denort`, which only Deno's own download site has. Where it cannot be
// had, the fallback is a self-extracting file: a shell script, then the bundle and the deno binary,
// both compressed. It unpacks itself once per user and then becomes deno (exec), so signals,
// exit codes and file descriptors are the program's own. The script is extract.sh beside this file.

import configuration from "../deno.json" with { type: "json" };
import { runtimeNeeds } from "./runtime_needs.ts";
import { V8_FLAGS } from "./v8_flags.ts";

const OUTPUT = "aoe";
const BUILD_DIR = ".build";
const BUNDLE = `${BUILD_DIR}/aoe.js`;
const STAMP = `${BUILD_DIR}/stamp`;
const EXTRACT_SCRIPT = ".tasks/extract.sh";

/** What ./aoe depends on. */
const SOURCES = [
  "main.ts",
  "src",
  "ffi",
  "deno.json",
  "deno.lock",
  ".tasks/build.ts",
  ".tasks/runtime_needs.ts",
  ".tasks/v8_flags.ts",
  EXTRACT_SCRIPT,
];

/** How ./aoe runs in both kinds: FFI permission cannot be narrowed, and nobody is there to ask. */
const RUN_FLAGS = [
  "--allow-all",
  "--no-prompt",
  `--v8-flags=${V8_FLAGS.join(",")}`,
];
/** What only `deno run` would otherwise look for in the user's directory or on the network. */
const DENO_RUN_FLAGS = [
  ...["--no-config", "--no-lock", "--no-remote", "--no-npm", "--quiet"],
  // The program's name is that of a descriptor.
  "--ext=js",
];

/** What the runtime is called, in .build and in the cache. */
const RUNTIME_NAME = `${Deno.version.deno}-${Deno.build.target}`;

const DENORT_PROBE_MS = 5_000;
const COMPILE_MS_MAX = 180_000;

const encoder = new TextEncoder();

/** Brings ./aoe up to date. */
async function build(): Promise<void> {
  Deno.chdir(new URL("..", import.meta.url));
  Deno.mkdirSync(BUILD_DIR, { recursive: true });
  const stamp = await digest(await sourceBytes());
  if (readText(STAMP) === stamp + modified(OUTPUT)) {
    say("./aoe is up to date.");
    return;
  }
  await bundle();
  const obstacle = await compile();
  if (obstacle === undefined) {
    say(`Made ./aoe with deno compile, ${megabytes(OUTPUT)}.`);
  } else {
    await packSelfExtracting();
    say(`Made ./aoe, a self-extracting file of ${megabytes(OUTPUT)}, since ${obstacle}.`);
  }
  Deno.writeTextFileSync(STAMP, stamp + modified(OUTPUT));
}

/** Joins main.ts and everything it imports into one module, which is its own worker entry too. */
async function bundle(): Promise<void> {
  const made = temporary(BUNDLE);
  await run(Deno.execPath(), ["bundle", "--quiet", "--minify", "--output", made, "main.ts"]);
  Deno.renameSync(made, BUNDLE);
}

/** Tries `deno compile`; says why it is not possible. */
async function compile(): Promise<string | undefined> {
  const obstacle = await denortObstacle();
  if (obstacle !== undefined) return obstacle;
  const made = temporary(OUTPUT);
  // The bundle's address inside the executable is its own, so the worker pattern holds there too.
  const flags = ["--quiet", "--no-check", "--no-config", "--no-lock", ...RUN_FLAGS];
  try {
    await run(Deno.execPath(), ["compile", ...flags, "--output", made, BUNDLE]);
    const said = await run(`./${made}`, ["--version"]);
    if (said !== configuration.version) throw new Error(`it says "${said}" to --version`);
  } catch (error) {
    return `deno compile failed (${(error as Error).message})`;
  }
  Deno.renameSync(made, OUTPUT);
  return undefined;
}

/** Why `deno compile` would not find its runtime; undefined when it would. */
async function denortObstacle(): Promise<string | undefined> {
  if (Deno.env.has("DENORT_BIN")) return undefined;
  const name = `release/v${Deno.version.deno}/denort-${Deno.build.target}.zip`;
  const home = Deno.env.get("DENO_DIR") ??
    `${Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`}/deno`;
  if (readable(`${home}/dl/${name}`)) return undefined;
  try {
    const signal = AbortSignal.timeout(DENORT_PROBE_MS);
    const response = await fetch(`https://dl.deno.land/${name}`, { method: "HEAD", signal });
    return response.ok ? undefined : `Deno's download site has no denort (${response.status})`;
  } catch {
    return "deno compile needs denort and Deno's download site cannot be reached";
  }
}

/** Writes the script, the bundle and the deno binary one behind the other. */
async function packSelfExtracting(): Promise<void> {
  const bundleBytes = Deno.readFileSync(BUNDLE);
  const bundlePacked = await gzip(bundleBytes);
  const runtimePath = await packedRuntime();
  const runtimeBytes = Deno.readFileSync(Deno.execPath());
  const { interpreter, glibc } = runtimeNeeds(runtimeBytes);
  const fields: Record<string, string> = {
    BUNDLE_ID: (await digest(bundleBytes)).slice(0, 16),
    BUNDLE_BYTES: String(bundlePacked.length),
    PROGRAM_BYTES: String(bundleBytes.length),
    PROGRAM_SUMS: await checksums(bundleBytes),
    // Two builds of one version of Deno may share a cache.
    RUNTIME_ID: `${RUNTIME_NAME}-${(await digest(runtimeBytes)).slice(0, 8)}`,
    RUNTIME_PACKED_BYTES: String(Deno.statSync(runtimePath).size),
    RUNTIME_BYTES: String(runtimeBytes.length),
    RUNTIME_SUMS: await checksums(runtimeBytes),
    INTERPRETER: interpreter,
    GLIBC_VERSION: glibc,
    ARCHITECTURE: Deno.build.arch,
    RUN_FLAGS: [...RUN_FLAGS, ...DENO_RUN_FLAGS].join(" "),
  };
  const script = Deno.readTextFileSync(EXTRACT_SCRIPT)
    .replace(/@([A-Z_]+)@/g, (whole, field: string) => fields[field] ?? whole);
  // The script names its own length, at a fixed width so that writing it does not change it.
  const length = encoder.encode(script).length;
  const header = script.replace("#LENGTH", String(length).padEnd("#LENGTH".length));
  const made = temporary(OUTPUT);
  const parts = [encoder.encode(header), bundlePacked, Deno.readFileSync(runtimePath)];
  // Closed before it gets its name: what is open for writing cannot be started (ETXTBSY).
  await Deno.writeFile(made, new Blob(parts).stream(), { mode: 0o755 });
  Deno.renameSync(made, OUTPUT);
}

/** The deno that runs this, compressed; kept in .build, since packing it takes seconds. */
async function packedRuntime(): Promise<string> {
  const path = `${BUILD_DIR}/deno-${RUNTIME_NAME}.gz`;
  if (!readable(path)) {
    const made = temporary(path);
    using source = await Deno.open(Deno.execPath());
    using target = await Deno.create(made);
    await source.readable.pipeThrough(new CompressionStream("gzip")).pipeTo(target.writable);
    Deno.renameSync(made, path);
  }
  return path;
}

/** What cksum and sha256sum print of these bytes, with a colon between. */
async function checksums(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const table = Uint32Array.from({ length: 256 }, (_, high) => {
    let value = high << 24;
    for (let bit = 0; bit < 8; bit++) value = (value << 1) ^ (value < 0 ? 0x04c11db7 : 0);
    return value;
  });
  let crc = 0;
  const add = (byte: number) => crc = (crc << 8) ^ table[(crc >>> 24) ^ byte]!;
  for (const byte of bytes) add(byte);
  for (let left = bytes.length; left > 0; left = Math.floor(left / 256)) add(left & 0xff);
  return `${~crc >>> 0}:${await digest(bytes)}`;
}

/** Runs a program to its end; returns what it says, or throws what it says when it fails. */
async function run(program: string, args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args,
    stdin: "null",
    signal: AbortSignal.timeout(COMPILE_MS_MAX),
  }).output();
  const said = new TextDecoder().decode(success ? stdout : stderr).trim();
  if (!success) throw new Error(said === "" ? `${program} ${args[0]} gave no reason` : said);
  return said;
}

/** Every source file's path and content, one behind the other. */
function sourceBytes(): Promise<Uint8Array<ArrayBuffer>> {
  const parts: BlobPart[] = [Deno.version.deno, Deno.env.get("DENORT_BIN") ?? ""];
  const add = (path: string) => {
    if (!Deno.statSync(path).isDirectory) parts.push(`\n${path}\n`, Deno.readFileSync(path));
    else {
      const names = [...Deno.readDirSync(path)].map((entry) => entry.name).sort();
      for (const name of names) add(`${path}/${name}`);
    }
  };
  SOURCES.forEach(add);
  return new Blob(parts).bytes();
}

async function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const packed = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return await new Response(packed).bytes();
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** A name beside `path`, so that a rename puts the finished file there in one step. */
function temporary(path: string): string {
  return `${BUILD_DIR}/${path.replaceAll("/", "_")}.${Deno.pid}`;
}

function readable(path: string): boolean {
  return modified(path) !== "";
}

/** Tells one state of a file from another; empty when there is none. */
function modified(path: string): string {
  try {
    const { mtime, size } = Deno.statSync(path);
    return ` ${mtime?.getTime()} ${size}`;
  } catch {
    return "";
  }
}

function readText(path: string): string {
  return readable(path) ? Deno.readTextFileSync(path) : "";
}

function megabytes(path: string): string {
  return `${(Deno.statSync(path).size / 1e6).toFixed(1)} MB`;
}

function say(sentence: string): void {
  console.log(sentence);
}

try {
  await build();
} catch (error) {
  console.error(`The build failed: ${error instanceof Error ? error.message : error}`);
  Deno.exit(1);
}
