// Addresses that this process serves, each on an interface, taken so that no other process of this
// host serves them there. Two of one host do not hear each other on a wire, so that asking the
// network would not tell.

import { giveName, takeName } from "../../../ffi/name_lock.ts";
import { formatAddress } from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";

/** What holds them, by their names. */
const taken = new Map<string, number>();

/**
 * Takes an address on an interface for this process, which may have it already.
 *
 * @returns False when another process of this network namespace serves it there.
 */
export function takeAddress(interfaceName: string, address: Address): boolean {
  const name = nameOf(interfaceName, address);
  if (taken.has(name)) return true;
  const holder = takeName(name);
  if (holder === undefined) return false;
  taken.set(name, holder);
  return true;
}

/** Gives an address on an interface back. */
export function giveAddress(interfaceName: string, address: Address): void {
  const name = nameOf(interfaceName, address);
  const holder = taken.get(name);
  if (holder === undefined) return;
  giveName(holder);
  taken.delete(name);
}

function nameOf(interfaceName: string, { shelf, slot }: Address): string {
  return `aoe-serve/${interfaceName}/${formatAddress(shelf, slot)}`;
}
