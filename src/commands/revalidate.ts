// `aoe revalidate SHELF.SLOT...`: has whoever has made a block device of a disk ask it again how large
// it is: a daemon of `aoe attach`, or the kernel's driver.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { multiple } from "@optique/core/modifiers";
import { argument, command } from "@optique/core/primitives";
import type { Address } from "../wire/aoe.ts";
import { formatAddress } from "../wire/aoe.ts";
import { SECTOR_BYTES } from "../wire/ata.ts";
import { readIdentity } from "../wire/identify.ts";
import { converse } from "../control/ask/inquiry.ts";
import { askDaemon } from "../control/attach/control_socket.ts";
import type { AttachedStatus } from "../control/attach/status.ts";
import { kernelDevices, revalidateKernelDevice } from "../control/kernel_aoe.ts";
import { address, jsonFlag, shortUsage } from "./arguments.ts";
import { EXIT_FAILED } from "./exit_codes.ts";
import { Failure, formatBytes, printError, printJson, printLine } from "./output.ts";
import { SUMMARIES } from "./summaries.ts";

const TIMEOUT_MS = 1000;
/** A daemon hears the answer as the one who asked does, and asks for the size itself. */
const HEARD_MS_MAX = 3000;
const HEARD_LOOK_MS = 50;

/** `aoe revalidate SHELF.SLOT...` */
export const revalidateParser = command(
  "revalidate",
  object({
    addresses: multiple(argument(address(), { description: message`Which disks.` }), { min: 1 }),
    json: jsonFlag(),
  }),
  {
    brief: SUMMARIES.revalidate,
    description:
      message`Asks a disk that is attached, by aoe attach or by the kernel's driver, for its size again, and shows it. Growth is seen by itself within seconds; this is for who does not wait. Exits with 1 when a disk is not attached, or does not answer.`,
    usageLine: shortUsage,
    footer: message`Example:${lineBreak()}  aoe revalidate e1.1`,
  },
);

/** Asks for all of them; 1 when one cannot be asked for. */
export async function runRevalidate(
  { addresses, json }: { readonly addresses: readonly Address[]; readonly json: boolean },
): Promise<number> {
  let failed = false;
  for (const disk of addresses) {
    const name = formatAddress(disk.shelf, disk.slot);
    try {
      const bytes = await revalidate(disk, name);
      if (json) printJson({ address: name, bytes });
      else printLine(`${name} has ${formatBytes(bytes)} (${bytes / SECTOR_BYTES} sectors)`);
    } catch (error) {
      printError(`aoe: ${(error as Error).message}`);
      failed = true;
    }
  }
  return failed ? EXIT_FAILED : 0;
}

async function revalidate(disk: Address, name: string): Promise<number> {
  const status = () => askDaemon(name, { ask: "status" }) as Promise<AttachedStatus | undefined>;
  const attached = await status();
  if (attached === undefined) return revalidateKernel(disk, name);
  const interfaces = attached.paths.map((path) => path.interface);
  const asked = await converse(
    { address: disk, interfaces, timeoutMs: TIMEOUT_MS },
    (target) => target.identify(),
  );
  if (!(asked.content instanceof Uint8Array)) throw new Failure(`${name} refuses IDENTIFY`);
  const bytes = readIdentity(asked.content, 0).sectors * SECTOR_BYTES;
  const untilMs = performance.now() + HEARD_MS_MAX;
  for (;;) {
    const now = await status();
    if (now === undefined) throw new Failure(`${name} is not attached any more`);
    if (now.bytes === bytes) return bytes;
    if (performance.now() > untilMs) {
      throw new Failure(
        `${name} has ${formatBytes(bytes)}, but its device keeps ${formatBytes(now.bytes)}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, HEARD_LOOK_MS));
  }
}

function revalidateKernel({ shelf, slot }: Address, name: string): number {
  const find = () =>
    kernelDevices().find((device) => device.shelf === shelf && device.slot === slot);
  if (find() === undefined) throw new Failure(`${name} is not attached`);
  revalidateKernelDevice(name);
  return (find()?.sectors ?? 0) * SECTOR_BYTES;
}
