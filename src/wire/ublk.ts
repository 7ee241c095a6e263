// Commands of ublk, Linux's block devices from user space (linux/ublk_cmd.h), as far as a server
// with one queue needs them. All fields are in the host's order, which is little-endian on the
// machines Deno runs on. Functions take the memory as 32-bit words and byte offsets that are
// multiples of 4.

import { readUint64Words, writeUint64Words } from "./endian.ts";

const READ = 2;
const READ_WRITE = 3;

/** struct ublksrv_ctrl_cmd; it is the payload of a wide submission entry. */
export const UBLK_CONTROL_BYTES = 32;
/** struct ublksrv_ctrl_dev_info. */
export const UBLK_INFO_BYTES = 64;
/** struct ublk_params as of Linux 6.0: the parts `basic` and `discard`. */
export const UBLK_PARAMETERS_BYTES = 64;
/** The answer to UBLK_GET_FEATURES. */
export const UBLK_FEATURES_BYTES = 8;
/** struct ublksrv_io_desc: what the kernel wants, one for each tag. */
export const UBLK_DESCRIPTOR_BYTES = 24;
/** struct ublksrv_io_cmd; the payload of an ordinary submission entry. */
export const UBLK_IO_BYTES = 16;

// Commands to /dev/ublk-control, numbered as ioctls are (Linux 6.4 and later).
export const UBLK_GET_INFO = ioctl(READ, UBLK_CONTROL_BYTES, 0x02);
export const UBLK_ADD = ioctl(READ_WRITE, UBLK_CONTROL_BYTES, 0x04);
export const UBLK_DELETE = ioctl(READ_WRITE, UBLK_CONTROL_BYTES, 0x05);
export const UBLK_START = ioctl(READ_WRITE, UBLK_CONTROL_BYTES, 0x06);
export const UBLK_STOP = ioctl(READ_WRITE, UBLK_CONTROL_BYTES, 0x07);
export const UBLK_SET_PARAMETERS = ioctl(READ_WRITE, UBLK_CONTROL_BYTES, 0x08);
export const UBLK_START_RECOVERY = ioctl(READ_WRITE, UBLK_CONTROL_BYTES, 0x10);
export const UBLK_END_RECOVERY = ioctl(READ_WRITE, UBLK_CONTROL_BYTES, 0x11);
export const UBLK_GET_FEATURES = ioctl(READ, UBLK_CONTROL_BYTES, 0x13);
/** Linux 6.9: does not wait until the last user has closed the device. */
export const UBLK_DELETE_LATER = ioctl(READ, UBLK_CONTROL_BYTES, 0x14);
export const UBLK_UPDATE_SIZE = ioctl(READ_WRITE, UBLK_CONTROL_BYTES, 0x15);

// Commands to /dev/ublkcN.
export const UBLK_FETCH = ioctl(READ_WRITE, UBLK_IO_BYTES, 0x20);
export const UBLK_COMMIT_AND_FETCH = ioctl(READ_WRITE, UBLK_IO_BYTES, 0x21);

// Flags of a device, and features of a kernel. What is used stands in the low word.
/** The device outlives its server, and another one can go on. */
export const UBLK_FEATURE_RECOVERY = 1 << 3;
/** What a dead server had not answered comes again to the next one. */
export const UBLK_FEATURE_REISSUE = 1 << 4;
/** Linux 6.16: the size of a device can change. */
export const UBLK_FEATURE_UPDATE_SIZE = 1 << 10;

/** States of a device. */
export const UBLK_STATE_DEAD = 0;
export const UBLK_STATE_LIVE = 1;
/** Its server has gone; requests wait for another one. */
export const UBLK_STATE_QUIESCED = 2;

// Attributes among the parameters.
export const UBLK_READ_ONLY = 1 << 0;
export const UBLK_ROTATIONAL = 1 << 1;
export const UBLK_VOLATILE_CACHE = 1 << 2;
export const UBLK_FUA = 1 << 3;
const PARAMETERS_BASIC = 1 << 0;
const PARAMETERS_DISCARD = 1 << 1;

// Operations, in the low byte of a descriptor, and flags above it.
export const UBLK_OP_READ = 0;
export const UBLK_OP_WRITE = 1;
export const UBLK_OP_FLUSH = 2;
export const UBLK_OP_DISCARD = 3;
export const UBLK_OP_WRITE_ZEROES = 5;
export const UBLK_OP_FUA = 1 << 13;
export const UBLK_OP_NO_UNMAP = 1 << 15;

/** In the place of a device's number: none, or whichever is free. */
export const UBLK_NO_DEVICE = 0xffff_ffff;
/** In the place of a queue's number: the command is for the whole device. */
const NO_QUEUE = 0xffff;
const SECTOR_SHIFT = 9;
/** In the word that the kernel keeps for the server: the device is ours, and a version. */
const OWNER_SIGNATURE = 0x616f6501;

/** A control command. */
export interface UblkControlCommand {
  /** Number of the device, or UBLK_NO_DEVICE. */
  readonly device: number;
  /** Address and length of a structure; 0 for none. */
  readonly address?: number;
  readonly bytes?: number;
  /** The one plain argument: a process id, or sectors. */
  readonly argument?: number;
}

/** Writes struct ublksrv_ctrl_cmd. */
export function writeUblkControl(u32: Uint32Array, at: number, command: UblkControlCommand): void {
  const word = at >>> 2;
  u32[word] = command.device;
  u32[word + 1] = NO_QUEUE | (command.bytes ?? 0) << 16;
  writeUint64Words(u32, at + 8, command.address ?? 0);
  writeUint64Words(u32, at + 16, command.argument ?? 0);
  writeUint64Words(u32, at + 24, 0);
}

/** What a device is, beside its parameters. */
export interface UblkInfo {
  /** Number of the device; UBLK_NO_DEVICE lets the kernel choose. */
  readonly device: number;
  readonly depth: number;
  /** A UBLK_STATE constant. */
  readonly state: number;
  /** Most bytes of one request. */
  readonly requestBytesMax: number;
  /** UBLK_FEATURE flags. */
  readonly flags: number;
  /** Shelf × 256 + slot of the remote disk; undefined when the device is somebody else's. */
  readonly owner: number | undefined;
}

/** Writes struct ublksrv_ctrl_dev_info, for a device with one queue. */
export function writeUblkInfo(
  u32: Uint32Array,
  at: number,
  info: Omit<UblkInfo, "state">,
): void {
  const word = at >>> 2;
  u32.fill(0, word, word + UBLK_INFO_BYTES / 4);
  u32[word] = 1 | info.depth << 16;
  u32[word + 2] = info.requestBytesMax;
  u32[word + 3] = info.device;
  u32[word + 6] = info.flags;
  if (info.owner === undefined) return;
  u32[word + 8] = info.owner;
  u32[word + 9] = OWNER_SIGNATURE;
}

/** Reads struct ublksrv_ctrl_dev_info. */
export function readUblkInfo(u32: Uint32Array, at: number): UblkInfo {
  const word = at >>> 2;
  return {
    device: u32[word + 3]!,
    depth: u32[word]! >>> 16,
    state: u32[word + 1]! & 0xffff,
    requestBytesMax: u32[word + 2]!,
    flags: u32[word + 6]!,
    owner: u32[word + 9] === OWNER_SIGNATURE ? u32[word + 8] : undefined,
  };
}

/** How the kernel shall see the disk. */
export interface UblkParameters {
  /** UBLK_READ_ONLY, UBLK_ROTATIONAL, UBLK_VOLATILE_CACHE and UBLK_FUA. */
  readonly attributes: number;
  readonly sectors: number;
  readonly physicalBlockBytes: number;
  readonly requestSectorsMax: number;
  /** 0 where there is no discard. */
  readonly discardSectorsMax: number;
  readonly zeroSectorsMax: number;
}

/** Writes struct ublk_params. */
export function writeUblkParameters(
  u32: Uint32Array,
  at: number,
  parameters: UblkParameters,
): void {
  const word = at >>> 2;
  const physicalShift = 31 - Math.clz32(parameters.physicalBlockBytes);
  u32.fill(0, word, word + UBLK_PARAMETERS_BYTES / 4);
  u32[word] = UBLK_PARAMETERS_BYTES;
  u32[word + 1] = PARAMETERS_BASIC | PARAMETERS_DISCARD;
  u32[word + 2] = parameters.attributes;
  // Shifts of the logical and physical block, of the optimal and the smallest request.
  u32[word + 3] = SECTOR_SHIFT | physicalShift << 8 | physicalShift << 16 | physicalShift << 24;
  u32[word + 4] = parameters.requestSectorsMax;
  writeUint64Words(u32, at + 24, parameters.sectors);
  u32[word + 11] = parameters.physicalBlockBytes;
  u32[word + 12] = parameters.discardSectorsMax;
  u32[word + 13] = parameters.zeroSectorsMax;
  // One range a discard: the driver knows no more.
  u32[word + 14] = 1;
}

/** Features of the kernel, of those that stand in the low word. */
export function readUblkFeatures(u32: Uint32Array, at: number): number {
  return u32[at >>> 2]!;
}

/** UBLK_OP and its flags, of the descriptor at `at`. */
export function ublkOperation(u32: Uint32Array, at: number): number {
  return u32[at >>> 2]!;
}

/** How many sectors. */
export function ublkSectors(u32: Uint32Array, at: number): number {
  return u32[(at >>> 2) + 1]!;
}

/** The first of them; a Number holds every sector of a disk. */
export function ublkFirstSector(u32: Uint32Array, at: number): number {
  return readUint64Words(u32, at + 8);
}

/**
 * Writes struct ublksrv_io_cmd for queue 0.
 *
 * @param result Bytes moved, or 0, or −errno; not looked at in a fetch.
 * @param address Where data of the next request with this tag shall stand.
 */
export function writeUblkIo(
  u32: Uint32Array,
  at: number,
  tag: number,
  result: number,
  address: number,
): void {
  u32[at >>> 2] = tag << 16;
  u32[(at >>> 2) + 1] = result;
  writeUint64Words(u32, at + 8, address);
}

/** _IOC of asm-generic/ioctl.h, with the letter of ublk. */
function ioctl(direction: number, bytes: number, number: number): number {
  return (direction << 30 | bytes << 16 | "u".charCodeAt(0) << 8 | number) >>> 0;
}
