// Reserve/release: 2 bytes at 24, MACs of 6 bytes at 26 (wire/README.md, 'Reserve/release').

import { AOE_HEADER_BYTES } from "./aoe.ts";
import { MAC_BYTES, readMacs } from "./ethernet.ts";

export const RESERVE_COMMAND = AOE_HEADER_BYTES;
export const RESERVE_COUNT = AOE_HEADER_BYTES + 1;
export const RESERVE_MACS = AOE_HEADER_BYTES + 2;
/** Most holders of a reservation: the count is one byte. */
export const RESERVE_ENTRIES_MAX = 255;

export const RESERVE_READ = 0;
export const RESERVE_SET = 1;
export const RESERVE_FORCE_SET = 2;

/**
 * Writes a section: a request's or a response's list of holders.
 *
 * @param macs Addresses back to back, six bytes each.
 * @returns Length of the frame in bytes, before padding.
 */
export function writeReserveSection(
  view: Uint8Array,
  at: number,
  command: number,
  macs: Uint8Array,
): number {
  view[at + RESERVE_COMMAND] = command;
  view[at + RESERVE_COUNT] = macs.length / MAC_BYTES;
  view.set(macs, at + RESERVE_MACS);
  return RESERVE_MACS + macs.length;
}

/**
 * Reads the holders out of a response.
 *
 * @param length Length of the frame in bytes.
 * @returns `undefined` when the frame is too short for its section or its list.
 */
export function readReserveHolders(
  view: Uint8Array,
  at: number,
  length: number,
): readonly Uint8Array[] | undefined {
  if (length < RESERVE_MACS) return undefined;
  const count = view[at + RESERVE_COUNT]!;
  return readMacs(view, at, length, { first: RESERVE_MACS, count, stride: MAC_BYTES });
}
