// `aoe unit`: systemd units on stdout, that attach disks at boot or serve them; and all of what an
// installation has, put in its places and taken away again.

import { object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { map, optional } from "@optique/core/modifiers";
import { argument, command, option } from "@optique/core/primitives";
import { choice, string } from "@optique/core/valueparser";
import type { Address } from "../wire/aoe.ts";
import { formatAddress } from "../wire/aoe.ts";
import { attachOptions, path, sessionOptions, shortUsage } from "./arguments.ts";
import { EXIT_USAGE } from "./exit_codes.ts";
import { installUnits, type Pages, programOfInstallation, removeUnits } from "./unit_install.ts";
import { Failure, printLine } from "./output.ts";
import { serveUnit } from "./unit_serve.ts";
import { quoted, quotedProgram, refuseControls, specifierFree } from "./unit_words.ts";
import { SUMMARIES } from "./summaries.ts";

const PROGRAM_DEFAULT = "/usr/local/bin/aoe";
/** Where a package has it: there it does not unpack itself. */
const PROGRAM_OF_PACKAGE = "/usr/bin/aoe";
/** In a template the instance's name takes its place. */
const TEMPLATE_DISK = { address: { shelf: 1, slot: 1 }, addresses: [{ shelf: 1, slot: 1 }] };
/** At boot the target, or a switch, may be slower than this host. */
const BOOT_TIMEOUT_MS = 60_000;
/** What `aoe attach` does without the option. */
const DEAD_AFTER_MS_DEFAULT = 180_000;
const TIMEOUT_MS_DEFAULT = 3_000;

/** What `aoe unit` was asked for. */
export interface UnitOptions {
  readonly what: "attach" | "serve" | "install" | "remove";
  /** The first of those named. */
  readonly address: Address | undefined;
  readonly addresses: readonly Address[];
  readonly all: boolean;
  readonly config: string | undefined;
  readonly interfaces: readonly string[];
  readonly backEnd: string;
  readonly fuseUring: boolean;
  readonly readOnly: boolean;
  readonly reserve: boolean;
  readonly timeoutMs: number;
  readonly deadAfterMs: number;
  readonly program: string | undefined;
  readonly user: string | undefined;
  readonly name: string | undefined;
  readonly beforeRemoteFs: boolean;
  readonly prefix: string | undefined;
  readonly root: string | undefined;
}

/** `aoe unit attach SHELF.SLOT` */
export const unitParser = command(
  "unit",
  map(
    object({
      what: argument(choice(["attach", "serve", "install", "remove"], { metavar: "WHAT" }), {
        description:
          message`attach, serve: write such a unit; install, remove: put the program, its units, manual pages and completions in their places, or take them away.`,
      }),
      ...attachOptions(),
      ...sessionOptions(),
      program: optional(
        option("--program", path("FILE"), {
          description: message`Where aoe is installed (default /usr/local/bin/aoe).`,
        }),
      ),
      user: optional(
        option("--user", string({ metavar: "NAME" }), {
          description: message`serve: as this user (default: one that systemd makes for it).`,
        }),
      ),
      name: optional(
        option("--name", string({ metavar: "NAME" }), {
          description: message`serve: tell this daemon from others of this host.`,
        }),
      ),
      beforeRemoteFs: option("--before-remote-fs", {
        description:
          message`serve: before remote file systems are mounted, where this host attaches what it serves.`,
      }),
      prefix: optional(
        option("--prefix", path("DIR"), {
          description: message`install, remove: below this folder (default /usr/local).`,
        }),
      ),
      root: optional(
        option("--root", path("DIR"), {
          description:
            message`install, remove: in a system whose files are here, and not the running one.`,
        }),
      ),
    }),
    ({ addresses, ...options }): UnitOptions => ({ ...options, address: addresses[0], addresses }),
  ),
  {
    brief: SUMMARIES.unit,
    description:
      message`attach writes a unit that attaches what aoe attach would with the same options: at boot, before remote file systems are mounted, and until shutdown, when they were unmounted. In /etc/fstab the disk has its own name and the option _netdev: /dev/etherd/e1.1 /mnt ext4 _netdev 0 2${lineBreak()}${lineBreak()}serve writes a unit that serves a configuration, with CAP_NET_RAW and the files that it serves. install puts everything where a package would.`,
    usageLine: shortUsage,
    footer:
      message`Examples:${lineBreak()}  aoe unit attach e1.1 -i eth0 > /etc/systemd/system/aoe-e1.1.service${lineBreak()}  systemctl enable --now aoe-e1.1${lineBreak()}  aoe unit attach --config /etc/aoe.conf > /etc/systemd/system/aoe-attach.service${lineBreak()}  aoe unit serve --config /etc/aoe.toml > /etc/systemd/system/aoe.service${lineBreak()}  aoe unit install && systemctl enable --now aoe`,
  },
);

/**
 * Writes a unit, or installs.
 *
 * @param pages What is installed of texts that other commands write.
 */
export async function runUnit(options: UnitOptions, pages: Pages): Promise<number> {
  refuseStrangers(options);
  const program = options.program ?? programOfInstallation() ?? PROGRAM_DEFAULT;
  if (!program.startsWith("/")) {
    throw new Failure(`--program "${program}": systemd wants the whole path, from "/" on`, 2);
  }
  switch (options.what) {
    case "attach":
      printLine(attachUnit({ ...options, program }).join("\n"));
      return 0;
    case "serve": {
      const unpacks = program !== PROGRAM_OF_PACKAGE && program !== programOfInstallation();
      printLine(serveUnit({ ...options, program, unpacks }).join("\n"));
      return 0;
    }
    case "install":
      return await installUnits(options, {
        ...pages,
        attachUnit: (program) => attachUnit({ ...options, ...TEMPLATE_DISK, program }).join("\n"),
      });
    case "remove":
      return removeUnits(options);
  }
}

/** The lines of a unit that attaches. */
function attachUnit(options: UnitOptions & { readonly program: string }): string[] {
  refuseContradictions(options);
  const { address, config, program } = options;
  const name = address === undefined ? undefined : formatAddress(address.shelf, address.slot);
  const devices = options.interfaces.map((link) =>
    `sys-subsystem-net-devices-${deviceUnitName(link)}.device`
  );
  const wanted = ["network-online.target", ...devices];
  const start = `${quotedProgram(program)} ${attachWords(name, options).map(quoted).join(" ")}`;
  const disks = name ?? (config === undefined ? "s that answer" : `s of ${config}`);
  return [
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
}

/** Options are of one of the four, and would be without effect on the others. */
function refuseStrangers(options: UnitOptions): void {
  const { what, user, name, beforeRemoteFs, prefix, root, program, config } = options;
  const own: readonly (readonly [option: string, of: string, given: boolean])[] = [
    ["--user", "serve", user !== undefined],
    ["--name", "serve", name !== undefined],
    ["--before-remote-fs", "serve", beforeRemoteFs],
    ["--prefix", "install remove", prefix !== undefined],
    ["--root", "install remove", root !== undefined],
    ["--program", "attach serve", program !== undefined],
    ["--config", "attach serve", config !== undefined],
    ["An option or argument of attach", "attach", what !== "attach" && saysMore(options)],
  ];
  const stranger = own.find(([, of, given]) => given && !of.split(" ").includes(what));
  if (stranger === undefined) return;
  throw new Failure(
    `${stranger[0]} has no meaning for aoe unit ${what}: leave it out`,
    EXIT_USAGE,
  );
}

/** Whether anything is said of disks or how to attach them. */
function saysMore(options: UnitOptions): boolean {
  if (options.addresses.length > 0) return true;
  return attachWords(undefined, { ...options, config: undefined }).length > 1;
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
    ...(options.fuseUring ? ["--fuse-uring"] : []),
    ...(options.readOnly ? ["--read-only"] : []),
    ...(options.reserve ? ["--reserve"] : []),
    ...options.interfaces.flatMap((link) => ["-i", link]),
  ];
}

function bootMs({ timeoutMs }: UnitOptions): number {
  return timeoutMs === TIMEOUT_MS_DEFAULT ? BOOT_TIMEOUT_MS : timeoutMs;
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
