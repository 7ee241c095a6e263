// `aoe unit serve`: a systemd unit that serves what a configuration says, with few rights.

import { isNbdUri } from "../wire/nbd_uri.ts";
import { readPlan } from "../control/configuration.ts";
import { EXIT_USAGE } from "./exit_codes.ts";
import { Failure } from "./output.ts";
import { quoted, quotedProgram, refuseControls, specifierFree } from "./unit_words.ts";

const CONFIGURATION_DEFAULT = "/etc/aoe.toml";
/** What tells a serving daemon from others, unless it is given a name. */
const NAME_DEFAULT = "serve";
/** Where disks of a server customarily are, for a unit whose configuration is not there yet. */
const IMAGE_FOLDERS = ["/srv", "/mnt", "/media"];

/** What the unit is to be like. */
export interface ServeUnit {
  readonly program: string;
  /** Whether the program unpacks itself at its first start, into a cache. */
  readonly unpacks: boolean;
  readonly config: string | undefined;
  /** Undefined: a user that systemd makes for it. */
  readonly user: string | undefined;
  readonly name: string | undefined;
  readonly beforeRemoteFs: boolean;
}

/** The lines of a unit that serves. */
export function serveUnit(options: ServeUnit): string[] {
  const { user, beforeRemoteFs, name = NAME_DEFAULT } = options;
  const program = quotedProgram(options.program);
  const words = ["serve", "--config", options.config ?? CONFIGURATION_DEFAULT];
  if (options.name !== undefined) words.push("--name", name);
  if (!/^\/./.test(words[2]!)) {
    throw new Failure(
      `--config "${words[2]}": a unit wants the whole path, from "/" on`,
      EXIT_USAGE,
    );
  }
  refuseControls(name);
  if (user !== undefined) refuseUser(user);
  const called = specifierFree(name);
  return [
    "[Unit]",
    `Description=ATA over Ethernet target${options.name === undefined ? "" : ` ${called}`}`,
    "Documentation=man:aoe-serve(8)",
    // It waits for interfaces and disks by itself; this order keeps the first log quiet.
    "After=network.target local-fs.target systemd-sysctl.service",
    ...beforeRemoteFs
      // What this host attaches of its own disks is mounted later, and unmounted before.
      ? ["Before=remote-fs-pre.target", "Wants=remote-fs-pre.target"]
      : [],
    "",
    "[Service]",
    "Type=notify",
    "NotifyAccess=main",
    `ExecStart=${program} ${words.map(quoted).join(" ")}`,
    "ExecReload=/bin/kill -HUP $MAINPID",
    "WatchdogSec=30",
    "Restart=on-failure",
    "RestartSec=2",
    // A configuration with a mistake has it the next time, too.
    "RestartPreventExitStatus=2",
    // What was written is flushed at the end: to a slow disk that takes its time.
    "TimeoutStopSec=300",
    "OOMScoreAdjust=-500",
    "LimitNOFILE=65536",
    "",
    "# Whose rights it has: those of this user, of the group that may open disks, and packet sockets.",
    ...user === undefined ? ["DynamicUser=yes", "User=aoe"] : [`User=${specifierFree(user)}`],
    "SupplementaryGroups=disk",
    "AmbientCapabilities=CAP_NET_RAW",
    "CapabilityBoundingSet=CAP_NET_RAW",
    "NoNewPrivileges=yes",
    "UMask=0077",
    `RuntimeDirectory=aoe/${called}`,
    "RuntimeDirectoryMode=0755",
    "StateDirectory=aoe",
    "StateDirectoryMode=0750",
    ...options.unpacks
      ? [
        "CacheDirectory=aoe-serve",
        "CacheDirectoryMode=0700",
        "Environment=XDG_CACHE_HOME=%C/aoe-serve",
      ]
      : [],
    "",
    ...fileRules(options.config),
    "",
    ...SANDBOX,
    "",
    "[Install]",
    `WantedBy=${beforeRemoteFs ? "remote-fs.target " : ""}multi-user.target`,
  ];
}

/** What holds wherever it runs. */
const SANDBOX: readonly string[] = [
  // Disks are devices: PrivateDevices= would hide them.
  "DevicePolicy=closed",
  "DeviceAllow=block-* rw",
  "ProtectKernelTunables=yes",
  "ProtectKernelModules=yes",
  "ProtectKernelLogs=yes",
  "ProtectControlGroups=yes",
  "ProtectClock=yes",
  "ProtectHostname=yes",
  "RestrictNamespaces=yes",
  "RestrictRealtime=yes",
  "RestrictSUIDSGID=yes",
  "LockPersonality=yes",
  "RemoveIPC=yes",
  "PrivateMounts=yes",
  "KeyringMode=private",
  // Frames; interfaces; sockets of aoe ctl and systemd; NBD servers and --metrics.
  "RestrictAddressFamilies=AF_PACKET AF_NETLINK AF_UNIX AF_INET AF_INET6",
  "SystemCallArchitectures=native",
  // io_uring is in @system-service (@aio).
  "SystemCallFilter=@system-service",
  "SystemCallFilter=~@privileged @mount @swap @reboot @module @raw-io @obsolete",
  "SystemCallErrorNumber=EPERM",
  "# MemoryDenyWriteExecute= is not set: V8 compiles, and writes the code that it then executes.",
];

/** Which files it may write to: the folders of its images are in the configuration. */
function fileRules(config: string | undefined): string[] {
  const folders = imageFolders(config ?? CONFIGURATION_DEFAULT);
  const within = (top: string) => folders.some((folder) => `${folder}/`.startsWith(`${top}/`));
  return [
    "# Another folder of images is one more ReadWritePaths=, by systemctl edit.",
    "ProtectSystem=strict",
    `ReadWritePaths=${folders.map((folder) => quotedProgram(`-${folder}`)).join(" ")}`,
    `ProtectHome=${["/home", "/root", "/run/user"].some(within) ? "no" : "yes"}`,
    `PrivateTmp=${["/tmp", "/var/tmp"].some(within) ? "no" : "yes"}`,
  ];
}

function imageFolders(config: string): string[] {
  try {
    const paths = readPlan(config).plan?.exports.map(({ path }) => path) ?? [];
    const folders = paths
      .filter((path) => path.startsWith("/") && !path.startsWith("/dev/") && !isNbdUri(path))
      .map((path) => path.slice(0, path.lastIndexOf("/")) || "/");
    return [...new Set([...IMAGE_FOLDERS, ...folders])];
  } catch {
    // It is written later.
    return [...IMAGE_FOLDERS];
  }
}

/** systemd refuses a unit whose user cannot be one, or takes it for another. */
function refuseUser(user: string): void {
  if (/^([A-Za-z_][\w.-]*\$?|[1-9]\d*)$/.test(user)) return;
  throw new Failure(
    `--user ${JSON.stringify(user)}: expected the name of a user, as in --user aoe`,
    EXIT_USAGE,
  );
}
