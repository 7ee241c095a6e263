// What an installation consists of, put in its places: the same for a package, for an image of a
// system that is being built, and for who has only the one file. Installed, the program lies unpacked
// beside its runtime, so that nothing is unpacked at its first start and setcap(8) has a file to work on.

import { syncFolderOf } from "./own_files.ts";

/** A file to be installed. */
export interface InstalledFile {
  /** From the root of the system that it is for. */
  readonly path: string;
  /** Its text; or what it is a copy of. */
  readonly content: string | { readonly copyOf: string };
  readonly mode: number;
  /** What stands there is the administrator's, and stays. */
  readonly keeps?: boolean;
}

/** Which files an installation has put where, for who takes it away. */
const LIST = "lib/aoe/installed";

/**
 * The running program's own parts below a prefix.
 *
 * @throws {Deno.errors.NotSupported} One sentence: it runs from its sources.
 */
export function programFiles(prefix: string): InstalledFile[] {
  const words = Deno.readTextFileSync("/proc/self/cmdline").split("\0").slice(0, -1);
  const module = moduleFile();
  if (module === undefined) {
    return [{ path: `${prefix}/bin/aoe`, content: { copyOf: "/proc/self/exe" }, mode: 0o755 }];
  }
  if (module.endsWith(".ts")) {
    throw new Deno.errors.NotSupported("This runs from its sources: deno task build makes ./aoe");
  }
  const flags = words.slice(1, words.indexOf(module));
  const folder = `${prefix}/lib/aoe`;
  return [
    { path: `${folder}/runtime`, content: { copyOf: "/proc/self/exe" }, mode: 0o755 },
    { path: `${folder}/aoe.js`, content: { copyOf: module }, mode: 0o644 },
    { path: `${prefix}/bin/aoe`, content: launcher(folder, flags), mode: 0o755 },
  ];
}

/** Below which prefix the running program was installed; undefined when it was not. */
export function prefixOfInstallation(): string | undefined {
  const module = moduleFile() ?? "";
  return /^(\/.*)\/lib\/aoe\/aoe\.js$/.exec(module)?.[1];
}

/**
 * Puts files in their places, each as a whole.
 *
 * @param root Of the system; "" for the running one.
 * @returns The paths that were written.
 */
export async function placeFiles(root: string, files: readonly InstalledFile[]): Promise<string[]> {
  const placed: string[] = [];
  for (const { path, content, mode, keeps } of files) {
    const target = root + path;
    if (keeps === true && exists(target)) continue;
    await Deno.mkdir(target.slice(0, target.lastIndexOf("/")), { recursive: true, mode: 0o755 });
    const fresh = `${target}.aoe-new`;
    if (typeof content === "string") await Deno.writeTextFile(fresh, content);
    else await Deno.copyFile(content.copyOf, fresh);
    await Deno.chmod(fresh, mode);
    await Deno.rename(fresh, target);
    await syncFolderOf(target);
    placed.push(path);
  }
  return placed;
}

/** Writes down what was placed, for `removePlaced`. */
export async function listPlaced(root: string, prefix: string, paths: readonly string[]) {
  const path = `${prefix}/${LIST}`;
  await placeFiles(root, [{ path, content: `${paths.join("\n")}\n`, mode: 0o644 }]);
}

/**
 * Removes what was placed, and the folders of its own.
 *
 * @returns What was removed; undefined when nothing was installed there.
 */
export function removePlaced(root: string, prefix: string): string[] | undefined {
  const list = `${root}${prefix}/${LIST}`;
  if (!exists(list)) return undefined;
  const paths = Deno.readTextFileSync(list).trimEnd().split("\n");
  const removed = paths.filter((path) => {
    try {
      Deno.removeSync(root + path);
      return true;
    } catch {
      return false;
    }
  });
  Deno.removeSync(list);
  try {
    Deno.removeSync(`${root}${prefix}/lib/aoe`);
  } catch {
    // Somebody has put something of his own there.
  }
  return removed;
}

/** Runs a program of the system, where there is one, and does not mind what it says. */
export function tellSystem(program: string, ...args: string[]): void {
  try {
    new Deno.Command(program, { args, stdin: "null", stdout: "null", stderr: "inherit" })
      .outputSync();
  } catch {
    // A system without it has nothing to be told.
  }
}

/** Whether systemd runs this host. */
export function hasSystemd(): boolean {
  return exists("/run/systemd/system");
}

/** The module that this process runs; undefined where it is part of the executable. */
function moduleFile(): string | undefined {
  const { protocol, pathname } = new URL(Deno.mainModule);
  const path = decodeURIComponent(pathname);
  return protocol === "file:" && exists(path) ? path : undefined;
}

/** What .tasks/extract.sh does behind its unpacking. */
function launcher(folder: string, flags: readonly string[]): string {
  const quote = (word: string) => /^[\w/=,.-]+$/.test(word) ? word : `'${word}'`;
  return `#!/bin/sh
# aoe: ATA over Ethernet. Deno's runtime and the program lie in ${folder}.
ulimit -Sn 64 2>/dev/null || {
	echo "aoe: Only $(ulimit -Hn) files may be open here, and 64 are needed: raise the hard limit (ulimit -Hn, or LimitNOFILE= of a unit)" >&2
	exit 1
}
[ -e /proc/self/exe ] || {
	echo "aoe: /proc is not mounted here: mount -t proc proc /proc" >&2
	exit 1
}
# Deno 2.9 refuses to start when HOME is there and no directory.
[ -d "\${HOME:-}" ] || unset HOME
# Deno catches SIGHUP also where nohup(1) has it ignored: the program is told of it.
while read -r field mask _; do
	case $field$mask in SigIgn:*[13579bdf]) export AOE_NOHUP=1 ;; esac
done </proc/self/status
# Deno opens an inspector at this signal; until the program sees to it, nothing happens.
trap '' USR1
# Where it keeps compiled code; who has no home does without.
cache=\${XDG_CACHE_HOME:-\${HOME:+$HOME/.cache}}
DENO_DIR=\${cache:-/dev/null}/aoe/state DENO_NO_UPDATE_CHECK=1 \\
	exec ${folder}/runtime ${flags.map(quote).join(" ")} ${folder}/aoe.js "$@"
`;
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
