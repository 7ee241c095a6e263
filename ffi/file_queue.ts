// The queue for work on files: io_uring, or system calls one after the other where it may not be
// used (a container forbids it, the kernel is old, or the user does not want it).

import { IoUring } from "./io_uring.ts";
import type { SyncQueue } from "./sync_queue.ts";

/** Either of them; they have the same methods. */
export type FileQueue = IoUring | SyncQueue;

/**
 * Opens a ring, if that is possible.
 *
 * @param uring Whether it is wanted.
 * @param spare What is used otherwise; the ring has as many entries.
 * @returns With the reason for the spare one, undefined if there is none.
 */
export function openFileQueue(
  uring: boolean,
  spare: SyncQueue,
): { readonly queue: FileQueue; readonly withoutUring: string | undefined } {
  if (!uring) return { queue: spare, withoutUring: "--no-uring" };
  try {
    return { queue: new IoUring(spare.entries), withoutUring: undefined };
  } catch (error) {
    return { queue: spare, withoutUring: error instanceof Error ? error.message : String(error) };
  }
}
