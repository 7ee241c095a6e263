// `aoe identify SHELF.SLOT`: what a disk says of itself in IDENTIFY DEVICE, in words or raw.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { formatAddress } from "../wire/aoe.ts";
import { SECTOR_BYTES } from "../wire/ata.ts";
import { formatMac } from "../wire/ethernet.ts";
import { readCapabilities, readIdentifyWords, readIdentity } from "../wire/identify.ts";
import { address, shortUsage } from "./arguments.ts";
import { contentOf, inquire, type InquiryArguments, inquiryOptions } from "./inquiries.ts";
import { Failure, formatBytes, printJson, printLine } from "./output.ts";
import { SUMMARIES } from "./summaries.ts";

const WORDS_PER_LINE = 8;

/** What `aoe identify` was asked to do. */
export interface IdentifyOptions extends InquiryArguments {
  readonly raw: boolean;
}

/** `aoe identify SHELF.SLOT` */
export const identifyParser = command(
  "identify",
  map(
    object({
      address: argument(address(), { description: message`Which disk.` }),
      raw: option("--raw", {
        description: message`Write the 256 words as hexadecimal numbers, as hdparm --Istdin reads.`,
      }),
      ...inquiryOptions(),
    }),
    (options): IdentifyOptions => options,
  ),
  {
    brief: SUMMARIES.identify,
    description:
      message`Sends ATA IDENTIFY DEVICE and shows the answer in words. Exits with 1 when there is none, or the disk refuses.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe identify e1.1${lineBreak()}  aoe identify e1.1 --raw | hdparm --Istdin`,
  },
);

/** Shows a disk's identity; 1 when it does not answer. */
export async function runIdentify(options: IdentifyOptions): Promise<number> {
  const name = formatAddress(options.address.shelf, options.address.slot);
  const { data, mac, iface } = await inquire(options, {}, async (disk) => {
    const content = contentOf(options.address, await disk.identify());
    if (!(content instanceof Uint8Array)) throw new Failure(`${name} refused: ${content}`);
    return { data: content, mac: formatMac(disk.mac), iface: disk.interface.name };
  });
  if (options.json) printJson({ address: name, interface: iface, mac, ...jsonOf(data, options) });
  else if (options.raw) formatWords(data).every(printLine);
  else [`${name} at ${mac} on ${iface}`, ...describe(data)].every(printLine);
  return 0;
}

/** One line a field. */
function describe(data: Uint8Array): string[] {
  const identity = readIdentity(data, 0);
  const { lba48, flush, flushExt, logicalSectorBytes, turnsPerMinute } = readCapabilities(data, 0);
  const bytes = identity.sectors * SECTOR_BYTES;
  const flushes = [...flush ? ["FLUSH CACHE"] : [], ...flushExt ? ["FLUSH CACHE EXT"] : []];
  const cache = identity.writeCacheOn
    ? "on: an answered write may be lost until FLUSH"
    : identity.writeCacheSupported
    ? "off"
    : "none";
  const odd = logicalSectorBytes === SECTOR_BYTES
    ? []
    : [["logical sector", `${logicalSectorBytes} bytes (AoE counts in 512)`] as const];
  const fields: readonly (readonly [string, string])[] = [
    ["model", identity.model || "not said"],
    ["serial", identity.serial || "not said"],
    ["firmware", identity.firmware || "not said"],
    ["size", `${formatBytes(bytes)}, ${bytes} bytes, ${identity.sectors} sectors`],
    ["addresses", lba48 ? "48 bits (LBA48)" : "28 bits"],
    ["write cache", cache],
    ["flush", flushes.join(", ") || "none"],
    ["trim", identity.trim ? "yes" : "no"],
    ["physical sector", `${identity.physicalSectorBytes} bytes`],
    ...odd,
    ["rotation", describeRotation(turnsPerMinute)],
  ];
  return fields.map(([field, value]) => `  ${field.padEnd(15)}  ${value}`);
}

function describeRotation(turnsPerMinute: number | undefined): string {
  if (turnsPerMinute === undefined) return "not said";
  return turnsPerMinute === 0 ? "none (solid state)" : `${turnsPerMinute} a minute`;
}

function formatWords(data: Uint8Array): string[] {
  const words = readIdentifyWords(data, 0).map((word) => word.toString(16).padStart(4, "0"));
  return Array.from(
    { length: words.length / WORDS_PER_LINE },
    (_, line) => words.slice(line * WORDS_PER_LINE, (line + 1) * WORDS_PER_LINE).join(" "),
  );
}

function jsonOf(data: Uint8Array, { raw }: IdentifyOptions): Record<string, unknown> {
  const { sectors, ...identity } = readIdentity(data, 0);
  const { turnsPerMinute, ...capabilities } = readCapabilities(data, 0);
  return {
    ...identity,
    sectors,
    bytes: sectors * SECTOR_BYTES,
    ...capabilities,
    turnsPerMinute: turnsPerMinute ?? null,
    ...raw ? { words: readIdentifyWords(data, 0) } : {},
  };
}
