// What makes a block device of a remote disk: one of several kernel interfaces, of which the first
// that this machine has is taken. The thread that serves it is the initiator's; a back end makes
// its configuration, and does on the main thread what must not be done by the thread that serves.

import { keepFromChildren } from "../../../ffi/files.ts";
import type { BlockConfig, BlockDisk } from "../../loops/block/disk.ts";
import { LoopBackEnd } from "./fuse_back_end.ts";
import { NbdBackEnd } from "./nbd_back_end.ts";
import { UblkBackEnd } from "./ublk_back_end.ts";
import type { InitiatorJobConfig, InitiatorMessage } from "../../loops/drivers.ts";

/** What a new process needs to go on after this one was killed. */
export interface BackEndState {
  /** Descriptors that a keeper has to hold; their numbers are its own when it hands them on. */
  readonly fds: readonly number[];
  /** Of the device, as in /dev/loop7. */
  readonly number: number;
}

/** A device that can be opened. */
export interface StartedDevice {
  /** As in /sys/block: `loop7`. */
  readonly kernelName: string;
}

/** One block device in the making, or made. */
export interface BackEnd {
  readonly name: BackEndName;
  /** What the initiator's thread is started with. */
  readonly use: InitiatorJobConfig["use"];
  /** The disk has shown itself: makes the device. Its thread serves already. */
  start(disk: BlockDisk, label: string): StartedDevice | Promise<StartedDevice>;
  /** The thread has told something that may concern the back end. */
  message(message: InitiatorMessage): void;
  /** The disk has another size; says why that cannot be shown. */
  resize(bytes: number): string | undefined;
  /** For the keeper; or why a killed daemon cannot be replaced. */
  readonly state: BackEndState | string;
  /**
   * Takes the device away, now or when its last user closes it.
   *
   * @param force What is under way fails.
   */
  stop(force: boolean): void | Promise<void>;
}

/** Back ends that a daemon serves, the fastest first. */
const BACK_ENDS = {
  ublk: UblkBackEnd,
  nbd: NbdBackEnd,
  fuse: LoopBackEnd,
} as const;

/** Their names. */
export type BackEndName = keyof typeof BACK_ENDS;

/** The same as a list. */
export const BACK_END_NAMES = Object.keys(BACK_ENDS) as readonly BackEndName[];

/** A back end that could not be used, and why. */
export interface SkippedBackEnd {
  readonly name: BackEndName;
  readonly reason: string;
}

/**
 * The first back end that this machine has.
 *
 * @param wanted The only one that is tried; undefined for any.
 */
export function chooseBackEnd(
  wanted: BackEndName | undefined,
): { readonly chosen: BackEndName | undefined; readonly skipped: readonly SkippedBackEnd[] } {
  const skipped: SkippedBackEnd[] = [];
  for (const name of BACK_END_NAMES) {
    if (wanted !== undefined && wanted !== name) continue;
    const reason = BACK_ENDS[name].probe();
    if (reason === undefined) return { chosen: name, skipped };
    skipped.push({ name, reason });
  }
  return { chosen: undefined, skipped };
}

/** Makes a back end, or goes on with what an earlier process has left of it. */
export function openBackEnd(
  name: BackEndName,
  config: BlockConfig,
  state: BackEndState | undefined,
): BackEnd {
  const backEnd = BACK_ENDS[name];
  if (state === undefined) return backEnd.open(config);
  // A later keeper would hold them twice, and pass them on twice: nobody could let go of them.
  state.fds.forEach(keepFromChildren);
  return backEnd.resume(config, state);
}
