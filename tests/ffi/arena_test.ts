// Memory the kernel may keep addresses of, and the errors of failing calls.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Arena, PAGE_BYTES } from "../../ffi/arena.ts";
import { check, errnoText, SystemError } from "../../ffi/errno.ts";
import { fileStatus, openFile } from "../../ffi/files.ts";

Deno.test("arena: zeroed, in whole pages, aligned, and used up at its end", () => {
  const arena = new Arena(PAGE_BYTES + 1);
  assertEquals([arena.bytes.length, arena.address % PAGE_BYTES], [2 * PAGE_BYTES, 0]);
  assert(arena.bytes.every((byte) => byte === 0));
  assertEquals(
    [arena.allocate(3), arena.allocate(1), arena.allocate(5, 512), arena.allocate(8)],
    [0, 8, 512, 520],
  );
  assertThrows(() => arena.allocate(2 * PAGE_BYTES - 527), RangeError);
  assertEquals(arena.allocate(2 * PAGE_BYTES - 528), 528);
  assertThrows(() => arena.allocate(1), RangeError);
});

Deno.test("arena: 64-bit numbers are stored whole, read back, and may be minus one", () => {
  const arena = new Arena(64);
  // The last one is the kernel's word for "where the file stands".
  for (const value of [0, 2 ** 32 - 1, 2 ** 32, 0x7fff_1234_5678, 2 ** 53 - 1, -1]) {
    arena.setUint64(8, value);
    assertEquals(arena.i64[1], BigInt(value));
    if (value >= 0) assertEquals(arena.uint64(8), value);
  }
  assertEquals(Deno.UnsafePointer.value(arena.pointer(16)), BigInt(arena.address + 16));
});

Deno.test("arena: as large as what is built on it", () => {
  const sizes: number[] = [];
  const { arena, built } = Arena.fit((arena) => {
    const first = arena.allocate(3 * PAGE_BYTES - 8);
    arena.setUint64(first, 0x7fff_1234_5678);
    sizes.push(arena.bytes.length);
    return [first, arena.allocate(1, PAGE_BYTES)];
  });
  assertEquals(built, [0, 3 * PAGE_BYTES]);
  assertEquals(sizes, [0, 4 * PAGE_BYTES]);
  assertEquals([arena.bytes.length, arena.i64[0]], [4 * PAGE_BYTES, 0x7fff_1234_5678n]);
});

Deno.test("arena: more than there is fails with a system error", () => {
  const error = assertThrows(() => new Arena(2 ** 52), SystemError, "ENOMEM");
  assertEquals(error.code, 12);
});

Deno.test("errno: a failing call is told with its name, a good one passes through", () => {
  assertEquals(check(5, "nothing"), 5);
  const missing = () => openFile("/nonexistent/disk.img", { readOnly: true });
  const error = assertThrows(missing, SystemError);
  assertEquals([error.code, error.message], [
    2,
    'Open "/nonexistent/disk.img": no such file or directory (ENOENT)',
  ]);
  assertThrows(() => fileStatus(-1), SystemError, "EBADF");
  assertEquals([errnoText(5), errnoText(4711)], ["input/output error (EIO)", "errno 4711"]);
});
