// What an initiator's thread does: it makes the loop and a driver, and runs them.

import type { Arena } from "../../../ffi/arena.ts";
import { type InitiatorDriver, InitiatorLoop, type InitiatorLoopConfig } from "./loop.ts";

/** What the thread is started with. */
export interface InitiatorJobConfig<Use> extends InitiatorLoopConfig {
  /** What the disks are used for. */
  readonly use: Use;
}

/**
 * The job of a driver: returns when the driver has nothing more to do.
 *
 * @param memoryOf Builds what the driver needs in the loop's arena.
 */
export function initiatorJob<Use, Memory, Message>(
  memoryOf: (arena: Arena, use: Use) => Memory,
  Driver: new (
    loop: InitiatorLoop<Memory>,
    use: Use,
    post: (message: Message) => void,
  ) => InitiatorDriver,
) {
  return (
    config: InitiatorJobConfig<Use>,
    post: (message: Message | { readonly kind: "note"; readonly text: string }) => void,
  ): void => {
    const { use } = config;
    const tell = (text: string) => post({ kind: "note", text });
    const loop = new InitiatorLoop(config, (arena) => memoryOf(arena, use), tell);
    loop.run(new Driver(loop, use, post));
  };
}
