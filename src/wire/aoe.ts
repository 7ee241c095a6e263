// The AoE header: 24 bytes from the start of the frame (wire/README.md, 'Layout'; AoEr11 section 2).

import {
  copyMac,
  ETHERNET_DESTINATION,
  ETHERNET_SOURCE,
  ETHERNET_TYPE,
  ETHERTYPE_AOE,
} from "./ethernet.ts";
import { readUint16Be, writeUint16Be, writeUint32Be } from "./endian.ts";

// From the specification.
export const AOE_VERSION_FLAGS = 14;
export const AOE_ERROR = 15;
export const AOE_SHELF = 16;
export const AOE_SLOT = 18;
export const AOE_COMMAND = 19;
export const AOE_TAG = 20;
export const AOE_HEADER_BYTES = 24;

export const AOE_VERSION = 1;
export const AOE_FLAG_RESPONSE = 0x08;
export const AOE_FLAG_ERROR = 0x04;

/**
 * Bit 31 is set in the tags of every initiator that is a program, so that Linux's driver on the same
 * host ignores the answers (wire/README.md, 'What other targets do').
 */
export const TAG_USERLAND = 0x8000_0000;

export const SHELF_BROADCAST = 0xffff;
export const SLOT_BROADCAST = 0xff;

export const COMMAND_ATA = 0;
export const COMMAND_CONFIG = 1;
export const COMMAND_MASK = 2;
export const COMMAND_RESERVE = 3;

export const ERROR_UNRECOGNIZED_COMMAND = 1;
export const ERROR_BAD_ARGUMENT = 2;
export const ERROR_DEVICE_UNAVAILABLE = 3;
export const ERROR_CONFIG_PRESENT = 4;
export const ERROR_UNSUPPORTED_VERSION = 5;
export const ERROR_RESERVED = 6;

/** Shelf and slot of one exported disk. */
export interface Address {
  /** 0 … 65534; 65535 is broadcast. */
  readonly shelf: number;
  /** 0 … 254; 255 is broadcast. */
  readonly slot: number;
}

/** Parses `e1.1` or `1.1`; `undefined` for anything else, broadcast values included. */
export function parseAddress(text: string): Address | undefined {
  const match = /^e?(\d{1,5})\.(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  const shelf = Number(match[1]);
  const slot = Number(match[2]);
  return shelf < SHELF_BROADCAST && slot < SLOT_BROADCAST ? { shelf, slot } : undefined;
}

/** Writes an address the way the Linux driver names its devices: `e1.1`. */
export function formatAddress(shelf: number, slot: number): string {
  return `e${shelf}.${slot}`;
}

/** AoE version of a frame: the high nibble of byte 14. */
export function aoeVersion(view: Uint8Array, at: number): number {
  return view[at + AOE_VERSION_FLAGS]! >>> 4;
}

/** Whether the R flag marks a frame as a response. */
export function isResponse(view: Uint8Array, at: number): boolean {
  return (view[at + AOE_VERSION_FLAGS]! & AOE_FLAG_RESPONSE) !== 0;
}

/** Shelf of a frame. */
export function aoeShelf(view: Uint8Array, at: number): number {
  return readUint16Be(view, at + AOE_SHELF);
}

/**
 * Turns the header of a request into that of its response: the MACs swap, the source becomes
 * `mac` (the interface's own), version 1, R set, everything else of byte 14 clear, the real shelf
 * and slot. Command and tag stand as they came (wire/README.md, decision 4).
 *
 * @param error An AoE error, or 0 for none.
 */
export function turnIntoResponse(
  view: Uint8Array,
  at: number,
  mac: Uint8Array,
  shelf: number,
  slot: number,
  error: number,
): void {
  copyMac(view, at + ETHERNET_DESTINATION, view, at + ETHERNET_SOURCE);
  copyMac(view, at + ETHERNET_SOURCE, mac, 0);
  view[at + AOE_VERSION_FLAGS] = (AOE_VERSION << 4) | AOE_FLAG_RESPONSE |
    (error === 0 ? 0 : AOE_FLAG_ERROR);
  view[at + AOE_ERROR] = error;
  writeUint16Be(view, at + AOE_SHELF, shelf);
  view[at + AOE_SLOT] = slot;
}

/**
 * Writes a whole 24-byte header of a request (or, with `flags`, of an unsolicited response).
 *
 * @param flags Low nibble of byte 14: 0 for a request, `AOE_FLAG_RESPONSE` for an advert.
 */
export function writeAoeHeader(
  view: Uint8Array,
  at: number,
  destination: Uint8Array,
  source: Uint8Array,
  header: { flags: number; shelf: number; slot: number; command: number; tag: number },
): void {
  copyMac(view, at + ETHERNET_DESTINATION, destination, 0);
  copyMac(view, at + ETHERNET_SOURCE, source, 0);
  writeUint16Be(view, at + ETHERNET_TYPE, ETHERTYPE_AOE);
  view[at + AOE_VERSION_FLAGS] = (AOE_VERSION << 4) | header.flags;
  view[at + AOE_ERROR] = 0;
  writeUint16Be(view, at + AOE_SHELF, header.shelf);
  view[at + AOE_SLOT] = header.slot;
  view[at + AOE_COMMAND] = header.command;
  writeUint32Be(view, at + AOE_TAG, header.tag);
}

/** What an AoE error byte means, in the specification's words. */
export function aoeErrorName(error: number): string {
  switch (error) {
    case ERROR_UNRECOGNIZED_COMMAND:
      return "unrecognized command code";
    case ERROR_BAD_ARGUMENT:
      return "bad argument parameter";
    case ERROR_DEVICE_UNAVAILABLE:
      return "device unavailable";
    case ERROR_CONFIG_PRESENT:
      return "config string present";
    case ERROR_UNSUPPORTED_VERSION:
      return "unsupported version";
    case ERROR_RESERVED:
      return "target is reserved";
    default:
      return `unknown error ${error}`;
  }
}
