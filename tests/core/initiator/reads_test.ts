// Reads: how they are split, and where their data go.

import { assert, assertEquals } from "@std/assert";
import { REQUEST_IDENTIFY, REQUEST_READ } from "../../../src/core/initiator/requests.ts";
import { RESULT_OK } from "../../../src/core/initiator/results.ts";
import { AOE_COMMAND, COMMAND_ATA } from "../../../src/wire/aoe.ts";
import { ATA_COMMAND_STATUS, ATA_IDENTIFY_DEVICE, readLba48 } from "../../../src/wire/ata.ts";
import { InitiatorPeer, type SentFrame } from "./peer.ts";

/** Where the data go. */
const MEMORY_AT = 4096;

function connected(settings = {}): InitiatorPeer {
  const peer = new InitiatorPeer(settings);
  peer.connect();
  return peer;
}

Deno.test("initiator: a read is split to the frame size, and lands where the caller wants it", () => {
  const peer = connected();
  assert(peer.initiator.submit(peer.nowMs, REQUEST_READ, 1003, 40, MEMORY_AT, 77));
  const frames = peer.sent();
  // A page of either end's cache is touched by one command, if it can be.
  assertEquals(frames.map(({ bytes }) => [readLba48(bytes, 0), bytes[26]]), [
    [1003, 13],
    [1016, 16],
    [1032, 11],
  ]);
  assertEquals(frames.map(({ bytes }) => bytes.length), [60, 60, 60]);
  for (const frame of frames.reverse()) {
    assertEquals(peer.completions(), []);
    peer.give(peer.answer(frame));
  }
  assertEquals(peer.completions(), [[77, RESULT_OK]]);
  assertEquals(peer.memory[MEMORY_AT], 1003 & 0xff);
  assertEquals(peer.memory[MEMORY_AT + 13 * 512], 1016 & 0xff);
  assertEquals(peer.memory[MEMORY_AT + 40 * 512], 0, "nothing behind the data is written");
  assertEquals(peer.memory[MEMORY_AT - 1], 0);
});

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

Deno.test("initiator: what a timeout sends again is not held up by what waits for room", () => {
  const peer = connected();
  const [path] = peer.initiator.paths;
  const submit = () => {
    for (let i = 0; i < 4; i++) {
      assert(peer.initiator.submit(peer.nowMs, REQUEST_READ, i * 256, 256, MEMORY_AT, i));
    }
  };
  submit();
  const frames = peer.sent();
  for (const frame of frames) {
    peer.nowMs += 0.1;
    peer.give(peer.answer(frame));
    frames.push(...peer.sent());
  }
  peer.completions();
  assert(peer.initiator.submit(peer.nowMs, REQUEST_READ, 2048, 16, MEMORY_AT, 4));
  assertEquals(peer.sent().length, 1);
  peer.nowMs++;
  submit();
  const [answered, ...lost] = peer.sent();
  peer.nowMs++;
  peer.give(peer.answer(answered!));
  // The first is taken for lost: the window shrinks, and it waits until fewer are in flight. But the
  // network has lost all of them, and carries small frames only for a moment.
  for (const untilMs = peer.nowMs + 2000; peer.nowMs < untilMs;) {
    for (const frame of peer.wait(5)) {
      const { bytes } = frame;
      if (bytes[ATA_COMMAND_STATUS] === ATA_IDENTIFY_DEVICE) peer.give(peer.answer(frame));
    }
  }
  assert(path!.flying > path!.window, `${path!.flying} in flight, ${path!.window} may be`);
  peer.wait(10_000, true);
  assertEquals(peer.completions().sort(), [0, 1, 2, 3, 4].map((tag) => [tag, RESULT_OK]));
  assert(lost.length > 20);
});

Deno.test("initiator: copies that a path has lost with all else do not put off the next one", () => {
  const peer = connected();
  for (const lba of [0, 1000]) {
    assert(peer.initiator.submit(peer.nowMs, REQUEST_READ, lba, 2, MEMORY_AT, lba));
  }
  const isRead = ({ bytes }: SentFrame) =>
    bytes[AOE_COMMAND] === COMMAND_ATA &&
    bytes[ATA_COMMAND_STATUS] !== ATA_IDENTIFY_DEVICE;
  /** The target is reached for a while, and its disk is silent; the reads that were sent. */
  const reached = (ms: number): SentFrame[] => {
    const reads: SentFrame[] = [];
    for (const untilMs = peer.nowMs + ms; peer.nowMs < untilMs;) {
      for (const frame of peer.wait(5)) {
        if (isRead(frame)) reads.push(frame);
        else peer.give(peer.answer(frame));
      }
    }
    return reads;
  };
  let reads: SentFrame[] = [];
  for (let i = 0; i < 12; i++) {
    peer.wait(4000);
    reads = reached(2000);
  }
  const answered = reads.findLast(({ bytes }) => readLba48(bytes, 0) === 0)!;
  peer.give(peer.answer(answered));
  assertEquals(peer.completions(), [[0, RESULT_OK]]);
  assert(reached(5000).some(({ bytes }) => readLba48(bytes, 0) === 1000));
});
