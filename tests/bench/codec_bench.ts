// `deno bench`: what one frame costs in the codecs and in the target's decisions, without any
// system call. At 400,000 requests a second a request has 2,500 ns for everything.

import { Drive } from "../../src/core/target/drive.ts";
import { OverlapOrder } from "../../src/core/target/overlap.ts";
import { type Link, OUTCOME_DONE, receiveFrame, Target } from "../../src/core/target/target.ts";
import { COMMAND_ATA, COMMAND_CONFIG, writeAoeHeader } from "../../src/wire/aoe.ts";
import {
  ATA_DATA,
  ATA_FLAG_LBA48,
  ATA_FLAG_WRITE,
  ATA_HEADER_BYTES,
  ATA_IDENTIFY_DEVICE,
  ATA_READ_SECTORS_EXT,
  ATA_WRITE_SECTORS_EXT,
  readLba48,
  SECTOR_BYTES,
  writeAtaRequest,
} from "../../src/wire/ata.ts";
import { readConfigResponse, writeConfigRequest } from "../../src/wire/config.ts";
import { ETHERNET_FRAME_BYTES_MIN } from "../../src/wire/ethernet.ts";
import { targetFilter } from "../../src/wire/filter.ts";
import { type Identity, readIdentity, writeIdentity } from "../../src/wire/identify.ts";

const STRIDE = 10_240;
/** Frames stand in an arena at many offsets, as they do in a worker. */
const FRAMES = 64;
const SECTORS = 16;
const DISK_SECTORS = 2 ** 31;

const arena = new Uint8Array(STRIDE * FRAMES);
const targetMac = Uint8Array.of(2, 0, 0, 0, 0, 1);
const initiatorMac = Uint8Array.of(2, 0, 0, 0, 0, 2);
const link: Link = { mac: targetMac, mtu: 9000, sectors: 17 };
const identity: Identity = {
  serial: "0123456789",
  firmware: "0.1.0",
  model: "aoe disk",
  sectors: DISK_SECTORS,
  writeCacheSupported: true,
  writeCacheOn: true,
  trim: true,
  physicalSectorBytes: 4096,
  rotational: false,
};
const target = new Target({
  shelf: 1,
  slot: 1,
  drive: new Drive({ ...identity, readOnly: false, sync: false }),
  buffers: 64,
});
const requestHeader = { flags: 0, shelf: 1, slot: 1, command: COMMAND_ATA, tag: 0x8000_0000 };

/** Scatters block addresses over the disk, the same ones in every run. */
function lbaOf(i: number): number {
  return (i * 2_654_435_761 >>> 0) % (DISK_SECTORS / SECTORS) * SECTORS;
}

function writeRequest(at: number, command: number, flags: number, lba: number): void {
  writeAoeHeader(arena, at, targetMac, initiatorMac, requestHeader);
  writeAtaRequest(arena, at, { flags, feature: 0, count: SECTORS, command, lba });
}

/** Has every frame of the arena taken by the target and its work completed. */
function targetRound(command: number, flags: number, length: number): void {
  for (let i = 0; i < FRAMES; i++) {
    const at = i * STRIDE;
    writeRequest(at, command, flags, lbaOf(i));
    receiveFrame(target, arena, at, length, link);
    const { operation, sectorsWanted } = target.drive;
    target.complete(arena, at, link, operation, sectorsWanted, OUTCOME_DONE);
  }
}

const writeLength = ATA_DATA + SECTORS * SECTOR_BYTES;

Deno.bench("wire: 64 ATA requests written", () => {
  for (let i = 0; i < FRAMES; i++) {
    writeRequest(i * STRIDE, ATA_READ_SECTORS_EXT, ATA_FLAG_LBA48, lbaOf(i));
  }
});

Deno.bench("wire: 64 block addresses read", () => {
  let sum = 0;
  for (let i = 0; i < FRAMES; i++) sum += readLba48(arena, i * STRIDE);
  if (sum < 0) throw new Error("Not reached; keeps the reads alive");
});

Deno.bench("wire: IDENTIFY written", () => writeIdentity(arena, ATA_DATA, identity));

Deno.bench("wire: IDENTIFY read", () => {
  readIdentity(arena, ATA_DATA);
});

Deno.bench("wire: filter of 16 exports", () => {
  targetFilter(Array.from({ length: 16 }, (_, slot) => ({ shelf: 1, slot })));
});

Deno.bench("target: 64 READs written, received, completed", { group: "target" }, () => {
  targetRound(ATA_READ_SECTORS_EXT, ATA_FLAG_LBA48, ATA_HEADER_BYTES);
});

Deno.bench("target: 64 WRITEs written, received, completed", { group: "target" }, () => {
  targetRound(ATA_WRITE_SECTORS_EXT, ATA_FLAG_LBA48 | ATA_FLAG_WRITE, writeLength);
});

Deno.bench("target: IDENTIFY answered", () => {
  writeAoeHeader(arena, 0, targetMac, initiatorMac, requestHeader);
  const command = ATA_IDENTIFY_DEVICE;
  writeAtaRequest(arena, 0, { flags: 0, feature: 0, count: 1, command, lba: 0 });
  receiveFrame(target, arena, 0, ETHERNET_FRAME_BYTES_MIN, link);
});

Deno.bench("target: query config answered and read", () => {
  writeAoeHeader(arena, 0, targetMac, initiatorMac, { ...requestHeader, command: COMMAND_CONFIG });
  writeConfigRequest(arena, 0, 0, new Uint8Array(0));
  readConfigResponse(arena, 0, receiveFrame(target, arena, 0, ETHERNET_FRAME_BYTES_MIN, link));
});

const order = new OverlapOrder(FRAMES);

Deno.bench("overlap: 64 READs in flight at once", { group: "overlap" }, () => {
  for (let i = 0; i < FRAMES; i++) order.admit(i, false, lbaOf(i), lbaOf(i) + SECTORS);
  for (let i = 0; i < FRAMES; i++) order.finish(i);
});

Deno.bench("overlap: 64 WRITEs in flight at once", { group: "overlap" }, () => {
  for (let i = 0; i < FRAMES; i++) order.admit(i, true, lbaOf(i), lbaOf(i) + SECTORS);
  for (let i = 0; i < FRAMES; i++) order.finish(i);
});
