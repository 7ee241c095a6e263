// Refuses to take for a disk what only contains one: a qcow2 image served, or copied to a disk, as it
// is would be a small disk of somebody's metadata, and the first mkfs the end of what it holds.

import { IMAGE_PROBE_BYTES, recognizeImage } from "../wire/image_format.ts";
import type { ImageFormat } from "../wire/image_format.ts";

/** How to go on with a path as it is, for the end of a sentence. */
export interface ImageAdvice {
  /** What an image's disk can be had by: a server that opens it (how), or a copy of it. */
  readonly by: "read-only server" | "server" | "conversion";
  /** As in `serve it as it is with --format raw`. */
  readonly anyway: string;
}

/**
 * What a file is when it is no disk, and what to do, in one sentence; undefined for a disk, and for
 * what cannot be read.
 *
 * @param bytes Size of the file or device.
 */
export function refuseImage(path: string, bytes: number, advice: ImageAdvice): string | undefined {
  const format = readFormat(path, bytes);
  if (format === undefined) return undefined;
  return `"${path}" is a ${format.name} ${
    format.opens.by === "qemu" ? "image" : "file"
  }, and not the disk in it: ${wayOut(path, format, advice)}, or ${advice.anyway}`;
}

function readFormat(path: string, bytes: number): ImageFormat | undefined {
  try {
    using file = Deno.openSync(path);
    const head = readSector(file, 0);
    return recognizeImage(head, readSector(file, Math.max(0, bytes - IMAGE_PROBE_BYTES)));
  } catch {
    // The next to open it says why.
    return undefined;
  }
}

function readSector(file: Deno.FsFile, offset: number): Uint8Array {
  const sector = new Uint8Array(IMAGE_PROBE_BYTES);
  file.seekSync(offset, Deno.SeekMode.Start);
  let done = 0;
  while (done < sector.length) {
    const count = file.readSync(sector.subarray(done));
    if (count === null) break;
    done += count;
  }
  return sector.subarray(0, done);
}

function wayOut(path: string, { opens }: ImageFormat, { by }: ImageAdvice): string {
  const file = shellWord(path);
  if (opens.by === "unpack") return `unpack it first (${opens.command} ${file})`;
  if (by === "conversion") {
    const raw = shellWord(`${path}.raw`);
    return `convert it first (qemu-img convert -f ${opens.driver} -O raw ${file} ${raw})`;
  }
  const name = (path.split("/").at(-1) ?? "").replace(/[^\w.-]/g, "_").slice(-64);
  const socket = `/run/${name}.sock`;
  const flags = by === "read-only server" ? "-t -r" : "-t";
  return `run qemu-nbd ${flags} -f ${opens.driver} -k ${socket} ${file} ` +
    `and name nbd+unix://${socket} in its place`;
}

function shellWord(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) && !text.startsWith("-")
    ? text
    : `'${text.replaceAll("'", `'\\''`)}'`;
}
