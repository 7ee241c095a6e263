// Structures of linux/ublk_cmd.h against bytes that a C compiler laid out.

import { assertEquals } from "@std/assert";
import {
  readUblkFeatures,
  readUblkInfo,
  UBLK_ADD,
  UBLK_COMMIT_AND_FETCH,
  UBLK_CONTROL_BYTES,
  UBLK_DELETE,
  UBLK_DELETE_LATER,
  UBLK_END_RECOVERY,
  UBLK_FEATURE_RECOVERY,
  UBLK_FEATURE_REISSUE,
  UBLK_FETCH,
  UBLK_FUA,
  UBLK_GET_FEATURES,
  UBLK_GET_INFO,
  UBLK_INFO_BYTES,
  UBLK_IO_BYTES,
  UBLK_OP_FUA,
  UBLK_OP_WRITE,
  UBLK_PARAMETERS_BYTES,
  UBLK_SET_PARAMETERS,
  UBLK_START,
  UBLK_START_RECOVERY,
  UBLK_STATE_QUIESCED,
  UBLK_STOP,
  UBLK_UPDATE_SIZE,
  UBLK_VOLATILE_CACHE,
  ublkFirstSector,
  ublkOperation,
  ublkSectors,
  writeUblkControl,
  writeUblkInfo,
  writeUblkIo,
  writeUblkParameters,
} from "../../src/wire/ublk.ts";
import { bytesOf, hexOf, written } from "./encoding.ts";

/** What an encoder writes, with all of its section filled and nothing else touched. */
function encoded(bytes: number, encode: (u32: Uint32Array, at: number) => void): string {
  return hexOf(
    written(0, bytes, (view, at) => encode(new Uint32Array(view.buffer), view.byteOffset + at)),
  );
}

/** Bytes as words, somewhere within others. */
function words(hex: string): { readonly u32: Uint32Array; readonly at: number } {
  const bytes = bytesOf(hex);
  const view = new Uint8Array(64 + bytes.length + 64).fill(0xa5);
  view.set(bytes, 64);
  return { u32: new Uint32Array(view.buffer), at: 64 };
}

Deno.test("ublk: commands have the numbers of the ioctls", () => {
  const numbers = [
    [UBLK_GET_INFO, 0x80207502],
    [UBLK_ADD, 0xc0207504],
    [UBLK_DELETE, 0xc0207505],
    [UBLK_START, 0xc0207506],
    [UBLK_STOP, 0xc0207507],
    [UBLK_SET_PARAMETERS, 0xc0207508],
    [UBLK_START_RECOVERY, 0xc0207510],
    [UBLK_END_RECOVERY, 0xc0207511],
    [UBLK_GET_FEATURES, 0x80207513],
    [UBLK_DELETE_LATER, 0x80207514],
    [UBLK_UPDATE_SIZE, 0xc0207515],
    [UBLK_FETCH, 0xc0107520],
    [UBLK_COMMIT_AND_FETCH, 0xc0107521],
  ] as const;
  for (const [actual, expected] of numbers) assertEquals(actual, expected);
});

Deno.test("ublk: a control command", () => {
  const command = { device: 7, address: 0x7f12_3456_7000, bytes: 64, argument: 0x1_0000_0002 };
  assertEquals(
    encoded(UBLK_CONTROL_BYTES, (u32, at) => writeUblkControl(u32, at, command)),
    "07 00 00 00 ff ff 40 00 00 70 56 34 12 7f 00 00 02 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00",
  );
  assertEquals(
    encoded(UBLK_CONTROL_BYTES, (u32, at) => writeUblkControl(u32, at, { device: 0xffffffff })),
    `ff ff ff ff ff ff${" 00".repeat(26)}`,
  );
});

Deno.test("ublk: what a device is, there and back", () => {
  const info = {
    device: 0xffffffff,
    depth: 128,
    requestBytesMax: 262144,
    flags: UBLK_FEATURE_RECOVERY | UBLK_FEATURE_REISSUE,
    owner: 0x1234 << 8 | 5,
  };
  const text = encoded(UBLK_INFO_BYTES, (u32, at) => writeUblkInfo(u32, at, info));
  assertEquals(
    text,
    "01 00 80 00 00 00 00 00 00 00 04 00 ff ff ff ff 00 00 00 00 00 00 00 00 " +
      "18 00 00 00 00 00 00 00 05 34 12 00 01 65 6f 61" + " 00".repeat(24),
  );
  // As the kernel gives it back, with a state, a number and a process id.
  const { u32, at } = words(
    "0100 8000 0200 0000 00000400 03000000 d2040000 00000000 5800000000000000 " +
      "05341200 01656f61" + "00".repeat(24),
  );
  assertEquals(readUblkInfo(u32, at), {
    ...info,
    device: 3,
    flags: 0x58,
    state: UBLK_STATE_QUIESCED,
  });
  u32[at / 4 + 9] = 0;
  assertEquals(readUblkInfo(u32, at).owner, undefined);
});

Deno.test("ublk: a device without an owner", () => {
  const info = { device: 0, depth: 1, requestBytesMax: 4096, flags: 0, owner: undefined };
  assertEquals(
    encoded(UBLK_INFO_BYTES, (u32, at) => writeUblkInfo(u32, at, info)),
    `01 00 01 00 00 00 00 00 00 10 00 00${" 00".repeat(52)}`,
  );
});

Deno.test("ublk: parameters", () => {
  const parameters = {
    attributes: UBLK_VOLATILE_CACHE | UBLK_FUA,
    sectors: 0x12_3456_789a,
    physicalBlockBytes: 4096,
    requestSectorsMax: 512,
    discardSectorsMax: 0x200000,
    zeroSectorsMax: 0x10000,
  };
  assertEquals(
    encoded(UBLK_PARAMETERS_BYTES, (u32, at) => writeUblkParameters(u32, at, parameters)),
    "40 00 00 00 03 00 00 00 " +
      "0c 00 00 00 09 0c 0c 0c 00 02 00 00 00 00 00 00 9a 78 56 34 12 00 00 00 " +
      "00 00 00 00 00 00 00 00 " +
      "00 00 00 00 00 10 00 00 00 00 20 00 00 00 01 00 01 00 00 00 00 00 00 00",
  );
});

Deno.test("ublk: a descriptor", () => {
  const { u32, at } = words("01200000 08000000 9a78563412000000 0070563412000000");
  assertEquals(ublkOperation(u32, at), UBLK_OP_WRITE | UBLK_OP_FUA);
  assertEquals(ublkSectors(u32, at), 8);
  assertEquals(ublkFirstSector(u32, at), 0x12_3456_789a);
});

Deno.test("ublk: an answer, and features", () => {
  assertEquals(
    encoded(UBLK_IO_BYTES, (u32, at) => writeUblkIo(u32, at, 127, -5, 0x7f12_3456_7000)),
    "00 00 7f 00 fb ff ff ff 00 70 56 34 12 7f 00 00",
  );
  const { u32, at } = words("ff04000000000000");
  assertEquals(readUblkFeatures(u32, at), 0x4ff);
});
