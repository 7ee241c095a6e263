// Loop devices (loop(4), linux/loop.h): a block device whose data stand in a file.

import { check, errno, SystemError } from "./errno.ts";
import { closeFile, openFile } from "./files.ts";
import { openLibc } from "./libc.ts";
import { EBUSY } from "./errno_numbers.ts";

const LOOP_CTL_GET_FREE = 0x4c82n;
const LOOP_CONFIGURE = 0x4c0an;
const LOOP_SET_CAPACITY = 0x4c07n;
const LOOP_CLR_FD = 0x4c01n;
// struct loop_config: u32 fd, u32 block_size, struct loop_info64 info, u64 reserved[8].
const LOOP_CONFIG_BYTES = 304;
const CONFIG_INFO = 8;
const INFO_FLAGS = 52;
const INFO_FILE_NAME = 56;
const FILE_NAME_BYTES_MAX = 63;
const LO_FLAGS_READ_ONLY = 1;
/** The device goes when its last opener does. */
const LO_FLAGS_AUTOCLEAR = 4;
const LO_FLAGS_PARTSCAN = 8;
/** Around the page cache of the file: one copy of the data, and requests under way together. */
const LO_FLAGS_DIRECT_IO = 16;
/** Somebody else may take the free device before us. */
const ATTEMPTS = 16;

const libc = openLibc(
  {
    // int fd, unsigned long request
    ioctl: { parameters: ["i32", "u64", "i64"], result: "i32" },
    // int fd, unsigned long request, struct loop_config *
    ioctlConfigure: { name: "ioctl", parameters: ["i32", "u64", "buffer"], result: "i32" },
  } as const,
);

/** A loop device in use, kept by the descriptor. */
export interface LoopDevice {
  /** As in /dev/loop7. */
  readonly number: number;
  readonly fd: number;
}

/**
 * Puts a free loop device on a file; it goes when its last opener does.
 *
 * @param fd The file; the thread that answers for it must be another one.
 * @param name For `losetup`, at most 63 bytes.
 */
export function configureLoop(fd: number, name: string, readOnly: boolean): LoopDevice {
  const control = openFile("/dev/loop-control", { readOnly: false });
  try {
    for (let attempt = 1;; attempt++) {
      const number = check(libc.ioctl(control, LOOP_CTL_GET_FREE, 0n), "Find a free loop device");
      const device = openFile(`/dev/loop${number}`, { readOnly });
      const config = new Uint8Array(LOOP_CONFIG_BYTES);
      const view = new DataView(config.buffer);
      view.setUint32(0, fd, true);
      view.setUint32(4, 512, true);
      view.setUint32(
        CONFIG_INFO + INFO_FLAGS,
        LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN | LO_FLAGS_DIRECT_IO |
          (readOnly ? LO_FLAGS_READ_ONLY : 0),
        true,
      );
      const text = new TextEncoder().encode(name).subarray(0, FILE_NAME_BYTES_MAX);
      config.set(text, CONFIG_INFO + INFO_FILE_NAME);
      if (libc.ioctlConfigure(device, LOOP_CONFIGURE, config) === 0) {
        return { number, fd: device };
      }
      const code = errno();
      closeFile(device);
      if (code !== EBUSY || attempt === ATTEMPTS) {
        throw new SystemError(`Configure /dev/loop${number}`, code);
      }
    }
  } finally {
    closeFile(control);
  }
}

/** Takes over the file's new size. */
export function resizeLoop(fd: number): void {
  check(libc.ioctl(fd, LOOP_SET_CAPACITY, 0n), "Resize a loop device");
}

/** Takes the device off its file, now or when its last opener has gone. */
export function clearLoop(fd: number): void {
  check(libc.ioctl(fd, LOOP_CLR_FD, 0n), "Clear a loop device");
}
