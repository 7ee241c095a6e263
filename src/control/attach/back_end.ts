// What makes a block device of a remote disk: one of several kernel interfaces, of which the first
// that this machine has is taken. The thread that serves it is the initiator's; a back end makes
// its configuration, and does on the main thread what must not be done by the thread that serves.

import type { BlockDisk } from "../../loops/block/disk.ts";
import type { JobConfig, JobMessage } from "../threads.ts";

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

/** What a user may want of a back end. */
export interface BackEndOptions {
  /** FUSE over io_uring, where it is to be had. */
  readonly fuseUring: boolean;
}

/** One block device in the making, or made. */
export interface BackEnd {
  readonly name: BackEndName;
  /** What the initiator's thread is started with. */
  readonly use: JobConfig<BackEndName>["use"];
  /** The disk has shown itself: makes the device. Its thread serves already. */
  start(disk: BlockDisk, label: string): StartedDevice | Promise<StartedDevice>;
  /** The thread has told something that may concern the back end. */
  message(message: JobMessage<BackEndName>): void;
  /** The disk has another size; says why that cannot be shown. */
  resize(bytes: number): string | undefined;
  /** Of the device, once it is there, where its number is given to others when nobody has it open. */
  readonly deviceFd: number | undefined;
  /**
   * Whether FUSE's requests come by io_uring, once there is a device; or why not, in words that
   * stand behind "FUSE over io_uring". Undefined where nothing comes from FUSE.
   */
  readonly fuseUring?: true | string;
  /** For the keeper; or why a killed daemon cannot be replaced. */
  readonly state: BackEndState | string;
  /**
   * Takes the device away, now or when its last user closes it.
   *
   * @param force What is under way fails.
   */
  stop(force: boolean): void | Promise<void>;
}

/** The back ends that a daemon serves, the fastest first. */
export const BACK_END_NAMES = ["ublk", "nbd", "fuse"] as const;

/** One of them. */
export type BackEndName = (typeof BACK_END_NAMES)[number];
