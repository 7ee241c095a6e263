// Block devices by name: nodes of our own (mknod(2)), and whether somebody has a device for himself
// (O_EXCL, open(2)).

import { check, errno, SystemError } from "./errno.ts";
import { closeFile, openFile } from "./files.ts";
import { openLibc } from "./libc.ts";
import { EBUSY, EEXIST } from "./errno_numbers.ts";

const S_IFBLK_0660 = 0o060660;

const libc = openLibc(
  {
    // const char *path, mode_t mode, dev_t dev
    mknod: { parameters: ["buffer", "u32", "u64"], result: "i32" },
  } as const,
);

/**
 * Makes a node of a block device, in the place of one of that name, whatever it is.
 *
 * @param group May read and write the device, as root may.
 */
export function makeBlockNode(path: string, major: number, minor: number, group: number): void {
  // gnu_dev_makedev(3), as far as Linux has numbers.
  const device = BigInt((minor & 0xff) | ((major & 0xfff) << 8)) | (BigInt(minor >>> 8) << 20n);
  const name = new TextEncoder().encode(`${path}\0`);
  if (libc.mknod(name, S_IFBLK_0660, device) !== 0) {
    if (errno() !== EEXIST) throw new SystemError(`Make "${path}"`, errno());
    Deno.removeSync(path);
    check(libc.mknod(name, S_IFBLK_0660, device), `Make "${path}"`);
  }
  // The mask of this process is none of the device's business.
  Deno.chmodSync(path, S_IFBLK_0660 & 0o777);
  Deno.chownSync(path, 0, group);
}

/**
 * Takes a block device for this process, as a mount does; nobody else can mount it then.
 *
 * @returns A descriptor; undefined when somebody else has it: it is mounted, swapped on, or part
 * of a larger device.
 */
export function claimDevice(path: string): number | undefined {
  try {
    return openFile(path, { readOnly: true, exclusive: true });
  } catch (error) {
    if (error instanceof SystemError && error.code === EBUSY) return undefined;
    throw error;
  }
}

/** Closes a descriptor of a device. */
export function releaseDevice(fd: number): void {
  closeFile(fd);
}
