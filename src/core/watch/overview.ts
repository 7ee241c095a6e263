// What a process is doing now: rates, times and depths over the last second or so, for the page and
// for `aoe top`.

import type { PathSnapshot } from "./snapshot.ts";

/** What happens to an export, an initiator or an interface; rates are a second's. */
export interface Rates {
  readonly reads: number;
  readonly writes: number;
  /** Flushes, questions, everything else. */
  readonly others: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  /** Commands taken and not answered at this moment, and on the average. */
  readonly inHand: number;
  readonly depth: number;
  /** Within which so many of a hundred answers were the kernel's. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Mean time at the disk of what went there. */
  readonly diskMs: number;
  readonly errors: number;
  readonly drops: number;
  readonly retransmissions: number;
  /** Since the start. */
  readonly total: {
    readonly commands: number;
    readonly readBytes: number;
    readonly writtenBytes: number;
    readonly errors: number;
    readonly drops: number;
    readonly retransmissions: number;
  };
}

/** What an initiator asks of an export. */
export interface LoadRates {
  readonly mac: string;
  readonly address: string;
  readonly commands: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly meanMs: number;
  readonly inHand: number;
}

/** A disk of somebody else's; rates are a second's. */
export interface DiskRates {
  readonly address: string;
  readonly node: string;
  readonly up: boolean;
  readonly reads: number;
  readonly writes: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly retransmissions: number;
  /** Within which so many of a hundred answers came back. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly total: {
    readonly commands: number;
    readonly readBytes: number;
    readonly writtenBytes: number;
    readonly retransmissions: number;
    readonly overflows: number;
  };
  readonly paths: readonly Omit<PathSnapshot, "trips">[];
}

/** Frames dropped for one reason. */
export interface DropRates {
  readonly reason: string;
  readonly total: number;
  readonly rate: number;
}

/** All of it. */
export interface Overview {
  readonly version: string;
  readonly name: string;
  readonly pid: number;
  readonly startedMs: number;
  readonly atMs: number;
  /** What rates are taken over. */
  readonly seconds: number;
  /** Of what is served, or where nothing is of the disks. */
  readonly all: Rates;
  readonly exports: readonly (Rates & { readonly address: string; readonly path: string })[];
  /** Those that did most, at most `INITIATORS_SHOWN`. */
  readonly initiators: readonly (Rates & { readonly mac: string; readonly most: string })[];
  /** How many there are in all. */
  readonly initiatorCount: number;
  readonly interfaces: readonly (Rates & {
    readonly name: string;
    /** Frames that one look brought, on the average. */
    readonly batch: number;
    readonly overflows: number;
  })[];
  readonly loads: readonly LoadRates[];
  readonly drops: readonly DropRates[];
  readonly disks: readonly DiskRates[];
}

/** Initiators, and pairs of them and exports, that are shown. */
export const INITIATORS_SHOWN = 200;

/** What is drawn of each thing over time, in the order of a history's numbers. */
export const SERIES = ["commands", "bytes", "p50Ms", "p99Ms", "depth", "faults"] as const;

/** The past of one thing, a number a second for each of `SERIES`; the last is now. */
export interface Past {
  /** Milliseconds between two numbers. */
  readonly stepMs: number;
  readonly series: Readonly<Record<typeof SERIES[number], readonly number[]>>;
}
