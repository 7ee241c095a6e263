// SIGUSR1. Deno opens V8's inspector on it, to which every user of the machine may then connect and
// run code as whoever runs this. Its handler cannot be taken back, only be replaced below Deno.

import type { Pointer } from "./libc.ts";
import { openLibc } from "./libc.ts";

/** asm-generic/signal.h; the same on x86_64 and aarch64. */
const SIGUSR1 = 10;
const SIG_IGN = Deno.UnsafePointer.create(1n);

/**
 * Keeps SIGUSR1 from opening the inspector, and ignores it. To be called by the first line that
 * runs: Deno takes the signal over when its event loop first turns, and before that the default
 * holds, so that no moment is left in which the inspector could be opened.
 */
export function ignoreUserSignal(): void {
  // Deno asks the kernel once for each signal, at the first listener: after this one it only adds
  // to its own list, and what is set here behind its back stays.
  if (!listening) Deno.addSignalListener("SIGUSR1", () => {});
  listening = true;
  setUserSignal(SIG_IGN);
}

/**
 * Makes SIGUSR1 leave a trace; `takeUserSignal` finds it. A handler has to be machine code that may
 * interrupt anything: alarm(2) of the C library is. Called with the signal's number, it sets a timer
 * of ten seconds that nobody else here uses.
 */
export function noteUserSignal(): void {
  const { alarm } = openLibc({ alarm: { type: "pointer" } } as const);
  setUserSignal(alarm);
}

/** Whether SIGUSR1 came since this was asked last; to be asked every few seconds at least. */
export function takeUserSignal(): boolean {
  timer ??= openLibc(
    {
      // unsigned int seconds
      alarm: { parameters: ["u32"], result: "u32" },
    } as const,
  );
  return timer.alarm(0) > 0;
}

let listening = false;
let timer: { readonly alarm: (seconds: number) => number } | undefined;

function setUserSignal(handler: Pointer): void {
  // int signum, sighandler_t handler
  openLibc({ signal: { parameters: ["i32", "pointer"], result: "pointer" } } as const)
    .signal(SIGUSR1, handler);
}
