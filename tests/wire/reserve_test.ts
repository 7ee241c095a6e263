import { assertEquals } from "@std/assert";
import { readReserveHolders, writeReserveSection } from "../../src/wire/reserve.ts";
import { bytesOf, framed, hexOf, written } from "./encoding.ts";

for (
  const [name, command, macs, hex] of [
    ["a read", 0, "", "00 00"],
    ["a set of one", 1, "02 11 22 33 44 55", "01 01 02 11 22 33 44 55"],
    [
      "a force set of two",
      2,
      "02 11 22 33 44 55 02 66 77 88 99 aa",
      "02 02 02 11 22 33 44 55 02 66 77 88 99 aa",
    ],
    ["a release", 1, "", "01 00"],
  ] as const
) {
  Deno.test(`reserve: ${name}, byte for byte`, () => {
    const bytes = bytesOf(macs);
    let length = 0;
    const section = written(24, 26 + bytes.length, (view, at) => {
      length = writeReserveSection(view, at, command, bytes);
    });
    assertEquals(hexOf(section), hex);
    assertEquals(length, 26 + bytes.length);
  });
}

Deno.test("reserve: 255 holders, the most that its count can say", () => {
  const macs = Uint8Array.from({ length: 255 * 6 }, (_, i) => i);
  const section = written(24, 26 + 255 * 6, (view, at) => writeReserveSection(view, at, 2, macs));
  assertEquals(section[1], 255);
  assertEquals(section.slice(2), macs);
});

for (
  const [name, hex, expected] of [
    ["nobody", "00 00", []],
    ["two holders, padding behind", "01 02 021122334455 026677889900 0000", [
      "021122334455",
      "026677889900",
    ]],
    ["a list cut short", "01 02 021122334455 0266", undefined],
    ["half a section", "01", undefined],
  ] as const
) {
  Deno.test(`reserve: reads ${name}`, () => {
    const { view, at } = framed(bytesOf(`${"00".repeat(24)} ${hex}`));
    const read = readReserveHolders(view, at, view.length - 2 * at);
    assertEquals<unknown>(read?.map((mac) => mac.toHex()), expected);
  });
}
