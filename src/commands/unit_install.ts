// `aoe unit install` and `aoe unit remove`: the program, its units, manual pages, completions, udev
// rule and an example of a configuration, in the places where a package has them.

import { udevRules } from "../control/attach/udev.ts";
import {
  hasSystemd,
  type InstalledFile,
  listPlaced,
  placeFiles,
  prefixOfInstallation,
  programFiles,
  removePlaced,
  tellSystem,
} from "../control/installation.ts";
import { EXIT_USAGE } from "./exit_codes.ts";
import { counted, Failure, printLine } from "./output.ts";
import { serveUnit } from "./unit_serve.ts";

const PREFIX_DEFAULT = "/usr/local";
/** Here a package may put what is otherwise the administrator's, below /etc. */
const PREFIX_OF_PACKAGES = "/usr";
/** Whom the unit serves as; sysusers.d(5). */
const USER = "aoe";
const SYSUSERS = `u ${USER} - "ATA over Ethernet target" /var/lib/aoe
m ${USER} disk
`;

/** What is installed when nobody has written one. */
const CONFIGURATION = `# What aoe serves on this host: see aoe-serve(8). After a change
#   aoe serve --check && systemctl reload aoe
#
# [defaults]
# interfaces = ["eth0"]
#
# [[export]]
# address = "e1.1"
# path = "/var/lib/aoe/first.img"
# size = "10G"                       # made, sparse, when it is not there
#
# [initiator]
# interfaces = ["eth0"]              # what discover, stat, attach ... ask on
`;

/** What other commands write, of which an installation has files. */
export interface Pages {
  /** Every command that has a manual page. */
  readonly commands: readonly string[];
  /** A manual page; undefined is the program's own. */
  readonly manual: (command: string | undefined) => string;
  readonly completions: (shell: "bash" | "zsh" | "fish") => string;
}

/** Where it is installed. */
interface Place {
  readonly prefix: string | undefined;
  readonly root: string | undefined;
}

/** The program of which the running one is; undefined when it was not installed. */
export function programOfInstallation(): string | undefined {
  const prefix = prefixOfInstallation();
  return prefix === undefined ? undefined : `${prefix}/bin/aoe`;
}

/**
 * Puts everything in its place.
 *
 * @param pages With the unit that attaches e1.1, of the program given.
 */
export async function installUnits(
  place: Place,
  pages: Pages & { readonly attachUnit: (program: string) => string },
): Promise<number> {
  const { root = "" } = place;
  const prefix = prefixOf(place);
  const files = [...programFiles(prefix), ...textFiles(prefix, pages)];
  const placed = await placeFiles(root, files);
  const kept = files.filter(({ keeps }) => keeps === true).map(({ path }) => path);
  await listPlaced(root, prefix, placed.filter((path) => !kept.includes(path)));
  if (root === "") {
    tellSystem("systemd-sysusers", `${prefix}/lib/sysusers.d/aoe.conf`);
    tellSystem("udevadm", "control", "--reload");
    if (hasSystemd()) tellSystem("systemctl", "daemon-reload");
  }
  printLine(`Installed ${counted(placed.length, "file")} below ${root}${prefix} and ${root}/etc.`);
  printLine(`Write ${root}/etc/aoe.toml, then: systemctl enable --now aoe`);
  return 0;
}

/** Takes away what `installUnits` has placed; the configuration stays. */
export function removeUnits(place: Place): number {
  const { root = "" } = place;
  const prefix = place.prefix ?? prefixOfInstallation() ?? PREFIX_DEFAULT;
  if (root === "" && hasSystemd()) tellSystem("systemctl", "--quiet", "disable", "--now", "aoe");
  const removed = removePlaced(root, prefix);
  if (removed === undefined) {
    throw new Failure(`Nothing that aoe unit install has put there is below ${root}${prefix}`);
  }
  if (root === "" && hasSystemd()) tellSystem("systemctl", "daemon-reload");
  printLine(`Removed ${counted(removed.length, "file")}; /etc/aoe.toml and /var/lib/aoe stay.`);
  return 0;
}

function prefixOf({ prefix = PREFIX_DEFAULT }: Place): string {
  if (!/^(\/[\w.+-]+)+$/.test(prefix)) {
    throw new Failure(
      `--prefix "${prefix}": it wants a whole path of plain letters, as in /usr/local`,
      EXIT_USAGE,
    );
  }
  return prefix;
}

function textFiles(
  prefix: string,
  pages: Pages & { readonly attachUnit: (program: string) => string },
): InstalledFile[] {
  const packaged = prefix === PREFIX_OF_PACKAGES;
  const program = `${prefix}/bin/aoe`;
  const share = `${prefix}/share`;
  const units = packaged || prefix === PREFIX_DEFAULT
    ? `${prefix}/lib/systemd/system`
    : "/etc/systemd/system";
  const serve = serveUnit({
    ...{ program, unpacks: false, config: undefined, user: USER, name: undefined },
    beforeRemoteFs: false,
  });
  const texts: Record<string, string> = {
    [`${units}/aoe.service`]: serve.join("\n"),
    [`${units}/aoe-attach@.service`]: template(pages.attachUnit(program)),
    [`${prefix}/lib/sysusers.d/aoe.conf`]: SYSUSERS,
    [`${packaged ? "/usr/lib" : "/etc"}/udev/rules.d/60-aoe.rules`]: udevRules(),
    [`${share}/bash-completion/completions/aoe`]: pages.completions("bash"),
    [`${share}/zsh/${packaged ? "vendor-completions" : "site-functions"}/_aoe`]: pages
      .completions("zsh"),
    [`${share}/fish/vendor_completions.d/aoe.fish`]: pages.completions("fish"),
    [`${share}/man/man8/aoe.8`]: pages.manual(undefined),
    ...Object.fromEntries(
      pages.commands.map((name) => [`${share}/man/man8/aoe-${name}.8`, pages.manual(name)]),
    ),
  };
  return [
    ...Object.entries(texts).map(([path, text]) => ({
      path,
      content: text.endsWith("\n") ? text : `${text}\n`,
      mode: 0o644,
    })),
    { path: "/etc/aoe.toml", content: CONFIGURATION, mode: 0o644, keeps: true },
  ];
}

/** The unit of one disk, for any: `aoe-attach@e1.1`. Its options stand in a file, if there is one. */
function template(unit: string): string {
  return unit
    .replaceAll(/(?<![\w.])e1\.1(?!\w)/g, "%i")
    .replace("/dev/etherd/%i /mnt", "/dev/etherd/e1.1 /mnt")
    .replace(/^ExecStart=.*$/m, "EnvironmentFile=-/etc/default/aoe-attach\n$& $AOE_ATTACH_OPTIONS")
    // An installed program does not unpack itself.
    .replace(/^(CacheDirectory|CacheDirectoryMode)=.*\n/gm, "")
    .replace(/^Environment=XDG_CACHE_HOME=.*\n/m, "");
}
