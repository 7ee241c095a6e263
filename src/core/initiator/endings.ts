// How commands and requests of the initiator end. A command ends when it is answered or given up; its
// tag is dead, its slot and the caller's memory free, once no frame of it is held. A request ends
// with its last command.

import {
  COMMAND_KIND_DISCARD,
  COMMAND_KIND_WRITE,
  COMMAND_STATE_ENDED,
  COMMAND_STATE_FLYING,
  COMMAND_STATE_READY,
  NO_REQUEST,
} from "./commands.ts";
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
import { CLASS_WRITE } from "./pace.ts";
import type { InitiatorState } from "./state.ts";
import { NONE } from "../tables.ts";

/** So many times the wait for a slow disk may a copy of a write be with it. */
const SLOW_COPIES = 2;
const SETTLE_SOON_MS = 10;
const SETTLE_IDLE_MS = 1000;

/**
 * A command, in no list, is over.
 *
 * @param copy Copy that was answered, or −1.
 */
export function end(
  state: InitiatorState,
  nowMs: number,
  slot: number,
  copy: number,
  result: number,
): void {
  const commands = state.commands;
  commands.state[slot] = COMMAND_STATE_ENDED;
  commands.result[slot] = result;
  let outstanding = (1 << commands.copies[slot]!) - 1;
  if (copy !== NONE) outstanding &= ~(1 << copy);
  commands.outstanding[slot] = outstanding;
  if (commands.held[slot] === 0) finish(state, nowMs, slot);
}

/** A command is over and none of its frames is held: its tag is dead. */
export function finish(state: InitiatorState, nowMs: number, slot: number): void {
  const commands = state.commands;
  const requests = state.requests;
  const request = commands.request[slot]!;
  const result = commands.result[slot]!;
  const kind = commands.kind[slot];
  if (kind === COMMAND_KIND_WRITE || kind === COMMAND_KIND_DISCARD) finishWrite(state, nowMs, slot);
  state.frames.releaseBlock(commands.block[slot]!);
  commands.release(slot);
  if (request === NO_REQUEST) return;
  requests.pending[request]!--;
  if (result !== RESULT_OK) failRest(state, request, result);
  if (requests.state[request] === REQUEST_ISSUED && requests.pending[request] === 0) {
    complete(state, request);
  }
}

/** The sectors of a write are free for the next, unless copies may still be on their way. */
function finishWrite(state: InitiatorState, nowMs: number, slot: number): void {
  const { commands, settings, writes } = state;
  const repeats = settings.repeatsExpected || nowMs < state.repeatsUntilMs;
  const unaccounted = commands.unaccounted[slot] !== 0;
  const outstanding = commands.outstanding[slot]!;
  if (outstanding === 0 && !unaccounted && !repeats) {
    writes.remove(slot);
    state.unblockDue = true;
    return;
  }
  // When a copy may arrive twice, its answer does not mean that it is gone.
  const awaited = unaccounted || repeats ? 0 : outstanding;
  const paths = commands.paths[slot]!;
  let quarantineMs = settings.quarantineMs;
  let sentMs = commands.sentMs[slot]!;
  // With a slow disk a copy may stay for longer than a frame lives, and not every target has rule
  // 13: that a later IDENTIFY was answered says nothing then.
  const slowMs = SLOW_COPIES * longestRtoMs(state, paths);
  if (slowMs > quarantineMs) {
    quarantineMs = slowMs;
    sentMs = Infinity;
  }
  writes.quarantine(slot, commands.tag[slot]!, awaited, paths, sentMs, nowMs + quarantineMs);
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
export function failRest(state: InitiatorState, request: number, result: number): void {
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
export function complete(state: InitiatorState, request: number): void {
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

/** Operation of the request that a command belongs to, or −1. */
export function requestOperation(state: InitiatorState, slot: number): number {
  const request = state.commands.request[slot]!;
  return request === NO_REQUEST ? NONE : state.requests.operation[request]!;
}

/** The target has answered, after it had been dead. */
export function revive(state: InitiatorState): void {
  if (!state.dead) return;
  state.dead = false;
  state.session.tell({ kind: "back" });
}

/** Ends a command that waits for an answer. */
export function giveUp(state: InitiatorState, nowMs: number, slot: number, result: number): void {
  const commands = state.commands;
  if (commands.state[slot] === COMMAND_STATE_FLYING) {
    const path = state.session.paths[commands.path[slot]!]!;
    commands.land(slot);
    path.flying--;
  } else {
    commands.lists.remove(commands.readyList, slot);
  }
  end(state, nowMs, slot, NONE, result);
}

/** Whether a slot holds a command of a request that waits for an answer. */
export function waits(state: InitiatorState, slot: number): boolean {
  const { commands } = state;
  const stands = commands.state[slot];
  return (stands === COMMAND_STATE_READY || stands === COMMAND_STATE_FLYING) &&
    commands.request[slot] !== NO_REQUEST;
}

/** Ends all requests and their commands. */
export function failAll(state: InitiatorState, nowMs: number, result: number): void {
  const requests = state.requests;
  for (const list of [LIST_BLOCKED, LIST_QUEUED]) {
    for (
      let index = requests.lists.first(list);
      index !== NONE;
      index = requests.lists.first(list)
    ) {
      failRest(state, index, result);
      if (requests.pending[index] === 0) complete(state, index);
    }
  }
  for (let slot = 0; slot < state.commands.size; slot++) {
    if (waits(state, slot)) giveUp(state, nowMs, slot, result);
  }
}

/** The result of a request that ends where it begins, or −1. */
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
export function renew(state: InitiatorState, slot: number, copiesOpen: boolean): void {
  if (copiesOpen) state.commands.unaccounted[slot] = 1;
  state.commands.renew(slot);
}
