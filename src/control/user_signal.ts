// SIGUSR1 for the main thread: a listener that Deno's own inspector does not share.

import { ignoreUserSignal, noteUserSignal, takeUserSignal } from "../../ffi/signals.ts";

/** How often it is looked whether the signal came. */
const LOOK_EVERY_MS = 500;

/** Calls `listener` soon after each SIGUSR1, until the returned function is called. */
export function onUserSignal(listener: () => void): () => void {
  noteUserSignal();
  const take = () => {
    if (takeUserSignal()) listener();
  };
  const timer = setInterval(take, LOOK_EVERY_MS);
  Deno.unrefTimer(timer);
  return () => {
    clearInterval(timer);
    ignoreUserSignal();
    // One that came last must not become a SIGALRM.
    takeUserSignal();
  };
}
