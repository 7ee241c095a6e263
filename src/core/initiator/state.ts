// What the parts of the initiator share: limits and times, the tables, and a few marks. The parts
// are functions over it: transmit.ts sends, answers.ts receives,
// lifetimes.ts loses and ends. initiator.ts is what callers see.

import { CommandTable } from "./commands.ts";
import { FlushTracker } from "./flush.ts";
import { frameRegionBytes, FrameWriter } from "./frames.ts";
import type { PathTimes } from "./path.ts";
import { RequestTable } from "./requests.ts";
import { Session } from "./session.ts";
import { WriteRanges } from "./writes.ts";

const PROBES_PER_PATH = 3;
/** Paths are counted with the bits of 16-bit fields. */
const PATHS_MAX = 16;
const DEAD_CHECK_MS = 1000;

/** Everything that can be chosen, with what it is when it is not chosen. */
export const INITIATOR_DEFAULTS = {
  /** Requests at once, fetched completions excluded. */
  requestsMax: 1024,
  /** Commands in flight over all paths; at most 2048. */
  commandsMax: 1024,
  pathsMax: 16,
  interfacesMax: 8,
  /** Commands in flight on one path, whatever buffer count the target claims. */
  windowMax: 256,
  /** Sectors in one frame; 127 fill the 65536 bytes of `lo`. */
  sectorsMax: 127,
  /** Discards in flight. */
  discardsMax: 8,
  /** Ranges in quarantine. */
  quarantineMax: 16_384,
  /**
   * How long a copy that was sent and not answered may still reach the disk when nothing shows
   * that it is gone. No frame may live longer in the network and in the target's queues.
   */
  quarantineMs: 5000,
  /** By how much a path may deliver a frame before one that was sent earlier. */
  reorderingMs: 100,
  /**
   * Treat every write as if it had been retransmitted: in a network that sends frames twice, the
   * second may come when the first has been answered. Done for a while when that is seen.
   */
  repeatsExpected: false,
  /** A target silent for this long makes what waits fail; Infinity: never. */
  deadAfterMs: 180_000,
  /** Whether read data are wanted: a measurement checks answers, and leaves the data where they are. */
  keepsReads: true,
  /** Time between probes of a path that works. */
  probeMs: 10_000,
  /** Time between searches for further paths. */
  queryMs: 30_000,
  rtoInitialMs: 150,
  rtoMinMs: 50,
  rtoMaxMs: 3_600_000,
  pathLostMs: 300,
};

/**
 * Frames that a ring of shared memory holds: answers to a full window twice over. Unlike a socket's
 * buffer, a ring takes its memory at once.
 */
export const RING_SLOTS = 512;

/** Limits and times of an initiator. */
export type InitiatorSettings = typeof INITIATOR_DEFAULTS;

/** What every initiator must be told. */
export interface InitiatorOptions extends Partial<InitiatorSettings> {
  readonly shelf: number;
  readonly slot: number;
  /** MACs of the targets that are meant, six bytes each; undefined: of all that answer. */
  readonly targets?: readonly Uint8Array[] | undefined;
  /** Everything that frames are gathered from and read data are copied to. */
  readonly memory: Uint8Array;
  /** Where the initiator's own `initiatorMemoryBytes` begin in `memory`. */
  readonly memoryAt: number;
  /** 0 … 7: different for every initiator of this host that talks to the same target. */
  readonly session: number;
  /** A random integer, so that a new process does not take an old one's answers for its own. */
  readonly seed: number;
}

/** Bytes that an initiator needs for itself in its memory. */
export function initiatorMemoryBytes(settings: Partial<InitiatorSettings> = {}): number {
  return frameRegionBytes({ ...INITIATOR_DEFAULTS, ...settings });
}

/** The tables, and what stands between them. */
export class InitiatorState {
  readonly shelf: number;
  readonly slot: number;
  readonly settings: InitiatorSettings;
  readonly memory: Uint8Array;
  readonly session: Session;
  readonly commands: CommandTable;
  readonly requests: RequestTable;
  readonly writes: WriteRanges;
  readonly frames: FrameWriter;
  readonly flushes = new FlushTracker();
  /** Entries that commands of requests leave to the probes: three for every path. */
  readonly reserve: number;

  /** A probe or a query may be due. */
  controlDue = true;
  /** A range that a blocked request may wait for became free. */
  unblockDue = false;
  /** When a command of a request was last answered, or the first request came. */
  progressMs = 0;
  deadCheckMs = Infinity;
  /** It was told that the disk is silent. */
  diskSilent = false;
  /** The target was silent for too long, and no path works. */
  dead = false;
  closed = false;

  /** Until when every write is treated as if it had been retransmitted. */
  repeatsUntilMs = -Infinity;
  /** When the quarantine is looked through next for the sake of blocked requests. */
  settleAtMs = Infinity;

  /** Counters for people. */
  readonly counters = {
    requests: 0,
    commands: 0,
    retransmitted: 0,
    answers: 0,
    /** Answers to nothing that waits: late, duplicate, or somebody else's. */
    stale: 0,
    /** Answers that came twice. */
    repeated: 0,
    /** Frames that are no proper answer. */
    malformed: 0,
    /** Answers from a MAC that is no path. */
    foreign: 0,
  };

  constructor(options: InitiatorOptions) {
    const settings = { ...INITIATOR_DEFAULTS, ...options };
    this.settings = settings;
    this.shelf = options.shelf;
    this.slot = options.slot;
    this.memory = options.memory;
    this.reserve = PROBES_PER_PATH * settings.pathsMax;
    if (settings.pathsMax > PATHS_MAX) throw new RangeError(`More than ${PATHS_MAX} paths`);
    if (settings.commandsMax <= this.reserve) {
      throw new RangeError(`${settings.commandsMax} commands leave none beside the probes`);
    }
    const times: PathTimes = settings;
    this.session = new Session({ ...settings, targets: options.targets, times });
    this.commands = new CommandTable(
      settings.commandsMax,
      settings.pathsMax,
      options.session,
      options.seed,
    );
    this.requests = new RequestTable(settings.requestsMax);
    this.writes = new WriteRanges(
      settings.commandsMax,
      settings.quarantineMax,
      settings.pathsMax,
      settings.reorderingMs,
    );
    this.frames = new FrameWriter(
      options.memory,
      options.memoryAt,
      options.shelf,
      options.slot,
      settings,
    );
  }
}

/** How often it is looked for what has waited too long. */
export function deadCheckEveryMs(state: InitiatorState): number {
  return Math.min(DEAD_CHECK_MS, state.settings.deadAfterMs / 4);
}
