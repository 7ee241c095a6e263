// What the manual says of the commands that ask, copy and measure.

import type { ManualSection } from "./man_text.ts";

/** The sections of aoe-copy(8). */
export const COPY_MANUAL: readonly ManualSection[] = [
  {
    title: "NOTES",
    text: `
- At the end everything is on stable storage: a disk is flushed, a file synced.
- Runs of zeros are left out of files, and discarded on disks that promise to read zeros then.
- All interfaces share the work. A path that is lost costs no error while another is left.
- A cause is said once, with how often: one line for a disk that another host has reserved, naming
  the host.
- A flush that a target does not know is tried as FLUSH CACHE EXT, then FLUSH CACHE. When both are
  refused that is said once: more cannot be done for such a disk.
- An image of another format (qcow2, VMDK, …) or an archive is not written to a disk as it is: it is
  refused with the command that unpacks it, unless --force is given.
- Free space is looked at first: a warning for a sparse copy that may not fit, a refusal with
  --no-sparse. A file that is there already is cut only after the first read has worked.
- On a terminal a line shows bytes, rate and time left, or for how long it has been waiting. --json
  prints one line at the end.`,
  },
  {
    title: "GOING ON LATER",
    text: `
Every few seconds (--state-every, 5 by default), and every 128 MiB, what has been copied is put onto
stable storage, and remembered: in DST.aoe-copy beside a file, for disks and devices in $XDG_STATE_HOME/aoe or
~/.local/state/aoe (/var/lib/aoe for root without HOME). So a power cut costs that much at most. It is
removed at the end.

\`--resume\` proves first that DST still holds what was copied, by its CRC-32, and that SRC is still the
same as far as it was copied, which it reads again; --trust-source spares that. DST that is gone or
cut, or another SRC, is said (exit code 1 or 5), and nothing is written.

\`--verify\` reads SRC again, then DST, and compares. \`read back, and equal\` means equal to SRC as it is
now; a SRC that was changed meanwhile is told of.`,
  },
];

/** The sections of aoe-bench(8). */
export const BENCH_MANUAL: readonly ManualSection[] = [
  {
    title: "JSON",
    text: `
--json prints one object in the shape of fio's, with \`jobs[0].read.iops\` and
\`jobs[0].read.clat_ns.percentile\` where fio has them.`,
  },
];

/** The sections of aoe-discover(8). */
export const DISCOVER_MANUAL: readonly ManualSection[] = [
  {
    title: "WHAT IT SHOWS",
    text: `
Each line is a path: two lines for one address are one disk with two cards. When two different disks
have the same address, a warning names both, with their serial numbers; in JSON, \`contested\` is true.`,
  },
];

/** The sections of aoe-stat(8). */
export const STAT_MANUAL: readonly ManualSection[] = [
  {
    title: "COLUMNS",
    text: `
aoe-stat's five: device, size, interfaces, bytes of payload in a frame, state; one line a disk, sorted,
and nothing else. A disk of \`aoe attach\` is shown as its daemon sees it, one of the kernel's driver
as the kernel does. Where no path can be used the payload is 0 and the state down. -l adds a table of
attached disks, with their paths and rates. In JSON \`bytes\` is null only for a target that is not
attached and did not answer IDENTIFY.`,
  },
];

/** The sections of aoe-check(8). */
export const CHECK_MANUAL: readonly ManualSection[] = [
  {
    title: "WHAT IT FINDS",
    text: `
It measures every path: the largest frame that passes, losses alone and in bursts, round trips. It
finds MTUs that do not fit, addresses that are used twice, frames that vanish on the way, lossy
paths, missing flow control and too few buffers, and says what to do. It only reads.`,
  },
];

/** The sections of aoe-config(8). */
export const CONFIG_MANUAL: readonly ManualSection[] = [
  {
    title: "THE CONFIG STRING",
    text: `
A note of up to 1024 bytes on each disk, which everybody can read. \`set\` only fills an empty one, which
makes it a simple way to claim a disk; \`force-set\` replaces it.`,
  },
];

/** The sections of aoe-mask(8). */
export const MASK_MANUAL: readonly ManualSection[] = [
  {
    title: "THE MASK LIST",
    text: `
Who is answered at all, up to 255 MAC addresses. An empty list admits everybody; \`self\` means this
host. It is not \`serve -m\`: that one is the administrator's, frames cannot change it, and who wants
an answer has to pass both.`,
  },
];

/** The sections of aoe-reserve(8). */
export const RESERVE_MANUAL: readonly ManualSection[] = [
  {
    title: "RESERVATIONS",
    text: `
Who may read and write. Others still see the disk, and are refused.`,
  },
];
