// Reads: where their data go.

import { assert, assertEquals } from "@std/assert";
import { REQUEST_IDENTIFY, REQUEST_READ } from "../../../src/core/initiator/requests.ts";
import { RESULT_OK } from "../../../src/core/initiator/results.ts";
import { InitiatorPeer } from "./peer.ts";

/** Where the data go. */
const MEMORY_AT = 4096;

function connected(settings = {}): InitiatorPeer {
  const peer = new InitiatorPeer(settings);
  peer.connect();
  return peer;
}

Deno.test("initiator: what nobody wants to read is checked, and not copied", () => {
  const peer = connected({ keepsReads: false });
  assert(peer.initiator.submit(peer.nowMs, REQUEST_READ, 1000, 2, MEMORY_AT, 77));
  const [frame] = peer.sent();
  const answer = peer.answer(frame!);
  peer.give(answer.subarray(0, -1));
  assertEquals(peer.completions(), [], "an answer that is too short is none");
  peer.give(answer);
  assertEquals(peer.completions(), [[77, RESULT_OK]]);
  assert(peer.memory.subarray(MEMORY_AT, MEMORY_AT + 1024).every((byte) => byte === 0));
  assert(peer.initiator.submit(peer.nowMs, REQUEST_IDENTIFY, 0, 0, MEMORY_AT, 78));
  peer.serve();
  assertEquals(peer.completions(), [[78, RESULT_OK]]);
  assert(peer.memory.subarray(MEMORY_AT, MEMORY_AT + 512).some((byte) => byte !== 0));
});
