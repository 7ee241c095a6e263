// The process that takes a disk's nodes away when its daemon and its keeper are killed: a shell of under a
// megabyte that waits for the end of a pipe, whose other end these two hold, and no one else. Until
// it has done so it holds the disk's name, so that nobody attaches it anew meanwhile, and the kernel's
// device, so that its number is given to nobody else while a node of that number is there.

import { closeFile, duplicateForChild, keepFromChildren, openPipe } from "../../../ffi/files.ts";
import { socketPath } from "./control_socket.ts";
import { nodePath } from "./device_nodes.ts";
import { markPath } from "./udev.ts";

/** Signals for the daemon's process group, or its service, are none of the watcher's business. */
const SCRIPT = `trap '' INT TERM HUP
read -r word <"/proc/self/fd/$1"
[ "$word" = bye ] && exit 0
rm -f "$2" "$2"p[0-9]* "$3" "$4"
echo change >"$5"`;

/** The watcher of one disk's nodes. */
export class NodeWatcher {
  /** The end of the pipe, for the keeper as well. */
  readonly pipe: number;
  readonly #process: Deno.ChildProcess;

  private constructor(pipe: number, process: Deno.ChildProcess) {
    this.pipe = pipe;
    this.#process = process;
  }

  /**
   * Starts one.
   *
   * @param name `e1.1`.
   * @param kernelName As in /sys/block: `loop7`.
   * @param held Descriptors of the name's lock, and of the device where its number is free
   * otherwise.
   */
  static start(name: string, kernelName: string, held: readonly number[]): NodeWatcher {
    const [reader, pipe] = openPipe();
    const inherited = duplicateForChild([reader, ...held]);
    try {
      const process = new Deno.Command("sh", {
        args: [
          ...["-c", SCRIPT, "aoe-watcher", String(inherited[0])],
          ...[nodePath(name), socketPath(name), markPath(kernelName)],
          `/sys/block/${kernelName}/uevent`,
        ],
        cwd: "/",
        stdin: "null",
        stdout: "null",
        stderr: "null",
        detached: true,
      }).spawn();
      process.unref();
      return new NodeWatcher(pipe, process);
    } catch (error) {
      closeFile(pipe);
      throw error;
    } finally {
      inherited.forEach(closeFile);
      closeFile(reader);
    }
  }

  /** Resolves when it is gone, by itself or because it was killed. */
  get ended(): Promise<unknown> {
    return this.#process.status;
  }

  /** Nothing is left to watch; resolves when it has let go of everything. */
  async dismiss(): Promise<void> {
    sayBye(this.pipe);
    await this.#process.status;
  }
}

/** Dismisses the watcher of a killed daemon, whose pipe was inherited from its keeper. */
export function dismissInherited(pipe: number): void {
  keepFromChildren(pipe);
  sayBye(pipe);
}

function sayBye(pipe: number): void {
  try {
    Deno.writeTextFileSync(`/proc/self/fd/${pipe}`, "bye\n");
  } catch {
    // It was killed before.
  }
  closeFile(pipe);
}
