// `aoe serve --check`: what is in a configuration, and what of it this host does not have. Nothing
// is opened, so that a running daemon is not disturbed.

import { formatAddress } from "../wire/aoe.ts";
import { isNbdUri } from "../wire/nbd_uri.ts";
import { interfacesMeant } from "../control/configuration.ts";
import type { DaemonPlan, ExportPlan } from "../core/daemon/plan.ts";
import { counted, printJson, printLine, warn } from "./output.ts";

/** Says what a configuration without a mistake would serve; returns the exit code. */
export function checkPlan(plan: DaemonPlan, file: string, json: boolean): number {
  const warnings = plan.exports.flatMap((ex) =>
    warningsAbout(ex).map((text) => ({ line: ex.line, text }))
  );
  for (const { line, text } of warnings) {
    if (json) printJson({ event: "warning", file, line, text });
    else warn(`${file}:${line}: ${text}`);
  }
  const { length } = plan.exports;
  if (json) printJson({ event: "checked", file, exports: length, warnings: warnings.length });
  else printLine(`${file} has no mistake: ${counted(length, "export")}`);
  return 0;
}

/** What would be waited for, or be made. */
function warningsAbout(ex: ExportPlan): string[] {
  const address = formatAddress(ex.address.shelf, ex.address.slot);
  const missing = ex.interfaces.filter((pattern) => interfacesMeant([pattern]).length === 0);
  const absent = missing.map((name) => `${address}: no Ethernet interface is called "${name}" now`);
  if (isNbdUri(ex.path)) return absent;
  const what = whatIsWrongWith(ex);
  return what === undefined ? absent : [`${address}: "${ex.path}" ${what}`, ...absent];
}

function whatIsWrongWith({ path, createBytes }: ExportPlan): string | undefined {
  try {
    const info = Deno.statSync(path);
    return info.isFile || info.isBlockDevice === true
      ? undefined
      : "is neither a file nor a block device";
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) return "cannot be looked at from here";
    return createBytes === undefined ? "is not there now" : undefined;
  }
}
