// The back end with the least between: a block device of the kernel's ublk driver. It is made,
// started, resized and taken away here, on the main thread, while another one serves it
// (ublk_driver.ts).
//
// 1. `use` goes into the job of an initiator's thread, which tells when the disk is known.
// 2. `start` adds a device, hands it to that thread, waits until all its tags are fetched, and only
//    then starts it: the kernel reads the partition table before it calls that done.
// 3. Should this process die, the device stays and its users wait. Another process goes on with
//    its number, and gets again what was not answered.
// 4. `stop` stops the device, which ends all fetches; the thread lets go, the device is deleted,
//    and the thread ends.

import { claimDevice, releaseDevice } from "../../../ffi/device_node.ts";
import { SystemError } from "../../../ffi/errno.ts";
import { type Address, parseAddress } from "../../wire/aoe.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import {
  readUblkInfo,
  UBLK_ADD,
  UBLK_DELETE,
  UBLK_DELETE_LATER,
  UBLK_END_RECOVERY,
  UBLK_FEATURE_RECOVERY,
  UBLK_FEATURE_REISSUE,
  UBLK_FEATURE_UPDATE_SIZE,
  UBLK_FUA,
  UBLK_INFO_BYTES,
  UBLK_NO_DEVICE,
  UBLK_PARAMETERS_BYTES,
  UBLK_READ_ONLY,
  UBLK_ROTATIONAL,
  UBLK_SET_PARAMETERS,
  UBLK_START,
  UBLK_START_RECOVERY,
  UBLK_STATE_DEAD,
  UBLK_STOP,
  UBLK_VOLATILE_CACHE,
  type UblkParameters,
  writeUblkInfo,
  writeUblkParameters,
} from "../../wire/ublk.ts";
import type { BackEnd, BackEndState, StartedDevice } from "./back_end.ts";
import { loadModule } from "./kernel_module.ts";
import type { BlockConfig, BlockDisk } from "../../loops/block/disk.ts";
import { sleep, UblkControl } from "./ublk_control.ts";
import {
  UBLK_DEPTH,
  UBLK_REQUEST_BYTES_MAX,
  type UblkConfig,
} from "../../loops/attach/ublk_driver.ts";
import { openUblkShared, UblkHandOver } from "../../loops/attach/ublk_hand_over.ts";
import { EBUSY, EINVAL, ENOENT, EOPNOTSUPP, EPERM } from "../../../ffi/errno_numbers.ts";

/** One request; core/initiator/initiator.ts makes commands of it. */
const DISCARD_SECTORS_MAX = 2 ** 21;
/** Zeros that have to be written are written one piece after the other: several requests help. */
const ZERO_SECTORS_MAX = 2 ** 16;
/** The kernel wants no block larger than a page of memory. */
const BLOCK_BYTES_MAX = 4096;
const LOOK_EVERY_MS = 2;
/** The serving thread opens the device, or lets go of it, within this. */
const HAND_OVER_MS = 10_000;
/** Linux before 6.7 looks for dead servers every 5 s. */
const DEATH_NOTICED_MS = 15_000;

/** One device. */
export class UblkBackEnd implements BackEnd {
  readonly name = "ublk";
  // Its number is taken until it is deleted.
  readonly deviceFd = undefined;
  readonly use: UblkConfig;
  readonly #handOver: UblkHandOver;
  readonly #control = new UblkControl();
  /** A device that an earlier process has left. */
  readonly #left: number | undefined;
  /** The device that is ours, and is to be taken away in the end. */
  #number = UBLK_NO_DEVICE;

  private constructor(config: BlockConfig, left?: number) {
    const shared = openUblkShared();
    this.#handOver = new UblkHandOver(shared);
    this.#left = left;
    this.use = { ...config, kind: "ublk", shared };
  }

  /** Why it cannot be used here; undefined when it can. */
  static probe(): string | undefined {
    const code = featuresErrno();
    if (code === undefined) return undefined;
    if (code !== ENOENT) return explainErrno(code);
    const problem = loadModule("ublk_drv");
    if (problem !== undefined) return `${problem} (Linux 6.5 or newer can have one)`;
    const after = featuresErrno();
    return after === undefined ? undefined : explainErrno(after);
  }

  /** Will make a device. */
  static open(config: BlockConfig): UblkBackEnd {
    return new UblkBackEnd(config);
  }

  /** Will go on with what an earlier process has left. */
  static resume(config: BlockConfig, state: BackEndState): UblkBackEnd {
    return new UblkBackEnd(config, state.number);
  }

  /**
   * Makes the device, or goes on with it.
   *
   * @param label The disk's address.
   * @throws {SystemError} With the kernel's reason; a device that was made is gone then, one that
   * was there stays.
   */
  async start(
    disk: BlockDisk,
    label: string,
  ): Promise<StartedDevice> {
    if (this.#left === undefined) await this.#add(disk, label);
    else await this.#goOn(this.#left);
    return { kernelName: `ublkb${this.#number}` };
  }

  message(): void {
    // Both threads tell each other what they must by shared memory.
  }

  resize(bytes: number): string | undefined {
    try {
      if ((UblkControl.featuresNow() & UBLK_FEATURE_UPDATE_SIZE) === 0) {
        return "this kernel's ublk cannot change it (Linux 6.16 can); detach and attach it again";
      }
      UblkControl.resizeNow(this.#number, bytes / SECTOR_BYTES);
      return undefined;
    } catch (error) {
      if (error instanceof SystemError) return error.message;
      throw error;
    }
  }

  get state(): BackEndState {
    const number = this.#number === UBLK_NO_DEVICE ? this.#left : this.#number;
    return { fds: [], number: number ?? UBLK_NO_DEVICE };
  }

  /**
   * Takes the device away; what is under way with the disk is waited for, whoever still uses the
   * device gets errors. The serving thread ends by itself then.
   */
  async stop(): Promise<void> {
    if (this.#number === UBLK_NO_DEVICE) return;
    const number = this.#number;
    this.#number = UBLK_NO_DEVICE;
    try {
      await stopAndDelete(this.#control, number, async () => {
        if (!this.#handOver.isHeldByNobody) await this.#until(() => this.#handOver.isLetGo);
      });
    } finally {
      this.#handOver.delete();
    }
  }

  async #add(disk: BlockDisk, label: string): Promise<void> {
    const control = this.#control;
    writeUblkInfo(control.structure, 0, {
      device: UBLK_NO_DEVICE,
      depth: UBLK_DEPTH,
      requestBytesMax: UBLK_REQUEST_BYTES_MAX,
      flags: UBLK_FEATURE_RECOVERY | UBLK_FEATURE_REISSUE,
      owner: ownerOf(parseAddress(label)!),
    });
    await control.run(UBLK_ADD, "Add", UBLK_NO_DEVICE, { bytes: UBLK_INFO_BYTES });
    this.#number = readUblkInfo(control.structure, 0).device;
    try {
      writeUblkParameters(control.structure, 0, parametersOf(disk));
      const described = { bytes: UBLK_PARAMETERS_BYTES };
      await control.run(UBLK_SET_PARAMETERS, "Describe", this.#number, described);
      await this.#letServe(this.#number);
      await control.run(UBLK_START, "Start", this.#number, { argument: Deno.pid });
    } catch (error) {
      await this.stop().catch(() => {});
      throw error;
    }
  }

  async #goOn(number: number): Promise<void> {
    const control = this.#control;
    const info = await control.info(number);
    if (info.depth !== UBLK_DEPTH || info.requestBytesMax > UBLK_REQUEST_BYTES_MAX) {
      throw new SystemError(`Go on with /dev/ublkb${number} of another version`, EINVAL);
    }
    // The kernel may not have noticed yet that the other process is dead.
    const busy = { busyMs: DEATH_NOTICED_MS };
    await control.run(UBLK_START_RECOVERY, "Go on with", number, busy);
    await this.#letServe(number);
    await control.run(UBLK_END_RECOVERY, "Go on with", number, { argument: Deno.pid });
    this.#number = number;
  }

  /** Has the serving thread fetch, and waits until it does. */
  async #letServe(number: number): Promise<void> {
    this.#handOver.handOver(number);
    await this.#until(() => this.#handOver.isHeld);
  }

  async #until(reached: () => boolean): Promise<void> {
    const untilMs = performance.now() + HAND_OVER_MS;
    while (!reached()) {
      const { isLetGo, device, errno } = this.#handOver;
      if (isLetGo || performance.now() > untilMs) {
        throw new SystemError(`Serve /dev/ublkb${device}`, errno);
      }
      await sleep(LOOK_EVERY_MS);
    }
  }
}

/**
 * Takes the device of a remote disk away that was left by a daemon and its keeper, when both were
 * killed. What waits in it fails. Devices of other programs are never taken for it.
 *
 * @param force Also when it is mounted.
 * @returns Whether there was one.
 */
export function removeLeftDevice(address: Address, force: boolean): Promise<boolean> {
  const numbers = deviceNumbers();
  if (numbers.length === 0) return Promise.resolve(false);
  return UblkControl.use(async (control) => {
    for (const number of numbers) {
      // One that goes meanwhile is none.
      const info = await control.info(number).catch(() => undefined);
      if (info?.owner !== ownerOf(address)) continue;
      const claim = info.state === UBLK_STATE_DEAD ? undefined : claimDevice(`/dev/ublkb${number}`);
      if (claim !== undefined) releaseDevice(claim);
      else if (info.state !== UBLK_STATE_DEAD && !force) {
        throw new SystemError(`Remove /dev/ublkb${number}, which no daemon serves`, EBUSY);
      }
      await stopAndDelete(control, number);
      return true;
    }
    return false;
  });
}

function ownerOf({ shelf, slot }: Address): number {
  return shelf << 8 | slot;
}

function parametersOf(disk: BlockDisk): UblkParameters {
  return {
    attributes: (disk.readOnly ? UBLK_READ_ONLY : 0) |
      (disk.rotational ? UBLK_ROTATIONAL : 0) |
      // Always: a target may be served again with a cache. Where it has none, a flush costs little.
      UBLK_VOLATILE_CACHE | UBLK_FUA,
    sectors: disk.bytes / SECTOR_BYTES,
    physicalBlockBytes: Math.min(disk.physicalBlockBytes, BLOCK_BYTES_MAX),
    requestSectorsMax: UBLK_REQUEST_BYTES_MAX / SECTOR_BYTES,
    discardSectorsMax: disk.discard && !disk.readOnly ? DISCARD_SECTORS_MAX : 0,
    zeroSectorsMax: disk.readOnly ? 0 : ZERO_SECTORS_MAX,
  };
}

/** @param whenStopped Lets the serving thread let go. */
async function stopAndDelete(
  control: UblkControl,
  number: number,
  whenStopped?: () => Promise<void>,
): Promise<void> {
  await control.run(UBLK_STOP, "Stop", number);
  await whenStopped?.();
  try {
    await control.run(UBLK_DELETE_LATER, "Delete", number);
  } catch (error) {
    if (!(error instanceof SystemError && error.code === EOPNOTSUPP)) throw error;
    await control.run(UBLK_DELETE, "Delete", number);
  }
}

/** Numbers of the devices there are. */
function deviceNumbers(): number[] {
  try {
    return [...Deno.readDirSync("/sys/class/ublk-char")]
      .flatMap(({ name }) => /^ublkc(\d+)$/.exec(name)?.[1] ?? [])
      .map(Number);
  } catch {
    // No ublk, no devices.
    return [];
  }
}

/** The error with which the driver is asked what it can; undefined when it answers. */
function featuresErrno(): number | undefined {
  try {
    UblkControl.featuresNow();
    return undefined;
  } catch (error) {
    if (error instanceof SystemError) return error.code;
    throw error;
  }
}

function explainErrno(code: number): string {
  switch (code) {
    case EOPNOTSUPP:
    case EINVAL:
      return "this kernel's ublk is too old (Linux 6.5 or newer is needed)";
    case EPERM:
      return "io_uring or ublk is forbidden here (kernel.io_uring_disabled, or a container)";
    default:
      return new SystemError("Ask ublk what it can", code).message;
  }
}
