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
import { complete, failRest, refusalOf, renew, scheduleSettle } from "./endings.ts";
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
      const slot = state.commands.take(COMMAND_KIND_SIZED_PROBE, NO_REQUEST, 0, sized.sectorsMax);
      launch(state, nowMs, slot, sized, sized.sectorsMax);
      return true;
    }
    const path = session.probeDue(nowMs);
    if (path !== undefined) {
      path.probeAtMs = Infinity;
      launch(state, nowMs, state.commands.take(COMMAND_KIND_PROBE, NO_REQUEST, 0, 1), path, 1);
      return true;
    }
    const large = session.largeProbeDue(nowMs);
    if (large !== undefined) {
      large.largeProbeAtMs = Infinity;
      const slot = state.commands.take(COMMAND_KIND_LARGE_PROBE, NO_REQUEST, 0, large.sectorsMax);
      launch(state, nowMs, slot, large, large.sectorsMax);
      return true;
    }
  }
  state.controlDue = false;
  return false;
}

/** Commands that were lost, or whose next piece is due. */
export function transmitReady(state: InitiatorState, nowMs: number): boolean {
  const commands = state.commands;
  let slot = commands.lists.first(commands.readyList);
  for (; slot !== NONE; slot = commands.lists.next(slot)) {
    // Its last frame has not left yet, and another would take the header away from under it. The
    // loop drops it: `isWanted` says so.
    if (commands.held[slot] !== 0) continue;
    const path = state.session.pick(commands.path[slot]!) ?? urgentPath(state, slot);
    if (path === undefined) return false;
    commands.lists.remove(commands.readyList, slot);
    commands.urgent[slot] = 0;
    let piece = 1;
    if (commands.kind[slot]! <= COMMAND_KIND_WRITE) {
      const rest = commands.sectors[slot]! - commands.done[slot]!;
      piece = Math.min(rest, path.sectors, commands.pieceMax[slot]!);
      // The same again, where it can be: its earlier copies may yet be answered.
      if (commands.copies[slot]! > 0) piece = Math.min(piece, commands.piece[slot]!);
    }
    const copies = commands.copies[slot]!;
    if (copies > 0) state.counters.retransmitted++;
    // A tag tells its copies apart, but not copies of different lengths, nor two kinds of flush.
    const other = commands.kind[slot] === COMMAND_KIND_FLUSH
      ? state.frames.ataCommandOf(slot) !== state.flushes.command
      : piece !== commands.piece[slot];
    if (copies > 0 && (other || copies === COPIES_MAX)) {
      renew(state, slot, true);
    }
    launch(state, nowMs, slot, path, piece);
    return true;
  }
  return false;
}

/** The path of a command that a timeout has chosen: it does not wait for room. */
function urgentPath(state: InitiatorState, slot: number): Path | undefined {
  const { commands } = state;
  if (commands.urgent[slot] === 0) return undefined;
  const path = state.session.paths[commands.path[slot]!]!;
  return path.state === PATH_UP ? path : undefined;
}

/** The next part of the first request that may go on. */
export function transmitQueued(state: InitiatorState, nowMs: number): boolean {
  const requests = state.requests;
  for (;;) {
    const index = requests.lists.first(LIST_QUEUED);
    if (index === NONE || state.commands.free <= state.reserve) return false;
    const operation = requests.operation[index]!;
    if (operation === REQUEST_DISCARD && !state.frames.hasBlock) return false;
    const path = state.session.pick(NONE);
    if (path === undefined) return false;
    const lba = requests.lba[index]! + requests.issued[index]!;
    const rest = requests.sectors[index]! - requests.issued[index]!;
    const sectors = operation === REQUEST_DISCARD
      ? Math.min(rest, DISCARD_SECTORS_MAX)
      : operation <= REQUEST_WRITE
      ? Math.min(rest, path.sectors, COMMAND_SECTORS_MAX)
      : 1;
    const refusal = operation === REQUEST_FLUSH ? NONE : refusalOf(state, operation, lba, sectors);
    if (refusal !== NONE) {
      failRest(state, index, refusal);
      if (requests.pending[index] === 0) complete(state, index);
      continue;
    }
    const writes = operation === REQUEST_WRITE || operation === REQUEST_DISCARD;
    if (
      writes &&
      (state.writes.overlaps(lba, sectors) ||
        requests.overlapsBlocked(lba, sectors, requests.serial[index]!))
    ) {
      requests.lists.remove(LIST_QUEUED, index);
      requests.state[index] = REQUEST_BLOCKED;
      requests.insertSorted(LIST_BLOCKED, index);
      scheduleSettle(state, nowMs);
      continue;
    }
    issue(state, nowMs, index, lba, sectors, path);
    return true;
  }
}

/** Makes a command of the next part of a request. */
export function issue(
  state: InitiatorState,
  nowMs: number,
  index: number,
  lba: number,
  sectors: number,
  path: Path,
): void {
  const requests = state.requests;
  const commands = state.commands;
  const operation = requests.operation[index]!;
  let kind = COMMAND_KIND_READ;
  if (operation === REQUEST_WRITE) kind = COMMAND_KIND_WRITE;
  else if (operation === REQUEST_DISCARD) kind = COMMAND_KIND_DISCARD;
  else if (operation === REQUEST_FLUSH && requests.stage[index] === 0) kind = COMMAND_KIND_FLUSH;
  else if (operation !== REQUEST_READ) kind = COMMAND_KIND_IDENTIFY;
  const slot = commands.take(kind, index, lba, sectors);
  commands.payloadAt[slot] = requests.payloadAt[index]! + requests.issued[index]! * SECTOR_BYTES;
  commands.startedMs[slot] = nowMs;
  if (kind === COMMAND_KIND_DISCARD) commands.block[slot] = state.frames.takeBlock(lba, sectors);
  if (kind === COMMAND_KIND_WRITE || kind === COMMAND_KIND_DISCARD) {
    state.writes.add(slot, lba, sectors);
  }
  state.counters.commands++;
  requests.issued[index] = requests.issued[index]! + sectors;
  requests.pending[index]!++;
  if (requests.issued[index] === requests.sectors[index]) {
    requests.lists.remove(LIST_QUEUED, index);
    requests.state[index] = REQUEST_ISSUED;
  }
  launch(state, nowMs, slot, path, kind <= COMMAND_KIND_WRITE ? sectors : 1);
}

/** Sends a command that stands in no list: the next copy of its tag, over a path. */
function launch(
  state: InitiatorState,
  nowMs: number,
  slot: number,
  path: Path,
  piece: number,
): void {
  const commands = state.commands;
  commands.piece[slot] = piece;
  const tag = commands.nextCopyTag(slot);
  if (commands.copies[slot] === 1) {
    commands.firstPath[slot] = path.index;
    commands.firstSentMs[slot] = nowMs;
  }
  commands.path[slot] = path.index;
  commands.paths[slot] = commands.paths[slot]! | (1 << path.index);
  commands.sentMs[slot] = nowMs;
  commands.state[slot] = COMMAND_STATE_FLYING;
  commands.held[slot]!++;
  commands.fly(path.index, slot);
  if (commands.kind[slot]! < COMMAND_KIND_PROBE) path.flying++;
  path.sent(nowMs);
  const through = state.session.interfaceOf(path.interfaceIndex);
  const { command } = state.flushes;
  state.frames.writeCommand(commands, slot, tag, path, through, command, state.session.lba48);
}

/** Blocked requests whose next part overlaps nothing any more go back into the queue. */
export function unblock(state: InitiatorState): void {
  state.unblockDue = false;
  const requests = state.requests;
  let index = requests.lists.first(LIST_BLOCKED);
  while (index !== NONE) {
    const next = requests.lists.next(index);
    const lba = requests.lba[index]! + requests.issued[index]!;
    const rest = requests.sectors[index]! - requests.issued[index]!;
    // The smallest part that can be sent: more is looked at when it is.
    const sectors = requests.operation[index] === REQUEST_DISCARD
      ? Math.min(rest, DISCARD_SECTORS_MAX)
      : Math.min(rest, SECTORS_SMALL);
    if (
      !state.writes.overlaps(lba, sectors) &&
      !requests.overlapsBlocked(lba, sectors, requests.serial[index]!)
    ) {
      requests.lists.remove(LIST_BLOCKED, index);
      requests.state[index] = REQUEST_QUEUED;
      requests.insertSorted(LIST_QUEUED, index);
    }
    index = next;
  }
}
