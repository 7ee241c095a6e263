// How commands and requests of the initiator end, and what silence means: a frame is lost, a disk is
// slow, a path is given up, the target is dead. When a command is overdue is in pace.ts.
//
// A command ends when it is answered or given up; its tag is dead, its entry and the caller's memory
// free, once no frame of it is held. A request ends with its last command.

import { NONE } from "../tables.ts";
import {
  COMMAND_KIND_DISCARD,
  COMMAND_KIND_LARGE_PROBE,
  COMMAND_KIND_PROBE,
  COMMAND_KIND_SIZED_PROBE,
  COMMAND_KIND_WRITE,
  COMMAND_STATE_ENDED,
  COMMAND_STATE_FLYING,
  COMMAND_STATE_READY,
  NO_REQUEST,
} from "./commands.ts";
import { CLASS_FLUSH, CLASS_IDENTIFY, CLASS_READ, CLASS_WRITE } from "./pace.ts";
import { type Path, PATH_UP, SECTORS_SMALL } from "./path.ts";
import {
  LIST_BLOCKED,
  LIST_ENDED,
  LIST_QUEUED,
  REQUEST_BLOCKED,
  REQUEST_DISCARD,
  REQUEST_ENDED,
  REQUEST_FLUSH,
  REQUEST_FREE,
  REQUEST_IDENTIFY,
  REQUEST_ISSUED,
  REQUEST_QUEUED,
} from "./requests.ts";
import {
  RESULT_BEYOND_END,
  RESULT_CLOSED,
  RESULT_OK,
  RESULT_TIMEOUT,
  RESULT_UNSUPPORTED,
} from "./results.ts";
import { deadCheckEveryMs, type InitiatorState } from "./state.ts";

/** So many times the wait for a slow disk may a copy of a write be with it. */
const SLOW_COPIES = 2;
const SETTLE_SOON_MS = 10;
const SETTLE_IDLE_MS = 1000;
/** Timeouts in a row after which a large frame that is not answered counts as lost. */
const PROBE_TIMEOUTS = 2;
/** A disk that is silent for so long, whose target was heard within the other, is told of. */
const DISK_SILENT_MS = 10_000;
const TARGET_HEARD_MS = 5000;

/**
 * A command, in no list, is over.
 *
 * @param copy Copy that was answered, or `NONE`.
 */
export function endCommand(
  state: InitiatorState,
  nowMs: number,
  command: number,
  copy: number,
  result: number,
): void {
  const commands = state.commands;
  commands.state[command] = COMMAND_STATE_ENDED;
  commands.result[command] = result;
  let outstanding = (1 << commands.copies[command]!) - 1;
  if (copy !== NONE) outstanding &= ~(1 << copy);
  commands.outstanding[command] = outstanding;
  if (commands.held[command] === 0) releaseCommand(state, nowMs, command);
}

/** A command is over and none of its frames is held: its tag is dead. */
export function releaseCommand(state: InitiatorState, nowMs: number, command: number): void {
  const commands = state.commands;
  const requests = state.requests;
  const request = commands.request[command]!;
  const result = commands.result[command]!;
  const kind = commands.kind[command];
  if (kind === COMMAND_KIND_WRITE || kind === COMMAND_KIND_DISCARD) {
    releaseWrite(state, nowMs, command);
  }
  state.frames.releaseBlock(commands.block[command]!);
  commands.release(command);
  if (request === NO_REQUEST) return;
  requests.pending[request]!--;
  if (result !== RESULT_OK) failRequest(state, request, result);
  if (requests.state[request] === REQUEST_ISSUED && requests.pending[request] === 0) {
    completeRequest(state, request);
  }
}

/** The sectors of a write are free for the next, unless copies may still be on their way. */
function releaseWrite(state: InitiatorState, nowMs: number, command: number): void {
  const { commands, settings, writes } = state;
  const repeats = settings.repeatsExpected || nowMs < state.repeatsUntilMs;
  const unaccounted = commands.unaccounted[command] !== 0;
  const outstanding = commands.outstanding[command]!;
  if (outstanding === 0 && !unaccounted && !repeats) {
    writes.remove(command);
    state.unblockDue = true;
    return;
  }
  // When a copy may arrive twice, its answer does not mean that it is gone.
  const awaited = unaccounted || repeats ? 0 : outstanding;
  const paths = commands.paths[command]!;
  let quarantineMs = settings.quarantineMs;
  let sentMs = commands.sentMs[command]!;
  // With a slow disk a copy may stay for longer than a frame lives, and not every target has rule
  // 13: that a later IDENTIFY was answered says nothing then.
  const slowMs = SLOW_COPIES * longestRtoMs(state, paths);
  if (slowMs > quarantineMs) {
    quarantineMs = slowMs;
    sentMs = Infinity;
  }
  writes.quarantine(command, commands.tag[command]!, awaited, paths, sentMs, nowMs + quarantineMs);
  scheduleSettle(state, nowMs);
}

/** The longest that one of some paths waits for the disk. */
function longestRtoMs(state: InitiatorState, paths: number): number {
  let rtoMs = 0;
  for (const path of state.session.paths) {
    if ((paths & (1 << path.index)) !== 0) rtoMs = Math.max(rtoMs, path.paces[CLASS_WRITE]!.rtoMs);
  }
  return rtoMs;
}

/** Decides when the quarantine is looked through next: soon when somebody waits, or it fills up. */
export function scheduleSettle(state: InitiatorState, nowMs: number): void {
  const { inQuarantine } = state.writes;
  const soon = state.requests.lists.first(LIST_BLOCKED) !== NONE ||
    2 * inQuarantine > state.settings.quarantineMax;
  const atMs = nowMs + (soon ? SETTLE_SOON_MS : SETTLE_IDLE_MS);
  const pending = state.settleAtMs > nowMs ? state.settleAtMs : Infinity;
  state.settleAtMs = inQuarantine === 0 ? Infinity : Math.min(pending, atMs);
}

/** A request has failed: what is not yet a command never becomes one. */
export function failRequest(state: InitiatorState, request: number, result: number): void {
  const requests = state.requests;
  if (requests.result[request] === RESULT_OK) requests.result[request] = result;
  const stood = requests.state[request];
  if (stood === REQUEST_QUEUED) requests.lists.remove(LIST_QUEUED, request);
  if (stood === REQUEST_BLOCKED) {
    requests.lists.remove(LIST_BLOCKED, request);
    state.unblockDue = true;
  }
  requests.state[request] = REQUEST_ISSUED;
}

/** A request, in no list and without commands, has ended. */
export function completeRequest(state: InitiatorState, request: number): void {
  const requests = state.requests;
  if (requests.operation[request] === REQUEST_FLUSH && requests.state[request] !== REQUEST_FREE) {
    requests.result[request] = state.flushes.ended(
      requests.settled[request]!,
      requests.covered[request]!,
      requests.result[request]!,
    );
  }
  requests.state[request] = REQUEST_ENDED;
  requests.lists.append(LIST_ENDED, request);
  requests.open--;
  if (requests.open === 0) state.deadCheckMs = Infinity;
}

/** Operation of the request that a command belongs to, or `NONE`. */
export function operationOfCommand(state: InitiatorState, command: number): number {
  const request = state.commands.request[command]!;
  return request === NO_REQUEST ? NONE : state.requests.operation[request]!;
}

/** The target has answered, after it had been dead. */
export function reviveTarget(state: InitiatorState): void {
  if (!state.dead) return;
  state.dead = false;
  state.session.tell({ kind: "back" });
}

/** Ends a command that waits for an answer. */
function abandonCommand(
  state: InitiatorState,
  nowMs: number,
  command: number,
  result: number,
): void {
  const commands = state.commands;
  if (commands.state[command] === COMMAND_STATE_FLYING) landCommand(state, command);
  else commands.lists.remove(commands.readyList, command);
  endCommand(state, nowMs, command, NONE, result);
}

/** Whether a command holds a command of a request that waits for an answer. */
function isWaiting(state: InitiatorState, command: number): boolean {
  const { commands } = state;
  const stands = commands.state[command];
  return (stands === COMMAND_STATE_READY || stands === COMMAND_STATE_FLYING) &&
    commands.request[command] !== NO_REQUEST;
}

/** Whether anything that was asked for waits for an answer. */
function anyWaiting({ commands, session }: InitiatorState): boolean {
  return commands.lists.first(commands.readyList) !== NONE ||
    session.paths.some((path) => path.flying > 0);
}

/** Ends all requests and their commands. */
export function failAllRequests(state: InitiatorState, nowMs: number, result: number): void {
  const requests = state.requests;
  for (const list of [LIST_BLOCKED, LIST_QUEUED]) {
    for (
      let request = requests.lists.first(list);
      request !== NONE;
      request = requests.lists.first(list)
    ) {
      failRequest(state, request, result);
      if (requests.pending[request] === 0) completeRequest(state, request);
    }
  }
  for (let command = 0; command < state.commands.size; command++) {
    if (isWaiting(state, command)) abandonCommand(state, nowMs, command, result);
  }
}

/** The result of a request that ends where it begins, or `NONE`. */
export function refusalOf(
  state: InitiatorState,
  operation: number,
  lba: number,
  sectors: number,
): number {
  if (state.closed) return RESULT_CLOSED;
  if (state.dead) return RESULT_TIMEOUT;
  if (operation === REQUEST_FLUSH) return state.flushes.command === 0 ? RESULT_OK : NONE;
  if (operation === REQUEST_IDENTIFY) return NONE;
  if (lba + sectors > state.session.sectors) return RESULT_BEYOND_END;
  if (sectors === 0) return RESULT_OK;
  if (operation === REQUEST_DISCARD && state.session.identity?.trim === false) {
    return RESULT_UNSUPPORTED;
  }
  return NONE;
}

/**
 * Gives a command its next generation.
 *
 * @param copiesOpen Whether copies under the old one may be on their way.
 */
export function renewCommand(state: InitiatorState, command: number, copiesOpen: boolean): void {
  if (copiesOpen) state.commands.unaccounted[command] = 1;
  state.commands.renew(command);
}

/** When `handleTimeout` is due; Infinity when there is nothing to wait for. */
export function pollTimeout(state: InitiatorState): number {
  const session = state.session;
  let dueMs = Math.min(
    session.nextDueMs(state.commands.free > 0),
    state.deadCheckMs,
    state.settleAtMs,
  );
  for (let i = 0; i < session.paths.length; i++) {
    const path = session.paths[i]!;
    for (let pace = CLASS_READ; pace <= CLASS_IDENTIFY; pace++) {
      const command = state.commands.firstOfClass(i, pace);
      if (command === NONE) continue;
      const lostAtMs = lostAt(state, path, command);
      if (lostAtMs < dueMs) dueMs = lostAtMs;
    }
    for (let command = state.commands.firstAgain(i); command !== NONE;) {
      const lostAtMs = lostAt(state, path, command);
      if (lostAtMs < dueMs) dueMs = lostAtMs;
      command = state.commands.lists.next(command);
    }
  }
  return dueMs;
}

/** Whether a command that was sent later, of the same class, has been answered. */
function isOvertaken(state: InitiatorState, path: Path, command: number): boolean {
  const { commands } = state;
  const pace = commands.classOf(command);
  // A flush has nothing to do with a discard, nor with another flush.
  return pace !== CLASS_FLUSH && commands.sentMs[command]! < path.paces[pace]!.answeredSentMs;
}

/** When a command in flight on a path is overdue, as far as is known now. */
function lostAt(state: InitiatorState, path: Path, command: number): number {
  const { commands } = state;
  const pace = path.paces[commands.classOf(command)]!;
  const sentMs = commands.sentMs[command]!;
  return isOvertaken(state, path, command)
    ? pace.overtakenAtMs(sentMs, commands.tries[command]!, path.isLossy)
    : pace.timeoutAtMs(sentMs);
}

/** Does what `pollTimeout` waited for; harmless at any other time. */
export function handleTimeout(state: InitiatorState, nowMs: number): void {
  const session = state.session;
  for (const path of session.paths) expire(state, nowMs, path);
  if (state.settleAtMs <= nowMs) settle(state, nowMs);
  if (session.nextDueMs(state.commands.free > 0) <= nowMs) state.controlDue = true;
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
      const command = commands.firstOfClass(path.index, pace);
      if (command === NONE || !isOvertaken(state, path, command)) break;
      if (lostAt(state, path, command) > nowMs) break;
      loseOvertakenCommand(state, nowMs, path, command);
    }
  }
  for (let command = commands.firstAgain(path.index); command !== NONE;) {
    const next = commands.lists.next(command);
    if (isOvertaken(state, path, command) && lostAt(state, path, command) <= nowMs) {
      loseOvertakenCommand(state, nowMs, path, command);
    }
    command = next;
  }
  let giveUpPath = expireIdentify(state, nowMs, path);
  for (let pace = CLASS_READ; pace <= CLASS_FLUSH; pace++) {
    const command = firstOverdue(state, nowMs, path, pace);
    if (command === NONE) continue;
    giveUpPath = path.timedOut(nowMs, pace) || giveUpPath;
    sendOneAgain(state, nowMs, path, command);
  }
  if (giveUpPath && path.state === PATH_UP) losePath(state, nowMs, path);
  if (!small && path.sectors <= SECTORS_SMALL && path.state === PATH_UP) becomeSmall(state, path);
}

/** A command that others have overtaken is sent again. */
function loseOvertakenCommand(
  state: InitiatorState,
  nowMs: number,
  path: Path,
  command: number,
): void {
  const { commands } = state;
  if (commands.kind[command] === COMMAND_KIND_LARGE_PROBE) {
    commands.land(command);
    endLargeProbe(state, nowMs, path, command);
    return;
  }
  const hopeless = isHopeless(state, nowMs, path, command);
  path.lostOne(
    nowMs,
    commands.sentMs[command]!,
    commands.largePiece(command),
    commands.classOf(command),
  );
  if (hopeless) abandonCommand(state, nowMs, command, RESULT_TIMEOUT);
  else requeueCommand(state, command);
}

/** The command that a class's timeout is about, or `NONE` while it is not due. */
function firstOverdue(state: InitiatorState, nowMs: number, path: Path, pace: number): number {
  const { commands } = state;
  let probe = NONE;
  for (let command = commands.firstOfClass(path.index, pace); command !== NONE;) {
    if (path.paces[pace]!.timeoutAtMs(commands.sentMs[command]!) > nowMs) break;
    if (commands.kind[command] !== COMMAND_KIND_LARGE_PROBE) return command;
    probe = command;
    command = commands.lists.next(command);
  }
  const again = againOverdue(state, nowMs, path, pace);
  return again === NONE ? probe : again;
}

/** The first command of a class that was sent more than once and is due again, or `NONE`. */
function againOverdue(state: InitiatorState, nowMs: number, path: Path, pace: number): number {
  const { commands } = state;
  let command = commands.firstAgain(path.index);
  while (
    command !== NONE && (commands.classOf(command) !== pace || lostAt(state, path, command) > nowMs)
  ) {
    command = commands.lists.next(command);
  }
  return command;
}

/**
 * Nothing of a class is answered. One command is sent again: where it is answered it overtakes the
 * others, and they follow. Whether the target lives is asked beside it: if so, the disk is slow, and
 * has what was sent.
 */
function sendOneAgain(state: InitiatorState, nowMs: number, path: Path, command: number): void {
  const { commands } = state;
  if (path.probeAtMs < Infinity) path.probeAtMs = nowMs;
  path.sizedProbeDue = path.sectors > SECTORS_SMALL;
  state.controlDue = true;
  if (commands.kind[command] === COMMAND_KIND_LARGE_PROBE) {
    // While the disk is silent as a whole it says nothing of large frames.
    if (path.paces[CLASS_READ]!.timeouts < PROBE_TIMEOUTS) return;
    commands.land(command);
    endLargeProbe(state, nowMs, path, command);
    return;
  }
  path.lostInTimeout(nowMs, commands.largePiece(command));
  commands.urgent[command] = 1;
  requeueCommand(state, command);
}

/** @returns Whether the path is to be given up. */
function expireIdentify(state: InitiatorState, nowMs: number, path: Path): boolean {
  const { commands } = state;
  const pace = path.paces[CLASS_IDENTIFY]!;
  // One timeout concerns all that is overdue by it: it is doubled only afterwards.
  let timedOut = false;
  for (;;) {
    let command = commands.firstOfClass(path.index, CLASS_IDENTIFY);
    if (command === NONE || lostAt(state, path, command) > nowMs) {
      command = againOverdue(state, nowMs, path, CLASS_IDENTIFY);
      if (command === NONE) break;
    }
    timedOut ||= !isOvertaken(state, path, command);
    if (commands.kind[command] === COMMAND_KIND_SIZED_PROBE) {
      commands.land(command);
      path.sizedFailed(nowMs, pace.answeredSentMs >= commands.sentMs[command]!);
      state.controlDue = true;
      endCommand(state, nowMs, command, NONE, RESULT_TIMEOUT);
    } else if (commands.kind[command] === COMMAND_KIND_PROBE) {
      commands.land(command);
      path.probeFailed(nowMs);
      endCommand(state, nowMs, command, NONE, RESULT_TIMEOUT);
    } else {
      requeueCommand(state, command);
    }
  }
  return timedOut && path.timedOut(nowMs, CLASS_IDENTIFY);
}

function endLargeProbe(state: InitiatorState, nowMs: number, path: Path, command: number): void {
  path.largeFailed(nowMs);
  endCommand(state, nowMs, command, NONE, RESULT_TIMEOUT);
}

/** Large frames vanish: what went in such is sent again in small ones. */
function becomeSmall(state: InitiatorState, path: Path): void {
  const { commands } = state;
  state.session.tell({ kind: "frames-small", path });
  for (let command = 0; command < commands.size; command++) {
    if (commands.state[command] !== COMMAND_STATE_FLYING || commands.path[command] !== path.index) {
      continue;
    }
    if (commands.largePiece(command) > 0) requeueCommand(state, command);
  }
}

/** Takes a request's command in flight out of the air. */
function landCommand({ commands, session }: InitiatorState, command: number): void {
  commands.land(command);
  session.paths[commands.path[command]!]!.flying--;
}

/** A request's command in flight has to be sent again. */
export function requeueCommand(state: InitiatorState, command: number): void {
  const { commands } = state;
  landCommand(state, command);
  commands.state[command] = COMMAND_STATE_READY;
  // What a timeout has chosen goes before what waits for room: a window full of what was lost has none.
  if (commands.urgent[command] !== 0) commands.lists.insert(commands.readyList, NONE, command);
  else commands.lists.append(commands.readyList, command);
}

/**
 * Whether a command has waited for too long. One that stands behind others in a slow disk's queue
 * waits for as long as the disk goes on; one that has been overtaken, or cannot be, for
 * `deadAfterMs`, or what a slow disk needs.
 */
function isHopeless(state: InitiatorState, nowMs: number, path: Path, command: number): boolean {
  const { commands } = state;
  const pace = commands.classOf(command);
  if (pace < CLASS_FLUSH && !isOvertaken(state, path, command)) return false;
  let patienceMs = state.settings.deadAfterMs;
  for (let i = CLASS_READ; i <= CLASS_FLUSH; i++) {
    patienceMs = Math.max(patienceMs, path.paces[i]!.rtoMs);
  }
  return nowMs - commands.startedMs[command]! >= patienceMs;
}

function losePath(state: InitiatorState, nowMs: number, path: Path): void {
  const commands = state.commands;
  path.lose(nowMs);
  state.session.tell({ kind: "path-lost", path });
  for (
    let command = commands.anyOf(path.index);
    command !== NONE;
    command = commands.anyOf(path.index)
  ) {
    if (commands.kind[command]! >= COMMAND_KIND_PROBE) {
      commands.land(command);
      endCommand(state, nowMs, command, NONE, RESULT_TIMEOUT);
    } else {
      // That nothing at all was heard says nothing of this command: its copies count anew.
      commands.tries[command] = 0;
      requeueCommand(state, command);
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
  // What stands in line behind the quarantine waits for us, and not for the disk.
  if (state.session.anyUp() && !anyWaiting(state)) state.progressMs = nowMs;
  if (nowMs - state.progressMs >= deadAfterMs) {
    // With a path that works it is the disk that hangs: the next request may fare better.
    if (!state.session.anyUp()) {
      state.dead = true;
      state.session.tell({ kind: "dead" });
    }
    failAllRequests(state, nowMs, RESULT_TIMEOUT);
    return;
  }
  for (let command = 0; command < commands.size; command++) {
    if (!isWaiting(state, command) || commands.state[command] !== COMMAND_STATE_FLYING) continue;
    const path = state.session.paths[commands.path[command]!]!;
    if (!isHopeless(state, nowMs, path, command)) continue;
    abandonCommand(state, nowMs, command, RESULT_TIMEOUT);
  }
}
