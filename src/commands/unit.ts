// `aoe unit attach SHELF.SLOT [OPTION...]`: a systemd unit that attaches a disk at boot, on stdout.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, optional } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { choice } from "@optique/core/valueparser";
import type { Address } from "../wire/aoe.ts";
import { formatAddress } from "../wire/aoe.ts";
import { address, interfaceOptions, path, shortUsage } from "./arguments.ts";
import { Failure, printLine } from "./output.ts";

/** What `aoe unit` was asked for. */
export interface UnitOptions {
  readonly what: "attach";
  readonly address: Address;
  readonly interfaces: readonly string[];
  readonly readOnly: boolean;
  readonly reserve: boolean;
  readonly program: string | undefined;
}

/** `aoe unit attach SHELF.SLOT` */
export const unitParser = command(
  "unit",
  map(
    object({
      what: argument(choice(["attach"], { metavar: "COMMAND" }), {
        description: message`What the unit is to run.`,
      }),
      address: argument(address(), { description: message`Which disk.` }),
      interfaces: interfaceOptions(
        message`Interfaces to find the disk on; the unit waits for them.`,
      ),
      readOnly: option("-r", "--read-only", { description: message`Refuse every write.` }),
      reserve: option("--reserve", { description: message`Take the disk's reservation.` }),
      program: optional(
        option("--program", path("FILE"), {
          description: message`Where aoe is installed (default /usr/local/bin/aoe).`,
        }),
      ),
    }),
    (options): UnitOptions => options,
  ),
  {
    brief: message`Write a systemd unit.`,
    description:
      message`Writes a unit that attaches a disk at boot, before remote file systems are mounted, and detaches it at shutdown, after they were unmounted. In /etc/fstab the file system needs the option _netdev.`,
    usageLine: shortUsage,
    footer:
      message`Example:${lineBreak()}  aoe unit attach e1.1 -i eth0 > /etc/systemd/system/aoe-e1.1.service${lineBreak()}  systemctl enable --now aoe-e1.1`,
  },
);

/** Writes the unit. */
export function runUnit(options: UnitOptions): Promise<number> {
  const name = formatAddress(options.address.shelf, options.address.slot);
  const program = options.program ?? "/usr/local/bin/aoe";
  if (!program.startsWith("/")) {
    throw new Failure(`--program "${program}": systemd wants the whole path, from "/" on`, 2);
  }
  const devices = options.interfaces.map((link) =>
    `sys-subsystem-net-devices-${unitName(link)}.device`
  );
  const wanted = ["network-online.target", ...devices];
  const words = [
    ...[quoted(program), "attach", name, "--timeout", "60"],
    ...options.interfaces.flatMap((link) => ["-i", link]),
    ...(options.readOnly ? ["--read-only"] : []),
    ...(options.reserve ? ["--reserve"] : []),
  ];
  const lines = [
    "[Unit]",
    `Description=ATA over Ethernet disk ${name}`,
    "DefaultDependencies=no",
    // An interface must be up before it is used, and the program unpacks itself on a local disk.
    `After=local-fs.target systemd-modules-load.service ${wanted.join(" ")}`,
    `Wants=${wanted.join(" ")}`,
    // At shutdown this order is reversed: the disk goes when nothing is mounted on it any more.
    "Before=remote-fs-pre.target shutdown.target",
    "Wants=remote-fs-pre.target",
    "Conflicts=shutdown.target",
    "",
    "[Service]",
    // The command returns when the disk can be used. Its daemon belongs to the unit, but systemd
    // does not watch it: a keeper does, and goes on with I/O when the daemon is killed.
    "Type=oneshot",
    "RemainAfterExit=yes",
    `ExecStart=${words.join(" ")}`,
    `ExecStop=${quoted(program)} detach ${name}`,
    // The target may boot later than this host.
    "Restart=on-failure",
    "RestartSec=5",
    // The daemon detaches at SIGTERM, unless its disk is in use: then it must stay.
    "SendSIGKILL=no",
    "TimeoutStartSec=90",
    "",
    "[Install]",
    "WantedBy=remote-fs.target",
  ];
  printLine(lines.join("\n"));
  return Promise.resolve(0);
}

/** A word of a command line, as systemd.service(5) has it. */
function quoted(word: string): string {
  const literal = word.replaceAll("%", "%%").replaceAll("$", "$$$$");
  return /^[\w/.%$+:@-]*$/.test(literal) ? literal : `"${literal.replace(/["\\]/g, "\\$&")}"`;
}

/** As `systemd-escape` writes it: all but letters, digits, `:`, `_` and `.` in hex. */
function unitName(text: string): string {
  return text.replace(
    /[^a-zA-Z0-9:_.]/g,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}
