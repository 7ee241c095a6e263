// Reads the tables of a target's threads (core/target/metrics.ts) into a snapshot. An export is in one
// thread; interfaces and initiators are in all of them, and are added up.

import { formatAddress } from "../../wire/aoe.ts";
import {
  COMMAND_KINDS,
  ERROR_KINDS,
  HISTOGRAM_DISK_READ,
  HISTOGRAM_DISK_WRITE,
  HISTOGRAM_OTHER,
  HISTOGRAM_READ,
  HISTOGRAM_WRITE,
  LOAD_ANSWER_MS,
  LOAD_ENDED,
  LOAD_ERRORS,
  LOAD_OTHERS,
  LOAD_READ_BYTES,
  LOAD_READS,
  LOAD_TAKEN,
  LOAD_WRITES,
  LOAD_WRITTEN_BYTES,
  ROW_COMMANDS,
  ROW_DISK_COMMANDS,
  ROW_DISK_MS,
  ROW_DROPS,
  ROW_ENDED,
  ROW_ERRORS,
  ROW_GATHERED,
  ROW_MERGED,
  ROW_OVERLAPS,
  ROW_READ_BYTES,
  ROW_RETRANSMISSIONS,
  ROW_TAKEN,
  ROW_WRITTEN_BYTES,
} from "../target/metrics.ts";
import type { TargetMetrics } from "../target/metrics.ts";
import { DROP_NAMES } from "../target/target.ts";
import { TIME_WORDS } from "../time_buckets.ts";
import type {
  ExportSnapshot,
  InitiatorSnapshot,
  InterfaceSnapshot,
  LoadSnapshot,
  Snapshot,
  Work,
} from "./snapshot.ts";

/** Whoever has no row of their own. */
const OTHERS = "other";

/** One row of one thread. */
interface Row {
  readonly metrics: TargetMetrics;
  readonly number: number;
  readonly at: number;
}

/** What is read of a thread's tables again and again, and seldom changes. */
interface Known {
  /** By an initiator's number: whoever has it keeps it. */
  readonly macs: string[];
  /** By a load's number, as it was when it last moved. */
  readonly loads: LoadSnapshot[];
}
const known = new WeakMap<TargetMetrics, Known>();

/**
 * Reads all tables. What has not moved since the tables were last read is the same object.
 *
 * @param pathOf What stands behind an export.
 */
export function readTarget(
  threads: readonly TargetMetrics[],
  pathOf: (address: string) => string,
): Pick<Snapshot, "exports" | "interfaces" | "initiators" | "loads"> {
  return {
    exports: threads.flatMap((metrics) => readExports(metrics, pathOf))
      .sort((a, b) => compareAddresses(a.address, b.address)),
    interfaces: readInterfaces(threads),
    initiators: readInitiators(threads),
    loads: threads.flatMap(readLoads),
  };
}

/** Orders addresses by shelf and slot. */
function compareAddresses(a: string, b: string): number {
  const [shelf = 0, slot = 0] = a.slice(1).split(".").map(Number);
  const [otherShelf = 0, otherSlot = 0] = b.slice(1).split(".").map(Number);
  return shelf - otherShelf || slot - otherSlot;
}

function readExports(
  metrics: TargetMetrics,
  pathOf: (address: string) => string,
): ExportSnapshot[] {
  const found: ExportSnapshot[] = [];
  for (let number = 0; number < metrics.exports; number++) {
    const who = metrics.exportAt(number);
    if (who === undefined) continue;
    const address = formatAddress(who.shelf, who.slot);
    const row = { metrics, number, at: metrics.rowOfExport(number) };
    const times = (histogram: number) => timesOf([row], histogram);
    found.push({
      address,
      path: pathOf(address),
      work: workOf([row]),
      answers: {
        read: times(HISTOGRAM_READ),
        write: times(HISTOGRAM_WRITE),
        other: times(HISTOGRAM_OTHER),
      },
      disk: { read: times(HISTOGRAM_DISK_READ), write: times(HISTOGRAM_DISK_WRITE) },
    });
  }
  return found;
}

function readInterfaces(threads: readonly TargetMetrics[]): InterfaceSnapshot[] {
  const rows = new Map<string, Row[]>();
  for (const metrics of threads) {
    for (let number = 0; number < metrics.links; number++) {
      const name = metrics.linkName(number);
      if (name !== "") addRow(rows, name, { metrics, number, at: metrics.rowOfLink(number) });
    }
  }
  return [...rows].map(([name, same]) => {
    const counts = same.map(({ metrics, number }) => metrics.linkCounts(number));
    return {
      name,
      work: workOf(same),
      answers: timesOf(same, 0),
      received: sum(counts, (count) => count.received),
      batches: counts[0]!.batches.map((_, i) => sum(counts, (count) => count.batches[i]!)),
      overflows: sum(counts, (count) => count.overflows),
      sendFailures: sum(counts, (count) => count.sendFailures),
    };
  });
}

function readInitiators(threads: readonly TargetMetrics[]): InitiatorSnapshot[] {
  const rows = new Map<string, Row[]>();
  for (const metrics of threads) {
    for (let number = 0; number < metrics.initiatorsUsed; number++) {
      const row = { metrics, number, at: metrics.rowOfInitiator(number) };
      if (number > 0 || metrics.words[row.at + ROW_TAKEN]! > 0) addRow(rows, macOf(row), row);
    }
  }
  return [...rows].map(([mac, same]) => ({
    mac,
    work: workOf(same),
    // Added up when it is asked for: most have done nothing in a second.
    get answers() {
      return timesOf(same, 0);
    },
  }));
}

function readLoads(metrics: TargetMetrics): LoadSnapshot[] {
  const found: LoadSnapshot[] = [];
  const addresses: (string | undefined)[] = [];
  for (let number = 0; number < metrics.exports; number++) {
    const who = metrics.exportAt(number);
    if (who !== undefined) addresses[number] = formatAddress(who.shelf, who.slot);
  }
  const { words } = metrics;
  const { loads } = knownOf(metrics);
  for (let number = 0; number < metrics.loadsUsed; number++) {
    const at = metrics.rowOfLoad(number);
    const address = addresses[metrics.loadExport(number)];
    const taken = words[at + LOAD_TAKEN]!;
    if (address === undefined || taken === 0) continue;
    const inHand = Math.max(0, taken - words[at + LOAD_ENDED]!);
    const before = loads[number];
    // The time is what is written last of an answer.
    const same = before !== undefined && before.inHand === inHand &&
      before.answerMs === words[at + LOAD_ANSWER_MS] && before.address === address &&
      before.reads === words[at + LOAD_READS] && before.writes === words[at + LOAD_WRITES] &&
      before.others === words[at + LOAD_OTHERS];
    found.push(
      same ? before : loads[number] = {
        mac: macOf({ metrics, number: metrics.loadInitiator(number), at }),
        address,
        reads: words[at + LOAD_READS]!,
        writes: words[at + LOAD_WRITES]!,
        others: words[at + LOAD_OTHERS]!,
        readBytes: words[at + LOAD_READ_BYTES]!,
        writtenBytes: words[at + LOAD_WRITTEN_BYTES]!,
        errors: words[at + LOAD_ERRORS]!,
        answerMs: words[at + LOAD_ANSWER_MS]!,
        inHand,
      },
    );
  }
  return found;
}

function knownOf(metrics: TargetMetrics): Known {
  let found = known.get(metrics);
  if (found === undefined) {
    found = { macs: [], loads: [] };
    known.set(metrics, found);
  }
  return found;
}

function macOf({ metrics, number }: Row): string {
  return knownOf(metrics).macs[number] ??= metrics.macAt(number)?.match(/../g)?.join(":") ?? OTHERS;
}

function addRow(rows: Map<string, Row[]>, name: string, row: Row): void {
  const same = rows.get(name);
  if (same === undefined) rows.set(name, [row]);
  else same.push(row);
}

function workOf(rows: readonly Row[]): Work {
  const word = (which: number) => {
    let total = 0;
    for (let i = 0; i < rows.length; i++) total += rows[i]!.metrics.words[rows[i]!.at + which]!;
    return total;
  };
  const words = (from: number, names: readonly unknown[]) => names.map((_, i) => word(from + i));
  return {
    commands: words(ROW_COMMANDS, COMMAND_KINDS),
    readBytes: word(ROW_READ_BYTES),
    writtenBytes: word(ROW_WRITTEN_BYTES),
    errors: words(ROW_ERRORS, ERROR_KINDS),
    retransmissions: word(ROW_RETRANSMISSIONS),
    overlaps: word(ROW_OVERLAPS),
    gathered: word(ROW_GATHERED),
    merged: word(ROW_MERGED),
    // The thread may be between the two.
    inHand: Math.max(0, word(ROW_TAKEN) - word(ROW_ENDED)),
    diskMs: word(ROW_DISK_MS),
    diskCommands: word(ROW_DISK_COMMANDS),
    drops: words(ROW_DROPS, DROP_NAMES),
  };
}

/** The histogram of a row: where it lies, or a sum. */
function timesOf(rows: readonly Row[], histogram: number): ArrayLike<number> {
  const parts = rows.map(({ metrics, at }) => {
    const from = metrics.histogram(at, histogram);
    return metrics.words.subarray(from, from + TIME_WORDS);
  });
  if (parts.length === 1) return parts[0]!;
  const all = new Float64Array(TIME_WORDS);
  for (const part of parts) for (let i = 0; i < TIME_WORDS; i++) all[i] = all[i]! + part[i]!;
  return all;
}

function sum<Item>(items: readonly Item[], of: (item: Item) => number): number {
  let total = 0;
  for (const item of items) total += of(item);
  return total;
}
