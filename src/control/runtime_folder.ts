// /run/aoe, where daemons have their sockets.

import { ownFolder } from "./own_files.ts";

/** The sockets of attached disks, and a folder for each serving daemon. */
export const RUNTIME_FOLDER = "/run/aoe";

/** Others may look: a daemon that has given up its rights has its folder there. */
const MODE = 0o755;

/** Makes it, if it is not there. */
export function runtimeFolder(): void {
  ownFolder(RUNTIME_FOLDER, MODE);
}

/** Where sockets of this user's processes are: root's there, another's where he has a place of his own. */
export function userRuntimeFolder(): string {
  const ofUser = Deno.env.get("XDG_RUNTIME_DIR") ?? "";
  return Deno.uid() === 0 || ofUser === "" ? RUNTIME_FOLDER : `${ofUser}/aoe`;
}
