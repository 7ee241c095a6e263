import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  aoeErrorName,
  aoeShelf,
  aoeVersion,
  formatAddress,
  isResponse,
  parseAddress,
  turnIntoResponse,
  writeAoeHeader,
} from "../../src/wire/aoe.ts";
import { bytesOf, framed, hexOf, written } from "./encoding.ts";

const TARGET_MAC = bytesOf("02 00 00 00 00 01");
const PEER_MAC = bytesOf("02 00 00 00 00 02");

for (
  const [text, shelf, slot] of [
    ["e1.1", 1, 1],
    ["1.1", 1, 1],
    ["e0.0", 0, 0],
    ["e65534.254", 65534, 254],
    ["4095.3", 4095, 3],
    ["007.01", 7, 1],
  ] as const
) {
  Deno.test(`aoe: "${text}" is shelf ${shelf}, slot ${slot}`, () => {
    assertEquals(parseAddress(text), { shelf, slot });
  });
}

for (
  const text of [
    "",
    "e",
    "1",
    "1.",
    ".1",
    "e1",
    "e1.1.1",
    "65535.1",
    "99999.1",
    "1.255",
    "1.999",
    "-1.1",
    "1.-1",
    "1,1",
    "1. 1",
    " 1.1",
    "1.1\n",
    "E1.1",
    "0x1.1",
    "1e0.1",
  ]
) {
  Deno.test(`aoe: ${JSON.stringify(text)} is no address`, () => {
    assertEquals(parseAddress(text), undefined);
  });
}

Deno.test("aoe: every address comes back from its text", () => {
  fc.assert(fc.property(fc.nat(65534), fc.nat(254), (shelf, slot) => {
    assertEquals(parseAddress(formatAddress(shelf, slot)), { shelf, slot });
  }));
});

Deno.test("aoe: a request's header, byte for byte", () => {
  const header = written(0, 24, (view, at) =>
    writeAoeHeader(view, at, TARGET_MAC, PEER_MAC, {
      flags: 0,
      shelf: 0x1234,
      slot: 0x56,
      command: 1,
      tag: 0x80a1b2c3,
    }));
  assertEquals(
    hexOf(header),
    "02 00 00 00 00 01 02 00 00 00 00 02 88 a2 10 00 12 34 56 01 80 a1 b2 c3",
  );
});

Deno.test("aoe: an advert's header has the R flag", () => {
  const header = written(
    0,
    24,
    (view, at) =>
      writeAoeHeader(view, at, bytesOf("ff ff ff ff ff ff"), TARGET_MAC, {
        flags: 8,
        shelf: 0,
        slot: 0,
        command: 1,
        tag: 0,
      }),
  );
  assertEquals(
    hexOf(header),
    "ff ff ff ff ff ff 02 00 00 00 00 01 88 a2 18 00 00 00 00 01 00 00 00 00",
  );
});

for (
  const [error, byte14, byte15] of [
    [0, "18", "00"],
    [2, "1c", "02"],
    [6, "1c", "06"],
  ] as const
) {
  Deno.test(`aoe: a response with error ${error}, byte for byte`, () => {
    const { view, at } = framed(bytesOf(`
      ff ff ff ff ff ff 02 00 00 00 00 02 88 a2 1f 77 ff ff ff 01 80 a1 b2 c3 ee`));
    turnIntoResponse(view, at, TARGET_MAC, 0x1234, 0x56, error);
    assertEquals(
      hexOf(view.subarray(at - 1, at + 26)),
      `a5 02 00 00 00 00 02 02 00 00 00 00 01 88 a2 ${byte14} ${byte15} 12 34 56 01 80 a1 b2 c3 ee a5`,
    );
  });
}

Deno.test("aoe: every header comes back", () => {
  const header = fc.record({
    flags: fc.nat(15),
    shelf: fc.nat(0xffff),
    slot: fc.nat(0xff),
    command: fc.nat(0xff),
    tag: fc.nat(0xffffffff),
  });
  fc.assert(fc.property(header, (fields) => {
    const frame = written(0, 24, (view, at) => {
      writeAoeHeader(view, at, TARGET_MAC, PEER_MAC, fields);
    });
    const { view, at } = framed(frame);
    assertEquals(aoeVersion(view, at), 1);
    assertEquals(isResponse(view, at), (fields.flags & 8) !== 0);
    assertEquals(aoeShelf(view, at), fields.shelf);
    assertEquals([frame[18], frame[19]], [fields.slot, fields.command]);
    assertEquals(new DataView(frame.buffer).getUint32(20), fields.tag);
  }));
});

Deno.test("aoe: version and R flag are told apart from the bits around them", () => {
  for (let byte = 0; byte < 256; byte++) {
    const { view, at } = framed(new Uint8Array(24).fill(byte, 14, 15));
    assertEquals(aoeVersion(view, at), byte >> 4);
    assertEquals(isResponse(view, at), (byte & 8) === 8);
  }
});

Deno.test("aoe: errors have the specification's names", () => {
  assertEquals([1, 2, 3, 4, 5, 6, 7].map(aoeErrorName), [
    "unrecognized command code",
    "bad argument parameter",
    "device unavailable",
    "config string present",
    "unsupported version",
    "target is reserved",
    "unknown error 7",
  ]);
});
