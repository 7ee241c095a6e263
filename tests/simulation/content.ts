// What stands in the simulation's sectors: a number that names the write, all over the sector
// together with the sector's own number, so that a torn or misplaced sector shows.

import { SECTOR_BYTES } from "../../src/wire/ata.ts";

const PAIRS = SECTOR_BYTES / 8;

/** What `contentAt` finds in a sector that is no whole write of anybody. */
export const TORN_CONTENT = -1;

/** Fills one sector with a content, 1 or more. */
export function putContent(view: DataView, at: number, lba: number, content: number): void {
  for (let i = 0; i < PAIRS; i++) {
    view.setInt32(at + 8 * i, content, true);
    view.setInt32(at + 8 * i + 4, lba + 1, true);
  }
}

/** The content of one sector; 0 when it is all zeros. */
export function contentAt(view: DataView, at: number, lba: number): number {
  const content = view.getInt32(at, true);
  const place = content === 0 ? 0 : lba + 1;
  for (let i = 0; i < PAIRS; i++) {
    if (
      view.getInt32(at + 8 * i, true) !== content ||
      view.getInt32(at + 8 * i + 4, true) !== place
    ) return TORN_CONTENT;
  }
  return content;
}

/** The contents of a whole disk. */
export function contentsOf(bytes: Uint8Array): Int32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const contents = new Int32Array(bytes.length / SECTOR_BYTES);
  for (let lba = 0; lba < contents.length; lba++) {
    contents[lba] = contentAt(view, lba * SECTOR_BYTES, lba);
  }
  return contents;
}
