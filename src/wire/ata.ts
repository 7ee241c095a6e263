// The ATA section of an AoE frame: 12 bytes at 24, data at 36 (wire/README.md, 'ATA, 12 bytes at 24';
// register meanings from ATA8-ACS). The LBA's bytes are little-endian.

import { AOE_HEADER_BYTES } from "./aoe.ts";
import { readUint48Le, writeUint48Le } from "./endian.ts";

export const SECTOR_BYTES = 512;

export const ATA_FLAGS = AOE_HEADER_BYTES;
/** Feature register in a request, error register in a response. */
export const ATA_FEATURE_ERROR = AOE_HEADER_BYTES + 1;
export const ATA_SECTOR_COUNT = AOE_HEADER_BYTES + 2;
/** Command register in a request, status register in a response. */
export const ATA_COMMAND_STATUS = AOE_HEADER_BYTES + 3;
export const ATA_LBA = AOE_HEADER_BYTES + 4;
export const ATA_HEADER_BYTES = AOE_HEADER_BYTES + 12;
/** Where the data of a read or write begin: offset 36 of the frame. */
export const ATA_DATA = ATA_HEADER_BYTES;

export const ATA_FLAG_LBA48 = 0x40;
export const ATA_FLAG_WRITE = 0x01;

export const ATA_READ_SECTORS = 0x20;
export const ATA_READ_SECTORS_EXT = 0x24;
export const ATA_READ_DMA_EXT = 0x25;
export const ATA_READ_MULTIPLE_EXT = 0x29;
export const ATA_READ_MULTIPLE = 0xc4;
export const ATA_READ_DMA = 0xc8;
export const ATA_WRITE_SECTORS = 0x30;
export const ATA_WRITE_SECTORS_EXT = 0x34;
export const ATA_WRITE_DMA_EXT = 0x35;
export const ATA_WRITE_MULTIPLE_EXT = 0x39;
export const ATA_WRITE_DMA_FUA_EXT = 0x3d;
export const ATA_WRITE_MULTIPLE = 0xc5;
export const ATA_WRITE_DMA = 0xca;
export const ATA_WRITE_MULTIPLE_FUA_EXT = 0xce;
export const ATA_READ_VERIFY = 0x40;
export const ATA_READ_VERIFY_EXT = 0x42;
export const ATA_FLUSH_CACHE = 0xe7;
export const ATA_FLUSH_CACHE_EXT = 0xea;
export const ATA_IDENTIFY_DEVICE = 0xec;
export const ATA_CHECK_POWER_MODE = 0xe5;
export const ATA_CHECK_POWER_MODE_OLD = 0x98;
export const ATA_SET_FEATURES = 0xef;
export const ATA_READ_NATIVE_MAX = 0xf8;
export const ATA_READ_NATIVE_MAX_EXT = 0x27;
export const ATA_DATA_SET_MANAGEMENT = 0x06;
/** Feature register of DATA SET MANAGEMENT that asks for TRIM. */
export const DSM_FEATURE_TRIM = 0x01;
/** One LBA range entry of DATA SET MANAGEMENT: 48 bits of LBA, 16 bits of sector count. */
export const DSM_RANGE_BYTES = 8;

export const FEATURE_WRITE_CACHE_ON = 0x02;
export const FEATURE_TRANSFER_MODE = 0x03;
export const FEATURE_WRITE_CACHE_OFF = 0x82;

export const ATA_ERROR_UNC = 0x40;
export const ATA_ERROR_IDNF = 0x10;
export const ATA_ERROR_ABRT = 0x04;

export const ATA_STATUS_DRDY = 0x40;
export const ATA_STATUS_DF = 0x20;
export const ATA_STATUS_ERR = 0x01;

/** Highest bits of a 28-bit command's device register: an LBA, and two that were once always set. */
const DEVICE_LBA = 0xe0;

/** LBA of an IDENTIFY: as a device register, lba3 names device 0, which PATA bridges look at. */
export const LBA_DEVICE_0 = 0xa0 * 2 ** 24;
/** Largest LBA of a 48-bit command. */
export const LBA48_MAX = 2 ** 48 - 1;
/** Number of sectors a 28-bit command can address. */
export const LBA28_SECTORS_MAX = 2 ** 28 - 1;

/** Logical block address of a 48-bit command: `lba0` … `lba5`. */
export function readLba48(view: Uint8Array, at: number): number {
  return readUint48Le(view, at + ATA_LBA);
}

/** Logical block address of a 28-bit command: `lba0` … `lba2` and the low nibble of `lba3`. */
export function readLba28(view: Uint8Array, at: number): number {
  const lba = at + ATA_LBA;
  return view[lba]! | (view[lba + 1]! << 8) | (view[lba + 2]! << 16) |
    ((view[lba + 3]! & 0x0f) << 24);
}

/** Writes `lba0` … `lba5`. */
export function writeLba48(view: Uint8Array, at: number, lba: number): void {
  writeUint48Le(view, at + ATA_LBA, lba);
}

/** Writes `lba0` … `lba3` of a 28-bit command, the last with the bits of the device register. */
export function writeLba28(view: Uint8Array, at: number, lba: number): void {
  writeUint48Le(view, at + ATA_LBA, lba);
  view[at + ATA_LBA + 3] = view[at + ATA_LBA + 3]! & 0x0f | DEVICE_LBA;
  view[at + ATA_LBA + 4] = 0;
  view[at + ATA_LBA + 5] = 0;
}

/**
 * Writes the 12-byte ATA section of a request.
 *
 * @param request `count` in sectors; `lba` 0 … 2^48−1; `flags` as at offset 24 of the frame.
 */
export function writeAtaRequest(
  view: Uint8Array,
  at: number,
  request: { flags: number; feature: number; count: number; command: number; lba: number },
): void {
  view[at + ATA_FLAGS] = request.flags;
  view[at + ATA_FEATURE_ERROR] = request.feature;
  view[at + ATA_SECTOR_COUNT] = request.count;
  view[at + ATA_COMMAND_STATUS] = request.command;
  writeLba48(view, at, request.lba);
  view[at + ATA_LBA + 6] = 0;
  view[at + ATA_LBA + 7] = 0;
}

/**
 * Most whole sectors that one frame of an interface carries (wire/README.md, decision 6).
 *
 * @param mtu Payload bytes of the interface, without the 14-byte Ethernet header.
 * @returns 0 … 255.
 */
export function sectorsPerFrame(mtu: number): number {
  // The MTU does not count the Ethernet header, yet the decision subtracts all 36 bytes: frames
  // stay readable by peers that count it, and 1500 and 9000 give the customary 2 and 17.
  return Math.max(0, Math.min(255, Math.floor((mtu - ATA_HEADER_BYTES) / SECTOR_BYTES)));
}

/** The set bits of a status and an error register in words, for logs: `ERR DRDY ABRT`. */
export function ataErrorName(status: number, error: number): string {
  const names: string[] = [];
  const statusBits: readonly (readonly [number, string])[] = [
    [0x80, "BSY"],
    [0x20, "DF"],
    [0x08, "DRQ"],
    [0x01, "ERR"],
  ];
  const errorBits: readonly (readonly [number, string])[] = [
    [0x80, "ICRC"],
    [0x40, "UNC"],
    [0x20, "MC"],
    [0x10, "IDNF"],
    [0x08, "MCR"],
    [0x04, "ABRT"],
  ];
  for (const [bit, name] of statusBits) if ((status & bit) !== 0) names.push(name);
  if ((status & ATA_STATUS_ERR) !== 0) {
    for (const [bit, name] of errorBits) if ((error & bit) !== 0) names.push(name);
  }
  return names.join(" ");
}
