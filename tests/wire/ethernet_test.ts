import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { copyMac, formatMac, macEquals, parseMac } from "../../src/wire/ethernet.ts";
import { bytesOf, framed, hexOf, written } from "./encoding.ts";

for (
  const [text, hex] of [
    ["525400123456", "52 54 00 12 34 56"],
    ["52:54:00:12:34:56", "52 54 00 12 34 56"],
    ["52-54-00-12-34-56", "52 54 00 12 34 56"],
    ["AB:cd:Ef:00:fF:01", "ab cd ef 00 ff 01"],
    ["000000000000", "00 00 00 00 00 00"],
    ["FFFFFFFFFFFF", "ff ff ff ff ff ff"],
  ] as const
) {
  Deno.test(`ethernet: "${text}" is a MAC address`, () => {
    const mac = parseMac(text);
    assertEquals(mac && hexOf(mac), hex);
  });
}

for (
  const text of [
    "",
    "52540012345",
    "5254001234567",
    "52:54:00:12:34",
    "52:54:00:12:34:56:78",
    "52:54-00:12:34:56",
    "52:5400123456",
    "5254:0012:3456",
    "g2:54:00:12:34:56",
    " 525400123456",
    "525400123456\n",
    "0x5254001234",
    "5:54:00:12:34:56",
  ]
) {
  Deno.test(`ethernet: ${JSON.stringify(text)} is none`, () => {
    assertEquals(parseMac(text), undefined);
  });
}

Deno.test("ethernet: a MAC address is written with colons in lower case", () => {
  assertEquals(formatMac(bytesOf("52 54 00 AB 34 0f".toLowerCase())), "52:54:00:ab:34:0f");
  const { view, at } = framed(bytesOf("00 01 02 03 04 05"));
  assertEquals(formatMac(view, at), "00:01:02:03:04:05");
});

Deno.test("ethernet: every MAC address comes back from its text", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (mac) => {
    assertEquals(parseMac(formatMac(mac)), mac);
    assertEquals(parseMac(formatMac(mac).replaceAll(":", "").toUpperCase()), mac);
  }));
});

Deno.test("ethernet: a MAC address is copied, six bytes and no more", () => {
  const mac = bytesOf("02 11 22 33 44 55");
  const copy = written(6, 12, (view, at) => copyMac(view, at + 6, framed(mac).view, 64));
  assertEquals(copy, mac);
});

Deno.test("ethernet: two MAC addresses are equal when all six bytes are", () => {
  const mac = bytesOf("02 11 22 33 44 55");
  const { view, at } = framed(mac);
  assertEquals(macEquals(view, at, mac, 0), true);
  for (let i = 0; i < 6; i++) {
    const other = mac.slice();
    other[i]! ^= 1;
    assertEquals(macEquals(view, at, other, 0), false, `byte ${i} differs`);
  }
});
