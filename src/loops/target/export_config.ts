// What a target thread is told of an export, and what both sides of that work out the same way.

import { SECTOR_BYTES } from "../../wire/ata.ts";
import { Drive } from "../../core/target/drive.ts";
import { FIRMWARE_VERSION, Target } from "../../core/target/target.ts";
import type { CacheSwitchListener } from "../../core/target/target.ts";
import type { NbdOrigin } from "../nbd_client/connection.ts";

/** What a worker is told of an export. The descriptors are the main thread's, and stay open. */
export interface ExportConfig {
  readonly shelf: number;
  readonly slot: number;
  /** Path of the file or device, or the URI of the NBD export. */
  readonly path: string;
  /** The NBD export in place of a file; the descriptors below are none then. */
  readonly source?: NbdOrigin | undefined;
  /** Through the page cache. */
  readonly fd: number;
  /** O_DIRECT; −1 without. */
  readonly directFd: number;
  /** What O_DIRECT asks of offsets and lengths, in bytes. */
  readonly directAlignment: number;
  /** First exported byte of the file. */
  readonly offsetBytes: number;
  /** Bytes exported at most; the rest of the file follows its growth otherwise. */
  readonly lengthBytes: number | undefined;
  /** On a file system that blocks even when it was asked not to. */
  readonly remote: boolean;
  readonly readOnly: boolean;
  readonly sync: boolean;
  /** Whether initiators may not switch the write cache. */
  readonly cacheFixed?: boolean | undefined;
  readonly trim: boolean;
  readonly physicalSectorBytes: number;
  readonly rotational: boolean;
  readonly serial: string;
  /** See wire/incarnation.ts. */
  readonly incarnation: number | undefined;
}

/** The target of an export, as it is before any frame has come. */
export function makeTarget(
  config: ExportConfig,
  sectors: number,
  options: {
    readonly buffers: number;
    readonly macs: readonly Uint8Array[];
    readonly onCacheSwitch?: CacheSwitchListener | undefined;
    readonly onChange?: (() => void) | undefined;
  },
): Target {
  const drive = new Drive({
    sectors,
    readOnly: config.readOnly,
    sync: config.sync,
    cacheFixed: config.cacheFixed,
    trim: config.trim,
    physicalSectorBytes: config.physicalSectorBytes,
    rotational: config.rotational,
    serial: config.serial,
    incarnation: config.incarnation,
    firmware: FIRMWARE_VERSION.toString(16).padStart(4, "0"),
    model: "aoe target",
  });
  const { shelf, slot } = config;
  return new Target({ ...options, shelf, slot, drive, allowed: options.macs });
}

/** Bytes of a file that an export shows, in whole sectors. */
export function exportedSectors(
  fileBytes: number,
  offsetBytes: number,
  lengthBytes: number | undefined,
): number {
  const bytes = Math.min(fileBytes - offsetBytes, lengthBytes ?? Infinity);
  return Math.max(0, Math.floor(bytes / SECTOR_BYTES));
}

/** A number that no other start of a program has: whatever was answered before it may be lost. */
export function freshIncarnation(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]! || 1;
}
