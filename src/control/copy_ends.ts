// Opens the local ends of a copy, with a sentence for what will not do.

import { SystemError } from "../../ffi/errno.ts";
import { fileStatus, openFile } from "../../ffi/files.ts";
import type { CopyEndConfig } from "../loops/copy/config.ts";
import { EBUSY, ENOENT } from "../../ffi/errno_numbers.ts";
import { DiskRefusal } from "./disk_refusal.ts";
import { describeUses, hostUses } from "./host_uses.ts";
import { refuseImage } from "./image_refusal.ts";

const STDIN = 0;
const STDOUT = 1;

/** A local end. */
export type LocalEnd = Extract<CopyEndConfig, { readonly disk: undefined }>;

/** Standard input, or standard output. */
export function standardEnd(direction: "in" | "out"): LocalEnd {
  const fd = direction === "in" ? STDIN : STDOUT;
  const name = `standard ${direction}put`;
  return { disk: undefined, fd, name, kind: "stream", bytes: undefined };
}

/**
 * Opens a file, block device or stream to read.
 *
 * @throws {SystemError} With open(2)'s reason.
 */
export function openCopySource(path: string): LocalEnd {
  return describe(openFile(path, { readOnly: true }), path);
}

/**
 * Opens a file, block device or stream to write.
 *
 * @param options `make`: a file that is missing is made; `force`: what this host uses is written to.
 * @throws {DiskRefusal} This host uses it.
 * @throws {SystemError} With open(2)'s reason.
 */
export function openDestination(
  path: string,
  { make, force }: { readonly make: boolean; readonly force: boolean },
): LocalEnd {
  if (!force) refuseUsed(path);
  try {
    // Without O_CREAT the flag for exclusive use concerns block devices only.
    const exclusive = !force && isBlockDevice(path);
    return describe(openFile(path, { readOnly: false, exclusive }), path);
  } catch (error) {
    if (error instanceof SystemError && error.code === EBUSY) refuse(path, "something has it");
    if (!make || !(error instanceof SystemError) || error.code !== ENOENT) throw error;
    return { ...describe(openFile(path, { readOnly: false, create: true }), path), made: true };
  }
}

/**
 * Refuses to write an image's or archive's own bytes to a disk, which is never what they are for. As
 * a file beside others it may be kept as it is.
 *
 * @param path The source's.
 * @throws {DiskRefusal} It is not the disk itself.
 */
export function refuseImageForDisk(
  path: string,
  source: CopyEndConfig,
  destination: CopyEndConfig,
): void {
  if (source.disk !== undefined || source.kind !== "file" || source.bytes === undefined) return;
  if (destination.disk === undefined && destination.kind !== "block device") return;
  const refusal = refuseImage(path, source.bytes, {
    by: "conversion",
    anyway: "copy it as it is with --force",
  });
  if (refusal !== undefined) throw new DiskRefusal(refusal);
}

/** Pipes and terminals have another end: that is what they are for. */
function refuseUsed(path: string): void {
  const { isFile, isBlockDevice } = kindOf(path);
  if (!isFile && !isBlockDevice) return;
  const uses = hostUses(path).filter(({ writes, bearsChanges }) => writes || !bearsChanges);
  if (uses.length > 0) refuse(path, describeUses(uses));
}

function refuse(path: string, why: string): never {
  throw new DiskRefusal(
    `"${path}" is in use on this host (${why}): end that first, or write to it with --force`,
  );
}

function describe(fd: number, path: string): LocalEnd {
  const { kind, bytes } = fileStatus(fd);
  const name = `"${path}"`;
  return kind === "other"
    ? { disk: undefined, fd, name, kind: "stream", bytes: undefined }
    : { disk: undefined, fd, name, kind, bytes };
}

function isBlockDevice(path: string): boolean {
  return kindOf(path).isBlockDevice;
}

function kindOf(path: string): { isFile: boolean; isBlockDevice: boolean } {
  try {
    const { isFile, isBlockDevice } = Deno.statSync(path);
    return { isFile, isBlockDevice: isBlockDevice === true };
  } catch {
    return { isFile: false, isBlockDevice: false };
  }
}
