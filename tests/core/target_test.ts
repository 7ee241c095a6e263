// PROTOCOL.md, 'What we decide', decisions 1 to 5, 8 and 14: who is answered, and what every answer
// looks like. Query config, the lists and ATA have files of their own.

import { assertEquals } from "@std/assert";
import { OUTCOME_DONE } from "../../src/core/target.ts";
import { assertBytes, bytesOf, hexOf } from "../wire/encoding.ts";
import {
  answerTo,
  assertDropped,
  ataRequest,
  ataResponse,
  give,
  LINK_MAC,
  linkOf,
  OTHER_MAC,
  PEER_MAC,
  type Request,
  requestOf,
  responseOf,
  SHELF,
  SLOT,
  STALE,
  TAG,
  targetOf,
  workOf,
} from "./exchange.ts";

const CONFIG_READ = "00 00 00 00 00 10 00 00";
const CONFIG_ANSWER = "00 40 00 01 02 10 00 00";
const BROADCASTS = [
  ["all shelves and slots", { shelf: 0xffff, slot: 0xff }],
  ["all shelves, our slot", { shelf: 0xffff, slot: SLOT }],
  ["our shelf, all slots", { shelf: SHELF, slot: 0xff }],
] as const;

/** One request of every kind, by name. */
const EVERY_KIND: readonly (readonly [string, Request])[] = [
  ["a READ", { command: 0, section: ataRequest(0x24) }],
  ["a WRITE", { command: 0, section: ataRequest(0x34, { data: new Uint8Array(512) }) }],
  ["a FLUSH", { command: 0, section: ataRequest(0xe7) }],
  ["an unsupported ATA command", { command: 0, section: ataRequest(0x00) }],
  ["an IDENTIFY", { command: 0, section: ataRequest(0xec) }],
  ["a config read", { command: 1, section: CONFIG_READ }],
  ["a config set", { command: 1, section: "00 00 00 00 00 13 00 01 61" }],
  ["a config request of an unknown kind", { command: 1, section: "00 00 00 00 00 15 00 00" }],
  ["a mask list read", { command: 2, section: "00 00 00 00" }],
  ["a mask list edit", { command: 2, section: `00 01 00 01 00 01 ${OTHER_MAC}` }],
  ["a reservation read", { command: 3, section: "00 00" }],
  ["a reservation", { command: 3, section: `01 01 ${OTHER_MAC}` }],
  ["an unknown command", { command: 4 }],
  ["a vendor's command", { command: 0xf0 }],
  ["another version", { command: 1, section: CONFIG_READ, versionFlags: 0x20 }],
];

function assertConfigAnswered(outcome: Uint8Array, destination = PEER_MAC): void {
  assertBytes(outcome, responseOf({ command: 1, section: CONFIG_ANSWER, destination }));
}

// Decision 1.

Deno.test("decision 1: a frame under 24 bytes is dropped", () => {
  for (let length = 0; length < 24; length++) {
    assertDropped(targetOf(), { command: 1, length }, "too short");
  }
});

for (
  const [name, command, section, least] of [
    ["ATA", 0, ataRequest(0xe5), 36],
    ["config", 1, CONFIG_READ, 32],
    ["mask", 2, "00 00 00 00", 28],
    ["reserve", 3, "00 00", 26],
  ] as const
) {
  Deno.test(`decision 1: ${name} under ${least} bytes is dropped, with ${least} it is answered`, () => {
    const target = targetOf();
    for (let length = 24; length < least; length++) {
      assertDropped(target, { command, section, length }, "too short");
    }
    answerTo(target, { command, section, length: least });
  });
}

for (const [name, request] of EVERY_KIND) {
  Deno.test(`decision 1: ${name} with R set is dropped`, () => {
    assertDropped(targetOf(), { ...request, versionFlags: 0x18 }, "a response");
    assertDropped(targetOf(), { ...request, versionFlags: 0x1f }, "a response");
    assertDropped(targetOf(), { ...request, versionFlags: 0x08 }, "a response");
  });

  Deno.test(`decision 1: ${name} for another shelf or slot is dropped`, () => {
    for (
      const address of [
        { shelf: SHELF + 1 },
        { slot: SLOT + 1 },
        { shelf: 0x3412 },
        { shelf: SLOT, slot: 0x12 },
        { shelf: 0, slot: 0 },
        { shelf: 0xffff, slot: SLOT + 1 },
        { shelf: SHELF + 1, slot: 0xff },
        { shelf: 0xfffe },
        { slot: 0xfe },
      ]
    ) {
      assertDropped(targetOf(), { ...request, ...address }, "for another address");
    }
  });

  Deno.test(`decision 1: ${name} from a source that is not on the ACL is dropped`, () => {
    const target = targetOf({ allowed: [OTHER_MAC, "02 00 00 00 00 04"] });
    assertDropped(target, request, "from a MAC that is not allowed");
    assertDropped(target, { ...request, shelf: 0xffff }, "from a MAC that is not allowed");
    assertEquals("drop" in give(target, requestOf({ ...request, source: OTHER_MAC })), false);
  });

  Deno.test(`decision 1: ${name} from a source that is not on the mask list is dropped`, () => {
    const target = targetOf();
    answerTo(target, { command: 2, section: `00 01 00 01 00 01 ${OTHER_MAC}` });
    assertDropped(target, request, "from a MAC that is not allowed");
    assertDropped(target, { ...request, slot: 0xff }, "from a MAC that is not allowed");
    assertEquals("drop" in give(target, requestOf({ ...request, source: OTHER_MAC })), false);
  });
}

Deno.test("decision 1: who is on the ACL still has to be on the mask list, and the other way round", () => {
  const target = targetOf({ allowed: [PEER_MAC, OTHER_MAC] });
  answerTo(target, {
    command: 2,
    section: `00 01 00 02 00 01 ${PEER_MAC} 00 01 02 00 00 00 00 09`,
  });
  assertConfigAnswered(answerTo(target, { command: 1, section: CONFIG_READ }));
  for (const source of [OTHER_MAC, "02 00 00 00 00 09"]) {
    const request = { command: 1, section: CONFIG_READ, source };
    assertDropped(target, request, "from a MAC that is not allowed");
  }
});

Deno.test("decision 1: an ACL is as long as it is, the mask list's 255 entries are not its limit", () => {
  const allowed = Array.from({ length: 300 }, (_, i) => {
    return `02 00 00 00 ${(i >> 8).toString(16).padStart(2, "0")} ${
      (i & 0xff).toString(16).padStart(2, "0")
    }`;
  });
  const target = targetOf({ allowed });
  for (const source of allowed) {
    answerTo(target, { command: 1, section: CONFIG_READ, source });
  }
});

Deno.test("decision 1: a group address is no source", () => {
  for (const source of ["ff ff ff ff ff ff", "01 00 5e 00 00 01"]) {
    const request = { command: 1, section: CONFIG_READ, source };
    assertDropped(targetOf(), request, "from a MAC that is not allowed");
  }
});

Deno.test("decision 1: on the loopback interface everybody has MAC 0", () => {
  const zero = "00 00 00 00 00 00";
  const link = { ...linkOf(65536), mac: bytesOf(zero) };
  const request = { command: 1, section: CONFIG_READ, source: zero };
  const answer = answerTo(targetOf(), request, link);
  assertEquals(
    hexOf(answer.subarray(0, 32)),
    `${zero} ${zero} 88 a2 18 00 12 34 56 01 ${TAG} 00 40 00 01 7f 10 00 00`,
  );
});

// Decision 2.

for (const version of [0, 2, 3, 8, 15]) {
  for (const [name, request] of EVERY_KIND) {
    Deno.test(`decision 2: ${name} of version ${version} gets error 5`, () => {
      const answer = answerTo(targetOf(), { ...request, versionFlags: version << 4 });
      assertBytes(answer, responseOf({ command: request.command, error: 5 }));
    });
  }
}

Deno.test("decision 2: by broadcast another version gets silence", () => {
  for (const [, address] of BROADCASTS) {
    for (const [, request] of EVERY_KIND) {
      const broadcast = { ...request, ...address, versionFlags: 0x20 };
      assertDropped(targetOf(), broadcast, "of another version");
    }
  }
});

Deno.test("decision 2: a header alone is enough to say that the version is not ours", () => {
  const answer = answerTo(targetOf(), { command: 0, versionFlags: 0, length: 24 });
  assertBytes(answer, responseOf({ command: 0, error: 5 }));
});

// Decision 3.

for (const [name, address] of BROADCASTS) {
  Deno.test(`decision 3: a config read to ${name} is answered with the real address`, () => {
    const answer = answerTo(targetOf(), { command: 1, section: CONFIG_READ, ...address });
    assertConfigAnswered(answer);
  });

  Deno.test(`decision 3: a config test and a prefix test to ${name} are answered on a match`, () => {
    const target = targetOf();
    answerTo(target, { command: 1, section: "00 00 00 00 00 14 00 03 61 62 63" });
    for (
      const [section, matches] of [["11 00 03 61 62 63", true], ["12 00 02 61 62", true], [
        "11 00 02 61 62",
        false,
      ], ["12 00 02 62 63", false]] as const
    ) {
      const request = { command: 1, section: `00 00 00 00 00 ${section}`, ...address };
      if (matches) {
        const expected = `00 40 00 01 02 ${section.slice(0, 2)} 00 03 61 62 63`;
        assertBytes(answerTo(target, request), responseOf({ command: 1, section: expected }));
      } else {
        assertDropped(target, request, "asking for another config string");
      }
    }
  });

  Deno.test(`decision 3: an IDENTIFY to ${name} is answered with the real address`, () => {
    const request = { command: 0, section: ataRequest(0xec) };
    const answer = answerTo(targetOf(), { ...request, ...address });
    assertEquals(answer.length, 548);
    assertBytes(answer, answerTo(targetOf(), request));
  });

  Deno.test(`decision 3: everything else to ${name} is dropped, and changes nothing`, () => {
    const target = targetOf();
    const requests: readonly Request[] = [
      ...Array.from({ length: 256 }, (_, command) => command)
        .filter((command) => command !== 0xec)
        .map((command) => ({
          command: 0,
          section: ataRequest(command, { data: new Uint8Array(512) }),
        })),
      ...Array.from({ length: 13 }, (_, i) => ({
        command: 1,
        section: `00 00 00 00 00 1${(i + 3).toString(16)} 00 01 61`,
      })),
      { command: 2, section: "00 00 00 00" },
      { command: 2, section: `00 01 00 01 00 01 ${OTHER_MAC}` },
      { command: 2, section: "00 02 00 00" },
      { command: 3, section: "00 00" },
      { command: 3, section: `01 01 ${OTHER_MAC}` },
      { command: 3, section: `02 01 ${OTHER_MAC}` },
      { command: 3, section: "03 00" },
      ...Array.from({ length: 252 }, (_, i) => ({ command: 4 + i })),
    ];
    for (const request of requests) {
      assertDropped(target, { ...request, ...address }, "not to be broadcast");
    }
    assertConfigAnswered(answerTo(target, { command: 1, section: CONFIG_READ }));
    assertBytes(
      answerTo(target, { command: 3, section: "00 00" }),
      responseOf({ command: 3, section: "00 00" }),
    );
    assertBytes(
      answerTo(target, { command: 2, section: "00 00 00 00" }),
      responseOf({ command: 2, section: "00 00 00 00" }),
    );
  });
}

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
