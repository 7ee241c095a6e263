// What helps to see what a thread's frames do (--capture), and what happens when some of them are
// lost (--drop): the files are made here, before the threads start.

import { SystemError } from "../../ffi/errno.ts";
import { EEXIST } from "../../ffi/errno_numbers.ts";
import { closeFile } from "../../ffi/files.ts";
import type { CaptureConfig, WireAids } from "../loops/capture.ts";
import { makeOwnFile } from "./own_files.ts";

/** So much fills no disk by surprise, and holds some seconds of a load. */
const CAPTURE_BYTES_DEFAULT = 64 * 2 ** 20;
/** Beyond every thread's of a target. */
const INITIATOR_DROP_SEED = 1000;

/** What was asked for. */
export interface WireWish {
  /** Where the capture goes. */
  readonly capture: string | undefined;
  readonly captureBytes: number | undefined;
  readonly dropPercent?: number | undefined;
}

/**
 * Makes the files of the captures: the one that was named, or where there are several threads, one
 * with a number behind its name for each.
 *
 * @param seed Other frames are lost with another one.
 * @returns For each thread; undefined when nothing was asked for.
 * @throws {Deno.errors.NotSupported} One sentence: a size without a capture.
 * @throws {Deno.errors.AlreadyExists} One sentence: a file has the name already.
 * @throws {SystemError} A file cannot be made.
 */
export function openWireAids(
  { capture, captureBytes, dropPercent }: WireWish,
  threads: number,
  seed: number,
): WireAids[] | undefined {
  if (capture === undefined && captureBytes !== undefined) {
    throw new Deno.errors.NotSupported("--capture-size is for a --capture: name its file");
  }
  if (capture === undefined && dropPercent === undefined) return undefined;
  const opened: CaptureConfig[] = [];
  try {
    return Array.from({ length: threads }, (_, i) => {
      const aids = { dropPercent: dropPercent ?? 0, dropSeed: seed + i };
      if (capture === undefined) return { ...aids, capture };
      const path = threads === 1 ? capture : `${capture}.${i + 1}`;
      const bytesMax = captureBytes ?? CAPTURE_BYTES_DEFAULT;
      opened.push({ fd: makeCapture(path), path, bytesMax });
      return { ...aids, capture: opened[i] };
    });
  } catch (error) {
    for (const { fd, path } of opened) {
      closeFile(fd);
      Deno.removeSync(path);
    }
    throw error;
  }
}

function makeCapture(path: string): number {
  try {
    return makeOwnFile(path);
  } catch (error) {
    if (!(error instanceof SystemError) || error.code !== EEXIST) throw error;
    throw new Deno.errors.AlreadyExists(
      `"${path}" exists, and a capture replaces nothing: remove it, or name another file`,
    );
  }
}

/** What has to be said, loudly, where frames are lost on purpose; undefined where none are. */
export function dropWarning(dropPercent: number | undefined): string | undefined {
  return dropPercent === undefined
    ? undefined
    : `--drop: ${dropPercent} % of all frames are lost on purpose, received and sent: for tests only`;
}

/**
 * The same for the one thread of an initiator, which loses other frames than a target does.
 *
 * @param warn Gets the sentence of `dropWarning`, if there is one.
 */
export function openInitiatorAids(
  wish: WireWish,
  warn: (text: string) => void,
): WireAids | undefined {
  const aids = openWireAids(wish, 1, INITIATOR_DROP_SEED)?.[0];
  const drops = dropWarning(wish.dropPercent);
  if (drops !== undefined) warn(drops);
  return aids;
}
