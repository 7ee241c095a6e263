// Where `aoe top` asks a process that has no other control socket: `nbd.PID.socket` among those of
// its user. It is told what happens, and nothing can be changed.

import { askAt, isListening, LineServer, removeSocket } from "../line_socket.ts";
import { ownFolder } from "../own_files.ts";
import { RUNTIME_FOLDER, runtimeFolder, userRuntimeFolder } from "../runtime_folder.ts";
import type { Watcher } from "./watcher.ts";

/** Who has to be asked for longer does not answer. */
const PATIENCE_MS = 10_000;
const NAME = /^nbd\.(\d+)\.socket$/;

/**
 * Opens the socket of this process.
 *
 * @throws {Error} One sentence: there can be none.
 */
export async function openWatchSocket(watcher: Watcher): Promise<LineServer> {
  const folder = userRuntimeFolder();
  if (folder === RUNTIME_FOLDER && Deno.uid() === 0) runtimeFolder();
  else ownFolder(folder);
  await removeLeft(folder);
  return new LineServer(`${folder}/nbd.${Deno.pid}.socket`, async (question) => {
    const { ask, pasts } = (question ?? {}) as { readonly ask?: unknown; readonly pasts?: unknown };
    if (ask === "overview") return await watcher.ask(pasts);
    throw new Error("This aoe nbd only tells what it does");
  });
}

/** Paths of the sockets of this user's processes, of which some may be gone. */
export function watchSockets(): string[] {
  const folder = userRuntimeFolder();
  try {
    return [...Deno.readDirSync(folder)].filter(({ name }) => NAME.test(name))
      .map(({ name }) => `${folder}/${name}`).sort();
  } catch {
    // There has been none since the machine was started.
    return [];
  }
}

/** Asks one of them; undefined when nobody is there any more. */
export function askWatchSocket(path: string, pasts: readonly string[]): Promise<unknown> {
  return askAt(path, { ask: "overview", pasts }, PATIENCE_MS);
}

/** Takes away what killed processes have left. */
async function removeLeft(folder: string): Promise<void> {
  for (const path of watchSockets()) {
    const pid = NAME.exec(path.slice(folder.length + 1))?.[1];
    // One that is just being opened has its process, and does not listen yet.
    if (isThere(`/proc/${pid}`) || await isListening(path)) continue;
    removeSocket(path);
  }
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}
