// Tells a thread that runs away, or waits for a lock for ever, from one that waits for a disk. Both
// stand still in the middle of a turn; the first is a fault of the program's, which a new start ends,
// the second would hang after a new start as well, and with it all the others.

/** A thread whose pulse has not moved for so long has stopped: it wakes once a second in any case. */
const STILL_MS = 5_000;
/** Of that, so much must have been its own work. */
const WORK_MS_MIN = 2_500;
/** USER_HZ, of every architecture here. */
const TICK_MS = 10;
/** The number of futex(2). */
const FUTEX = Deno.build.arch === "aarch64" ? 98 : 202;

/** What the kernel says that a thread does. */
export interface ThreadActivity {
  /** `lock`: it waits for another thread; `else`: for anything but that, a disk say. */
  readonly doing: "work" | "lock" | "else";
  /** The time that it has worked so far. */
  readonly workMs: number;
}

/** One thread under watch. */
export class ThreadHealth {
  #pulse = NaN;
  #sinceMs = 0;
  #workMs = 0;
  #elsewhere = false;

  /**
   * Looks at a thread; as often as wanted.
   *
   * @param activity Undefined where the kernel does not tell.
   * @returns Whether it has stopped, for a reason that is not a disk's.
   */
  look(nowMs: number, pulse: number, activity: ThreadActivity | undefined): boolean {
    if (pulse !== this.#pulse) {
      this.#pulse = pulse;
      this.#sinceMs = nowMs;
      this.#workMs = activity?.workMs ?? 0;
      this.#elsewhere = false;
    }
    this.#elsewhere ||= activity === undefined || activity.doing === "else";
    if (this.#elsewhere || activity === undefined || nowMs - this.#sinceMs < STILL_MS) return false;
    return activity.doing === "lock" || activity.workMs - this.#workMs >= WORK_MS_MIN;
  }
}

/** What a thread of this process does now; undefined where that is not told. */
export function threadActivity(thread: number): ThreadActivity | undefined {
  try {
    const folder = `/proc/self/task/${thread}`;
    const stat = Deno.readTextFileSync(`${folder}/stat`);
    // proc(5): behind the name, which may hold anything, the state is the first field.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const workMs = (Number(fields[11]) + Number(fields[12])) * TICK_MS;
    if (fields[0] === "R") return { doing: "work", workMs };
    if (fields[0] !== "S") return { doing: "else", workMs };
    const call = parseInt(Deno.readTextFileSync(`${folder}/syscall`));
    return { doing: call === FUTEX ? "lock" : "else", workMs };
  } catch {
    return undefined;
  }
}
