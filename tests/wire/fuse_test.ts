// FUSE messages against the layouts of linux/fuse.h.

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  FUSE_FALLOCATE,
  FUSE_INIT,
  FUSE_READ,
  fuseFallocateLength,
  fuseFallocateMode,
  fuseInitMinor,
  fuseInitOffersUring,
  fuseOffset,
  fuseOpcode,
  fuseSize,
  writeFuseAnswer,
  writeFuseAttributes,
  writeFuseFileSystem,
  writeFuseInit,
  writeFuseOpened,
  writeFuseResend,
  writeFuseWritten,
} from "../../src/wire/fuse.ts";
import { hexOf } from "./encoding.ts";

/** A request: struct fuse_in_header, then arguments as 64-bit or 32-bit numbers. */
function request(opcode: number, unique: bigint, args: readonly (bigint | number)[]) {
  const bytes = new Uint8Array(256).fill(0xa5);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 80, true);
  view.setUint32(4, opcode, true);
  view.setBigUint64(8, unique, true);
  view.setBigUint64(16, 1n, true);
  let at = 40;
  for (const value of args) {
    if (typeof value === "bigint") view.setBigUint64(at, value, true);
    else view.setUint32(at, value, true);
    at += typeof value === "bigint" ? 8 : 4;
  }
  return new Uint32Array(bytes.buffer);
}

/** Memory full of 0xa5, and the bytes that a writer left behind the answer's header at 64. */
function written(write: (u32: Uint32Array, outAt: number) => number): DataView {
  const bytes = new Uint8Array(512).fill(0xa5);
  const count = write(new Uint32Array(bytes.buffer), 64);
  assertEquals(bytes.subarray(0, 80).every((byte) => byte === 0xa5), true, "before its place");
  assertEquals(bytes.subarray(80 + count).every((byte) => byte === 0xa5), true, "behind its place");
  return new DataView(bytes.buffer, 80, count);
}

Deno.test("fuse: a read's opcode, offset and size, beyond 4 GiB too", () => {
  fc.assert(fc.property(
    fc.bigInt(0n, 2n ** 53n - 1n),
    fc.nat(2 ** 20),
    (offset, size) => {
      const u32 = request(FUSE_READ, 7n, [0n, offset, size, 0, 0n, 0, 0]);
      assertEquals(fuseOpcode(u32, 0), FUSE_READ);
      assertEquals([fuseOffset(u32, 0), fuseSize(u32, 0)], [Number(offset), size]);
    },
  ));
});

Deno.test("fuse: a fallocate's range and mode", () => {
  const u32 = request(FUSE_FALLOCATE, 7n, [0n, 2n ** 40n, 2n ** 33n + 512n, 3, 0]);
  assertEquals(fuseOffset(u32, 0), 2 ** 40);
  assertEquals(fuseFallocateLength(u32, 0), 2 ** 33 + 512);
  assertEquals(fuseFallocateMode(u32, 0), 3);
});

Deno.test("fuse: an answer echoes all 64 bits of unique, that of a request sent again too", () => {
  const u32 = request(FUSE_READ, 2n ** 63n + 0x1122334455n, [0n, 0n, 4096]);
  writeFuseAnswer(u32, 0, 128, 4096, 0);
  const bytes = new Uint8Array(u32.buffer);
  assertEquals(hexOf(bytes.subarray(128, 144)), "10 10 00 00 00 00 00 00 55 44 33 22 11 00 00 80");
  writeFuseAnswer(u32, 0, 128, 0, 110);
  assertEquals(hexOf(bytes.subarray(128, 136)), "10 00 00 00 92 ff ff ff");
});

Deno.test("fuse: INIT takes of the kernel's offers what is served", () => {
  const offered = 0xffffffff;
  const u32 = request(FUSE_INIT, 1n, [7, 45, 131072, offered]);
  assertEquals(fuseInitMinor(u32, 0), 45);
  const sizes = { requestBytesMax: 262144, backgroundMax: 128 };
  const count = writeFuseInit(u32, 0, 128, sizes);
  const out = new DataView(u32.buffer, 144, count);
  assertEquals(count, 64);
  assertEquals([out.getUint32(0, true), out.getUint32(4, true)], [7, 40]);
  assertEquals(out.getUint32(8, true), 131072);
  // ASYNC_READ, BIG_WRITES, ASYNC_DIO, PARALLEL_DIROPS, ABORT_ERROR, MAX_PAGES, INIT_EXT.
  assertEquals(
    out.getUint32(12, true),
    1 | 1 << 5 | 1 << 15 | 1 << 18 | 1 << 21 | 1 << 22 | 1 << 30,
  );
  assertEquals([out.getUint16(16, true), out.getUint16(18, true)], [128, 128]);
  assertEquals(out.getUint32(20, true), 262144);
  assertEquals(out.getUint16(28, true), 64);
  assertEquals(fuseInitMinor(request(FUSE_INIT, 1n, [6, 45, 0, 0]), 0), 0);
});

Deno.test("fuse: INIT takes the offer of io_uring, bit 41, only where it is wanted and there", () => {
  const sizes = { requestBytesMax: 262144, backgroundMax: 128 };
  const init = (flags: number, flags2: number) =>
    request(FUSE_INIT, 1n, [7, 45, 131072, flags, flags2]);
  const initExt = 1 << 30;
  // Before 7.36 nothing stands behind the first flags.
  assertEquals(fuseInitOffersUring(init(0, 0xffffffff), 0), false);
  assertEquals(fuseInitOffersUring(init(initExt, ~(1 << 9)), 0), false);
  assertEquals(fuseInitOffersUring(init(initExt, 1 << 9), 0), true);
  for (const overUring of [false, true]) {
    const u32 = init(initExt, 1 << 9);
    const count = writeFuseInit(u32, 0, 128, { ...sizes, overUring });
    const out = new DataView(u32.buffer, 144, count);
    assertEquals(out.getUint32(32, true), overUring ? 1 << 9 : 0);
  }
});

Deno.test("fuse: attributes, open, statfs and written write their place and nothing else", () => {
  const attributes = written((u32, at) => writeFuseAttributes(u32, at, 2 ** 40 + 512, false));
  assertEquals(attributes.byteLength, 104);
  assertEquals(attributes.getBigUint64(0, true), 0n);
  assertEquals(attributes.getBigUint64(16, true), 1n);
  assertEquals(attributes.getBigUint64(24, true), 2n ** 40n + 512n);
  assertEquals(attributes.getUint32(76, true), 0o100600);
  assertEquals(attributes.getUint32(96, true), 4096);
  const readOnly = written((u32, at) => writeFuseAttributes(u32, at, 512, true));
  assertEquals(readOnly.getUint32(76, true), 0o100400);
  const opened = written(writeFuseOpened);
  assertEquals([opened.byteLength, opened.getUint32(8, true)], [16, 1 | 32 | 64]);
  const fileSystem = written((u32, at) => writeFuseFileSystem(u32, at, 8192));
  assertEquals([fileSystem.byteLength, fileSystem.getUint32(40, true)], [80, 4096]);
  assertEquals(fileSystem.getBigUint64(0, true), 2n);
  const answer = written((u32, at) => writeFuseWritten(u32, at, 4096));
  assertEquals([answer.byteLength, answer.getUint32(0, true)], [8, 4096]);
});

Deno.test("fuse: the request to send again is a notification of 16 bytes", () => {
  const bytes = new Uint8Array(32).fill(0xa5);
  assertEquals(writeFuseResend(new Uint32Array(bytes.buffer), 8), 16);
  assertEquals(hexOf(bytes.subarray(8, 24)), "10 00 00 00 07 00 00 00 00 00 00 00 00 00 00 00");
});
