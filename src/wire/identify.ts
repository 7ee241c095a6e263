// IDENTIFY DEVICE data: 256 little-endian words (ATA8-ACS section 7.16; wire/README.md, 'IDENTIFY
// DEVICE'). Strings hold two characters a word, the first in the high byte, padded with spaces.

import { LBA28_SECTORS_MAX } from "./ata.ts";
import { readUint48Le, writeUint48Le } from "./endian.ts";

export const IDENTIFY_BYTES = 512;

/** What a drive says of itself. */
export interface Identity {
  /** Up to 20 ASCII characters. */
  readonly serial: string;
  /** Up to 8 ASCII characters. */
  readonly firmware: string;
  /** Up to 40 ASCII characters. */
  readonly model: string;
  /** Addressable 512-byte sectors. */
  readonly sectors: number;
  /** Whether the write cache can be switched (word 82). */
  readonly writeCacheSupported: boolean;
  /** Whether it is on (word 85): an answered write may still be volatile. */
  readonly writeCacheOn: boolean;
  /** Whether DATA SET MANAGEMENT with TRIM works (word 169). */
  readonly trim: boolean;
  /** Bytes of a physical sector: 512 × 2^n (word 106). */
  readonly physicalSectorBytes: number;
  /** Whether the medium spins (word 217). */
  readonly rotational: boolean;
}

const WORD_SERIAL = 10;
const WORD_FIRMWARE = 23;
const WORD_MODEL = 27;
const WORD_SECTORS28 = 60;
const WORD_COMMANDS_SUPPORTED = 82;
const WORD_COMMANDS_ENABLED = 85;
const WORD_ADDITIONAL = 69;
const WORD_SECTORS48 = 100;
const WORD_SECTOR_SIZE = 106;
const WORD_TRIM = 169;
const WORD_ROTATION = 217;
const WRITE_CACHE = 1 << 5;
const LBA48 = 1 << 10;
const FLUSH = 1 << 12;
const FLUSH_EXT = 1 << 13;
/** "This word is valid": bit 14 set, bit 15 clear. */
const VALID = 1 << 14;
/** ATA8-ACS section 7.16.7.27: reads after TRIM are deterministic, and give zeros. */
const READ_ZEROS_AFTER_TRIM = (1 << 14) | (1 << 5);

/** What a drive says it can do, beyond its identity. */
export interface Capabilities {
  /** Whether it takes 48-bit addresses. */
  readonly lba48: boolean;
  readonly flush: boolean;
  readonly flushExt: boolean;
  /** Bytes of a logical sector; AoE knows 512 only. */
  readonly logicalSectorBytes: number;
  /** Turns a minute; 0 when nothing turns, undefined when it does not say. */
  readonly turnsPerMinute: number | undefined;
}

function setWord(view: Uint8Array, at: number, word: number, value: number): void {
  view[at + 2 * word] = value;
  view[at + 2 * word + 1] = value >>> 8;
}

function word(view: Uint8Array, at: number, index: number): number {
  return view[at + 2 * index]! | (view[at + 2 * index + 1]! << 8);
}

function setString(view: Uint8Array, at: number, first: number, words: number, text: string) {
  for (let i = 0; i < 2 * words; i++) {
    const code = i < text.length ? text.charCodeAt(i) : 0x20;
    view[at + 2 * first + (i ^ 1)] = code >= 0x20 && code < 0x7f ? code : 0x3f;
  }
}

function string(view: Uint8Array, at: number, first: number, words: number): string {
  let text = "";
  for (let i = 0; i < 2 * words; i++) {
    const code = view[at + 2 * first + (i ^ 1)]!;
    text += code >= 0x20 && code < 0x7f ? String.fromCharCode(code) : " ";
  }
  return text.trim();
}

/** Writes the 512 bytes at `at`. */
export function writeIdentity(view: Uint8Array, at: number, identity: Identity): void {
  view.fill(0, at, at + IDENTIFY_BYTES);
  const sectors28 = Math.min(identity.sectors, LBA28_SECTORS_MAX);
  // The geometry that ATA-4 annex B derives: at most 16383 cylinders of 16 heads, 63 sectors.
  const cylinders = Math.min(16383, Math.floor(sectors28 / (16 * 63)));
  const chsSectors = cylinders * 16 * 63;
  setWord(view, at, 0, 0x0040);
  setWord(view, at, 1, cylinders);
  setWord(view, at, 3, 16);
  setWord(view, at, 6, 63);
  setString(view, at, WORD_SERIAL, 10, identity.serial);
  setString(view, at, WORD_FIRMWARE, 4, identity.firmware);
  setString(view, at, WORD_MODEL, 20, identity.model);
  setWord(view, at, 47, 0x8000);
  setWord(view, at, 49, 0x0200);
  setWord(view, at, 50, 0x4000);
  // Words 54-58, 64-70 and 88 are valid.
  setWord(view, at, 53, 0x0007);
  setWord(view, at, 54, cylinders);
  setWord(view, at, 55, 16);
  setWord(view, at, 56, 63);
  setWord(view, at, 57, chsSectors);
  setWord(view, at, 58, chsSectors >>> 16);
  setWord(view, at, WORD_SECTORS28, sectors28);
  setWord(view, at, WORD_SECTORS28 + 1, sectors28 >>> 16);
  // Major version: ATA/ATAPI-4 to ATA8-ACS.
  setWord(view, at, 80, 0x01f0);
  const cacheSupported = identity.writeCacheSupported ? WRITE_CACHE : 0;
  const cacheOn = identity.writeCacheOn ? WRITE_CACHE : 0;
  setWord(view, at, WORD_COMMANDS_SUPPORTED, cacheSupported);
  setWord(view, at, 83, VALID | LBA48 | FLUSH | FLUSH_EXT);
  setWord(view, at, 84, VALID);
  setWord(view, at, WORD_COMMANDS_ENABLED, cacheOn);
  setWord(view, at, 86, LBA48 | FLUSH | FLUSH_EXT);
  setWord(view, at, 87, VALID);
  // Hardware reset result as a device 0 that passed; PATA initiators look at it.
  setWord(view, at, 93, VALID | 1);
  writeUint48Le(view, at + 2 * WORD_SECTORS48, identity.sectors);
  const exponent = Math.round(Math.log2(identity.physicalSectorBytes / 512));
  setWord(view, at, WORD_SECTOR_SIZE, exponent > 0 ? VALID | (1 << 13) | exponent : VALID);
  // Words 117-118 (bytes of a logical sector, in words) count only when bit 12 of word 106 is set,
  // yet some tools read them first.
  setWord(view, at, 117, 256);
  setWord(view, at, WORD_TRIM, identity.trim ? 1 : 0);
  // TRIM punches holes.
  setWord(view, at, WORD_ADDITIONAL, identity.trim ? READ_ZEROS_AFTER_TRIM : 0);
  setWord(view, at, WORD_ROTATION, identity.rotational ? 0 : 1);
  // Integrity word: signature A5, and a checksum that makes all 512 bytes sum to zero.
  view[at + 510] = 0xa5;
  let sum = 0;
  for (let i = 0; i < 511; i++) sum += view[at + i]!;
  view[at + 511] = -sum;
}

/**
 * Whether a drive takes 48-bit commands: words 83 and 86, of which some targets fill in only one
 * (the Linux driver, too, looks at both).
 */
export function takesLba48(view: Uint8Array, at: number): boolean {
  return ((word(view, at, 83) | word(view, at, 86)) & LBA48) !== 0;
}

/** Reads the 512 bytes at `at`; any bytes give an identity. */
export function readIdentity(view: Uint8Array, at: number): Identity {
  const sectors28 = word(view, at, WORD_SECTORS28) + word(view, at, WORD_SECTORS28 + 1) * 0x10000;
  const sectors48 = readUint48Le(view, at + 2 * WORD_SECTORS48);
  const sectorSize = word(view, at, WORD_SECTOR_SIZE);
  const large = (sectorSize & 0xc000) === VALID && (sectorSize & (1 << 13)) !== 0;
  return {
    serial: string(view, at, WORD_SERIAL, 10),
    firmware: string(view, at, WORD_FIRMWARE, 4),
    model: string(view, at, WORD_MODEL, 20),
    // What 28 bits cannot address is out of reach, whatever the words say.
    sectors: takesLba48(view, at) && sectors48 !== 0
      ? sectors48
      : Math.min(sectors28, LBA28_SECTORS_MAX),
    writeCacheSupported: (word(view, at, WORD_COMMANDS_SUPPORTED) & WRITE_CACHE) !== 0,
    writeCacheOn: (word(view, at, WORD_COMMANDS_ENABLED) & WRITE_CACHE) !== 0,
    // DATA SET MANAGEMENT is a 48-bit command (ACS-2 section 7.5).
    trim: takesLba48(view, at) && (word(view, at, WORD_TRIM) & 1) !== 0,
    physicalSectorBytes: 512 << (large ? sectorSize & 0x0f : 0),
    rotational: word(view, at, WORD_ROTATION) !== 1,
  };
}

/** Reads the 512 bytes at `at`; any bytes give capabilities. */
export function readCapabilities(view: Uint8Array, at: number): Capabilities {
  const commands = word(view, at, 83);
  // A word that is not marked as valid says nothing.
  const supported = (commands & 0xc000) === VALID ? commands : word(view, at, 86);
  const sectorSize = word(view, at, WORD_SECTOR_SIZE);
  const longSectors = (sectorSize & 0xc000) === VALID && (sectorSize & (1 << 12)) !== 0;
  const rotation = word(view, at, WORD_ROTATION);
  return {
    lba48: (supported & LBA48) !== 0,
    flush: (supported & FLUSH) !== 0,
    flushExt: (supported & FLUSH_EXT) !== 0,
    logicalSectorBytes: longSectors
      ? 2 * (word(view, at, 117) + word(view, at, 118) * 0x10000)
      : 512,
    // ATA8-ACS section 7.16.7.77: 1 is non-rotating, 0 and what is left out are no turns a minute.
    turnsPerMinute: rotation === 1
      ? 0
      : rotation > 0x400 && rotation < 0xffff
      ? rotation
      : undefined,
  };
}

/** The 256 words at `at`. */
export function readIdentifyWords(view: Uint8Array, at: number): number[] {
  return Array.from({ length: IDENTIFY_BYTES / 2 }, (_, index) => word(view, at, index));
}

/** Whether sectors that were discarded are known to read as zeros. */
export function discardsAreZero(view: Uint8Array, at: number): boolean {
  return (word(view, at, WORD_TRIM) & 1) !== 0 &&
    (word(view, at, WORD_ADDITIONAL) & READ_ZEROS_AFTER_TRIM) === READ_ZEROS_AFTER_TRIM;
}
