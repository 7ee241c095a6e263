// What a change of the target's incarnation (wire/incarnation.ts) means to the writes that are open:
// the target may have lost all that it had answered before, and has answered it in good faith.
//
// 1. An answer may come late, or overtaken by the IDENTIFY that shows the change: what was sent
//    before that was received may have been done by the target that is gone. No answer to it counts
//    any more, and it is sent again. Nothing is lost by that, nor is anything said to be.
// 2. A request of which a part was answered before cannot be sent again as a whole. It goes on, and
//    the first flush that covers its completion fails.

import {
  COMMAND_KIND_DISCARD,
  COMMAND_KIND_WRITE,
  COMMAND_STATE_FLYING,
  COMMAND_STATE_READY,
} from "./commands.ts";
import { renewCommand, requeueCommand } from "./lifetimes.ts";
import type { InitiatorState } from "./state.ts";

/** The target's incarnation has changed. */
export function noteRestart(state: InitiatorState): void {
  const { commands, flushes, requests } = state;
  flushes.restarted();
  requests.tearAnswered();
  for (let command = 0; command < commands.size; command++) {
    const kind = commands.kind[command];
    if (kind !== COMMAND_KIND_WRITE && kind !== COMMAND_KIND_DISCARD) continue;
    if (commands.state[command] === COMMAND_STATE_FLYING) requeueCommand(state, command);
    if (commands.state[command] !== COMMAND_STATE_READY) continue;
    renewCommand(state, command, commands.copies[command]! > 0);
  }
}
