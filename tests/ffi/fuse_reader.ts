// A thread that mounts a FUSE connection and reads its file: whoever does that must not be the
// thread that answers.

import { closeFile } from "../../ffi/files.ts";
import { mountFuseFile } from "../../ffi/fuse_mount.ts";

/** What the thread is told: a connection, and what to read of its file, piece by piece. */
export interface FuseReading {
  readonly fuse: number;
  readonly offsets: readonly number[];
  readonly bytes: number;
}

/** The bytes read, or why they could not be. */
export type FuseReadingResult = Uint8Array[] | string;

interface WorkerScope {
  onmessage: (event: MessageEvent<FuseReading>) => void;
  postMessage(result: FuseReadingResult): void;
}

if ("WorkerGlobalScope" in globalThis) {
  const scope = globalThis as unknown as WorkerScope;
  scope.onmessage = ({ data }) => scope.postMessage(read(data));
}

function read({ fuse, offsets, bytes }: FuseReading): FuseReadingResult {
  const mounted = mountFuseFile(fuse, true);
  try {
    using file = Deno.openSync(`/proc/self/fd/${mounted}`);
    return offsets.map((offset) => {
      const piece = new Uint8Array(bytes);
      file.seekSync(offset, Deno.SeekMode.Start);
      return piece.subarray(0, file.readSync(piece) ?? 0);
    });
  } catch (error) {
    return (error as Error).message;
  } finally {
    closeFile(mounted);
  }
}
