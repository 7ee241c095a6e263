// The rows of the bench that compare targets: what is served, what is asked, what it must reach.

import type { Load, Sample } from "./load.ts";
import type { PeerName, ServeOptions } from "./peers.ts";
import type { Goal } from "./report.ts";

/** One load, and what is read off it. */
export interface Work {
  readonly label: string;
  readonly load: Pick<Load, "sectors" | "window"> & { readonly mode: "read" | "write" };
  readonly readings: readonly Reading[];
  /** How many writes fio does before it waits for stable storage. */
  readonly writesPerSync?: number;
}

/** One figure of a sample. */
export interface Reading {
  readonly label?: string;
  readonly unit: string;
  readonly figure: (sample: Sample) => number;
  readonly goals: readonly Goal[];
}

/** Peers side by side under the same loads. */
export interface Row {
  readonly name: string;
  readonly title: string;
  readonly peers: readonly PeerName[];
  readonly mtu: number;
  /** How many disks are served at once, each to a generator of its own. */
  readonly disks: number;
  /** Whether an image stands in the page cache from the start, or is for disk work. */
  readonly image: "cached" | "disk";
  /** What part of the image `aoe serve` may have mapped; all that it likes when undefined. */
  readonly mappedShare: number | undefined;
  /** Whether the page cache is emptied before each load. */
  readonly cold: boolean;
  /** Whether the target has one core to itself, and the generator the other. */
  readonly pinned: boolean;
  readonly serve: Pick<ServeOptions, "direct" | "sync" | "workers">;
  readonly works: readonly Work[];
}

const JUMBO = 9000;
const STANDARD = 1500;
const WINDOW = 64;
const KIB = 2;

function atLeast(value: number, against: string): Goal {
  return { against, bound: "at least", value };
}

function atMost(value: number, against: string): Goal {
  return { against, bound: "at most", value };
}

function rate(...goals: readonly Goal[]): Reading {
  return { unit: "k/s", figure: (sample) => sample.requestsPerSecond / 1000, goals };
}

/** What a row of the page cache must reach: each reading's goals, by size and direction. */
interface CacheGoals {
  readonly smallReads: readonly Goal[];
  readonly smallWrites: readonly Goal[];
  readonly largeReads: readonly Goal[];
  readonly largeWrites: readonly Goal[];
}

const PAGE_GOALS: CacheGoals = {
  smallReads: [atLeast(1.5, "vblade"), atLeast(0.85, "ring")],
  smallWrites: [atLeast(1.15, "vblade")],
  largeReads: [atLeast(1.35, "vblade"), atLeast(0.92, "ring")],
  largeWrites: [atLeast(1.4, "vblade")],
};
const NOT_MAPPED = [atLeast(1.1, "vblade")];

/** Small and large requests out of the page cache, as many as go into frames of the MTU. */
function cacheWorks(mtu: number, goals: CacheGoals): Work[] {
  const work = (mode: "read" | "write", kib: 1 | 8, reached: readonly Goal[]): Work => ({
    label: `${kib} KiB ${mode}s`,
    load: { mode, sectors: kib * KIB, window: WINDOW },
    readings: [rate(...reached)],
  });
  const small = [work("read", 1, goals.smallReads), work("write", 1, goals.smallWrites)];
  if (mtu < JUMBO) return small;
  return [...small, work("read", 8, goals.largeReads), work("write", 8, goals.largeWrites)];
}

/** 4 KiB at random places. */
function pageWork(mode: "read" | "write", window: number, ...goals: readonly Goal[]): Work {
  return {
    label: `${mode}s, window ${window}`,
    load: { mode, sectors: 4 * KIB, window },
    readings: [rate(...goals)],
  };
}

function latencyWork(mode: "read" | "write"): Work {
  return {
    label: `1 KiB ${mode}s`,
    load: { mode, sectors: KIB, window: 1 },
    readings: [
      { label: "p50", unit: "µs", figure: (s) => s.medianUs, goals: [atMost(1, "vblade")] },
      { label: "p99.9", unit: "µs", figure: (s) => s.tailUs, goals: [atMost(1.5, "vblade")] },
    ],
  };
}

const cachedRow = {
  peers: ["aoe", "vblade", "reflector", "ring"],
  mtu: JUMBO,
  disks: 1,
  image: "cached",
  mappedShare: undefined,
  cold: false,
  pinned: true,
  serve: {},
} as const satisfies Partial<Row>;

const diskRow = {
  ...cachedRow,
  peers: ["aoe", "vblade", "fio"],
  image: "disk",
  pinned: false,
} as const satisfies Partial<Row>;

export const rows: readonly Row[] = [
  {
    ...cachedRow,
    name: "page",
    title: `Page cache, window ${WINDOW}, MTU ${JUMBO}, target on one core`,
    works: cacheWorks(JUMBO, PAGE_GOALS),
  },
  {
    ...cachedRow,
    name: "large",
    title: "The same with an image of twice --map",
    peers: ["aoe", "vblade"],
    mappedShare: 0.5,
    works: cacheWorks(JUMBO, {
      ...{ smallReads: NOT_MAPPED, smallWrites: NOT_MAPPED },
      ...{ largeReads: NOT_MAPPED, largeWrites: NOT_MAPPED },
    }),
  },
  {
    ...diskRow,
    name: "direct",
    title: "O_DIRECT, 4 KiB at random places",
    serve: { direct: true },
    works: [
      pageWork("read", WINDOW, atLeast(6, "vblade"), atLeast(0.75, "fio")),
      pageWork("write", WINDOW, atLeast(3, "vblade"), atLeast(0.8, "fio")),
    ],
  },
  {
    ...diskRow,
    name: "sync",
    title: "Stable storage before the answer (-s), 4 KiB at random places",
    serve: { sync: true },
    works: [
      { ...pageWork("write", WINDOW, atLeast(4.3, "vblade")), writesPerSync: WINDOW },
      { ...pageWork("write", 1, atLeast(1, "vblade")), writesPerSync: 1 },
    ],
  },
  {
    ...diskRow,
    name: "cold",
    title: "Cold page cache, 4 KiB at random places",
    peers: ["aoe", "vblade"],
    cold: true,
    works: [pageWork("read", WINDOW, atLeast(5.3, "vblade"))],
  },
  {
    ...cachedRow,
    name: "latency",
    peers: ["aoe", "vblade", "reflector"],
    title: "Page cache, window 1, target on one core",
    works: [latencyWork("read"), latencyWork("write")],
  },
  {
    ...cachedRow,
    name: "exports",
    title: "Four exports at once, page cache; aoe with two workers, four of the others",
    disks: 4,
    pinned: false,
    serve: { workers: 2 },
    works: [
      {
        label: "1 KiB reads",
        load: { mode: "read", sectors: KIB, window: WINDOW },
        readings: [rate(atLeast(1, "vblade"))],
      },
      {
        label: "8 KiB reads",
        load: { mode: "read", sectors: 8 * KIB, window: WINDOW },
        readings: [rate(atLeast(1, "vblade"))],
      },
      {
        label: "8 KiB writes",
        load: { mode: "write", sectors: 8 * KIB, window: WINDOW },
        readings: [rate()],
      },
    ],
  },
  {
    ...cachedRow,
    name: "mtu1500",
    title: `Page cache, window ${WINDOW}, MTU ${STANDARD}, target on one core`,
    mtu: STANDARD,
    works: cacheWorks(STANDARD, {
      ...PAGE_GOALS,
      smallReads: [atLeast(1.4, "vblade"), atLeast(1.1, "reflector")],
      smallWrites: [],
    }),
  },
];
