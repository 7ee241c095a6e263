// A copy's file: when it is written by the loop itself, and when by the ring.

import { assertEquals } from "@std/assert";
import { Arena } from "../../../ffi/arena.ts";
import { closeFile, isMemoryFile, openFile } from "../../../ffi/files.ts";
import { IoUring } from "../../../ffi/io_uring.ts";
import { SyncQueue } from "../../../ffi/sync_queue.ts";
import { FileEnd } from "../../../src/loops/copy/file_end.ts";

const BYTES = 4096;
const TAGS = 8;

Deno.test({
  name: "copy: a file is written at once, until that has waited for a disk, and then again",
  ignore: !hasRing(),
  fn: () => {
    const path = Deno.makeTempFileSync({ prefix: "aoe-copy-" });
    const fd = openFile(path, { readOnly: false });
    try {
      if (isMemoryFile(fd)) return;
      const arena = new Arena(1 << 20);
      const spare = new SyncQueue(arena, TAGS);
      const at = arena.allocate(BYTES, 4096);
      let nowMs = 0;
      /** How long the next write seems to take. */
      let blockedMs = 0;
      const ended: number[] = [];
      const end = new FileEnd(
        { fd, name: "a file", kind: "file", bytes: undefined, zeroing: "skip" },
        {
          ...{ arena, spare, tags: TAGS, uring: true },
          outcome: {
            succeeded: (tag, bytes) => ended.push(tag, bytes),
            failed: (_, { text }) => {
              throw new Error(text);
            },
          },
          nowMs: () => {
            nowMs += blockedMs;
            return nowMs;
          },
        },
      );
      const size = () => Deno.statSync(path).size;
      const write = (tag: number) => end.write(tag, tag * BYTES, BYTES, at);
      const wait = () => {
        while (end.inFlight > 0) end.turn(nowMs);
      };
      write(0);
      assertEquals([size(), end.inFlight], [BYTES, 1], "written before it is told");
      blockedMs = 50;
      write(1);
      wait();
      blockedMs = 0;
      write(2);
      assertEquals([size(), end.inFlight], [2 * BYTES, 1], "left to the ring");
      wait();
      assertEquals(size(), 3 * BYTES);
      nowMs += 10_000;
      write(3);
      assertEquals(size(), 4 * BYTES, "tried again");
      wait();
      assertEquals(ended, [0, BYTES, 1, BYTES, 2, BYTES, 3, BYTES]);
    } finally {
      closeFile(fd);
      Deno.removeSync(path);
    }
  },
});

Deno.test("copy: what lies behind the end of a source that was cut is no hole", () => {
  const path = Deno.makeTempFileSync({ prefix: "aoe-copy-" });
  Deno.truncateSync(path, 16 * BYTES);
  const fd = openFile(path, { readOnly: true });
  try {
    const arena = new Arena(1 << 20);
    const at = arena.allocate(BYTES, 4096);
    const ended: number[] = [];
    const end = new FileEnd(
      { fd, name: "a file", kind: "file", bytes: 16 * BYTES, zeroing: "write" },
      {
        ...{ arena, spare: new SyncQueue(arena, TAGS), tags: TAGS, uring: false, nowMs: () => 0 },
        outcome: {
          succeeded: (tag, bytes) => ended.push(tag, bytes),
          failed: (_, { text }) => {
            throw new Error(text);
          },
        },
      },
    );
    assertEquals(end.holeAt(4 * BYTES, 12 * BYTES), 12 * BYTES);
    Deno.truncateSync(path, 8 * BYTES);
    assertEquals(end.holeAt(4 * BYTES, 12 * BYTES), 4 * BYTES);
    assertEquals(end.holeAt(8 * BYTES, 8 * BYTES), 0);
    // Reading there is what tells.
    end.read(3, 8 * BYTES, BYTES, at);
    end.turn(0);
    assertEquals(ended, [3, 0]);
  } finally {
    closeFile(fd);
    Deno.removeSync(path);
  }
});

/** Whether io_uring may be used here. */
function hasRing(): boolean {
  try {
    new IoUring(2).close();
    return true;
  } catch {
    return false;
  }
}
