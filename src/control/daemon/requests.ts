// What a serving daemon is asked by `aoe ctl`, where it is reached, and what it answers.

import type { ExportPlan } from "../../core/daemon/plan.ts";
import { ownFolder, takeBackFolder } from "../own_files.ts";
import { askAt, isListening, LineServer, lockOwnFile, removeSocket } from "../line_socket.ts";
import type { Answerer } from "../line_socket.ts";
import { RUNTIME_FOLDER, runtimeFolder, userRuntimeFolder } from "../runtime_folder.ts";

/** The name of a daemon that was given none. */
export const DAEMON_NAME_DEFAULT = "serve";
/** A disk that hangs must not make everybody wait for ever. */
const PATIENCE_MS = 60_000;

/** What a daemon is asked. */
export type DaemonRequest =
  | { readonly ask: "list" | "stats" | "reload" }
  /** What happens now, and the past of what is named: `WatchAnswer` is the answer. */
  | { readonly ask: "overview"; readonly pasts: readonly string[] }
  /** `interfaces` may be empty: all that the daemon has. */
  | { readonly ask: "add"; readonly plan: ExportPlan }
  | { readonly ask: "remove" | "drain"; readonly address: string };

/** Who wants an export. */
export type ExportOrigin = "configuration" | "command line" | "ctl";

/** How a reload went: exports of each kind. */
export interface Reloaded {
  readonly added: number;
  readonly removed: number;
  readonly changed: number;
  /** They were not touched. */
  readonly same: number;
  /** Of all, those that are waited for. */
  readonly waiting: number;
  /** Those that were taken away, and whose disks have not let go of them. */
  readonly leaving: number;
}

/** One export as `aoe ctl list` shows it. */
export interface ListedExport {
  /** `e1.1`. */
  readonly address: string;
  readonly path: string;
  readonly state: "serving" | "waiting" | "draining";
  /** What it waits for. */
  readonly reason: string | null;
  readonly kind: "file" | "block device" | "nbd" | null;
  readonly bytes: number | null;
  readonly readOnly: boolean;
  readonly sync: boolean;
  readonly direct: boolean;
  readonly interfaces: readonly string[];
  /** The number of the thread that serves it. */
  readonly worker: number | null;
  readonly from: ExportOrigin;
}

/** What a daemon answers to `list`. */
export interface DaemonListing {
  readonly name: string;
  readonly pid: number;
  readonly exports: readonly ListedExport[];
}

/** A daemon's socket. */
export interface DaemonSocket {
  close(): Promise<void>;
}

/**
 * Opens the socket of a daemon of this name.
 *
 * @returns Undefined when another daemon has the name.
 * @throws {Error} When there can be no socket.
 */
export function openDaemonSocket(name: string, answer: Answerer): DaemonSocket | undefined {
  const folder = daemonSocketFolder(name);
  // Another user's daemon has its folder there already, made for it by root.
  if (folder.startsWith(`${RUNTIME_FOLDER}/`) && Deno.uid() === 0) runtimeFolder();
  if (Deno.uid() === 0 && !takeBack(folder, name)) return undefined;
  ownFolder(folder, 0o755);
  if (lockOwnFile(`${folder}/${name}.lock`) === undefined) return undefined;
  return new LineServer(daemonSocketPath(name), answer);
}

/**
 * Makes root's again what a daemon that became another user has left, unless that daemon is there.
 *
 * @returns False when it is.
 */
function takeBack(folder: string, name: string): boolean {
  const outcome = takeBackFolder(folder);
  if (outcome === "taken") {
    for (const end of ["lock", "socket"]) removeSocket(`${folder}/${name}.${end}`);
  }
  return outcome !== "used";
}

/**
 * Asks a daemon.
 *
 * @throws {Error} With the sentence that it refuses with, or that there is none.
 */
export async function askServing(
  name: string | undefined,
  request: DaemonRequest,
): Promise<unknown> {
  const wanted = name ?? DAEMON_NAME_DEFAULT;
  let answer: unknown;
  try {
    answer = await askAt(daemonSocketPath(wanted), request, PATIENCE_MS);
  } catch (error) {
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
    throw new Deno.errors.PermissionDenied(
      `The daemon "${wanted}" is another user's: ask as that user, or as root`,
    );
  }
  if (answer !== undefined) return answer;
  const others = (await daemonNames()).filter((other) => other !== wanted);
  const hint = others.length === 0
    ? "aoe serve starts one"
    : `there is ${others.map((other) => `"${other}"`).join(" and ")} (--name)`;
  throw new Deno.errors.NotFound(`No aoe serve called "${wanted}" runs here: ${hint}`);
}

/** The path of a daemon's socket. */
function daemonSocketPath(name: string): string {
  return `${daemonSocketFolder(name)}/${name}.socket`;
}

/** Names of the daemons that answer here. */
async function daemonNames(): Promise<string[]> {
  const top = userRuntimeFolder();
  const names: string[] = [];
  try {
    for (const { name, isDirectory } of Deno.readDirSync(top)) {
      if (isDirectory && await isListening(`${top}/${name}/${name}.socket`)) names.push(name);
    }
  } catch {
    // There has been none since the machine was started.
  }
  return names.sort();
}

/** Where a service manager wants it, else a folder for each daemon where this user may have one. */
export function daemonSocketFolder(name: string): string {
  const given = Deno.env.get("RUNTIME_DIRECTORY")?.split(":")[0] ?? "";
  return given !== "" ? given : `${userRuntimeFolder()}/${name}`;
}
