// `aoe flush`: forgets disks that are gone: those of the kernel's driver, and those whose device a
// daemon of `aoe attach` still has.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { multiple } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { askDaemon, attachedNames } from "../control/attach/control_socket.ts";
import { detachFromKernel, refuseUsed } from "../control/attach/kernel_driver.ts";
import { attachedDisks } from "../control/attach/status.ts";
import type { AttachedStatus } from "../control/attach/status.ts";
import { converse } from "../control/ask/inquiry.ts";
import { flushKernelDevices, kernelDevices, kernelDriverLoaded } from "../control/kernel_aoe.ts";
import type { Address } from "../wire/aoe.ts";
import { formatAddress, parseAddress } from "../wire/aoe.ts";
import { address, jsonFlag, shortUsage } from "./arguments.ts";
import { EXIT_FAILED } from "./exit_codes.ts";
import { Failure, printError, printJson, printLine, writeWithoutWaiting } from "./output.ts";
import { SUMMARIES } from "./summaries.ts";

/** `aoe flush` */
export const flushParser = command(
  "flush",
  object({
    addresses: multiple(
      argument(address(attachedNames), { description: message`These only; without one: all.` }),
    ),
    all: option("-a", "--all", {
      description: message`Also disks that answer, as long as nobody uses them.`,
    }),
    json: jsonFlag(),
  }),
  {
    brief: SUMMARIES.flush,
    description:
      message`Takes away block devices whose disk does not answer and which nobody uses: those of the kernel's driver, and those of aoe attach. Nothing that is mounted, or otherwise held, is touched. Exits with 1 when one of them has to stay.`,
    usageLine: shortUsage,
    footer: message`Examples:${lineBreak()}  aoe flush${lineBreak()}  aoe flush e1.1`,
  },
);

/** A disk that is asked several times and does not answer is gone. */
const TIMEOUT_MS = 2000;

interface FlushOptions {
  /** All when empty. */
  readonly addresses: readonly Address[];
  /** Also those that answer. */
  readonly all: boolean;
  readonly json: boolean;
}

/** Forgets them; 1 when one that is down has to stay. */
export async function runFlush({ addresses, all, json }: FlushOptions): Promise<number> {
  if (Deno.uid() !== 0) throw new Failure("Taking block devices away needs root: run as root");
  writeWithoutWaiting("failure");
  const names = new Set(addresses.map(({ shelf, slot }) => formatAddress(shelf, slot)));
  const forgotten = names.size === 0 ? flushKernel(all) : forgetOfKernel(addresses, all);
  let failed = false;
  for (const disk of await attachedDisks()) {
    const { address: name } = disk;
    if (names.size > 0 && !names.has(name)) continue;
    const gone = await isGone(disk);
    if (!gone && !all) continue;
    try {
      // What does not answer cannot be flushed; nothing waits for it in a device that nobody has open.
      await forgetAttached(name, gone);
      forgotten.push(name);
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

/** Whether nobody answers for it: a disk that only hangs still says what it is. */
async function isGone({ address: name, paths }: AttachedStatus): Promise<boolean> {
  const interfaces = [...new Set(paths.map((path) => path.interface))];
  try {
    const asking = { address: parseAddress(name)!, interfaces, timeoutMs: TIMEOUT_MS };
    return await converse(asking, () => Promise.resolve(false));
  } catch {
    return true;
  }
}

/** Has a daemon forget its disk, unless it is in use. */
async function forgetAttached(name: string, gone: boolean): Promise<void> {
  if (gone) refuseUsed(name);
  await askDaemon(name, { ask: "detach", force: gone });
}

/** Has the kernel's driver forget disks one by one; the names of those that were its own. */
function forgetOfKernel(addresses: readonly Address[], all: boolean): string[] {
  const devices = kernelDriverLoaded() ? kernelDevices() : [];
  return addresses.flatMap((address) => {
    const { shelf, slot } = address;
    const device = devices.find((device) => device.shelf === shelf && device.slot === slot);
    if (device === undefined || device.state.startsWith("up") && !all) return [];
    detachFromKernel(address, false);
    return [formatAddress(shelf, slot)];
  });
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
