// Makes of one snapshot after the other what happens now, and keeps what happened in the last ten
// minutes, in rings that never grow.

import { TIME_BUCKETS, TIME_WORDS, timePercentileMs, timePercentilesMs } from "../time_buckets.ts";
import { DROP_NAMES } from "../target/target.ts";
import { INITIATORS_SHOWN, SERIES } from "./overview.ts";
import type { DiskRates, LoadRates, Overview, Past, Rates } from "./overview.ts";
import type { DiskSnapshot, LoadSnapshot, Snapshot, Times, Work } from "./snapshot.ts";

/** Numbers of a ring: ten minutes of seconds. */
const STEPS = 600;
/** Things whose past is kept; of others only the present is known. */
const RINGS_MAX = 512;
/** The name of the ring of all together. */
export const ALL = "all";

/** What is remembered of one thing. */
interface Track {
  work: Work;
  readonly times: Float64Array;
  ring: Float32Array | undefined;
  /** The last snapshot that had it. */
  seen: number;
}

const NOTHING: Work = {
  commands: [],
  readBytes: 0,
  writtenBytes: 0,
  errors: [],
  retransmissions: 0,
  overlaps: 0,
  gathered: 0,
  merged: 0,
  inHand: 0,
  diskMs: 0,
  diskCommands: 0,
  drops: [],
};

/** What a histogram has counted since it was looked at. */
class PassedTimes {
  /** All of it together. */
  ms = 0;
  readonly #counts = new Float64Array(TIME_BUCKETS);
  #all = 0;
  #first = 0;

  /** Nothing. */
  reset(): void {
    this.ms = 0;
    this.#all = 0;
  }

  /**
   * What several histograms together have counted.
   *
   * @param before As it was, `TIME_WORDS` numbers; it becomes what it is now.
   */
  since(before: Float64Array, times: readonly Times[]): void {
    this.#all = 0;
    this.#first = TIME_BUCKETS;
    for (let i = 0; i < TIME_WORDS; i++) {
      let now = 0;
      for (let k = 0; k < times.length; k++) now += times[k]![i]!;
      // What began anew has done all of it since.
      const passed = Math.max(0, now - before[i]!);
      before[i] = now;
      if (i === TIME_BUCKETS) this.ms = passed;
      else {
        this.#counts[i] = passed;
        this.#all += passed;
        if (passed > 0 && i < this.#first) this.#first = i;
      }
    }
  }

  /** Within which 50 and 99 of a hundred were answered. */
  percentilesMs(): readonly [number, number] {
    const [p50Ms, p99Ms] = timePercentilesMs(this.#counts, this.#all, this.#first, [50, 99]);
    return [p50Ms!, p99Ms!];
  }
}

/** The last ten minutes of a process. */
export class History {
  readonly #stepMs: number;
  readonly #tracks = new Map<string, Track>();
  #disks = new Map<string, DiskSnapshot>();
  #drops: number[] = [];
  /** Of one thing after the other. */
  readonly #passed = new PassedTimes();
  #before: Snapshot | undefined;
  #overview: Overview | undefined;
  /** Snapshots taken. */
  #count = 0;
  #rings = 0;

  /** @param stepMs How often `take` is called. */
  constructor(stepMs: number) {
    this.#stepMs = stepMs;
  }

  /** What happens now; undefined before the first snapshot. */
  get overview(): Overview | undefined {
    return this.#overview;
  }

  /** Takes a first snapshot, from which on it counts. */
  begin(snapshot: Snapshot): void {
    this.take(snapshot);
    this.#count = 0;
    this.#overview = undefined;
  }

  /** Takes the next snapshot, and says what has happened since the last. */
  take(snapshot: Snapshot): Overview {
    const began = this.#before?.atMs ?? snapshot.startedMs;
    const seconds = Math.max(0.001, (snapshot.atMs - began) / 1000);
    this.#count++;
    const exports = snapshot.exports.map(({ address, path, work, answers }) => ({
      address,
      path,
      ...this.#rates(address, work, () => Object.values(answers), seconds),
    }));
    const loads = this.#loadRates(snapshot.loads, seconds);
    const most = mostOf(loads);
    const initiators = snapshot.initiators.map((one) => ({
      mac: one.mac,
      most: most.get(one.mac) ?? "",
      // Added up only where something has happened.
      ...this.#rates(one.mac, one.work, () => [one.answers], seconds),
    }));
    const interfaces = snapshot.interfaces.map((link) => ({
      name: link.name,
      batch: round(link.received / Math.max(1, link.batches.reduce((sum, n) => sum + n, 0))),
      overflows: link.overflows,
      ...this.#rates(`interface ${link.name}`, link.work, () => [link.answers], seconds),
    }));
    const parts = snapshot.exports.length > 0
      ? snapshot.interfaces.map(({ work, answers }) => ({ work, times: [answers] }))
      : snapshot.disks.map((disk) => ({
        work: workWith(disk),
        times: disk.paths.map(({ trips }) => trips),
      }));
    const { version, name, pid, startedMs, atMs } = snapshot;
    this.#overview = {
      ...{ version, name, pid, startedMs, atMs, seconds: round(seconds) },
      all: this.#rates(
        ALL,
        addUp(parts.map(({ work }) => work)),
        () => parts.flatMap(({ times }) => times),
        seconds,
      ),
      ...{ exports, interfaces },
      initiators: initiators.sort((a, b) => busyness(b) - busyness(a)).slice(0, INITIATORS_SHOWN),
      initiatorCount: snapshot.initiators.length,
      loads: loads.slice(0, INITIATORS_SHOWN),
      drops: this.#dropRates(snapshot, seconds),
      disks: this.#diskRates(snapshot.disks, seconds),
    };
    this.#before = snapshot;
    this.#forget();
    return this.#overview;
  }

  /**
   * The past of one thing: an export's address, an initiator's MAC, `interface` and a name, `disk` and
   * an address, or `ALL`; undefined when none is kept.
   */
  past(name: string): Past | undefined {
    const ring = this.#tracks.get(name)?.ring;
    if (ring === undefined) return undefined;
    const steps = Math.min(this.#count, STEPS);
    const series: Partial<Record<typeof SERIES[number], number[]>> = {};
    SERIES.forEach((key, k) => {
      const numbers: number[] = [];
      for (let i = this.#count - steps; i < this.#count; i++) {
        numbers.push(round(ring[(i % STEPS) * SERIES.length + k]!));
      }
      series[key] = numbers;
    });
    return { stepMs: this.#stepMs, series: series as Past["series"] };
  }

  #track(name: string): Track {
    let track = this.#tracks.get(name);
    if (track === undefined) {
      track = { work: NOTHING, times: new Float64Array(TIME_WORDS), ring: undefined, seen: 0 };
      this.#tracks.set(name, track);
    }
    track.seen = this.#count;
    return track;
  }

  #rates(name: string, work: Work, times: () => readonly Times[], seconds: number): Rates {
    const track = this.#track(name);
    const before = track.work;
    const all = sumOf(work.commands);
    const allBefore = sumOf(before.commands);
    const passed = this.#passed;
    // What has not answered since has not moved.
    if (all === allBefore) passed.reset();
    else passed.since(track.times, times());
    const [p50Ms, p99Ms] = passed.percentilesMs();
    track.work = work;
    const rate = (now: number, then = 0) => round(Math.max(0, now - then) / seconds);
    // Of nothing at all there are not even kinds.
    const kind = (which: number) => rate(work.commands[which] ?? 0, before.commands[which]);
    const [errors, drops] = [sumOf(work.errors), sumOf(work.drops)];
    const atDisk = work.diskCommands - before.diskCommands;
    const [reads, writes] = [kind(0), kind(1)];
    const rates: Rates = {
      ...{ reads, writes, others: rate(all - transfers(work), allBefore - transfers(before)) },
      readBytes: rate(work.readBytes, before.readBytes),
      writtenBytes: rate(work.writtenBytes, before.writtenBytes),
      inHand: work.inHand,
      // Little's law: the time that all of them took together, by the time that passed.
      depth: round(passed.ms / 1000 / seconds),
      p50Ms: round(p50Ms),
      p99Ms: round(p99Ms),
      diskMs: atDisk > 0 ? round(Math.max(0, work.diskMs - before.diskMs) / atDisk) : 0,
      errors: rate(errors, sumOf(before.errors)),
      drops: rate(drops, sumOf(before.drops)),
      retransmissions: rate(work.retransmissions, before.retransmissions),
      total: {
        commands: all,
        readBytes: work.readBytes,
        writtenBytes: work.writtenBytes,
        ...{ errors, drops },
        retransmissions: work.retransmissions,
      },
    };
    this.#record(track, name === ALL || all > allBefore, [
      rates.reads + rates.writes + rates.others,
      rates.readBytes + rates.writtenBytes,
      rates.p50Ms,
      rates.p99Ms,
      Math.max(rates.depth, rates.inHand),
      rates.errors + rates.drops + rates.retransmissions,
    ]);
    return rates;
  }

  /** Writes the present into a ring; who has never done anything needs none. */
  #record(track: Track, moved: boolean, numbers: readonly number[]): void {
    if (track.ring === undefined) {
      if (!moved || this.#rings >= RINGS_MAX) return;
      track.ring = new Float32Array(STEPS * SERIES.length);
      this.#rings++;
    }
    const at = ((this.#count - 1) % STEPS) * SERIES.length;
    for (let i = 0; i < numbers.length; i++) track.ring[at + i] = numbers[i]!;
  }

  #loadRates(loads: readonly LoadSnapshot[], seconds: number): LoadRates[] {
    const moved: LoadRates[] = [];
    const earlier = this.#before?.loads ?? [];
    let named: Map<string, LoadSnapshot> | undefined;
    // They keep their order; where one is new, those behind it are looked for by their names.
    const beforeOf = (load: LoadSnapshot, i: number) => {
      const there = earlier[i];
      if (there?.mac === load.mac && there.address === load.address) return there;
      named ??= new Map(earlier.map((one) => [nameOfLoad(one), one]));
      return named.get(nameOfLoad(load));
    };
    for (let i = 0; i < loads.length; i++) {
      const load = loads[i]!;
      // One that has not moved is the same.
      if (load === earlier[i] && load.inHand === 0) continue;
      const before = beforeOf(load, i);
      const count = load.reads + load.writes + load.others;
      const passed = count -
        (before === undefined ? 0 : before.reads + before.writes + before.others);
      if (passed === 0 && load.inHand === 0) continue;
      // Less than before: another export has the address now.
      const commands = Math.max(0, passed);
      const since = (of: "readBytes" | "writtenBytes" | "answerMs") =>
        Math.max(0, load[of] - (before === undefined ? 0 : before[of]));
      moved.push({
        mac: load.mac,
        address: load.address,
        commands: round(commands / seconds),
        readBytes: round(since("readBytes") / seconds),
        writtenBytes: round(since("writtenBytes") / seconds),
        meanMs: round(commands === 0 ? 0 : since("answerMs") / commands),
        inHand: load.inHand,
      });
    }
    return moved.sort((a, b) => b.commands - a.commands);
  }

  #dropRates({ interfaces }: Snapshot, seconds: number): Overview["drops"] {
    const names = [...DROP_NAMES, "by the kernel, too fast to be taken", "that could not be sent"];
    const totals = names.map((_, i) =>
      interfaces.reduce(
        (sum, { work, overflows, sendFailures }) =>
          sum + (work.drops[i] ?? (i === DROP_NAMES.length ? overflows : sendFailures)),
        0,
      )
    );
    const before = this.#drops;
    this.#drops = totals;
    return totals.map((total, i) => ({
      reason: names[i]!,
      total,
      rate: round(Math.max(0, total - (before[i] ?? 0)) / seconds),
    })).filter(({ total }) => total > 0);
  }

  #diskRates(disks: readonly DiskSnapshot[], seconds: number): DiskRates[] {
    const now = new Map(disks.map((disk) => [disk.address, disk]));
    const rates = disks.map((disk): DiskRates => {
      const before = this.#disks.get(disk.address);
      const rate = (of: (disk: DiskSnapshot) => number) =>
        round(Math.max(0, of(disk) - (before === undefined ? 0 : of(before))) / seconds);
      const { address, node, up, commands, readBytes, writtenBytes } = disk;
      const { retransmissions, overflows } = disk;
      const trips = tripsSince(disk, before);
      const paths = disk.paths.map(({ trips: _, ...path }) => path);
      const found: DiskRates = {
        ...{ address, node, up, paths },
        reads: rate((one) => one.reads),
        writes: rate((one) => one.writes),
        readBytes: rate((one) => one.readBytes),
        writtenBytes: rate((one) => one.writtenBytes),
        retransmissions: rate((one) => one.retransmissions),
        p50Ms: round(timePercentileMs(trips, 50)),
        p99Ms: round(timePercentileMs(trips, 99)),
        total: { commands, readBytes, writtenBytes, retransmissions, overflows },
      };
      this.#record(this.#track(`disk ${address}`), true, [
        found.reads + found.writes,
        found.readBytes + found.writtenBytes,
        found.p50Ms,
        found.p99Ms,
        paths.reduce((sum, path) => sum + (path.up ? path.window : 0), 0),
        found.retransmissions,
      ]);
      return found;
    });
    this.#disks = now;
    return rates;
  }

  /** Forgets what is not there any more. */
  #forget(): void {
    for (const [name, track] of this.#tracks) {
      if (track.seen === this.#count) continue;
      if (track.ring !== undefined) this.#rings--;
      this.#tracks.delete(name);
    }
  }
}

/** What was done with a disk of somebody else's. */
function workWith({ reads, writes, readBytes, writtenBytes, retransmissions }: DiskSnapshot): Work {
  return { ...NOTHING, commands: [reads, writes], readBytes, writtenBytes, retransmissions };
}

function sumOf(numbers: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < numbers.length; i++) sum += numbers[i]!;
  return sum;
}

/** Commands that read or write. */
function transfers({ commands }: Work): number {
  return (commands[0] ?? 0) + (commands[1] ?? 0);
}

/** The round trips of all paths to a disk since it was seen last. */
function tripsSince(disk: DiskSnapshot, before: DiskSnapshot | undefined): Times {
  const passed = new Float64Array(TIME_WORDS);
  for (const path of disk.paths) {
    const then = before?.paths.find((one) =>
      one.mac === path.mac && one.interface === path.interface
    );
    for (let i = 0; i < TIME_WORDS; i++) {
      passed[i] = passed[i]! + Math.max(0, path.trips[i]! - (then?.trips[i] ?? 0));
    }
  }
  return passed;
}

function nameOfLoad({ mac, address }: LoadSnapshot): string {
  return `${mac} ${address}`;
}

/** The export that each initiator asks most of. */
function mostOf(loads: readonly LoadRates[]): Map<string, string> {
  const most = new Map<string, string>();
  // The busiest come first.
  for (const { mac, address } of loads) if (!most.has(mac)) most.set(mac, address);
  return most;
}

function busyness({ reads, writes, others, inHand, total }: Rates): number {
  return (reads + writes + others + inHand) * 2 ** 53 + total.commands;
}

function addUp(works: readonly Work[]): Work {
  const sum = (of: (work: Work) => number) => works.reduce((total, work) => total + of(work), 0);
  const sums = (of: (work: Work) => readonly number[]) =>
    works.length === 0 ? [] : of(works[0]!).map((_, i) => sum((work) => of(work)[i]!));
  return {
    commands: sums((work) => work.commands),
    readBytes: sum((work) => work.readBytes),
    writtenBytes: sum((work) => work.writtenBytes),
    errors: sums((work) => work.errors),
    retransmissions: sum((work) => work.retransmissions),
    overlaps: sum((work) => work.overlaps),
    gathered: sum((work) => work.gathered),
    merged: sum((work) => work.merged),
    inHand: sum((work) => work.inHand),
    diskMs: sum((work) => work.diskMs),
    diskCommands: sum((work) => work.diskCommands),
    drops: sums((work) => work.drops),
  };
}

/** Enough to be shown; a number a second of each thing goes over the wire. */
function round(value: number): number {
  return value >= 1000 ? Math.round(value) : Number(value.toPrecision(4));
}
