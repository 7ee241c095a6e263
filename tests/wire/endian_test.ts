import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  readUint16Be,
  readUint32Be,
  readUint48Le,
  writeUint16Be,
  writeUint32Be,
  writeUint48Le,
} from "../../src/wire/endian.ts";
import { bytesOf, framed, hexOf, written } from "./encoding.ts";

const CODECS = [
  {
    name: "16-bit big-endian",
    bytes: 2,
    read: readUint16Be,
    write: writeUint16Be,
    cases: [[0, "00 00"], [1, "00 01"], [0x88a2, "88 a2"], [0xffff, "ff ff"]],
  },
  {
    name: "32-bit big-endian",
    bytes: 4,
    read: readUint32Be,
    write: writeUint32Be,
    cases: [
      [0, "00 00 00 00"],
      [0x01020304, "01 02 03 04"],
      [0x80000000, "80 00 00 00"],
      [0xffffffff, "ff ff ff ff"],
    ],
  },
  {
    name: "48-bit little-endian",
    bytes: 6,
    read: readUint48Le,
    write: writeUint48Le,
    cases: [
      [0, "00 00 00 00 00 00"],
      [0x060504030201, "01 02 03 04 05 06"],
      [0xff000000, "00 00 00 ff 00 00"],
      [0x0100000000, "00 00 00 00 01 00"],
      [2 ** 48 - 1, "ff ff ff ff ff ff"],
    ],
  },
] as const;

for (const { name, bytes, read, write, cases } of CODECS) {
  for (const [value, hex] of cases) {
    Deno.test(`endian: ${name} 0x${value.toString(16)} is ${hex}`, () => {
      assertEquals(hexOf(written(0, bytes, (view, at) => write(view, at, value))), hex);
      const { view, at } = framed(bytesOf(hex));
      assertEquals(read(view, at), value);
    });
  }

  Deno.test(`endian: every ${name} comes back`, () => {
    const view = new Uint8Array(16);
    fc.assert(fc.property(fc.maxSafeNat(), (any) => {
      const value = any % 2 ** (8 * bytes);
      write(view, 3, value);
      assertEquals(read(view, 3), value);
    }));
  });
}
