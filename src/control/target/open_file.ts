// The files behind exports, opened and checked on the main thread before anything starts. Each is
// held open, and locked, for as long as the process serves it.

import { EOPNOTSUPP, errnoText, SystemError } from "../../../ffi/errno.ts";
import {
  closeFile,
  fileStatus,
  isRemoteFile,
  lockFile,
  openFile,
  punchHole,
  truncateFile,
} from "../../../ffi/files.ts";
import type { FileStatus } from "../../../ffi/files.ts";
import type { Address } from "../../wire/aoe.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import { exportedSectors } from "../../loops/target/export_config.ts";
import type { ExportConfig } from "../../loops/target/export_config.ts";

const ENOENT = 2;
const EACCES = 13;
const EBUSY = 16;
const EINVAL = 22;
const EROFS = 30;
const ETXTBSY = 26;

/** Why a file is not exported, in one sentence for the user. */
export class ExportRefusal extends Error {
  override name = "ExportRefusal";
}

/** How files are exported. */
export interface ExportFileOptions {
  readonly direct: boolean;
  readonly sync: boolean;
  readonly readOnly: boolean;
  readonly offsetBytes: number;
  readonly lengthBytes: number | undefined;
  /** Size of an image that does not exist yet; without it, it must. */
  readonly createBytes: number | undefined;
  /** Whether a mounted block device may be exported. */
  readonly force: boolean;
}

/** An opened export and what its user should know. */
export interface ExportFile {
  readonly config: ExportConfig;
  readonly kind: "file" | "block device" | "nbd";
  readonly sectors: number;
  /** It was made just now. */
  readonly created: boolean;
  /** Sentences about what will bite. */
  readonly warnings: readonly string[];
}

/**
 * Opens a file or block device for export.
 *
 * @throws {ExportRefusal} When it cannot or should not be exported.
 */
export function openExport(
  address: Address,
  path: string,
  options: ExportFileOptions,
): ExportFile {
  const { fd, created } = openBacking(path, options);
  try {
    const status = fileStatus(fd);
    if (status.kind === "other") {
      throw new ExportRefusal(`"${path}" is neither a file nor a block device: nothing to export`);
    }
    if (!lockFile(fd, options.readOnly)) {
      throw new ExportRefusal(
        `"${path}" is exported already, here or by another aoe serve (it is locked): ` +
          `stop that one first`,
      );
    }
    const { offsetBytes, lengthBytes } = options;
    const sectors = exportedSectors(status.bytes, offsetBytes, lengthBytes);
    if (sectors === 0) {
      throw new ExportRefusal(
        `"${path}" has ${status.bytes} bytes, which leave no whole sector to export` +
          (offsetBytes > 0 ? ` from byte ${offsetBytes} on` : ""),
      );
    }
    const direct = options.direct ? openDirect(path, options.readOnly, status) : NO_DIRECT;
    const queue = status.kind === "block device" ? blockQueue(status.device) : undefined;
    return {
      kind: status.kind,
      sectors,
      created,
      warnings: warningsAbout(path, status, options),
      config: {
        shelf: address.shelf,
        slot: address.slot,
        path,
        fd,
        directFd: direct.fd,
        directAlignment: direct.alignment,
        offsetBytes,
        lengthBytes,
        remote: isRemoteFile(fd),
        readOnly: options.readOnly,
        sync: options.sync,
        trim: !options.readOnly && canDiscard(fd, status, queue),
        // The page cache works in pages: initiators that know write whole ones.
        physicalSectorBytes: offsetBytes % 4096 !== 0
          ? SECTOR_BYTES
          : status.kind === "file"
          ? 4096
          : Math.max(SECTOR_BYTES, status.physicalBlockBytes),
        rotational: queue !== undefined && readNumber(`${queue}/rotational`) === 1,
        serial: serialOf(address, path),
        incarnation: incarnation(),
      },
    };
  } catch (error) {
    closeFile(fd);
    throw error;
  }
}

const NO_DIRECT = { fd: -1, alignment: SECTOR_BYTES };

function openBacking(
  path: string,
  options: ExportFileOptions,
): { fd: number; created: boolean } {
  const { readOnly, force, createBytes } = options;
  try {
    // O_EXCL on a block device refuses one that is mounted; on a file it means nothing.
    return { fd: openFile(path, { readOnly, exclusive: !force }), created: false };
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    switch (error.code) {
      case ENOENT:
        if (createBytes === undefined || readOnly) {
          throw new ExportRefusal(`No such file "${path}": make one with --size, as in --size 10G`);
        }
        break;
      case EBUSY:
        throw new ExportRefusal(
          `"${path}" is mounted or otherwise in use on this machine: unmount it, ` +
            `or serve it all the same with --force`,
        );
      case EACCES:
      case EROFS:
      case ETXTBSY:
        throw new ExportRefusal(
          readOnly
            ? `Cannot read "${path}": ${errnoText(error.code)}`
            : `Cannot write to "${path}" (${
              errnoText(error.code)
            }): serve it read-only with -r, or change its permissions`,
        );
      default:
        throw new ExportRefusal(`Cannot open "${path}": ${errnoText(error.code)}`);
    }
  }
  return { fd: create(path, createBytes), created: true };
}

function create(path: string, bytes: number): number {
  let fd = -1;
  try {
    fd = openFile(path, { readOnly: false, create: true });
    truncateFile(fd, bytes);
    return fd;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    // An empty file left behind would be what the next attempt finds.
    if (fd >= 0) {
      closeFile(fd);
      Deno.removeSync(path);
    }
    throw new ExportRefusal(`Cannot make "${path}" of ${bytes} bytes: ${errnoText(error.code)}`);
  }
}

function openDirect(path: string, readOnly: boolean, status: FileStatus) {
  try {
    const fd = openFile(path, { readOnly, direct: true });
    const offset = status.directOffsetAlignment || status.logicalBlockBytes;
    return { fd, alignment: Math.max(SECTOR_BYTES, offset) };
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new ExportRefusal(
      error.code === EINVAL
        ? `"${path}" lies on a file system without O_DIRECT: leave -d out`
        : `Cannot open "${path}" with O_DIRECT: ${errnoText(error.code)}`,
    );
  }
}

/** Whether ranges can be discarded so that they read as zeros. */
function canDiscard(fd: number, status: FileStatus, queue: string | undefined): boolean {
  if (status.kind === "block device") {
    return queue !== undefined && readNumber(`${queue}/write_zeroes_max_bytes`) > 0 &&
      readNumber(`${queue}/discard_max_bytes`) > 0;
  }
  // Beyond the end of the file there is nothing to lose.
  const beyond = Math.ceil(status.bytes / 4096) * 4096;
  return punchHole(fd, beyond, 4096) !== -EOPNOTSUPP;
}

/** Directory of a block device's queue in sysfs; a partition's is its disk's. */
function blockQueue([major, minor]: readonly [number, number]): string {
  const device = `/sys/dev/block/${major}:${minor}`;
  try {
    Deno.statSync(`${device}/partition`);
    return `${device}/../queue`;
  } catch {
    return `${device}/queue`;
  }
}

function readNumber(path: string): number {
  try {
    return Number(Deno.readTextFileSync(path));
  } catch {
    return 0;
  }
}

/**
 * A serial number that no other export has and that outlives restarts: the address, and a hash of
 * the machine and the file's place on it.
 */
function serialOf(address: Address, path: string): string {
  let machine = Deno.hostname();
  try {
    machine = Deno.readTextFileSync("/etc/machine-id").trim() || machine;
  } catch {
    // The host's name must do.
  }
  const hash = hashOf(`${machine}\0${Deno.realPathSync(path)}`);
  const text = formatAddress(address.shelf, address.slot);
  return `${text}-${hash.toString(16).padStart(8, "0")}`;
}

/**
 * A number that changes when the page cache may have been lost: with the kernel's boot
 * (wire/incarnation.ts). Killing this process loses nothing that was answered.
 */
function incarnation(): number | undefined {
  try {
    return hashOf(Deno.readTextFileSync("/proc/sys/kernel/random/boot_id")) || 1;
  } catch {
    return undefined;
  }
}

/** FNV-1a, 32 bits. */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  return hash;
}

function warningsAbout(path: string, status: FileStatus, options: ExportFileOptions): string[] {
  const warnings: string[] = [];
  const tail = (status.bytes - options.offsetBytes) % SECTOR_BYTES;
  if (tail !== 0 && options.lengthBytes === undefined) {
    warnings.push(
      `"${path}" is no multiple of 512 bytes: its last ${tail} bytes are not exported`,
    );
  }
  const { lengthBytes, offsetBytes } = options;
  if (lengthBytes !== undefined && offsetBytes + lengthBytes > status.bytes) {
    warnings.push(
      `"${path}" ends before --length does: ${status.bytes - offsetBytes} bytes are there`,
    );
  }
  return warnings;
}
