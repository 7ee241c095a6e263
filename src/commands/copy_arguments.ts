// The command line of `aoe copy`; copy.ts is what it does.

import { object } from "@optique/core/constructs";
import { lineBreak, message, text } from "@optique/core/message";
import { map, optional, withDefault } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { choice } from "@optique/core/valueparser";
import type { Address } from "../wire/aoe.ts";
import {
  diskOrPath,
  forceOption,
  initiatorRingOptions,
  jsonFlag,
  parseDisk,
  seconds,
  sectorsOrBytes,
  type SessionArguments,
  sessionOptions,
  shortUsage,
  type WireArguments,
  wireOptions,
} from "./arguments.ts";
import { SUMMARIES } from "./summaries.ts";

/** One end: a disk on the network, standard input or output, or a path. */
export type CopyEndName =
  | { readonly kind: "address"; readonly address: Address }
  | { readonly kind: "standard" }
  | { readonly kind: "path"; readonly path: string };

/** What `aoe copy` was asked to do. */
export interface CopyOptions extends SessionArguments, WireArguments {
  readonly source: CopyEndName;
  readonly destination: CopyEndName;
  readonly offsetSectors: number;
  readonly seekSectors: number;
  readonly lengthBytes: number | undefined;
  readonly resume: boolean;
  /** To resume without reading again what was copied of the source. */
  readonly trustSource: boolean;
  /** How often what is there is flushed, and remembered for `resume`. */
  readonly stateEveryMs: number;
  readonly verify: boolean;
  readonly sparse: boolean;
  readonly checksum: "crc32" | "sha256" | "none";
  readonly uring: boolean;
  readonly force: boolean;
  readonly json: boolean;
  readonly quiet: boolean;
}

/** `aoe copy SRC DST` */
export const copyParser = command(
  "copy",
  map(
    object({
      source: argument(diskOrPath("SRC"), {
        description: message`What to copy: SHELF.SLOT, a path, or - for standard input.`,
      }),
      destination: argument(diskOrPath("DST"), {
        description: message`Where to: SHELF.SLOT, a path, or - for standard output.`,
      }),
      offsetSectors: withDefault(
        option("--offset", sectorsOrBytes(), {
          description:
            message`Begin here in SRC: sectors of 512 bytes, or bytes with K, M, G or T.`,
        }),
        0,
      ),
      seekSectors: withDefault(
        option("--seek", sectorsOrBytes(), {
          description: message`Begin here in DST, in the same units; a file keeps what it has.`,
        }),
        0,
      ),
      lengthBytes: optional(
        option("--length", sectorsOrBytes({ min: 1 }), {
          description: message`Copy only so much, in the same units.`,
        }),
      ),
      resume: option("--resume", {
        description:
          message`Go on where the same copy was interrupted, after comparing what DST holds of it.`,
      }),
      trustSource: option("--trust-source", {
        description:
          message`With --resume: do not read again what was copied of SRC. That its size, and a disk's serial number and model, are the same is taken for proof that it is.`,
      }),
      stateEveryMs: withDefault(
        option("--state-every", seconds({ min: 0.01, max: 3600 }), {
          description:
            message`How often what has come is flushed, and remembered for --resume (default 5).`,
        }),
        5000,
      ),
      verify: option("--verify", {
        description: message`Read SRC again and DST back, and compare them.`,
      }),
      noSparse: option("--no-sparse", {
        description:
          message`Write zeros. Without it runs of zeros are discarded on disks that promise to read zeros then, and left out of files.`,
      }),
      checksum: withDefault(
        option("--checksum", choice(["crc32", "sha256", "none"]), {
          description:
            message`What to sum the bytes up with: sha256 is what sha256sum prints and costs a core at 1 GB/s, crc32 is that of gzip and costs nothing (default crc32).`,
        }),
        "crc32" as const,
      ),
      force: forceOption(),
      ...sessionOptions(),
      ...initiatorRingOptions(),
      ...wireOptions(),
      noUring: option("--no-uring", { description: message`Do without io_uring.` }),
      json: jsonFlag(),
      quiet: option("-q", "--quiet", { description: message`Say only what goes wrong.` }),
    }),
    ({ source, destination, lengthBytes, noSparse, noUring, ...rest }): CopyOptions => ({
      ...rest,
      source: endName(source),
      destination: endName(destination),
      lengthBytes: lengthBytes === undefined ? undefined : lengthBytes * 512,
      sparse: !noSparse,
      uring: !noUring,
    }),
  ),
  {
    brief: SUMMARIES.copy,
    description:
      message`Copies between a disk on the network and a file, a block device, a pipe, or another disk. At the end everything is on stable storage. SHELF.SLOT is an address, as in e1.1; write ./e1.1 for a file of that name. The last sector of a disk is filled up with zeros.${lineBreak()}${lineBreak()}However it ends, --resume goes on with what was on stable storage last: that is remembered every few seconds beside a file (as DST.aoe-copy), for any other DST in ${
        text("~/.local/state/aoe")
      }, and forgotten at the end. It goes on only when DST still holds what was copied, and SRC begins with the same: both are read that far again.${lineBreak()}${lineBreak()}Exit codes: 0 copied, 1 a local file failed, 2 called wrongly, 3 no answer, 4 the disk refused or failed, 5 what was read back or is to be resumed differs, 130 interrupted.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe copy e1.1 backup.img --verify${lineBreak()}  aoe copy disk.img e1.1 -i eth0 -i eth1${lineBreak()}  aoe copy e1.1 - | zstd > disk.zst`,
  },
);

function endName(text: string): CopyEndName {
  if (text === "-") return { kind: "standard" };
  const address = parseDisk(text);
  return address === undefined ? { kind: "path", path: text } : { kind: "address", address };
}
