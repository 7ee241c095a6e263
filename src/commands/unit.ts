// `aoe unit attach SHELF.SLOT [OPTION...]`: a systemd unit that attaches disks at boot, on stdout.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, optional } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { choice } from "@optique/core/valueparser";
import type { Address } from "../wire/aoe.ts";
import { formatAddress } from "../wire/aoe.ts";
import { attachOptions, path, sessionOptions, shortUsage } from "./arguments.ts";
import { EXIT_USAGE } from "./exit_codes.ts";
import { Failure, printLine } from "./output.ts";

const PROGRAM_DEFAULT = "/usr/local/bin/aoe";
/** At boot the target, or a switch, may be slower than this host. */
const BOOT_TIMEOUT_MS = 60_000;
/** What `aoe attach` does without the option. */
const DEAD_AFTER_MS_DEFAULT = 180_000;
const TIMEOUT_MS_DEFAULT = 3_000;

/** What `aoe unit` was asked for. */
export interface UnitOptions {
  readonly what: "attach";
  /** The first of those named. */
  readonly address: Address | undefined;
  readonly addresses: readonly Address[];
  readonly all: boolean;
  readonly config: string | undefined;
  readonly interfaces: readonly string[];
  readonly backEnd: string;
  readonly readOnly: boolean;
  readonly reserve: boolean;
  readonly timeoutMs: number;
  readonly deadAfterMs: number;
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
      ...attachOptions(),
      ...sessionOptions(),
      program: optional(
        option("--program", path("FILE"), {
          description: message`Where aoe is installed (default /usr/local/bin/aoe).`,
        }),
      ),
    }),
    ({ addresses, ...options }): UnitOptions => ({ ...options, address: addresses[0], addresses }),
  ),
  {
    brief: message`Write a systemd unit.`,
    description:
      message`Writes a unit that attaches what aoe attach would with the same options: at boot, before remote file systems are mounted, and until shutdown, when they were unmounted. In /etc/fstab the disk has its own name and the option _netdev: /dev/etherd/e1.1 /mnt ext4 _netdev 0 2`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe unit attach e1.1 -i eth0 > /etc/systemd/system/aoe-e1.1.service${lineBreak()}  systemctl enable --now aoe-e1.1${lineBreak()}  aoe unit attach --config /etc/aoe.conf > /etc/systemd/system/aoe.service`,
  },
);

/** Writes the unit. */
export function runUnit(options: UnitOptions): Promise<number> {
  refuseContradictions(options);
  const { address, config } = options;
  const name = address === undefined ? undefined : formatAddress(address.shelf, address.slot);
  const program = options.program ?? PROGRAM_DEFAULT;
  if (!program.startsWith("/")) {
    throw new Failure(`--program "${program}": systemd wants the whole path, from "/" on`, 2);
  }
  const devices = options.interfaces.map((link) =>
    `sys-subsystem-net-devices-${deviceUnitName(link)}.device`
  );
  const wanted = ["network-online.target", ...devices];
  const start = `${quotedProgram(program)} ${attachWords(name, options).map(quoted).join(" ")}`;
  const disks = name ?? (config === undefined ? "s that answer" : `s of ${config}`);
  const lines = [
    `# In /etc/fstab: ${name === undefined ? "/dev/etherd/e1.1" : `/dev/etherd/${name}`} ` +
    "/mnt ext4 _netdev 0 2",
    "# udev knows the disk by that name as long as it is attached (/run/udev/rules.d/60-aoe.rules).",
    "[Unit]",
    `Description=ATA over Ethernet disk${name === undefined ? "" : " "}${specifierFree(disks)}`,
    "DefaultDependencies=no",
    // An interface must be up before it is used, and the program unpacks itself on a local disk.
    `After=local-fs.target systemd-modules-load.service network.target ${wanted.join(" ")}`,
    `Wants=${wanted.join(" ")}`,
    // At shutdown this order is reversed: the disk goes when nothing is mounted on it any more, and
    // before the network does.
    "Before=remote-fs-pre.target shutdown.target",
    "Wants=remote-fs-pre.target",
    "Conflicts=shutdown.target",
    "",
    "[Service]",
    // The command returns when the disk can be used. Its daemon belongs to the unit, but systemd
    // does not watch it: a keeper does, and goes on with I/O when the daemon is killed.
    "Type=oneshot",
    "RemainAfterExit=yes",
    `ExecStart=${start}`,
    ...(name === undefined ? [] : [`ExecStop=${quotedProgram(program)} detach ${name}`]),
    // The program unpacks itself where nobody sweeps.
    "CacheDirectory=aoe",
    "CacheDirectoryMode=0700",
    "Environment=XDG_CACHE_HOME=%C",
    // The target may boot later than this host. What is attached already is left alone.
    "Restart=on-failure",
    "RestartSec=5",
    // The daemon detaches at SIGTERM, unless its disk is in use: then it must stay.
    "SendSIGKILL=no",
    `TimeoutStartSec=${name === undefined ? 600 : Math.ceil(bootMs(options) / 1000) + 30}`,
    "",
    "[Install]",
    "WantedBy=remote-fs.target",
  ];
  printLine(lines.join("\n"));
  return Promise.resolve(0);
}

/** The same that `aoe attach` refuses. */
function refuseContradictions(options: UnitOptions): void {
  const { address, all, config } = options;
  const ways = [address !== undefined, all, config !== undefined];
  if (ways.filter((way) => way).length !== 1) {
    throw new Failure(
      "Name a disk, as in e1.1, or --all, or --config FILE, and one of these",
      EXIT_USAGE,
    );
  }
  if (options.addresses.length > 1) {
    throw new Failure("A unit attaches one disk, or those of --config FILE", EXIT_USAGE);
  }
  if (config === undefined) return;
  if (!config.startsWith("/")) {
    throw new Failure(`--config "${config}": a unit wants the whole path, from "/" on`, EXIT_USAGE);
  }
  const beside = attachWords(undefined, { ...options, timeoutMs: TIMEOUT_MS_DEFAULT });
  if (beside.length > "attach --config FILE".split(" ").length) {
    throw new Failure(
      `Options of a disk stand on its line in "${config}", not beside --config`,
      EXIT_USAGE,
    );
  }
}

/** What is to stand behind the program, but for options that say what holds without them. */
function attachWords(name: string | undefined, options: UnitOptions): string[] {
  const { all, config, timeoutMs, deadAfterMs } = options;
  return [
    "attach",
    ...(name === undefined ? [] : [name, "--timeout", String(bootMs(options) / 1000)]),
    ...(all ? ["--all"] : []),
    ...(config === undefined ? [] : ["--config", config]),
    ...(name === undefined && timeoutMs !== TIMEOUT_MS_DEFAULT
      ? ["--timeout", String(timeoutMs / 1000)]
      : []),
    ...(deadAfterMs === DEAD_AFTER_MS_DEFAULT
      ? []
      : ["--dead-after", deadAfterMs === Infinity ? "forever" : String(deadAfterMs / 1000)]),
    ...(options.backEnd === "auto" ? [] : ["--backend", options.backEnd]),
    ...(options.readOnly ? ["--read-only"] : []),
    ...(options.reserve ? ["--reserve"] : []),
    ...options.interfaces.flatMap((link) => ["-i", link]),
  ];
}

function bootMs({ timeoutMs }: UnitOptions): number {
  return timeoutMs === TIMEOUT_MS_DEFAULT ? BOOT_TIMEOUT_MS : timeoutMs;
}

/** An argument of a command line, as systemd.service(5) has it: `$` begins a variable. */
function quoted(word: string): string {
  return quotedProgram(word.replaceAll("$", "$$$$"));
}

/** The program's own path, in which there are no variables. */
function quotedProgram(word: string): string {
  refuseControls(word);
  const literal = specifierFree(word);
  return /^[\w/.%$+:@-]+$/.test(literal) ? literal : `"${literal.replace(/["\\]/g, "\\$&")}"`;
}

/** A text in which `%` begins nothing, systemd.unit(5). */
function specifierFree(text: string): string {
  refuseControls(text);
  return text.replaceAll("%", "%%");
}

/** A new line in a unit would be a line of its own, and nothing that is meant has such characters. */
function refuseControls(text: string): void {
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(text)) {
    throw new Failure(
      `${JSON.stringify(text)} cannot stand in a unit: it has control characters`,
      2,
    );
  }
}

/** As `systemd-escape` writes it: all bytes but letters, digits, `:`, `_` and `.` in hex. */
function deviceUnitName(text: string): string {
  refuseControls(text);
  return [...new TextEncoder().encode(text)].map((byte) => {
    const character = String.fromCharCode(byte);
    return /[a-zA-Z0-9:_.]/.test(character)
      ? character
      : `\\x${byte.toString(16).padStart(2, "0")}`;
  }).join("");
}
