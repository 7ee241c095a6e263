// Opens the local ends of a copy, with a sentence for what will not do.

import { SystemError } from "../../ffi/errno.ts";
import { fileStatus, openFile } from "../../ffi/files.ts";
import type { CopyEndConfig } from "../loops/copy/config.ts";
import { ENOENT } from "../../ffi/errno_numbers.ts";

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
 * Opens a file, block device or stream to write. A block device that is in use is refused.
 *
 * @param options `make`: a file that is missing is made.
 * @throws {SystemError} With open(2)'s reason.
 */
export function openDestination(path: string, options: { readonly make: boolean }): LocalEnd {
  try {
    // Without O_CREAT the flag for exclusive use concerns block devices only.
    return describe(openFile(path, { readOnly: false, exclusive: isBlockDevice(path) }), path);
  } catch (error) {
    if (!options.make || !(error instanceof SystemError) || error.code !== ENOENT) throw error;
    return { ...describe(openFile(path, { readOnly: false, create: true }), path), made: true };
  }
}

function describe(fd: number, path: string): LocalEnd {
  const { kind, bytes } = fileStatus(fd);
  const name = `"${path}"`;
  return kind === "other"
    ? { disk: undefined, fd, name, kind: "stream", bytes: undefined }
    : { disk: undefined, fd, name, kind, bytes };
}

function isBlockDevice(path: string): boolean {
  try {
    return Deno.statSync(path).isBlockDevice === true;
  } catch {
    return false;
  }
}
