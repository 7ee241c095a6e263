// wire/README.md, 'What we decide', decisions 4, 5, 8 and 14: what every answer and advert looks like,
// and what a reservation keeps. Query config, the lists and ATA have files of their own.

import { assertEquals } from "@std/assert";
import { OUTCOME_DONE } from "../../../src/core/target/target.ts";
import { assertBytes, bytesOf, hexOf } from "../../wire/encoding.ts";
import {
  answerTo,
  assertConfigAnswered,
  ataRequest,
  ataResponse,
  CONFIG_ANSWER,
  CONFIG_READ,
  EVERY_KIND,
  give,
  LINK_MAC,
  linkOf,
  OTHER_MAC,
  PEER_MAC,
  requestOf,
  responseOf,
  STALE,
  TAG,
  targetOf,
  workOf,
} from "./exchange.ts";

// Decision 4.

Deno.test("decision 4: an answer has version 1, R, our address, the tag, swapped MACs, zeros to 60", () => {
  const answer = answerTo(targetOf(), {
    command: 1,
    section: CONFIG_READ,
    source: OTHER_MAC,
    shelf: 0xffff,
    slot: 0xff,
  });
  assertEquals(
    hexOf(answer),
    `${OTHER_MAC} ${LINK_MAC} 88 a2 18 00 12 34 56 01 ${TAG} ${CONFIG_ANSWER} ${
      "00 ".repeat(28).trim()
    }`,
  );
});

Deno.test("decision 4: the source is the interface's own MAC, whatever the request was sent to", () => {
  const frame = requestOf({ command: 1, section: CONFIG_READ });
  for (const destination of ["ff ff ff ff ff ff", "02 00 00 00 00 77", "01 80 c2 00 00 00"]) {
    frame.set(bytesOf(destination));
    const outcome = give(targetOf(), frame);
    if ("answer" in outcome) assertConfigAnswered(outcome.answer);
    assertEquals("answer" in outcome, true);
  }
});

Deno.test("decision 4: E, Z and the error byte of a request do not come back", () => {
  for (const versionFlags of [0x11, 0x12, 0x13, 0x14, 0x17]) {
    const request = { command: 1, section: CONFIG_READ, versionFlags, error: 0x77 };
    assertConfigAnswered(answerTo(targetOf(), request));
    assertBytes(
      answerTo(targetOf(), { command: 9, versionFlags, error: 0x77 }),
      responseOf({ command: 9, error: 1 }),
    );
  }
});

Deno.test("decision 4: no stale byte in any answer, whatever stands in the request and behind it", () => {
  const stale = new Uint8Array(1476).fill(STALE);
  const answers = [
    ...EVERY_KIND.map(([, request]) => request),
    { command: 1, section: stale.slice(0, 5) },
    ...[0xed, 0xedededed].flatMap((lba) =>
      [0x24, 0x34, 0x42, 0x06, 0xe5, 0xe0, 0x27, 0xef, 0xea, 0xec, 0x77].map((command) => ({
        command: 0,
        section: ataRequest(command, {
          lba,
          flags: 0xff,
          feature: command === 0x06 ? 1 : 3,
          count: 2,
          data: stale.slice(0, 1024).fill(0, 0, command === 0x06 ? 1024 : 0),
        }),
      }))
    ),
  ].flatMap((request) => {
    const outcome = give(targetOf(), requestOf({ ...request, length: 1514 }));
    if ("answer" in outcome) return [outcome.answer];
    if (!("work" in outcome)) return [];
    return [0, 1, 2].map((how) => {
      const again = give(targetOf(), requestOf({ ...request, length: 1514 }));
      if (!("work" in again)) throw new Error("Asked twice, answered differently");
      // What a READ returns is the disk's, and it alone.
      return again.work.complete(how, new Uint8Array(again.work.operation === 1 ? 1024 : 0));
    });
  });
  assertEquals(answers.length > 40, true);
  for (const answer of answers) {
    assertEquals(answer.indexOf(STALE), -1, hexOf(answer.subarray(0, 64)));
  }
});

Deno.test("decision 4: the bytes of a frame shorter than 60 are followed by zeros, not by what stood there", () => {
  for (
    const [command, section, length] of [[1, CONFIG_READ, 32], [2, "00 00 00 00", 28]] as const
  ) {
    const answer = answerTo(targetOf(), { command, section, length });
    assertEquals(answer.length, 60);
    assertEquals(answer.indexOf(0xa5), -1);
  }
});

// Decision 5.

Deno.test("decision 5: every unknown command gets error 1, the header only", () => {
  for (let command = 4; command < 256; command++) {
    for (const length of [24, 60, 1514]) {
      assertBytes(answerTo(targetOf(), { command, length }), responseOf({ command, error: 1 }));
    }
  }
});

for (
  const [name, command, section, expected] of [
    ["a config read", 1, CONFIG_READ, CONFIG_ANSWER],
    ["a config read with an odd first half", 1, "ff ff ff ff ff f0 ff ff", CONFIG_ANSWER],
    ["a config read with a string", 1, "00 00 00 00 00 00 00 02 61 62", CONFIG_ANSWER],
    ["a mask list read", 2, "ff 00 ff 00", "00 00 00 00"],
    [
      "a mask list edit",
      2,
      `ff 01 ff 01 ff 01 ${PEER_MAC}`,
      `00 01 00 01 00 00 ${PEER_MAC}`,
    ],
    ["a reservation read", 3, "00 00", "00 00"],
    ["CHECK POWER MODE", 0, ataRequest(0xe5, { flags: 0xff }), ataResponse(0x40, 0, 255)],
  ] as const
) {
  Deno.test(`decision 5: padding and reserved bits of ${name} are ignored`, () => {
    for (const length of [undefined, 100, 1514]) {
      const request = { command, section, ...(length === undefined ? {} : { length }) };
      assertBytes(answerTo(targetOf(), request), responseOf({ command, section: expected }));
    }
  });
}

Deno.test("decision 5: what follows the sectors of a WRITE is ignored", () => {
  const section = ataRequest(0x34, { lba: 7, data: new Uint8Array(1478 - 12) });
  const work = workOf(targetOf(), { command: 0, section });
  assertEquals([work.sector, work.sectors], [7, 1]);
});

// Decision 8.

const RESERVED_BY_OTHER = { command: 3, section: `01 01 ${OTHER_MAC}`, source: OTHER_MAC };

Deno.test("decision 8: reserved by others, every ATA command but IDENTIFY gets error 6", () => {
  const target = targetOf();
  answerTo(target, RESERVED_BY_OTHER);
  for (let command = 0; command < 256; command++) {
    const request = {
      command: 0,
      section: ataRequest(command, { data: new Uint8Array(512) }),
    };
    const answer = answerTo(target, request);
    if (command === 0xec) assertEquals(answer.length, 548);
    else assertBytes(answer, responseOf({ command: 0, error: 6 }));
  }
});

Deno.test("decision 8: reserved by others, query config, mask list and reads of the list are answered", () => {
  const target = targetOf();
  answerTo(target, RESERVED_BY_OTHER);
  assertConfigAnswered(answerTo(target, { command: 1, section: CONFIG_READ }));
  for (
    const [command, section, expected] of [
      [1, "00 00 00 00 00 13 00 01 61", "00 40 00 01 02 13 00 01 61"],
      [2, "00 00 00 00", "00 00 00 00"],
      [2, `00 01 00 01 00 01 ${PEER_MAC}`, `00 01 00 01 00 00 ${PEER_MAC}`],
      [3, "00 00", `00 01 ${OTHER_MAC}`],
    ] as const
  ) {
    assertBytes(answerTo(target, { command, section }), responseOf({ command, section: expected }));
  }
});

Deno.test("decision 8: the holders of a reservation have the disk, and all have it after its release", () => {
  const target = targetOf();
  answerTo(target, { command: 3, section: `01 02 ${PEER_MAC} ${OTHER_MAC}` });
  const read = { command: 0, section: ataRequest(0x24) };
  const stranger = { ...read, source: "02 00 00 00 00 09" };
  workOf(target, read);
  workOf(target, { ...read, source: OTHER_MAC });
  answerTo(target, stranger);
  answerTo(target, { command: 3, section: "01 00" });
  workOf(target, stranger);
});

// Decision 14.

for (
  const [name, config, mtu, expected] of [
    ["without a config string", "", 1500, "00 40 00 01 02 10 00 00"],
    ["with a config string", "61 62 63", 9000, "00 40 00 01 11 10 00 03 61 62 63"],
    ["with a long one", "61 ".repeat(40), 1500, `00 40 00 01 02 10 00 28 ${"61 ".repeat(40)}`],
  ] as const
) {
  Deno.test(`decision 14: the advert of an export ${name}, byte for byte`, () => {
    const target = targetOf();
    const string = bytesOf(config);
    const length = string.length.toString(16).padStart(4, "0");
    answerTo(target, { command: 1, section: `00 00 00 00 00 14 ${length} ${config}` });
    const section = bytesOf(expected);
    const view = new Uint8Array(2048).fill(0xa5);
    const bytes = target.writeAdvert(view, 50, linkOf(mtu));
    assertEquals(bytes, Math.max(60, 24 + section.length));
    const header = `ff ff ff ff ff ff ${LINK_MAC} 88 a2 18 00 12 34 56 01 00 00 00 00`;
    const advert = new Uint8Array(bytes);
    advert.set([...bytesOf(header), ...section]);
    assertBytes(view.subarray(50, 50 + bytes), advert);
    assertEquals(view.subarray(0, 50).findIndex((byte) => byte !== 0xa5), -1);
    assertEquals(view.subarray(50 + bytes).findIndex((byte) => byte !== 0xa5), -1);
  });
}

Deno.test("decision 14: no advert where its config string does not fit", () => {
  const target = targetOf();
  answerTo(target, { command: 1, section: `00 00 00 00 00 14 04 00 ${"61 ".repeat(1024)}` });
  const view = new Uint8Array(2048).fill(0xa5);
  assertEquals(target.writeAdvert(view, 50, linkOf(1041)), 0);
  assertEquals(view.subarray(50 + 1041 + 14).findIndex((byte) => byte !== 0xa5), -1);
  assertEquals(target.writeAdvert(view, 50, linkOf(1042)), 1056);
});

Deno.test("an answer that could not be sent is taken back and completed another way", () => {
  const request = { command: 0, section: ataRequest(0x24, { lba: 5, count: 2 }) };
  assertBytes(
    workOf(targetOf(), request).completeTwice(OUTCOME_DONE, 1),
    responseOf({ command: 0, section: ataResponse(0x41, 0x40) }),
  );
});
