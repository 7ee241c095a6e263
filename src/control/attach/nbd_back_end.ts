// The back end of the kernel's nbd driver: /dev/nbdN, whose requests come through one end of a pair
// of sockets to the initiator's thread, which serves them as it serves other NBD clients.

import { claimDevice, releaseDevice } from "../../../ffi/device_node.ts";
import { SystemError } from "../../../ffi/errno.ts";
import {
  connectNbdDevice,
  disconnectNbd,
  hasNbdDriver,
  reconfigureNbd,
} from "../../../ffi/nbd_netlink.ts";
import { closeStream, streamPair } from "../../../ffi/stream_socket.ts";
import { nbdExport } from "../../core/nbd_server/export.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import type { BackEnd, BackEndState, StartedDevice } from "./back_end.ts";
import { loadModule } from "./kernel_module.ts";
import type { BlockConfig, BlockDisk } from "../../loops/block/disk.ts";
import type { NbdConfig } from "../../loops/nbd_server/driver.ts";

const EBUSY = 16;
/** How long what is under way waits for a new daemon when this one is killed. */
const DEAD_AFTER_SECONDS = 60;
/**
 * What the killed daemon had been given is sent to the new one after this; and what the target
 * leaves unanswered for so long is told of in the kernel's log.
 */
const KERNEL_RETRY_MS = 10_000;

/** An nbd device and the thread's end of its connection. */
export class NbdBackEnd implements BackEnd {
  readonly name = "nbd";
  // Its number is taken until it is disconnected.
  readonly deviceFd = undefined;
  readonly use: NbdConfig;
  /** The kernel's end, until it has it. */
  #socket: number;
  #number: number;
  #identifier = "";
  readonly #resumes: boolean;

  private constructor(config: BlockConfig, state: BackEndState | undefined) {
    const [stream, socket] = streamPair();
    this.use = { ...config, kind: "nbd", socket: { stream } };
    this.#socket = socket;
    this.#number = state?.number ?? -1;
    this.#resumes = state !== undefined;
  }

  /** Why it cannot be used here; undefined when it can. */
  static probe(): string | undefined {
    if (hasNbdDriver()) return undefined;
    const problem = loadModule("nbd");
    if (problem !== undefined) return problem;
    return hasNbdDriver()
      ? undefined
      : "the nbd driver answers in the initial network namespace only";
  }

  /** Makes a new connection. */
  static open(config: BlockConfig): NbdBackEnd {
    return new NbdBackEnd(config, undefined);
  }

  /** Goes on with a device that an earlier process has left. */
  static resume(config: BlockConfig, state: BackEndState): NbdBackEnd {
    return new NbdBackEnd(config, state);
  }

  async start(disk: BlockDisk, label: string): Promise<StartedDevice> {
    this.#identifier = `aoe ${label}`;
    const socket = this.#socket;
    const identifier = this.#identifier;
    if (this.#resumes) {
      await new Promise((resolve) => setTimeout(resolve, this.use.resumeAfterMs));
      reconfigureNbd(this.#number, { socket, identifier, bytes: disk.bytes });
    } else {
      this.#number = connectNbdDevice({
        socket,
        identifier,
        bytes: disk.bytes,
        blockBytes: SECTOR_BYTES,
        flags: nbdExport(disk).flags,
        deadAfterSeconds: DEAD_AFTER_SECONDS,
      });
    }
    // The kernel has its own hold on the socket, and must see its end when this process ends.
    closeStream(socket);
    this.#socket = -1;
    const kernelName = `nbd${this.#number}`;
    try {
      Deno.writeTextFileSync(`/sys/block/${kernelName}/queue/io_timeout`, `${KERNEL_RETRY_MS}`);
    } catch {
      // It is 30 s then.
    }
    return { kernelName };
  }

  message(): void {}

  resize(bytes: number): string | undefined {
    try {
      reconfigureNbd(this.#number, { identifier: this.#identifier, bytes });
      return undefined;
    } catch (error) {
      if (error instanceof SystemError) return error.message;
      throw error;
    }
  }

  get state(): BackEndState {
    return { fds: [], number: this.#number };
  }

  stop(): void {
    if (this.#socket >= 0) closeStream(this.#socket);
    else if (this.#number >= 0) disconnectNbd(this.#number);
    this.#socket = -1;
    this.#number = -1;
  }
}

/**
 * Takes the device of a remote disk away that was left by a daemon and its keeper, when both were
 * killed. What waits in it fails.
 *
 * @param name `e1.1`.
 * @param force Also when it is mounted.
 * @returns Whether there was one.
 */
export function removeLeftNbdDevice(name: string, force: boolean): boolean {
  for (const { name: kernelName } of Deno.readDirSync("/sys/block")) {
    const number = /^nbd(\d+)$/.exec(kernelName)?.[1];
    if (number === undefined || identifierOf(kernelName) !== `aoe ${name}`) continue;
    const claim = claimDevice(`/dev/${kernelName}`);
    if (claim !== undefined) releaseDevice(claim);
    else if (!force) {
      throw new SystemError(`Remove /dev/${kernelName}, which no daemon serves`, EBUSY);
    }
    disconnectNbd(Number(number));
    return true;
  }
  return false;
}

/** What the device was connected with; older kernels do not tell. */
function identifierOf(kernelName: string): string | undefined {
  try {
    return Deno.readTextFileSync(`/sys/block/${kernelName}/backend`).trim();
  } catch {
    return undefined;
  }
}
