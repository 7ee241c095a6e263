// What frames set of a target, and who restarts it wants to find again: its config string, its mask
// list and whom it is reserved for.

import { MAC_BYTES } from "../../wire/ethernet.ts";
import { MacList } from "./mac_list.ts";

/** See above. */
export interface KeptSettings {
  readonly configString: Uint8Array;
  /** MACs of the mask list, six bytes each. */
  readonly mask: Uint8Array;
  /** MACs that the target is reserved for, six bytes each. */
  readonly reservation: Uint8Array;
}

/** Whether two of them are the same, byte for byte. */
export function sameSettings(a: KeptSettings, b: KeptSettings): boolean {
  return sameBytes(a.configString, b.configString) && sameBytes(a.mask, b.mask) &&
    sameBytes(a.reservation, b.reservation);
}

/** A list of MACs that stand back to back. */
export function macListOf(macs: Uint8Array, capacity: number): MacList {
  const list = new MacList(capacity);
  for (let at = 0; at < macs.length; at += MAC_BYTES) list.add(macs, at);
  return list;
}

/** Whether `bytes` begins with `prefix`. */
export function startsWithBytes(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return prefix.length <= bytes.length && prefix.every((byte, i) => byte === bytes[i]);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && startsWithBytes(a, b);
}
