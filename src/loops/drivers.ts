// The initiator's thread: makes the loop and the driver that was asked for, and runs them.

import { BenchDriver, benchMemory } from "./bench/driver.ts";
import type { BenchConfig, BenchMessage } from "./bench/driver.ts";
import { CopyDriver, copyMemory } from "./copy/driver.ts";
import type { CopyConfig, CopyMessage } from "./copy/config.ts";
import { FuseDriver, fuseMemory } from "./attach/fuse_driver.ts";
import type { FuseConfig, FuseMessage } from "./attach/fuse_driver.ts";
import { InitiatorLoop } from "./initiator/loop.ts";
import type { InitiatorLoopConfig } from "./initiator/loop.ts";
import { NbdDriver, nbdMemory } from "./nbd_server/driver.ts";
import type { NbdConfig } from "./nbd_server/driver.ts";
import { UblkDriver, ublkMemory } from "./attach/ublk_driver.ts";
import type { UblkConfig } from "./attach/ublk_driver.ts";

/** What the thread is started with. */
export interface InitiatorJobConfig extends InitiatorLoopConfig {
  readonly use: CopyConfig | BenchConfig | FuseConfig | NbdConfig | UblkConfig;
}

/** What it tells. */
export type InitiatorMessage = CopyMessage | BenchMessage | FuseMessage;

/** The job: returns when the driver has nothing more to do. */
export function runInitiator(
  config: InitiatorJobConfig,
  post: (message: InitiatorMessage) => void,
): void {
  const { use } = config;
  const tell = (text: string) => post({ kind: "note", text });
  switch (use.kind) {
    case "copy": {
      const loop = new InitiatorLoop(config, copyMemory, tell);
      return loop.run(new CopyDriver(loop, use, post));
    }
    case "bench": {
      const loop = new InitiatorLoop(config, (arena) => benchMemory(arena, use), tell);
      return loop.run(new BenchDriver(loop, use, post));
    }
    case "nbd": {
      const loop = new InitiatorLoop(config, (arena) => nbdMemory(arena, use), tell);
      return loop.run(new NbdDriver(loop, use, post));
    }
    case "fuse": {
      const loop = new InitiatorLoop(config, (arena) => fuseMemory(arena, use), tell);
      return loop.run(new FuseDriver(loop, use, post));
    }
    case "ublk": {
      const loop = new InitiatorLoop(config, ublkMemory, tell);
      return loop.run(new UblkDriver(loop, use, post));
    }
  }
}
