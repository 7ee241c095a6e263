// `aoe reserve SHELF.SLOT [MAC...]`: who alone may use a disk (wire/README.md, 'Reserve/release').
// Without MACs the holders are shown, as `aoe config` and `aoe mask` show what they are about; the
// word `self` stands for this host.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, multiple } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { ERROR_RESERVED, formatAddress } from "../wire/aoe.ts";
import { formatMac } from "../wire/ethernet.ts";
import {
  RESERVE_ENTRIES_MAX,
  RESERVE_FORCE_SET,
  RESERVE_READ,
  RESERVE_SET,
} from "../wire/reserve.ts";
import type { Conversation } from "../control/ask/inquiry.ts";
import { address, macOrSelf, shortUsage } from "./arguments.ts";
import { inquire, type InquiryArguments, inquiryOptions, refusal } from "./inquiries.ts";
import { Failure, printJson, printLine } from "./output.ts";
import { SUMMARIES } from "./summaries.ts";

/** What `aoe reserve` was asked to do. */
export interface ReserveOptions extends InquiryArguments {
  readonly macs: readonly (Uint8Array | "self")[];
  readonly force: boolean;
  readonly release: boolean;
}

/** `aoe reserve SHELF.SLOT [MAC...]` */
export const reserveParser = command(
  "reserve",
  map(
    object({
      address: argument(address(), { description: message`Which disk.` }),
      macs: multiple(
        argument(macOrSelf(), {
          description:
            message`Who is to hold it; self means this host's own MACs, by which it sees the disk. Without: show who holds it.`,
        }),
      ),
      force: option("--force", {
        description: message`Take it from those who hold it; without MACs, for this host.`,
      }),
      release: option("--release", {
        description: message`Leave it to everybody; with --force, also when others hold it.`,
      }),
      ...inquiryOptions(),
    }),
    (options): ReserveOptions => options,
  ),
  {
    brief: SUMMARIES.reserve,
    description:
      message`Reserves a disk for some MACs: nobody else may read or write it. Exits with 1 when others hold it, or the disk does not answer.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe reserve e1.1${lineBreak()}  aoe reserve e1.1 self${lineBreak()}  aoe reserve e1.1 --release`,
  },
);

/** Shows the holders, after they were set; 1 when others hold the disk. */
export async function runReserve(options: ReserveOptions): Promise<number> {
  const { macs, force, release, address: { shelf, slot } } = options;
  if (release && macs.length > 0) throw new Failure("Releasing a disk takes no MACs", 2);
  const changes = force || release || macs.length > 0;
  const holders = await inquire(
    options,
    { changes, everywhere: changes && !release },
    (disk) => talk(disk, options, changes),
  );
  const name = formatAddress(shelf, slot);
  if (options.json) printJson({ address: name, holders });
  else if (holders.length === 0) printLine(`${name} is not reserved`);
  else holders.every(printLine);
  return 0;
}

/** Sets the holders if wanted, and returns them. */
async function talk(
  disk: Conversation,
  options: ReserveOptions,
  changes: boolean,
): Promise<readonly string[]> {
  const { address, force, release } = options;
  const named = force && !release && options.macs.length === 0 ? ["self" as const] : options.macs;
  const macs = named.flatMap((mac) => mac === "self" ? disk.ownMacs() : [mac]);
  if (macs.length > RESERVE_ENTRIES_MAX) {
    throw new Failure(`At most ${RESERVE_ENTRIES_MAX} MACs hold a reservation`, 2);
  }
  const command = !changes ? RESERVE_READ : force ? RESERVE_FORCE_SET : RESERVE_SET;
  const { error, content } = await disk.reserve(command, macs);
  const holders = content?.map((mac) => formatMac(mac)) ?? [];
  if (error === 0) return holders;
  const name = formatAddress(address.shelf, address.slot);
  if (error !== ERROR_RESERVED) throw refusal(address, error);
  // Who gives a disk to others alone and repeats it, the answer being lost, is refused: it is done.
  const wanted = new Set(macs.map((mac) => formatMac(mac)));
  if (wanted.size === holders.length && holders.every((mac) => wanted.has(mac))) return holders;
  const who = holders.length === 0 ? "others" : holders.join(", ");
  throw new Failure(`${name} is reserved by ${who}; --force takes it from them`);
}
