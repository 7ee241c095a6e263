// The command line of `aoe bench`; bench.ts is what it does.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, optional, withDefault } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { choice } from "@optique/core/valueparser";
import type { Address } from "../wire/aoe.ts";
import { SECTOR_BYTES } from "../wire/ata.ts";
import {
  address,
  byteSize,
  forceOption,
  initiatorRingOptions,
  integerBetween,
  jsonFlag,
  seconds,
  sectorsOrBytes,
  type SessionArguments,
  sessionOptions,
  shortUsage,
  type WireArguments,
  wireOptions,
} from "./arguments.ts";
import { SUMMARIES } from "./summaries.ts";

const BLOCK_BYTES_DEFAULT = 4096;

const IODEPTH_DEFAULT = 32;

const IODEPTH_MAX = 1024;

const RUNTIME_MS_DEFAULT = 10_000;

/** What `aoe bench` was asked to do. */
export interface BenchOptions extends SessionArguments, WireArguments {
  readonly address: Address;
  readonly rw: "read" | "write" | "randread" | "randwrite" | "rw" | "readwrite" | "randrw";
  readonly readPercent: number;
  readonly blockBytes: number;
  readonly iodepth: number;
  readonly runtimeMs: number;
  readonly verify: boolean;
  readonly offsetSectors: number;
  readonly sizeBytes: number | undefined;
  readonly force: boolean;
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
          message`Write what can be recognised, check it when it is read, and in the end read all of it back. For --rw with writes only. Without it what is read is counted, not looked at.`,
      }),
      offsetSectors: withDefault(
        option("--offset", sectorsOrBytes(), {
          description:
            message`Where the tested part begins: sectors of 512 bytes, or bytes with K, M, G or T.`,
        }),
        0,
      ),
      sizeBytes: optional(
        option("--size", byteSize({ min: SECTOR_BYTES, multiple: SECTOR_BYTES }), {
          description:
            message`How large it is: bytes, with K, M, G or T if wanted (default: to the end).`,
        }),
      ),
      force: forceOption(),
      ...sessionOptions(),
      ...initiatorRingOptions(),
      ...wireOptions(),
      json: jsonFlag(),
    }),
    (options): BenchOptions => options,
  ),
  {
    brief: SUMMARIES.bench,
    description:
      message`Keeps requests in flight to a disk on the network and tells how many were done and how long they took. Without --rw it only reads; write, randwrite, rw and randrw destroy what is on the disk, or on the part that --offset and --size name.${lineBreak()}${lineBreak()}Exit codes: 0 measured, 2 called wrongly, 3 no answer, 4 the disk refused or failed, 5 something else was read than had been written, 130 interrupted.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe bench e1.1${lineBreak()}  aoe bench e1.1 --rw read --bs 256k --iodepth 16${lineBreak()}  aoe bench e1.1 --rw randrw --verify --size 1G --runtime 60`,
  },
);
