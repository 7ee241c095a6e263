// The command line of `aoe ctl`; ctl.ts is what it does.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, optional, withDefault } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { choice } from "@optique/core/valueparser";
import { CREATE_BYTES_MIN } from "../core/daemon/values.ts";
import type { Address } from "../wire/aoe.ts";
import {
  address,
  byteSize,
  daemonName,
  interfaceOptions,
  jsonFlag,
  macList,
  path,
  sectorsOrBytes,
  shortUsage,
} from "./arguments.ts";
import type { ExportArguments } from "./arguments.ts";
import { SUMMARIES } from "./summaries.ts";

/** What `aoe ctl` was asked to do. */
export interface CtlOptions extends ExportArguments {
  readonly action: "list" | "stats" | "add" | "remove" | "drain" | "reload";
  readonly address: Address | undefined;
  readonly path: string | undefined;
  readonly name: string | undefined;
  readonly json: boolean;
}

const ACTIONS = ["list", "stats", "add", "remove", "drain", "reload"] as const;

/** `aoe ctl ACTION [SHELF.SLOT [PATH]]` */
export const ctlParser = command(
  "ctl",
  map(
    object({
      action: argument(choice(ACTIONS, { metavar: "ACTION" }), {
        description:
          message`list: what is served, and what is waited for; stats: what has been counted; add: serve one more; remove: serve one no more; drain: the same, with all that was written on stable storage; reload: read the configuration again.`,
      }),
      address: optional(
        argument(address(() => []), {
          description: message`Which export to add, remove or drain.`,
        }),
      ),
      path: optional(
        argument(path(), {
          description: message`What to add: image file, block device or NBD URI.`,
        }),
      ),
      interfaces: interfaceOptions(
        message`add: interfaces to serve it on (default: all of the daemon).`,
      ),
      direct: option("-d", "--direct", { description: message`add: as aoe serve has it.` }),
      sync: option("-s", "--sync", { description: message`add: as aoe serve has it.` }),
      readOnly: option("-r", "--read-only", { description: message`add: refuse every write.` }),
      writeCache: optional(
        option("--write-cache", choice(["free", "fixed"]), {
          description: message`add: as aoe serve has it.`,
        }),
      ),
      macs: withDefault(
        option("-m", "--mac", macList(), {
          description: message`add: answer these MAC addresses only.`,
        }),
        [],
      ),
      offsetSectors: optional(
        option("-o", "--offset", sectorsOrBytes(), {
          description: message`add: export from here on.`,
        }),
      ),
      lengthSectors: optional(
        option("-l", "--length", sectorsOrBytes({ min: 1 }), {
          description: message`add: export only so much.`,
        }),
      ),
      sizeBytes: optional(
        option("--size", byteSize({ min: CREATE_BYTES_MIN }), {
          description: message`add: make a missing image, sparse, of so many bytes.`,
        }),
      ),
      format: optional(
        option("--format", choice(["raw"]), { description: message`add: as aoe serve has it.` }),
      ),
      force: option("--force", { description: message`add: as aoe serve has it.` }),
      name: optional(option("--name", daemonName(), {
        description: message`Which daemon, where there are several (default serve).`,
      })),
      json: jsonFlag(),
    }),
    (options): CtlOptions => options,
  ),
  {
    brief: SUMMARIES.ctl,
    description:
      message`Asks a running aoe serve of this host by its control socket, or changes what it serves while the other exports are served on. What is added or removed by hand stays so until it ends; a reload makes the configuration's exports as the file has them, and leaves those alone that were added by hand. Exits with 1 when there is no aoe serve, or it refuses.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe ctl list${lineBreak()}  aoe ctl add e1.3 /srv/disk3.img --size 10G${lineBreak()}  aoe ctl drain e1.3${lineBreak()}  aoe ctl reload --json`,
  },
);
