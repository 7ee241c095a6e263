// An interface that takes frames and does not send them.

import { assert } from "@std/assert";
import { REQUEST_READ } from "../../../src/core/initiator/requests.ts";
import { InitiatorPeer } from "./peer.ts";

Deno.test("initiator: while frames are held up, a probe that finds no command left is not due", () => {
  const peer = new InitiatorPeer({ commandsMax: 4, pathsMax: 1 });
  peer.connect();
  const { initiator } = peer;
  assert(initiator.submit(peer.nowMs, REQUEST_READ, 0, 1, 0, 1));
  for (let i = 0; i < 500; i++) {
    initiator.handleTimeout(peer.nowMs);
    while (initiator.pollTransmit(peer.nowMs));
    const dueMs = initiator.pollTimeout();
    assert(dueMs > peer.nowMs, `due at ${dueMs}, where nothing can be done at ${peer.nowMs}`);
    peer.nowMs = dueMs;
  }
});
