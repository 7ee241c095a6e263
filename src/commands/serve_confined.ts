// `aoe serve --user NAME`: what the plan names is what the process may open from then on.

import { isNbdUri } from "../wire/nbd_uri.ts";
import { ETHERS_FILE } from "../control/configuration.ts";
import { confine, ConfinementRefusal } from "../control/confinement.ts";
import { foldersOfDaemon } from "../control/daemon/daemon_options.ts";
import type { DaemonPlan } from "../core/daemon/plan.ts";
import { ExportRefusal, refuseUses } from "../control/target/open_file.ts";
import { Failure, warn } from "./output.ts";

/**
 * Becomes the user of the plan, if it names one. To be called before anything is opened: what is
 * executed again begins anew.
 *
 * @param file The configuration that the plan comes from.
 */
export function confineBy(plan: DaemonPlan, file: string | undefined): void {
  const { user, exports, capture, metrics } = plan;
  if (user === undefined) return;
  const files = exports.filter(({ path }) => !isNbdUri(path));
  const socket = /^unix:(.*)$/s.exec(metrics ?? "")?.[1];
  try {
    confine(
      {
        user,
        images: files.map(({ path }) => path),
        readable: file === undefined ? [] : [file, ETHERS_FILE],
        writable: [capture, socket].filter((path) => path !== undefined),
        owned: foldersOfDaemon(plan),
      },
      warn,
      () => {
        for (const { path, readOnly, force } of files) if (!force) refuseUses(path, readOnly);
      },
    );
  } catch (error) {
    if (!(error instanceof ConfinementRefusal || error instanceof ExportRefusal)) throw error;
    throw new Failure(error.message);
  }
}
