// What an answer means to the command that it belongs to, to its request, and to its path.
// initiator.ts has checked where it comes from and that it is current.

import { AOE_ERROR, AOE_FLAG_ERROR, AOE_VERSION_FLAGS } from "../../wire/aoe.ts";
import {
  ATA_COMMAND_STATUS,
  ATA_DATA,
  ATA_FEATURE_ERROR,
  ATA_HEADER_BYTES,
  SECTOR_BYTES,
} from "../../wire/ata.ts";
import { readCapabilities } from "../../wire/identify.ts";
import {
  COMMAND_KIND_FLUSH,
  COMMAND_KIND_IDENTIFY,
  COMMAND_KIND_LARGE_PROBE,
  COMMAND_KIND_PROBE,
  COMMAND_KIND_READ,
  COMMAND_KIND_SIZED_PROBE,
  COMMAND_KIND_WRITE,
  COMMAND_STATE_ENDED,
  COMMAND_STATE_FLYING,
  COMMAND_STATE_READY,
  NO_REQUEST,
} from "./commands.ts";
import { endCommand, operationOfCommand, renewCommand, reviveTarget } from "./lifetimes.ts";
import { FLUSH_AGAIN } from "./flush.ts";
import { type Path, PATH_PROBING, PATH_REFUSED, SECTORS_SMALL } from "./path.ts";
import { LIST_QUEUED, REQUEST_FLUSH, REQUEST_IDENTIFY, REQUEST_QUEUED } from "./requests.ts";
import { noteRestart } from "./restart.ts";
import { RESULT_ABORTED, RESULT_OK, RESULT_UNAVAILABLE } from "./results.ts";
import type { InitiatorState } from "./state.ts";
import { NONE } from "../tables.ts";

/** An answer that belongs to a command: the registers are read, the data are not. */
export function receiveAnswer(
  state: InitiatorState,
  nowMs: number,
  command: number,
  copy: number,
  from: Path,
  registers: number,
  view: Uint8Array,
  at: number,
  length: number,
): void {
  const commands = state.commands;
  const kind = commands.kind[command]!;
  let result = registers;
  if (kind === COMMAND_KIND_FLUSH && result !== RESULT_OK && length >= ATA_HEADER_BYTES) {
    // ggaoed puts the opcode where the status belongs.
    if (view[at + ATA_COMMAND_STATUS] === state.frames.ataCommandOf(command)) result = RESULT_OK;
  }
  if (result === RESULT_OK && length < ATA_DATA + sectorsCarried(state, command) * SECTOR_BYTES) {
    state.counters.malformed++;
    return;
  }
  if (from.state === PATH_REFUSED && kind !== COMMAND_KIND_PROBE) {
    state.counters.foreign++;
    return;
  }
  state.counters.answers++;
  const sentPath = state.session.paths[commands.path[command]!]!;
  const sentMs = measure(state, nowMs, command, copy, sentPath);
  tellOfLife(state, nowMs, command, from);
  if (result === RESULT_ABORTED && commands.largePiece(command) > 0) {
    splitAgain(state, nowMs, command, from);
    return;
  }
  if (result !== RESULT_OK) tellFailure(state, command, result, view, at, length);
  switch (kind) {
    case COMMAND_KIND_READ:
      if (result === RESULT_OK && state.settings.keepsReads) {
        copyRead(state, command, view, at + ATA_DATA);
      }
      endPiece(state, nowMs, command, copy, result);
      break;
    case COMMAND_KIND_WRITE:
      if (result === RESULT_OK) state.requests.notePart(commands.request[command]!);
      endPiece(state, nowMs, command, copy, result);
      break;
    case COMMAND_KIND_PROBE:
    case COMMAND_KIND_IDENTIFY:
      if (result === RESULT_OK) receiveIdentity(state, nowMs, command, from, sentMs, view, at);
      if (kind === COMMAND_KIND_PROBE && (from !== sentPath || result !== RESULT_OK)) {
        sentPath.probeFailed(nowMs);
      }
      // Another disk's identity says nothing about this one, nor about its flushes.
      if (from.state === PATH_REFUSED && result === RESULT_OK) result = RESULT_UNAVAILABLE;
      endCommand(state, nowMs, command, copy, result);
      break;
    case COMMAND_KIND_SIZED_PROBE:
    case COMMAND_KIND_LARGE_PROBE:
      learnFrameSize(state, nowMs, command, from, sentPath, result);
      endCommand(state, nowMs, command, copy, RESULT_OK);
      break;
    case COMMAND_KIND_FLUSH:
      endFlush(state, nowMs, command, copy, result);
      break;
    default:
      if (result === RESULT_OK) state.requests.notePart(commands.request[command]!);
      endCommand(state, nowMs, command, copy, result);
  }
}

/** Sectors of data that the good answer to a command has to carry. */
function sectorsCarried({ commands }: InitiatorState, command: number): number {
  switch (commands.kind[command]) {
    case COMMAND_KIND_READ:
    case COMMAND_KIND_LARGE_PROBE:
      return commands.piece[command]!;
    case COMMAND_KIND_IDENTIFY:
    case COMMAND_KIND_PROBE:
    case COMMAND_KIND_SIZED_PROBE:
      return 1;
    default:
      return 0;
  }
}

/** A probe of large frames was answered: by the disk, or by the target alone. */
function learnFrameSize(
  state: InitiatorState,
  nowMs: number,
  command: number,
  from: Path,
  sentPath: Path,
  result: number,
): void {
  const { commands, session } = state;
  if (commands.kind[command] === COMMAND_KIND_SIZED_PROBE) {
    if (sentPath.sizedAnswered(nowMs, commands.piece[command]!)) {
      session.tell({ kind: "frames-large", path: sentPath });
    }
  } else if (result === RESULT_ABORTED) {
    sentPath.largeFailed(nowMs);
    askAgain(state, nowMs, from);
  } else if (sentPath.sectors < sentPath.sectorsMax) {
    sentPath.largeAnswered(nowMs);
    session.tell({ kind: "frames-large", path: sentPath });
  }
}

/** An answer says something of the disk, the target and the path, whatever it is. */
function tellOfLife(state: InitiatorState, nowMs: number, command: number, from: Path): void {
  const { commands } = state;
  if (commands.request[command] !== NO_REQUEST) {
    progress(state, nowMs);
    reviveTarget(state);
  }
  const isProbe = commands.kind[command]! >= COMMAND_KIND_PROBE;
  if (from.state === PATH_PROBING && !isProbe && from.counters.timesLost > 0) {
    // An answer that comes late proves the path as well as a probe does.
    state.session.pathUp(nowMs, from);
    state.controlDue = true;
  }
}

/** The disk has answered. */
function progress(state: InitiatorState, nowMs: number): void {
  if (state.diskSilent) {
    state.diskSilent = false;
    state.session.tell({ kind: "disk-answers", silentMs: nowMs - state.progressMs });
  }
  state.progressMs = nowMs;
}

/**
 * Takes a command out of the air and tells its path of the round trip.
 *
 * @returns When the answered copy was sent, or earlier.
 */
function measure(
  state: InitiatorState,
  nowMs: number,
  command: number,
  copy: number,
  sentPath: Path,
): number {
  const commands = state.commands;
  const last = copy === commands.copies[command]! - 1;
  const pace = commands.classOf(command);
  const first = state.session.paths[commands.firstPath[command]!]!;
  const path = last ? sentPath : copy === 0 ? first : sentPath;
  const sentMs = last
    ? commands.sentMs[command]!
    : copy === 0
    ? commands.firstSentMs[command]!
    : NaN;
  if (commands.state[command] === COMMAND_STATE_FLYING) {
    commands.land(command);
    if (commands.kind[command]! < COMMAND_KIND_PROBE) sentPath.flying--;
    if (!last) path.needless(pace);
  } else {
    commands.lists.remove(commands.readyList, command);
    path.needless(pace);
  }
  commands.state[command] = COMMAND_STATE_ENDED;
  // On one path frames stay in order: the copies before did not arrive.
  if (copy > 0 && commands.paths[command] === 1 << path.index) path.lossProven(nowMs);
  path.answered(nowMs, sentMs, commands.largePiece(command), pace);
  state.writes.answeredSentMs[path.index] = path.answeredSentMs;
  return sentMs === sentMs ? sentMs : commands.firstSentMs[command]!;
}

/**
 * A target aborts what carries more sectors than its MTU allows, and that may have shrunk since it
 * was asked: the command goes on in pieces that every Ethernet carries. If even those are aborted,
 * the target means it.
 */
function splitAgain(state: InitiatorState, nowMs: number, command: number, from: Path): void {
  const { commands } = state;
  commands.pieceMax[command] = SECTORS_SMALL;
  commands.tries[command] = 0;
  askAgain(state, nowMs, from);
  // Older copies of a write carry the same data; its sectors are quarantined for their sake.
  renewCommand(state, command, commands.copies[command]! > 1);
  commands.state[command] = COMMAND_STATE_READY;
  commands.lists.append(commands.readyList, command);
}

/** Asks for the target's config: what it said of its frames is no longer true. */
function askAgain(state: InitiatorState, nowMs: number, path: Path): void {
  state.session.askAgain(nowMs, path.interfaceIndex);
  state.controlDue = true;
}

function copyRead(
  state: InitiatorState,
  command: number,
  view: Uint8Array,
  from: number,
): void {
  const commands = state.commands;
  const memory = state.memory;
  const to = commands.payloadAt[command]! + commands.done[command]! * SECTOR_BYTES;
  const bytes = commands.piece[command]! * SECTOR_BYTES;
  if (view.buffer === memory.buffer) {
    // One arena for everything, as the loop has it: no view is made.
    const start = from + view.byteOffset - memory.byteOffset;
    memory.copyWithin(to, start, start + bytes);
  } else {
    memory.set(view.subarray(from, from + bytes), to);
  }
}

function receiveIdentity(
  state: InitiatorState,
  nowMs: number,
  command: number,
  from: Path,
  sentMs: number,
  view: Uint8Array,
  at: number,
): void {
  const { restarts } = state.session;
  const ours = state.session.receiveIdentity(nowMs, from, sentMs, view, at + ATA_DATA);
  if (ours) {
    const { flush, flushExt } = readCapabilities(view, at + ATA_DATA);
    state.flushes.learn(flush, flushExt);
  }
  if (state.session.restarts !== restarts) noteRestart(state);
  state.controlDue = true;
  if (state.session.anyUp()) reviveTarget(state);
  if (ours && operationOfCommand(state, command) === REQUEST_IDENTIFY) {
    state.commands.piece[command] = 1;
    copyRead(state, command, view, at + ATA_DATA);
  }
}

/** A piece of a read or write was answered: the next piece, or the end of the command. */
function endPiece(
  state: InitiatorState,
  nowMs: number,
  command: number,
  copy: number,
  result: number,
): void {
  const commands = state.commands;
  const done = commands.done[command]! + commands.piece[command]!;
  if (result !== RESULT_OK || done >= commands.sectors[command]!) {
    endCommand(state, nowMs, command, copy, result);
    return;
  }
  commands.done[command] = done;
  commands.startedMs[command] = nowMs;
  commands.tries[command] = 0;
  renewCommand(state, command, commands.copies[command]! > 1);
  commands.state[command] = COMMAND_STATE_READY;
  commands.lists.append(commands.readyList, command);
}

function endFlush(
  state: InitiatorState,
  nowMs: number,
  command: number,
  copy: number,
  answered: number,
): void {
  const requests = state.requests;
  const flushes = state.flushes;
  const request = state.commands.request[command]!;
  const before = flushes.command;
  const result = flushes.afterFlush(state.frames.ataCommandOf(command), answered);
  if (flushes.command !== before) {
    state.session.tell({ kind: flushes.command === 0 ? "no-flush" : "no-flush-ext" });
  }
  const verify = result === RESULT_OK && flushes.command !== 0 && flushes.mustVerify(
    requests.settled[request]!,
    requests.covered[request]!,
    state.session.incarnation,
  );
  if (verify) requests.stage[request] = 1;
  if ((verify || result === FLUSH_AGAIN) && requests.result[request] === RESULT_OK) {
    requests.issued[request] = 0;
    requests.state[request] = REQUEST_QUEUED;
    requests.insertSorted(LIST_QUEUED, request);
  }
  endCommand(state, nowMs, command, copy, result === FLUSH_AGAIN ? RESULT_OK : result);
}

/** Says why a request fails, before the reason is narrowed to a result. */
function tellFailure(
  state: InitiatorState,
  command: number,
  result: number,
  view: Uint8Array,
  at: number,
  length: number,
): void {
  const commands = state.commands;
  const operation = operationOfCommand(state, command);
  if (operation === NONE || operation === REQUEST_FLUSH) return;
  const ata = (view[at + AOE_VERSION_FLAGS]! & AOE_FLAG_ERROR) === 0 && length >= ATA_HEADER_BYTES;
  state.session.tell({
    kind: "failed",
    operation,
    lba: commands.lba[command]! + commands.done[command]!,
    sectors: commands.piece[command]!,
    result,
    status: ata ? view[at + ATA_COMMAND_STATUS]! : 0,
    error: ata ? view[at + ATA_FEATURE_ERROR]! : view[at + AOE_ERROR]!,
  });
}
