// `aoe version`: ours, and the kernel driver's.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { command } from "@optique/core/primitives";
import configuration from "../../deno.json" with { type: "json" };
import { kernelDriverLoaded, kernelDriverVersion } from "../control/kernel_aoe.ts";
import { jsonFlag, shortUsage } from "./arguments.ts";
import { printJson, printLine } from "./output.ts";
import { SUMMARIES } from "./summaries.ts";

/** `aoe version` */
export const versionParser = command("version", object({ json: jsonFlag() }), {
  brief: SUMMARIES.version,
  usageLine: shortUsage,
  footer: message`Example:${lineBreak()}  aoe version`,
});

/** Shows them. */
export function runVersion({ json }: { readonly json: boolean }): Promise<number> {
  const loaded = kernelDriverLoaded();
  const kernel = loaded ? kernelDriverVersion() ?? "unknown" : undefined;
  const { version } = configuration;
  if (json) {
    printJson({ version, runtime: Deno.version.deno, kernelDriver: kernel ?? null });
  } else {
    printLine(`aoe ${version} (Deno ${Deno.version.deno})`);
    printLine(`The kernel's aoe driver ${loaded ? `has version ${kernel}` : "is not loaded"}`);
  }
  return Promise.resolve(0);
}
