// `aoe detach SHELF.SLOT...`: takes attached disks away, flushed and unless they are in use.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, multiple } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import type { Address } from "../wire/aoe.ts";
import { formatAddress, parseAddress } from "../wire/aoe.ts";
import {
  askDaemon,
  attachedNames,
  awaitDiskName,
  removeControlSocket,
} from "../control/attach/control_socket.ts";
import { detachFromKernel, kernelDevice } from "../control/attach/kernel_driver.ts";
import { removeLeftNodes } from "../control/attach/leftovers.ts";
import { removeNodes } from "../control/attach/device_nodes.ts";
import { removeLeftNbdDevice } from "../control/attach/nbd_back_end.ts";
import { removeLeftDevice } from "../control/attach/ublk_back_end.ts";
import { address, jsonFlag, shortUsage } from "./arguments.ts";
import { EXIT_USAGE } from "./exit_codes.ts";
import { Failure, printError, printJson, printLine, writeWithoutWaiting } from "./output.ts";
import { SUMMARIES } from "./summaries.ts";

const LAST_USER = "the last program that has it open closes it";

/** What `aoe detach` was asked to do. */
export interface DetachOptions {
  readonly addresses: readonly Address[];
  /** Every disk that a daemon has attached. */
  readonly all: boolean;
  readonly force: boolean;
  readonly json: boolean;
}

/** `aoe detach SHELF.SLOT...` */
export const detachParser = command(
  "detach",
  map(
    object({
      addresses: multiple(
        argument(address(attachedNames), { description: message`Which disks.` }),
      ),
      all: option("--all", {
        description: message`Every disk that aoe attach has made a block device of.`,
      }),
      force: option("-f", "--force", {
        description:
          message`Also when it is mounted or cannot be flushed: what is under way fails.`,
      }),
      json: jsonFlag(),
    }),
    (options): DetachOptions => options,
  ),
  {
    brief: SUMMARIES.detach,
    description:
      message`Flushes a disk that aoe attach has made a block device of, and takes the device away. One that is mounted is left alone. Exits with 1 when a disk is not attached, is in use, or cannot be flushed.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe detach e1.1${lineBreak()}  aoe detach --force e1.1 e1.2${lineBreak()}  aoe detach --all`,
  },
);

/** Detaches all; 1 when one of them stays. */
export async function runDetach(options: DetachOptions): Promise<number> {
  if (options.addresses.length > 0 && options.all) {
    throw new Failure("Name disks, or --all, not both", EXIT_USAGE);
  }
  if (options.addresses.length === 0 && !options.all) {
    throw new Failure("Say which disk to detach, as in: aoe detach e1.1", EXIT_USAGE);
  }
  if (Deno.uid() !== 0) throw new Failure("Taking block devices away needs root: run as root");
  writeWithoutWaiting("failure");
  const disks = options.all
    ? attachedNames().map((name) => parseAddress(name)!)
    : options.addresses;
  if (disks.length === 0 && !options.json) printLine("No disk is attached");
  let failed = 0;
  const cleared = new Set(removeLeftNodes());
  for (const disk of disks) {
    const name = formatAddress(disk.shelf, disk.slot);
    try {
      const detached = await detach(disk, name, options.force, cleared);
      if (options.json) printJson({ address: name, detached });
      else if (detached) printLine(`${name} is detached`);
      else printLine(`${name} is flushed, and goes when ${LAST_USER}`);
    } catch (error) {
      printError(`aoe: ${(error as Error).message}`);
      failed++;
    }
  }
  return failed === 0 ? 0 : 1;
}

/** @returns False when it will go later. */
async function detach(
  disk: Address,
  name: string,
  force: boolean,
  cleared: ReadonlySet<string>,
): Promise<boolean> {
  const answer = await askDaemon(name, { ask: "detach", force });
  if (answer !== undefined) return answer as boolean;
  if (kernelDevice(disk) !== undefined) {
    await detachFromKernel(disk, force);
    return true;
  }
  const left = await removeLeft(disk, name, force);
  if (!left && !cleared.has(name)) throw new Failure(`${name} is not attached`);
  return true;
}

/** What a killed daemon has left is no device any more; whether there was something. */
async function removeLeft(disk: Address, name: string, force: boolean): Promise<boolean> {
  const lock = await awaitDiskName(name, undefined);
  if (lock === undefined) return false;
  const device = await removeLeftDevice(disk, force) || removeLeftNbdDevice(name, force);
  const nodes = removeNodes(name);
  removeControlSocket(name);
  return device || nodes;
}
