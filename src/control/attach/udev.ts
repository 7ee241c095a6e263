// What udev, and with it systemd, is told of an attached disk. A name in fstab is waited for as a
// unit, dev-etherd-e1.1.device, which comes to life when udev knows of it; of a node that mknod(2)
// has made it knows nothing. A rule of ours names the kernel's device so, where a file in
// /run/aoe/devices says that it is one of ours.

import { ownFolder } from "../own_files.ts";

/** udevd listens here; without it there is nobody to tell. */
const UDEV_SOCKET = "/run/udev/control";
/** Gone at the next boot, as the devices are. */
const RULES_FOLDER = "/run/udev/rules.d";
const RULES_FILE = `${RULES_FOLDER}/60-aoe.rules`;
const MARKS = "/run/aoe/devices";

const RULES =
  `# The disk e1.1 may be loop0 for the kernel, and is /dev/etherd/e1.1 for everybody else: its device
# unit is dev-etherd-e1.1.device too, which is what a line in /etc/fstab waits for.
SUBSYSTEM!="block", GOTO="aoe_end"
ACTION=="remove", GOTO="aoe_end"
KERNEL!="loop*|nbd*|ublkb*", GOTO="aoe_end"
ENV{DEVTYPE}=="disk", TEST=="${MARKS}/%k", IMPORT{file}="${MARKS}/%k"
ENV{DEVTYPE}=="partition", IMPORT{parent}="AOE_NAME"
ENV{AOE_NAME}!="?*", GOTO="aoe_end"
ENV{DEVTYPE}=="disk", ENV{SYSTEMD_ALIAS}="/dev/etherd/$env{AOE_NAME}"
ENV{DEVTYPE}=="partition", ENV{SYSTEMD_ALIAS}="/dev/etherd/$env{AOE_NAME}p%n"
TAG+="systemd"
LABEL="aoe_end"
`;

/** The rule that knows attached disks, also for who installs it. */
export function udevRules(): string {
  return RULES;
}

/** Whether udev runs here. */
function hasUdev(): boolean {
  try {
    Deno.lstatSync(UDEV_SOCKET);
    return true;
  } catch {
    return false;
  }
}

/**
 * Has udev know a disk by its name.
 *
 * @param name `e1.1`.
 * @param kernelName As in /sys/block: `loop7`.
 */
export function announceDisk(name: string, kernelName: string): void {
  if (!hasUdev()) return;
  try {
    ownFolder(MARKS);
    Deno.writeTextFileSync(`${MARKS}/${kernelName}`, `AOE_NAME=${name}\n`);
    installRules();
  } catch {
    // /run cannot be written to. The disk works without, but for device units of its name.
    return;
  }
  announceChange(`/sys/block/${kernelName}`);
}

/** Has udev look again at a device or a partition, after it was announced or forgotten. */
export function announceChange(sysfsFolder: string): void {
  if (!hasUdev()) return;
  try {
    Deno.writeTextFileSync(`${sysfsFolder}/uevent`, "change");
  } catch {
    // It has just gone, or sysfs cannot be written to, as in a container.
  }
}

/** The opposite of `announceDisk`. */
export function forgetDisk(kernelName: string): void {
  try {
    Deno.removeSync(markPath(kernelName));
  } catch {
    return;
  }
  announceChange(`/sys/block/${kernelName}`);
}

/** The file by which udev's rule knows a device of ours. */
export function markPath(kernelName: string): string {
  return `${MARKS}/${kernelName}`;
}

function installRules(): void {
  try {
    if (Deno.readTextFileSync(RULES_FILE) === RULES) return;
  } catch {
    // It is written for the first time since the machine was started.
  }
  Deno.mkdirSync(RULES_FOLDER, { recursive: true });
  const fresh = `${RULES_FILE}.${Deno.pid}`;
  Deno.writeTextFileSync(fresh, RULES, { mode: 0o644 });
  Deno.renameSync(fresh, RULES_FILE);
  try {
    // It would look by itself, but at most every three seconds.
    new Deno.Command("udevadm", {
      args: ["control", "--reload"],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).outputSync();
  } catch {
    // There is no udevadm in PATH.
  }
}
