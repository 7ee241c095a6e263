// Asking the network who is there, from the main thread: `aoe discover`, `aoe stat`, and the look
// around with which `aoe serve` begins.
//
// 1. The question goes out on every interface, three times within the first half of the timeout,
//    since frames get lost.
// 2. When everybody who was asked by name has answered, or the time is over, those found are asked
//    to identify themselves, in the same way.

import type { ProbeWish } from "./probe_aids.ts";
import { Discovery, groupByAddress, isContested } from "../../core/ask/discovery.ts";
import type { FoundTarget } from "../../core/ask/discovery.ts";
import { formatAddress } from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import { formatMac } from "../../wire/ethernet.ts";
import { findInterfaces } from "../network_interfaces.ts";
import { Inquirer } from "./inquirer.ts";
import type { Query } from "./inquirer.ts";
import type { NetworkInterface } from "../../../ffi/netlink.ts";

/** When the questions are asked, as parts of the timeout. */
const ROUNDS = [0, 1 / 4, 1 / 2];

/** What to ask, whom, and for how long. */
export interface ScanOptions {
  /** From `findInterfaces`. */
  readonly interfaces: readonly NetworkInterface[];
  /** The addresses to ask for; everybody when empty. */
  readonly addresses: readonly Address[];
  /** For each of the two questions. */
  readonly timeoutMs: number;
  /** Whether those who answer are asked to identify themselves. */
  readonly identify: boolean;
  /** What is wanted to look for a fault. */
  readonly wish?: ProbeWish | undefined;
}

/** What a scan found. */
export interface ScanResult {
  /** By address; their paths by interface (`link` is an index of the options') and MAC. */
  readonly targets: readonly FoundTarget[];
  /** Those of them that two disks claim. */
  readonly contested: ReadonlySet<FoundTarget>;
  /** What the user should know, one sentence each. */
  readonly warnings: readonly string[];
}

/** Somebody who answers for an address. */
export interface Holder {
  readonly address: Address;
  /** Name of our interface. */
  readonly interface: string;
  /** As in `52:54:00:12:34:56`. */
  readonly mac: string;
}

/**
 * Asks who is there.
 *
 * @throws {Deno.errors.PermissionDenied} Without CAP_NET_RAW, in one sentence.
 */
export async function scan(options: ScanOptions): Promise<ScanResult> {
  const { interfaces, addresses, timeoutMs, identify } = options;
  const discovery = new Discovery(Math.random() * 2 ** 15);
  const inquirer = new Inquirer(interfaces, options.wish);
  const askAtMs = (round: number) => (ROUNDS[round] ?? Infinity) * timeoutMs;
  const missing = () => missingQueries(addresses, interfaces.length, discovery);
  try {
    await inquirer.explore(discovery, {
      ...{ timeoutMs, askAtMs, settle: { ms: 0, asking: false } },
      isEnough: () => missing().length === 0,
      queries: missing,
    });
    if (identify) await inquirer.identify(discovery, timeoutMs, askAtMs);
  } finally {
    inquirer.close();
  }
  const targets = groupByAddress(discovery.paths());
  const contested = targets.filter(isContested);
  const full = discovery.full ? ["Too many answers: not all of them are shown"] : [];
  const contests = contested.map((target) => explainContest(target, interfaces));
  return {
    targets,
    contested: new Set(contested),
    warnings: [...inquirer.warnings(), ...full, ...contests],
  };
}

/** `on eth0 and eth1 within 0.5 s`, for the sentence that nobody answered. */
export function describeSearch(
  interfaces: readonly NetworkInterface[],
  timeoutMs: number,
): string {
  const names = interfaces.map(({ name, running }) => running ? name : `${name} (no carrier)`);
  const last = names.pop();
  const where = names.length === 0 ? last : `${names.join(", ")} and ${last}`;
  // The likeliest reason of all: a first try with both ends on one machine.
  const hint = interfaces.some((link) => link.loopback)
    ? ""
    : " (targets on this host itself are heard on lo only)";
  return `on ${where} within ${timeoutMs / 1000} s${hint}`;
}

/** Who answers for an address that more than one disk claims, in one sentence. */
export function explainContest(
  { address, paths }: FoundTarget,
  interfaces: readonly NetworkInterface[],
): string {
  const who = paths.map(({ link, mac, identity, contradictory }) => {
    const disk = contradictory ? "two disks" : `serial "${identity?.serial ?? "unknown"}"`;
    return `${formatMac(mac)} on ${interfaces[link]!.name} (${disk})`;
  });
  const name = formatAddress(address.shelf, address.slot);
  return `Different disks answer for ${name}: ${who.join(", ")}`;
}

/**
 * Tells who already answers for exactly these addresses. Interfaces that are down are passed over;
 * targets of this host itself are not heard, except on the loopback interface.
 *
 * @param interfaces Names.
 * @param timeoutMs How long to wait when nobody answers, which is the usual case.
 */
export async function findHolders(
  interfaces: readonly string[],
  addresses: readonly Address[],
  timeoutMs: number,
): Promise<Holder[]> {
  const links = interfaces.flatMap((name) => {
    try {
      return findInterfaces([name]);
    } catch {
      return [];
    }
  });
  if (links.length === 0 || addresses.length === 0) return [];
  const { targets } = await scan({ interfaces: links, addresses, timeoutMs, identify: false });
  return targets.flatMap(({ address, paths }) =>
    paths.map(({ link, mac }) => ({
      address,
      interface: links[link]!.name,
      mac: formatMac(mac),
    }))
  );
}

/** What is still to be asked. A question to everybody never knows that all have answered. */
function missingQueries(
  addresses: readonly Address[],
  links: number,
  discovery: Discovery,
): Query[] {
  const everyLink = Array.from({ length: links }, (_, link) => ({ link }));
  if (addresses.length === 0) return everyLink;
  const answered = new Set(
    discovery.paths().map(({ address, link }) => `${address.shelf}.${address.slot} ${link}`),
  );
  return everyLink.flatMap(({ link }) =>
    addresses
      .filter(({ shelf, slot }) => !answered.has(`${shelf}.${slot} ${link}`))
      .map((address) => ({ link, address }))
  );
}
