// A disk attached by the kernel's own driver (aoe.ko): told of the interfaces and to look around,
// and waited for. It never flushes, and knows the initial network namespace only.

import { claimDevice, releaseDevice } from "../../../ffi/device_node.ts";
import { kernelDevices, kernelDriverLoaded, requestKernelDiscovery } from "../kernel_aoe.ts";
import type { KernelDevice } from "../kernel_aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { loadModule } from "./kernel_module.ts";
import { deviceUses } from "./device_uses.ts";
import { nodePath } from "./device_nodes.ts";

const INTERFACES_FILE = "/sys/module/aoe/parameters/aoe_iflist";
const FLUSH_FILE = "/dev/etherd/flush";
const LOOK_EVERY_MS = 100;

/** The kernel's device of an address; undefined when it has none, or lost it. */
export function kernelDevice({ shelf, slot }: Address): KernelDevice | undefined {
  return kernelDevices().find((device) =>
    device.shelf === shelf && device.slot === slot && /^up/.test(device.state)
  );
}

/** Loads the driver if need be; why that cannot be done, or undefined. */
export function prepareKernelDriver(): string | undefined {
  return kernelDriverLoaded() ? undefined : loadModule("aoe");
}

/**
 * Lets the driver find a disk.
 *
 * @param interfaces Those it is to use; it keeps what it has when there are none.
 * @throws {Deno.errors.TimedOut} One sentence: it did not find it.
 */
export async function attachByKernel(
  address: Address,
  interfaces: readonly string[],
  timeoutMs: number,
): Promise<KernelDevice> {
  if (interfaces.length > 0) {
    // The file replaces the whole list, and wants a closing zero byte.
    const before = Deno.readTextFileSync(INTERFACES_FILE).replaceAll("\0", "").trim();
    const names = new Set([...before.split(/[\s,]+/).filter((name) => name !== ""), ...interfaces]);
    // An empty list means all interfaces.
    if (before !== "") Deno.writeTextFileSync(INTERFACES_FILE, `${[...names].join(",")}\0`);
  }
  requestKernelDiscovery();
  const untilMs = performance.now() + timeoutMs;
  for (;;) {
    const device = kernelDevice(address);
    if (device !== undefined && device.sectors > 0) return device;
    if (performance.now() >= untilMs) {
      const name = formatAddress(address.shelf, address.slot);
      throw new Deno.errors.TimedOut(
        `The kernel's driver did not find ${name} within ${timeoutMs / 1000} s ` +
          `(it looks in the initial network namespace only)`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/**
 * Refuses a disk whose device somebody has open, or has mounted.
 *
 * @throws {Error} One sentence.
 */
export function refuseUsed(name: string): void {
  const claim = claimDevice(nodePath(name));
  if (claim === undefined) {
    const uses = deviceUses(nodePath(name));
    throw new Error(`${name} is in use: unmount it first, or detach it with --force${uses}`);
  }
  releaseDevice(claim);
}

/**
 * Makes the driver forget a disk.
 *
 * @param force Also when it is in use.
 * @throws {Error} One sentence: it is in use.
 */
export function detachFromKernel(address: Address, force: boolean): void {
  const name = formatAddress(address.shelf, address.slot);
  // The driver destroys even what is open.
  if (!force) refuseUsed(name);
  // It compares as many bytes as it is given: with the closing zero e1.1 is not e1.10 as well.
  Deno.writeTextFileSync(FLUSH_FILE, `${name}\0`);
}
