// Messages of a FUSE connection by io_uring, and by system calls: what one does the other does.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { Arena } from "../../ffi/arena.ts";
import { abandonFile, closeFile } from "../../ffi/files.ts";
import { openFuse } from "../../ffi/fuse_mount.ts";
import {
  FuseCalls,
  FuseEntries,
  type FuseQueue,
  FuseRing,
  openFuseQueue,
} from "../../ffi/fuse_channel.ts";
import {
  FUSE_GETATTR,
  FUSE_INIT,
  FUSE_OPEN,
  FUSE_OUT_HEADER_BYTES,
  FUSE_READ,
  FUSE_WRITE_HEADER_BYTES,
  fuseOffset,
  fuseOpcode,
  fuseSize,
  writeFuseAnswer,
  writeFuseAttributes,
  writeFuseInit,
  writeFuseOpened,
} from "../../src/wire/fuse.ts";
import { interopTest } from "../harness/requirements.ts";
import type { FuseReading, FuseReadingResult } from "./fuse_reader.ts";
import { ENODEV } from "../../ffi/errno_numbers.ts";

const ENTRIES = 4;
const PAYLOAD_BYTES = 16 * 1024;
const FILE_BYTES = 2 ** 20;

const fuse = {
  missing: "FUSE (modprobe fuse)",
  present: () => {
    try {
      closeFile(openFuse());
      return true;
    } catch {
      return false;
    }
  },
};

for (
  const [way, open] of [
    ["io_uring", (fd: number, entries: FuseEntries) => FuseRing.open(fd, entries)],
    ["read and write", (fd: number, entries: FuseEntries) => new FuseCalls(fd, entries)],
    ["the way that is chosen", openFuseQueue],
  ] as const
) {
  interopTest(`fuse by ${way}: a file is read, and its end is told`, [fuse], async () => {
    using mount = new Mount(open);
    // Asked for before there is anything.
    mount.queue.receive(0);
    mount.queue.receive(1);
    mount.queue.submit();
    const offsets = [0, 8192, FILE_BYTES - 4096, 4096];
    const result = mount.read(offsets, 4096);
    await mount.serve(() => mount.ended);
    assertEquals(
      await result,
      offsets.map((offset) => new Uint8Array(4096).fill(contentAt(offset))),
    );
  });

  interopTest(`fuse by ${way}: an abandoned connection fails who waits`, [fuse], async () => {
    using mount = new Mount(open);
    mount.queue.receive(0);
    mount.queue.submit();
    const result = mount.read([0], 4096);
    await mount.serve((opcode) => opcode === FUSE_READ);
    // What was asked for before is asked of the connection, and what comes after of nothing.
    mount.queue.submit();
    abandonFile(mount.fd);
    mount.queue.receive(2);
    mount.queue.submit();
    assert(mount.queue.next());
    assertEquals([mount.queue.isAnswer, mount.queue.result], [false, 0]);
    mount.queue.close();
    assertMatch(String(await result), /os error (5|103|107)/);
  });
}

/** The byte that the file is full of, page by page. */
function contentAt(offset: number): number {
  return (offset / 4096) % 251;
}

/** A connection whose file another thread mounts and reads. */
class Mount {
  readonly fd = openFuse();
  readonly arena: Arena;
  readonly entries: FuseEntries;
  readonly queue: FuseQueue;
  /** The kernel has told that it is unmounted. */
  ended = false;
  readonly #reader = new Worker(import.meta.resolve("./fuse_reader.ts"), { type: "module" });

  constructor(open: (fd: number, entries: FuseEntries) => FuseQueue | undefined) {
    const { arena, built } = Arena.fit((arena) =>
      new FuseEntries(arena, ENTRIES, FUSE_WRITE_HEADER_BYTES, FUSE_OUT_HEADER_BYTES, PAYLOAD_BYTES)
    );
    this.arena = arena;
    this.entries = built;
    this.queue = open(this.fd, this.entries)!;
  }

  read(offsets: readonly number[], bytes: number): Promise<FuseReadingResult> {
    const { promise, resolve, reject } = Promise.withResolvers<FuseReadingResult>();
    this.#reader.addEventListener("message", (event) => resolve(event.data));
    this.#reader.addEventListener("error", (event) => reject(new Error(event.message)));
    this.#reader.postMessage({ fuse: this.fd, offsets, bytes } satisfies FuseReading);
    return promise;
  }

  /** Answers requests until one satisfies the condition, which is not answered. */
  async serve(until: (opcode: number) => boolean): Promise<void> {
    const { queue } = this;
    const words = this.arena.u32;
    while (!this.ended) {
      queue.submit();
      while (queue.next()) {
        const { entry, result } = queue;
        if (queue.isAnswer || result <= 0) {
          // Before it is mounted, the descriptor is no connection (EPERM).
          this.ended ||= result === -ENODEV;
          if (!this.ended) queue.receive(entry);
          continue;
        }
        const at = this.entries.requestAt(entry);
        const opcode = fuseOpcode(words, at);
        if (until(opcode)) return;
        const bytes = this.#answer(opcode, at, this.entries.answerAt(entry));
        writeFuseAnswer(words, at, this.entries.answerAt(entry), bytes, 0);
        queue.answer(entry, FUSE_OUT_HEADER_BYTES + bytes);
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  [Symbol.dispose](): void {
    this.queue.close();
    closeFile(this.fd);
    this.#reader.terminate();
  }

  #answer(opcode: number, at: number, outAt: number): number {
    const words = this.arena.u32;
    switch (opcode) {
      case FUSE_INIT:
        return writeFuseInit(words, at, outAt, {
          requestBytesMax: PAYLOAD_BYTES,
          backgroundMax: ENTRIES,
        });
      case FUSE_GETATTR:
        return writeFuseAttributes(words, outAt, FILE_BYTES, true);
      case FUSE_OPEN:
        return writeFuseOpened(words, outAt);
      case FUSE_READ: {
        const bytes = fuseSize(words, at);
        const from = outAt + FUSE_OUT_HEADER_BYTES;
        this.arena.bytes.fill(contentAt(fuseOffset(words, at)), from, from + bytes);
        return bytes;
      }
      default:
        return 0;
    }
  }
}
