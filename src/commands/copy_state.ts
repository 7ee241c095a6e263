// What is remembered about a copy while it runs, so that --resume can go on, however it ended. It
// stands beside a destination that is a file; for everything else in a folder of this user's. It
// claims only what is on stable storage, and is itself there before the next claim.

import {
  ownFolder,
  putOwnFile,
  readOwnFile,
  rewriteOwnFile,
  sweepUnfinished,
} from "../control/own_files.ts";
import type { CopiedBefore } from "../loops/copy/config.ts";
import { formatAddress } from "../wire/aoe.ts";
import type { CopyEndName } from "./copy_arguments.ts";
import { EXIT_FAILED, EXIT_MISMATCH } from "./exit_codes.ts";
import { Failure } from "./output.ts";

/** Changes with what the state means. */
const VERSION = 2;
/** Padded to whole blocks: a full file system can still have it written again in its place. */
const BLOCK_BYTES = 4096;

/** What a copy is told apart by. */
export interface CopyIdentity {
  readonly source: string;
  readonly destination: string;
  readonly offset: number;
  readonly seek: number;
  readonly length: number | null;
}

/** What a local file is known again by. */
export interface CopyFileMark {
  readonly device: number;
  readonly inode: number;
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly modified: number;
}

/** One copy that is not finished. */
export interface CopyState extends CopyIdentity, CopiedBefore {
  readonly version: typeof VERSION;
  /** Null for what is no plain file. */
  readonly sourceFile: CopyFileMark | null;
  readonly destinationFile: CopyFileMark | null;
}

/** What stays the same while a copy runs. */
export type CopyStateBase = Omit<CopyState, "version" | "done" | "crc32">;

/** Name of an end that stays the same from another directory, and whether it is there or not. */
export function nameOfEnd(end: CopyEndName): string {
  if (end.kind === "address") return formatAddress(end.address.shelf, end.address.slot);
  if (end.kind === "standard") return "-";
  const path = end.path.startsWith("/") ? end.path : `${Deno.cwd()}/${end.path}`;
  const slash = path.lastIndexOf("/");
  return realPath(path) ??
    `${realPath(path.slice(0, slash) || "/") ?? ""}/${path.slice(slash + 1)}`;
}

/** What a file is known again by; undefined for what is no plain file, or not there. */
export function markOfFile(path: string): CopyFileMark | undefined {
  try {
    const { isFile, dev, ino, size, mtime } = Deno.statSync(path);
    if (!isFile) return undefined;
    return { device: dev, inode: ino ?? 0, bytes: size, modified: mtime?.getTime() ?? 0 };
  } catch {
    return undefined;
  }
}

/** Where the state of copies to a destination stands. */
export function statePath(destination: CopyEndName): string {
  if (destination.kind === "path" && !isDevice(destination.path)) {
    return `${nameOfEnd(destination)}.aoe-copy`;
  }
  return `${stateFolder()}/${nameOfEnd(destination).replaceAll("/", "_")}.aoe-copy`;
}

/** The first folder that is, or can be made, this user's alone. */
function stateFolder(): string {
  const home = Deno.env.get("HOME");
  const base = Deno.env.get("XDG_STATE_HOME") || (home ? `${home}/.local/state` : undefined);
  const shared = Deno.uid() === 0 ? "/var/lib/aoe" : `/var/tmp/aoe-${Deno.uid()}`;
  const folders = [...base === undefined ? [] : [`${base}/aoe`], shared];
  let refusal: unknown;
  for (const folder of folders) {
    try {
      ownFolder(folder);
      return folder;
    } catch (error) {
      refusal ??= error;
    }
  }
  throw refusal;
}

/**
 * Reads the state that a copy goes on from.
 *
 * @throws {Failure} When there is none, or it is another copy's.
 */
export function readState(path: string, identity: CopyIdentity): CopyState {
  const text = readOwnFile(path);
  if (text === undefined) throw new Failure(`Nothing to resume: there is no "${path}"`);
  const state = parseState(text);
  if (state === undefined) {
    throw new Failure(`"${path}" is damaged, or another version's: copy without --resume`);
  }
  for (const key of ["source", "destination", "offset", "seek", "length"] as const) {
    if (state[key] === identity[key]) continue;
    const [was, is] = [state[key], identity[key]].map((value) => value ?? "not limited");
    throw new Failure(
      `The copy that was interrupted is another: its ${key} was ${was}, and is ${is} ("${path}")`,
    );
  }
  if (state.sourceFile !== null) {
    const now = markOfFile(state.source);
    if (now === undefined) throw new Failure(`"${state.source}" is gone, or no file any more`);
    if (now.bytes !== state.sourceFile.bytes) {
      throw new Failure(
        `"${state.source}" is another by now: it had ${state.sourceFile.bytes} bytes, and has ` +
          `${now.bytes}: copy without --resume`,
        EXIT_MISMATCH,
      );
    }
  }
  if (state.destinationFile !== null && markOfFile(state.destination) === undefined) {
    throw new Failure(
      `"${state.destination}" is gone: copy without --resume`,
      EXIT_FAILED,
    );
  }
  return state;
}

function parseState(text: string): CopyState | undefined {
  try {
    const state = JSON.parse(text) as CopyState;
    const whole = state.version === VERSION && Number.isSafeInteger(state.done) &&
      state.done >= 0 && Number.isInteger(state.crc32) && Array.isArray(state.disks);
    return whole ? state : undefined;
  } catch {
    return undefined;
  }
}

/** Writes the state as the copy goes on, in the background, one after the other. */
export class CopyStateKeeper {
  /** So much is on stable storage, and the state says so. */
  kept: number;
  readonly #path: string;
  readonly #complain: (sentence: string) => void;
  #file: Deno.FsFile | undefined;
  #next: CopyState | undefined;
  #writing: Promise<void> = Promise.resolve();
  #complained = false;
  #began = false;

  /**
   * @param before Bytes that the state, which is there already, speaks of; 0: there is none.
   * @param complain Called once, when the state cannot be written.
   */
  constructor(path: string, before: number, complain: (sentence: string) => void) {
    this.#path = path;
    this.kept = before;
    this.#complain = complain;
  }

  /** So much is on stable storage: the state will say so, unless more is there before. */
  keep(base: CopyStateBase, done: number, crc32: number): void {
    if (!this.#began) this.#writing = sweepUnfinished(this.#path);
    this.#began = true;
    this.#next = { version: VERSION, ...base, done, crc32 };
    this.#writing = this.#writing.then(() => this.#writeNext());
  }

  /** Resolves when what was to be kept is, or cannot be. */
  async written(): Promise<void> {
    await this.#writing;
  }

  /** Nothing more will come. */
  async close(): Promise<void> {
    await this.#writing;
    this.#file?.close();
    this.#file = undefined;
  }

  /** Forgets the state, unless it is an earlier copy's that this one has not come to replace. */
  async remove(): Promise<void> {
    await this.close();
    if (this.#began || this.kept > 0) await Deno.remove(this.#path).catch(() => {});
  }

  async #writeNext(): Promise<void> {
    const state = this.#next;
    // A later one has been written in its place.
    if (state === undefined) return;
    this.#next = undefined;
    try {
      await this.#write(state);
      this.kept = state.done;
    } catch (error) {
      if (this.#complained) return;
      this.#complained = true;
      const { message } = error as Error;
      this.#complain(`How far the copy came cannot be kept in "${this.#path}": ${message}`);
    }
  }

  async #write(state: CopyState): Promise<void> {
    const json = JSON.stringify(state);
    const bytes = new TextEncoder().encode(json).length + 1;
    const text = `${json}${" ".repeat(BLOCK_BYTES - bytes % BLOCK_BYTES)}\n`;
    try {
      const file = await putOwnFile(this.#path, text);
      this.#file?.close();
      this.#file = file;
    } catch (error) {
      if (this.#file === undefined || !await isNamed(this.#file, this.#path)) throw error;
      await rewriteOwnFile(this.#file, text);
    }
  }
}

async function isNamed(file: Deno.FsFile, path: string): Promise<boolean> {
  const [open, named] = [await file.stat(), await Deno.lstat(path)];
  return open.ino === named.ino && open.dev === named.dev;
}

function realPath(path: string): string | undefined {
  try {
    return Deno.realPathSync(path).replace(/^\/$/, "");
  } catch {
    return undefined;
  }
}

function isDevice(path: string): boolean {
  try {
    return !Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
