// `aoe flush`: forgets disks that are gone: those of the kernel's driver, and those whose device a
// daemon of `aoe attach` still has.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { command, option } from "@optique/core/primitives";
import { askDaemon } from "../control/attach/control_socket.ts";
import { attachedDisks } from "../control/attach/status.ts";
import { flushKernelDevices, kernelDevices, kernelDriverLoaded } from "../control/kernel_aoe.ts";
import { formatAddress } from "../wire/aoe.ts";
import { jsonFlag, shortUsage } from "./arguments.ts";
import { EXIT_FAILED } from "./exit_codes.ts";
import { Failure, printError, printJson, printLine, writeWithoutWaiting } from "./output.ts";

/** `aoe flush` */
export const flushParser = command(
  "flush",
  object({
    all: option("-a", "--all", {
      description: message`Also disks that answer, as long as nobody uses them.`,
    }),
    json: jsonFlag(),
  }),
  {
    brief: message`Forget attached disks that are gone.`,
    description:
      message`Takes away block devices whose disk does not answer and which nobody uses: those of the kernel's driver, and those of aoe attach. Nothing that is mounted or open is touched, and nothing whose data could not be flushed: aoe detach --force does that. Exits with 1 when one of them has to stay.`,
    usageLine: shortUsage,
    footer: message`Example:${lineBreak()}  aoe flush`,
  },
);

/** Forgets them; 1 when one that is down has to stay. */
export async function runFlush(
  { all, json }: { readonly all: boolean; readonly json: boolean },
): Promise<number> {
  if (Deno.uid() !== 0) throw new Failure("Taking block devices away needs root: run as root");
  writeWithoutWaiting("failure");
  const forgotten = flushKernel(all);
  let failed = false;
  for (const { address, state } of await attachedDisks()) {
    if (state !== "down" && !all) continue;
    try {
      await askDaemon(address, { ask: "detach", force: false });
      forgotten.push(address);
    } catch (error) {
      printError(`aoe: ${(error as Error).message}`);
      failed = true;
    }
  }
  if (json) printJson({ forgotten });
  else if (forgotten.length === 0) printLine("There is nothing to forget");
  else for (const name of forgotten) printLine(`${name} is forgotten`);
  return failed ? EXIT_FAILED : 0;
}

/** Names of the disks that the kernel's driver does not know any more. */
function flushKernel(all: boolean): string[] {
  if (!kernelDriverLoaded()) return [];
  const names = () => kernelDevices().map(({ shelf, slot }) => formatAddress(shelf, slot));
  const before = names();
  if (before.length === 0) return [];
  flushKernelDevices(all);
  const after = new Set(names());
  return before.filter((name) => !after.has(name));
}
