// wire/README.md, 'What we decide', decision 6: query config.

import { assertEquals } from "@std/assert";
import type { Target } from "../../../src/core/target/target.ts";
import { assertBytes } from "../../wire/encoding.ts";
import { answerTo, assertDropped, linkOf, requestOf, responseOf, targetOf } from "./exchange.ts";
import { receiveFrame } from "../../../src/core/target/target.ts";

const text = new TextEncoder();
const LONGEST = "l".repeat(1024);
const NO_MATCH = "asking for another config string";
const OVER_MTU = "whose answer exceeds the MTU";

const READ = 0;
const TEST = 1;
const TEST_PREFIX = 2;
const SET = 3;
const FORCE_SET = 4;

/** A request whose reserved bytes are not zero. */
function config(command: number, string: string, claimed = string.length) {
  const section = new Uint8Array(8 + string.length);
  section.set([0xde, 0xad, 0xbe, 0xef, 0x99, 0x10 | command, claimed >> 8, claimed]);
  section.set(text.encode(string), 8);
  return { command: 1, section };
}

function assertAnswer(
  target: Target,
  request: ReturnType<typeof config>,
  expected: { string: string; error?: number; sectors?: number },
  link = linkOf(),
): void {
  const { string, error = 0, sectors = 2 } = expected;
  const section = new Uint8Array(8 + string.length);
  const command = request.section[5]! & 0x0f;
  section.set([0, 64, 0, 1, sectors, 0x10 | command, string.length >> 8, string.length]);
  section.set(text.encode(string), 8);
  const answer = answerTo(target, request, link);
  assertBytes(answer, responseOf({ command: 1, section, error }));
}

function targetWith(string: string): Target {
  const target = targetOf();
  assertAnswer(target, config(FORCE_SET, string), { string });
  return target;
}

for (const string of ["", "a", "abc", "x".repeat(28), "x".repeat(29), LONGEST]) {
  const name = string.length > 8 ? `${string.length} bytes` : JSON.stringify(string);

  Deno.test(`decision 6: a read answers with the string, ${name}`, () => {
    assertAnswer(targetWith(string), config(READ, ""), { string });
  });

  Deno.test(`decision 6: a test is answered when the string is ${name} exactly`, () => {
    const target = targetWith(string);
    assertAnswer(target, config(TEST, string), { string });
    for (const other of [`${string}x`, `${string}\0`, string.slice(0, -1), string.toUpperCase()]) {
      if (other === string || other.length > 1024) continue;
      assertDropped(target, config(TEST, other), NO_MATCH);
    }
  });

  Deno.test(`decision 6: a prefix test is answered when ${name} begins so`, () => {
    const target = targetWith(string);
    for (const prefix of ["", string.slice(0, 1), string.slice(0, -1), string]) {
      assertAnswer(target, config(TEST_PREFIX, prefix), { string });
    }
    for (const other of [`${string}x`, "?", `${string.slice(0, -1)}?`]) {
      if (other.length > 1024) continue;
      assertDropped(target, config(TEST_PREFIX, other), NO_MATCH);
    }
  });

  Deno.test(`decision 6: a set of ${name} where there is none`, () => {
    const target = targetOf();
    assertAnswer(target, config(SET, string), { string });
    assertAnswer(target, config(READ, ""), { string });
    assertAnswer(target, config(SET, string), { string });
  });

  Deno.test(`decision 6: a set of another where there is ${name}`, () => {
    if (string === "") return;
    const target = targetWith(string);
    for (const other of ["", "other", `${string.slice(0, -1)}?`, string.slice(0, -1)]) {
      if (other === string) continue;
      // Error 4, and the string that is in the way.
      assertAnswer(target, config(SET, other), { string, error: 4 });
    }
    assertAnswer(target, config(READ, ""), { string });
  });

  Deno.test(`decision 6: a force set replaces ${name}`, () => {
    const target = targetWith(string);
    assertAnswer(target, config(FORCE_SET, "other"), { string: "other" });
    assertAnswer(target, config(FORCE_SET, ""), { string: "" });
    assertAnswer(target, config(READ, ""), { string: "" });
  });
}

Deno.test("decision 6: a read ignores the string it is sent, and any length it claims", () => {
  const target = targetWith("kept");
  for (const claimed of [0, 1024, 1025, 0xeded, 0xffff]) {
    assertAnswer(target, config(READ, "x".repeat(1024), claimed), {
      string: "kept",
    });
  }
});

for (let command = 5; command < 16; command++) {
  Deno.test(`decision 6: sub-command ${command} gets error 2`, () => {
    const expected = responseOf({ command: 1, error: 2 });
    assertBytes(answerTo(targetOf(), config(command, "a")), expected);
  });
}

for (
  const [name, command] of [
    ["test", TEST],
    ["prefix test", TEST_PREFIX],
    ["set", SET],
    ["force set", FORCE_SET],
  ] as const
) {
  const refused = responseOf({ command: 1, error: 2 });

  Deno.test(`decision 6: a ${name} of more than 1024 bytes gets error 2`, () => {
    const target = targetOf();
    for (const bytes of [1025, 1300]) {
      assertBytes(answerTo(target, config(command, "l".repeat(bytes))), refused);
    }
    assertAnswer(target, config(READ, ""), { string: "" });
  });

  Deno.test(`decision 6: a ${name} of a string longer than its frame gets error 2`, () => {
    const target = targetOf();
    const string = "l".repeat(40);
    for (const claimed of [41, 1024, 0xffff]) {
      assertBytes(answerTo(target, config(command, string, claimed)), refused);
    }
    assertAnswer(target, config(READ, ""), { string: "" });
    // One byte of the last is missing.
    const cut = { ...config(command, string), length: 32 + 39 };
    assertBytes(answerTo(target, cut), refused);
  });
}

for (
  const [mtu, sectors] of [[576, 1], [1059, 1], [1060, 2], [1500, 2], [9000, 17], [
    65536,
    127,
  ]] as const
) {
  Deno.test(`decision 6: an MTU of ${mtu} is ${sectors} sectors per frame`, () => {
    assertAnswer(targetOf(), config(READ, ""), { string: "", sectors }, linkOf(mtu));
  });
}

Deno.test("decision 6: the MTU is read again when it changes", () => {
  const target = targetOf();
  const link = linkOf(1500);
  assertAnswer(target, config(READ, ""), { string: "", sectors: 2 }, link);
  Object.assign(link, { mtu: 9000, sectors: 17 });
  assertAnswer(target, config(READ, ""), { string: "", sectors: 17 }, link);
});

Deno.test("decision 6: a string of 1024 bytes needs an MTU of 1042", () => {
  const target = targetWith(LONGEST);
  assertAnswer(target, config(READ, ""), { string: LONGEST, sectors: 1 }, linkOf(1042));
  for (const request of [config(READ, ""), config(TEST_PREFIX, "l"), config(SET, "x")]) {
    assertDropped(target, request, OVER_MTU, linkOf(1041));
  }
});

Deno.test("decision 6: a string whose answer does not fit the MTU is not set", () => {
  for (const command of [SET, FORCE_SET]) {
    const target = targetOf();
    assertDropped(target, config(command, LONGEST), OVER_MTU, linkOf(1041));
    assertAnswer(target, config(READ, ""), { string: "" });
  }
});

Deno.test("decision 6: the string outlives the frame that it came in", () => {
  const target = targetOf();
  const view = requestOf(config(FORCE_SET, "first"));
  assertEquals(receiveFrame(target, view, 0, view.length, linkOf()), 60);
  view.fill(0);
  assertAnswer(target, config(READ, "second"), { string: "first" });
});
