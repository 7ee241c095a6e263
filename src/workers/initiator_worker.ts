// The initiator's thread: makes the loop and the driver that was asked for, and runs them.

import { BenchDriver } from "./bench_driver.ts";
import type { BenchConfig, BenchMessage } from "./bench_driver.ts";
import { CopyDriver } from "./copy_driver.ts";
import type { CopyConfig, CopyMessage } from "./copy_config.ts";
import { InitiatorLoop } from "./initiator_loop.ts";
import type { InitiatorLoopConfig } from "./initiator_loop.ts";

/** What the thread is started with. */
export interface InitiatorJobConfig extends InitiatorLoopConfig {
  readonly use: CopyConfig | BenchConfig;
}

/** What it tells. */
export type InitiatorMessage = CopyMessage | BenchMessage;

/** The job: returns when the driver has nothing more to do. */
export function runInitiator(
  config: InitiatorJobConfig,
  post: (message: InitiatorMessage) => void,
): void {
  const { use } = config;
  if (use.kind === "copy") {
    const loop = new InitiatorLoop(config, CopyDriver.bytes);
    loop.run(new CopyDriver(loop, use, post));
  } else {
    const loop = new InitiatorLoop(config, BenchDriver.bytes(use));
    loop.run(new BenchDriver(loop, use, post));
  }
}
