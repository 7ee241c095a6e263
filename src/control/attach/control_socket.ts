// How other commands reach the daemon of an attached disk: a socket for each in /run/aoe, of root
// alone.

import { keepFromChildren } from "../../../ffi/files.ts";
import { askAt, isListening, LineServer, lockOwnFile, removeSocket } from "../line_socket.ts";
import { RUNTIME_FOLDER, runtimeFolder } from "../runtime_folder.ts";

/** A daemon that does not answer a question for so long does not answer at all. */
const STATUS_MS_MAX = 3_000;
/** What happens is known after a second at the latest. */
const OVERVIEW_MS_MAX = 10_000;
const DETACHED_MS_MAX = 60_000;

/** What a killed daemon leaves is taken away within this. */
const CLEARED_MS_MAX = 3_000;
const CLEARED_LOOK_MS = 20;

/** What a daemon is asked. */
export type ControlRequest =
  | { readonly ask: "status" }
  | { readonly ask: "detach"; readonly force: boolean }
  /** What happens now, and the past of what is named. */
  | { readonly ask: "overview"; readonly pasts: readonly string[] };

/**
 * Takes a disk's name on this machine, for as long as the descriptor or one that was inherited from
 * it is open anywhere; undefined when another process has it.
 */
export function takeDiskName(name: string): number | undefined {
  runtimeFolder();
  return lockOwnFile(lockPath(name));
}

/**
 * The same, and waits for those who only take away what a killed daemon has left. A daemon that
 * lives is not waited for.
 *
 * @param inherited A descriptor of the name, which a killed daemon's keeper has held.
 */
export async function awaitDiskName(
  name: string,
  inherited: number | undefined,
): Promise<number | undefined> {
  if (inherited !== undefined) {
    keepFromChildren(inherited);
    return inherited;
  }
  const untilMs = performance.now() + CLEARED_MS_MAX;
  for (;;) {
    const fd = takeDiskName(name);
    if (fd !== undefined || performance.now() > untilMs || await isListening(socketPath(name))) {
      return fd;
    }
    await new Promise((resolve) => setTimeout(resolve, CLEARED_LOOK_MS));
  }
}

/** Whether a disk of this name was attached here since the machine was started. */
export function wasAttachedHere(name: string): boolean {
  try {
    return Deno.lstatSync(lockPath(name)).isFile;
  } catch {
    return false;
  }
}

/** The socket of a disk's daemon, `e1.1`. */
export function openDiskSocket(
  name: string,
  answer: (request: ControlRequest) => Promise<unknown>,
): LineServer {
  runtimeFolder();
  return new LineServer(socketPath(name), (question) => answer(question as ControlRequest));
}

/** Names of the disks that have, or had, a daemon on this machine. */
export function attachedNames(): string[] {
  try {
    return [...Deno.readDirSync(RUNTIME_FOLDER)]
      .map((entry) => /^(e\d+\.\d+)\.socket$/.exec(entry.name))
      .flatMap((match) => match === null ? [] : [match[1]!]).sort();
  } catch {
    return [];
  }
}

/**
 * Asks a disk's daemon.
 *
 * @returns Undefined when there is no daemon.
 * @throws {Error} With the sentence that it refuses with.
 */
export function askDaemon(name: string, request: ControlRequest): Promise<unknown> {
  const patienceMs = { status: STATUS_MS_MAX, overview: OVERVIEW_MS_MAX, detach: DETACHED_MS_MAX };
  return askAt(socketPath(name), request, patienceMs[request.ask]);
}

/** Removes what a killed daemon has left. */
export function removeControlSocket(name: string): void {
  removeSocket(socketPath(name));
}

/** Path of a daemon's socket. */
export function socketPath(name: string): string {
  return `${RUNTIME_FOLDER}/${name}.socket`;
}

function lockPath(name: string): string {
  return `${RUNTIME_FOLDER}/${name}.lock`;
}
