// The back ends that this program has, and which of them a machine can use.

import { keepFromChildren } from "../../../ffi/files.ts";
import type { BlockConfig } from "../../loops/block/disk.ts";
import { BACK_END_NAMES } from "./back_end.ts";
import type { BackEnd, BackEndName, BackEndOptions, BackEndState } from "./back_end.ts";
import { LoopBackEnd } from "./fuse_back_end.ts";
import { NbdBackEnd } from "./nbd_back_end.ts";
import { UblkBackEnd } from "./ublk_back_end.ts";

const BACK_ENDS = {
  ublk: UblkBackEnd,
  nbd: NbdBackEnd,
  fuse: LoopBackEnd,
} as const satisfies Record<BackEndName, unknown>;

/** A back end that could not be used, and why. */
export interface SkippedBackEnd {
  readonly name: BackEndName;
  readonly reason: string;
}

/**
 * The first back end that this machine has.
 *
 * @param wanted The only one that is tried; undefined for any.
 */
export function chooseBackEnd(
  wanted: BackEndName | undefined,
): { readonly chosen: BackEndName | undefined; readonly skipped: readonly SkippedBackEnd[] } {
  const skipped: SkippedBackEnd[] = [];
  for (const name of BACK_END_NAMES) {
    if (wanted !== undefined && wanted !== name) continue;
    const reason = BACK_ENDS[name].probe();
    if (reason === undefined) return { chosen: name, skipped };
    skipped.push({ name, reason });
  }
  return { chosen: undefined, skipped };
}

/** Makes a back end, or goes on with what an earlier process has left of it. */
export function openBackEnd(
  name: BackEndName,
  config: BlockConfig,
  options: BackEndOptions,
  state: BackEndState | undefined,
): BackEnd {
  const backEnd = BACK_ENDS[name];
  if (state === undefined) return backEnd.open(config, options);
  // A later keeper would hold them twice, and pass them on twice: nobody could let go of them.
  state.fds.forEach(keepFromChildren);
  return backEnd.resume(config, state);
}
