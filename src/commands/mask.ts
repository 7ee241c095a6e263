// `aoe mask SHELF.SLOT [add|remove|clear] [MAC...]`: the MAC mask list of a target, who alone is
// answered once it is not empty (wire/README.md, 'MAC mask list').

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, multiple, optional } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { choice } from "@optique/core/valueparser";
import { formatAddress } from "../wire/aoe.ts";
import { formatMac } from "../wire/ethernet.ts";
import {
  DIRECTIVE_ADD,
  DIRECTIVE_DELETE,
  DIRECTIVE_NONE,
  MASK_ENTRIES_MAX,
  MASK_ERROR_BAD_DIRECTIVE,
  MASK_ERROR_FULL,
} from "../wire/mask.ts";
import type { Conversation } from "../control/ask/inquiry.ts";
import { address, macOrSelf, shortUsage } from "./arguments.ts";
import { contentOf, inquire, type InquiryArguments, inquiryOptions } from "./inquiries.ts";
import { Failure, printJson, printLine } from "./output.ts";
import { SUMMARIES } from "./summaries.ts";

/** What `aoe mask` was asked to do. */
export interface MaskOptions extends InquiryArguments {
  /** Undefined: show the list. */
  readonly action: "add" | "remove" | "clear" | undefined;
  readonly macs: readonly (Uint8Array | "self")[];
  /** Even when this host would not be answered any more. */
  readonly force: boolean;
}

/** `aoe mask SHELF.SLOT [ACTION] [MAC...]` */
export const maskParser = command(
  "mask",
  map(
    object({
      address: argument(address(), { description: message`Which disk.` }),
      action: optional(
        argument(choice(["add", "remove", "clear"], { metavar: "ACTION" }), {
          description:
            message`What to do with the list: add or remove MACs, or clear it. Without: show it.`,
        }),
      ),
      macs: multiple(
        argument(macOrSelf(), {
          description:
            message`MAC addresses; self means this host's own, by which it sees the disk.`,
        }),
      ),
      force: option("--force", {
        description: message`Lock out this host too, which then cannot undo it.`,
      }),
      ...inquiryOptions(),
    }),
    (options): MaskOptions => options,
  ),
  {
    brief: SUMMARIES.mask,
    description:
      message`Shows or edits the MAC mask list of a disk. An empty list admits everybody; otherwise only the MACs on it are answered. Exits with 1 when the disk refuses or does not answer.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe mask e1.1${lineBreak()}  aoe mask e1.1 add self 52:54:00:12:34:56${lineBreak()}  aoe mask e1.1 clear`,
  },
);

/** Shows the list, after it was edited; 1 when the target refuses. */
export async function runMask(options: MaskOptions): Promise<number> {
  const { action, macs, address: { shelf, slot } } = options;
  const name = formatAddress(shelf, slot);
  if ((action === "add" || action === "remove") && macs.length === 0) {
    throw new Failure(`Missing the MACs to ${action}, as in aoe mask e1.1 ${action} self`, 2);
  }
  if ((action === undefined || action === "clear") && macs.length > 0) {
    throw new Failure("Showing or clearing a mask list takes no MACs", 2);
  }
  const changes = action !== undefined;
  const list = await inquire(
    options,
    { changes, everywhere: macs.includes("self") },
    (disk) => talk(disk, options, name),
  );
  const texts = list.map((mac) => formatMac(mac));
  if (options.json) printJson({ address: name, macs: texts });
  else if (texts.length === 0) printLine(`${name} has no mask list: it answers everybody`);
  else texts.every(printLine);
  return 0;
}

/** Edits the list if wanted, and returns it. */
async function talk(
  disk: Conversation,
  options: MaskOptions,
  name: string,
): Promise<readonly Uint8Array[]> {
  const { action } = options;
  const before = await tell(disk, options, DIRECTIVE_NONE, []);
  if (action === undefined || (action === "clear" && before.length === 0)) return before;
  const macs = action === "clear"
    ? before
    : options.macs.flatMap((mac) => mac === "self" ? disk.ownMacs() : [mac]);
  if (macs.length > MASK_ENTRIES_MAX) {
    throw new Failure(`A mask list has at most ${MASK_ENTRIES_MAX} MACs`, 2);
  }
  const after = new Set(before.map((mac) => formatMac(mac)));
  for (const mac of macs.map((mac) => formatMac(mac))) {
    if (action === "add") after.add(mac);
    else after.delete(mac);
  }
  const own = formatMac(disk.interface.mac);
  if (after.size > 0 && !after.has(own) && !options.force) {
    throw new Failure(
      `${name} would not answer this host (${own}) any more: keep self on the list, or --force it`,
    );
  }
  const directive = action === "add" ? DIRECTIVE_ADD : DIRECTIVE_DELETE;
  const list = await tell(disk, options, directive, macs);
  const present = new Set(list.map((mac) => formatMac(mac)));
  // vblade 25 answers a removal with success and the list as it was.
  const wrong = macs.find((mac) => present.has(formatMac(mac)) !== (action === "add"));
  if (wrong === undefined) return list;
  const state = action === "add" ? "not" : "still";
  throw new Failure(`${name} confirmed, but ${formatMac(wrong)} is ${state} on its list`);
}

/** One exchange; the list behind it. */
async function tell(
  disk: Conversation,
  { address }: MaskOptions,
  directive: number,
  macs: readonly Uint8Array[],
): Promise<readonly Uint8Array[]> {
  const content = contentOf(address, await disk.mask(directive, macs));
  if (content.error === 0) return content.macs;
  const name = formatAddress(address.shelf, address.slot);
  const failed = macs[content.failed];
  const which = failed === undefined ? "" : ` at ${formatMac(failed)}`;
  throw new Failure(`${name} refused the edit${which}: ${maskErrorName(content.error)}`);
}

function maskErrorName(error: number): string {
  switch (error) {
    case MASK_ERROR_BAD_DIRECTIVE:
      return "bad directive";
    case MASK_ERROR_FULL:
      return "the list is full";
    default:
      return `unspecified error ${error}`;
  }
}
