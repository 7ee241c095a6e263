// The initiator against answers written by hand: what it sends, byte for byte, and what it makes of
// every answer. What it does on a bad network is in tests/simulation.

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  REQUEST_DISCARD,
  REQUEST_FLUSH,
  REQUEST_IDENTIFY,
  REQUEST_READ,
  REQUEST_WRITE,
} from "../../../src/core/initiator/requests.ts";
import {
  describeResult,
  RESULT_ABORTED,
  RESULT_BAD_ARGUMENT,
  RESULT_BEYOND_END,
  RESULT_CLOSED,
  RESULT_CONFIG_PRESENT,
  RESULT_DEVICE_FAULT,
  RESULT_MEDIUM_ERROR,
  RESULT_OK,
  RESULT_RESERVED,
  RESULT_TIMEOUT,
  RESULT_UNAVAILABLE,
  RESULT_UNKNOWN_ERROR,
  RESULT_UNSUPPORTED,
  RESULT_VERSION,
  RESULT_WRITES_LOST,
} from "../../../src/core/initiator/results.ts";
import { readLba48 } from "../../../src/wire/ata.ts";
import { readUint48Le } from "../../../src/wire/endian.ts";
import { advert, DISK, InitiatorPeer, OWN_MAC, TARGET_MAC } from "./peer.ts";

function connected(settings = {}): InitiatorPeer {
  const peer = new InitiatorPeer(settings);
  peer.connect();
  peer.events();
  return peer;
}

function submit(peer: InitiatorPeer, operation: number, lba = 0, sectors = 0, userTag = 1): void {
  assert(peer.initiator.submit(peer.nowMs, operation, lba, sectors, 4096, userTag));
}

Deno.test("initiator: asks for its shelf.slot by broadcast, then IDENTIFY, small and large", () => {
  const peer = new InitiatorPeer();
  peer.initiator.setInterface(peer.nowMs, 4, OWN_MAC, 9000);
  const [query, ...none] = peer.sent();
  assertEquals(none, []);
  assertEquals([...query!.bytes], [
    ...[255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 0x88, 0xa2, 0x10, 0],
    ...[0, 7, 3, 1, 0x80, 0, 0, 0],
    ...[0, 0, 0, 0, 0, 0x10, 0, 0],
    ...new Uint8Array(28),
  ]);
  peer.give(peer.answer(query!));
  const [identify] = peer.sent();
  assertEquals([...identify!.bytes.subarray(0, 20)], [
    ...[2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1, 0x88, 0xa2, 0x10, 0, 0, 7, 3, 0],
  ]);
  assertEquals(identify!.bytes.length, 60);
  assertEquals(identify!.bytes[27], 0xec);
  assert((identify!.bytes[20]! & 0x80) !== 0, "bit 31 of the tag is clear");
  assertEquals((identify!.bytes[20]! >> 4) & 7, 5, "the session stands below bit 31");
  assertEquals(peer.initiator.sectors, undefined);
  peer.give(peer.answer(identify!));
  assertEquals(peer.initiator.identity, DISK);
  assertEquals(peer.initiator.sectors, DISK.sectors);
  assertEquals(peer.events(), ["path-found", "path-up", "ready"]);
  assertEquals(peer.initiator.paths[0]!.sectors, 2);
  const [probe] = peer.sent();
  assertEquals(probe!.bytes.length, 36 + 17 * 512);
  // Padded to a full frame: whether large ones come through is known before the disk has answered.
  assertEquals([...probe!.bytes.subarray(24, 36)], [0, 0, 1, 0xec, 0, 0, 0, 0, 0, 0, 0, 0]);
  assert(probe!.bytes.subarray(36).every((byte) => byte === 0));
  peer.give(peer.answer(probe!));
  assertEquals(peer.initiator.paths[0]!.sectors, 17);
});

Deno.test("initiator: a smaller MTU is obeyed at once, a larger one once it is known to carry", () => {
  const peer = connected();
  peer.initiator.setInterface(peer.nowMs, 4, OWN_MAC, 1500);
  submit(peer, REQUEST_READ, 0, 4);
  const [query, ...reads] = peer.sent();
  assertEquals(query!.bytes[19], 1);
  assertEquals(reads.map(({ bytes }) => bytes[26]), [2, 2]);
  peer.serve();
  peer.initiator.setInterface(peer.nowMs, 4, OWN_MAC, 9000);
  peer.serve();
  assertEquals(peer.initiator.paths[0]!.sectors, 17);
});

Deno.test("initiator: what a target aborts after its MTU has shrunk goes on in pieces that fit", () => {
  for (const operation of [REQUEST_READ, REQUEST_WRITE]) {
    const peer = connected();
    peer.wait(300, true);
    submit(peer, operation, 96, 40);
    const large = peer.sent();
    assertEquals(large.map(({ bytes }) => bytes[26]), [16, 16, 8]);
    peer.sectorsPerFrame = 2;
    for (const frame of large) peer.give(peer.answer(frame, { status: 0x41, error: 0x04 }));
    const next = peer.sent();
    // One question for the config, and the first small piece of each command.
    assertEquals(next.filter(({ bytes }) => bytes[19] === 1).length, 1);
    const pieces = next.filter(({ bytes }) => bytes[19] === 0);
    assertEquals(pieces.map(({ bytes }) => [readLba48(bytes, 0), bytes[26]]), [
      ...[[96, 2], [112, 2], [128, 2]],
    ]);
    for (const frame of next) peer.give(peer.answer(frame));
    assertEquals(peer.initiator.paths[0]!.sectors, 2, "the answer to the question is obeyed");
    peer.serve();
    assertEquals(peer.completions(), [[1, RESULT_OK]]);
    assertEquals(peer.events().filter((kind) => kind === "failed"), []);
    if (operation === REQUEST_WRITE) continue;
    // The peer's data begin with the number of the sector that they were asked for.
    const found = [0, 2, 14, 16, 30, 32, 38].map((sector) => peer.memory[4096 + 512 * sector]);
    assertEquals(found, [96, 98, 110, 112, 126, 128, 134]);
  }
});

Deno.test("initiator: a target that aborts small pieces as well means it", () => {
  for (const operation of [REQUEST_READ, REQUEST_WRITE]) {
    const peer = connected();
    submit(peer, operation, 0, 17);
    for (const sectors of [17, 2]) {
      const frames = peer.sent().filter(({ bytes }) => bytes[19] === 0);
      assertEquals(frames.map(({ bytes }) => bytes[26]), [sectors]);
      peer.give(peer.answer(frames[0]!, { status: 0x41, error: 0x04 }));
    }
    assertEquals(peer.completions(), [[1, RESULT_ABORTED]]);
    assertEquals(peer.events(), ["failed"]);
  }
});

Deno.test("initiator: a target that aborts is asked for its config now and then, not each time", () => {
  const peer = connected();
  let queries = 0;
  for (let i = 0; i < 50; i++) {
    submit(peer, REQUEST_READ, 0, 17);
    for (let frames = peer.sent(); frames.length > 0; frames = peer.sent()) {
      for (const frame of frames) {
        if (frame.bytes[19] === 1) queries++;
        else peer.give(peer.answer(frame, { status: 0x41, error: 0x04 }));
      }
    }
    peer.nowMs += 10;
  }
  assertEquals(peer.completions().length, 50);
  assert(queries >= 3 && queries <= 5, `${queries} queries in 500 ms`);
});

Deno.test("initiator: the sectors of an aborted write stay quarantined for an older, larger copy", () => {
  const peer = connected();
  submit(peer, REQUEST_WRITE, 0, 17, 1);
  peer.sent();
  // Nothing comes back: the write is sent again, and that copy is aborted.
  const again = peer.wait(200).filter(({ bytes }) => bytes[27] === 0x34 && bytes[26] === 17);
  assert(again.length > 0, "the write was not sent again");
  peer.give(peer.answer(again.at(-1)!, { status: 0x41, error: 0x04 }));
  peer.sectorsPerFrame = 2;
  for (let i = 0; peer.initiator.requestsOpen > 0 && i < 100; i++) {
    for (const frame of peer.sent()) {
      if (frame.bytes[27] !== 0xec) peer.give(peer.answer(frame));
    }
  }
  assertEquals(peer.completions(), [[1, RESULT_OK]]);
  submit(peer, REQUEST_WRITE, 16, 1, 2);
  const early = peer.sent().filter(({ bytes }) => bytes[27] === 0x34);
  assertEquals(early, [], "the older copy could still land on top of the newer write");
  peer.wait(300, true);
  assertEquals(peer.completions(), [[2, RESULT_OK]]);
});

Deno.test("initiator: a large probe that is aborted proves nothing", () => {
  const peer = new InitiatorPeer();
  peer.initiator.setInterface(peer.nowMs, 4, OWN_MAC, 9000);
  for (let i = 0; i < 2; i++) peer.give(peer.answer(peer.sent()[0]!));
  // Nothing answers the padded IDENTIFY: a large read is tried.
  assertEquals(peer.sent().map(({ bytes }) => bytes.length), [36 + 17 * 512]);
  peer.nowMs += 100;
  const [probe] = peer.sent();
  assertEquals(probe!.bytes[26], 17);
  peer.give(peer.answer(probe!, { status: 0x41, error: 0x04 }));
  assertEquals(peer.initiator.paths[0]!.sectors, 2);
});

Deno.test("initiator: a write is a header and the caller's own memory", () => {
  const peer = connected();
  for (let i = 0; i < 1024; i++) peer.memory[4096 + i] = i;
  submit(peer, REQUEST_WRITE, 0x123456, 2);
  assertEquals(peer.completions(), [[1, RESULT_BEYOND_END]], "the disk ends before");
  submit(peer, REQUEST_WRITE, 0x0abcde, 2);
  assert(peer.initiator.pollTransmit(peer.nowMs));
  assertEquals(peer.initiator.frame.headerBytes, 36);
  assertEquals(peer.initiator.frame.payloadAt, 4096);
  assertEquals(peer.initiator.frame.payloadBytes, 1024);
  const { headerAt } = peer.initiator.frame;
  assertEquals([...peer.memory.subarray(headerAt + 24, headerAt + 36)], [
    ...[0x41, 0, 2, 0x34, 0xde, 0xbc, 0x0a, 0, 0, 0, 0, 0],
  ]);
});

for (
  const [name, result, errno, failed, status, error] of [
    ["AoE 1", RESULT_UNSUPPORTED, "EOPNOTSUPP", 1, 0, 0],
    ["AoE 2", RESULT_BAD_ARGUMENT, "EINVAL", 2, 0, 0],
    ["AoE 3", RESULT_UNAVAILABLE, "ENXIO", 3, 0, 0],
    ["AoE 4", RESULT_CONFIG_PRESENT, "EEXIST", 4, 0, 0],
    ["AoE 5", RESULT_VERSION, "EPROTONOSUPPORT", 5, 0, 0],
    ["AoE 6", RESULT_RESERVED, "EBUSY", 6, 0, 0],
    ["AoE 77", RESULT_UNKNOWN_ERROR, "EPROTO", 77, 0, 0],
    ["UNC", RESULT_MEDIUM_ERROR, "ENODATA", 0, 0x41, 0x40],
    ["IDNF", RESULT_BEYOND_END, "ERANGE", 0, 0x41, 0x10],
    ["ABRT", RESULT_ABORTED, "EREMOTEIO", 0, 0x41, 0x04],
    ["DF", RESULT_DEVICE_FAULT, "EIO", 0, 0x61, 0x04],
    ["BSY", RESULT_DEVICE_FAULT, "EIO", 0, 0x80, 0],
    ["DRQ", RESULT_DEVICE_FAULT, "EIO", 0, 0x48, 0],
    ["ICRC", RESULT_DEVICE_FAULT, "EIO", 0, 0x41, 0x80],
  ] as const
) {
  Deno.test(`initiator: ${name} ends a request at once, as ${errno}`, () => {
    const peer = connected();
    for (const operation of [REQUEST_READ, REQUEST_WRITE]) {
      submit(peer, operation, 8, 2);
      const [frame] = peer.sent();
      peer.give(failed > 0 ? peer.error(frame!, failed) : peer.answer(frame!, { status, error }));
      assertEquals(peer.completions(), [[1, result]]);
      assertEquals(describeResult(result).errno, errno);
      assertEquals(peer.events(), ["failed"]);
      assertEquals(peer.sent(), []);
    }
  });
}

Deno.test("initiator: the part of a request that is not sent yet is not sent after a failure", () => {
  const peer = connected({ windowMax: 1 });
  submit(peer, REQUEST_READ, 0, 100);
  const [first, ...none] = peer.sent();
  assertEquals(none, []);
  peer.give(peer.answer(first!, { status: 0x41, error: 0x40 }));
  assertEquals(peer.sent(), []);
  assertEquals(peer.completions(), [[1, RESULT_MEDIUM_ERROR]]);
});

Deno.test("initiator: FLUSH EXT, then FLUSH, then nothing, each said once", () => {
  const peer = connected();
  const commands: number[] = [];
  submit(peer, REQUEST_FLUSH);
  for (let frames = peer.sent(); frames.length > 0; frames = peer.sent()) {
    commands.push(frames[0]!.bytes[27]!);
    peer.give(peer.answer(frames[0]!, { status: 0x41, error: 0x04 }));
  }
  assertEquals(commands, [0xea, 0xe7]);
  assertEquals(peer.completions(), [[1, RESULT_OK]]);
  assertEquals(peer.events(), ["no-flush-ext", "no-flush"]);
  submit(peer, REQUEST_FLUSH);
  assertEquals(peer.sent(), []);
  assertEquals(peer.completions(), [[1, RESULT_OK]]);
  assertEquals(peer.events(), []);
});

Deno.test("initiator: a disk without LBA48 is sent 28-bit commands only, probes and flushes too", () => {
  const peer = new InitiatorPeer();
  peer.narrow = true;
  peer.identity = { ...DISK, sectors: 2 ** 28 - 1 };
  peer.initiator.setInterface(peer.nowMs, 4, OWN_MAC, 9000);
  for (let i = 0; i < 2; i++) peer.give(peer.answer(peer.sent()[0]!));
  // Nothing answers the padded IDENTIFY.
  assertEquals(peer.sent().map(({ bytes }) => bytes[27]), [0xec]);
  peer.nowMs += 100;
  const [probe] = peer.sent();
  // The device register has the highest four bits of the LBA below the bits that mark an LBA.
  const readOf0 = [0, 0, 17, 0x20, 0, 0, 0, 0xe0, 0, 0, 0, 0];
  assertEquals([...probe!.bytes.subarray(24, 36)], readOf0);
  peer.give(peer.answer(probe!));
  assertEquals(peer.initiator.paths[0]!.sectors, 17);
  assertEquals(peer.initiator.sectors, 2 ** 28 - 1);

  const last = 2 ** 28 - 3;
  submit(peer, REQUEST_READ, last, 2);
  const [read] = peer.sent();
  assertEquals([...read!.bytes.subarray(24, 36)], [
    0,
    0,
    2,
    0x20,
    0xfd,
    255,
    255,
    0xef,
    0,
    0,
    0,
    0,
  ]);
  peer.give(peer.answer(read!));
  submit(peer, REQUEST_WRITE, 0x0abcdef, 2);
  const [write] = peer.sent();
  assertEquals([...write!.bytes.subarray(24, 36)], [
    ...[0x01, 0, 2, 0x30, 0xef, 0xcd, 0xab, 0xe0, 0, 0, 0, 0],
  ]);
  peer.give(peer.answer(write!));
  submit(peer, REQUEST_FLUSH);
  const [flush] = peer.sent();
  assertEquals(flush!.bytes[27], 0xe7);
  peer.give(peer.answer(flush!));
  assertEquals(peer.completions(), [[1, RESULT_OK], [1, RESULT_OK], [1, RESULT_OK]]);
  submit(peer, REQUEST_READ, last, 3);
  assertEquals(peer.completions(), [[1, RESULT_BEYOND_END]]);
});

Deno.test("initiator: a disk that says FLUSH CACHE and aborts it is asked for the other one", () => {
  const peer = new InitiatorPeer();
  peer.narrow = true;
  peer.connect();
  peer.events();
  const commands: number[] = [];
  submit(peer, REQUEST_FLUSH);
  for (let frames = peer.sent(); frames.length > 0; frames = peer.sent()) {
    commands.push(frames[0]!.bytes[27]!);
    peer.give(peer.answer(frames[0]!, { status: 0x41, error: 0x04 }));
  }
  assertEquals(commands, [0xe7, 0xea]);
  assertEquals(peer.completions(), [[1, RESULT_OK]]);
});

Deno.test("initiator: the strange statuses of a flush are a success", () => {
  for (const status of [0xea, 0x00, 0x50]) {
    const peer = connected();
    submit(peer, REQUEST_FLUSH);
    const [frame] = peer.sent();
    peer.give(peer.answer(frame!, { status }));
    assertEquals(peer.completions(), [[1, RESULT_OK]]);
    assertEquals(peer.events(), []);
  }
});

Deno.test("initiator: a flush fails once when the target has restarted since the writes", () => {
  const peer = new InitiatorPeer();
  peer.incarnation = 17;
  peer.connect();
  submit(peer, REQUEST_FLUSH);
  assertEquals(peer.sent().map(({ bytes }) => bytes[27]), [0xea], "nothing to verify");
  peer.wait(200, true);
  for (const [before, result] of [[17, RESULT_OK], [18, RESULT_WRITES_LOST], [18, RESULT_OK]]) {
    submit(peer, REQUEST_WRITE, 0, 1);
    peer.serve();
    peer.completions();
    peer.incarnation = before!;
    submit(peer, REQUEST_FLUSH);
    peer.serve();
    assertEquals(peer.completions(), [[1, result]]);
  }
});

Deno.test("initiator: a discard is one block of ranges", () => {
  const peer = connected();
  submit(peer, REQUEST_DISCARD, 1000, 70_000);
  const [frame] = peer.sent();
  assertEquals(frame!.bytes.length, 36 + 512);
  assertEquals([...frame!.bytes.subarray(24, 36)], [0x41, 1, 1, 6, 0, 0, 0, 0, 0, 0, 0, 0]);
  const ranges = frame!.bytes.subarray(36);
  assertEquals([readUint48Le(ranges, 0), ranges[6]! | (ranges[7]! << 8)], [1000, 65535]);
  assertEquals([readUint48Le(ranges, 8), ranges[14]! | (ranges[15]! << 8)], [66_535, 4465]);
  assert(ranges.subarray(16).every((byte) => byte === 0));
  submit(peer, REQUEST_WRITE, 70_999, 1, 2);
  assertEquals(peer.sent(), [], "a write into it waits");
  peer.give(peer.answer(frame!));
  assertEquals(peer.completions(), [[1, RESULT_OK]]);
  assertEquals(peer.sent().length, 1);
});

Deno.test("initiator: without TRIM a discard is not supported", () => {
  const peer = new InitiatorPeer();
  peer.identity = { ...DISK, trim: false };
  peer.connect();
  submit(peer, REQUEST_DISCARD, 0, 8);
  assertEquals(peer.completions(), [[1, RESULT_UNSUPPORTED]]);
});

Deno.test("initiator: IDENTIFY for the caller", () => {
  const peer = connected();
  submit(peer, REQUEST_IDENTIFY);
  peer.serve();
  assertEquals(peer.completions(), [[1, RESULT_OK]]);
  assertEquals(peer.memory[4096 + 510], 0xa5);
});

Deno.test("initiator: growth is seen, and shrinking fails only what is beyond the end", () => {
  const peer = connected();
  submit(peer, REQUEST_READ, DISK.sectors, 8);
  assertEquals(peer.completions(), [[1, RESULT_BEYOND_END]]);
  peer.identity = { ...DISK, sectors: DISK.sectors + 8 };
  peer.give(advert(1));
  peer.serve();
  assertEquals(peer.events(), ["resized"]);
  submit(peer, REQUEST_READ, DISK.sectors, 8);
  peer.serve();
  assertEquals(peer.completions(), [[1, RESULT_OK]]);
  peer.identity = { ...DISK, sectors: 100 };
  peer.wait(11_000, true);
  assertEquals(peer.initiator.sectors, 100);
  submit(peer, REQUEST_READ, 98, 2, 1);
  submit(peer, REQUEST_READ, 99, 2, 2);
  peer.serve();
  assertEquals(peer.completions(), [[2, RESULT_BEYOND_END], [1, RESULT_OK]]);
});

Deno.test("initiator: requests before the target is found wait for it", () => {
  const peer = new InitiatorPeer();
  submit(peer, REQUEST_READ, 5, 2);
  assertEquals(peer.sent(), []);
  peer.connect();
  assertEquals(peer.completions(), [[1, RESULT_OK]]);
});

Deno.test("initiator: others that look for the same disk are told of, once each", () => {
  const peer = connected();
  peer.events();
  const query = (source: number, options: { slot?: number; command?: number } = {}) => {
    const frame = new Uint8Array(60);
    frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 7, source, 0x88, 0xa2, 0x10]);
    const { shelf, slot } = peer.initiator;
    frame.set([shelf >>> 8, shelf, options.slot ?? slot, options.command ?? 1], 16);
    peer.initiator.receive(peer.nowMs, 0, frame, 0, frame.length);
  };
  query(1);
  query(1);
  query(2);
  query(3, { slot: 200 });
  query(4, { command: 0 });
  assertEquals(peer.events(), ["rival", "rival"]);
  // The target's own host, before it serves again.
  const own = new Uint8Array(60);
  own.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ...peer.initiator.paths[0]!.mac, 0x88, 0xa2, 0x10]);
  own.set([peer.initiator.shelf >>> 8, peer.initiator.shelf, peer.initiator.slot, 1], 16);
  peer.initiator.receive(peer.nowMs, 0, own, 0, own.length);
  assertEquals(peer.events(), []);
});

Deno.test("initiator: a silent target fails what waits after deadAfterMs, and is welcome back", () => {
  const peer = connected({ deadAfterMs: 5000 });
  for (let i = 0; i < 3; i++) submit(peer, REQUEST_READ, i * 100, 100, i);
  peer.wait(4900);
  assertEquals(peer.completions(), []);
  peer.wait(2000);
  assertEquals(peer.completions().sort(), [0, 1, 2].map((tag) => [tag, RESULT_TIMEOUT]));
  assertEquals(peer.events(), ["path-lost", "dead"]);
  submit(peer, REQUEST_READ, 0, 1, 9);
  assertEquals(peer.completions(), [[9, RESULT_TIMEOUT]]);
  peer.wait(1500, true);
  assert(peer.initiator.isUp);
  assertEquals(peer.events().slice(0, 2), ["path-up", "back"]);
  submit(peer, REQUEST_READ, 0, 1, 10);
  peer.serve();
  assertEquals(peer.completions(), [[10, RESULT_OK]]);
});

Deno.test("initiator: with deadAfterMs Infinity it waits for ever", () => {
  const peer = connected({ deadAfterMs: Infinity });
  submit(peer, REQUEST_READ, 0, 1);
  peer.wait(3_600_000);
  assertEquals(peer.completions(), []);
  peer.wait(5000, true);
  assertEquals(peer.completions(), [[1, RESULT_OK]]);
});

Deno.test("initiator: another disk at the same address is never used", () => {
  const peer = connected();
  const stranger = Uint8Array.of(2, 0, 0, 0, 9, 9);
  const news = advert(1);
  news.set(stranger, 6);
  peer.give(news);
  const [identify] = peer.sent();
  assertEquals(identify!.bytes.subarray(0, 6), stranger);
  peer.identity = { ...DISK, serial: "somebody else" };
  const answer = peer.answer(identify!);
  answer.set(stranger, 6);
  peer.give(answer);
  assertEquals(peer.events(), ["path-found", "path-refused"]);
  submit(peer, REQUEST_WRITE, 0, 64);
  for (const { bytes } of peer.sent()) assertEquals(bytes.subarray(0, 6), TARGET_MAC);
});

Deno.test("initiator: adverts of version 0, 0 buffers and 0 sectors are lived with", () => {
  for (const [buffers, window] of [[0, 1], [1, 1], [2, 2]] as const) {
    const peer = new InitiatorPeer();
    peer.initiator.setInterface(peer.nowMs, 4, OWN_MAC, 9000);
    peer.buffers = buffers;
    peer.sectorsPerFrame = 0;
    peer.give(advert(0));
    assertEquals(peer.events(), ["path-found"]);
    peer.serve();
    assertEquals(peer.initiator.paths[0]!.sectors, 2);
    submit(peer, REQUEST_READ, 0, 20);
    assertEquals(peer.sent().length, window);
  }
});

Deno.test("initiator: what is no proper answer changes nothing", () => {
  const peer = connected();
  submit(peer, REQUEST_READ, 0, 4);
  const [frame] = peer.sent();
  const good = peer.answer(frame!);
  const changed = (change: (frame: Uint8Array) => void, bytes = good.length) => {
    const frame = good.slice(0, bytes);
    change(frame);
    peer.give(frame);
    assertEquals(peer.completions(), []);
  };
  peer.give(frame!.bytes);
  changed((frame) => frame[14]! &= ~8);
  changed((frame) => frame[14] = 8);
  changed((frame) => frame[12] = 0);
  changed((frame) => frame[17] = 8);
  changed((frame) => frame[18] = 4);
  changed((frame) => frame[11] = 7);
  changed((frame) => frame[23]! ^= 1);
  changed((frame) => frame[21]! ^= 1);
  changed((frame) => frame[22]! ^= 8);
  changed((frame) => frame[19] = 7);
  for (const bytes of [0, 13, 23, 24, 35, 36, 60, good.length - 1]) changed(() => {}, bytes);
  peer.initiator.receive(peer.nowMs, 5, good, 0, good.length);
  assertEquals(peer.completions(), []);
  peer.give(good);
  assertEquals(peer.completions(), [[1, RESULT_OK]]);
  peer.give(good);
  assertEquals(peer.initiator.counters.repeated, 1);
});

Deno.test("initiator: full tables refuse, and closing ends everything", () => {
  const peer = new InitiatorPeer({ requestsMax: 2 });
  const { initiator } = peer;
  assert(initiator.submit(0, REQUEST_READ, 0, 1, 0, 1));
  assert(initiator.submit(0, REQUEST_READ, 0, 1, 0, 2));
  assert(!initiator.submit(0, REQUEST_READ, 0, 1, 0, 3));
  initiator.close(0);
  assertEquals(peer.completions(), [[1, RESULT_CLOSED], [2, RESULT_CLOSED]]);
  assert(initiator.submit(0, REQUEST_READ, 0, 1, 0, 4));
  assertEquals(peer.completions(), [[4, RESULT_CLOSED]]);
  assertEquals(initiator.requestsOpen, 0);
  assertThrows(() => initiator.submit(0, 99, 0, 1, 0, 5), RangeError);
  assertThrows(() => initiator.submit(0, REQUEST_READ, -1, 1, 0, 5), RangeError);
  assertThrows(() => initiator.submit(0, REQUEST_READ, 0, 1, peer.memory.length, 5), RangeError);
});

Deno.test("initiator: a frame that is held keeps its command, its header and the caller's memory", () => {
  const peer = connected();
  const { initiator } = peer;
  submit(peer, REQUEST_WRITE, 0, 2);
  assert(initiator.pollTransmit(peer.nowMs));
  const { tag, headerAt } = initiator.frame;
  const header = peer.memory.slice(headerAt, headerAt + 36);
  assert(initiator.isWanted(tag));
  // Nothing is sent again while the first frame has not left, though it counts as lost; whether the
  // target lives is asked, and answered.
  peer.wait(1000, true);
  assertEquals(peer.memory.slice(headerAt, headerAt + 36), header);
  assert(!initiator.isWanted(tag), "the loop may drop it");
  initiator.handleSent(peer.nowMs, tag);
  assert(initiator.pollTransmit(peer.nowMs));
  assertEquals(initiator.frame.headerAt, headerAt);
  const again = initiator.frame.tag;
  assert(again !== tag);
  initiator.close(peer.nowMs);
  assertEquals(peer.completions(), []);
  initiator.handleSent(peer.nowMs, again);
  assertEquals(peer.completions(), [[1, RESULT_CLOSED]]);
});

Deno.test("initiator: a write that waits for old copies of another one is not given up", () => {
  // The network is known to double frames, and the disk has been slow: a copy may be with it for long.
  const peer = new InitiatorPeer({ deadAfterMs: 10_000, repeatsExpected: true });
  peer.connect();
  submit(peer, REQUEST_WRITE, 0, 1, 1);
  const [write] = peer.sent();
  for (const untilMs = peer.nowMs + 6000; peer.nowMs < untilMs;) {
    for (const frame of peer.wait(10)) {
      if (frame.bytes[27] === 0xec) peer.give(peer.answer(frame));
    }
  }
  peer.give(peer.answer(write!));
  assertEquals(peer.completions(), [[1, RESULT_OK]]);
  submit(peer, REQUEST_WRITE, 0, 1, 2);
  peer.wait(11_000, true);
  assertEquals(peer.completions(), [], "it waits");
  peer.wait(60_000, true);
  assertEquals(peer.completions(), [[2, RESULT_OK]]);
});
