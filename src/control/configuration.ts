// The configuration file on this host: where it is, what it says, and what it says to commands that
// ask on all interfaces unless they are told which.

import { listInterfaces } from "../../ffi/netlink.ts";
import type { NetworkInterface } from "../../ffi/netlink.ts";
import { parseInitiator, parsePlan } from "../core/daemon/parse_plan.ts";
import type { ParsedPlan } from "../core/daemon/parse_plan.ts";
import { withInitiatorInterfaces } from "../core/daemon/edit_initiator.ts";
import { isInterfaceMeant } from "../core/daemon/values.ts";

/** By habit, unless the environment says otherwise. */
const CONFIGURATION_FILE = "/etc/aoe.toml";
/** Where names of addresses are. */
export const ETHERS_FILE = "/etc/ethers";
/** More than any disks have; what is larger is something else. */
const CONFIGURATION_BYTES_MAX = 4 * 2 ** 20;

/** The file that is read where none is named: $AOE_CONFIG, or /etc/aoe.toml. */
export function configurationFile(): string {
  return Deno.env.get("AOE_CONFIG") || CONFIGURATION_FILE;
}

/** Whether that file is there. */
export function hasConfiguration(): boolean {
  try {
    return Deno.statSync(configurationFile()).isFile;
  } catch {
    return false;
  }
}

/**
 * Reads a configuration as the plan of a daemon.
 *
 * @throws {Deno.errors.NotFound | Deno.errors.InvalidData} One sentence: it cannot be read.
 */
export function readPlan(file: string): ParsedPlan {
  const text = readConfiguration(file);
  return parsePlan(text, { folder: folderOf(file), ethers: readEthers() });
}

/** Reads the names of /etc/ethers, which many hosts do not have. */
function readEthers(): string {
  try {
    return Deno.readTextFileSync(ETHERS_FILE);
  } catch {
    return "";
  }
}

/**
 * The interfaces that commands ask on which are given none: names, or patterns; none when the
 * configuration has no word of it. What else is in the file is not looked at.
 *
 * @throws {Deno.errors.InvalidData} One sentence: what is wrong with it.
 */
export function configuredInterfaces(): readonly string[] {
  if (!hasConfiguration()) return [];
  const file = configurationFile();
  const { interfaces, mistakes } = parseInitiator(readConfiguration(file));
  const [first] = mistakes;
  if (first !== undefined) {
    throw new Deno.errors.InvalidData(`${file}:${first.line}: ${first.text}`);
  }
  return interfaces;
}

/**
 * Has commands that are given none ask on these interfaces; on all again where there are none.
 *
 * @throws {Deno.errors.InvalidData} One sentence: the configuration has a mistake, and stays as it is.
 */
export function configureInterfaces(names: readonly string[]): void {
  const file = configurationFile();
  const present = hasConfiguration();
  if (!present && names.length === 0) return;
  const edited = withInitiatorInterfaces(present ? readConfiguration(file) : "", names);
  if ("why" in edited) {
    throw new Deno.errors.InvalidData(`${file}:${edited.line}: ${edited.why}: mend this first`);
  }
  // Whoever reads it meanwhile gets the old one or the new one.
  const made = `${file}.${Deno.pid}`;
  const mode = present ? Deno.statSync(file).mode ?? 0o644 : 0o644;
  Deno.writeTextFileSync(made, edited.text, { createNew: true, mode: mode & 0o777 });
  Deno.renameSync(made, file);
}

/** The names of those interfaces of this host that are meant by names or patterns, in their order. */
export function interfacesMeant(
  patterns: readonly string[],
  interfaces: readonly NetworkInterface[] = listInterfaces(),
): string[] {
  const existing = interfaces.filter((link) => link.ethernet);
  const names = patterns.flatMap((pattern) => {
    const meant = existing.filter(({ name, altNames, loopback }) =>
      [name, ...altNames].some((name) => isInterfaceMeant(pattern, name)) &&
      // Nobody means the loopback interface by a star.
      (!loopback || pattern === name)
    );
    return meant.map(({ name }) => name);
  });
  return [...new Set(names)];
}

function readConfiguration(file: string): string {
  let bytes: Uint8Array;
  try {
    const { isFile, size } = Deno.statSync(file);
    if (!isFile) throw new Deno.errors.InvalidData(`"${file}" is no file`);
    if (size > CONFIGURATION_BYTES_MAX) {
      throw new Deno.errors.InvalidData(`"${file}" has ${size} bytes: it is no configuration`);
    }
    bytes = Deno.readFileSync(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new Deno.errors.NotFound(`There is no configuration "${file}"`);
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new Deno.errors.PermissionDenied(`The configuration "${file}" may not be read`);
    }
    throw error;
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Deno.errors.InvalidData(`"${file}" is not in UTF-8: it is no configuration`);
  }
}

/** The folder of a file, from the root: the one that a link leads to stays out of it. */
function folderOf(file: string): string {
  const whole = file.startsWith("/") ? file : `${Deno.cwd()}/${file}`;
  return whole.slice(0, whole.lastIndexOf("/"));
}
