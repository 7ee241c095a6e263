// What the daemon of an attached disk says of it, and asking all of them.

import type { BackEndName } from "./back_end.ts";
import { askDaemon, attachedNames } from "./control_socket.ts";
import type { BlockPath } from "../../loops/block/disk.ts";
import type { SkippedBackEnd } from "./back_ends.ts";

/** What `aoe stat` shows of it. */
export interface AttachedStatus {
  readonly address: string;
  readonly node: string;
  readonly device: string;
  readonly backEnd: BackEndName;
  readonly skipped: readonly SkippedBackEnd[];
  readonly pid: number;
  readonly bytes: number;
  readonly readOnly: boolean;
  /** With which options it was attached. */
  readonly asked: {
    readonly readOnly: boolean;
    readonly reserve: boolean;
    readonly fuseUring: boolean;
  };
  readonly state: "up" | "down";
  readonly paths: readonly BlockPath[];
  /** See `BackEnd`; not there where it is another back end. */
  readonly fuseUring?: true | string;
  /** Whether another process goes on when this one is killed; or why not. */
  readonly keeper: true | string;
  readonly reserved: boolean;
  /** Since the start of this daemon. */
  readonly reads: number;
  readonly writes: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly retransmitted: number;
  readonly rttMs: number;
  /** Monotonic milliseconds at which the numbers were read, for rates. */
  readonly atMs: number;
  /** Percent of all frames that are lost on purpose; not there when none are. */
  readonly drop?: number;
}

/** Every disk that a daemon of this machine has attached, in the order of their names. */
export async function attachedDisks(): Promise<AttachedStatus[]> {
  const answers = await Promise.all(
    attachedNames().map(async (name) => {
      try {
        return await askDaemon(name, { ask: "status" }) as AttachedStatus | undefined;
      } catch {
        // It is being attached, or going.
        return undefined;
      }
    }),
  );
  return answers.filter((answer) => answer !== undefined);
}
