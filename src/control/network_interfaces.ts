// Which network interfaces a command means, and the sentences for those that will not do.

import { configurationFile, configuredInterfaces, interfacesMeant } from "./configuration.ts";
import { listInterfaces, masterName } from "../../ffi/netlink.ts";
import type { NetworkInterface } from "../../ffi/netlink.ts";

/**
 * The Ethernet interfaces of these names or alternative names, each once, all of them up (or, with
 * `downToo`, not). Ports of bridges and bonds are refused: what arrives there is their master's.
 *
 * Without names: those that the configuration gives to initiators, as far as they are up; where it
 * gives none, every Ethernet interface that is up and no port; the loopback interface only when
 * there is no other, since targets on it are this host's own. Whether there is a carrier is not
 * asked: the kernel reports one up to a second late.
 *
 * @throws {Deno.errors.NotFound} One sentence: no such interface, or none at all.
 * @throws {Deno.errors.NotSupported} One sentence: it is not Ethernet, or a port.
 * @throws {Deno.errors.NetworkUnreachable} One sentence: it is down.
 */
export function findInterfaces(
  names: readonly string[],
  options: { readonly downToo?: boolean } = {},
): NetworkInterface[] {
  const existing = listInterfaces();
  if (names.length === 0) return configuredOf(existing) ?? defaultInterfaces(existing);
  const chosen = names.map((name) => {
    const found = existing.find((one) => one.name === name) ??
      existing.find((one) => one.altNames.includes(name));
    if (found === undefined) {
      throw new Deno.errors.NotFound(`No interface is called "${name}"; ${whatExists(existing)}`);
    }
    if (!found.ethernet) {
      throw new Deno.errors.NotSupported(
        `Interface "${name}" is not Ethernet; ${whatExists(existing)}`,
      );
    }
    const master = masterName(found, existing);
    if (master !== undefined) {
      throw new Deno.errors.NotSupported(`${found.name} is a port of ${master}: name ${master}`);
    }
    if (!found.up && options.downToo !== true) {
      throw new Deno.errors.NetworkUnreachable(
        `Interface "${name}" is down: ip link set ${name} up`,
      );
    }
    return found;
  });
  return [...new Set(chosen)];
}

/** The Ethernet interfaces there are, by all their names, in order; none where that is not known. */
export function interfaceNames(): string[] {
  try {
    return listInterfaces().filter((one) => one.ethernet)
      .flatMap((one) => [one.name, ...one.altNames]).sort();
  } catch {
    return [];
  }
}

/** Those of these names that there still are, up or not. */
export function survivingInterfaces(names: readonly string[]): NetworkInterface[] {
  return listInterfaces().filter((one) => one.ethernet && names.includes(one.name));
}

/** Those of the configuration; undefined when it has no word of it. */
function configuredOf(existing: readonly NetworkInterface[]): NetworkInterface[] | undefined {
  const patterns = configuredInterfaces();
  if (patterns.length === 0) return undefined;
  const meant = new Set(interfacesMeant(patterns));
  const chosen = existing.filter(({ name, up, master }) => meant.has(name) && up && master === 0);
  if (chosen.length > 0) return chosen;
  throw new Deno.errors.NotFound(
    `"${configurationFile()}" has initiators ask on ${
      patterns.join(", ")
    }, and none of that is up; ` +
      whatExists(existing),
  );
}

function defaultInterfaces(existing: readonly NetworkInterface[]): NetworkInterface[] {
  const usable = existing.filter((one) => one.ethernet && one.up && one.master === 0);
  const cards = usable.filter((one) => !one.loopback);
  const chosen = cards.length > 0 ? cards : usable;
  if (chosen.length === 0) {
    throw new Deno.errors.NotFound(`No Ethernet interface is up; ${whatExists(existing)}`);
  }
  return chosen;
}

/** `there are "eth0" (also "enp1s0", down) and "lo"`, the Ethernet interfaces only. */
function whatExists(existing: readonly NetworkInterface[]): string {
  const names = existing.filter((one) => one.ethernet).map((one) => {
    const master = masterName(one, existing);
    const remarks = [
      ...one.altNames.map((name) => `also "${name}"`),
      ...master === undefined ? [] : [`a port of "${master}"`],
      ...one.up ? [] : ["down"],
    ];
    return `"${one.name}"${remarks.length === 0 ? "" : ` (${remarks.join(", ")})`}`;
  });
  const last = names.pop();
  if (last === undefined) return "there is none";
  return names.length === 0 ? `there is ${last}` : `there are ${names.join(", ")} and ${last}`;
}
