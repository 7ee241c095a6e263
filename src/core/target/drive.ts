// One exported disk as an ATA device: what each command means, checked against its geometry, and
// the registers of the answer (wire/README.md, decisions 9 to 13 and 'IDENTIFY DEVICE'). No I/O: work
// for the disk comes out as an operation and a range of sectors, its outcome comes back in.
//
// 1. `decode` reads the command and refuses what cannot be done, in one place.
// 2. What needs no disk (IDENTIFY, power, features, size) is answered at once.
// 3. The rest leaves `operation`, `sector` and `sectors` for the caller to carry out.
// 4. `succeed` and `fail` write the registers once the disk has spoken.

import {
  ATA_CHECK_POWER_MODE,
  ATA_CHECK_POWER_MODE_OLD,
  ATA_COMMAND_STATUS,
  ATA_DATA,
  ATA_DATA_SET_MANAGEMENT,
  ATA_ERROR_ABRT,
  ATA_ERROR_IDNF,
  ATA_ERROR_UNC,
  ATA_FEATURE_ERROR,
  ATA_FLAGS,
  ATA_FLUSH_CACHE,
  ATA_FLUSH_CACHE_EXT,
  ATA_HEADER_BYTES,
  ATA_IDENTIFY_DEVICE,
  ATA_READ_DMA,
  ATA_READ_DMA_EXT,
  ATA_READ_MULTIPLE,
  ATA_READ_MULTIPLE_EXT,
  ATA_READ_NATIVE_MAX,
  ATA_READ_NATIVE_MAX_EXT,
  ATA_READ_SECTORS,
  ATA_READ_SECTORS_EXT,
  ATA_READ_VERIFY,
  ATA_READ_VERIFY_EXT,
  ATA_SECTOR_COUNT,
  ATA_SET_FEATURES,
  ATA_STATUS_DF,
  ATA_STATUS_DRDY,
  ATA_STATUS_ERR,
  ATA_WRITE_DMA,
  ATA_WRITE_DMA_EXT,
  ATA_WRITE_DMA_FUA_EXT,
  ATA_WRITE_MULTIPLE,
  ATA_WRITE_MULTIPLE_EXT,
  ATA_WRITE_MULTIPLE_FUA_EXT,
  ATA_WRITE_SECTORS,
  ATA_WRITE_SECTORS_EXT,
  DSM_FEATURE_TRIM,
  DSM_RANGE_BYTES,
  FEATURE_TRANSFER_MODE,
  FEATURE_WRITE_CACHE_OFF,
  FEATURE_WRITE_CACHE_ON,
  LBA28_SECTORS_MAX,
  readLba28,
  readLba48,
  SECTOR_BYTES,
  writeLba48,
} from "../../wire/ata.ts";
import { readUint48Le } from "../../wire/endian.ts";
import { ETHERNET_FRAME_BYTES_MIN } from "../../wire/ethernet.ts";
import { IDENTIFY_BYTES, writeIdentity } from "../../wire/identify.ts";
import { writeIncarnation } from "../../wire/incarnation.ts";

/** What the disk is to do with `sectors` sectors from `sector`. */
export const DRIVE_NONE = 0;
export const DRIVE_READ = 1;
/** Write; answered at once unless `Drive.stableWrites` or `Drive.forceUnitAccess`. */
export const DRIVE_WRITE = 2;
/** Read and throw away (READ VERIFY). */
export const DRIVE_VERIFY = 3;
/** Everything answered so far onto stable storage. */
export const DRIVE_FLUSH = 4;
/** Discard the ranges in the frame's data; touches any sector, so it overlaps with everything. */
export const DRIVE_TRIM = 5;

// Obsolete power commands that diskless firmware still sends (ATA-3 section 7.30).
const IDLE_AND_STANDBY: readonly number[] = [
  0x94,
  0x95,
  0x96,
  0x97,
  0x99,
  0xe0,
  0xe1,
  0xe2,
  0xe3,
  0xe6,
];

// One byte a command, so that the hot path decides with one load. 0: not supported.
const OPCODE_READ28 = 1;
const OPCODE_READ48 = 2;
const OPCODE_WRITE28 = 3;
const OPCODE_WRITE48 = 4;
const OPCODE_WRITE48_FUA = 5;
const OPCODE_VERIFY28 = 6;
const OPCODE_VERIFY48 = 7;
const OPCODE_FLUSH = 8;
const OPCODE_IDENTIFY = 9;
const OPCODE_CHECK_POWER = 10;
const OPCODE_IDLE = 11;
const OPCODE_SET_FEATURES = 12;
const OPCODE_NATIVE_MAX28 = 13;
const OPCODE_NATIVE_MAX48 = 14;
const OPCODE_TRIM = 15;

const kindOfCommand = new Uint8Array(256);
for (
  const [kind, commands] of [
    [OPCODE_READ28, [ATA_READ_SECTORS, ATA_READ_DMA, ATA_READ_MULTIPLE]],
    [OPCODE_READ48, [ATA_READ_SECTORS_EXT, ATA_READ_DMA_EXT, ATA_READ_MULTIPLE_EXT]],
    [OPCODE_WRITE28, [ATA_WRITE_SECTORS, ATA_WRITE_DMA, ATA_WRITE_MULTIPLE]],
    [OPCODE_WRITE48, [ATA_WRITE_SECTORS_EXT, ATA_WRITE_DMA_EXT, ATA_WRITE_MULTIPLE_EXT]],
    [OPCODE_WRITE48_FUA, [ATA_WRITE_DMA_FUA_EXT, ATA_WRITE_MULTIPLE_FUA_EXT]],
    [OPCODE_VERIFY28, [ATA_READ_VERIFY]],
    [OPCODE_VERIFY48, [ATA_READ_VERIFY_EXT]],
    [OPCODE_FLUSH, [ATA_FLUSH_CACHE, ATA_FLUSH_CACHE_EXT]],
    [OPCODE_IDENTIFY, [ATA_IDENTIFY_DEVICE]],
    [OPCODE_CHECK_POWER, [ATA_CHECK_POWER_MODE, ATA_CHECK_POWER_MODE_OLD]],
    [OPCODE_IDLE, IDLE_AND_STANDBY],
    [OPCODE_SET_FEATURES, [ATA_SET_FEATURES]],
    [OPCODE_NATIVE_MAX28, [ATA_READ_NATIVE_MAX]],
    [OPCODE_NATIVE_MAX48, [ATA_READ_NATIVE_MAX_EXT]],
    [OPCODE_TRIM, [ATA_DATA_SET_MANAGEMENT]],
  ] as const
) {
  for (const command of commands) kindOfCommand[command] = kind;
}

/** What a drive is made of; fixed while it is exported, but for its size and whether it is read-only. */
export interface DriveSettings {
  /** Exported 512-byte sectors. */
  readonly sectors: number;
  readonly readOnly: boolean;
  /** Every write is on stable storage before it is answered, whatever initiators ask. */
  readonly sync: boolean;
  /** Whether initiators may not switch the write cache. */
  readonly cacheFixed?: boolean | undefined;
  /** The backing store can punch holes. */
  readonly trim: boolean;
  readonly physicalSectorBytes: number;
  readonly rotational: boolean;
  /** See `Identity` for the lengths of the three. */
  readonly serial: string;
  readonly firmware: string;
  readonly model: string;
  /** At first; see `Drive.incarnation`. */
  readonly incarnation?: number | undefined;
}

/** One exported disk. The fields below `decode` are its second result, valid until the next call. */
export class Drive {
  /** Exported 512-byte sectors; follows the backing store when it grows or shrinks. */
  sectors: number;
  /** See wire/incarnation.ts; none when undefined. Changes when answered writes may be lost. */
  incarnation: number | undefined;
  /** Work left by the last `decode`: an OPERATION constant. */
  operation = DRIVE_NONE;
  /** First sector of that work. */
  sector = 0;
  /** Sectors of that work; 0 for FLUSH and TRIM. */
  sectorsWanted = 0;
  /** The command itself asked for stable storage (FUA). */
  forceUnitAccess = false;
  /** The last `decode` has switched the write cache; `stableWrites` says how it is now. */
  cacheSwitched = false;
  #settings: DriveSettings;
  #writeCacheOn: boolean;
  /** To whom the command at hand comes from. */
  #readOnly = false;

  constructor(settings: DriveSettings) {
    this.#settings = settings;
    this.sectors = settings.sectors;
    this.incarnation = settings.incarnation;
    this.#writeCacheOn = !settings.sync && !settings.readOnly;
  }

  /** Whether a write may be answered only once it is on stable storage. */
  get stableWrites(): boolean {
    return !this.#writeCacheOn;
  }

  /**
   * Decides one ATA command whose 12-byte section has been received whole.
   *
   * @param length Bytes of the frame.
   * @param capacity Most sectors that one frame of the link carries.
   * @param readOnly Whether to whoever asks the disk is read-only, whatever it is to others.
   * @returns Length of the answer in bytes (it stands in the frame but for the AoE header), or 0
   * when the disk must work first, as the fields say.
   */
  decode(
    view: Uint8Array,
    at: number,
    length: number,
    capacity: number,
    readOnly = false,
  ): number {
    this.#readOnly = readOnly || this.#settings.readOnly;
    const kind = kindOfCommand[view[at + ATA_COMMAND_STATUS]!]!;
    this.operation = DRIVE_NONE;
    this.cacheSwitched = false;
    this.forceUnitAccess = kind === OPCODE_WRITE48_FUA;
    if (kind >= OPCODE_READ28 && kind <= OPCODE_VERIFY48) {
      return this.#decodeTransfer(kind, view, at, length, capacity);
    }
    switch (kind) {
      case OPCODE_IDENTIFY:
        return this.#identify(view, at, capacity);
      case OPCODE_FLUSH:
        return this.#work(DRIVE_FLUSH, 0, 0);
      case OPCODE_TRIM:
        return this.#decodeTrim(view, at, length, capacity);
      case OPCODE_SET_FEATURES:
        return this.#setFeatures(view, at);
      case OPCODE_CHECK_POWER:
        // Count 255: active or idle.
        return writeRegisters(view, at, ATA_STATUS_DRDY, 0, 255);
      case OPCODE_IDLE:
        return writeRegisters(view, at, ATA_STATUS_DRDY, 0, 0);
      case OPCODE_NATIVE_MAX28:
      case OPCODE_NATIVE_MAX48: {
        const answered = writeRegisters(view, at, ATA_STATUS_DRDY, 0, 0);
        const sectors = kind === OPCODE_NATIVE_MAX28
          ? Math.min(this.sectors, LBA28_SECTORS_MAX)
          : this.sectors;
        writeLba48(view, at, Math.max(0, sectors - 1));
        return answered;
      }
      default:
        return refuse(view, at, ATA_ERROR_ABRT);
    }
  }

  #decodeTransfer(
    kind: number,
    view: Uint8Array,
    at: number,
    length: number,
    capacity: number,
  ): number {
    const sectors = view[at + ATA_SECTOR_COUNT]!;
    if (sectors === 0 || sectors > capacity) return refuse(view, at, ATA_ERROR_ABRT);
    const write = kind >= OPCODE_WRITE28 && kind <= OPCODE_WRITE48_FUA;
    if (write && (this.#readOnly || length < ATA_DATA + sectors * SECTOR_BYTES)) {
      return refuse(view, at, ATA_ERROR_ABRT);
    }
    const narrow = kind === OPCODE_READ28 || kind === OPCODE_WRITE28 || kind === OPCODE_VERIFY28;
    const sector = narrow ? readLba28(view, at) : readLba48(view, at);
    if (sector + sectors > this.sectors) return refuse(view, at, ATA_ERROR_IDNF);
    return this.#work(
      write ? DRIVE_WRITE : kind >= OPCODE_VERIFY28 ? DRIVE_VERIFY : DRIVE_READ,
      sector,
      sectors,
    );
  }

  #decodeTrim(view: Uint8Array, at: number, length: number, capacity: number): number {
    const blocks = view[at + ATA_SECTOR_COUNT]!;
    const end = ATA_DATA + blocks * SECTOR_BYTES;
    if (
      !this.#settings.trim || this.#readOnly || blocks === 0 || blocks > capacity ||
      length < end || view[at + ATA_FEATURE_ERROR] !== DSM_FEATURE_TRIM
    ) {
      return refuse(view, at, ATA_ERROR_ABRT);
    }
    for (let range = at + ATA_DATA; range < at + end; range += DSM_RANGE_BYTES) {
      const sectors = trimSectors(view, range);
      // An entry without sectors is padding, whatever its LBA (ACS-2, DATA SET MANAGEMENT).
      if (sectors > 0 && trimSector(view, range) + sectors > this.sectors) {
        return refuse(view, at, ATA_ERROR_IDNF);
      }
    }
    return this.#work(DRIVE_TRIM, 0, 0);
  }

  #work(operation: number, sector: number, sectors: number): number {
    this.operation = operation;
    this.sector = sector;
    this.sectorsWanted = sectors;
    return 0;
  }

  #identify(view: Uint8Array, at: number, capacity: number): number {
    if (capacity === 0) return refuse(view, at, ATA_ERROR_ABRT);
    writeRegisters(view, at, ATA_STATUS_DRDY, 0, 0);
    writeIdentity(view, at + ATA_DATA, {
      ...this.#settings,
      sectors: this.sectors,
      trim: this.#settings.trim && !this.#readOnly,
      writeCacheSupported: !this.#settings.sync && !this.#readOnly,
      writeCacheOn: this.#writeCacheOn && !this.#readOnly,
    });
    if (this.incarnation !== undefined) {
      writeIncarnation(view, at + ATA_DATA, this.incarnation, this.#readOnly);
    }
    return ATA_DATA + IDENTIFY_BYTES;
  }

  #setFeatures(view: Uint8Array, at: number): number {
    const cacheable = !this.#settings.sync && !this.#readOnly;
    switch (view[at + ATA_FEATURE_ERROR]) {
      case FEATURE_TRANSFER_MODE:
        return writeRegisters(view, at, ATA_STATUS_DRDY, 0, 0);
      case FEATURE_WRITE_CACHE_ON:
        if (!cacheable) return refuse(view, at, ATA_ERROR_ABRT);
        this.switchCache(true);
        return writeRegisters(view, at, ATA_STATUS_DRDY, 0, 0);
      case FEATURE_WRITE_CACHE_OFF:
        if (this.#settings.cacheFixed === true && this.#writeCacheOn && !this.#readOnly) {
          return refuse(view, at, ATA_ERROR_ABRT);
        }
        // What was answered while the cache was on must be stable before this is (ATA8-ACS 7.48.5).
        // An initiator that may only read has no cache, and switches nobody else's.
        if (!this.#readOnly) this.switchCache(false);
        return this.#work(DRIVE_FLUSH, 0, 0);
      default:
        return refuse(view, at, ATA_ERROR_ABRT);
    }
  }

  /** Makes it read-only to everybody, or writable. */
  set readOnly(readOnly: boolean) {
    this.#settings = { ...this.#settings, readOnly };
  }

  /** Switches the write cache. */
  switchCache(on: boolean): void {
    this.cacheSwitched = this.#writeCacheOn !== on;
    this.#writeCacheOn = on;
  }

  /**
   * Writes the registers of work that went well.
   *
   * @param sectors Sectors of the command; a READ's data stand behind the header already, or are
   * sent from elsewhere.
   * @returns Length of the answer in bytes, its data included.
   */
  succeed(view: Uint8Array, at: number, operation: number, sectors: number): number {
    if (operation !== DRIVE_READ) return writeRegisters(view, at, ATA_STATUS_DRDY, 0, 0);
    clearRegisters(view, at, ATA_STATUS_DRDY, 0, 0);
    return ATA_DATA + sectors * SECTOR_BYTES;
  }

  /**
   * Writes the registers of work that failed; nothing is transferred.
   *
   * @param unsupported The backing store cannot do this at all (a TRIM).
   * @returns Length of the answer in bytes.
   */
  fail(view: Uint8Array, at: number, operation: number, unsupported: boolean): number {
    if (unsupported) return refuse(view, at, ATA_ERROR_ABRT);
    if (operation === DRIVE_READ || operation === DRIVE_VERIFY) {
      return refuse(view, at, ATA_ERROR_UNC);
    }
    const status = ATA_STATUS_DRDY | ATA_STATUS_DF | ATA_STATUS_ERR;
    return writeRegisters(view, at, status, ATA_ERROR_ABRT, 0);
  }
}

/** First sector of the TRIM range at `range`. */
export function trimSector(view: Uint8Array, range: number): number {
  return readUint48Le(view, range);
}

/** Sectors of the TRIM range at `range`; 0 marks an unused entry. */
export function trimSectors(view: Uint8Array, range: number): number {
  return view[range + 6]! | (view[range + 7]! << 8);
}

function refuse(view: Uint8Array, at: number, error: number): number {
  return writeRegisters(view, at, ATA_STATUS_DRDY | ATA_STATUS_ERR, error, 0);
}

function clearRegisters(
  view: Uint8Array,
  at: number,
  status: number,
  error: number,
  count: number,
): void {
  view[at + ATA_FLAGS] = 0;
  view[at + ATA_FEATURE_ERROR] = error;
  view[at + ATA_SECTOR_COUNT] = count;
  view[at + ATA_COMMAND_STATUS] = status;
  for (let i = at + ATA_COMMAND_STATUS + 1; i < at + ATA_HEADER_BYTES; i++) view[i] = 0;
}

function writeRegisters(
  view: Uint8Array,
  at: number,
  status: number,
  error: number,
  count: number,
): number {
  clearRegisters(view, at, status, error, count);
  for (let i = at + ATA_DATA; i < at + ETHERNET_FRAME_BYTES_MIN; i++) view[i] = 0;
  return ETHERNET_FRAME_BYTES_MIN;
}
