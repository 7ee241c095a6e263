// What a process has done until now, as plain numbers: what its metrics tell, and what rates and
// pictures are made of. Every number is since the start, but for what is in hand.

/** What was done for an export, an interface or an initiator. */
export interface Work {
  /** Commands answered, in the order of `COMMAND_KINDS`. */
  readonly commands: readonly number[];
  readonly readBytes: number;
  readonly writtenBytes: number;
  /** Answers that were errors, in the order of `ERROR_KINDS`. */
  readonly errors: readonly number[];
  readonly retransmissions: number;
  readonly overlaps: number;
  readonly gathered: number;
  readonly merged: number;
  /** Commands taken and not answered yet. */
  readonly inHand: number;
  /** Milliseconds that the disk had commands, added up, and how many. */
  readonly diskMs: number;
  readonly diskCommands: number;
  /** Frames dropped, by negated verdict (`DROP_NAMES`). */
  readonly drops: readonly number[];
}

/** A histogram: `TIME_WORDS` numbers. */
export type Times = ArrayLike<number>;

/** One export. */
export interface ExportSnapshot {
  /** `e1.1`. */
  readonly address: string;
  /** What stands behind it. */
  readonly path: string;
  readonly work: Work;
  /** How long answers took, by what was asked; and the disk. */
  readonly answers: { readonly read: Times; readonly write: Times; readonly other: Times };
  readonly disk: { readonly read: Times; readonly write: Times };
}

/** One interface, as a target uses it. */
export interface InterfaceSnapshot {
  readonly name: string;
  readonly work: Work;
  readonly answers: Times;
  readonly received: number;
  /** Turns that brought 1, 2 or 3, 4 to 7 frames, and so on. */
  readonly batches: readonly number[];
  /** Frames that the kernel dropped since they could not be taken as fast as they came. */
  readonly overflows: number;
  readonly sendFailures: number;
}

/** One initiator. */
export interface InitiatorSnapshot {
  /** With colons; `other` for all that have no row of their own. */
  readonly mac: string;
  readonly work: Work;
  readonly answers: Times;
}

/** What an initiator asks of an export. */
export interface LoadSnapshot {
  readonly mac: string;
  readonly address: string;
  readonly reads: number;
  readonly writes: number;
  readonly others: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly errors: number;
  readonly answerMs: number;
  readonly inHand: number;
}

/** A disk of somebody else's, as it is used here. */
export interface DiskSnapshot {
  readonly address: string;
  /** The block device, or where clients reach it. */
  readonly node: string;
  readonly up: boolean;
  readonly reads: number;
  readonly writes: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  /** Commands sent, and those of them that were sent again. */
  readonly commands: number;
  readonly retransmissions: number;
  readonly overflows: number;
  readonly paths: readonly PathSnapshot[];
}

/** One path to a disk. */
export interface PathSnapshot {
  readonly interface: string;
  readonly mac: string;
  readonly up: boolean;
  /** Commands that may be on their way at once. */
  readonly window: number;
  /** Smoothed round trip, and how long until a command is sent again; 0 while unknown. */
  readonly roundTripMs: number;
  readonly timeoutMs: number;
  readonly frameBytes: number;
  /** How long the disk's answers took by it. */
  readonly trips: Times;
}

/** A process, as a target, an initiator, or both. */
export interface Snapshot {
  readonly version: string;
  /** What this process is called, where it has a name. */
  readonly name: string;
  readonly pid: number;
  /** Milliseconds since 1970. */
  readonly startedMs: number;
  readonly atMs: number;
  readonly exports: readonly ExportSnapshot[];
  readonly interfaces: readonly InterfaceSnapshot[];
  readonly initiators: readonly InitiatorSnapshot[];
  readonly loads: readonly LoadSnapshot[];
  readonly disks: readonly DiskSnapshot[];
}
