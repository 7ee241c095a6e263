// MAC mask list: 4 bytes at 24, directives of 8 bytes at 28 (wire/README.md, 'MAC mask list').

import { AOE_HEADER_BYTES } from "./aoe.ts";
import { copyMac, MAC_BYTES, readMacs } from "./ethernet.ts";

export const MASK_COMMAND = AOE_HEADER_BYTES + 1;
export const MASK_ERROR = AOE_HEADER_BYTES + 2;
export const MASK_COUNT = AOE_HEADER_BYTES + 3;
export const MASK_DIRECTIVES = AOE_HEADER_BYTES + 4;
export const MASK_DIRECTIVE_BYTES = 8;
/** Offset of the directive command within a directive; its MAC follows. */
export const DIRECTIVE_COMMAND = 1;
export const DIRECTIVE_MAC = 2;
/** Most entries of a list: the count is one byte. */
export const MASK_ENTRIES_MAX = 255;

export const MASK_READ = 0;
export const MASK_EDIT = 1;

export const DIRECTIVE_NONE = 0;
export const DIRECTIVE_ADD = 1;
export const DIRECTIVE_DELETE = 2;

export const MASK_ERROR_UNSPECIFIED = 1;
export const MASK_ERROR_BAD_DIRECTIVE = 2;
export const MASK_ERROR_FULL = 3;

/**
 * Writes a section: a request's directives, or (with `directive` 0) a response's list.
 *
 * @param macs Addresses back to back, six bytes each.
 * @returns Length of the frame in bytes, before padding.
 */
export function writeMaskSection(
  view: Uint8Array,
  at: number,
  command: number,
  directive: number,
  macs: Uint8Array,
): number {
  const count = macs.length / MAC_BYTES;
  view[at + AOE_HEADER_BYTES] = 0;
  view[at + MASK_COMMAND] = command;
  view[at + MASK_ERROR] = 0;
  view[at + MASK_COUNT] = count;
  for (let i = 0; i < count; i++) {
    const entry = at + MASK_DIRECTIVES + i * MASK_DIRECTIVE_BYTES;
    view[entry] = 0;
    view[entry + DIRECTIVE_COMMAND] = directive;
    copyMac(view, entry + DIRECTIVE_MAC, macs, i * MAC_BYTES);
  }
  return MASK_DIRECTIVES + count * MASK_DIRECTIVE_BYTES;
}

/** What a target answers about its list. */
export interface MaskResponse {
  /** A MASK_ERROR constant, 0 for none. */
  readonly error: number;
  /** With an error, the number of the directive that failed. */
  readonly failed: number;
  /** The whole list; empty with an error. */
  readonly macs: readonly Uint8Array[];
}

/**
 * Reads the section of a response.
 *
 * @param length Length of the frame in bytes.
 * @returns `undefined` when the frame is too short for its section or its list.
 */
export function readMaskResponse(
  view: Uint8Array,
  at: number,
  length: number,
): MaskResponse | undefined {
  if (length < MASK_DIRECTIVES) return undefined;
  const error = view[at + MASK_ERROR]!;
  const count = view[at + MASK_COUNT]!;
  if (error !== 0) return { error, failed: count, macs: [] };
  const first = MASK_DIRECTIVES + DIRECTIVE_MAC;
  const macs = readMacs(view, at, length, { first, count, stride: MASK_DIRECTIVE_BYTES });
  return macs && { error, failed: 0, macs };
}
