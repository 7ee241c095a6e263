// How commands reach a daemon: a Unix socket for this user alone. One line of JSON asks, one answers.
// Whoever connects and asks nothing, sends rubbish or does not take his answer holds nobody up: talks
// are held side by side, each for so long, and only so many.

import { closeFile, lockFile, openFile } from "../../ffi/files.ts";

/** Nothing for the group, nothing for others. */
const UMASK = 0o177;
/** Talks at a time; beyond, the oldest that has not asked yet is ended, or the new one. */
const TALKS_MAX = 64;
/** For so long a caller may take over its question, and over its answer. */
const QUESTION_MS_MAX = 5_000;
const ANSWER_MS_MAX = 10_000;
const QUESTION_BYTES_MAX = 65_536;
/** What a daemon of thousands of disks may say. */
const ANSWER_BYTES_MAX = 64 * 2 ** 20;
/** Who has connected and asks nothing does not keep a daemon alive. */
const FAREWELL_MS_MAX = 2_000;

/** One that has connected. */
interface Talk {
  readonly connection: Deno.UnixConn;
  asked: boolean;
}

/** Makes the answer to a question; what it throws is said in its place. */
export type Answerer = (question: unknown) => Promise<unknown>;

/** The socket of a daemon. */
export class LineServer {
  readonly #listener: Deno.UnixListener;
  readonly #path: string;
  readonly #answer: Answerer;
  readonly #talks = new Map<Talk, Promise<void>>();
  #closed = false;

  /** @param path One that nobody else listens at: what stands there is taken away. */
  constructor(path: string, answer: Answerer) {
    this.#path = path;
    this.#answer = answer;
    removeSocket(path);
    // From the first moment on: a folder may be open to others.
    const mask = Deno.umask(UMASK);
    try {
      this.#listener = Deno.listen({ transport: "unix", path });
    } finally {
      Deno.umask(mask);
    }
    this.#serve();
  }

  /** Nobody can ask any more; resolves when everybody has his answer. Closing twice is once. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener.close();
    try {
      removeSocket(this.#path);
    } catch {
      // A process that has given up its rights leaves it: nobody answers there.
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, FAREWELL_MS_MAX));
    await Promise.race([Promise.all(this.#talks.values()), late]);
    clearTimeout(timer);
    for (const { connection } of this.#talks.keys()) closeQuietly(connection);
  }

  async #serve(): Promise<void> {
    for (;;) {
      let connection: Deno.UnixConn;
      try {
        connection = await this.#listener.accept();
      } catch (error) {
        if (this.#closed) return;
        // Gone before it was accepted, or there are too few descriptors: not the end of serving.
        if (!(error instanceof Error)) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
        continue;
      }
      if (!this.#makeRoom()) {
        closeQuietly(connection);
        continue;
      }
      const talk: Talk = { connection, asked: false };
      const held = this.#hold(talk).catch(() => {}).finally(() => {
        closeQuietly(connection);
        this.#talks.delete(talk);
      });
      this.#talks.set(talk, held);
    }
  }

  /** @returns False when all that have connected wait for their answers. */
  #makeRoom(): boolean {
    if (this.#talks.size < TALKS_MAX) return true;
    for (const talk of this.#talks.keys()) {
      if (talk.asked) continue;
      closeQuietly(talk.connection);
      this.#talks.delete(talk);
      return true;
    }
    return false;
  }

  async #hold(talk: Talk): Promise<void> {
    const { connection } = talk;
    const line = await within(
      QUESTION_MS_MAX,
      connection,
      readLine(connection, QUESTION_BYTES_MAX),
    );
    talk.asked = true;
    const reply = await this.#reply(line);
    await within(ANSWER_MS_MAX, connection, writeLine(connection, JSON.stringify(reply)));
  }

  async #reply(line: string): Promise<unknown> {
    let question: unknown;
    try {
      question = JSON.parse(line);
    } catch {
      return { error: "That was no question: one line of JSON is expected" };
    }
    try {
      return { answer: await this.#answer(question) };
    } catch (error) {
      return { error: (error as Error).message };
    }
  }
}

/**
 * Asks the daemon at a path.
 *
 * @returns Undefined when there is no daemon.
 * @throws {Error} With the sentence that it refuses with.
 */
export async function askAt(
  path: string,
  question: unknown,
  patienceMs: number,
): Promise<unknown> {
  let connection: Deno.UnixConn;
  try {
    connection = await Deno.connect({ transport: "unix", path });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    // Nobody listens: the daemon was killed.
    if (error instanceof Deno.errors.ConnectionRefused) return undefined;
    throw error;
  }
  try {
    const answer = writeLine(connection, JSON.stringify(question))
      .then(() => readLine(connection, ANSWER_BYTES_MAX));
    const line = await within(patienceMs, connection, answer);
    if (line === "") throw new Error("The daemon ended before it had answered");
    const reply = JSON.parse(line) as { readonly answer?: unknown; readonly error?: string };
    if (reply.error !== undefined) throw new Error(reply.error);
    return reply.answer ?? null;
  } catch (error) {
    // It was killed while this waited for it to listen, or to answer.
    if (wasCut(error) && !await isListening(path)) return undefined;
    throw error;
  } finally {
    closeQuietly(connection);
  }
}

function wasCut(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe;
}

/** Whether somebody listens at a path. */
export async function isListening(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch {
    return false;
  }
}

/**
 * Locks a file for as long as the descriptor, or one that was inherited from it, is open anywhere;
 * undefined when another process has it.
 */
export function lockOwnFile(path: string): number | undefined {
  // It stays: removing a locked file would let two processes lock two files of one name.
  Deno.openSync(path, { create: true, write: true, mode: 0o600 }).close();
  const fd = openFile(path, { readOnly: false });
  if (lockFile(fd, false)) return fd;
  closeFile(fd);
  return undefined;
}

/** Removes the socket's file, if there is one. */
export function removeSocket(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Closes the connection when it takes too long, which ends what waits for it. */
async function within<Result>(
  ms: number,
  connection: Deno.UnixConn,
  work: Promise<Result>,
): Promise<Result> {
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    closeQuietly(connection);
  }, ms);
  try {
    return await work;
  } catch (error) {
    if (late) throw new Deno.errors.TimedOut(`The daemon did not answer within ${ms / 1000} s`);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Reads up to the end of a line, or of what is sent; empty where that is too long. */
async function readLine(connection: Deno.UnixConn, bytesMax: number): Promise<string> {
  const decoder = new TextDecoder();
  const bytes = new Uint8Array(65_536);
  const parts: string[] = [];
  for (let total = 0;;) {
    const count = await connection.read(bytes);
    if (count === null) break;
    total += count;
    if (total > bytesMax) return "";
    const end = bytes.subarray(0, count).indexOf(10);
    parts.push(decoder.decode(bytes.subarray(0, end < 0 ? count : end), { stream: true }));
    if (end >= 0) break;
  }
  return parts.join("");
}

async function writeLine(connection: Deno.UnixConn, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(`${text}\n`);
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

function closeQuietly(connection: Deno.UnixConn): void {
  try {
    connection.close();
  } catch {
    // It is closed already.
  }
}
