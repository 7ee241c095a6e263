// What a daemon is told at its start, what it tells, and which folders it has for itself.

import type { DaemonPlan } from "../../core/daemon/plan.ts";
import type { TargetMessage } from "../../loops/target/messages.ts";
import type { ExportFile } from "../target/open_file.ts";
import type { TargetGroupOptions } from "../target/threads.ts";
import { DAEMON_NAME_DEFAULT, daemonSocketFolder } from "./requests.ts";
import type { ExportOrigin, Reloaded } from "./requests.ts";
import { stateFolderPath } from "./state_folder.ts";

/** What happens to the exports of a daemon, beside what its threads tell. */
export type DaemonEvent =
  | { readonly kind: "warning"; readonly text: string }
  | { readonly kind: "waiting"; readonly address: string; readonly reason: string }
  | { readonly kind: "added"; readonly address: string; readonly file: ExportFile }
  /** It is on its way out, and its disk does not let go of it. */
  | { readonly kind: "leaving"; readonly address: string; readonly path: string }
  | { readonly kind: "removed"; readonly address: string; readonly flushed: boolean }
  | { readonly kind: "changed"; readonly address: string; readonly what: readonly string[] }
  | { readonly kind: "reloaded"; readonly outcome: Reloaded }
  | { readonly kind: "not reloaded"; readonly text: string };

/** How a daemon is run. */
export interface DaemonOptions {
  readonly plan: DaemonPlan;
  readonly from: ExportOrigin;
  /** What the threads of a group share. */
  readonly group: Omit<TargetGroupOptions, "exports" | "interfaces" | "onMessage" | "keep">;
  /**
   * Reads the plan again; undefined where it does not come from a file.
   *
   * @throws {Error} One sentence.
   */
  readonly readPlan: (() => DaemonPlan) | undefined;
  readonly tell: (event: DaemonEvent) => void;
  readonly onMessage: (message: TargetMessage) => void;
  /** The lines of a summary, for people. */
  readonly summary: () => readonly string[];
  /** What happens now, and the past of what is named; see `Watcher.ask`. */
  readonly overview: (pasts: unknown) => Promise<unknown>;
}

/** Folders that a daemon of this plan has for itself: of its socket, and of its state. */
export function foldersOfDaemon(
  { name, stateDir }: Pick<DaemonPlan, "name" | "stateDir">,
): string[] {
  const called = name ?? DAEMON_NAME_DEFAULT;
  const socket = daemonSocketFolder(called);
  if (stateDir === false) return [socket];
  return [socket, `${stateDir === true ? stateFolderPath() : stateDir}/${called}`];
}

/** What is missing at a start that waits for nothing; a sentence each. */
export class StartRefusal extends Error {
  override name = "StartRefusal";

  constructor(readonly refusals: readonly string[]) {
    super(refusals.at(-1));
  }
}
