// `aoe copy SRC DST`: opens both ends, starts the thread that copies (loops/copy/driver.ts), keeps
// what it tells for a later run to go on, and says in the end what became of it.

import { sessionSettings } from "./arguments.ts";
import { admitDisk } from "../control/admission.ts";
import { explainReservation } from "../control/attach/reservation.ts";

import {
  openCopySource,
  openDestination,
  refuseImageForDisk,
  standardEnd,
} from "../control/copy_ends.ts";
import { openInitiatorAids } from "../control/wire_aids.ts";
import { InitiatorThread } from "../control/initiator_thread.ts";
import { findInterfaces } from "../control/network_interfaces.ts";
import { syncFolderOf } from "../control/own_files.ts";
import type { CopyConfig, CopyEndConfig, CopyResult } from "../loops/copy/config.ts";
import type { WireAids } from "../loops/capture.ts";
import type { DiskChoice } from "../loops/initiator/loop.ts";
import { formatAddress } from "../wire/aoe.ts";
import type { CopyEndName, CopyOptions } from "./copy_arguments.ts";
import { CopyReport } from "./copy_report.ts";
import {
  type CopyFileMark,
  type CopyIdentity,
  type CopyState,
  type CopyStateBase,
  CopyStateKeeper,
  markOfFile,
  nameOfEnd,
  readState,
  statePath,
} from "./copy_state.ts";
import {
  EXIT_FAILED,
  EXIT_INTERRUPTED,
  EXIT_MISMATCH,
  EXIT_REFUSED,
  EXIT_SILENT,
  EXIT_USAGE,
} from "./exit_codes.ts";
import { Failure } from "./output.ts";
import { listenToSignals } from "./stop_signals.ts";

/** By kind of failure; the help of the command names them. */
const EXIT_CODES = {
  local: EXIT_FAILED,
  usage: EXIT_USAGE,
  silent: EXIT_SILENT,
  refused: EXIT_REFUSED,
  reserved: EXIT_REFUSED,
  lost: EXIT_REFUSED,
  mismatch: EXIT_MISMATCH,
  changed: EXIT_MISMATCH,
} as const;

/** Copies; returns the exit code. */
export async function runCopy(options: CopyOptions): Promise<number> {
  const { source, destination } = options;
  const identity = identityOf(options);
  const report = new CopyReport(options);
  const path = pathOfState(options, report);
  const before = path !== undefined && options.resume ? readState(path, identity) : undefined;
  const interfaces = findInterfaces(options.interfaces).map((link) => link.name);
  const disks = await admitEnds(options, report);
  const sourceEnd = openSourceEnd(source);
  const destinationEnd = openDestinationEnd(destination, disks.length - 1, {
    make: before === undefined,
    force: options.force,
  });
  if (source.kind === "path" && !options.force) {
    refuseImageForDisk(source.path, sourceEnd, destinationEnd);
  }
  const config = configOf(options, identity, { sourceEnd, destinationEnd, before });
  const keeper = path === undefined || config.tellEveryMs === Infinity
    ? undefined
    : new CopyStateKeeper(path, before?.done ?? 0, (text) => report.note(text));
  if (before !== undefined) tellReplaced(before, report);
  const aids = openInitiatorAids(options, (text) => report.note(text));
  let result: CopyResult | undefined;
  try {
    const parts = { interfaces, disks, aids, options, config, identity, keeper, report };
    result = await runThread(parts);
  } finally {
    if ((result?.bytes ?? 0) === 0) dropUnused(destination, destinationEnd);
  }
  if (result.failure !== undefined) {
    const { kind, text, disk } = result.failure;
    const address = disks.find(({ shelf, slot }) => formatAddress(shelf, slot) === disk);
    const sentence = address === undefined
      ? text
      : await explainReservation(text, { address, interfaces });
    throw new Failure(sentence, EXIT_CODES[kind]);
  }
  return result.stopped ? EXIT_INTERRUPTED : 0;
}

/**
 * What the copy is told apart by.
 *
 * @throws {Failure} It makes no sense.
 */
function identityOf(options: CopyOptions): CopyIdentity {
  const { source, destination } = options;
  if (source.kind !== "address" && destination.kind !== "address") {
    throw new Failure("Neither SRC nor DST is a SHELF.SLOT: cp copies between files", EXIT_USAGE);
  }
  const identity = {
    source: nameOfEnd(source),
    destination: nameOfEnd(destination),
    offset: options.offsetSectors * 512,
    seek: options.seekSectors * 512,
    length: options.lengthBytes ?? null,
  };
  if (identity.source === identity.destination && source.kind !== "standard") {
    throw new Failure("SRC and DST are the same", EXIT_USAGE);
  }
  if (destination.kind !== "standard") return identity;
  if (options.resume) {
    throw new Failure("What went to standard output cannot be resumed", EXIT_USAGE);
  }
  if (options.verify) {
    throw new Failure("What went to standard output cannot be read back to verify it", EXIT_USAGE);
  }
  if (Deno.stdout.isTerminal()) {
    const what = "Standard output is a terminal, which a disk's bytes would garble";
    throw new Failure(`${what}: name a file, or put a pipe behind it`, EXIT_USAGE);
  }
  return identity;
}

/** Where the state is kept; undefined where that is of no use, or cannot be. */
function pathOfState({ destination, resume }: CopyOptions, report: CopyReport): string | undefined {
  if (destination.kind === "standard") return undefined;
  try {
    return statePath(destination);
  } catch (error) {
    if (resume) throw error;
    report.note(`The copy could not be resumed: ${(error as Error).message}`);
    return undefined;
  }
}

/** The disks among the ends, in their order; --target concerns what is written, if both are. */
async function admitEnds(options: CopyOptions, report: CopyReport): Promise<DiskChoice[]> {
  const { source, destination, force } = options;
  const note = (text: string) => report.note(text);
  const writes = destination.kind === "address";
  const disks: DiskChoice[] = [];
  if (source.kind === "address") {
    const targets = writes ? [] : options.targets;
    const { address } = source;
    const wish = { ...options, address, targets, writes: false, pastDevice: false };
    disks.push(await admitDisk(wish, note));
  }
  if (writes) {
    const { address } = destination;
    disks.push(await admitDisk({ ...options, address, writes, pastDevice: !force }, note));
  }
  return disks;
}

/** A disk is the first of the copy's. */
function openSourceEnd(end: CopyEndName): CopyEndConfig {
  switch (end.kind) {
    case "address":
      return { disk: 0 };
    case "standard":
      return standardEnd("in");
    case "path":
      return openCopySource(end.path);
  }
}

/** @param disk Number of the disk, if it is one. */
function openDestinationEnd(
  end: CopyEndName,
  disk: number,
  options: { readonly make: boolean; readonly force: boolean },
): CopyEndConfig {
  switch (end.kind) {
    case "address":
      return { disk };
    case "standard":
      return standardEnd("out");
    case "path":
      return openDestination(end.path, options);
  }
}

function configOf(
  options: CopyOptions,
  identity: CopyIdentity,
  { sourceEnd, destinationEnd, before }: {
    readonly sourceEnd: CopyEndConfig;
    readonly destinationEnd: CopyEndConfig;
    readonly before: CopyState | undefined;
  },
): CopyConfig {
  const toFile = destinationEnd.disk === undefined && destinationEnd.kind === "file";
  const toStream = destinationEnd.disk === undefined && destinationEnd.kind === "stream";
  if (toStream && options.verify) {
    const { name } = destinationEnd;
    throw new Failure(`${name} cannot be read back to verify it: it is a stream`, EXIT_USAGE);
  }
  return {
    kind: "copy",
    source: sourceEnd,
    destination: destinationEnd,
    sourceOffset: identity.offset,
    destinationOffset: identity.seek,
    bytes: options.lengthBytes,
    before: before && { done: before.done, crc32: before.crc32, disks: before.disks },
    trustSource: options.trustSource,
    go: new SharedArrayBuffer(4),
    tellEveryMs: toStream ? Infinity : options.stateEveryMs,
    truncate: toFile && identity.seek === 0,
    verify: options.verify,
    sparse: options.sparse,
    checksum: options.checksum,
    uring: options.uring,
    connectMs: options.timeoutMs,
  };
}

/** Runs the thread to its end, keeps what it tells, and says what became of it. */
async function runThread(
  { interfaces, disks, aids, options, config, identity, keeper, report }: {
    readonly interfaces: readonly string[];
    readonly disks: readonly DiskChoice[];
    readonly aids: WireAids | undefined;
    readonly options: CopyOptions;
    readonly config: CopyConfig;
    readonly identity: CopyIdentity;
    readonly keeper: CopyStateKeeper | undefined;
    readonly report: CopyReport;
  },
): Promise<CopyResult> {
  const before = config.before?.done ?? 0;
  const copied = Promise.withResolvers<CopyResult>();
  let base: CopyStateBase | undefined;
  const thread = await InitiatorThread.start({
    interfaces,
    disks,
    ringSlots: options.noRing ? 0 : options.ringSlots,
    aids,
    settings: sessionSettings(options),
    use: config,
  }, (message) => {
    if (message.kind === "note") report.note(message.text);
    else if (message.kind === "copied") copied.resolve(message);
    else if (message.kind === "ready") {
      base = {
        ...identity,
        disks: message.disks,
        sourceFile: markOf(options.source),
        destinationFile: markOf(options.destination),
      };
      keeper?.keep(base, before, config.before?.crc32 ?? 0);
      (keeper?.written() ?? Promise.resolve()).then(() =>
        Atomics.store(new Int32Array(config.go), 0, 1)
      );
    } else if (message.kind === "stable" && base !== undefined) {
      keeper?.keep(base, message.done, message.crc32);
    }
  });
  const deaf = listenToSignals({
    stop: () => thread.stop(),
    count: () => report.count(thread.counters),
  });
  report.watch(thread.counters);
  thread.ended.then(
    () => copied.reject(new Failure("The copy ended without a result")),
    copied.reject,
  );
  let result: CopyResult;
  let kept: number;
  try {
    result = await copied.promise;
    await keeper?.close();
    kept = await keepOrForget(result, keeper);
    if (options.destination.kind === "path") await syncFolderOf(nameOfEnd(options.destination));
    // Meanwhile the thread closes its sockets, for which the kernel takes 20 ms.
    await thread.ended;
  } finally {
    deaf();
    report.close();
  }
  report.ended(result, { before, kept, counters: thread.counters });
  return result;
}

/** @returns Bytes that --resume would go on behind; 0 where the state has been removed. */
async function keepOrForget(
  { stopped, failure }: CopyResult,
  keeper: CopyStateKeeper | undefined,
): Promise<number> {
  if (keeper === undefined) return 0;
  const unfinished = stopped || failure !== undefined;
  // What is not equal is not to be gone on with; what was changed meanwhile may be put right.
  if (unfinished && failure?.kind !== "mismatch" && keeper.kept > 0) {
    return failure?.kind === "changed" ? 0 : keeper.kept;
  }
  await keeper.remove();
  return 0;
}

/** An empty file that nobody asked for says nothing. */
function dropUnused(name: CopyEndName, end: CopyEndConfig): void {
  if (name.kind !== "path" || end.disk !== undefined || end.made !== true) return;
  if (markOfFile(name.path)?.bytes === 0) Deno.removeSync(name.path);
}

/** Files that are other ones than before: what they hold decides, but it is worth a word. */
function tellReplaced(before: CopyState, report: CopyReport): void {
  const { source, sourceFile, destination, destinationFile } = before;
  for (const [path, then] of [[source, sourceFile], [destination, destinationFile]] as const) {
    const now = markOfFile(path);
    if (then === null || now === undefined) continue;
    const replaced = now.inode !== then.inode || now.device !== then.device;
    const changed = path === source && now.modified !== then.modified;
    if (!replaced && !changed) continue;
    report.note(
      `"${path}" was ${replaced ? "replaced" : "changed"} since: what it holds is compared`,
    );
  }
}

function markOf(end: CopyEndName): CopyFileMark | null {
  return end.kind === "path" ? markOfFile(end.path) ?? null : null;
}
