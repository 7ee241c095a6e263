// A process that waits for the death of this one, and goes on in its place: a shell of under a
// megabyte, which holds the descriptors that the device lives by, and reads from a pipe. A word
// means that all is well and nothing is left to do; the end of the pipe without it means that the
// daemon was killed, and the shell becomes the new one.

import { closeFile, duplicateForChild, openFile } from "../../../ffi/files.ts";

/**
 * Signals for the daemon's process group, or its service, are none of the keeper's business. The new
 * daemon takes those over that it listens to; SIGUSR1 (10) it must not meet before its first line.
 * By number: not every shell knows the names of all. The directory of Deno's caches may have been
 * swept, and made again by somebody else.
 */
const SCRIPT = `trap '' 1 2 3 6 10 12 13 14 15 16 24 25 26 27 29 30
read -r word
[ "$word" = bye ] && exit 0
trap - 1 2 3 6 12 13 14 15 16 24 25 26 27 29 30
cache=\${DENO_DIR:-}
cache=\${cache%/state}
[ -z "$cache" ] || { [ -O "$cache" ] && [ ! -L "$cache" ]; } || export DENO_DIR=/run/aoe/state
exec "$@"`;
/** This program's executable, whether or not its file has still a name. */
const OWN_EXECUTABLE = "/proc/self/exe";
/** In the environment of what the keeper becomes: where to go on. */
const STATE_VARIABLE = "AOE_KEEPER_STATE";

/** What stands there. */
interface KeptState {
  /** A descriptor of the executable. */
  readonly runtime: number;
  readonly state: unknown;
}

/** The keeper of one daemon. */
export class Keeper {
  readonly #process: Deno.ChildProcess;

  private constructor(process: Deno.ChildProcess) {
    this.#process = process;
  }

  /**
   * Starts one.
   *
   * @param fds Descriptors to hold; what they are called there stands in `state`'s argument. When the
   * keeper is killed, the last of them is closed first.
   * @param state What the new daemon is told, made of the keeper's own descriptors.
   */
  static start(
    args: readonly string[],
    fds: readonly number[],
    state: (fds: readonly number[]) => unknown,
  ): Keeper {
    const runtime = openFile(OWN_EXECUTABLE, { readOnly: true });
    // Duplicates are not closed when the shell starts.
    const held = duplicateForChild([...fds, runtime]);
    closeFile(runtime);
    try {
      // The program itself is a descriptor that every process of ours inherits (see extract.sh).
      const kept: KeptState = { runtime: held.at(-1)!, state: state(held.slice(0, -1)) };
      const words = [`/proc/self/fd/${kept.runtime}`, ...ownCommand().slice(1), ...args];
      const process = new Deno.Command("sh", {
        args: ["-c", SCRIPT, "aoe-keeper", ...words],
        env: { [STATE_VARIABLE]: JSON.stringify(kept) },
        cwd: "/",
        stdin: "piped",
        stdout: "null",
        stderr: "null",
        detached: true,
      }).spawn();
      process.unref();
      return new Keeper(process);
    } finally {
      held.forEach(closeFile);
    }
  }

  /** Resolves when it is gone, by itself or because it was killed. */
  get ended(): Promise<unknown> {
    return this.#process.status;
  }

  /** It is not needed any more; resolves when it has let go of everything. */
  async dismiss(): Promise<void> {
    const writer = this.#process.stdin.getWriter();
    try {
      await writer.write(new TextEncoder().encode("bye\n"));
      await writer.close();
    } catch {
      // It was killed before.
    }
    await this.#process.status;
  }
}

/** What an earlier process's keeper has told this one; it is told once. */
export function takeKeeperState(): unknown {
  const text = Deno.env.get(STATE_VARIABLE);
  Deno.env.delete(STATE_VARIABLE);
  if (text === undefined) return undefined;
  const { runtime, state } = JSON.parse(text) as KeptState;
  closeFile(runtime);
  // Its name would be the number of that descriptor.
  Deno.writeTextFileSync("/proc/self/comm", "aoe");
  return state;
}

/**
 * The words that start this program, before its own arguments: in every kind of executable, also
 * when its files have been removed.
 */
export function ownCommand(): string[] {
  const words = Deno.readTextFileSync("/proc/self/cmdline").split("\0").slice(0, -1);
  return [OWN_EXECUTABLE, ...words.slice(1, words.length - Deno.args.length)];
}
