// The command line of `aoe serve`; serve.ts is what it does.

import { object, tuple } from "@optique/core/constructs";
import { lineBreak, message, text } from "@optique/core/message";
import { map, multiple, optional, withDefault } from "@optique/core/modifiers";
import { argument, command, flag, option } from "@optique/core/primitives";
import { choice, string } from "@optique/core/valueparser";
import {
  BUFFERS_DEFAULT,
  BUFFERS_MAX,
  BUFFERS_MIN,
  CREATE_BYTES_MIN,
  POLL_US_MAX,
  WORKERS_MAX,
} from "../core/daemon/values.ts";
import type { Address } from "../wire/aoe.ts";
import {
  address,
  byteSize,
  daemonName,
  integerBetween,
  interfaceList,
  jsonFlag,
  macList,
  metricsOption,
  path,
  ringOption,
  sectorsOrBytes,
  shortUsage,
  wireOptions,
} from "./arguments.ts";
import type { ExportArguments } from "./arguments.ts";
import { SUMMARIES } from "./summaries.ts";

/** What `aoe serve` was asked to do. */
export interface ServeOptions extends ExportArguments {
  /** The configuration; undefined where the arguments say everything, or nothing. */
  readonly config: string | undefined;
  /** Whether the configuration is only looked at. */
  readonly check: boolean;
  readonly exports: readonly { readonly address: Address; readonly path: string }[];
  /** Commands an initiator may have in flight, as advertised. */
  readonly buffers: number | undefined;
  readonly workers: number | undefined;
  readonly pollUs: number | undefined;
  readonly uring: boolean;
  readonly ring: boolean;
  /** Bytes of the images that may stay mapped; undefined: as the machine has memory. */
  readonly mapBytes: number | undefined;
  /** Where metrics and the page are to be had. */
  readonly metrics: string | undefined;
  /** Whom root becomes, confined. */
  readonly user: string | undefined;
  readonly capture: string | undefined;
  readonly captureBytes: number | undefined;
  readonly dropPercent: number | undefined;
  /** By which `aoe ctl` finds it. */
  readonly name: string | undefined;
  /** Whether what is missing is waited for. */
  readonly wait: boolean;
  /** Where config strings, mask lists and reservations are kept; undefined: not said. */
  readonly state: string | undefined;
  /** Whether they are kept nowhere. */
  readonly noState: boolean;
  readonly json: boolean;
  /** -1 quiet, 0, 1 and 2 for -v and -vv. */
  readonly verbosity: number;
}

/** `aoe serve IFACE[,IFACE...] (SHELF.SLOT PATH)...` */
export const serveParser = command(
  "serve",
  map(
    object({
      interfaces: withDefault(
        argument(interfaceList(), { description: message`Interfaces to serve on.` }),
        [],
      ),
      exports: multiple(
        tuple([
          argument(address(() => []), {
            description: message`Where the disk appears, as in e1.1.`,
          }),
          argument(path(), {
            description: message`Image file, block device or NBD URI to export.`,
            errors: { endOfInput: message`Missing the path behind the last SHELF.SLOT.` },
          }),
        ]),
      ),
      config: optional(
        option("--config", path("FILE"), {
          description:
            message`Serve what a file says, in place of all other arguments (without any: /etc/aoe.toml).`,
        }),
      ),
      check: option("--check", {
        description: message`Only say what is wrong with the configuration.`,
      }),
      buffers: optional(
        option("-b", "--buffers", integerBetween(BUFFERS_MIN, BUFFERS_MAX), {
          description: message`Commands that may be in flight (default ${
            text(String(BUFFERS_DEFAULT))
          }).`,
        }),
      ),
      direct: option("-d", "--direct", {
        description: message`Go around the page cache (O_DIRECT).`,
      }),
      sync: option("-s", "--sync", {
        description: message`Answer a write when it is on stable storage.`,
      }),
      writeCache: optional(
        option("--write-cache", choice(["free", "fixed"]), {
          description:
            message`fixed: refuse initiators that would switch the write cache on or off for all (default free).`,
        }),
      ),
      readOnly: option("-r", "--read-only", { description: message`Refuse every write.` }),
      macs: withDefault(
        option("-m", "--mac", macList(), {
          description: message`Answer these MAC addresses only.`,
        }),
        [],
      ),
      offsetSectors: optional(
        option("-o", "--offset", sectorsOrBytes(), {
          description:
            message`Export from here on: sectors of 512 bytes, or bytes with K, M, G or T.`,
        }),
      ),
      lengthSectors: optional(
        option("-l", "--length", sectorsOrBytes({ min: 1 }), {
          description: message`Export only so much, in the same units.`,
        }),
      ),
      sizeBytes: optional(
        option("--size", byteSize({ min: CREATE_BYTES_MIN }), {
          description: message`Make a missing image, sparse, of so many bytes.`,
        }),
      ),
      workers: optional(
        option("--workers", integerBetween(1, WORKERS_MAX), {
          description: message`Threads (default: one an export, at most the cores).`,
        }),
      ),
      pollUs: optional(
        option("--poll", integerBetween(0, POLL_US_MAX, "USEC"), {
          description: message`Spin so long before sleeping (default 0).`,
        }),
      ),
      mapBytes: optional(
        option("--map", byteSize(), {
          description:
            message`How much of the images to keep mapped (default: half of the memory, at most 32G).`,
        }),
      ),
      noUring: option("--no-uring", { description: message`Do without io_uring.` }),
      noRing: ringOption(),
      format: optional(
        option("--format", choice(["raw"]), {
          description:
            message`raw: serve an image file of another format (qcow2, gzip and such) as it is.`,
        }),
      ),
      force: option("--force", {
        description:
          message`Serve what this host is using, an image of another format, or an address that already answers.`,
      }),
      metrics: metricsOption(),
      user: optional(
        option("--user", string({ metavar: "NAME" }), {
          description:
            message`As root: go on as this user, with CAP_NET_RAW alone, and open only what lies in the exported files' folders.`,
        }),
      ),
      ...wireOptions(),
      name: optional(option("--name", daemonName(), {
        description: message`Tell this daemon from others of this host, for aoe ctl.`,
      })),
      wait: option("--wait", {
        description: message`Serve what there is, and the rest as soon as it comes.`,
      }),
      state: optional(
        option("--state", path("DIR"), {
          description:
            message`Keep config strings, mask lists and reservations in this folder (default: /var/lib/aoe with a configuration; else they end with the process).`,
        }),
      ),
      noState: option("--no-state", {
        description: message`Keep none of them, whatever the configuration says.`,
      }),
      json: jsonFlag(),
      quiet: option("-q", "--quiet", { description: message`Say only what goes wrong.` }),
      verbose: multiple(
        flag("-v", "--verbose", { description: message`Say more.` }),
      ),
    }),
    ({ exports, noUring, noRing, quiet, verbose, ...rest }): ServeOptions => ({
      ...rest,
      exports: exports.map(([address, path]) => ({ address, path })),
      uring: !noUring,
      ring: !noRing,
      verbosity: quiet ? -1 : Math.min(verbose.length, 2),
    }),
  ),
  {
    brief: SUMMARIES.serve,
    description:
      message`Exports image files, block devices and NBD exports over every named interface, until SIGINT or SIGTERM.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe serve eth0 1.1 disk.img --size 10G${lineBreak()}  aoe serve -ds eth0,eth1 e7.0 /dev/sdb e7.1 /dev/sdc${lineBreak()}  aoe serve -s eth0 1.1 nbd+unix:///run/disk.sock${lineBreak()}  aoe serve --config /etc/aoe.toml --check`,
  },
);
