// Frames of the loopback tests, for shelf 1.

import { AOE_TAG, writeAoeHeader as writeHeader } from "../../../src/wire/aoe.ts";
import { readUint32Be } from "../../../src/wire/endian.ts";

/** Writes the header of a request for a slot of shelf 1. */
export function writeAoeHeader(
  view: Uint8Array,
  at: number,
  command: number,
  tag: number,
  ends: { readonly target: Uint8Array; readonly initiator: Uint8Array; readonly slot: number },
): void {
  const { target, initiator, slot } = ends;
  writeHeader(view, at, target, initiator, { flags: 0, shelf: 1, slot, command, tag });
}

/** Tag of a frame. */
export function readTag(view: Uint8Array, at: number): number {
  return readUint32Be(view, at + AOE_TAG);
}
