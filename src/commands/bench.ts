// `aoe bench SHELF.SLOT`: how fast a disk on the network is, in fio's words; with --verify also
// whether it keeps what it is told. bench_report.ts shows the results.

import type { InitiatorCounters } from "../loops/initiator/counters.ts";
import type { WireAids } from "../loops/capture.ts";
import type { DiskChoice } from "../loops/initiator/loop.ts";
import { sessionSettings } from "./arguments.ts";
import type { BenchResult } from "../loops/bench/driver.ts";
import { admitDisk } from "../control/admission.ts";
import { explainReservation } from "../control/attach/reservation.ts";
import { openInitiatorAids } from "../control/wire_aids.ts";
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
  const readPercent = readPercentOf(options);
  refuseOptions(options, readPercent);
  const writes = readPercent < 100;
  const disk = await admitDisk({ ...options, writes, pastDevice: writes && !options.force }, warn);
  const aids = openInitiatorAids(options, warn);
  const { result, counters } = await measure(options, { disk, readPercent, aids });
  if (result.seconds > 0) {
    if (options.json) printJson(reportJson(options, result, counters));
    else for (const text of reportText(options, result, counters)) printLine(text);
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

/** How many of a hundred requests read. */
function readPercentOf({ rw, readPercent }: BenchOptions): number {
  if (/read$/.test(rw) && rw !== "readwrite") return 100;
  return /^(rand)?write$/.test(rw) ? 0 : readPercent;
}

function refuseOptions({ blockBytes, iodepth, verify }: BenchOptions, readPercent: number): void {
  if (blockBytes % 512 !== 0 || blockBytes > BLOCK_BYTES_MAX) {
    throw new Failure("--bs is a multiple of 512 bytes, at most 8M", 2);
  }
  if (blockBytes * iodepth > MEMORY_BYTES_MAX) {
    throw new Failure("--bs times --iodepth is at most 64M", 2);
  }
  if (verify && readPercent === 100) {
    throw new Failure("--verify compares what was written: it needs a --rw that writes", 2);
  }
}

/** Puts the load on the disk, and shows on a terminal how far it is, until the thread ends. */
async function measure(
  options: BenchOptions,
  { disk, readPercent, aids }: {
    readonly disk: DiskChoice;
    readonly readPercent: number;
    readonly aids: WireAids | undefined;
  },
): Promise<{ result: BenchResult; counters: InitiatorCounters }> {
  const { blockBytes, iodepth, rw, verify, json } = options;
  const interfaces = findInterfaces(options.interfaces).map((link) => link.name);
  const line = new ProgressLine(!json);
  let result: BenchResult | undefined;
  const thread = await InitiatorThread.start({
    interfaces,
    disks: [disk],
    ringSlots: options.noRing ? 0 : options.ringSlots,
    aids,
    settings: { ...sessionSettings(options), keepsReads: verify },
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
  return { result, counters: thread.counters };
}
