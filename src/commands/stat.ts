// `aoe stat [SHELF.SLOT...] [-i IFACE]...`: size, interfaces, payload and state of every disk, in
// the columns of aoetools' aoe-stat. Disks that the kernel's driver has are shown as it sees them.
// stat_attached.ts adds what `aoe attach` has made block devices of.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, multiple } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { type Address, formatAddress, parseAddress } from "../wire/aoe.ts";
import { SECTOR_BYTES, sectorsPerFrame } from "../wire/ata.ts";
import { findInterfaces } from "../control/network_interfaces.ts";
import { removeLeftNodes } from "../control/attach/leftovers.ts";
import { describeSearch, scan } from "../control/ask/scan.ts";
import {
  addressOrInterface,
  type CaptureArguments,
  captureOptions,
  interfaceOptions,
  jsonFlag,
  shortUsage,
  timeoutOption,
} from "./arguments.ts";
import { Failure, printJson, printLine, warn } from "./output.ts";
import { attachedSince, attachedTable } from "./stat_attached.ts";
import type { Attached } from "./stat_attached.ts";
import type { FoundTarget } from "../core/ask/discovery.ts";
import { kernelDevices } from "../control/kernel_aoe.ts";
import type { KernelDevice } from "../control/kernel_aoe.ts";
import type { NetworkInterface } from "../../ffi/netlink.ts";
import { SUMMARIES } from "./summaries.ts";

const TIMEOUT_MS_DEFAULT = 500;
/** What aoe-stat writes for what it cannot find out. */
const UNKNOWN = "(NA)";

/** What `aoe stat` was asked to do. */
export interface StatOptions extends CaptureArguments {
  /** Everything that is found when empty. */
  readonly addresses: readonly Address[];
  /** All that are up when empty. */
  readonly interfaces: readonly string[];
  readonly timeoutMs: number;
  /** Whether a table of attached disks and their paths follows. */
  readonly long: boolean;
  readonly json: boolean;
}

/** One line of the list. */
interface Disk {
  readonly address: Address;
  /** `undefined` when it did not say. */
  readonly sectors: number | undefined;
  readonly interfaces: readonly string[];
  readonly payloadBytes: number | undefined;
  readonly state: string;
  /** Whether this is the kernel's view. */
  readonly kernel: boolean;
  readonly serial?: string;
  readonly model?: string;
  /** What its daemon says, when it is attached here. */
  readonly attached?: Attached;
}

/** `aoe stat [SHELF.SLOT...] [IFACE...]` */
export const statParser = command(
  "stat",
  map(
    object({
      names: multiple(
        argument(addressOrInterface(), {
          description:
            message`Which disks; without one: all that are found. The name of an interface is the same as -i IFACE.`,
        }),
      ),
      more: interfaceOptions(),
      timeoutMs: timeoutOption(
        message`How long to wait for each answer (default 0.5).`,
        TIMEOUT_MS_DEFAULT,
      ),
      long: option("-l", "--long", {
        description: message`Add a table of the attached disks: by what, their paths, how busy.`,
      }),
      ...captureOptions(),
      json: jsonFlag(),
    }),
    ({ names, more, ...rest }): StatOptions => ({
      ...rest,
      addresses: names.filter((name) => typeof name !== "string"),
      interfaces: [...new Set([...names.filter((name) => typeof name === "string"), ...more])],
    }),
  ),
  {
    brief: SUMMARIES.stat,
    description:
      message`Writes a line for each disk, as aoe-stat does: address, size, interfaces, bytes of payload in a frame, state. A disk that the kernel's aoe driver or aoe attach has is shown as these see it, once, any other as it answers.`,
    usageLine: shortUsage,
    footer: message`Examples:${lineBreak()}  aoe stat${lineBreak()}  aoe stat e1.1 e1.2 -i eth0`,
  },
);

/** Lists disks; 1 when there is none, or one that was named is missing. */
export async function runStat(options: StatOptions): Promise<number> {
  const { addresses, timeoutMs } = options;
  removeLeftNodes();
  let where = "";
  let answering: readonly Disk[] = [];
  let problem: Error | undefined;
  let meant: Pick<StatOptions, "addresses" | "interfaces"> = options;
  let found: readonly NetworkInterface[] = [];
  try {
    found = findInterfaces(options.interfaces);
    // An alternative name is not what devices know.
    if (options.interfaces.length > 0) {
      meant = { addresses, interfaces: found.map((link) => link.name) };
    }
    where = describeSearch(found, timeoutMs);
  } catch (error) {
    problem = error as Error;
  }
  const attachedDisks = await attachedSince(meant, options.long || options.json);
  try {
    if (problem === undefined) {
      const result = await scan({
        ...{ interfaces: found, addresses, timeoutMs, identify: true },
        wish: { ...options, warn },
      });
      result.warnings.forEach(warn);
      answering = result.targets.map((target) => networkDisk(target, found));
    }
  } catch (error) {
    // Without the privilege to ask, this host's own devices are still worth a look.
    problem = error as Error;
  }
  // Looked at last: what has been asked took a while.
  const kernel = kernelDevices().filter((device) => isMeant(device, meant)).map(kernelDisk);
  const attached = await attachedDisks();
  if (problem !== undefined) {
    if (kernel.length === 0 && attached.length === 0) throw problem;
    warn(`${problem.message}; these are this host's devices`);
  }
  const disks = mergeDisks(answering, kernel, attached);
  for (const disk of disks) {
    if (!(options.json ? printJson(jsonOf(disk)) : printLine(formatDisk(disk)))) return 0;
  }
  if (options.long && !options.json && attached.length > 0) {
    for (const line of ["", ...attachedTable(attached)]) if (!printLine(line)) return 0;
  }
  if (disks.length === 0 && addresses.length === 0) {
    throw new Failure(`No target answered ${where}`);
  }
  const listed = new Set(disks.map((disk) => name(disk.address)));
  const missing = addresses.map(name).filter((address) => !listed.has(address));
  if (missing.length === 0) return 0;
  throw new Failure(`No answer from ${missing.join(", ")} ${where}`.trimEnd());
}

function isMeant(
  device: KernelDevice,
  { addresses, interfaces }: Pick<StatOptions, "addresses" | "interfaces">,
): boolean {
  return (addresses.length === 0 ||
    addresses.some(({ shelf, slot }) => shelf === device.shelf && slot === device.slot)) &&
    (interfaces.length === 0 || interfaces.some((name) => device.interfaces.includes(name)));
}

/**
 * Each address once, in order: as the kernel's driver sees it where that has it and it is up, else
 * as its daemon does, else as the kernel's driver lost it or as the network answers.
 */
function mergeDisks(
  answering: readonly Disk[],
  kernel: readonly Disk[],
  attached: readonly Attached[],
): Disk[] {
  const disks = new Map(answering.map((disk) => [name(disk.address), disk]));
  for (const disk of kernel) disks.set(name(disk.address), disk);
  for (const one of attached) {
    const known = disks.get(one.address);
    const usedByKernel = known?.kernel === true && /^up/.test(known.state);
    disks.set(one.address, usedByKernel ? { ...known, attached: one } : attachedDisk(one, known));
  }
  return [...disks.values()].sort((a, b) =>
    a.address.shelf - b.address.shelf || a.address.slot - b.address.slot
  );
}

/** A disk as its daemon sees it, by the paths that it uses now. */
function attachedDisk(one: Attached, answer: Disk | undefined): Disk {
  const up = one.paths.filter((path) => path.state === "up");
  const { serial, model } = answer ?? {};
  return {
    address: parseAddress(one.address)!,
    sectors: one.bytes / SECTOR_BYTES,
    interfaces: [...new Set((up.length > 0 ? up : one.paths).map((path) => path.interface))],
    // Without a path nothing fits into a frame.
    payloadBytes: up.length === 0 ? 0 : Math.min(...up.map((path) => path.frameBytes)),
    state: one.state,
    kernel: false,
    ...(serial === undefined ? {} : { serial }),
    ...(model === undefined ? {} : { model }),
    attached: one,
  };
}

function kernelDisk(device: KernelDevice): Disk {
  const { shelf, slot, sectors, interfaces, payloadBytes, state } = device;
  return { address: { shelf, slot }, sectors, interfaces, payloadBytes, state, kernel: true };
}

function networkDisk(target: FoundTarget, interfaces: readonly NetworkInterface[]): Disk {
  const { address, paths } = target;
  const identity = paths.find((path) => path.identity !== undefined)?.identity;
  const refused = paths.some((path) => path.refusal !== undefined);
  const sectors = paths.map(({ link, config }) =>
    Math.min(config.sectors, sectorsPerFrame(interfaces[link]!.mtu))
  );
  return {
    address,
    sectors: identity?.sectors,
    interfaces: [...new Set(paths.map((path) => interfaces[path.link]!.name))],
    // Commands may take any path, so they fit the narrowest, as the kernel reckons.
    payloadBytes: SECTOR_BYTES * Math.min(...sectors),
    state: identity !== undefined ? "up" : refused ? "refused" : "silent",
    kernel: false,
    ...(identity === undefined ? {} : { serial: identity.serial, model: identity.model }),
  };
}

/** aoe-stat's line: `%10s %15s %10s %-5s %-14s`. */
function formatDisk({ address, sectors, interfaces, payloadBytes, state }: Disk): string {
  const netif = interfaces.length === 0 ? "none" : interfaces.join(",");
  const payload = payloadBytes === undefined ? UNKNOWN : String(payloadBytes);
  return [
    name(address).padStart(10),
    (sectors === undefined ? UNKNOWN : formatGigabytes(sectors)).padStart(15),
    netif.padStart(10),
    payload.padEnd(5),
    state.padEnd(14),
  ].join(" ");
}

/** Decimal gigabytes with three places, cut and not rounded: `0.016GB`. */
export function formatGigabytes(sectors: number): string {
  const megabytes = BigInt(sectors) * 512n / 1_000_000n;
  return `${megabytes / 1000n}.${String(megabytes % 1000n).padStart(3, "0")}GB`;
}

function jsonOf({ address, sectors, ...rest }: Disk): Record<string, unknown> {
  const bytes = sectors === undefined ? null : sectors * SECTOR_BYTES;
  return { address: name(address), ...address, bytes, ...rest };
}

function name({ shelf, slot }: Address): string {
  return formatAddress(shelf, slot);
}
