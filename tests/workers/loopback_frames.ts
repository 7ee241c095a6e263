// Frames of the loopback tests: from nobody to nobody, for shelf 1, as on `lo` every MAC is zero.

import { AOE_TAG, writeAoeHeader as writeHeader } from "../../src/wire/aoe.ts";
import { readUint32Be } from "../../src/wire/endian.ts";

export { COMMAND_ATA } from "../../src/wire/aoe.ts";

const NOBODY = new Uint8Array(6);

/** Writes the header of a request for a slot of shelf 1. */
export function writeAoeHeader(
  view: Uint8Array,
  at: number,
  command: number,
  tag: number,
  slot: number,
): void {
  writeHeader(view, at, NOBODY, NOBODY, { flags: 0, shelf: 1, slot, command, tag });
}

/** Tag of a frame. */
export function readTag(view: Uint8Array, at: number): number {
  return readUint32Be(view, at + AOE_TAG);
}
