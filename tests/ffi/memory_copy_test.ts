import { assert, assertEquals } from "@std/assert";
import { Arena, PAGE_BYTES } from "../../ffi/arena.ts";
import { EFAULT } from "../../ffi/errno_numbers.ts";
import { closeFile, fileBytes, openFile } from "../../ffi/files.ts";
import { MappedSegments } from "../../ffi/mapping.ts";
import { CopyLine } from "../../ffi/memory_copy.ts";

const FILE_PAGES = 4;

/** Runs a body with a file of four pages that is mapped with sixteen. */
function withMapping(
  writable: boolean,
  body: (parts: { path: string; segments: MappedSegments; address: number }) => void,
): void {
  const path = Deno.makeTempFileSync({ dir: "/var/tmp", prefix: "aoe-copy-" });
  Deno.writeFileSync(path, new Uint8Array(FILE_PAGES * PAGE_BYTES));
  const fd = openFile(path, { readOnly: !writable });
  const segments = new MappedSegments(fd, 16 * PAGE_BYTES, 1, { device: false, writable: true });
  try {
    segments.map(0, 0);
    assertEquals(fileBytes(fd), FILE_PAGES * PAGE_BYTES);
    body({ path, segments, address: segments.address(0) });
  } finally {
    segments.close();
    closeFile(fd);
    Deno.removeSync(path);
  }
}

Deno.test("memory copy: a line is copied in order, and over pages and files as memory is", () =>
  withMapping(true, ({ path, segments, address }) => {
    assertEquals([segments.writable, segments.reaches(4 * 4096), segments.reaches(4 * 4096 + 1)], [
      true,
      true,
      false,
    ]);
    const arena = new Arena(1 << 16);
    const line = new CopyLine(arena, 4);
    const at = arena.allocate(3 * PAGE_BYTES);
    arena.bytes.fill(1, at, at + PAGE_BYTES).fill(2, at + PAGE_BYTES, at + 2 * PAGE_BYTES);
    line.add(at + PAGE_BYTES - 3, 6, address + PAGE_BYTES - 2);
    line.add(at + PAGE_BYTES, 2, address + PAGE_BYTES - 2);
    line.add(at, 1, address + 3 * PAGE_BYTES);
    const faults = line.pageFaults();
    assertEquals(line.copy(), 9);
    // Nothing of the mapping has been touched before.
    assert(line.pageFaults() > faults);
    const file = Deno.readFileSync(path);
    assertEquals([...file.subarray(PAGE_BYTES - 3, PAGE_BYTES + 5)], [0, 2, 2, 1, 2, 2, 2, 0]);
    assertEquals(file[3 * PAGE_BYTES], 1);
    // What was forgotten is not copied.
    line.add(at, 1, address);
    line.clear();
    line.add(at, 1, address + 2 * PAGE_BYTES);
    assertEquals(line.copy(), 1);
    const again = Deno.readFileSync(path);
    assertEquals([again[0], again[2 * PAGE_BYTES]], [0, 1]);
  }));

Deno.test("memory copy: it stops at a page that is not there, and says what has been copied", () =>
  withMapping(true, ({ path, address }) => {
    const arena = new Arena(1 << 16);
    const line = new CopyLine(arena, 4);
    const at = arena.allocate(PAGE_BYTES);
    arena.bytes.fill(5, at, at + PAGE_BYTES);
    line.add(at, 512, address);
    line.add(at, 512, address + FILE_PAGES * PAGE_BYTES);
    line.add(at, 512, address + 1024);
    assertEquals(line.copy(), 512);
    const file = Deno.readFileSync(path);
    assertEquals([file.length, file[0], file[1024]], [FILE_PAGES * PAGE_BYTES, 5, 0]);
    line.add(at, 512, address + FILE_PAGES * PAGE_BYTES);
    assertEquals(line.copy(), -EFAULT);
  }));

Deno.test("memory copy: a file that is open for reading is mapped for reading", () =>
  withMapping(false, ({ segments, address }) => {
    assertEquals(segments.writable, false);
    const arena = new Arena(1 << 16);
    const line = new CopyLine(arena, 1);
    line.add(arena.allocate(8), 8, address);
    assertEquals(line.copy(), -EFAULT);
  }));
