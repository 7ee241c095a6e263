// Files through the plain system calls: opening, sizes, locks, holes; and their mapped pages.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Arena, PAGE_BYTES } from "../../ffi/arena.ts";
import { SystemError } from "../../ffi/errno.ts";
import {
  closeFile,
  fileStatus,
  isMemoryFile,
  lockFile,
  openFile,
  punchHole,
  readAt,
  syncFile,
  truncateFile,
  writeAt,
} from "../../ffi/files.ts";
import { MappedSegments } from "../../ffi/mapping.ts";
import { EBADF, EOPNOTSUPP } from "../../ffi/errno_numbers.ts";

/** Runs a body with the path of a file that does not exist yet. */
function withPath(body: (path: string) => void): void {
  const folder = Deno.makeTempDirSync({ prefix: "aoe-ffi-" });
  try {
    body(`${folder}/disk.img`);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Two pieces of memory of 512 bytes, as iovecs. */
function twoPieces() {
  const arena = new Arena(4096);
  const iovecs = arena.allocate(32, 16);
  const data = arena.allocate(1024, 512);
  for (let i = 0; i < 2; i++) {
    arena.setUint64(iovecs + 16 * i, arena.address + data + 512 * i);
    arena.u32[(iovecs + 16 * i + 8) >>> 2] = 512;
  }
  return { iovecs: arena.pointer(iovecs), bytes: arena.bytes.subarray(data, data + 1024) };
}

Deno.test("files: made once, grown, and described", () =>
  withPath((path) => {
    const fd = openFile(path, { readOnly: false, create: true });
    truncateFile(fd, 5 * 2 ** 30);
    const { kind, bytes, logicalBlockBytes, device } = fileStatus(fd);
    assertEquals([kind, bytes, logicalBlockBytes], ["file", 5 * 2 ** 30, 512]);
    const major = Deno.statSync(path).dev >> 8;
    assertEquals([device[0] & 0xff], [major & 0xff]);
    const again = () => openFile(path, { readOnly: false, create: true });
    assertThrows(again, SystemError, "EEXIST");
    closeFile(fd);
    const folder = openFile(path.slice(0, path.lastIndexOf("/")), { readOnly: true });
    assertEquals(fileStatus(folder).kind, "other");
    closeFile(folder);
  }));

Deno.test("files: written and read at offsets past 4 GiB, in pieces, and past the end", () =>
  withPath((path) => {
    const fd = openFile(path, { readOnly: false, create: true });
    const { iovecs, bytes } = twoPieces();
    const offset = 2n ** 32n + 512n;
    const offsets = new BigInt64Array([offset, offset + 512n, offset + 1024n]);
    bytes.fill(1, 0, 512).fill(2, 512);
    assertEquals(writeAt(fd, iovecs, 2, offsets, 0, false), 1024);
    assertEquals([syncFile(fd), fileStatus(fd).bytes], [0, Number(offset) + 1024]);
    bytes.fill(0);
    assertEquals(readAt(fd, iovecs, 2, offsets, 1), 512);
    assertEquals([bytes[0], bytes[511], bytes[512]], [2, 2, 0]);
    assertEquals(readAt(fd, iovecs, 1, offsets, 2), 0);
    closeFile(fd);
    const readOnly = openFile(path, { readOnly: true });
    assertEquals([writeAt(readOnly, iovecs, 1, offsets, 0, false), syncFile(-1)], [-EBADF, -EBADF]);
    closeFile(readOnly);
  }));

Deno.test("files: a hole reads as zeros and keeps the size", () =>
  withPath((path) => {
    Deno.writeFileSync(path, new Uint8Array(65536).fill(1));
    const fd = openFile(path, { readOnly: false });
    const result = punchHole(fd, 8192, 16384);
    closeFile(fd);
    if (result === -EOPNOTSUPP) return;
    assertEquals(result, 0);
    const bytes = Deno.readFileSync(path);
    assertEquals([bytes.length, bytes[8191], bytes[24576]], [65536, 1, 1]);
    assert(bytes.subarray(8192, 24576).every((byte) => byte === 0));
  }));

Deno.test("files: a lock keeps others out until its descriptor is closed", () =>
  withPath((path) => {
    Deno.writeFileSync(path, new Uint8Array(512));
    const open = () => openFile(path, { readOnly: false });
    const [first, second, third] = [open(), open(), open()] as const;
    assertEquals([lockFile(first, false), lockFile(second, false)], [true, false]);
    assertEquals(lockFile(second, true), false);
    closeFile(first);
    assertEquals([lockFile(second, true), lockFile(third, true)], [true, true]);
    assertEquals(lockFile(third, false), false);
    closeFile(second);
    closeFile(third);
  }));

Deno.test("files: what lies in memory is told from what waits for somebody", () => {
  for (const [path, expected] of [["/dev/shm", true], ["/proc/self/status", false]] as const) {
    const fd = openFile(path, { readOnly: true });
    try {
      assertEquals(isMemoryFile(fd), expected, path);
    } finally {
      closeFile(fd);
    }
  }
});

Deno.test("mapping: written pages are resident, those past the end never, an empty place neither", () =>
  withPath((path) => {
    const segmentBytes = 16 * PAGE_BYTES;
    Deno.writeFileSync(path, new Uint8Array(3 * segmentBytes + 2 * PAGE_BYTES).fill(7));
    const fd = openFile(path, { readOnly: true });
    const options = { device: false, writable: false };
    const segments = new MappedSegments(fd, segmentBytes, 2, options);
    assertEquals([segments.address(0), segments.resident(0, 0, PAGE_BYTES)], [0, false]);
    segments.map(0, 1);
    segments.map(1, 3);
    assert(segments.address(0) > 0 && segments.address(0) % PAGE_BYTES === 0);
    assertEquals(segments.resident(0, 0, segmentBytes), true);
    assertEquals(segments.resident(1, 0, 2 * PAGE_BYTES), true);
    assertEquals(segments.resident(1, PAGE_BYTES, 2 * PAGE_BYTES), false);
    const pointer = Deno.UnsafePointer.create(BigInt(segments.address(1)))!;
    assertEquals(new Deno.UnsafePointerView(pointer).getUint8(PAGE_BYTES), 7);
    assertEquals(segments.hasReplaced, false);
    segments.map(1, 0);
    assertEquals(segments.resident(1, 0, segmentBytes), true);
    // What lost its place is still there, until it is let go of.
    assertEquals([segments.hasReplaced, new Deno.UnsafePointerView(pointer).getUint8(0)], [
      true,
      7,
    ]);
    segments.unmapReplaced();
    assertEquals(segments.hasReplaced, false);
    segments.unmapReplaced();
    closeFile(fd);
    const folder = openFile("/", { readOnly: true });
    assertThrows(
      () => new MappedSegments(folder, segmentBytes, 1, options).map(0, 0),
      SystemError,
      "ENODEV",
    );
    closeFile(folder);
  }));
