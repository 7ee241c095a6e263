// What a packet socket that was refused means, in one sentence.

import { SystemError } from "../../ffi/errno.ts";
import { EPERM } from "../../ffi/errno_numbers.ts";

/** The sentence for a socket that was refused: what is missing, and how to get it. */
export function explainSocketError(error: unknown): unknown {
  return error instanceof SystemError && error.code === EPERM
    ? new Deno.errors.PermissionDenied(
      `No CAP_NET_RAW: run as root, or setcap cap_net_raw+ep ${Deno.execPath()}`,
    )
    : error;
}
