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
  /** How often the size of `--cached-mib` a cached image has. */
  readonly times: number;
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

/** Small and large requests out of the page cache, as many as go into frames of the MTU. */
function cacheWorks(mtu: number, limits: boolean): Work[] {
  const of = (value: number, against: string) => limits ? [atLeast(value, against)] : [];
  const small: Work[] = [
    {
      label: "1 KiB reads",
      load: { mode: "read", sectors: KIB, window: WINDOW },
      readings: [rate(atLeast(1.25, "vblade"), ...of(0.92, "reflector"))],
    },
    {
      label: "1 KiB writes",
      load: { mode: "write", sectors: KIB, window: WINDOW },
      readings: [rate(atLeast(1.1, "vblade"))],
    },
  ];
  if (mtu < JUMBO) return small;
  return [...small, {
    label: "8 KiB reads",
    load: { mode: "read", sectors: 8 * KIB, window: WINDOW },
    readings: [rate(atLeast(1.15, "vblade"), ...of(0.9, "reflector"))],
  }, {
    label: "8 KiB writes",
    load: { mode: "write", sectors: 8 * KIB, window: WINDOW },
    readings: [rate(atLeast(1.1, "vblade"))],
  }];
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
      { label: "p50", unit: "µs", figure: (s) => s.medianUs, goals: [atMost(1.1, "vblade")] },
      { label: "p99.9", unit: "µs", figure: (s) => s.tailUs, goals: [atMost(2, "vblade")] },
    ],
  };
}

const cachedRow = {
  peers: ["aoe", "vblade", "reflector"],
  mtu: JUMBO,
  disks: 1,
  image: "cached",
  times: 1,
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
    works: cacheWorks(JUMBO, true),
  },
  {
    ...cachedRow,
    name: "large",
    title: `The same with an image four times as large: not all of it stays mapped`,
    times: 4,
    works: cacheWorks(JUMBO, false).filter(({ load }) => load.mode === "read"),
  },
  {
    ...diskRow,
    name: "direct",
    title: "O_DIRECT, 4 KiB at random places",
    serve: { direct: true },
    works: [
      pageWork("read", WINDOW, atLeast(4, "vblade"), atLeast(0.75, "fio")),
      pageWork("write", WINDOW, atLeast(2.5, "vblade"), atLeast(0.8, "fio")),
    ],
  },
  {
    ...diskRow,
    name: "sync",
    title: "Stable storage before the answer (-s), 4 KiB at random places",
    serve: { sync: true },
    works: [
      { ...pageWork("write", WINDOW, atLeast(4, "vblade")), writesPerSync: WINDOW },
      { ...pageWork("write", 1, atLeast(1, "vblade")), writesPerSync: 1 },
    ],
  },
  {
    ...diskRow,
    name: "cold",
    title: "Cold page cache, 4 KiB at random places",
    peers: ["aoe", "vblade"],
    cold: true,
    works: [pageWork("read", WINDOW, atLeast(3, "vblade"))],
  },
  {
    ...cachedRow,
    name: "latency",
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
        readings: [rate(atLeast(1.2, "vblade"))],
      },
      {
        label: "8 KiB reads",
        load: { mode: "read", sectors: 8 * KIB, window: WINDOW },
        readings: [rate(atLeast(1.2, "vblade"))],
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
    works: cacheWorks(STANDARD, true),
  },
];
