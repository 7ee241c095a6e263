// The names under /dev/etherd, as the kernel's driver has them: e1.1 for the disk and e1.1p1 … for
// its partitions. They are nodes of their own and no links, so that /proc/mounts shows them.

import { makeBlockNode } from "../../../ffi/device_node.ts";

const FOLDER = "/dev/etherd";

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
    this.#update();
    // devtmpfs makes and removes the kernel's own nodes, and can be watched as sysfs cannot.
    this.#watcher = Deno.watchFs("/dev", { recursive: false });
    this.#follow(this.#watcher);
  }

  /** Takes them away. */
  remove(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    removeNodes(this.#name);
  }

  #removeOthers(): void {
    const numbers = deviceNumbers(`/sys/block/${this.#kernelName}`);
    if (numbers === undefined) return;
    for (const other of namesIn(FOLDER)) {
      const { isBlockDevice, rdev } = Deno.lstatSync(nodePath(other));
      if (isBlockDevice && rdev === deviceOf(numbers)) removeNodes(other);
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

  /** Makes the nodes of what sysfs tells of, and removes those of partitions that are gone. */
  #update(): void {
    const block = `/sys/block/${this.#kernelName}`;
    const disk = deviceNumbers(block);
    // The device itself goes: so will its nodes.
    if (disk === undefined) return;
    const wanted = new Map([[this.#name, disk]]);
    for (const folder of namesIn(block)) {
      const partition = new RegExp(`^${this.#kernelName}(p\\d+)$`).exec(folder)?.[1];
      if (partition === undefined) continue;
      const numbers = deviceNumbers(`${block}/${folder}`);
      if (numbers !== undefined) wanted.set(this.#name + partition, numbers);
    }
    for (const name of nodesOf(this.#name)) {
      if (!wanted.has(name)) Deno.removeSync(nodePath(name));
    }
    for (const [name, { major, minor }] of wanted) makeBlockNode(nodePath(name), major, minor);
  }
}

/** Path of a disk's node, or of a partition's. */
export function nodePath(name: string): string {
  return `${FOLDER}/${name}`;
}

/** Removes a disk's nodes, those of a daemon that was killed, too; whether there were any. */
export function removeNodes(name: string): boolean {
  const nodes = nodesOf(name);
  for (const node of nodes) Deno.removeSync(nodePath(node));
  return nodes.length > 0;
}

function nodesOf(name: string): string[] {
  const pattern = new RegExp(`^${name.replace(".", "\\.")}(p\\d+)?$`);
  return namesIn(FOLDER).filter((entry) => pattern.test(entry));
}

function namesIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch {
    return [];
  }
}

/** As stat(2) has them in one number. */
function deviceOf({ major, minor }: { major: number; minor: number }): number {
  return ((minor >>> 8) * 2 ** 20) + ((major & 0xfff) << 8 | (minor & 0xff));
}

/** Numbers of a device that sysfs tells of in a folder; undefined when it is gone, or just goes. */
function deviceNumbers(folder: string): { major: number; minor: number } | undefined {
  try {
    const [major, minor] = Deno.readTextFileSync(`${folder}/dev`).trim().split(":").map(Number);
    return major === undefined || minor === undefined ? undefined : { major, minor };
  } catch {
    return undefined;
  }
}
