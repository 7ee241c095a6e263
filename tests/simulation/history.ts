// What the caller saw, sector by sector, and whether a disk could have shown it: reads and writes
// are linearizable, and a flush covers what was completed before it was submitted.
//
// The initiator promises that writes which overlap run in the order of submission
// (core/initiator/writes.ts). So the order of the writes of a sector is known, and what is left is
// the moment at which each takes effect: after its submission and after every read that still saw
// the content before, before its completion and before the end of every read that saw its own.
// Those moments must not decrease. A write that failed or is open may have no effect. A crash puts
// a content that the simulation knows, and everything newer than it may or may not come again.

/** Content of a sector nobody has written, or that was discarded. */
export const ZERO_CONTENT = 0;

/** One write of one sector. */
export interface SectorWrite {
  readonly content: number;
  readonly start: number;
  /** Infinity while it is open, and when its outcome is not known. */
  end: number;
}

interface SectorRead {
  readonly content: number;
  readonly start: number;
  readonly end: number;
}

interface Crash {
  readonly at: number;
  readonly contents: Int32Array;
  /** The flushes after it that said that writes may be lost. */
  readonly reports: Report[];
}

/** A flush that said that writes may be lost: those that were completed before it began. */
interface Report {
  readonly start: number;
  readonly end: number;
}

/** The time between two crashes, for one sector. */
interface Epoch {
  readonly from: number;
  readonly to: number;
  /** Content at its beginning. */
  readonly content: number;
}

/** The history of one disk. Moments are numbers that only grow. */
export class History {
  /** Reads and writes of sectors that were checked. */
  checked = 0;
  readonly #writes: SectorWrite[][] = [];
  readonly #reads: SectorRead[][] = [];
  readonly #crashes: Crash[] = [];
  #moment = 0;

  constructor(sectors: number) {
    for (let i = 0; i < sectors; i++) {
      this.#writes.push([]);
      this.#reads.push([]);
    }
  }

  /** The next moment. */
  next(): number {
    return ++this.#moment;
  }

  /** A write of one sector is submitted; the caller sets its end. */
  write(lba: number, content: number, start: number): SectorWrite {
    const write = { content, start, end: Infinity };
    this.#writes[lba]!.push(write);
    return write;
  }

  /** A read of one sector is over. */
  read(lba: number, content: number, start: number, end: number): void {
    this.#reads[lba]!.push({ content, start, end });
  }

  /** A crash left these contents. */
  crash(contents: Int32Array): void {
    this.#crashes.push({ at: this.next(), contents, reports: [] });
  }

  /** A flush ended with the news that writes may be lost. */
  lossReported(start: number, end: number): void {
    for (const crash of this.#crashes) crash.reports.push({ start, end });
  }

  /**
   * A flush submitted at `start` has succeeded: looks at what is stable.
   *
   * @returns What is wrong, or undefined.
   */
  checkFlush(start: number, stable: Int32Array): string | undefined {
    for (let lba = 0; lba < stable.length; lba++) {
      const writes = this.#writes[lba]!;
      const content = stable[lba]!;
      const required = writes.findLastIndex((write) =>
        write.end < start && !this.#isExcused(write, start)
      );
      const held = writes.findLastIndex((write) => write.content === content);
      if (held >= required) continue;
      return `sector ${lba}: content ${writes[required]!.content}, completed before a flush, is ` +
        `not stable after it; ${content} is`;
    }
    return undefined;
  }

  /** Whether an answered write may be gone: a crash may have lost it, and that was reported. */
  #isExcused(write: SectorWrite, flushStart: number): boolean {
    return this.#crashes.some(({ at, reports }) =>
      write.start < at &&
      reports.some((report) => write.end < report.start && report.end <= flushStart)
    );
  }

  /** Looks whether every sector is linearizable; returns what is wrong, or undefined. */
  check(): string | undefined {
    for (let lba = 0; lba < this.#writes.length; lba++) {
      this.checked += this.#writes[lba]!.length + this.#reads[lba]!.length;
      for (let i = -1; i < this.#crashes.length; i++) {
        const epoch: Epoch = {
          from: this.#crashes[i]?.at ?? 0,
          to: this.#crashes[i + 1]?.at ?? Infinity,
          content: this.#crashes[i]?.contents[lba] ?? ZERO_CONTENT,
        };
        const wrong = checkEpoch(epoch, this.#writes[lba]!, this.#reads[lba]!);
        if (wrong !== undefined) return `sector ${lba}: ${wrong}`;
      }
    }
    return undefined;
  }
}

/** One content of a sector, and when it can have come. */
interface Step {
  readonly content: number;
  readonly optional: boolean;
  /** Bounds of the moment at which it takes effect. */
  low: number;
  high: number;
  /** The latest start of a read that saw it: what follows comes after that. */
  seenUntil: number;
  seen: boolean;
}

function checkEpoch(
  epoch: Epoch,
  writes: readonly SectorWrite[],
  reads: readonly SectorRead[],
): string | undefined {
  const { from, to, content } = epoch;
  const steps: Step[] = [
    { content, optional: false, low: from, high: from, seenUntil: from, seen: false },
  ];
  // After a crash only what is newer than the content it left can still come; which of several
  // discards left its zeros is not known.
  const first = content === ZERO_CONTENT
    ? 0
    : writes.findIndex((write) => write.content === content) + 1;
  for (const write of writes.slice(first)) {
    if (write.start >= to) break;
    const optional = write.start < from || write.end >= to;
    steps.push({
      content: write.content,
      optional,
      low: Math.max(write.start, from),
      high: optional ? to : write.end,
      seenUntil: 0,
      seen: false,
    });
  }
  for (const read of reads) {
    // A read that spans a crash may have been answered before or after it.
    if (read.start < from || read.end >= to) continue;
    const wrong = place(read, steps);
    if (wrong !== undefined) return wrong;
  }
  let low = from;
  let seenUntil = from;
  for (const step of steps) {
    if (step.optional && !step.seen) continue;
    low = Math.max(low, step.low, seenUntil);
    if (low > step.high) {
      return `content ${step.content} took effect by ${step.high}, yet older content was seen ` +
        `after ${low}`;
    }
    seenUntil = step.seenUntil;
  }
  return undefined;
}

/** Notes what a read says of the step whose content it saw. */
function place(read: SectorRead, steps: readonly Step[]): string | undefined {
  const candidates = steps.filter((step, i) => {
    if (step.content !== read.content || step.low > read.end) return false;
    // Over when something mandatory was completed after it, before the read began.
    return !steps.slice(i + 1).some((later) => !later.optional && later.high < read.start);
  });
  const step = candidates[0];
  if (step === undefined) {
    return `content ${read.content}, read from ${read.start} to ${read.end}, was not there`;
  }
  // Discards all leave zeros: which one was seen is not always known.
  if (candidates.length > 1) {
    for (const candidate of candidates) candidate.seen = true;
    return undefined;
  }
  step.seen = true;
  step.high = Math.min(step.high, read.end);
  step.seenUntil = Math.max(step.seenUntil, read.start);
  return undefined;
}
