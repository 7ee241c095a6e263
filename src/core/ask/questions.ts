// One thing asked of one addressee, outside of a session: written, asked again under a fresh tag, and
// its answer recognized (wire/README.md, 'Layout'). What an answer means is for the asker to read.

import {
  AOE_COMMAND,
  AOE_ERROR,
  AOE_FLAG_ERROR,
  AOE_HEADER_BYTES,
  AOE_SLOT,
  AOE_TAG,
  AOE_VERSION,
  AOE_VERSION_FLAGS,
  aoeShelf,
  aoeVersion,
  COMMAND_ATA,
  COMMAND_CONFIG,
  COMMAND_MASK,
  COMMAND_RESERVE,
  isResponse,
  TAG_USERLAND,
  writeAoeHeader,
} from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import {
  ATA_FLAG_LBA48,
  ATA_HEADER_BYTES,
  ATA_IDENTIFY_DEVICE,
  ATA_READ_SECTORS,
  ATA_READ_SECTORS_EXT,
  LBA_DEVICE_0,
  writeAtaRequest,
  writeLba28,
} from "../../wire/ata.ts";
import { CONFIG_STRING, writeConfigRequest } from "../../wire/config.ts";
import { readUint32Be } from "../../wire/endian.ts";
import {
  ETHERNET_FRAME_BYTES_MIN,
  ETHERNET_SOURCE,
  ETHERNET_TYPE,
  ETHERTYPE_AOE,
  MAC_BYTES,
  macEquals,
} from "../../wire/ethernet.ts";
import { MASK_DIRECTIVE_BYTES, MASK_DIRECTIVES, writeMaskSection } from "../../wire/mask.ts";
import { RESERVE_MACS, writeReserveSection } from "../../wire/reserve.ts";

/** Questions whose answer is still recognized; the oldest are forgotten first. */
const ASKED_MAX = 16_384;
/** What of a tag numbers the questions. */
const TAG_MASK = TAG_USERLAND - 1;

/** One address, seen through one interface at one MAC. */
export interface Addressee {
  readonly address: Address;
  /** The caller's number of the interface. */
  readonly link: number;
  readonly mac: Uint8Array;
}

/** What is asked of an addressee. */
export interface Question {
  readonly addressee: Addressee;
  /** As at offset 19 of the frame. */
  readonly command: number;
  /** The whole frame, in which the header is still to be written. */
  readonly frame: Uint8Array;
}

/** What came back. */
export interface Answer {
  readonly question: Question;
  /** An AoE error, 0 for none. */
  readonly error: number;
  /** The whole frame, where it was received: what is to last must be copied at once. */
  readonly frame: Uint8Array;
  /** From the sending of the copy that is answered. */
  readonly roundTripMs: number;
  /** Whether the same copy was answered before: the network doubles frames. */
  readonly again: boolean;
}

interface Asked {
  readonly question: Question;
  readonly sentMs: number;
  answered: boolean;
}

/** The questions that are out, by their tags. */
export class Questions {
  readonly #asked = new Map<number, Asked>();
  #nextTag: number;

  /** @param nonce Any 31 bits that another who asks will hardly have. */
  constructor(nonce: number) {
    this.#nextTag = nonce & TAG_MASK;
  }

  /**
   * Writes a question under a fresh tag.
   *
   * @returns Length of the frame in bytes.
   */
  write(
    view: Uint8Array,
    at: number,
    sender: Uint8Array,
    question: Question,
    nowMs: number,
  ): number {
    const tag = (TAG_USERLAND | this.#nextTag) >>> 0;
    this.#nextTag = (this.#nextTag + 1) & TAG_MASK;
    if (this.#asked.size === ASKED_MAX) {
      for (const oldest of this.#asked.keys()) {
        this.#asked.delete(oldest);
        break;
      }
    }
    this.#asked.set(tag, { question, sentMs: nowMs, answered: false });
    const { frame, command, addressee: { address: { shelf, slot }, mac } } = question;
    view.set(frame, at);
    writeAoeHeader(view, at, mac, sender, { flags: 0, shelf, slot, command, tag });
    return frame.length;
  }

  /** Takes a frame that arrived on interface `link`; undefined when it answers none of ours. */
  receive(
    view: Uint8Array,
    at: number,
    length: number,
    link: number,
    nowMs: number,
  ): Answer | undefined {
    if (length < AOE_HEADER_BYTES) return undefined;
    const etherType = (view[at + ETHERNET_TYPE]! << 8) | view[at + ETHERNET_TYPE + 1]!;
    if (etherType !== ETHERTYPE_AOE || aoeVersion(view, at) !== AOE_VERSION) return undefined;
    if (!isResponse(view, at)) return undefined;
    const asked = this.#asked.get(readUint32Be(view, at + AOE_TAG));
    if (asked === undefined) return undefined;
    const { question, sentMs, answered } = asked;
    const { address, mac } = question.addressee;
    if (
      link !== question.addressee.link || aoeShelf(view, at) !== address.shelf ||
      view[at + AOE_SLOT] !== address.slot || view[at + AOE_COMMAND] !== question.command ||
      !macEquals(view, at + ETHERNET_SOURCE, mac, 0)
    ) {
      return undefined;
    }
    asked.answered = true;
    const failed = (view[at + AOE_VERSION_FLAGS]! & AOE_FLAG_ERROR) !== 0;
    return {
      question,
      // An error without a number is still an error.
      error: failed ? view[at + AOE_ERROR]! || -1 : 0,
      frame: view.subarray(at, at + length),
      roundTripMs: nowMs - sentMs,
      again: answered,
    };
  }
}

/**
 * IDENTIFY DEVICE.
 *
 * @param frameBytes Length to which the frame is padded, at least 60: targets pass over what
 * follows a request, so that a frame of any size can be sent.
 */
export function identifyQuestion(addressee: Addressee, frameBytes: number): Question {
  const frame = emptyFrame(frameBytes);
  writeAtaRequest(frame, 0, {
    flags: 0,
    feature: 0,
    count: 1,
    command: ATA_IDENTIFY_DEVICE,
    lba: LBA_DEVICE_0,
  });
  return { addressee, command: COMMAND_ATA, frame };
}

/**
 * A read of the first `sectors` sectors.
 *
 * @param lba48 Whether the disk knows 48-bit commands, as its IDENTIFY says.
 */
export function readQuestion(addressee: Addressee, sectors: number, lba48: boolean): Question {
  const frame = emptyFrame(ATA_HEADER_BYTES);
  writeAtaRequest(frame, 0, {
    flags: lba48 ? ATA_FLAG_LBA48 : 0,
    feature: 0,
    count: sectors,
    command: lba48 ? ATA_READ_SECTORS_EXT : ATA_READ_SECTORS,
    lba: 0,
  });
  if (!lba48) writeLba28(frame, 0, 0);
  return { addressee, command: COMMAND_ATA, frame };
}

/** Query config; `command` is a sub-command of the wire's, the string at most 1024 bytes. */
export function configQuestion(
  addressee: Addressee,
  command: number,
  string: Uint8Array,
): Question {
  const frame = emptyFrame(CONFIG_STRING + string.length);
  writeConfigRequest(frame, 0, command, string);
  return { addressee, command: COMMAND_CONFIG, frame };
}

/** The MAC mask list: read, or edited with one directive for each MAC, at most 255. */
export function maskQuestion(
  addressee: Addressee,
  command: number,
  directive: number,
  macs: readonly Uint8Array[],
): Question {
  const frame = emptyFrame(MASK_DIRECTIVES + macs.length * MASK_DIRECTIVE_BYTES);
  writeMaskSection(frame, 0, command, directive, joinMacs(macs));
  return { addressee, command: COMMAND_MASK, frame };
}

/** The reservation: read, or set to these MACs, at most 255. */
export function reserveQuestion(
  addressee: Addressee,
  command: number,
  macs: readonly Uint8Array[],
): Question {
  const frame = emptyFrame(RESERVE_MACS + macs.length * MAC_BYTES);
  writeReserveSection(frame, 0, command, joinMacs(macs));
  return { addressee, command: COMMAND_RESERVE, frame };
}

function emptyFrame(bytes: number): Uint8Array {
  return new Uint8Array(Math.max(ETHERNET_FRAME_BYTES_MIN, bytes));
}

function joinMacs(macs: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(macs.length * MAC_BYTES);
  macs.forEach((mac, i) => bytes.set(mac, i * MAC_BYTES));
  return bytes;
}
