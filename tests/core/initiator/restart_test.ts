// A target that comes back with another incarnation, and the writes that are open then.

import { assertEquals } from "@std/assert";
import {
  ATA_COMMAND_STATUS,
  ATA_SECTOR_COUNT,
  ATA_WRITE_SECTORS_EXT,
} from "../../../src/wire/ata.ts";
import { REQUEST_FLUSH, REQUEST_WRITE } from "../../../src/core/initiator/requests.ts";
import { RESULT_OK, RESULT_WRITES_LOST } from "../../../src/core/initiator/results.ts";
import { advert, InitiatorPeer, type SentFrame } from "./peer.ts";

/** A peer whose target names its incarnation. */
function connected(): InitiatorPeer {
  const peer = new InitiatorPeer();
  peer.incarnation = 17;
  peer.connect();
  peer.events();
  return peer;
}

function submit(peer: InitiatorPeer, operation: number, sectors: number, userTag: number): void {
  const { initiator, nowMs } = peer;
  if (!initiator.submit(nowMs, operation, 0, sectors, 0, userTag)) throw new Error("No room");
}

function isWrite({ bytes }: SentFrame): boolean {
  return bytes[ATA_COMMAND_STATUS] === ATA_WRITE_SECTORS_EXT;
}

/** The target has restarted and says so; returns the writes that are sent upon that. */
function restart(peer: InitiatorPeer): SentFrame[] {
  peer.incarnation++;
  peer.give(advert(1));
  const writes: SentFrame[] = [];
  for (let frames = peer.sent(); frames.length > 0; frames = peer.sent()) {
    for (const frame of frames) {
      if (isWrite(frame)) writes.push(frame);
      else peer.give(peer.answer(frame));
    }
  }
  assertEquals(peer.events(), ["restarted"]);
  return writes;
}

Deno.test("initiator: an answer that a restart overtook does not end a write", () => {
  const peer = connected();
  submit(peer, REQUEST_WRITE, 1, 1);
  const [before] = peer.sent();
  const [again] = restart(peer);
  peer.give(peer.answer(before!));
  assertEquals(peer.completions(), [], "the target that answered is gone, with what it wrote");
  assertEquals(again!.bytes.subarray(24), before!.bytes.subarray(24), "the same is written again");
  peer.give(peer.answer(again!));
  assertEquals(peer.completions(), [[1, RESULT_OK]]);
  submit(peer, REQUEST_FLUSH, 0, 2);
  peer.serve();
  assertEquals(peer.completions(), [[2, RESULT_OK]], "nothing was lost");
});

Deno.test("initiator: a write that a restart tore fails the flush after its end", () => {
  const peer = connected();
  submit(peer, REQUEST_WRITE, 32, 1);
  const [first, second] = peer.sent();
  assertEquals([first, second].map((frame) => frame!.bytes[ATA_SECTOR_COUNT]), [16, 16]);
  peer.give(peer.answer(first!));
  const [again] = restart(peer);
  submit(peer, REQUEST_FLUSH, 0, 2);
  peer.serve();
  assertEquals(peer.completions(), [[2, RESULT_OK]], "it covers no write that is open");
  peer.give(peer.answer(again!));
  peer.serve();
  assertEquals(peer.completions(), [[1, RESULT_OK]]);
  for (const result of [RESULT_WRITES_LOST, RESULT_OK]) {
    submit(peer, REQUEST_FLUSH, 0, 3);
    peer.serve();
    assertEquals(peer.completions(), [[3, result]]);
  }
});

Deno.test("initiator: a flush covers no write of whose end the caller was told after it", () => {
  const peer = connected();
  submit(peer, REQUEST_WRITE, 1, 1);
  const [write] = peer.sent();
  peer.give(peer.answer(write!));
  submit(peer, REQUEST_FLUSH, 0, 2);
  restart(peer);
  assertEquals(peer.completions(), [[1, RESULT_OK], [2, RESULT_OK]]);
  for (const result of [RESULT_WRITES_LOST, RESULT_OK]) {
    submit(peer, REQUEST_FLUSH, 0, 3);
    peer.serve();
    assertEquals(peer.completions(), [[3, result]]);
  }
});
