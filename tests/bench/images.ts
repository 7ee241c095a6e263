// The disk images under load, and the state of the page cache above them.

import { runChecked } from "../harness/process.ts";

const PAGE_BYTES = 4096;
const CHUNK_BYTES = 1 << 20;

/**
 * Writes an image whose pages are all in the page cache, as one that was written over AoE. It is
 * written page by page: large writes and readahead make large folios, and each small write into a
 * 2 MiB folio costs ext4 15-20 µs on Linux 6.18 (it walks the folio's 512 buffer heads), which
 * would measure nothing else.
 */
export async function writeCachedImage(path: string, bytes: number): Promise<void> {
  await writeImage(path, bytes, PAGE_BYTES);
}

/** Writes an image that is for disk work: no holes, and nothing said about the page cache. */
export async function writeDiskImage(path: string, bytes: number): Promise<void> {
  await writeImage(path, bytes, CHUNK_BYTES);
}

/** Waits until what was written to an image is on the disk, so that it does not burden the next. */
export async function settle(path: string): Promise<void> {
  using file = await Deno.open(path, { write: true });
  await file.syncData();
}

/** Empties the machine's page cache of everything that is clean and not mapped. */
export async function dropCaches(): Promise<void> {
  await runChecked(["sync"], { timeoutMs: 120_000 });
  await Deno.writeTextFile("/proc/sys/vm/drop_caches", "1");
}

async function writeImage(path: string, bytes: number, stepBytes: number): Promise<void> {
  // A new file: pages that an old one has in the cache would keep their folios.
  await Deno.remove(path).catch(() => undefined);
  using file = await Deno.open(path, { write: true, createNew: true });
  const step = new Uint8Array(stepBytes);
  crypto.getRandomValues(step.subarray(0, PAGE_BYTES));
  for (let at = 0; at < bytes; at += stepBytes) file.writeSync(step.subarray(0, bytes - at));
  await file.syncData();
}
