// `aoe discover [IFACE...]`: asks the network who is there, and lists every path that answered.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, multiple, withDefault } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { formatAddress } from "../wire/aoe.ts";
import { formatMac } from "../wire/ethernet.ts";
import { findInterfaces } from "../control/network_interfaces.ts";
import { removeLeftNodes } from "../control/attach/leftovers.ts";
import { describeSearch, scan } from "../control/ask/scan.ts";
import type { ScanResult } from "../control/ask/scan.ts";
import {
  type CaptureArguments,
  captureOptions,
  interfaceList,
  interfaceOptions,
  jsonFlag,
  seconds,
  shortUsage,
} from "./arguments.ts";
import {
  decodeText,
  Failure,
  formatTable,
  printError,
  printJson,
  printLine,
  quoteConfig,
  warn,
} from "./output.ts";
import { kernelDriverLoaded, requestKernelDiscovery } from "../control/kernel_aoe.ts";
import type { NetworkInterface } from "../../ffi/netlink.ts";
import { SUMMARIES } from "./summaries.ts";

const TIMEOUT_MS_DEFAULT = 500;

/** What `aoe discover` was asked to do. */
export interface DiscoverOptions extends CaptureArguments {
  /** All that are up when empty. */
  readonly interfaces: readonly string[];
  readonly timeoutMs: number;
  readonly json: boolean;
  readonly verbose: boolean;
}

/** `aoe discover [IFACE...]` */
export const discoverParser = command(
  "discover",
  map(
    object({
      names: multiple(
        argument(interfaceList(), { description: message`The same as -i IFACE.` }),
      ),
      more: interfaceOptions(),
      timeoutMs: withDefault(
        option("--timeout", seconds({ max: 3600 }), {
          description: message`How long to wait for answers (default 0.5).`,
        }),
        TIMEOUT_MS_DEFAULT,
      ),
      ...captureOptions(),
      json: jsonFlag(),
      verbose: option("-v", "--verbose", { description: message`Say what is asked.` }),
    }),
    ({ names, more, ...rest }): DiscoverOptions => ({
      ...rest,
      interfaces: [...new Set([...names.flat(), ...more])],
    }),
  ),
  {
    brief: SUMMARIES.discover,
    description:
      message`Asks who is there, and lists every path: an address, one of our interfaces, a MAC. A kernel aoe driver is told to look as well.`,
    usageLine: shortUsage,
    footer: message`Examples:${lineBreak()}  aoe discover${lineBreak()}  aoe discover eth0 eth1`,
  },
);

/** Lists who answers; 1 when nobody does. */
export async function runDiscover(options: DiscoverOptions): Promise<number> {
  const { timeoutMs, json, verbose } = options;
  removeLeftNodes();
  const interfaces = findInterfaces(options.interfaces);
  const say = (sentence: string) => verbose ? printError(`aoe: ${sentence}`) : undefined;
  tellKernel(say);
  say(`Asking on ${interfaces.map((link) => link.name).join(", ")}`);
  const result = await scan({
    ...{ interfaces, addresses: [], timeoutMs, identify: true },
    wish: { ...options, warn },
  });
  result.warnings.forEach(warn);
  if (result.targets.length === 0) {
    throw new Failure(`No target answered ${describeSearch(interfaces, timeoutMs)}`);
  }
  if (json) printPaths(result, interfaces);
  else printTable(result, interfaces);
  return 0;
}

function tellKernel(say: (sentence: string) => void): void {
  if (!kernelDriverLoaded()) return;
  try {
    requestKernelDiscovery();
    say("The kernel's aoe driver was told to discover");
  } catch (error) {
    warn(`The kernel's aoe driver cannot be told to discover: ${(error as Error).message}`);
  }
}

function printTable(result: ScanResult, interfaces: readonly NetworkInterface[]): void {
  const header = ["address", "interface", "mac", "buffers", "sectors", "firmware", "config"];
  const rows = result.targets.flatMap(({ address, paths }) =>
    paths.map(({ link, mac, config }) => [
      formatAddress(address.shelf, address.slot),
      interfaces[link]!.name,
      formatMac(mac),
      String(config.buffers),
      String(config.sectors),
      formatFirmware(config.firmware),
      quoteConfig(config.string),
    ])
  );
  const right = ["buffers", "sectors", "firmware"];
  for (const line of formatTable(header, rows, { right })) {
    if (!printLine(line)) return;
  }
}

function printPaths(result: ScanResult, interfaces: readonly NetworkInterface[]): void {
  for (const target of result.targets) {
    const { shelf, slot } = target.address;
    for (const { link, mac, config } of target.paths) {
      printJson({
        address: formatAddress(shelf, slot),
        shelf,
        slot,
        interface: interfaces[link]!.name,
        mac: formatMac(mac),
        buffers: config.buffers,
        sectors: config.sectors,
        firmware: config.firmware,
        config: decodeText(config.string) ?? null,
        configHex: config.string.toHex(),
        contested: result.contested.has(target),
      });
    }
  }
}

/** The field is a number without a meaning of its own; hexadecimal, as everybody writes it. */
function formatFirmware(firmware: number): string {
  return `0x${firmware.toString(16).padStart(4, "0")}`;
}
