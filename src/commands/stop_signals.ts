// What signals do to a command that takes its time: the deadly ones end it in good order, SIGUSR1
// prints what it has counted. A signal that would otherwise be sudden death, with nothing flushed,
// is one of them wherever it can be caught; those that tell of a fault of the program (SIGSEGV,
// SIGBUS and the like) cannot, since the fault would come again.

import { onUserSignal } from "../control/user_signal.ts";
import { EXIT_INTERRUPTED } from "./exit_codes.ts";
import { hurryOutput } from "./output.ts";

/** A signal sent to a process and to its group arrives twice: that is no second wish. */
const INSIST_AFTER_MS = 300;

/** In the environment, where SIGHUP was ignored from the start; the launcher of ./aoe sets it. */
const NOHUP_VARIABLE = "AOE_NOHUP";

/** What asks for the end. */
const STOP_SIGNALS = [
  "SIGINT",
  "SIGTERM",
  "SIGQUIT",
  "SIGUSR2",
  "SIGABRT",
  "SIGVTALRM",
  "SIGPROF",
  "SIGXCPU",
  "SIGIO",
  "SIGPWR",
  "SIGSTKFLT",
] as const;

/** What a command does when it hears a signal. */
export interface SignalActions {
  /** Called at the first signal that asks for the end, once. */
  readonly stop: (signal: Deno.Signal) => void;
  /** Called at each later one, unless it comes at once; by default the process ends as it stands. */
  readonly insist?: () => void;
  /** Called at SIGUSR1 and SIGALRM: says what has been counted. */
  readonly count?: () => void;
  /** Called at SIGHUP; without it a SIGHUP asks for the end, as a terminal does that closes. */
  readonly reload?: () => void;
}

/** Listens to signals, until the returned function is called. */
export function listenToSignals(actions: SignalActions): () => void {
  let stoppedAtMs = NaN;
  const end = (signal: Deno.Signal) => {
    const nowMs = performance.now();
    if (Number.isNaN(stoppedAtMs)) {
      stoppedAtMs = nowMs;
      hurryOutput();
      actions.stop(signal);
    } else if (nowMs - stoppedAtMs >= INSIST_AFTER_MS) {
      if (actions.insist === undefined) Deno.exit(EXIT_INTERRUPTED);
      actions.insist();
    }
  };
  const { count = () => {}, reload } = actions;
  const listeners: (readonly [Deno.Signal, () => void])[] = [
    ...STOP_SIGNALS.map((signal) => [signal, () => end(signal)] as const),
    ["SIGALRM", count],
    // A file that may not grow so far: the write fails, which is all that anybody needs to know.
    ["SIGXFSZ", () => {}],
  ];
  // What nohup(1) has started does not end with its terminal; Deno would end it without a listener.
  const leave = Deno.env.has(NOHUP_VARIABLE) ? () => {} : () => end("SIGHUP");
  listeners.push(["SIGHUP", reload ?? leave]);
  for (const [signal, listener] of listeners) Deno.addSignalListener(signal, listener);
  const forget = onUserSignal(count);
  return () => {
    forget();
    for (const [signal, listener] of listeners) Deno.removeSignalListener(signal, listener);
  };
}
