// `aoe bench SHELF.SLOT`: how fast a disk on the network is, in fio's words; with --verify also
// whether it keeps what it is told. bench_report.ts shows the results.

import type { BenchResult } from "../loops/bench/driver.ts";
import { admitDisk } from "../control/admission.ts";
import { explainReservation } from "../control/attach/reservation.ts";
import { dropWarning, openInitiatorAids } from "../control/wire_aids.ts";
import { InitiatorThread } from "../control/initiator_thread.ts";
import { findInterfaces } from "../control/network_interfaces.ts";
import { liveLine, reportJson, reportText } from "./bench_report.ts";
import {
  EXIT_INTERRUPTED,
  EXIT_MISMATCH,
  EXIT_REFUSED,
  EXIT_SILENT,
  EXIT_USAGE,
} from "./exit_codes.ts";
import {
  counted,
  Failure,
  printError,
  printJson,
  printLine,
  ProgressLine,
  warn,
  writeWithoutWaiting,
} from "./output.ts";
import type { BenchOptions } from "./bench_arguments.ts";
import { listenToSignals } from "./stop_signals.ts";

const BLOCK_BYTES_MAX = 8 * 2 ** 20;
/** Of all requests in flight. */
const MEMORY_BYTES_MAX = 64 * 2 ** 20;
const LIVE_EVERY_MS = 250;
/** By kind of failure, as those of `aoe copy`. */
const EXIT_CODES = {
  usage: EXIT_USAGE,
  silent: EXIT_SILENT,
  refused: EXIT_REFUSED,
  reserved: EXIT_REFUSED,
} as const;

/** Measures; returns the exit code. */
export async function runBench(options: BenchOptions): Promise<number> {
  writeWithoutWaiting("failure");
  const { blockBytes, iodepth, rw, verify, json, retransmitMs } = options;
  if (blockBytes % 512 !== 0 || blockBytes > BLOCK_BYTES_MAX) {
    throw new Failure("--bs is a multiple of 512 bytes, at most 8M", 2);
  }
  if (blockBytes * iodepth > MEMORY_BYTES_MAX) {
    throw new Failure("--bs times --iodepth is at most 64M", 2);
  }
  const readPercent = /read$/.test(rw) && rw !== "readwrite"
    ? 100
    : /^(rand)?write$/.test(rw)
    ? 0
    : options.readPercent;
  if (verify && readPercent === 100) {
    throw new Failure("--verify compares what was written: it needs a --rw that writes", 2);
  }
  const writes = readPercent < 100;
  const disk = await admitDisk({ ...options, writes, pastDevice: writes && !options.force }, warn);
  const interfaces = findInterfaces(options.interfaces).map((link) => link.name);
  const aids = openInitiatorAids(options);
  const drops = dropWarning(options.dropPercent);
  if (drops !== undefined) warn(drops);
  const line = new ProgressLine(!json);
  let result: BenchResult | undefined;
  const thread = await InitiatorThread.start({
    interfaces,
    disks: [disk],
    aids,
    settings: {
      deadAfterMs: options.deadAfterMs,
      ...(retransmitMs === undefined ? {} : { rtoMinMs: retransmitMs, rtoMaxMs: retransmitMs }),
    },
    use: {
      kind: "bench",
      random: rw.startsWith("rand"),
      readPercent,
      blockBytes,
      iodepth,
      runtimeMs: options.runtimeMs,
      verify,
      offsetBytes: options.offsetSectors * 512,
      sizeBytes: options.sizeBytes,
      connectMs: options.timeoutMs,
    },
  }, (message) => {
    if (message.kind === "benched") result = message;
    else if (message.kind === "note") {
      line.clear();
      warn(message.text);
    }
  });
  const live = liveLine(thread.counters);
  const told = liveLine(thread.counters);
  const deaf = listenToSignals({
    stop: () => thread.stop(),
    count: () => {
      line.clear();
      printError(told().trim());
    },
  });
  const timer = setInterval(() => line.show(live()), LIVE_EVERY_MS);
  try {
    await thread.ended;
  } finally {
    clearInterval(timer);
    deaf();
    line.clear();
  }
  if (result === undefined) throw new Failure("The measurement ended without a result");
  if (result.seconds > 0) {
    if (json) printJson(reportJson(options, result, thread.counters));
    else for (const text of reportText(options, result, thread.counters)) printLine(text);
  }
  if (result.failure !== undefined) {
    const { kind, text } = result.failure;
    const { address, interfaces } = options;
    const sentence = kind === "reserved"
      ? await explainReservation(text, { address, interfaces })
      : text;
    throw new Failure(sentence, EXIT_CODES[kind]);
  }
  if (result.mismatches > 0) {
    printError(
      `aoe: ${counted(result.mismatches, "sector")} did not hold what was written to ${
        result.mismatches === 1 ? "it" : "them"
      }`,
    );
    return EXIT_MISMATCH;
  }
  return result.stopped ? EXIT_INTERRUPTED : 0;
}
