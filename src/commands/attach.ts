// `aoe attach SHELF.SLOT`: a block device of a disk on the network. The command checks, and starts
// itself again as the daemon that serves the device (attach_daemon.ts); it returns when that says
// that the device can be used.

import { parse } from "@optique/core/parser";
import { formatMessage } from "@optique/core/message";
import type { Address } from "../wire/aoe.ts";
import { formatAddress } from "../wire/aoe.ts";
import { SECTOR_BYTES } from "../wire/ata.ts";
import { askDaemon } from "../control/attach/control_socket.ts";
import { removeLeftNodes } from "../control/attach/leftovers.ts";
import { nodePath } from "../control/attach/device_nodes.ts";
import {
  attachByKernel,
  kernelDevice,
  prepareKernelDriver,
} from "../control/attach/kernel_driver.ts";
import { admitDisk } from "../control/admission.ts";
import type { AttachedStatus } from "../control/attach/status.ts";
import { findInterfaces } from "../control/network_interfaces.ts";
import { scan } from "../control/ask/scan.ts";
import { attachParser, foregroundArguments, wireArguments } from "./attach_arguments.ts";
import type { AttachCommandOptions } from "./attach_arguments.ts";
import { serveDisk, startDaemon } from "./attach_daemon.ts";
import { EXIT_USAGE } from "./exit_codes.ts";
import {
  Failure,
  formatBytes,
  oneSentence,
  printError,
  printJson,
  printLine,
  warn,
  writeWithoutWaiting,
} from "./output.ts";

/** One disk, and how it is attached. */
interface Wish {
  readonly address: Address;
  readonly options: AttachCommandOptions;
}

/** Attaches what was asked for; 1 when something of it could not be. */
export async function runAttach(options: AttachCommandOptions): Promise<number> {
  if (options.fuseUring && options.backEnd !== "auto" && options.backEnd !== "fuse") {
    throw new Failure(
      `--fuse-uring is for --backend fuse, and not for ${options.backEnd}: leave one of them out`,
      EXIT_USAGE,
    );
  }
  const ways = [options.addresses.length > 0, options.all, options.config !== undefined];
  if (ways.filter((way) => way).length !== 1) {
    throw new Failure("Name a disk, as in e1.1, or --all, or --config FILE, and one of these", 2);
  }
  if (Deno.uid() !== 0) throw new Failure("Making block devices needs root: run as root");
  removeLeftNodes();
  const [address, ...others] = options.addresses;
  if (address !== undefined && others.length === 0) {
    if (options.foreground && options.backEnd !== "kernel") {
      return await serveDisk(address, options);
    }
    return (await attach({ address, options })) ? 0 : 1;
  }
  if (options.foreground) throw new Failure("--foreground attaches one disk only", EXIT_USAGE);
  if (wireArguments(options).length > 0) {
    throw new Failure("--capture and --drop are for one disk at a time", EXIT_USAGE);
  }
  if (options.metrics !== undefined) {
    throw new Failure(
      "--metrics is for one disk at a time: in a --config FILE each line may have its own",
      EXIT_USAGE,
    );
  }
  const wishes = address !== undefined
    ? options.addresses.map((address) => ({ address, options }))
    : options.all
    ? await everyDisk(options)
    : readWishes(options);
  writeWithoutWaiting("failure");
  let failed = 0;
  for (const wish of wishes) {
    try {
      if (!await attach(wish)) failed++;
    } catch (error) {
      // One disk that cannot be had is no reason to leave the others out.
      printError(`aoe: ${(error as Error).message}`);
      failed++;
    }
  }
  return failed === 0 ? 0 : 1;
}

async function attach({ address, options }: Wish): Promise<boolean> {
  if (options.backEnd === "kernel" || isKernels(address, options)) {
    await attachKernel(address, options);
    return true;
  }
  if (await isAttached(address, options)) return true;
  const status = await startDaemon([
    ...foregroundArguments(address, options),
    ...wireArguments(options),
  ]);
  if (status === undefined) return false;
  report(status, options);
  return true;
}

/**
 * Whether the disk is attached already, in the way that was asked for: then that is said, and no
 * more is to be done. In another way it must not pass for done.
 */
async function isAttached(address: Address, options: AttachCommandOptions): Promise<boolean> {
  const name = formatAddress(address.shelf, address.slot);
  const status = await askDaemon(name, { ask: "status" }) as AttachedStatus | undefined;
  if (status === undefined) return false;
  const { asked, backEnd } = status;
  const other = asked.readOnly !== options.readOnly
    ? asked.readOnly ? "read-only" : "writable"
    : asked.reserve !== options.reserve
    ? asked.reserve ? "with its reservation" : "without its reservation"
    : asked.fuseUring !== options.fuseUring
    ? asked.fuseUring ? "with --fuse-uring" : "without --fuse-uring"
    : options.backEnd !== "auto" && options.backEnd !== backEnd
    ? `by ${backEnd}`
    : wireArguments(options).length > 0
    ? "and --capture and --drop are for its start"
    : undefined;
  if (other !== undefined) {
    throw new Failure(
      `${name} is attached already, ${other}: detach it first (aoe detach ${name})`,
    );
  }
  if (options.json) printJson(status);
  else printLine(`${name} is attached already, as ${status.node}`);
  return true;
}

/** Whether the kernel's driver has the disk, and nothing else was asked for. */
function isKernels(address: Address, options: AttachCommandOptions): boolean {
  const has = kernelDevice(address) !== undefined;
  if (has && options.backEnd !== "auto") {
    throw new Failure(
      `The kernel's driver has ${formatAddress(address.shelf, address.slot)} already, ` +
        `as ${nodePath(formatAddress(address.shelf, address.slot))}: aoe detach it first`,
    );
  }
  return has;
}

async function attachKernel(address: Address, options: AttachCommandOptions): Promise<void> {
  if (wireArguments(options).length > 0) {
    throw new Failure(
      "The kernel's driver knows no --capture and --drop: choose another --backend",
      EXIT_USAGE,
    );
  }
  const problem = prepareKernelDriver();
  if (problem !== undefined) throw new Failure(`Cannot attach by kernel: ${problem}`);
  if (options.targets.length > 0) {
    throw new Failure("The kernel's driver takes every path: --target needs another --backend", 2);
  }
  if (kernelDevice(address) === undefined) {
    await admitDisk({ ...options, address, writes: true, pastDevice: false }, warn);
  }
  const name = formatAddress(address.shelf, address.slot);
  // The driver knows no alternative names.
  const names = options.interfaces.length === 0
    ? []
    : findInterfaces(options.interfaces, { downToo: true }).map((link) => link.name);
  const device = await attachByKernel(address, names, options.timeoutMs);
  const bytes = device.sectors * SECTOR_BYTES;
  const { interfaces } = device;
  if (options.json) {
    printJson({ address: name, node: nodePath(name), backEnd: "kernel", bytes, interfaces });
  } else {
    printLine(`${name} is ${nodePath(name)}, ${formatBytes(bytes)}, by the kernel's driver`);
    warn("The kernel's driver never flushes: serve with -s, or attach with another back end");
  }
}

function report(status: AttachedStatus, options: AttachCommandOptions): void {
  if (options.json) {
    printJson(status);
    return;
  }
  const { address, node, bytes, backEnd, device, readOnly, fuseUring } = status;
  const kind = readOnly ? ", read-only" : "";
  printLine(`${address} is ${node}, ${formatBytes(bytes)}${kind}, by ${backEnd} (${device})`);
  for (const { name, reason } of status.skipped) printLine(`  not by ${name}: ${reason}`);
  if (options.verbose && !options.fuseUring && typeof fuseUring === "string") {
    printLine(`  FUSE over io_uring ${fuseUring}`);
  }
  if (status.keeper !== true) {
    printLine(`  a daemon that is killed is not replaced: ${status.keeper}`);
  }
}

async function everyDisk(options: AttachCommandOptions): Promise<Wish[]> {
  const interfaces = findInterfaces(options.interfaces);
  const { timeoutMs } = options;
  const result = await scan({ interfaces, addresses: [], timeoutMs, identify: false });
  result.warnings.forEach(warn);
  if (result.targets.length === 0) throw new Failure("No target answered");
  return result.targets.map(({ address }) => ({ address, options }));
}

/** Reads and checks all lines before anything is attached. */
function readWishes(options: AttachCommandOptions): Wish[] {
  const file = options.config!;
  const alone = parse(attachParser, [
    "attach",
    "--config",
    file,
    ...(options.json ? ["--json"] : []),
  ]);
  // Silently attaching without --read-only or --reserve would be worse than a refusal.
  if (alone.success && JSON.stringify(alone.value) !== JSON.stringify(options)) {
    throw new Failure(`Options of a disk stand on its line in "${file}", not beside --config`, 2);
  }
  let text: string;
  try {
    text = Deno.readTextFileSync(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new Failure(`There is no file "${file}"`);
    throw new Failure(`Cannot read "${file}": ${(error as Error).message}`);
  }
  const lines = new Map<string, number>();
  const wishes = text.split("\n").flatMap((line, index): Wish[] => {
    const words = line.replace(/(^|\s)#.*/, "").trim().split(/\s+/).filter((word) => word !== "");
    if (words.length === 0) return [];
    const where = `"${file}", line ${index + 1}`;
    const parsed = parse(attachParser, ["attach", ...words]);
    if (!parsed.success) {
      throw new Failure(`${where}: ${oneSentence(formatMessage(parsed.error))}`, EXIT_USAGE);
    }
    const { addresses: [address, ...others], all, config, foreground } = parsed.value;
    if (address === undefined || others.length > 0 || all || config !== undefined || foreground) {
      throw new Failure(`${where}: Expected a disk, as in e1.1, and options of its own`, 2);
    }
    const name = formatAddress(address.shelf, address.slot);
    const earlier = lines.get(name);
    if (earlier !== undefined) {
      throw new Failure(`${where}: ${name} stands in line ${earlier} already`, EXIT_USAGE);
    }
    lines.set(name, index + 1);
    return [{ address, options: { ...parsed.value, json: options.json } }];
  });
  if (wishes.length === 0) throw new Failure(`"${file}" names no disk`, EXIT_USAGE);
  return wishes;
}
