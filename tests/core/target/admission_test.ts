// wire/README.md, 'What we decide', decisions 1 to 3: who is heard.

import { assertEquals } from "@std/assert";
import { assertBytes, bytesOf, hexOf } from "../../wire/encoding.ts";
import {
  answerTo,
  assertConfigAnswered,
  assertDropped,
  ataRequest,
  CONFIG_READ,
  EVERY_KIND,
  give,
  linkOf,
  OTHER_MAC,
  PEER_MAC,
  type Request,
  requestOf,
  responseOf,
  SHELF,
  SLOT,
  TAG,
  targetOf,
} from "./exchange.ts";

const BROADCASTS = [
  ["all shelves and slots", { shelf: 0xffff, slot: 0xff }],
  ["all shelves, our slot", { shelf: 0xffff, slot: SLOT }],
  ["our shelf, all slots", { shelf: SHELF, slot: 0xff }],
] as const;

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
    const target = targetOf({ acl: { accept: [digits(OTHER_MAC), "020000000004"] } });
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
  const target = targetOf({ acl: { accept: [PEER_MAC, OTHER_MAC].map(digits) } });
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
  const target = targetOf({ acl: { accept: allowed.map(digits) } });
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

/** As an ACL has it. */
function digits(mac: string): string {
  return mac.replaceAll(" ", "");
}
