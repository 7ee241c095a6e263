// The incarnation of a target, in the vendor-specific words of IDENTIFY DEVICE (ATA8-ACS words
// 129-159). Our targets put a number there that stays the same as long as answered writes that
// were not flushed are still there, and differs after a crash that may have lost them: a hash of
// the kernel's boot id will do for a file in the page cache. An initiator that sees the same number
// before the writes and after the flush knows that the flush covered them, as the write verifier
// of NFS (RFC 1813 section 3.3.7) does. A bit beside it says that every write will be refused, for
// which ATA has no word, so that an initiator can make its block device read-only. Everybody else
// ignores these words.

import { readUint32Be, writeUint32Be } from "./endian.ts";
import { IDENTIFY_BYTES } from "./identify.ts";

const SIGNATURE_AT = 2 * 129;
/** "aoe" and a version, so that other vendors' words are not taken for ours. */
const SIGNATURE = 0x616f6501;
const INCARNATION_AT = SIGNATURE_AT + 4;
const FLAGS_AT = SIGNATURE_AT + 8;
const FLAG_READ_ONLY = 1;

/**
 * Writes the incarnation into finished IDENTIFY data and corrects their checksum.
 *
 * @param incarnation 1 … 2^32−1.
 * @param readOnly Every write is refused.
 */
export function writeIncarnation(
  view: Uint8Array,
  at: number,
  incarnation: number,
  readOnly: boolean,
): void {
  writeUint32Be(view, at + SIGNATURE_AT, SIGNATURE);
  writeUint32Be(view, at + INCARNATION_AT, incarnation);
  view[at + FLAGS_AT] = readOnly ? FLAG_READ_ONLY : 0;
  let sum = 0;
  for (let i = 0; i < IDENTIFY_BYTES - 1; i++) sum += view[at + i]!;
  view[at + IDENTIFY_BYTES - 1] = -sum;
}

/** Reads the incarnation; 0 when the target does not name one. */
export function readIncarnation(view: Uint8Array, at: number): number {
  if (readUint32Be(view, at + SIGNATURE_AT) !== SIGNATURE) return 0;
  return readUint32Be(view, at + INCARNATION_AT);
}

/** Whether the target says that it refuses every write. */
export function readOnlyExport(view: Uint8Array, at: number): boolean {
  return readUint32Be(view, at + SIGNATURE_AT) === SIGNATURE &&
    (view[at + FLAGS_AT]! & FLAG_READ_ONLY) !== 0;
}
