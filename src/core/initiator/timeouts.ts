// What silence means: a frame is lost, a path is given up, the target is dead.

import { COMMAND_KIND_LARGE_PROBE, COMMAND_KIND_PROBE, COMMAND_STATE_READY } from "./commands.ts";
import { end, failAll, giveUp, scheduleSettle, waits } from "./endings.ts";
import { type Path, PATH_UP, SECTORS_SMALL } from "./path.ts";
import { LIST_BLOCKED } from "./requests.ts";
import { RESULT_TIMEOUT } from "./results.ts";
import { deadCheckEveryMs, type InitiatorState } from "./state.ts";

const NONE = -1;

/** When `handleTimeout` is due; Infinity when there is nothing to wait for. */
export function pollTimeout(state: InitiatorState): number {
  const session = state.session;
  let dueMs = Math.min(session.nextDueMs(), state.deadCheckMs, state.settleAtMs);
  for (let i = 0; i < session.paths.length; i++) {
    const slot = state.commands.head(i);
    if (slot === NONE) continue;
    const lostAtMs = session.paths[i]!.lostAtMs(state.commands.sentMs[slot]!);
    if (lostAtMs < dueMs) dueMs = lostAtMs;
  }
  return dueMs;
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
  const blocked = state.requests.head(LIST_BLOCKED) !== NONE;
  const wanted = state.writes.settle(nowMs);
  state.unblockDue ||= blocked;
  scheduleSettle(state, nowMs);
  if (!blocked || wanted === 0) return;
  for (const path of state.session.paths) {
    // A probe in flight is due at Infinity: its answer will do.
    if ((wanted & (1 << path.index)) !== 0 && path.probeAtMs < Infinity) path.probeAtMs = nowMs;
  }
}

/** Finds the lost frames of a path; they stand in the order in which they were sent. */
function expire(state: InitiatorState, nowMs: number, path: Path): void {
  const commands = state.commands;
  // One timeout concerns all that is overdue by it: it is doubled only afterwards.
  let timedOut = false;
  for (;;) {
    const slot = commands.head(path.index);
    if (slot === NONE) break;
    const sentMs = commands.sentMs[slot]!;
    if (path.lostAtMs(sentMs) > nowMs) break;
    const passed = sentMs < path.answeredSentMs;
    commands.unlink(path.index, slot);
    if (commands.kind[slot] === COMMAND_KIND_LARGE_PROBE) {
      path.largeFailed(nowMs);
      end(state, nowMs, slot, NONE, RESULT_TIMEOUT);
      continue;
    }
    const sectors = commands.largePiece(slot);
    const small = path.sectors <= SECTORS_SMALL;
    if (passed) path.lostOne(nowMs, sentMs, sectors);
    else path.lostInTimeout(nowMs, sectors);
    if (!small && path.sectors <= SECTORS_SMALL) {
      state.session.tell({ kind: "frames-small", path });
    }
    timedOut ||= !passed;
    if (commands.kind[slot] === COMMAND_KIND_PROBE) {
      path.probeFailed(nowMs);
      end(state, nowMs, slot, NONE, RESULT_TIMEOUT);
    } else {
      path.flying--;
      lost(state, nowMs, slot);
    }
  }
  if (timedOut && path.timedOut(nowMs) && path.state === PATH_UP) losePath(state, nowMs, path);
}

/** A command, in no list, has to be sent again, unless it has waited for too long. */
export function lost(state: InitiatorState, nowMs: number, slot: number): void {
  const commands = state.commands;
  if (nowMs - commands.startedMs[slot]! >= state.settings.deadAfterMs) {
    end(state, nowMs, slot, NONE, RESULT_TIMEOUT);
    return;
  }
  commands.state[slot] = COMMAND_STATE_READY;
  commands.append(commands.readyList, slot);
}

function losePath(state: InitiatorState, nowMs: number, path: Path): void {
  const commands = state.commands;
  path.lose(nowMs);
  state.session.tell({ kind: "path-lost", path });
  for (let slot = commands.head(path.index); slot !== NONE; slot = commands.head(path.index)) {
    commands.unlink(path.index, slot);
    if (commands.kind[slot]! >= COMMAND_KIND_PROBE) end(state, nowMs, slot, NONE, RESULT_TIMEOUT);
    else {
      path.flying--;
      lost(state, nowMs, slot);
    }
  }
  if (!state.session.anyUp()) state.session.searchAgain(nowMs);
  state.controlDue = true;
}

/** Ends what has waited for longer than `deadAfterMs`. */
function checkDead(state: InitiatorState, nowMs: number): void {
  const commands = state.commands;
  const { deadAfterMs } = state.settings;
  state.deadCheckMs = nowMs + deadCheckEveryMs(state);
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
    if (!waits(state, slot)) continue;
    if (nowMs - commands.startedMs[slot]! < deadAfterMs) continue;
    giveUp(state, nowMs, slot, RESULT_TIMEOUT);
  }
}
