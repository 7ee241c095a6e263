// Before a disk is written to over the network: whether it is one disk that answers for the address,
// and whether this host uses it already as a block device. Two disks under one address differ from
// then on, and a file system that is mounted here knows nothing of what is written past it.

import { fileIdentity } from "../../ffi/files.ts";
import type { NetworkInterface } from "../../ffi/netlink.ts";
import { isContested } from "../core/ask/discovery.ts";
import type { FoundPath } from "../core/ask/discovery.ts";
import type { Address } from "../wire/aoe.ts";
import { formatAddress } from "../wire/aoe.ts";
import { formatMac } from "../wire/ethernet.ts";
import type { DiskChoice } from "../loops/initiator/loop.ts";
import { Inquirer } from "./ask/inquirer.ts";
import { explainContest } from "./ask/scan.ts";
import { askDaemon } from "./attach/control_socket.ts";
import { nodePath } from "./attach/device_nodes.ts";
import { kernelDevice } from "./attach/kernel_driver.ts";
import type { AttachedStatus } from "./attach/status.ts";
import { DiskRefusal } from "./disk_refusal.ts";
import { describeUses, hostUses } from "./host_uses.ts";
import { findInterfaces } from "./network_interfaces.ts";

/** How long others may still answer for an address once one has. */
const LISTEN_MS = 250;
const MAC_OF_LOOPBACK = "00:00:00:00:00:00";

/** Which disk, and what for. */
export interface DiskWish {
  readonly address: Address;
  /** Names; all that are up when empty. */
  readonly interfaces: readonly string[];
  readonly timeoutMs: number;
  /** MACs of the target that is meant, 12 hex digits each; whoever answers when empty. */
  readonly targets: readonly string[];
  /** It is written to. */
  readonly writes: boolean;
  /** Past the block device that this host may have of it. */
  readonly pastDevice: boolean;
}

/**
 * Looks who answers for the disk, unless nothing depends on it.
 *
 * @param warn Told what is no reason to refuse, one sentence each.
 * @returns The disk as an initiator's thread is told of it.
 * @throws {DiskRefusal} When nobody answers, different disks do, or this host uses it.
 */
export async function admitDisk(
  wish: DiskWish,
  warn: (text: string) => void,
): Promise<DiskChoice> {
  const { address, targets, writes } = wish;
  if (!writes && targets.length === 0) return address;
  const interfaces = findInterfaces(wish.interfaces);
  const paths = await findPaths(wish, interfaces);
  const chosen = targets.length === 0
    ? paths
    : paths.filter(({ mac }) => targets.includes(mac.toHex()));
  if (chosen.length === 0) throw new DiskRefusal(explainAbsence(wish, paths, interfaces), true);
  const found = { address, paths: chosen };
  if (isContested(found)) {
    throw new DiskRefusal(
      `${explainContest(found, interfaces)}: choose one with --target MAC`,
    );
  }
  if (wish.pastDevice) {
    await refuseDeviceInUse(address, new Set(chosen.map(({ mac }) => formatMac(mac))), warn);
  }
  return targets.length === 0 ? address : { ...address, targets: chosen.map(({ mac }) => mac) };
}

async function findPaths(
  { address, timeoutMs }: DiskWish,
  interfaces: readonly NetworkInterface[],
): Promise<readonly FoundPath[]> {
  const inquirer = new Inquirer(interfaces);
  try {
    const found = await inquirer.find(address, {
      timeoutMs,
      everywhere: false,
      listenMs: LISTEN_MS,
    });
    const paths = found.filter((target) =>
      target.address.shelf === address.shelf && target.address.slot === address.slot
    ).flatMap((target) => target.paths);
    if (paths.length > 0) return paths;
    const [deaf] = inquirer.warnings();
    throw new DiskRefusal(deaf ?? `No answer from ${nameOf(address)}`, true);
  } finally {
    inquirer.close();
  }
}

function explainAbsence(
  { address, targets }: DiskWish,
  paths: readonly FoundPath[],
  interfaces: readonly NetworkInterface[],
): string {
  const wanted = targets.map((target) => formatMac(Uint8Array.fromHex(target))).join(" or ");
  const others = paths.map(({ link, mac }) => `${formatMac(mac)} on ${interfaces[link]!.name}`);
  return `No answer from ${nameOf(address)} at ${wanted}, but from ${others.join(" and ")}`;
}

/** @throws {DiskRefusal} When this host has made a block device of the disk, and uses that. */
async function refuseDeviceInUse(
  address: Address,
  macs: ReadonlySet<string>,
  warn: (text: string) => void,
): Promise<void> {
  const name = nameOf(address);
  const node = nodePath(name);
  if (fileIdentity(node)?.stands === undefined || !await isDeviceOf(address, macs)) return;
  // A daemon that serves the device has it open itself.
  const uses = hostUses(node, ({ ownCommand }) => ownCommand === "attach");
  if (uses.length === 0) {
    warn(`${name} is attached here, too: what ${node} has in its cache does not change with it`);
    return;
  }
  throw new DiskRefusal(
    `${name} is attached here as ${node} and in use (${describeUses(uses)}): ` +
      `end that first, or write past it with --force`,
  );
}

/** Whether the node of this name is that disk: other network namespaces may have others. */
async function isDeviceOf(address: Address, macs: ReadonlySet<string>): Promise<boolean> {
  let status: AttachedStatus | undefined;
  try {
    status = await askDaemon(nameOf(address), { ask: "status" }) as AttachedStatus | undefined;
  } catch {
    // It does not say: as if it were the same.
    return true;
  }
  if (status !== undefined) {
    const shared = status.paths.some(({ mac }) => mac !== MAC_OF_LOOPBACK && macs.has(mac));
    return shared || isInNetworkOf(status.pid);
  }
  // The kernel's driver works in the first namespace only.
  return kernelDevice(address) !== undefined && isInNetworkOf(1);
}

function isInNetworkOf(pid: number): boolean {
  try {
    return Deno.readLinkSync(`/proc/${pid}/ns/net`) === Deno.readLinkSync("/proc/self/ns/net");
  } catch {
    return true;
  }
}

function nameOf({ shelf, slot }: Address): string {
  return formatAddress(shelf, slot);
}
