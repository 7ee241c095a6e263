// A snapshot as metrics: which families there are, their names, labels and help.

import { COMMAND_KINDS, ERROR_KINDS } from "../target/metrics.ts";
import { DROP_NAMES } from "../target/target.ts";
import { TIME_BUCKETS } from "../time_buckets.ts";
import { binaryEndsMs, CoarseTimes, Exposition, labelsOf } from "./exposition.ts";
import type { Labels } from "./exposition.ts";
import type { LoadSnapshot, PathSnapshot, Snapshot, Work } from "./snapshot.ts";

/** 32 µs to 8.4 s, and for each of many initiators fewer. */
const FINE = new CoarseTimes([...binaryEndsMs(5, 13, 2), ...binaryEndsMs(14, 23, 1)]);
const ROUGH = new CoarseTimes(binaryEndsMs(6, 23, 3));
/** Pairs of an initiator and an export that are told of one by one. */
const LOADS_MAX = 1500;

/** Frames of a turn up to 1, 3, 7 … */
const BATCH_ENDS = [1, 3, 7, 15, 31, 63, 127];

/** What a work is told of, with a name before it and labels. */
interface Subject {
  readonly labels: Labels;
  readonly work: Work;
}

/** All of a snapshot, as Prometheus reads it. */
export function exposeSnapshot(snapshot: Snapshot, openMetrics: boolean): string {
  const out = new Exposition(openMetrics);
  const { version, name } = snapshot;
  out.family("aoe_info", "gauge", "Always 1; which aoe this is.");
  out.sample(labelsOf(["version", version], ["name", name]), 1);
  out.family("aoe_start_time_seconds", "gauge", "When it was started, in seconds since 1970.");
  out.sample("", snapshot.startedMs / 1000);
  if (snapshot.exports.length > 0) {
    exposeExports(out, snapshot);
    exposeInterfaces(out, snapshot);
    exposeInitiators(out, snapshot);
    exposeLoads(out, snapshot.loads);
  }
  if (snapshot.disks.length > 0) exposeDisks(out, snapshot);
  return out.text();
}

function exposeExports(out: Exposition, { exports }: Snapshot): void {
  out.family("aoe_target_export_info", "gauge", "Always 1; what stands behind an export.");
  for (const ex of exports) out.sample(labelsOf(["export", ex.address], ["path", ex.path]), 1);
  const subjects = exports.map((ex): Subject => ({
    labels: labelsOf(["export", ex.address]),
    work: ex.work,
  }));
  exposeWork(out, "aoe_target", subjects, "of an export", true);
  out.family(
    "aoe_target_answer_seconds",
    "histogram",
    "From taking a frame to handing its answer to the kernel.",
  );
  for (const { address, answers } of exports) {
    for (const [kind, times] of Object.entries(answers)) {
      exposeTimes(out, FINE, labelsOf(["export", address], ["kind", kind]), times);
    }
  }
  out.family("aoe_target_disk_seconds", "histogram", "The disk's share of it.");
  for (const { address, disk } of exports) {
    for (const [kind, times] of Object.entries(disk)) {
      exposeTimes(out, FINE, labelsOf(["export", address], ["kind", kind]), times);
    }
  }
}

function exposeInterfaces(out: Exposition, { interfaces }: Snapshot): void {
  const subjects = interfaces.map((link): Subject => ({
    labels: labelsOf(["interface", link.name]),
    work: link.work,
  }));
  exposeWork(out, "aoe_target_interface", subjects, "by an interface", false);
  const count = (name: string, help: string, of: (link: Snapshot["interfaces"][0]) => number) => {
    out.family(`aoe_target_interface_${name}_total`, "counter", help);
    for (const link of interfaces) out.sample(labelsOf(["interface", link.name]), of(link));
  };
  count("received_frames", "Frames taken from an interface.", (link) => link.received);
  count(
    "ring_overflows",
    "Frames that the kernel dropped: they came faster than they could be taken.",
    (link) => link.overflows,
  );
  count("send_failures", "Answers that could not be sent.", (link) => link.sendFailures);
  out.family(
    "aoe_target_interface_batch_frames",
    "histogram",
    "Frames that one look at an interface brought.",
  );
  for (const link of interfaces) {
    out.histogram(labelsOf(["interface", link.name]), link.batches, BATCH_ENDS, link.received);
  }
  out.family(
    "aoe_target_interface_answer_seconds",
    "histogram",
    "From taking a frame to handing its answer to the kernel, by interface.",
  );
  for (const { name, answers } of interfaces) {
    exposeTimes(out, FINE, labelsOf(["interface", name]), answers);
  }
}

function exposeInitiators(out: Exposition, { initiators }: Snapshot): void {
  const subjects = initiators.map((one): Subject => ({
    labels: labelsOf(["initiator", one.mac]),
    work: one.work,
  }));
  exposeWork(out, "aoe_target_initiator", subjects, "of an initiator", false);
  out.family(
    "aoe_target_initiator_answer_seconds",
    "histogram",
    "From taking a frame to handing its answer to the kernel, by initiator.",
  );
  for (const { mac, answers } of initiators) {
    exposeTimes(out, ROUGH, labelsOf(["initiator", mac]), answers);
  }
}

/** @param all Whether kinds and reasons of which there were none are told of. */
function exposeWork(
  out: Exposition,
  prefix: string,
  subjects: readonly Subject[],
  whose: string,
  all: boolean,
): void {
  const count = (name: string, help: string, of: (work: Work) => number) => {
    out.family(`${prefix}_${name}_total`, "counter", `${help} ${whose}.`);
    for (const { labels, work } of subjects) out.sample(labels, of(work));
  };
  const countEach = (
    ...[name, help, label, names, of]: [
      string,
      string,
      string,
      readonly string[],
      (work: Work) => readonly number[],
    ]
  ) => {
    out.family(`${prefix}_${name}_total`, "counter", `${help} ${whose}.`);
    for (const { labels, work } of subjects) {
      of(work).forEach((value, i) => {
        if (names[i] === "" || value === 0 && !(all && label === "kind")) return;
        out.sample(`${labels},${labelsOf([label, names[i]!])}`, value);
      });
    }
  };
  countEach("commands", "Commands answered", "kind", COMMAND_KINDS, (work) => work.commands);
  count("read_bytes", "Bytes read", (work) => work.readBytes);
  count("written_bytes", "Bytes written", (work) => work.writtenBytes);
  countEach("errors", "Answers that were errors", "kind", ERROR_KINDS, (work) => work.errors);
  count(
    "retransmissions",
    "Commands that came again, with the same tag and sectors,",
    (work) => work.retransmissions,
  );
  count("overlaps", "Commands that waited for one that they overlap", (work) => work.overlaps);
  count("gathered_reads", "Reads sent straight from the page cache", (work) => work.gathered);
  count("merged_commands", "Commands the disk did with a neighbour", (work) => work.merged);
  countEach("dropped_frames", "Frames dropped", "reason", DROP_NAMES, (work) => work.drops);
  out.family(`${prefix}_commands_in_hand`, "gauge", `Commands taken and not answered ${whose}.`);
  for (const { labels, work } of subjects) out.sample(labels, work.inHand);
  // Of several at once the time of each: by their number, the mean; by the time that passed, how many.
  const seconds = "Seconds of commands at the disk, added up,";
  count("disk_command_seconds", seconds, (work) => work.diskMs / 1000);
  count("disk_commands", "Commands that the disk has ended", (work) => work.diskCommands);
}

function exposeLoads(out: Exposition, loads: readonly LoadSnapshot[]): void {
  const told = loads.length <= LOADS_MAX ? loads : boundLoads(loads);
  const labels = told.map((load) => labelsOf(["export", load.address], ["initiator", load.mac]));
  const count = (name: string, help: string, of: (load: LoadSnapshot) => number) => {
    out.family(`aoe_target_load_${name}_total`, "counter", help);
    told.forEach((load, i) => out.sample(labels[i]!, of(load)));
  };
  count(
    "commands",
    "Commands that an initiator has asked of an export's disk.",
    (load) => load.reads + load.writes + load.others,
  );
  count("read_bytes", "Bytes that an initiator has read of an export.", (load) => load.readBytes);
  count(
    "written_bytes",
    "Bytes that an initiator has written to an export.",
    (load) => load.writtenBytes,
  );
}

/** The first pairs, and what is left by export: always the same ones, so that no series jumps. */
function boundLoads(loads: readonly LoadSnapshot[]): LoadSnapshot[] {
  const told: LoadSnapshot[] = [];
  const rest = new Map<string, LoadSnapshot>();
  for (const load of loads) {
    if (load.mac !== "other" && told.length < LOADS_MAX) told.push(load);
    else {
      const before = rest.get(load.address);
      rest.set(load.address, {
        ...load,
        mac: "other",
        reads: load.reads + (before?.reads ?? 0),
        writes: load.writes + (before?.writes ?? 0),
        others: load.others + (before?.others ?? 0),
        readBytes: load.readBytes + (before?.readBytes ?? 0),
        writtenBytes: load.writtenBytes + (before?.writtenBytes ?? 0),
      });
    }
  }
  return [...told, ...rest.values()];
}

function exposeDisks(out: Exposition, { disks }: Snapshot): void {
  type Disk = Snapshot["disks"][0];
  const each = (
    type: "counter" | "gauge",
    name: string,
    help: string,
    of: (disk: Disk) => number,
  ) => {
    out.family(`aoe_initiator_${name}${type === "counter" ? "_total" : ""}`, type, help);
    for (const disk of disks) out.sample(labelsOf(["disk", disk.address]), of(disk));
  };
  each("gauge", "disk_up", "Whether the disk answers.", ({ up }) => up ? 1 : 0);
  each("counter", "reads", "Requests to read that have ended.", (disk) => disk.reads);
  each("counter", "writes", "Requests to write that have ended.", (disk) => disk.writes);
  each("counter", "read_bytes", "Bytes read.", (disk) => disk.readBytes);
  each("counter", "written_bytes", "Bytes written.", (disk) => disk.writtenBytes);
  each("counter", "commands", "Commands sent.", (disk) => disk.commands);
  each("counter", "retransmissions", "Commands sent again.", (disk) => disk.retransmissions);
  each(
    "counter",
    "ring_overflows",
    "Frames that the kernel dropped: they came faster than they could be taken.",
    (disk) => disk.overflows,
  );
  const path = (name: string, help: string, of: (path: PathSnapshot) => number) => {
    out.family(`aoe_initiator_path_${name}`, "gauge", help);
    for (const disk of disks) {
      for (const one of disk.paths) out.sample(labelsOfPath(disk.address, one), of(one));
    }
  };
  path("up", "Whether the path is used.", ({ up }) => up ? 1 : 0);
  path("window_commands", "Commands that may be on their way at once.", ({ window }) => window);
  path("round_trip_seconds", "Smoothed round trip.", (one) => one.roundTripMs / 1000);
  out.family(
    "aoe_initiator_path_answer_seconds",
    "histogram",
    "From sending a command to the disk's answer.",
  );
  for (const { address, paths } of disks) {
    for (const one of paths) exposeTimes(out, FINE, labelsOfPath(address, one), one.trips);
  }
  path("timeout_seconds", "After which a command is sent again.", (one) => one.timeoutMs / 1000);
  path("frame_bytes", "Largest frame.", (one) => one.frameBytes);
}

function labelsOfPath(disk: string, path: PathSnapshot): Labels {
  return labelsOf(["disk", disk], ["interface", path.interface], ["target", path.mac]);
}

function exposeTimes(
  out: Exposition,
  coarse: CoarseTimes,
  labels: Labels,
  times: ArrayLike<number>,
): void {
  out.histogram(labels, coarse.fold(times), coarse.ends, times[TIME_BUCKETS]! / 1000);
}
