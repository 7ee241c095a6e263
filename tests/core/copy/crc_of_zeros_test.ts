// Holes are summed up without being read: the same CRC-32 as byte by byte.

import { assertEquals } from "@std/assert";
import { crcOfZeros } from "../../../src/core/copy/crc_of_zeros.ts";

/** CRC-32 bit by bit, as its definition has it. */
function crcOf(bytes: Uint8Array, before = 0): number {
  let register = ~before;
  for (const byte of bytes) {
    register ^= byte;
    for (let bit = 0; bit < 8; bit++) {
      register = (register >>> 1) ^ ((register & 1) !== 0 ? 0xedb88320 : 0);
    }
  }
  return ~register >>> 0;
}

Deno.test("crc of zeros: as many as there are, after anything", () => {
  const text = crcOf(new TextEncoder().encode("123456789"));
  assertEquals(text, 0xcbf43926, "the CRC's published check value");
  for (const before of [0, text, 0xffffffff, 1]) {
    for (const bytes of [0, 1, 2, 3, 7, 8, 511, 512, 4096, 65_537]) {
      assertEquals(crcOfZeros(before, bytes), crcOf(new Uint8Array(bytes), before));
    }
  }
});

Deno.test("crc of zeros: terabytes at once are the same as in parts", () => {
  const whole = crcOfZeros(0x12345678, 5 * 2 ** 40 + 77);
  let parts = crcOfZeros(0x12345678, 77);
  for (let i = 0; i < 5; i++) parts = crcOfZeros(parts, 2 ** 40);
  assertEquals(parts, whole);
});
