// Whether requests of the fuse back end can come by io_uring here. Linux 6.14 and later have it,
// switched off: the administrator decides, for all FUSE file systems of the machine.

const SWITCH = "/sys/module/fuse/parameters/enable_uring";
/** One queue for each core that the machine may have, and memory for each. */
const QUEUES_MAX = 256;

/** The number of queues, or why there can be none, in words that stand behind "FUSE over io_uring". */
export function probeFuseUring(): number | string {
  const value = readWord(SWITCH);
  if (value === undefined) return "needs Linux 6.14, or newer";
  if (value !== "Y") return `is off: echo Y >${SWITCH} turns it on`;
  // "0-1", or "0,2-5" where some are left out; the kernel numbers its queues up to the last.
  const last = Number(readWord("/sys/devices/system/cpu/possible")?.match(/\d+$/)?.[0] ?? NaN);
  if (!(last < QUEUES_MAX)) return `is for machines of up to ${QUEUES_MAX} cores here`;
  return last + 1;
}

function readWord(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path).trim();
  } catch {
    return undefined;
  }
}
