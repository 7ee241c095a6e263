import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Identity, readIdentity, writeIdentity } from "../../src/wire/identify.ts";
import { readIncarnation, writeIncarnation } from "../../src/wire/incarnation.ts";
import { hexOf } from "./encoding.ts";

const DISK: Identity = {
  serial: "s",
  firmware: "f",
  model: "m",
  sectors: 1000,
  writeCacheSupported: true,
  writeCacheOn: true,
  trim: true,
  physicalSectorBytes: 512,
  rotational: false,
};

Deno.test("incarnation: words 129 to 132, and the checksum; nothing else of IDENTIFY", () => {
  const view = new Uint8Array(600).fill(0xa5);
  writeIdentity(view, 20, DISK);
  const before = view.slice();
  writeIncarnation(view, 20, 0x89abcdef);
  const at = 20 + 2 * 129;
  assertEquals(hexOf(view.subarray(at, at + 8)), "61 6f 65 01 89 ab cd ef");
  assertEquals(view.subarray(20, 20 + 512).reduce((sum, byte) => sum + byte, 0) % 256, 0);
  view.fill(0, at, at + 8);
  view[20 + 511] = before[20 + 511]!;
  assertEquals(view, before);
});

Deno.test("incarnation: every one comes back, beside an identity that stays", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 0xffffffff }), (incarnation) => {
    const view = new Uint8Array(512);
    writeIdentity(view, 0, DISK);
    writeIncarnation(view, 0, incarnation);
    assertEquals(readIncarnation(view, 0), incarnation);
    assertEquals(readIdentity(view, 0), DISK);
  }));
});

Deno.test("incarnation: a target that names none has 0", () => {
  const view = new Uint8Array(512);
  writeIdentity(view, 0, DISK);
  assertEquals(readIncarnation(view, 0), 0);
  assertEquals(readIncarnation(new Uint8Array(512).fill(0x20), 0), 0);
});
