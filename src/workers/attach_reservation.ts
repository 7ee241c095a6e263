// The reservation of a disk that is attached, so that two hosts do not mount one file system.

import { formatAddress } from "../wire/aoe.ts";
import { formatMac } from "../wire/ethernet.ts";
import { RESERVE_READ, RESERVE_SET } from "../wire/reserve.ts";
import { converse, explainRefusal } from "./inquiry.ts";
import type { InquiryOptions } from "./inquiry.ts";

/**
 * Who holds the reservation of a disk, this host left out.
 *
 * @returns Nobody also where the target does not know reservations.
 */
export function foreignHolders(options: InquiryOptions): Promise<readonly string[]> {
  return converse({ ...options, everywhere: true }, async (disk) => {
    const own = new Set(disk.ownMacs().map((mac) => formatMac(mac)));
    const { error, content } = await disk.reserve(RESERVE_READ, []);
    if (error !== 0 || content === undefined) return [];
    return content.map((mac) => formatMac(mac)).filter((mac) => !own.has(mac));
  });
}

/**
 * Takes the reservation for this host's MACs, or keeps it.
 *
 * @throws {Deno.errors.PermissionDenied} One sentence: somebody else has it.
 */
export function takeReservation(options: InquiryOptions): Promise<void> {
  return converse({ ...options, changes: true, everywhere: true }, async (disk) => {
    const { error, content } = await disk.reserve(RESERVE_SET, disk.ownMacs());
    if (error === 0) return;
    const { shelf, slot } = options.address;
    const holders = content?.map((mac) => formatMac(mac)).join(", ") ?? "";
    throw new Deno.errors.PermissionDenied(
      holders === ""
        ? explainRefusal(options.address, error)
        : `${formatAddress(shelf, slot)} is reserved by ${holders}: ` +
          `aoe reserve --force takes it from them`,
    );
  });
}

/** Gives it back. */
export function releaseReservation(options: InquiryOptions): Promise<void> {
  return converse({ ...options, changes: true }, async (disk) => {
    await disk.reserve(RESERVE_SET, []);
  });
}
