// What /proc tells about the machine and about the processes under load.

/** Ticks a second of the times in /proc/PID/stat: USER_HZ, which is 100 on every Linux that Deno runs on. */
const TICKS_PER_SECOND = 100;

/** What processes hold in memory together, in megabytes of 10^6 bytes. */
export interface Memory {
  /** VmRSS: everything resident. */
  readonly residentMb: number;
  /** RssAnon: what is the processes' own. */
  readonly anonymousMb: number;
  /** The part of VmRSS that is page cache of the exported files, mapped. */
  readonly exportedMb: number;
}

/** CPU time that processes have used so far, in microseconds, all threads, user and system. */
export function cpuTimeUs(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15 of proc(5).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 1e6 / TICKS_PER_SECOND;
}

/** What processes hold in memory now; `exports` are the files that they serve. */
export function memoryOf(pids: readonly number[], exports: readonly string[]): Memory {
  const sum = { residentMb: 0, anonymousMb: 0, exportedMb: 0 };
  for (const pid of pids) {
    const status = Deno.readTextFileSync(`/proc/${pid}/status`);
    sum.residentMb += kilobytes(status, "VmRSS") * 1024 / 1e6;
    sum.anonymousMb += kilobytes(status, "RssAnon") * 1024 / 1e6;
    // Each mapping begins with a line of addresses, flags and path.
    for (const mapping of Deno.readTextFileSync(`/proc/${pid}/smaps`).split(/^(?=[0-9a-f]+-)/m)) {
      const path = mapping.slice(0, mapping.indexOf("\n"));
      if (exports.some((name) => path.endsWith(` ${name}`))) {
        sum.exportedMb += kilobytes(mapping, "Rss") * 1024 / 1e6;
      }
    }
  }
  return sum;
}

/** Starts to watch the machine; the function returned says what share of its time was used. */
export function watchUse(): () => number {
  const before = processorTicks();
  return () => {
    const after = processorTicks();
    return 1 - (after.idle - before.idle) / Math.max(1, after.all - before.all);
  };
}

/** The machine in one line, for the head of a report. */
export function describeMachine(): string {
  const model = Deno.readTextFileSync("/proc/cpuinfo").match(/^model name\s*:\s*(.+)$/m)?.[1];
  const release = Deno.osRelease();
  return `${navigator.hardwareConcurrency} × ${model ?? Deno.build.arch}, Linux ${release}`;
}

/** The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal, … */
function processorTicks(): { idle: number; all: number } {
  const [line = ""] = Deno.readTextFileSync("/proc/stat").split("\n", 1);
  // The last two, guest times, are part of the first two already (proc(5)).
  const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number);
  return {
    idle: (ticks[3] ?? 0) + (ticks[4] ?? 0),
    all: ticks.reduce((sum, value) => sum + value, 0),
  };
}

function kilobytes(text: string, name: string): number {
  return Number(text.match(new RegExp(`^${name}:\\s+(\\d+) kB`, "m"))?.[1] ?? 0);
}
