// What has to be there before an export is served: its file or server, its interfaces, and an address
// that nobody else answers for.

import type { NetworkInterface } from "../../../ffi/netlink.ts";
import { listInterfaces, masterName } from "../../../ffi/netlink.ts";
import { formatAddress } from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import { isNbdUri } from "../../wire/nbd_uri.ts";
import type { ExportPlan } from "../../core/daemon/plan.ts";
import { findHolders } from "../ask/scan.ts";
import { interfacesMeant } from "../configuration.ts";
import { takeAddress } from "../target/addresses.ts";
import { openExport } from "../target/open_file.ts";
import type { ExportFile } from "../target/open_file.ts";
import { openNbdExport } from "../target/open_nbd.ts";
import type { TargetGroup } from "../target/threads.ts";
import { findRivalTargets } from "../target/rival_targets.ts";

/**
 * Opens what a plan wants to export.
 *
 * @throws {ExportRefusal} One sentence.
 */
export function openPlanned(
  plan: ExportPlan,
  existing: readonly NetworkInterface[],
): ExportFile {
  const open = isNbdUri(plan.path) ? openNbdExport : openExport;
  const file = open(plan.address, plan.path, plan);
  // A configuration is read at each start: there the image is made once, and then is there.
  const ignored = !file.created && plan.createBytes !== undefined && plan.line === 0
    ? [`"${plan.path}" exists already: --size is ignored`]
    : [];
  return {
    ...file,
    warnings: [...file.warnings, ...ignored],
    config: { ...file.config, acl: plan.acl, interfaces: plannedInterfaces(plan, existing) },
  };
}

/**
 * The interfaces that a plan names: those of its patterns that there are now, and what is no pattern
 * in any case, since it may come.
 */
export function plannedInterfaces(
  { interfaces }: ExportPlan,
  existing: readonly NetworkInterface[],
): string[] {
  const names = interfaces.flatMap((name) => {
    const meant = interfacesMeant([name], existing);
    return meant.length > 0 || isPattern(name) ? meant : [name];
  });
  return [...new Set(names)];
}

/** The names of all interfaces that plans mean, and those that there are. */
export function interfacesOfPlans(plans: readonly ExportPlan[]): {
  readonly names: string[];
  readonly present: NetworkInterface[];
} {
  const existing = listInterfaces();
  const names = [...new Set(plans.flatMap((plan) => plannedInterfaces(plan, existing)))];
  return { names, present: existing.filter(({ name }) => names.includes(name)) };
}

/** Whether what a plan means may change as interfaces come. */
export function hasPatterns({ interfaces }: ExportPlan): boolean {
  return interfaces.some(isPattern);
}

/** Why nobody can reach an export; undefined when somebody can. */
export function whyUnreachable(
  plan: ExportPlan,
  existing: readonly NetworkInterface[],
): string | undefined {
  const reasons = plan.interfaces.map((name) => {
    const found = existing.filter((link) =>
      link.name === name || link.altNames.includes(name) ||
      isPattern(name) && interfacesMeant([name], existing).includes(link.name)
    );
    const masters = found.map((link) => masterName(link, existing));
    if (masters.some((master) => master === undefined)) return undefined;
    return found.length === 0
      ? `no interface is called "${name}"`
      : `${found[0]!.name} is a port of ${masters[0]}: name ${masters[0]}`;
  });
  return reasons.some((reason) => reason === undefined) ? undefined : reasons.join("; ");
}

/** Notes how an interface is called now that is asked for by another name. */
export function noteName(
  newNames: Map<string, string>,
  { name, before }: { readonly name: string; readonly before: string },
): void {
  const asked = [...newNames].find(([, now]) => now === before)?.[0] ?? before;
  if (name === asked) newNames.delete(asked);
  else newNames.set(asked, name);
}

/** Interfaces; one that was renamed is served on, and has its old name, too. */
export function withOldNames(
  links: readonly NetworkInterface[],
  newNames: ReadonlyMap<string, string>,
): NetworkInterface[] {
  return links.map((link) => {
    const asked = [...newNames].flatMap(([name, now]) => now === link.name ? [name] : []);
    return asked.length === 0 ? link : { ...link, altNames: [...link.altNames, ...asked] };
  });
}

/** Serves on these interfaces, too. */
export async function joinInterfaces(group: TargetGroup, names: readonly string[]): Promise<void> {
  for (const name of names) if (!group.interfaces.includes(name)) await group.addInterface(name);
}

/** Serves no more on interfaces that none of these is served on. */
export async function leaveInterfaces(
  group: TargetGroup,
  exports: readonly { readonly plan: ExportPlan; readonly file: ExportFile | undefined }[],
): Promise<void> {
  const existing = listInterfaces();
  const used = new Set(exports.flatMap(({ plan, file }) => [
    ...plannedInterfaces(plan, existing),
    ...file?.config.interfaces ?? [],
  ]));
  for (const name of [...group.interfaces]) if (!used.has(name)) await group.removeInterface(name);
}

/** What was heard of those who have an address already. */
export interface HeldAddresses {
  /** Sentences, by `e1.1`. */
  readonly refusals: ReadonlyMap<string, string>;
  readonly warnings: readonly string[];
}

/** Asks the network, and this host, who has the addresses of these plans. */
export async function findHeldAddresses(
  plans: readonly ExportPlan[],
  timeoutMs: number,
): Promise<HeldAddresses> {
  const asked = plans.filter(({ force }) => !force);
  const refusals = new Map<string, string>();
  if (asked.length === 0) return { refusals, warnings: [] };
  const refuse = ({ shelf, slot }: Address, who: string) => {
    const name = formatAddress(shelf, slot);
    if (refusals.has(name)) return;
    refusals.set(
      name,
      `${name} is already served by ${who}: choose another address, or serve it all the same ` +
        `with --force`,
    );
  };
  const existing = listInterfaces();
  const names = [...new Set(asked.flatMap((plan) => plannedInterfaces(plan, existing)))];
  const addresses = asked.map(({ address }) => address);
  for (const { address, mac, interface: name } of await findHolders(names, addresses, timeoutMs)) {
    refuse(address, `${mac} on ${name}`);
  }
  const links = existing.filter(({ name }) => names.includes(name));
  const warnings: string[] = [];
  for (let left = addresses; left.length > 0;) {
    const rivals = findRivalTargets(links, left);
    warnings.push(...rivals.warnings.filter((text) => !warnings.includes(text)));
    const { holder } = rivals;
    if (holder === undefined) break;
    refuse(holder.address, holder.who);
    left = left.filter((address) => address !== holder.address);
  }
  for (const plan of asked) {
    for (const name of plannedInterfaces(plan, existing)) {
      if (refusals.has(formatAddress(plan.address.shelf, plan.address.slot))) break;
      if (takeAddress(name, plan.address)) continue;
      refuse(plan.address, `another aoe serve on ${name} of this host`);
    }
  }
  return { refusals, warnings };
}

function isPattern(name: string): boolean {
  return /[*?]/.test(name);
}
