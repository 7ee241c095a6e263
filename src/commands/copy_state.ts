// What is remembered about an interrupted copy, so that --resume can go on. It stands beside a
// destination that is a file; for everything else in the user's state directory.

import type { CopyEndName } from "./copy_arguments.ts";
import { Failure } from "./output.ts";
import { formatAddress } from "../wire/aoe.ts";

/** One interrupted copy. */
export interface CopyState {
  readonly source: string;
  readonly destination: string;
  /** Serial numbers of the remote disks. */
  readonly serials: readonly string[];
  readonly offset: number;
  readonly seek: number;
  readonly length: number | null;
  /** Bytes that are on stable storage. */
  readonly done: number;
}

/** What a copy is told apart by. */
export type CopyIdentity = Omit<CopyState, "serials" | "done">;

/** Name of an end that stays the same from another directory. */
export function nameOfEnd(end: CopyEndName): string {
  if (end.kind === "address") return formatAddress(end.address.shelf, end.address.slot);
  if (end.kind === "standard") return "-";
  try {
    return Deno.realPathSync(end.path);
  } catch {
    return end.path.startsWith("/") ? end.path : `${Deno.cwd()}/${end.path}`;
  }
}

/** Where the state of copies to a destination stands. */
export function statePath(destination: CopyEndName): string {
  if (destination.kind === "path" && !isDevice(destination.path)) {
    return `${nameOfEnd(destination)}.aoe-copy`;
  }
  const home = Deno.env.get("HOME");
  const base = Deno.env.get("XDG_STATE_HOME") ||
    (home === undefined ? "/var/tmp" : `${home}/.local/state`);
  return `${base}/aoe/${nameOfEnd(destination).replaceAll("/", "_")}.aoe-copy`;
}

/**
 * Reads the state that a copy goes on from.
 *
 * @throws {Failure} When there is none, or it is another copy's.
 */
export function readState(path: string, identity: CopyIdentity): CopyState {
  let state: CopyState;
  try {
    state = JSON.parse(Deno.readTextFileSync(path));
  } catch {
    throw new Failure(`Nothing to resume: there is no "${path}" that can be read`);
  }
  for (const key of ["source", "destination", "offset", "seek", "length"] as const) {
    if (state[key] === identity[key]) continue;
    throw new Failure(
      `The copy that was interrupted is another: its ${key} was ${state[key]}, ` +
        `not ${identity[key]} ("${path}")`,
    );
  }
  if (!Number.isSafeInteger(state.done) || state.done < 0 || state.done % 512 !== 0) {
    throw new Failure(`"${path}" does not say how far the copy came`);
  }
  return state;
}

/** Writes the state, as a whole or not at all. */
export function writeState(path: string, state: CopyState): void {
  Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  const unfinished = `${path}.new`;
  Deno.writeTextFileSync(unfinished, JSON.stringify(state) + "\n");
  Deno.renameSync(unfinished, path);
}

/** Forgets the state, if there is one. */
export function removeState(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // There was none, which is the usual case.
  }
}

function isDevice(path: string): boolean {
  try {
    return !Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
