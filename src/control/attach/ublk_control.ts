// Commands to ublk's control device, from the main thread. The kernel works on one in a thread of
// its own; waiting for it is looking again after a moment, since the main thread must not block.

import { SystemError } from "../../../ffi/errno.ts";
import { UblkControlFile } from "../../../ffi/ublk.ts";
import {
  readUblkFeatures,
  readUblkInfo,
  UBLK_FEATURES_BYTES,
  UBLK_GET_FEATURES,
  UBLK_GET_INFO,
  UBLK_INFO_BYTES,
  UBLK_NO_DEVICE,
  UBLK_UPDATE_SIZE,
  type UblkInfo,
  writeUblkControl,
} from "../../wire/ublk.ts";
import { EBUSY, ETIMEDOUT } from "../../../ffi/errno_numbers.ts";

/** What is done at once does not take longer. */
const NOW_MS_MAX = 500;
/** From looking at once to looking every so often. */
const LOOK_EVERY_MS = 5;

/** What belongs to a command. */
export interface UblkOptions {
  /** Bytes of the structure that it takes or gives. */
  readonly bytes?: number;
  /** The one plain argument. */
  readonly argument?: number;
  /** Ask again as long when the kernel says that something else is under way. */
  readonly busyMs?: number;
}

/** The control device, one command at a time. */
export class UblkControl {
  readonly #file = new UblkControlFile();

  /** Opens it for a while. */
  static async use<Result>(body: (control: UblkControl) => Promise<Result>): Promise<Result> {
    const control = new UblkControl();
    try {
      return await body(control);
    } finally {
      control.close();
    }
  }

  /** Features of the kernel, at once: it knows them by heart. */
  static featuresNow(): number {
    const control = new UblkControl();
    try {
      const options = { bytes: UBLK_FEATURES_BYTES };
      control.#now(UBLK_GET_FEATURES, "Ask what the kernel can of", UBLK_NO_DEVICE, options);
      return readUblkFeatures(control.structure, 0);
    } finally {
      control.close();
    }
  }

  /** Sets the size of a device at once: that is done in the kernel's memory alone. */
  static resizeNow(device: number, sectors: number): void {
    const control = new UblkControl();
    try {
      control.#now(UBLK_UPDATE_SIZE, "Resize", device, { argument: sectors });
    } finally {
      control.close();
    }
  }

  /** The structure that a command points at: what it takes, or what it has given. */
  get structure(): Uint32Array {
    return this.#file.structure;
  }

  /**
   * Has the kernel do something.
   *
   * @param what A verb for the message of an error, as in `Stop /dev/ublkb7`.
   */
  async run(
    operation: number,
    what: string,
    device: number,
    options: UblkOptions = {},
  ): Promise<void> {
    const untilMs = performance.now() + (options.busyMs ?? 0);
    for (;;) {
      this.#begin(operation, device, options);
      let result = this.#file.result();
      for (let waitMs = 0; result === undefined; waitMs = Math.min(waitMs + 1, LOOK_EVERY_MS)) {
        await sleep(waitMs);
        result = this.#file.result();
      }
      if (result !== -EBUSY || performance.now() >= untilMs) return refuse(result, what, device);
      await sleep(LOOK_EVERY_MS);
    }
  }

  /** What a device is. */
  async info(device: number): Promise<UblkInfo> {
    await this.run(UBLK_GET_INFO, "Look at", device, { bytes: UBLK_INFO_BYTES });
    return readUblkInfo(this.structure, 0);
  }

  close(): void {
    this.#file.close();
  }

  #now(operation: number, what: string, device: number, options: UblkOptions): void {
    this.#begin(operation, device, options);
    const untilMs = performance.now() + NOW_MS_MAX;
    let result = this.#file.result();
    while (result === undefined && performance.now() < untilMs) result = this.#file.result();
    refuse(result ?? -ETIMEDOUT, what, device);
  }

  #begin(operation: number, device: number, options: UblkOptions): void {
    const { bytes = 0, argument = 0 } = options;
    const address = bytes === 0 ? 0 : this.#file.structureAddress;
    writeUblkControl(this.#file.command, 0, { device, address, bytes, argument });
    this.#file.begin(operation);
  }
}

/** Lets other work of the main thread go on. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Throws what the kernel has said when it was an error. */
function refuse(result: number, what: string, device: number): void {
  if (result >= 0) return;
  const name = device === UBLK_NO_DEVICE ? "a ublk device" : `/dev/ublkb${device}`;
  throw new SystemError(`${what} ${name}`, -result);
}
