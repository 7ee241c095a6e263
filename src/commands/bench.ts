// `aoe bench SHELF.SLOT`: how fast a disk on the network is, in fio's words; with --verify also
// whether it keeps what it is told. bench_report.ts shows the results.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, optional, withDefault } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { choice } from "@optique/core/valueparser";
import type { Address } from "../wire/aoe.ts";
import type { BenchResult } from "../loops/bench/driver.ts";
import { InitiatorThread } from "../control/initiator_thread.ts";
import { findInterfaces } from "../control/network_interfaces.ts";
import {
  address,
  byteSize,
  integerBetween,
  jsonFlag,
  seconds,
  sectorsOrBytes,
  sessionOptions,
  shortUsage,
} from "./arguments.ts";
import { liveLine, reportJson, reportText } from "./bench_report.ts";
import { Failure, printError, printJson, printLine, ProgressLine, warn } from "./output.ts";

const BLOCK_BYTES_DEFAULT = 4096;
const BLOCK_BYTES_MAX = 8 * 2 ** 20;
const IODEPTH_DEFAULT = 32;
const IODEPTH_MAX = 1024;
/** Of all requests in flight. */
const MEMORY_BYTES_MAX = 64 * 2 ** 20;
const RUNTIME_MS_DEFAULT = 10_000;
const LIVE_EVERY_MS = 250;
const EXIT_INTERRUPTED = 130;
/** By kind of failure, as those of `aoe copy`. */
const EXIT_CODES = { usage: 2, silent: 3, refused: 4 } as const;
const EXIT_MISMATCH = 5;

/** What `aoe bench` was asked to do. */
export interface BenchOptions {
  readonly address: Address;
  readonly interfaces: readonly string[];
  readonly rw: "read" | "write" | "randread" | "randwrite" | "rw" | "readwrite" | "randrw";
  readonly readPercent: number;
  readonly blockBytes: number;
  readonly iodepth: number;
  readonly runtimeMs: number;
  readonly verify: boolean;
  readonly offsetSectors: number;
  readonly sizeSectors: number | undefined;
  readonly timeoutMs: number;
  readonly deadAfterMs: number;
  /** Retransmit after exactly so long; undefined: as the network has it. */
  readonly retransmitMs: number | undefined;
  readonly json: boolean;
}

/** `aoe bench SHELF.SLOT` */
export const benchParser = command(
  "bench",
  map(
    object({
      address: argument(address(), { description: message`Which disk.` }),
      rw: withDefault(
        option(
          "--rw",
          choice(["read", "write", "randread", "randwrite", "rw", "readwrite", "randrw"]),
          {
            description:
              message`What to do, in fio's words (default randread). Those that write destroy what is on the disk.`,
          },
        ),
        "randread" as const,
      ),
      readPercent: withDefault(
        option("--rwmixread", integerBetween(1, 99, "PERCENT"), {
          description: message`Reads among them with rw and randrw (default 50).`,
        }),
        50,
      ),
      blockBytes: withDefault(
        option("--bs", byteSize({ min: 512 }), {
          description: message`Bytes of each request (default 4k).`,
        }),
        BLOCK_BYTES_DEFAULT,
      ),
      iodepth: withDefault(
        option("--iodepth", integerBetween(1, IODEPTH_MAX), {
          description: message`Requests in flight (default 32).`,
        }),
        IODEPTH_DEFAULT,
      ),
      runtimeMs: withDefault(
        option("--runtime", seconds({ min: 0.1, max: 86_400 * 30 }), {
          description: message`How long to measure (default 10).`,
        }),
        RUNTIME_MS_DEFAULT,
      ),
      verify: option("--verify", {
        description:
          message`Write what can be recognised, check it when it is read, and in the end read all of it back. For --rw with writes only.`,
      }),
      offsetSectors: withDefault(
        option("--offset", sectorsOrBytes(), {
          description:
            message`Where the tested part begins: sectors of 512 bytes, or bytes with K, M, G or T.`,
        }),
        0,
      ),
      sizeSectors: optional(
        option("--size", sectorsOrBytes({ min: 1 }), {
          description: message`How large it is, in the same units (default: to the end).`,
        }),
      ),
      ...sessionOptions(),
      json: jsonFlag(),
    }),
    (options): BenchOptions => options,
  ),
  {
    brief: message`Measure how fast a disk is.`,
    description:
      message`Keeps requests in flight to a disk on the network and tells how many were done and how long they took. Without --rw it only reads; write, randwrite, rw and randrw destroy what is on the disk, or on the part that --offset and --size name.${lineBreak()}${lineBreak()}Exit codes: 0 measured, 2 called wrongly, 3 no answer, 4 the disk refused or failed, 5 something else was read than had been written, 130 interrupted.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe bench e1.1${lineBreak()}  aoe bench e1.1 --rw read --bs 256k --iodepth 16${lineBreak()}  aoe bench e1.1 --rw randrw --verify --size 1G --runtime 60`,
  },
);

/** Measures; returns the exit code. */
export async function runBench(options: BenchOptions): Promise<number> {
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
  const line = new ProgressLine(!json);
  const stopListener = new AbortController();
  let result: BenchResult | undefined;
  const thread = await InitiatorThread.start({
    interfaces: findInterfaces(options.interfaces).map((link) => link.name),
    disks: [options.address],
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
      sizeBytes: options.sizeSectors === undefined ? undefined : options.sizeSectors * 512,
      connectMs: options.timeoutMs,
    },
  }, (message) => {
    if (message.kind === "benched") result = message;
    else if (message.kind === "note") {
      line.clear();
      warn(message.text);
    }
  });
  thread.stopOnSignals(stopListener.signal, () => Deno.exit(EXIT_INTERRUPTED));
  const live = liveLine(thread.counters);
  const timer = setInterval(() => line.show(live()), LIVE_EVERY_MS);
  try {
    await thread.ended;
  } finally {
    clearInterval(timer);
    stopListener.abort();
    line.clear();
  }
  if (result === undefined) throw new Failure("The measurement ended without a result");
  if (result.seconds > 0) {
    if (json) printJson(reportJson(options, result, thread.counters));
    else for (const text of reportText(options, result, thread.counters)) printLine(text);
  }
  if (result.failure !== undefined) {
    throw new Failure(result.failure.text, EXIT_CODES[result.failure.kind]);
  }
  if (result.mismatches > 0) {
    printError(`aoe: ${result.mismatches} sectors did not hold what was written to them`);
    return EXIT_MISMATCH;
  }
  return result.stopped ? EXIT_INTERRUPTED : 0;
}
