// The files behind exports, opened and checked on the main thread before anything starts. Each is
// held open, and locked, for as long as the process serves it.

import { errnoText, SystemError } from "../../../ffi/errno.ts";
import {
  closeFile,
  fileIdentity,
  fileStatus,
  isReadOnlyDevice,
  isRemoteFile,
  lockFile,
  openFile,
  punchHole,
  truncateFile,
} from "../../../ffi/files.ts";
import type { FileStatus } from "../../../ffi/files.ts";
import type { Address } from "../../wire/aoe.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { LBA48_MAX, SECTOR_BYTES } from "../../wire/ata.ts";
import type { ExportConfig } from "../../loops/target/export_config.ts";
import { confinedAs, whyOutOfBounds } from "../confinement.ts";
import { describeUses, hostUses } from "../host_uses.ts";
import { refuseImage } from "../image_refusal.ts";
import {
  EACCES,
  EBUSY,
  EINVAL,
  ENOENT,
  EOPNOTSUPP,
  EROFS,
  ETXTBSY,
} from "../../../ffi/errno_numbers.ts";
import { exportedSectors } from "../../core/target/export.ts";

/** Why a file is not exported, in one sentence for the user. */
export class ExportRefusal extends Error {
  override name = "ExportRefusal";
}

/** How files are exported. */
export interface ExportFileOptions {
  readonly direct: boolean;
  readonly sync: boolean;
  /** Whether initiators may not switch the write cache. */
  readonly cacheFixed?: boolean | undefined;
  readonly readOnly: boolean;
  readonly offsetBytes: number;
  readonly lengthBytes: number | undefined;
  /** Size of an image that does not exist yet; without it, it must. */
  readonly createBytes: number | undefined;
  /** Whether what is in use on this host, or is no disk, may be exported. */
  readonly force: boolean;
  /** `raw`: whatever it holds, it is the disk. */
  readonly format?: "raw" | undefined;
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
  const { fd, created, whyReadOnly } = openBacking(path, options);
  try {
    const status = fileStatus(fd);
    if (status.kind === "other") {
      throw new ExportRefusal(`"${path}" is neither a file nor a block device: nothing to export`);
    }
    const readOnly = options.readOnly || whyReadOnly !== undefined;
    if (!lockFile(fd, readOnly)) throw new ExportRefusal(explainLock(path));
    const uses = options.force || created ? [] : refuseUses(path, readOnly);
    const { offsetBytes, lengthBytes } = options;
    const sectors = sectorsOf(path, status, options);
    if (!options.force && options.format === undefined && !created) {
      const refusal = refuseImage(path, status.bytes, {
        by: readOnly ? "read-only server" : "server",
        anyway: "serve it as it is with --format raw",
      });
      if (refusal !== undefined) throw new ExportRefusal(refusal);
    }
    const direct = options.direct ? openDirect(path, readOnly, status) : NO_DIRECT;
    const queue = status.kind === "block device" ? blockQueue(status.device) : undefined;
    return {
      kind: status.kind,
      sectors,
      created,
      warnings: [
        ...(whyReadOnly === undefined ? [] : [`"${path}" ${whyReadOnly}: it is read-only`]),
        ...uses,
        ...warningsAbout(path, status, options),
      ],
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
        disk: status.device.join(":"),
        readOnly,
        sync: options.sync,
        cacheFixed: options.cacheFixed,
        trim: !readOnly && canDiscard(fd, status, queue),
        // The page cache works in pages: initiators that know write whole ones.
        physicalSectorBytes: offsetBytes % 4096 !== 0
          ? SECTOR_BYTES
          : status.kind === "file"
          ? 4096
          : Math.max(SECTOR_BYTES, status.physicalBlockBytes),
        rotational: queue !== undefined && readNumber(`${queue}/rotational`) === 1,
        serial: serialOf(address, path),
        incarnation: incarnation(fd),
      },
    };
  } catch (error) {
    closeFile(fd);
    throw error;
  }
}

/** Closes what an export was opened for, which is served no more, or has not been. */
export function closeExport({ fd, directFd }: ExportConfig): void {
  for (const file of [fd, directFd]) if (file >= 0) closeFile(file);
}

const NO_DIRECT = { fd: -1, alignment: SECTOR_BYTES };

interface Backing {
  readonly fd: number;
  readonly created: boolean;
  /** Why it cannot be written to although that was wanted, to stand behind its name. */
  readonly whyReadOnly: string | undefined;
}

function openBacking(path: string, options: ExportFileOptions): Backing {
  const { readOnly, createBytes } = options;
  try {
    return openPresent(path, options);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    switch (error.code) {
      case ENOENT:
        if (isDevicePath(path)) throw new ExportRefusal(`There is no device "${path}"`);
        if (readOnly || createBytes === undefined) {
          throw new ExportRefusal(explainAbsence(path, options));
        }
        break;
      case EBUSY:
        throw new ExportRefusal(
          `"${path}" is in use on this host (${explainBusy(path)}): ` +
            `end that first, or serve it all the same with --force`,
        );
      case EACCES:
      case ETXTBSY:
        throw new ExportRefusal(explainAccess(path, readOnly, error.code));
      default:
        throw new ExportRefusal(`Cannot open "${path}": ${errnoText(error.code)}`);
    }
  }
  return { fd: create(path, createBytes), created: true, whyReadOnly: undefined };
}

function explainAbsence(path: string, { readOnly, createBytes }: ExportFileOptions): string {
  const what = `No such file "${path}"`;
  if (!readOnly) return `${what}: make one with --size, as in --size 10G`;
  return createBytes === undefined
    ? `${what}, and nothing to read: make it first`
    : `${what}, and a new one would be empty for ever: leave out --size or -r`;
}

function explainAccess(path: string, readOnly: boolean, code: number): string {
  const what = `${readOnly ? "Cannot read" : "Cannot write to"} "${path}"${confinedAs()}`;
  const outOfBounds = code === EACCES ? whyOutOfBounds(path) : undefined;
  if (outOfBounds !== undefined) return `${what}: ${outOfBounds}`;
  return readOnly
    ? `${what}: ${errnoText(code)}`
    : `${what} (${errnoText(code)}): serve it read-only with -r, or change its permissions`;
}

/** Opens what there is, to be read only where it can be no more. */
function openPresent(path: string, { readOnly, force }: ExportFileOptions): Backing {
  // O_EXCL on a block device refuses one that is mounted; on a file it means nothing.
  const exclusive = !force;
  try {
    const fd = openFile(path, { readOnly, exclusive });
    if (readOnly || !isReadOnlyDevice(fd)) return { fd, created: false, whyReadOnly: undefined };
    closeFile(fd);
  } catch (error) {
    if (readOnly || !(error instanceof SystemError) || error.code !== EROFS) throw error;
  }
  const fd = openFile(path, { readOnly: true, exclusive });
  const device = fileStatus(fd).kind === "block device";
  const whyReadOnly = device
    ? "is a device that refuses writes"
    : "lies on a file system that is mounted read-only";
  return { fd, created: false, whyReadOnly };
}

/**
 * Refuses what this host uses itself: two who write to one disk destroy it. Root sees more of that
 * than others do.
 *
 * @returns What to say to who only reads, and may read the halves of what others write.
 */
export function refuseUses(path: string, readOnly: boolean): string[] {
  const uses = hostUses(path);
  const harmful = uses.filter(({ writes, bearsChanges }) => writes || !(readOnly || bearsChanges));
  if (harmful.length === 0) return [];
  const what = `"${path}" is in use on this host (${describeUses(harmful)})`;
  if (readOnly) return [`${what}: initiators may read the half of a change`];
  throw new ExportRefusal(
    `${what}: end that first, or serve it all the same with --force`,
  );
}

/** Why the kernel gives a device to nobody else. */
function explainBusy(path: string): string {
  return describeUses(hostUses(path).filter(({ bearsChanges }) => !bearsChanges)) ||
    "something has it for itself";
}

function explainLock(path: string): string {
  const others = hostUses(path, ({ ownCommand }) => ownCommand !== "serve");
  const who = others.flatMap(({ program }) => program ?? []);
  return `"${path}" is exported already, ${
    who.length === 0
      ? "here or by another aoe serve (it is locked)"
      : `by ${who.join(" and ")}, which has locked it`
  }: stop that one first`;
}

/** Whether a path names what the kernel and udev put into /dev, where nobody keeps files. */
function isDevicePath(path: string): boolean {
  let folder: string;
  try {
    folder = Deno.realPathSync(path.replace(/\/?[^/]*$/, "") || (path.startsWith("/") ? "/" : "."));
  } catch {
    return path.startsWith("/dev/");
  }
  return /^\/dev(\/|$)/.test(folder) && !/^\/dev\/(shm|hugepages|mqueue)(\/|$)/.test(folder);
}

/**
 * How much of it is exported.
 *
 * @throws {ExportRefusal} When that is nothing, or too much.
 */
function sectorsOf(path: string, { bytes }: FileStatus, options: ExportFileOptions): number {
  const { offsetBytes, lengthBytes } = options;
  const sectors = exportedSectors(bytes, offsetBytes, lengthBytes);
  if (sectors === 0) {
    throw new ExportRefusal(
      `"${path}" has ${bytes} bytes, which leave no whole sector to export` +
        (offsetBytes > 0 ? ` from byte ${offsetBytes} on` : ""),
    );
  }
  refuseTooLarge(path, sectors);
  return sectors;
}

/** @throws {ExportRefusal} When the number of sectors would not fit into 48 bits. */
export function refuseTooLarge(path: string, sectors: number): void {
  if (sectors <= LBA48_MAX) return;
  throw new ExportRefusal(
    `"${path}" has 128 PiB or more, and AoE counts sectors with 48 bits: ` +
      `serve a part of it with --length`,
  );
}

function create(path: string, bytes: number): number {
  if (bytes > LBA48_MAX * SECTOR_BYTES) {
    throw new ExportRefusal(
      `Cannot make "${path}" of ${bytes} bytes: that is 128 PiB or more, and AoE counts sectors with 48 bits`,
    );
  }
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
 * (wire/incarnation.ts). Killing this process loses nothing that was answered. It changes, too, when
 * another file has come to a path: to flush that one is not to flush what was written before.
 */
function incarnation(fd: number): number | undefined {
  // A server may give a file another number each time.
  const identity = isRemoteFile(fd) ? undefined : fileIdentity(fd);
  const file = identity === undefined || identity.stands !== undefined
    ? ""
    : `${identity.device} ${identity.inode}`;
  try {
    return hashOf(`${Deno.readTextFileSync("/proc/sys/kernel/random/boot_id")}${file}`) || 1;
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
