// What the initiator sends next: queries and probes that are due, lost commands, then new ones, each
// split to the frame size of the path it goes by, while that path's window allows.

import { SECTOR_BYTES } from "../../wire/ata.ts";
import {
  COMMAND_KIND_DISCARD,
  COMMAND_KIND_FLUSH,
  COMMAND_KIND_IDENTIFY,
  COMMAND_KIND_LARGE_PROBE,
  COMMAND_KIND_PROBE,
  COMMAND_KIND_READ,
  COMMAND_KIND_SIZED_PROBE,
  COMMAND_KIND_WRITE,
  COMMAND_SECTORS_MAX,
  COMMAND_STATE_FLYING,
  COPIES_MAX,
  NO_REQUEST,
} from "./commands.ts";
import {
  completeRequest,
  failRequest,
  refusalOf,
  renewCommand,
  scheduleSettle,
} from "./lifetimes.ts";
import { DISCARD_SECTORS_MAX } from "./frames.ts";
import { type Path, PATH_UP, SECTORS_SMALL } from "./path.ts";
import {
  LIST_BLOCKED,
  LIST_QUEUED,
  REQUEST_BLOCKED,
  REQUEST_DISCARD,
  REQUEST_FLUSH,
  REQUEST_ISSUED,
  REQUEST_QUEUED,
  REQUEST_READ,
  REQUEST_WRITE,
} from "./requests.ts";
import type { InitiatorState } from "./state.ts";
import { NONE } from "../tables.ts";

/** Of a page, and of a physical sector of most disks. */
const PAGE_SECTORS = 8;

/** Queries and probes that are due. */
export function transmitControl(state: InitiatorState, nowMs: number): boolean {
  const session = state.session;
  const position = session.takeDueQuery(nowMs);
  if (position !== NONE) {
    const through = session.interfaces[position]!;
    through.held++;
    state.frames.writeQuery(position, through);
    return true;
  }
  if (state.commands.free > 0) {
    // Before the small one: when only that is answered, large requests vanish.
    const sized = session.sizedProbeDue();
    if (sized !== undefined) {
      sized.sizedProbeDue = false;
      const command = state.commands.take(
        COMMAND_KIND_SIZED_PROBE,
        NO_REQUEST,
        0,
        sized.sectorsMax,
      );
      launchCommand(state, nowMs, command, sized, sized.sectorsMax);
      return true;
    }
    const path = session.probeDue(nowMs);
    if (path !== undefined) {
      path.probeAtMs = Infinity;
      launchCommand(
        state,
        nowMs,
        state.commands.take(COMMAND_KIND_PROBE, NO_REQUEST, 0, 1),
        path,
        1,
      );
      return true;
    }
    const large = session.largeProbeDue(nowMs);
    if (large !== undefined) {
      large.largeProbeAtMs = Infinity;
      const command = state.commands.take(
        COMMAND_KIND_LARGE_PROBE,
        NO_REQUEST,
        0,
        large.sectorsMax,
      );
      launchCommand(state, nowMs, command, large, large.sectorsMax);
      return true;
    }
  }
  state.controlDue = false;
  return false;
}

/** Commands that were lost, or whose next piece is due. */
export function transmitReady(state: InitiatorState, nowMs: number): boolean {
  const commands = state.commands;
  let command = commands.lists.first(commands.readyList);
  for (; command !== NONE; command = commands.lists.next(command)) {
    // Its last frame has not left yet, and another would take the header away from under it. The
    // loop drops it: `isWanted` says so.
    if (commands.held[command] !== 0) continue;
    const path = state.session.pick(commands.path[command]!) ?? urgentPath(state, command);
    if (path === undefined) return false;
    commands.lists.remove(commands.readyList, command);
    commands.urgent[command] = 0;
    let piece = 1;
    if (commands.kind[command]! <= COMMAND_KIND_WRITE) {
      const rest = commands.sectors[command]! - commands.done[command]!;
      piece = Math.min(rest, path.sectors, commands.pieceMax[command]!);
      // The same again, where it can be: its earlier copies may yet be answered.
      if (commands.copies[command]! > 0) piece = Math.min(piece, commands.piece[command]!);
    }
    const copies = commands.copies[command]!;
    if (copies > 0) state.counters.retransmitted++;
    // A tag tells its copies apart, but not copies of different lengths, nor two kinds of flush.
    const other = commands.kind[command] === COMMAND_KIND_FLUSH
      ? state.frames.ataCommandOf(command) !== state.flushes.command
      : piece !== commands.piece[command];
    if (copies > 0 && (other || copies === COPIES_MAX)) {
      renewCommand(state, command, true);
    }
    launchCommand(state, nowMs, command, path, piece);
    return true;
  }
  return false;
}

/** The path of a command that a timeout has chosen: it does not wait for room. */
function urgentPath(state: InitiatorState, command: number): Path | undefined {
  const { commands } = state;
  if (commands.urgent[command] === 0) return undefined;
  const path = state.session.paths[commands.path[command]!]!;
  return path.state === PATH_UP ? path : undefined;
}

/** The next part of the first request that may go on. */
export function transmitQueued(state: InitiatorState, nowMs: number): boolean {
  const requests = state.requests;
  for (;;) {
    const request = requests.lists.first(LIST_QUEUED);
    if (request === NONE || state.commands.free <= state.reserve) return false;
    const operation = requests.operation[request]!;
    if (operation === REQUEST_DISCARD && !state.frames.hasBlock) return false;
    const path = state.session.pick(NONE);
    if (path === undefined) return false;
    const lba = requests.lba[request]! + requests.issued[request]!;
    const rest = requests.sectors[request]! - requests.issued[request]!;
    const sectors = operation === REQUEST_DISCARD
      ? Math.min(rest, DISCARD_SECTORS_MAX)
      : operation <= REQUEST_WRITE
      ? sectorsOfNext(lba, rest, Math.min(path.sectors, COMMAND_SECTORS_MAX))
      : 1;
    const refusal = operation === REQUEST_FLUSH ? NONE : refusalOf(state, operation, lba, sectors);
    if (refusal !== NONE) {
      failRequest(state, request, refusal);
      if (requests.pending[request] === 0) completeRequest(state, request);
      continue;
    }
    const writes = operation === REQUEST_WRITE || operation === REQUEST_DISCARD;
    if (
      writes &&
      (state.writes.overlaps(lba, sectors) ||
        requests.overlapsBlocked(lba, sectors, requests.serial[request]!))
    ) {
      requests.lists.remove(LIST_QUEUED, request);
      requests.state[request] = REQUEST_BLOCKED;
      requests.insertSorted(LIST_BLOCKED, request);
      scheduleSettle(state, nowMs);
      continue;
    }
    issueCommand(state, nowMs, request, lba, sectors, path);
    return true;
  }
}

/**
 * Sectors of the next command of a request of which so many are left. A command that is not the
 * last one ends where a page does, if a frame carries one: at MTU 9000 that is 16 sectors and not
 * 17, and neither end's page cache has to touch a page for two commands.
 */
function sectorsOfNext(lba: number, rest: number, sectorsMax: number): number {
  if (rest <= sectorsMax) return rest;
  if (sectorsMax < PAGE_SECTORS) return sectorsMax;
  return sectorsMax - (lba + sectorsMax) % PAGE_SECTORS;
}

/** Makes a command of the next part of a request. */
function issueCommand(
  state: InitiatorState,
  nowMs: number,
  request: number,
  lba: number,
  sectors: number,
  path: Path,
): void {
  const requests = state.requests;
  const commands = state.commands;
  const operation = requests.operation[request]!;
  let kind = COMMAND_KIND_READ;
  if (operation === REQUEST_WRITE) kind = COMMAND_KIND_WRITE;
  else if (operation === REQUEST_DISCARD) kind = COMMAND_KIND_DISCARD;
  else if (operation === REQUEST_FLUSH && requests.stage[request] === 0) kind = COMMAND_KIND_FLUSH;
  else if (operation !== REQUEST_READ) kind = COMMAND_KIND_IDENTIFY;
  const command = commands.take(kind, request, lba, sectors);
  commands.payloadAt[command] = requests.payloadAt[request]! +
    requests.issued[request]! * SECTOR_BYTES;
  commands.startedMs[command] = nowMs;
  if (kind === COMMAND_KIND_DISCARD) commands.block[command] = state.frames.takeBlock(lba, sectors);
  if (kind === COMMAND_KIND_WRITE || kind === COMMAND_KIND_DISCARD) {
    state.writes.add(command, lba, sectors);
  }
  state.counters.commands++;
  requests.issued[request] = requests.issued[request]! + sectors;
  requests.pending[request]!++;
  if (requests.issued[request] === requests.sectors[request]) {
    requests.lists.remove(LIST_QUEUED, request);
    requests.state[request] = REQUEST_ISSUED;
  }
  launchCommand(state, nowMs, command, path, kind <= COMMAND_KIND_WRITE ? sectors : 1);
}

/** Sends a command that stands in no list: the next copy of its tag, over a path. */
function launchCommand(
  state: InitiatorState,
  nowMs: number,
  command: number,
  path: Path,
  piece: number,
): void {
  const commands = state.commands;
  commands.piece[command] = piece;
  const tag = commands.nextCopyTag(command);
  if (commands.copies[command] === 1) {
    commands.firstPath[command] = path.index;
    commands.firstSentMs[command] = nowMs;
  }
  commands.path[command] = path.index;
  commands.paths[command] = commands.paths[command]! | (1 << path.index);
  commands.sentMs[command] = nowMs;
  commands.state[command] = COMMAND_STATE_FLYING;
  commands.held[command]!++;
  commands.fly(path.index, command);
  if (commands.kind[command]! < COMMAND_KIND_PROBE) path.flying++;
  path.sent(nowMs);
  const through = state.session.interfaceOf(path.interfaceIndex);
  state.frames.writeCommand(
    commands,
    command,
    tag,
    path,
    through,
    state.flushes.command,
    state.session.lba48,
  );
}

/** Blocked requests whose next part overlaps nothing any more go back into the queue. */
export function unblockRequests(state: InitiatorState): void {
  state.unblockDue = false;
  const requests = state.requests;
  let request = requests.lists.first(LIST_BLOCKED);
  while (request !== NONE) {
    const next = requests.lists.next(request);
    const lba = requests.lba[request]! + requests.issued[request]!;
    const rest = requests.sectors[request]! - requests.issued[request]!;
    // The smallest part that can be sent: more is looked at when it is.
    const sectors = requests.operation[request] === REQUEST_DISCARD
      ? Math.min(rest, DISCARD_SECTORS_MAX)
      : Math.min(rest, SECTORS_SMALL);
    if (
      !state.writes.overlaps(lba, sectors) &&
      !requests.overlapsBlocked(lba, sectors, requests.serial[request]!)
    ) {
      requests.lists.remove(LIST_BLOCKED, request);
      requests.state[request] = REQUEST_QUEUED;
      requests.insertSorted(LIST_QUEUED, request);
    }
    request = next;
  }
}
