import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  ataErrorName,
  readLba28,
  readLba48,
  sectorsPerFrame,
  writeAtaRequest,
  writeLba48,
} from "../../src/wire/ata.ts";
import { bytesOf, framed, hexOf, written } from "./encoding.ts";

for (
  const [name, request, hex] of [
    [
      "READ SECTORS EXT",
      { flags: 0x40, feature: 0, count: 2, command: 0x24, lba: 0x060504030201 },
      "40 00 02 24 01 02 03 04 05 06 00 00",
    ],
    [
      "WRITE SECTORS EXT, asynchronous",
      { flags: 0x43, feature: 0, count: 17, command: 0x34, lba: 0 },
      "43 00 11 34 00 00 00 00 00 00 00 00",
    ],
    [
      "IDENTIFY DEVICE",
      { flags: 0, feature: 0, count: 1, command: 0xec, lba: 0xa0000000 },
      "00 00 01 ec 00 00 00 a0 00 00 00 00",
    ],
    [
      "SET FEATURES",
      { flags: 0, feature: 0x82, count: 0, command: 0xef, lba: 0 },
      "00 82 00 ef 00 00 00 00 00 00 00 00",
    ],
    [
      "the last sector of all",
      { flags: 0x40, feature: 0, count: 255, command: 0x24, lba: 2 ** 48 - 1 },
      "40 00 ff 24 ff ff ff ff ff ff 00 00",
    ],
  ] as const
) {
  Deno.test(`ata: ${name}, byte for byte`, () => {
    const section = written(24, 36, (view, at) => writeAtaRequest(view, at, request));
    assertEquals(hexOf(section), hex);
  });
}

Deno.test("ata: the LBA of a 48-bit command is all six bytes, lowest first", () => {
  const { view, at } = framed(
    bytesOf(`${"00 ".repeat(24)} 00 00 01 24 01 02 03 04 05 06 07 08`),
  );
  assertEquals(readLba48(view, at), 0x060504030201);
});

Deno.test("ata: the LBA of a 28-bit command is three bytes and the low nibble of the fourth", () => {
  const { view, at } = framed(
    bytesOf(`${"00 ".repeat(24)} 00 00 01 20 01 02 03 f4 05 06 07 08`),
  );
  assertEquals(readLba28(view, at), 0x04030201);
});

Deno.test("ata: every LBA comes back", () => {
  fc.assert(fc.property(fc.nat(2 ** 24 - 1), fc.nat(2 ** 24 - 1), (high, low) => {
    const lba = high * 2 ** 24 + low;
    const section = written(28, 34, (view, at) => writeLba48(view, at, lba));
    const { view, at } = framed(new Uint8Array(36));
    view.set(section, at + 28);
    assertEquals(readLba48(view, at), lba);
    assertEquals(readLba28(view, at), lba % 2 ** 28);
  }));
});

for (
  const [mtu, sectors] of [
    [0, 0],
    [46, 0],
    [547, 0],
    [548, 1],
    [576, 1],
    [1059, 1],
    [1060, 2],
    [1500, 2],
    [1571, 2],
    [1572, 3],
    [4132, 8],
    [4136, 8],
    [8227, 15],
    [8228, 16],
    [9000, 17],
    [9216, 17],
    [16110, 31],
    [65535, 127],
    [65536, 127],
    [130595, 254],
    [130596, 255],
    [1000000, 255],
  ] as const
) {
  Deno.test(`ata: an MTU of ${mtu} carries ${sectors} sectors`, () => {
    assertEquals(sectorsPerFrame(mtu), sectors);
  });
}

Deno.test("ata: error registers have names", () => {
  assertEquals(ataErrorName(0x41, 0x04), "ERR ABRT");
  assertEquals(ataErrorName(0x41, 0x10), "ERR IDNF");
  assertEquals(ataErrorName(0x41, 0x40), "ERR UNC");
  assertEquals(ataErrorName(0x61, 0x04), "DF ERR ABRT");
  assertEquals(ataErrorName(0xff, 0xff), "BSY DF DRQ ERR ICRC UNC MC IDNF MCR ABRT");
  // Without the ERR bit the error register means nothing (ATA8-ACS section 6.2).
  assertEquals(ataErrorName(0x40, 0xff), "");
});
