// How other commands reach the daemon of an attached disk: a Unix socket for each in /run/aoe, of
// root alone. One line of JSON asks, one answers.

import { closeFile, keepFromChildren, lockFile, openFile } from "../../../ffi/files.ts";
import { ownFolder } from "../own_files.ts";

const FOLDER = "/run/aoe";
/** A daemon that does not answer a question for so long does not answer at all. */
const STATUS_MS_MAX = 3_000;
const DETACHED_MS_MAX = 60_000;
const LINE_BYTES_MAX = 65_536;
/** Who has connected and asks nothing does not keep a daemon alive. */
const FAREWELL_MS_MAX = 2_000;

/** What a killed daemon leaves is taken away within this. */
const CLEARED_MS_MAX = 3_000;
const CLEARED_LOOK_MS = 20;

/** What a daemon is asked. */
export type ControlRequest =
  | { readonly ask: "status" }
  | { readonly ask: "detach"; readonly force: boolean };

/**
 * Takes a disk's name on this machine, for as long as the descriptor or one that was inherited from
 * it is open anywhere; undefined when another process has it.
 */
export function takeDiskName(name: string): number | undefined {
  ownFolder(FOLDER);
  const path = lockPath(name);
  // It stays: removing a locked file would let two processes lock two files of one name.
  Deno.openSync(path, { create: true, write: true, mode: 0o600 }).close();
  const fd = openFile(path, { readOnly: false });
  if (lockFile(fd, false)) return fd;
  closeFile(fd);
  return undefined;
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
    if (fd !== undefined || performance.now() > untilMs || await hasDaemon(name)) return fd;
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

async function hasDaemon(name: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path: socketPath(name) })).close();
    return true;
  } catch {
    return false;
  }
}

/** The socket of a daemon. */
export class ControlSocket {
  readonly #listener: Deno.UnixListener;
  readonly #path: string;
  /** Those who have asked and are not answered. */
  readonly #talks = new Set<Promise<void>>();
  #closed = false;

  /**
   * @param name `e1.1`.
   * @param answer What to say; an error's message is said in its place.
   */
  constructor(name: string, answer: (request: ControlRequest) => Promise<unknown>) {
    ownFolder(FOLDER);
    this.#path = socketPath(name);
    // One that is left behind by a killed daemon; whether one lives was asked before.
    removeFile(this.#path);
    this.#listener = Deno.listen({ transport: "unix", path: this.#path });
    Deno.chmodSync(this.#path, 0o600);
    this.#serve(answer);
  }

  /** Nobody can ask any more; resolves when everybody has his answer. Closing twice is once. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener.close();
    removeFile(this.#path);
    const late = new Promise((resolve) => setTimeout(resolve, FAREWELL_MS_MAX));
    await Promise.race([Promise.all(this.#talks), late]);
  }

  async #serve(answer: (request: ControlRequest) => Promise<unknown>): Promise<void> {
    for await (const connection of this.#listener) {
      // Questions are answered side by side: a detach may take a while.
      const talk = this.#talk(connection, answer).catch(() => {}).finally(() => {
        connection.close();
        this.#talks.delete(talk);
      });
      this.#talks.add(talk);
    }
  }

  async #talk(
    connection: Deno.UnixConn,
    answer: (request: ControlRequest) => Promise<unknown>,
  ): Promise<void> {
    const line = await readLine(connection);
    let reply: unknown;
    try {
      reply = { answer: await answer(JSON.parse(line) as ControlRequest) };
    } catch (error) {
      reply = { error: (error as Error).message };
    }
    await writeLine(connection, JSON.stringify(reply));
  }
}

/** Names of the disks that have, or had, a daemon on this machine. */
export function attachedNames(): string[] {
  try {
    return [...Deno.readDirSync(FOLDER)].map((entry) => /^(e\d+\.\d+)\.socket$/.exec(entry.name))
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
export async function askDaemon(name: string, request: ControlRequest): Promise<unknown> {
  let connection: Deno.UnixConn;
  try {
    connection = await Deno.connect({ transport: "unix", path: socketPath(name) });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    // Nobody listens: the daemon was killed.
    if (error instanceof Deno.errors.ConnectionRefused) return undefined;
    throw error;
  }
  const patienceMs = request.ask === "status" ? STATUS_MS_MAX : DETACHED_MS_MAX;
  const timer = setTimeout(() => connection.close(), patienceMs);
  try {
    await writeLine(connection, JSON.stringify(request));
    const line = await readLine(connection);
    const reply = JSON.parse(line) as { readonly answer?: unknown; readonly error?: string };
    if (reply.error !== undefined) throw new Error(reply.error);
    return reply.answer;
  } finally {
    clearTimeout(timer);
    try {
      connection.close();
    } catch {
      // The time was over.
    }
  }
}

/** Removes what a killed daemon has left. */
export function removeControlSocket(name: string): void {
  removeFile(socketPath(name));
}

async function readLine(connection: Deno.UnixConn): Promise<string> {
  const decoder = new TextDecoder();
  const bytes = new Uint8Array(4096);
  let text = "";
  while (!text.includes("\n")) {
    const count = await connection.read(bytes);
    if (count === null || text.length > LINE_BYTES_MAX) break;
    text += decoder.decode(bytes.subarray(0, count), { stream: true });
  }
  return text.split("\n", 1)[0]!;
}

async function writeLine(connection: Deno.UnixConn, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(`${text}\n`);
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

/** Path of a daemon's socket. */
export function socketPath(name: string): string {
  return `${FOLDER}/${name}.socket`;
}

function lockPath(name: string): string {
  return `${FOLDER}/${name}.lock`;
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
