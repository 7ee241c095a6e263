import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Identity, readIdentity, writeIdentity } from "../../src/wire/identify.ts";
import { readIncarnation, readOnlyExport, writeIncarnation } from "../../src/wire/incarnation.ts";
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

Deno.test("incarnation: words 129 to 133, and the checksum; nothing else of IDENTIFY", () => {
  const view = new Uint8Array(600).fill(0xa5);
  writeIdentity(view, 20, DISK);
  const before = view.slice();
  writeIncarnation(view, 20, 0x89abcdef, true);
  const at = 20 + 2 * 129;
  assertEquals(hexOf(view.subarray(at, at + 10)), "61 6f 65 01 89 ab cd ef 01 00");
  assertEquals(view.subarray(20, 20 + 512).reduce((sum, byte) => sum + byte, 0) % 256, 0);
  view.fill(0, at, at + 9);
  view[20 + 511] = before[20 + 511]!;
  assertEquals(view, before);
});

Deno.test("incarnation: every one comes back, beside an identity that stays", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 0xffffffff }), fc.boolean(), (incarnation, ro) => {
      const view = new Uint8Array(512);
      writeIdentity(view, 0, DISK);
      writeIncarnation(view, 0, incarnation, ro);
      assertEquals(readIncarnation(view, 0), incarnation);
      assertEquals(readOnlyExport(view, 0), ro);
      assertEquals(readIdentity(view, 0), DISK);
    }),
  );
});

Deno.test("incarnation: a target that names none has 0", () => {
  const view = new Uint8Array(512);
  writeIdentity(view, 0, DISK);
  assertEquals(readIncarnation(view, 0), 0);
  assertEquals(readIncarnation(new Uint8Array(512).fill(0x21), 0), 0);
  assertEquals(readOnlyExport(new Uint8Array(512).fill(0x21), 0), false);
});
