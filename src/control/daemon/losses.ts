// What a target that ended could not flush, for the next one of its name: the kernel tells of a failed
// fdatasync once, so that a flush of the next one would go well though what was written is gone. It
// gets another incarnation (wire/incarnation.ts), by which initiators learn of that.

import { formatAddress } from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import { putOwnFile, readOwnFile } from "../own_files.ts";
import { hashOf } from "../target/open_file.ts";
import type { ExportFile } from "../target/open_file.ts";

/**
 * Notes that answered writes of a target may be lost; where nothing can be kept, that was told all the
 * same.
 */
export async function noteLoss(folder: string, address: Address): Promise<void> {
  try {
    (await putOwnFile(pathOf(folder, address), `${crypto.randomUUID()}\n`)).close();
  } catch {
    // There is no such folder, or no room in it.
  }
}

/** An opened file with an incarnation that no target had before which has lost something of it. */
export function withLosses(folder: string, file: ExportFile): ExportFile {
  const { config } = file;
  const lost = lossOf(folder, config);
  if (lost === undefined || config.incarnation === undefined) return file;
  const incarnation = hashOf(`${config.incarnation} ${lost}`) || 1;
  return { ...file, config: { ...config, incarnation } };
}

function lossOf(folder: string, address: Address): string | undefined {
  try {
    return readOwnFile(pathOf(folder, address));
  } catch {
    // Whatever it says, there has been a loss.
    return crypto.randomUUID();
  }
}

function pathOf(folder: string, { shelf, slot }: Address): string {
  return `${folder}/${formatAddress(shelf, slot)}.lost`;
}
