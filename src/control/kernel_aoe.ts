// The Linux kernel's own AoE driver, seen from user space (Documentation/admin-guide/aoe): its
// devices in sysfs, and the file through which it is told to look around.

/** `aoe` in /proc/devices, for the block devices and for the character devices alike. */
const DRIVER_LINE = /^\s*152 aoe$/m;
const DEVICE_NAME = /^etherd!e(\d{1,5})\.(\d{1,3})$/;

/** A disk that the kernel has attached, or knows of. */
export interface KernelDevice {
  readonly shelf: number;
  readonly slot: number;
  /** Sectors of 512 bytes. */
  readonly sectors: number;
  /** Names of the interfaces that lead to it. */
  readonly interfaces: readonly string[];
  /** Bytes of data that the driver puts into a frame; undefined with drivers before 2012. */
  readonly payloadBytes: number | undefined;
  /** The driver's words, as in `up` or `down,closewait`. */
  readonly state: string;
}

/** Whether the driver is loaded. */
export function kernelDriverLoaded(devicesFile = "/proc/devices"): boolean {
  return DRIVER_LINE.test(readText(devicesFile) ?? "");
}

/**
 * Tells the driver to look for targets on all its interfaces. It answers nothing.
 *
 * @throws {Deno.errors.NotFound | Deno.errors.PermissionDenied} When its file is not to be had:
 * without udev nobody makes /dev/etherd.
 */
export function requestKernelDiscovery(discoverFile = "/dev/etherd/discover"): void {
  const file = Deno.openSync(discoverFile, { write: true });
  try {
    // Somebody's `echo > /dev/etherd/discover` without the driver leaves a plain file behind.
    if (!file.statSync().isCharDevice) {
      throw new Deno.errors.NotFound(`"${discoverFile}" is no character device`);
    }
    file.writeSync(new TextEncoder().encode("\n"));
  } finally {
    file.close();
  }
}

/** Where the driver's files are, of which tests have their own. */
const MODULE_FOLDER = "/sys/module/aoe";
const NODE_FOLDER = "/dev/etherd";

/** The interfaces that the driver uses, all when there are none; undefined when it is not loaded. */
export function kernelInterfaces(moduleFolder = MODULE_FOLDER): readonly string[] | undefined {
  const text = readText(`${moduleFolder}/parameters/aoe_iflist`);
  return text?.replaceAll("\0", "").trim().split(/[\s,]+/).filter((name) => name !== "");
}

/** Tells the driver which interfaces to use; all of them where there are none. */
export function setKernelInterfaces(
  names: readonly string[],
  moduleFolder = MODULE_FOLDER,
): void {
  // The file replaces the whole list, and wants a closing zero byte.
  const text = `${names.join(",")}\0`;
  Deno.writeTextFileSync(`${moduleFolder}/parameters/aoe_iflist`, text, { create: false });
}

/** The driver's version, as in `85`; undefined when it is not loaded. */
export function kernelDriverVersion(moduleFolder = MODULE_FOLDER): string | undefined {
  return readText(`${moduleFolder}/version`)?.trim();
}

/**
 * Has the driver ask a disk for its size again.
 *
 * @throws {Deno.errors.NotFound} One sentence: the driver does not know it.
 */
export function revalidateKernelDevice(name: string, nodeFolder = NODE_FOLDER): void {
  try {
    // The driver reads a number of bytes, and looks no further than a zero.
    Deno.writeTextFileSync(`${nodeFolder}/revalidate`, `${name}\0`, { create: false });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      throw new Deno.errors.NotFound(`The kernel's driver does not take ${name}: ${error}`);
    }
    throw new Deno.errors.NotFound(`${nodeFolder}/revalidate is not there: udev makes it`);
  }
}

/**
 * Has the driver forget disks that are down and not in use.
 *
 * @param all Those that are up, too, as long as nobody uses them.
 */
export function flushKernelDevices(all: boolean, nodeFolder = NODE_FOLDER): void {
  Deno.writeTextFileSync(`${nodeFolder}/flush`, all ? "all\0" : "\n", { create: false });
}

/** The driver's devices, in no order. */
export function kernelDevices(blockFolder = "/sys/block"): KernelDevice[] {
  const devices: KernelDevice[] = [];
  for (const name of listNames(blockFolder)) {
    const match = DEVICE_NAME.exec(name);
    if (match === null) continue;
    const read = (attribute: string) =>
      readText(`${blockFolder}/${name}/${attribute}`)?.trim() ?? "";
    const payload = read("payload");
    devices.push({
      shelf: Number(match[1]),
      slot: Number(match[2]),
      sectors: Number(read("size")),
      interfaces: read("netif").split(",").filter((netif) => netif !== "" && netif !== "none"),
      payloadBytes: payload === "" ? undefined : Number(payload),
      state: read("state"),
    });
  }
  return devices;
}

function listNames(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch {
    // No sysfs, no kernel devices.
    return [];
  }
}

/** A file's text; undefined when it cannot be read: a device can go at any moment. */
function readText(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return undefined;
  }
}
