import { assertEquals } from "@std/assert";
import { readMaskResponse, writeMaskSection } from "../../src/wire/mask.ts";
import { bytesOf, framed, hexOf, written } from "./encoding.ts";

for (
  const [name, command, directive, macs, hex] of [
    ["a read", 0, 0, "", "00 00 00 00"],
    [
      "an edit that adds one",
      1,
      1,
      "02 11 22 33 44 55",
      "00 01 00 01 00 01 02 11 22 33 44 55",
    ],
    [
      "an edit that deletes two",
      1,
      2,
      "02 11 22 33 44 55 02 66 77 88 99 aa",
      "00 01 00 02 00 02 02 11 22 33 44 55 00 02 02 66 77 88 99 aa",
    ],
    [
      "a list",
      0,
      0,
      "02 11 22 33 44 55",
      "00 00 00 01 00 00 02 11 22 33 44 55",
    ],
  ] as const
) {
  Deno.test(`mask: ${name}, byte for byte`, () => {
    const bytes = bytesOf(macs);
    const end = 28 + bytes.length / 6 * 8;
    let length = 0;
    const section = written(24, end, (view, at) => {
      length = writeMaskSection(view, at, command, directive, bytes);
    });
    assertEquals(hexOf(section), hex);
    assertEquals(length, end);
  });
}

Deno.test("mask: 255 entries, the most that its count can say", () => {
  const macs = Uint8Array.from({ length: 255 * 6 }, (_, i) => i);
  const section = written(24, 28 + 255 * 8, (view, at) => writeMaskSection(view, at, 1, 1, macs));
  assertEquals(section[3], 255);
  assertEquals(section.slice(-6), macs.slice(-6));
});

for (
  const [name, hex, expected] of [
    ["an empty list", "00 00 00 00", { error: 0, failed: 0, macs: [] }],
    [
      "two entries, whatever their directives say",
      "00 01 00 02 a5 01 02 11 22 33 44 55 00 00 02 66 77 88 99 aa 00 00",
      { error: 0, failed: 0, macs: ["021122334455", "0266778899aa"] },
    ],
    ["an error, whose count is no length", "00 01 03 07", { error: 3, failed: 7, macs: [] }],
    ["a list cut short", "00 00 00 02 00 00 02 11 22 33 44 55", undefined],
    ["half a section", "00 00 00", undefined],
  ] as const
) {
  Deno.test(`mask: reads ${name}`, () => {
    const { view, at } = framed(bytesOf(`${"00".repeat(24)} ${hex}`));
    const length = view.length - 2 * at;
    const read = readMaskResponse(view, at, length);
    assertEquals<unknown>(read && { ...read, macs: read.macs.map((mac) => mac.toHex()) }, expected);
  });
}
