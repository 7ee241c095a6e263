// The initiator's outgoing frames. Headers stand in the memory that the caller gave (the kernel
// reads them there), payloads stay where the caller has them: a frame is two places to gather.
//
// The region: a header for each command · one for each interface's query · blocks of ranges for
// discards · zeros that pad large probes.

import { COMMAND_ATA, COMMAND_CONFIG, TAG_USERLAND, writeAoeHeader } from "../../wire/aoe.ts";
import {
  ATA_COMMAND_STATUS,
  ATA_DATA_SET_MANAGEMENT,
  ATA_FLAG_LBA48,
  ATA_FLAG_WRITE,
  ATA_HEADER_BYTES,
  ATA_IDENTIFY_DEVICE,
  ATA_READ_SECTORS,
  ATA_READ_SECTORS_EXT,
  ATA_WRITE_SECTORS,
  ATA_WRITE_SECTORS_EXT,
  DSM_FEATURE_TRIM,
  DSM_RANGE_BYTES,
  SECTOR_BYTES,
  writeAtaRequest,
  writeLba28,
} from "../../wire/ata.ts";
import { CONFIG_READ, writeConfigRequest } from "../../wire/config.ts";
import { writeUint48Le } from "../../wire/endian.ts";
import { ETHERNET_FRAME_BYTES_MIN, MAC_BROADCAST } from "../../wire/ethernet.ts";
import {
  COMMAND_KIND_DISCARD,
  COMMAND_KIND_FLUSH,
  COMMAND_KIND_LARGE_PROBE,
  COMMAND_KIND_READ,
  COMMAND_KIND_SIZED_PROBE,
  COMMAND_KIND_WRITE,
  type CommandTable,
} from "./commands.ts";
import type { Path } from "./path.ts";
import type { Interface } from "./session.ts";
import { FreeStack, NONE } from "../tables.ts";

const HEADER_STRIDE = 64;
/** Sectors of one range entry, and what one block of entries can discard at once. */
const RANGE_SECTORS_MAX = 65535;
export const DISCARD_SECTORS_MAX = (SECTOR_BYTES / DSM_RANGE_BYTES) * RANGE_SECTORS_MAX;
const NO_STRING = new Uint8Array(0);

/** A frame to send: two places in the initiator's memory, to be gathered. Reused. */
export interface OutgoingFrame {
  /** What `handleSent` wants to hear. */
  tag: number;
  /** The loop's number of the interface. */
  interfaceIndex: number;
  headerAt: number;
  headerBytes: number;
  /** Meaningless when `payloadBytes` is 0. */
  payloadAt: number;
  payloadBytes: number;
}

/** Sizes that decide how much memory the frames take. */
export interface FrameRegionSizes {
  readonly commandsMax: number;
  readonly interfacesMax: number;
  readonly discardsMax: number;
  readonly sectorsMax: number;
}

/** Bytes of the region. */
export function frameRegionBytes(sizes: FrameRegionSizes): number {
  return (sizes.commandsMax + sizes.interfacesMax) * HEADER_STRIDE +
    (sizes.discardsMax + sizes.sectorsMax) * SECTOR_BYTES;
}

/** Writes frames into the region and describes them in `frame`. */
export class FrameWriter {
  readonly frame: OutgoingFrame = {
    tag: 0,
    interfaceIndex: 0,
    headerAt: 0,
    headerBytes: 0,
    payloadAt: 0,
    payloadBytes: 0,
  };
  readonly #memory: Uint8Array;
  readonly #headersAt: number;
  readonly #queriesAt: number;
  readonly #blocksAt: number;
  readonly #zerosAt: number;
  readonly #freeBlocks: FreeStack;
  // Reused, so that a frame allocates nothing.
  readonly #aoe: { flags: number; shelf: number; slot: number; command: number; tag: number };
  readonly #ata = { flags: 0, feature: 0, count: 0, command: 0, lba: 0 };

  /** @param at Where the region begins in `memory`. */
  constructor(
    memory: Uint8Array,
    at: number,
    shelf: number,
    slot: number,
    sizes: FrameRegionSizes,
  ) {
    if (at < 0 || at + frameRegionBytes(sizes) > memory.length) {
      throw new RangeError(`No room for ${frameRegionBytes(sizes)} bytes of frames at ${at}`);
    }
    this.#memory = memory;
    this.#headersAt = at;
    this.#queriesAt = at + sizes.commandsMax * HEADER_STRIDE;
    this.#blocksAt = this.#queriesAt + sizes.interfacesMax * HEADER_STRIDE;
    this.#zerosAt = this.#blocksAt + sizes.discardsMax * SECTOR_BYTES;
    this.#freeBlocks = new FreeStack(sizes.discardsMax);
    this.#aoe = { flags: 0, shelf, slot, command: COMMAND_ATA, tag: 0 };
    memory.fill(0, at, at + frameRegionBytes(sizes));
  }

  /** Whether one more discard can have a block of ranges. */
  get hasBlock(): boolean {
    return this.#freeBlocks.count > 0;
  }

  /** Takes a block and fills it with the ranges of a discard. */
  takeBlock(lba: number, sectors: number): number {
    const block = this.#freeBlocks.take();
    if (block === NONE) throw new Error("No free block of ranges");
    let at = this.#blocksAt + block * SECTOR_BYTES;
    this.#memory.fill(0, at, at + SECTOR_BYTES);
    let first = lba;
    for (let rest = sectors; rest > 0; at += DSM_RANGE_BYTES) {
      const count = Math.min(rest, RANGE_SECTORS_MAX);
      writeUint48Le(this.#memory, at, first);
      this.#memory[at + 6] = count;
      this.#memory[at + 7] = count >>> 8;
      first += count;
      rest -= count;
    }
    return block;
  }

  /** Gives a block back once its frames are sent. */
  releaseBlock(block: number): void {
    if (block !== NONE) this.#freeBlocks.release(block);
  }

  /** Writes the query config request of an interface. */
  writeQuery(position: number, through: Interface): void {
    const at = this.#queriesAt + position * HEADER_STRIDE;
    this.#aoe.command = COMMAND_CONFIG;
    this.#aoe.tag = TAG_USERLAND;
    writeAoeHeader(this.#memory, at, MAC_BROADCAST, through.mac, this.#aoe);
    writeConfigRequest(this.#memory, at, CONFIG_READ, NO_STRING);
    this.#describe(position, through.index, at, ETHERNET_FRAME_BYTES_MIN, 0, 0);
  }

  /**
   * Writes the next copy of a command.
   *
   * @param tag Tag of that copy.
   * @param flushCommand ATA command that a flush is sent with.
   * @param lba48 Whether the disk knows 48-bit commands.
   */
  writeCommand(
    table: CommandTable,
    command: number,
    tag: number,
    path: Path,
    through: Interface,
    flushCommand: number,
    lba48: boolean,
  ): void {
    const memory = this.#memory;
    const at = this.#headersAt + command * HEADER_STRIDE;
    const ata = this.#ata;
    const done = table.done[command]!;
    const piece = table.piece[command]!;
    let payloadAt = 0;
    let payloadBytes = 0;
    let narrow = false;
    ata.feature = 0;
    ata.count = piece;
    ata.flags = ATA_FLAG_LBA48;
    ata.lba = table.lba[command]! + done;
    switch (table.kind[command]) {
      case COMMAND_KIND_READ:
        ata.command = lba48 ? ATA_READ_SECTORS_EXT : ATA_READ_SECTORS;
        narrow = !lba48;
        break;
      case COMMAND_KIND_WRITE:
        ata.command = lba48 ? ATA_WRITE_SECTORS_EXT : ATA_WRITE_SECTORS;
        ata.flags = ATA_FLAG_LBA48 | ATA_FLAG_WRITE;
        narrow = !lba48;
        payloadAt = table.payloadAt[command]! + done * SECTOR_BYTES;
        payloadBytes = piece * SECTOR_BYTES;
        break;
      default:
        narrow = this.#chooseOther(table, command, flushCommand, lba48);
        payloadAt = this.frame.payloadAt;
        payloadBytes = this.frame.payloadBytes;
    }
    this.#aoe.command = COMMAND_ATA;
    this.#aoe.tag = tag >>> 0;
    writeAoeHeader(memory, at, path.mac, through.mac, this.#aoe);
    if (narrow) ata.flags &= ~ATA_FLAG_LBA48;
    writeAtaRequest(memory, at, ata);
    if (narrow) writeLba28(memory, at, ata.lba);
    // Behind the 36 bytes stand zeros since the region was made: they are the padding.
    const headerBytes = payloadBytes === 0 ? ETHERNET_FRAME_BYTES_MIN : ATA_HEADER_BYTES;
    this.#describe(tag, through.index, at, headerBytes, payloadAt, payloadBytes);
  }

  /**
   * Chooses the ATA registers and the payload of a command that carries no data of a caller.
   *
   * @returns Whether its LBA is one of 28 bits.
   */
  #chooseOther(
    table: CommandTable,
    command: number,
    flushCommand: number,
    lba48: boolean,
  ): boolean {
    const ata = this.#ata;
    const frame = this.frame;
    frame.payloadAt = this.#zerosAt;
    frame.payloadBytes = 0;
    switch (table.kind[command]) {
      case COMMAND_KIND_FLUSH:
        ata.command = flushCommand;
        ata.count = 0;
        return false;
      case COMMAND_KIND_DISCARD:
        ata.command = ATA_DATA_SET_MANAGEMENT;
        ata.feature = DSM_FEATURE_TRIM;
        ata.flags = ATA_FLAG_LBA48 | ATA_FLAG_WRITE;
        ata.count = 1;
        ata.lba = 0;
        frame.payloadAt = this.#blocksAt + table.block[command]! * SECTOR_BYTES;
        frame.payloadBytes = SECTOR_BYTES;
        return false;
      case COMMAND_KIND_LARGE_PROBE:
        // The padding makes the request as large as the answer will be.
        ata.command = lba48 ? ATA_READ_SECTORS_EXT : ATA_READ_SECTORS;
        frame.payloadBytes = ata.count * SECTOR_BYTES;
        return !lba48;
      case COMMAND_KIND_SIZED_PROBE:
        frame.payloadBytes = ata.count * SECTOR_BYTES;
        ata.command = ATA_IDENTIFY_DEVICE;
        ata.count = 1;
        break;
      default:
        ata.command = ATA_IDENTIFY_DEVICE;
    }
    ata.flags = 0;
    ata.lba = 0;
    return false;
  }

  /** ATA command of the latest frame of a command. */
  ataCommandOf(command: number): number {
    return this.#memory[this.#headersAt + command * HEADER_STRIDE + ATA_COMMAND_STATUS]!;
  }

  #describe(
    tag: number,
    interfaceIndex: number,
    headerAt: number,
    headerBytes: number,
    payloadAt: number,
    payloadBytes: number,
  ): void {
    const frame = this.frame;
    frame.tag = tag;
    frame.interfaceIndex = interfaceIndex;
    frame.headerAt = headerAt;
    frame.headerBytes = headerBytes;
    frame.payloadAt = payloadAt;
    frame.payloadBytes = payloadBytes;
  }
}
