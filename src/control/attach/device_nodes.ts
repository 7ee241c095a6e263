// The names under /dev/etherd, as the kernel's driver has them: e1.1 for the disk and e1.1p1 … for
// its partitions. The disk's is a node of its own, so that /proc/mounts shows it, and nobody else
// gets its number while it is there (node_watcher.ts). A partition may go at any moment, and the
// kernel gives its number to the next one of any disk: its name is a link to the kernel's own node,
// which goes with it.

import { makeBlockNode } from "../../../ffi/device_node.ts";
import { announceChange, announceDisk, forgetDisk } from "./udev.ts";

const FOLDER = "/dev/etherd";
/** Of the kernel's own driver, which makes nodes of the same names. */
const AOE_MAJOR = 152;

/** The nodes of one disk. */
export class DeviceNodes {
  /** As in /dev/etherd/e1.1. */
  readonly path: string;
  readonly #name: string;
  readonly #kernelName: string;
  #watcher: Deno.FsWatcher | undefined;

  /**
   * @param name `e1.1`.
   * @param kernelName As in /sys/block: `loop7`.
   */
  constructor(name: string, kernelName: string) {
    this.#name = name;
    this.#kernelName = kernelName;
    this.path = nodePath(name);
  }

  /**
   * Makes them, and follows the kernel as partitions come and go. Nodes of the same device that a
   * killed daemon has left under another name would lead to this disk: they go.
   */
  make(): void {
    Deno.mkdirSync(FOLDER, { recursive: true });
    this.#removeOthers();
    // Before the first look: what comes or goes from now on is looked at again.
    this.#watcher = Deno.watchFs("/dev", { recursive: false });
    announceDisk(this.#name, this.#kernelName);
    this.#update();
    this.#follow(this.#watcher);
  }

  /** Takes them away. */
  remove(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    removeNodes(this.#name);
    forgetDisk(this.#kernelName);
  }

  #removeOthers(): void {
    const numbers = deviceNumbers(`/sys/block/${this.#kernelName}`);
    if (numbers === undefined) return;
    for (const other of namesIn(FOLDER)) {
      if (isNodeOf(nodePath(other), numbers)) removeNodes(other);
    }
  }

  async #follow(watcher: Deno.FsWatcher): Promise<void> {
    const mine = `/dev/${this.#kernelName}p`;
    for await (const event of watcher) {
      if (event.kind !== "create" && event.kind !== "remove") continue;
      if (!event.paths.some((path) => path.startsWith(mine))) continue;
      this.#update();
    }
  }

  /** Makes the names of what there is, and removes those of partitions that are gone. */
  #update(): void {
    const block = `/sys/block/${this.#kernelName}`;
    const disk = deviceNumbers(block);
    // The device itself goes: so will its nodes.
    if (disk === undefined) return;
    if (!isNodeOf(this.path, disk)) {
      makeBlockNode(this.path, disk.major, disk.minor, diskGroup());
    }
    const present = new Set([this.#name]);
    const links = kernelMakesNodes();
    // devtmpfs removes a partition's node before sysfs forgets it, and is what is watched: where it
    // is there, it alone tells which there are. A look at sysfs could come too early, and be the last.
    for (const entry of namesIn(links ? "/dev" : block)) {
      const partition = this.#partition(entry);
      if (partition === undefined) continue;
      const name = this.#name + partition;
      if (links) this.#link(name, entry);
      else {
        const numbers = deviceNumbers(`${block}/${entry}`);
        if (numbers === undefined) continue;
        makeBlockNode(nodePath(name), numbers.major, numbers.minor, diskGroup());
      }
      present.add(name);
    }
    for (const name of nodesOf(this.#name)) if (!present.has(name)) removeNode(name);
  }

  /** `p1` of `loop7p1`. */
  #partition(entry: string): string | undefined {
    const rest = entry.startsWith(this.#kernelName) ? entry.slice(this.#kernelName.length) : "";
    return /^p\d+$/.test(rest) ? rest : undefined;
  }

  #link(name: string, partition: string): void {
    const path = nodePath(name);
    const target = `../${partition}`;
    if (linkTarget(path) === target) return;
    removeNode(name);
    Deno.symlinkSync(target, path);
    announceChange(`/sys/block/${this.#kernelName}/${partition}`);
  }
}

/** Path of a disk's node, or of a partition's. */
export function nodePath(name: string): string {
  return `${FOLDER}/${name}`;
}

/** Removes a disk's nodes, those of a daemon that was killed, too; whether there were any. */
export function removeNodes(name: string): boolean {
  const nodes = nodesOf(name);
  nodes.forEach(removeNode);
  return nodes.length > 0;
}

/** Names of the disks that have a node here, but for those of the kernel's own driver. */
export function namesWithNodes(): string[] {
  const names = new Set<string>();
  for (const entry of namesIn(FOLDER)) {
    const name = /^(e\d+\.\d+)(p\d+)?$/.exec(entry)?.[1];
    if (name !== undefined) names.add(name);
  }
  return [...names].filter((name) => !isKernelDrivers(nodePath(name)));
}

function nodesOf(name: string): string[] {
  const pattern = new RegExp(`^${name.replace(".", "\\.")}(p\\d+)?$`);
  return namesIn(FOLDER).filter((entry) => pattern.test(entry));
}

function removeNode(name: string): void {
  try {
    Deno.removeSync(nodePath(name));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function namesIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch {
    return [];
  }
}

function linkTarget(path: string): string | undefined {
  try {
    return Deno.readLinkSync(path);
  } catch {
    return undefined;
  }
}

/** Whether the kernel makes and removes nodes in /dev: it does not in most containers. */
function kernelMakesNodes(): boolean {
  return Deno.readTextFileSync("/proc/mounts").split("\n").some((line) => {
    const [, folder, type] = line.split(" ");
    return folder === "/dev" && type === "devtmpfs";
  });
}

/** The group that may use disks, as the nodes of all others say; root's where there is none. */
function diskGroup(): number {
  try {
    return Number(/^disk:[^:]*:(\d+):/m.exec(Deno.readTextFileSync("/etc/group"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

function isNodeOf(path: string, { major, minor }: DeviceNumbers): boolean {
  try {
    const { isBlockDevice, rdev } = Deno.lstatSync(path);
    // As stat(2) has them in one number.
    const wanted = ((minor >>> 8) * 2 ** 20) + ((major & 0xfff) << 8 | (minor & 0xff));
    return isBlockDevice === true && rdev === wanted;
  } catch {
    return false;
  }
}

function isKernelDrivers(path: string): boolean {
  try {
    const { isBlockDevice, rdev } = Deno.lstatSync(path);
    return isBlockDevice === true && ((rdev! >>> 8) & 0xfff) === AOE_MAJOR;
  } catch {
    return false;
  }
}

/** Major and minor number. */
interface DeviceNumbers {
  readonly major: number;
  readonly minor: number;
}

/** Numbers of a device that sysfs tells of in a folder; undefined when it is gone, or just goes. */
function deviceNumbers(folder: string): DeviceNumbers | undefined {
  try {
    const [major, minor] = Deno.readTextFileSync(`${folder}/dev`).trim().split(":").map(Number);
    return major === undefined || minor === undefined ? undefined : { major, minor };
  } catch {
    return undefined;
  }
}
