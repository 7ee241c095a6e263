// Single questions: their bytes, and which frames are taken for their answers.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  configQuestion,
  identifyQuestion,
  maskQuestion,
  type Question,
  Questions,
  readQuestion,
  reserveQuestion,
} from "../../../src/core/ask/questions.ts";
import {
  AOE_COMMAND,
  AOE_FLAG_ERROR,
  AOE_SLOT,
  AOE_TAG,
  AOE_VERSION_FLAGS,
  turnIntoResponse,
} from "../../../src/wire/aoe.ts";
import { readUint32Be } from "../../../src/wire/endian.ts";
import { ETHERNET_SOURCE, ETHERNET_TYPE, parseMac } from "../../../src/wire/ethernet.ts";

const US = parseMac("02:00:00:00:00:01")!;
const DISK = parseMac("02:00:00:00:00:02")!;
const PLACE = { address: { shelf: 0x1234, slot: 5 }, link: 1, mac: DISK };
const HEADER = "02000000000202000000000188a2" + "1000" + "1234" + "05";
const TAG = "80000007";

/** The bytes of a question, written into a view that is full of something else. */
function write(question: Question, questions = new Questions(7)): Uint8Array {
  const view = new Uint8Array(10_000).fill(0xa5);
  const length = questions.write(view, 64, US, question, 1000);
  assert(view.subarray(0, 64).every((byte) => byte === 0xa5));
  assert(view.subarray(64 + length).every((byte) => byte === 0xa5));
  return view.slice(64, 64 + length);
}

/** The question as it comes back. */
function answer(question: Question, questions: Questions, error = 0): Uint8Array {
  const frame = write(question, questions);
  turnIntoResponse(frame, 0, DISK, 0x1234, 5, error);
  return frame;
}

for (
  const [name, question, command, section, length] of [
    ["IDENTIFY", identifyQuestion(PLACE, 60), "00", "000001ec000000a00000", 60],
    ["IDENTIFY padded", identifyQuestion(PLACE, 9014), "00", "000001ec000000a00000", 9014],
    ["a read of 17 sectors", readQuestion(PLACE, 17, true), "00", "40001124", 60],
    ["a read without LBA48", readQuestion(PLACE, 17, false), "00", "00001120000000e0", 60],
    ["a config string", configQuestion(PLACE, 3, US), "01", "0000000000130006020000000001", 60],
    ["a mask edit", maskQuestion(PLACE, 1, 2, [US]), "02", "000100010002020000000001", 60],
    [
      "a long mask edit",
      maskQuestion(PLACE, 1, 1, new Array(5).fill(US)),
      "02",
      "00010005" + "0001020000000001".repeat(5),
      68,
    ],
    [
      "a reservation",
      reserveQuestion(PLACE, 2, [US, DISK]),
      "03",
      "0202020000000001020000000002",
      60,
    ],
  ] as const
) {
  Deno.test(`questions: ${name}, byte for byte`, () => {
    const frame = write(question);
    const meaning = HEADER + command + TAG + section;
    assertEquals(frame.toHex(), meaning.padEnd(2 * length, "0"));
  });
}

Deno.test("questions: an answer, its time, its error, and its double", () => {
  const questions = new Questions(0x7fff_ffff);
  const question = configQuestion(PLACE, 0, new Uint8Array(0));
  const frame = answer(question, questions);
  assertEquals(readUint32Be(frame, AOE_TAG), 0xffff_ffff);
  const first = questions.receive(frame, 0, frame.length, 1, 1000.25)!;
  assertEquals(first, {
    ...{ question, error: 0, frame, roundTripMs: 0.25, again: false },
  });
  assertEquals(questions.receive(frame, 0, frame.length, 1, 1001)?.again, true);

  // The next tag begins from 0 again; its answer is that of the same question.
  const refused = answer(question, questions, 2);
  assertEquals(readUint32Be(refused, AOE_TAG), 0x8000_0000);
  const second = questions.receive(refused, 0, 24, 1, 1000)!;
  assertEquals([second.question, second.error, second.frame.length, second.again], [
    ...[question, 2, 24, false],
  ]);
  const nameless = answer(question, questions);
  nameless[AOE_VERSION_FLAGS]! |= AOE_FLAG_ERROR;
  assert(questions.receive(nameless, 0, 60, 1, 1000)!.error !== 0);
});

Deno.test("questions: what is no answer to them is passed over", () => {
  const questions = new Questions(7);
  const question = readQuestion(PLACE, 1, true);
  const good = answer(question, questions);
  const spoilt = (at: number, value: number) => good.map((byte, i) => i === at ? value : byte);
  const bad: readonly (readonly [string, Uint8Array, number, number])[] = [
    ["short", good, 23, 1],
    ["by another interface", good, 60, 0],
    ["another EtherType", spoilt(ETHERNET_TYPE, 0x08), 60, 1],
    ["version 0", spoilt(AOE_VERSION_FLAGS, 0x08), 60, 1],
    ["a request", spoilt(AOE_VERSION_FLAGS, 0x10), 60, 1],
    ["from another MAC", spoilt(ETHERNET_SOURCE + 5, 9), 60, 1],
    ["of another slot", spoilt(AOE_SLOT, 6), 60, 1],
    ["to another command", spoilt(AOE_COMMAND, 1), 60, 1],
    ["under another tag", spoilt(AOE_TAG + 3, 9), 60, 1],
  ];
  for (const [name, frame, length, link] of bad) {
    assertEquals(questions.receive(frame, 0, length, link, 1000), undefined, name);
  }
  assertEquals(questions.receive(good, 0, 60, 1, 1000)?.again, false);
});

Deno.test("questions: only so many are remembered, the latest", () => {
  const questions = new Questions(0);
  const question = configQuestion(PLACE, 0, new Uint8Array(0));
  const first = answer(question, questions);
  const second = answer(question, questions);
  const view = new Uint8Array(64);
  for (let i = 0; i < 16_383; i++) questions.write(view, 0, US, question, 0);
  assertEquals(questions.receive(first, 0, 60, 1, 0), undefined);
  assert(questions.receive(second, 0, 60, 1, 0) !== undefined);
});

Deno.test("questions: any bytes, whole or cut, neither throw nor answer a stranger", () => {
  const questions = new Questions(7);
  const good = answer(readQuestion(PLACE, 1, true), questions);
  fc.assert(fc.property(
    fc.array(fc.tuple(fc.nat(59), fc.nat(255)), { maxLength: 4 }),
    fc.nat(60),
    (changes, length) => {
      const frame = good.slice();
      for (const [at, value] of changes) frame[at] = value;
      const taken = questions.receive(frame.subarray(0, length), 0, length, 1, 0);
      // What identifies an answer: source, EtherType, version and R, address, command, tag.
      const same = [[6, 14], [16, 24]].every(([from, to]) =>
        frame.subarray(from, to).toHex() === good.subarray(from, to).toHex()
      );
      const isResponse = (frame[14]! & 0xf8) === 0x18;
      return (taken !== undefined) === (length >= 24 && same && isResponse);
    },
  ));
});
