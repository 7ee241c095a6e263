// What silence means: a frame is lost, a disk is slow, a path is given up, the target is dead. When
// a command is overdue is in pace.ts.

import {
  COMMAND_KIND_LARGE_PROBE,
  COMMAND_KIND_PROBE,
  COMMAND_KIND_SIZED_PROBE,
  COMMAND_STATE_FLYING,
  COMMAND_STATE_READY,
} from "./commands.ts";
import { end, failAll, giveUp, scheduleSettle, waits } from "./endings.ts";
import { CLASS_FLUSH, CLASS_IDENTIFY, CLASS_READ } from "./pace.ts";
import { type Path, PATH_UP, SECTORS_SMALL } from "./path.ts";
import { LIST_BLOCKED } from "./requests.ts";
import { RESULT_TIMEOUT } from "./results.ts";
import { deadCheckEveryMs, type InitiatorState } from "./state.ts";
import { NONE } from "../tables.ts";

/** Timeouts in a row after which a large frame that is not answered counts as lost. */
const PROBE_TIMEOUTS = 2;
/** A disk that is silent for so long, whose target was heard within the other, is told of. */
const DISK_SILENT_MS = 10_000;
const TARGET_HEARD_MS = 5000;

/** When `handleTimeout` is due; Infinity when there is nothing to wait for. */
export function pollTimeout(state: InitiatorState): number {
  const session = state.session;
  let dueMs = Math.min(session.nextDueMs(), state.deadCheckMs, state.settleAtMs);
  for (let i = 0; i < session.paths.length; i++) {
    const path = session.paths[i]!;
    for (let pace = CLASS_READ; pace <= CLASS_IDENTIFY; pace++) {
      const slot = state.commands.firstOfClass(i, pace);
      if (slot === NONE) continue;
      const lostAtMs = lostAt(state, path, slot);
      if (lostAtMs < dueMs) dueMs = lostAtMs;
    }
    for (let slot = state.commands.firstAgain(i); slot !== NONE;) {
      const lostAtMs = lostAt(state, path, slot);
      if (lostAtMs < dueMs) dueMs = lostAtMs;
      slot = state.commands.lists.next(slot);
    }
  }
  return dueMs;
}

/** Whether a command that was sent later, of the same class, has been answered. */
function isOvertaken(state: InitiatorState, path: Path, slot: number): boolean {
  const { commands } = state;
  const pace = commands.classOf(slot);
  // A flush has nothing to do with a discard, nor with another flush.
  return pace !== CLASS_FLUSH && commands.sentMs[slot]! < path.paces[pace]!.answeredSentMs;
}

/** When a command in flight on a path is overdue, as far as is known now. */
function lostAt(state: InitiatorState, path: Path, slot: number): number {
  const { commands } = state;
  const pace = path.paces[commands.classOf(slot)]!;
  const sentMs = commands.sentMs[slot]!;
  return isOvertaken(state, path, slot)
    ? pace.overtakenAtMs(sentMs, commands.tries[slot]!)
    : pace.timeoutAtMs(sentMs);
}

/** Does what `pollTimeout` waited for; harmless at any other time. */
export function handleTimeout(state: InitiatorState, nowMs: number): void {
  const session = state.session;
  for (const path of session.paths) expire(state, nowMs, path);
  if (state.settleAtMs <= nowMs) settle(state, nowMs);
  if (session.nextDueMs() <= nowMs) state.controlDue = true;
  if (state.deadCheckMs <= nowMs) checkDead(state, nowMs);
}

/** Ends quarantines; where a frame would show that copies are gone, and is waited for, one is sent. */
function settle(state: InitiatorState, nowMs: number): void {
  const blocked = state.requests.lists.first(LIST_BLOCKED) !== NONE;
  const wanted = state.writes.settle(nowMs);
  state.unblockDue ||= blocked;
  scheduleSettle(state, nowMs);
  if (!blocked || wanted === 0) return;
  for (const path of state.session.paths) {
    // A probe in flight is due at Infinity: its answer will do.
    if ((wanted & (1 << path.index)) !== 0 && path.probeAtMs < Infinity) path.probeAtMs = nowMs;
  }
}

/** Finds the lost frames of a path; those of a class stand in the order in which they were sent. */
function expire(state: InitiatorState, nowMs: number, path: Path): void {
  const { commands } = state;
  const small = path.sectors <= SECTORS_SMALL;
  for (let pace = CLASS_READ; pace < CLASS_FLUSH; pace++) {
    for (;;) {
      const slot = commands.firstOfClass(path.index, pace);
      if (slot === NONE || !isOvertaken(state, path, slot)) break;
      if (lostAt(state, path, slot) > nowMs) break;
      loseOvertaken(state, nowMs, path, slot);
    }
  }
  for (let slot = commands.firstAgain(path.index); slot !== NONE;) {
    const next = commands.lists.next(slot);
    if (isOvertaken(state, path, slot) && lostAt(state, path, slot) <= nowMs) {
      loseOvertaken(state, nowMs, path, slot);
    }
    slot = next;
  }
  let giveUpPath = expireIdentify(state, nowMs, path);
  for (let pace = CLASS_READ; pace <= CLASS_FLUSH; pace++) {
    const slot = firstOverdue(state, nowMs, path, pace);
    if (slot === NONE) continue;
    giveUpPath = path.timedOut(nowMs, pace) || giveUpPath;
    sendOneAgain(state, nowMs, path, slot);
  }
  if (giveUpPath && path.state === PATH_UP) losePath(state, nowMs, path);
  if (!small && path.sectors <= SECTORS_SMALL && path.state === PATH_UP) becomeSmall(state, path);
}

/** A command that others have overtaken is sent again. */
function loseOvertaken(state: InitiatorState, nowMs: number, path: Path, slot: number): void {
  const { commands } = state;
  commands.land(slot);
  if (commands.kind[slot] === COMMAND_KIND_LARGE_PROBE) {
    endLargeProbe(state, nowMs, path, slot);
    return;
  }
  const hopeless = isHopeless(state, nowMs, path, slot);
  path.lostOne(nowMs, commands.sentMs[slot]!, commands.largePiece(slot), commands.classOf(slot));
  path.flying--;
  if (hopeless) end(state, nowMs, slot, NONE, RESULT_TIMEOUT);
  else lost(state, slot);
}

/** The command that a class's timeout is about, or −1 while it is not due. */
function firstOverdue(state: InitiatorState, nowMs: number, path: Path, pace: number): number {
  const { commands } = state;
  let probe = NONE;
  for (let slot = commands.firstOfClass(path.index, pace); slot !== NONE;) {
    if (path.paces[pace]!.timeoutAtMs(commands.sentMs[slot]!) > nowMs) break;
    if (commands.kind[slot] !== COMMAND_KIND_LARGE_PROBE) return slot;
    probe = slot;
    slot = commands.lists.next(slot);
  }
  const again = againOverdue(state, nowMs, path, pace);
  return again === NONE ? probe : again;
}

/** The first command of a class that was sent more than once and is due again, or −1. */
function againOverdue(state: InitiatorState, nowMs: number, path: Path, pace: number): number {
  const { commands } = state;
  let slot = commands.firstAgain(path.index);
  while (slot !== NONE && (commands.classOf(slot) !== pace || lostAt(state, path, slot) > nowMs)) {
    slot = commands.lists.next(slot);
  }
  return slot;
}

/**
 * Nothing of a class is answered. One command is sent again: where it is answered it overtakes the
 * others, and they follow. Whether the target lives is asked beside it: if so, the disk is slow, and
 * has what was sent.
 */
function sendOneAgain(state: InitiatorState, nowMs: number, path: Path, slot: number): void {
  const { commands } = state;
  if (path.probeAtMs < Infinity) path.probeAtMs = nowMs;
  path.sizedProbeDue = path.sectors > SECTORS_SMALL;
  state.controlDue = true;
  if (commands.kind[slot] === COMMAND_KIND_LARGE_PROBE) {
    // While the disk is silent as a whole it says nothing of large frames.
    if (path.paces[CLASS_READ]!.timeouts < PROBE_TIMEOUTS) return;
    commands.land(slot);
    endLargeProbe(state, nowMs, path, slot);
    return;
  }
  path.lostInTimeout(nowMs, commands.largePiece(slot));
  commands.land(slot);
  path.flying--;
  commands.urgent[slot] = 1;
  lost(state, slot);
}

/** @returns Whether the path is to be given up. */
function expireIdentify(state: InitiatorState, nowMs: number, path: Path): boolean {
  const { commands } = state;
  const pace = path.paces[CLASS_IDENTIFY]!;
  // One timeout concerns all that is overdue by it: it is doubled only afterwards.
  let timedOut = false;
  for (;;) {
    let slot = commands.firstOfClass(path.index, CLASS_IDENTIFY);
    if (slot === NONE || lostAt(state, path, slot) > nowMs) {
      slot = againOverdue(state, nowMs, path, CLASS_IDENTIFY);
      if (slot === NONE) break;
    }
    timedOut ||= !isOvertaken(state, path, slot);
    commands.land(slot);
    if (commands.kind[slot] === COMMAND_KIND_SIZED_PROBE) {
      path.sizedFailed(nowMs, pace.answeredSentMs >= commands.sentMs[slot]!);
      state.controlDue = true;
      end(state, nowMs, slot, NONE, RESULT_TIMEOUT);
    } else if (commands.kind[slot] === COMMAND_KIND_PROBE) {
      path.probeFailed(nowMs);
      end(state, nowMs, slot, NONE, RESULT_TIMEOUT);
    } else {
      path.flying--;
      lost(state, slot);
    }
  }
  return timedOut && path.timedOut(nowMs, CLASS_IDENTIFY);
}

function endLargeProbe(state: InitiatorState, nowMs: number, path: Path, slot: number): void {
  path.largeFailed(nowMs);
  end(state, nowMs, slot, NONE, RESULT_TIMEOUT);
}

/** Large frames vanish: what went in such is sent again in small ones. */
function becomeSmall(state: InitiatorState, path: Path): void {
  const { commands } = state;
  state.session.tell({ kind: "frames-small", path });
  for (let slot = 0; slot < commands.size; slot++) {
    if (commands.state[slot] !== COMMAND_STATE_FLYING || commands.path[slot] !== path.index) {
      continue;
    }
    if (commands.largePiece(slot) === 0) continue;
    commands.land(slot);
    path.flying--;
    lost(state, slot);
  }
}

/** A command, in no list, has to be sent again. */
export function lost(state: InitiatorState, slot: number): void {
  const { commands } = state;
  commands.state[slot] = COMMAND_STATE_READY;
  commands.lists.append(commands.readyList, slot);
}

/**
 * Whether a command has waited for too long. One that stands behind others in a slow disk's queue
 * waits for as long as the disk goes on; one that has been overtaken, or cannot be, for
 * `deadAfterMs`, or what a slow disk needs.
 */
function isHopeless(state: InitiatorState, nowMs: number, path: Path, slot: number): boolean {
  const { commands } = state;
  const pace = commands.classOf(slot);
  if (pace < CLASS_FLUSH && !isOvertaken(state, path, slot)) return false;
  let patienceMs = state.settings.deadAfterMs;
  for (let i = CLASS_READ; i <= CLASS_FLUSH; i++) {
    patienceMs = Math.max(patienceMs, path.paces[i]!.rtoMs);
  }
  return nowMs - commands.startedMs[slot]! >= patienceMs;
}

function losePath(state: InitiatorState, nowMs: number, path: Path): void {
  const commands = state.commands;
  path.lose(nowMs);
  state.session.tell({ kind: "path-lost", path });
  for (let slot = commands.anyOf(path.index); slot !== NONE; slot = commands.anyOf(path.index)) {
    commands.land(slot);
    if (commands.kind[slot]! >= COMMAND_KIND_PROBE) end(state, nowMs, slot, NONE, RESULT_TIMEOUT);
    else {
      path.flying--;
      lost(state, slot);
    }
  }
  if (!state.session.anyUp()) state.session.searchAgain(nowMs);
  state.controlDue = true;
}

/** Tells, once, that nothing comes from the disk though its target lives. */
function checkSilent(state: InitiatorState, nowMs: number): void {
  const silentMs = nowMs - state.progressMs;
  if (silentMs < DISK_SILENT_MS) return;
  let lives = false;
  for (const path of state.session.paths) {
    if (path.state !== PATH_UP) continue;
    lives ||= nowMs - path.heardMs < TARGET_HEARD_MS;
    // A disk that always takes so long is not told of each time.
    for (const pace of path.paces) if (pace.srttMs > 0 && silentMs < pace.rtoMs) return;
  }
  if (!lives) return;
  state.diskSilent = true;
  state.session.tell({ kind: "disk-silent", silentMs });
}

/** Ends what has waited for longer than `deadAfterMs`. */
function checkDead(state: InitiatorState, nowMs: number): void {
  const commands = state.commands;
  const { deadAfterMs } = state.settings;
  state.deadCheckMs = nowMs + deadCheckEveryMs(state);
  if (!state.diskSilent) checkSilent(state, nowMs);
  if (nowMs - state.progressMs >= deadAfterMs) {
    // With a path that works it is the disk that hangs: the next request may fare better.
    if (!state.session.anyUp()) {
      state.dead = true;
      state.session.tell({ kind: "dead" });
    }
    failAll(state, nowMs, RESULT_TIMEOUT);
    return;
  }
  for (let slot = 0; slot < commands.size; slot++) {
    if (!waits(state, slot) || commands.state[slot] !== COMMAND_STATE_FLYING) continue;
    const path = state.session.paths[commands.path[slot]!]!;
    if (!isHopeless(state, nowMs, path, slot)) continue;
    giveUp(state, nowMs, slot, RESULT_TIMEOUT);
  }
}
