// The back end that needs no module where FUSE and loop devices are built in: one file of an
// invisible FUSE mount (fuse_driver.ts), and a loop device on it.

import { SystemError } from "../../../ffi/errno.ts";
import { abandonFile, closeFile, fileStatus, moveDescriptor } from "../../../ffi/files.ts";
import { mountFuseFile, openFuse } from "../../../ffi/fuse_mount.ts";
import { clearLoop, configureLoop, resizeLoop } from "../../../ffi/loop_device.ts";
import type { BackEnd, BackEndOptions, BackEndState, StartedDevice } from "./back_end.ts";
import { probeFuseUring } from "./fuse_uring.ts";
import { loadModule } from "./kernel_module.ts";
import type { BlockConfig, BlockDisk } from "../../loops/block/disk.ts";
import type { FuseConfig, FuseMessage } from "../../loops/attach/fuse_driver.ts";

/**
 * The loop device's descriptor is where standard input was, which nobody reads. A process that is
 * killed lets go of its highest descriptor first (task_work_run(), since Linux 4.4), and the last to
 * let go of the device writes back what the page cache holds: the connection must have ended before,
 * so that this fails. Otherwise the process would wait for itself to answer, for ever.
 */
const LOOP_FD = 0;

/** A loop device, its file and the mount under it. */
export class LoopBackEnd implements BackEnd {
  readonly name = "fuse";
  readonly use: FuseConfig;
  #file = -1;
  /** −1: there is no device. */
  #number = -1;
  #resends = false;
  #uring: true | string;
  /** The kernel has said which protocol it speaks. */
  readonly #mounted = Promise.withResolvers<void>();

  private constructor(config: BlockConfig, fuse: number, uring: number | string) {
    this.use = {
      ...{ ...config, kind: "fuse", fd: fuse },
      uringQueues: typeof uring === "number" ? uring : 0,
    };
    this.#uring = typeof uring === "number" ? true : uring;
  }

  /** Why it cannot be used here; undefined when it can. */
  static probe(): string | undefined {
    return whyNot("/dev/fuse", "fuse") ?? whyNot("/dev/loop-control", "loop");
  }

  /** Opens a new connection. */
  static open(config: BlockConfig, options: BackEndOptions): LoopBackEnd {
    const fuse = openFuse();
    const uring = probeFuseUring();
    return new LoopBackEnd(
      config,
      fuse,
      typeof uring === "string" || options.fuseUring ? uring : "is on: --fuse-uring uses it",
    );
  }

  /** Goes on with what an earlier process has left. */
  static resume(config: BlockConfig, state: BackEndState): LoopBackEnd {
    const [loop, file, fuse] = state.fds as [number, number, number];
    moveDescriptor(loop, LOOP_FD);
    const backEnd = new LoopBackEnd(config, fuse, "is not for what another process began");
    backEnd.#file = file;
    backEnd.#number = state.number;
    backEnd.#resends = true;
    return backEnd;
  }

  async start(disk: BlockDisk, label: string): Promise<StartedDevice> {
    if (this.#number < 0) {
      this.#file = mountFuseFile(this.use.fd, disk.readOnly);
      await this.#mounted.promise;
      // Linux 6.1 and 6.12 take the size that the kernel knows from the last time it was asked.
      fileStatus(this.#file);
      const { number, fd } = configureLoop(this.#file, label, disk.readOnly);
      moveDescriptor(fd, LOOP_FD);
      this.#number = number;
    }
    return { kernelName: `loop${this.#number}` };
  }

  message(message: FuseMessage): void {
    if (message.kind !== "mounted") return;
    this.#resends = message.resends;
    if (this.#uring === true && !message.uring) {
      this.#uring = "is not to be had: it is forbidden here";
    }
    this.#mounted.resolve();
  }

  resize(): string | undefined {
    fileStatus(this.#file);
    try {
      resizeLoop(LOOP_FD);
      return undefined;
    } catch (error) {
      if (error instanceof SystemError) return error.message;
      throw error;
    }
  }

  get deviceFd(): number | undefined {
    return this.#number < 0 ? undefined : LOOP_FD;
  }

  get fuseUring(): true | string {
    return this.#uring;
  }

  get state(): BackEndState | string {
    // They are in the hands of a queue that dies with its process.
    if (this.#uring === true) return "requests that came by io_uring cannot be sent again";
    if (!this.#resends) return "requests cannot be sent again before Linux 6.9";
    return { fds: [LOOP_FD, this.#file, this.use.fd], number: this.#number };
  }

  stop(force: boolean): void {
    // Nobody answers any more: what is under way fails, and whoever waits for it goes on, the last
    // to close the device among them.
    if (force) abandonFile(this.use.fd);
    if (this.#number >= 0) {
      clearLoop(LOOP_FD);
      abandonFile(LOOP_FD);
    }
    if (this.#file >= 0) closeFile(this.#file);
    this.#number = -1;
    this.#file = -1;
  }
}

/** Why a device that a module makes cannot be opened; the module is loaded at need. */
function whyNot(path: string, module: string): string | undefined {
  const open = () => Deno.openSync(path, { read: true, write: true }).close();
  try {
    open();
    return undefined;
  } catch (error) {
    const problem = error instanceof Deno.errors.NotFound ? loadModule(module) : undefined;
    if (problem !== undefined) return problem;
  }
  try {
    open();
    return undefined;
  } catch (error) {
    return `"${path}" cannot be opened: ${(error as Error).message}`;
  }
}
