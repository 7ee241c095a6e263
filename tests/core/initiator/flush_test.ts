// What a flush may promise, and what a new process promises of writes that an earlier one was
// answered (core/initiator/flush.ts).

import { assertEquals } from "@std/assert";
import {
  REQUEST_FLUSH,
  REQUEST_IDENTIFY,
  REQUEST_READ,
  REQUEST_WRITE,
} from "../../../src/core/initiator/requests.ts";
import {
  RESULT_ABORTED,
  RESULT_OK,
  RESULT_UNAVAILABLE,
  RESULT_WRITES_LOST,
} from "../../../src/core/initiator/results.ts";
import { DISK, InitiatorPeer } from "./peer.ts";

const PAYLOAD_AT = 4096;

function submit(peer: InitiatorPeer, operation: number): void {
  peer.initiator.submit(peer.nowMs, operation, 0, 1, PAYLOAD_AT, 1);
}

/** What a request comes to with a target that answers. */
function result(peer: InitiatorPeer, operation: number): number | undefined {
  submit(peer, operation);
  peer.serve();
  return peer.completions()[0]?.[1];
}

Deno.test("flush: another disk at the address says nothing of the writes", () => {
  const peer = new InitiatorPeer();
  peer.incarnation = 17;
  peer.connect();
  assertEquals(result(peer, REQUEST_WRITE), RESULT_OK);
  peer.incarnation = 18;
  peer.identity = { ...DISK, serial: "another" };
  assertEquals(result(peer, REQUEST_FLUSH), RESULT_UNAVAILABLE);
});

Deno.test("flush: another disk's identity is nobody's answer", () => {
  const peer = new InitiatorPeer();
  peer.connect();
  peer.memory.fill(7, PAYLOAD_AT, PAYLOAD_AT + 512);
  peer.identity = { ...DISK, serial: "another" };
  assertEquals(result(peer, REQUEST_IDENTIFY), RESULT_UNAVAILABLE);
  assertEquals(peer.memory[PAYLOAD_AT], 7);
});

Deno.test("flush: one that has worked and is aborted has failed, and is tried again", () => {
  const peer = new InitiatorPeer();
  peer.connect();
  assertEquals(result(peer, REQUEST_FLUSH), RESULT_OK);
  for (let i = 0; i < 2; i++) {
    submit(peer, REQUEST_FLUSH);
    const [frame] = peer.sent();
    peer.give(peer.answer(frame!, { status: 0x51, error: 0x04 }));
    assertEquals(peer.sent(), []);
    assertEquals(peer.completions(), [[1, RESULT_ABORTED]]);
  }
  assertEquals(result(peer, REQUEST_FLUSH), RESULT_OK);
});

for (
  const [what, before, now, first] of [
    ["is told that its writes were lost, once", 17, 18, RESULT_WRITES_LOST],
    ["hears of no loss without a restart", 17, 17, RESULT_OK],
  ] as const
) {
  Deno.test(`flush: a process that goes on where another ended ${what}`, () => {
    const peer = new InitiatorPeer();
    peer.initiator.resume({ serial: DISK.serial, model: DISK.model, incarnation: before });
    peer.incarnation = now;
    // Requests may come before the disk is found.
    submit(peer, REQUEST_FLUSH);
    peer.connect();
    assertEquals(peer.completions(), [[1, first]]);
    assertEquals(result(peer, REQUEST_FLUSH), RESULT_OK);
  });
}

Deno.test("flush: a restart after another process has gone on counts as well", () => {
  const peer = new InitiatorPeer();
  peer.initiator.resume({ serial: DISK.serial, model: DISK.model, incarnation: 17 });
  peer.incarnation = 17;
  peer.connect();
  peer.incarnation = 18;
  assertEquals(result(peer, REQUEST_FLUSH), RESULT_WRITES_LOST);
});

Deno.test("flush: where another process ended no other disk will do", () => {
  const peer = new InitiatorPeer();
  peer.initiator.resume({ serial: "another", model: DISK.model, incarnation: 17 });
  peer.connect();
  submit(peer, REQUEST_READ);
  peer.serve();
  assertEquals([peer.completions(), peer.initiator.isUp], [[], false]);
});
