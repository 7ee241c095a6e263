// Which network interfaces a command works on: the ones it was told, checked before anything
// starts, or all that make sense.

import { listInterfaces } from "../../ffi/netlink.ts";
import type { NetworkInterface } from "../../ffi/netlink.ts";

export type { NetworkInterface } from "../../ffi/netlink.ts";

/** Why an interface cannot be used, in one sentence for the user. */
export class InterfaceRefusal extends Error {
  override name = "InterfaceRefusal";
}

/**
 * Finds an interface by its name. It may be down: that is for the caller to judge.
 *
 * @throws {InterfaceRefusal} When there is none of that name, or it carries no Ethernet frames.
 */
export function namedInterface(name: string): NetworkInterface {
  const links = listInterfaces();
  const link = links.find((candidate) => candidate.name === name);
  if (link === undefined) {
    const names = links.map((candidate) => candidate.name).join(", ");
    throw new InterfaceRefusal(`No such interface "${name}": there are ${names}`);
  }
  if (!link.ethernet) {
    throw new InterfaceRefusal(`"${name}" is no Ethernet interface: AoE needs one`);
  }
  return link;
}
