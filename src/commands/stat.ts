// `aoe stat [SHELF.SLOT...] [-i IFACE]...`: size, interfaces, payload and state of every disk, in
// the columns of aoetools' aoe-stat. Disks that the kernel's driver has are shown as it sees them.
// stat_attached.ts adds what `aoe attach` has made block devices of.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, multiple, withDefault } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { type Address, formatAddress, parseAddress } from "../wire/aoe.ts";
import { SECTOR_BYTES, sectorsPerFrame } from "../wire/ata.ts";
import { findInterfaces } from "../control/network_interfaces.ts";
import { describeSearch, scan } from "../control/ask/scan.ts";
import { address, interfaceName, jsonFlag, seconds, shortUsage } from "./arguments.ts";
import { Failure, printJson, printLine, warn } from "./output.ts";
import { attachedSince, attachedTable } from "./stat_attached.ts";
import type { Attached } from "./stat_attached.ts";
import type { FoundTarget } from "../core/ask/discovery.ts";
import { kernelDevices } from "../control/kernel_aoe.ts";
import type { KernelDevice } from "../control/kernel_aoe.ts";
import type { NetworkInterface } from "../../ffi/netlink.ts";

const TIMEOUT_MS_DEFAULT = 500;
/** What aoe-stat writes for what it cannot find out. */
const UNKNOWN = "(NA)";

/** What `aoe stat` was asked to do. */
export interface StatOptions {
  /** Everything that is found when empty. */
  readonly addresses: readonly Address[];
  /** All that are up when empty. */
  readonly interfaces: readonly string[];
  readonly timeoutMs: number;
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

/** `aoe stat [SHELF.SLOT...]` */
export const statParser = command(
  "stat",
  map(
    object({
      addresses: multiple(
        argument(address(), {
          description: message`Which disks. Without one: all that are found.`,
        }),
      ),
      interfaces: multiple(
        option("-i", "--interface", interfaceName(), {
          description:
            message`Interface to ask on, again for each. Without it: all Ethernet interfaces that are up, the loopback interface only when there is no other.`,
        }),
      ),
      timeoutMs: withDefault(
        option("--timeout", seconds({ max: 3600 }), {
          description: message`How long to wait for each answer (default 0.5).`,
        }),
        TIMEOUT_MS_DEFAULT,
      ),
      json: jsonFlag(),
    }),
    (options): StatOptions => options,
  ),
  {
    brief: message`Show size, interfaces and state of disks.`,
    description:
      message`Asks disks what they are: address, size, interfaces, bytes of payload in a frame, state. A disk that the kernel's aoe driver has is shown as the kernel sees it.`,
    usageLine: shortUsage,
    footer: message`Examples:${lineBreak()}  aoe stat${lineBreak()}  aoe stat e1.1 e1.2 -i eth0`,
  },
);

/** Lists disks; 1 when there is none, or one that was named is missing. */
export async function runStat(options: StatOptions): Promise<number> {
  const { addresses, timeoutMs } = options;
  const attachedDisks = await attachedSince(options);
  const kernel = kernelDevices().filter((device) => isMeant(device, options)).map(kernelDisk);
  let where = "";
  let answering: readonly Disk[] = [];
  let problem: Error | undefined;
  try {
    const interfaces = findInterfaces(options.interfaces);
    where = describeSearch(interfaces, timeoutMs);
    const result = await scan({ interfaces, addresses, timeoutMs, identify: true });
    result.warnings.forEach(warn);
    answering = result.targets.map((target) => networkDisk(target, interfaces));
  } catch (error) {
    // Without the privilege to ask, or a link, this host's own devices are still worth a look.
    problem = error as Error;
  }
  const attached = await attachedDisks();
  if (problem !== undefined) {
    if (kernel.length === 0 && attached.length === 0) throw problem;
    warn(`${problem.message}; these are this host's devices`);
  }
  const known = new Set(kernel.map((disk) => name(disk.address)));
  const disks = [
    ...kernel,
    ...withAttached(answering.filter((disk) => !known.has(name(disk.address))), attached),
  ];
  disks.sort((a, b) => a.address.shelf - b.address.shelf || a.address.slot - b.address.slot);
  for (const disk of disks) {
    if (!(options.json ? printJson(jsonOf(disk)) : printLine(formatDisk(disk)))) return 0;
  }
  if (!options.json && attached.length > 0) {
    for (const line of ["", ...attachedTable(attached)]) if (!printLine(line)) return 0;
  }
  if (disks.length === 0 && addresses.length === 0) {
    throw new Failure(`No target answered ${where}`);
  }
  const found = new Set(disks.map((disk) => name(disk.address)));
  const missing = addresses.map(name).filter((address) => !found.has(address));
  if (missing.length === 0) return 0;
  throw new Failure(`No answer from ${missing.join(", ")} ${where}`.trimEnd());
}

function isMeant(device: KernelDevice, { addresses, interfaces }: StatOptions): boolean {
  return (addresses.length === 0 ||
    addresses.some(({ shelf, slot }) => shelf === device.shelf && slot === device.slot)) &&
    (interfaces.length === 0 || interfaces.some((name) => device.interfaces.includes(name)));
}

/** Adds what is known of attached disks, those that do not answer now among them. */
function withAttached(disks: readonly Disk[], attached: readonly Attached[]): Disk[] {
  const silent = attached.filter((one) =>
    disks.every((disk) => name(disk.address) !== one.address)
  );
  return [
    ...disks.map((disk) => {
      const one = attached.find((candidate) => candidate.address === name(disk.address));
      return one === undefined ? disk : { ...disk, attached: one };
    }),
    ...silent.map((one): Disk => ({
      address: parseAddress(one.address)!,
      sectors: one.bytes / SECTOR_BYTES,
      interfaces: [...new Set(one.paths.map((path) => path.interface))],
      payloadBytes: Math.min(...one.paths.map((path) => path.frameBytes)),
      state: one.state,
      kernel: false,
      attached: one,
    })),
  ];
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
