// `aoe interfaces [IFACE...]`: shows and sets what the commands ask on that are given no interface,
// and what the kernel's driver uses where it is loaded.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, multiple } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import {
  configurationFile,
  configuredInterfaces,
  configureInterfaces,
  interfacesMeant,
} from "../control/configuration.ts";
import { kernelInterfaces, setKernelInterfaces } from "../control/kernel_aoe.ts";
import { findInterfaces } from "../control/network_interfaces.ts";
import { interfaceList, jsonFlag, shortUsage } from "./arguments.ts";
import { EXIT_USAGE } from "./exit_codes.ts";
import { Failure, printJson, printLine, warn } from "./output.ts";
import { SUMMARIES } from "./summaries.ts";

/** What `aoe interfaces` was asked to do. */
interface InterfacesOptions {
  /** Shown only when empty, unless `all`. */
  readonly names: readonly string[];
  readonly all: boolean;
  readonly json: boolean;
}

/** `aoe interfaces [IFACE...]` */
export const interfacesParser = command(
  "interfaces",
  map(
    object({
      names: multiple(
        argument(interfaceList(), {
          description: message`What to use from now on: names, or patterns with * and ?.`,
        }),
      ),
      all: option("--all", { description: message`Use all that are up again.` }),
      json: jsonFlag(),
    }),
    ({ names, ...rest }): InterfacesOptions => ({ ...rest, names: [...new Set(names.flat())] }),
  ),
  {
    brief: SUMMARIES.interfaces,
    description:
      message`Shows, and sets, on which interfaces discover, stat, attach and the others ask that are given none, in /etc/aoe.toml; and which the kernel's aoe driver uses, where it is loaded.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe interfaces${lineBreak()}  aoe interfaces eth1 eth2${lineBreak()}  aoe interfaces --all`,
  },
);

/** Sets what was named, and shows what is. */
export function runInterfaces({ names, all, json }: InterfacesOptions): Promise<number> {
  if (all && names.length > 0) throw new Failure("Name interfaces, or --all, not both", EXIT_USAGE);
  if (all || names.length > 0) set(names);
  show(json);
  return Promise.resolve(0);
}

function set(names: readonly string[]): void {
  for (const name of names) {
    if (interfacesMeant([name]).length === 0) {
      warn(`No Ethernet interface is called "${name}" now: it counts once there is one`);
    }
  }
  configureInterfaces(names);
  if (kernelInterfaces() === undefined) return;
  const meant = interfacesMeant(names);
  if (names.length > 0 && meant.length === 0) {
    // An empty list would mean all.
    warn("The kernel's driver keeps what it has: none of these is there now");
  } else setKernelInterfaces(meant);
}

function show(json: boolean): void {
  const configured = configuredInterfaces();
  const kernel = kernelInterfaces();
  let used: readonly string[] = [];
  let why = "";
  try {
    used = findInterfaces([]).map(({ name }) => name);
  } catch (error) {
    why = (error as Error).message;
  }
  if (json) {
    printJson({ file: configurationFile(), configured, used, kernel: kernel ?? null });
    return;
  }
  const from = configured.length === 0
    ? "all Ethernet interfaces that are up"
    : `${configured.join(", ")} in ${configurationFile()}`;
  printLine(`aoe uses ${used.length === 0 ? "none" : used.join(", ")} (${from})`);
  if (why !== "") warn(why);
  if (kernel === undefined) printLine("The kernel's aoe driver is not loaded");
  else printLine(`The kernel's aoe driver uses ${kernel.length === 0 ? "all" : kernel.join(", ")}`);
}
