// Disk work through io_uring, and the same through plain system calls: what one does the other does.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Arena } from "../../ffi/arena.ts";
import { SystemError } from "../../ffi/errno.ts";
import { closeFile, openFile, truncateFile } from "../../ffi/files.ts";
import { IoUring } from "../../ffi/io_uring.ts";
import { clearEvent, POLLIN, PollSet } from "../../ffi/poll.ts";
import { SyncQueue } from "../../ffi/sync_queue.ts";
import { EBADF, ENOSYS, EOPNOTSUPP, EPERM } from "../../ffi/errno_numbers.ts";

const ENTRIES = 16;
const BLOCK = 4096;
const BLOCKS = 8;

/** A queue, memory for it, and a file of 1 MiB. */
interface Bench {
  readonly queue: IoUring | SyncQueue;
  readonly fd: number;
  readonly path: string;
  /** Addresses and bytes of the blocks of memory. */
  readonly addresses: readonly number[];
  readonly blocks: readonly Uint8Array[];
  /** Writes iovecs of some blocks; returns their address. */
  vectors(...blocks: number[]): number;
  /** Submits, and waits for all completions: results by tag. */
  finish(): Map<number, number>;
}

/** Runs a body with each kind of queue. */
function testBoth(name: string, body: (bench: Bench) => void): void {
  Deno.test(`sync queue: ${name}`, () => withBench(false, body));
  const ignore = !hasUring();
  Deno.test({
    name: `io_uring: ${name}${ignore ? " (skipped: the kernel forbids it)" : ""}`,
    ignore,
    fn: () => withBench(true, body),
  });
}

function hasUring(): boolean {
  try {
    new IoUring(1).close();
    return true;
  } catch (error) {
    if (error instanceof SystemError && [ENOSYS, EPERM].includes(error.code)) return false;
    throw error;
  }
}

function withBench(uring: boolean, body: (bench: Bench) => void): void {
  const folder = Deno.makeTempDirSync({ prefix: "aoe-ffi-" });
  const path = `${folder}/disk.img`;
  const fd = openFile(path, { readOnly: false, create: true });
  truncateFile(fd, 2 ** 20);
  const arena = new Arena((BLOCKS + 4) * BLOCK);
  const memory = arena.allocate(BLOCKS * BLOCK, BLOCK);
  const iovecs = arena.allocate(BLOCKS * 16, 16);
  const queue = uring ? new IoUring(ENTRIES) : new SyncQueue(
    arena,
    ENTRIES,
    (address) => arena.pointer(address - arena.address),
  );
  queue.registerBuffer(arena, memory, (BLOCKS / 2) * BLOCK);
  const poll = new PollSet(arena, 1);
  poll.add(queue.event, POLLIN);
  const starts = Array.from({ length: BLOCKS }, (_, i) => memory + i * BLOCK);
  let used = 0;
  try {
    body({
      queue,
      fd,
      path,
      addresses: starts.map((at) => arena.address + at),
      blocks: starts.map((at) => arena.bytes.subarray(at, at + BLOCK)),
      vectors: (...blocks) => {
        const first = iovecs + 16 * used;
        for (const block of blocks) {
          const at = iovecs + 16 * used++;
          arena.setUint64(at, arena.address + starts[block]!);
          arena.u32[(at + 8) >>> 2] = BLOCK;
        }
        return arena.address + first;
      },
      finish: () => {
        const results = new Map<number, number>();
        for (let rounds = 0; queue.inFlight > 0; rounds++) {
          assert(rounds < 100, `${queue.inFlight} operations never complete`);
          queue.submit();
          while (queue.next()) results.set(queue.tag, queue.result);
          if (queue.inFlight === 0) break;
          poll.wait(100_000);
          clearEvent(queue.event);
        }
        used = 0;
        return results;
      },
    });
  } finally {
    queue.close();
    closeFile(fd);
    Deno.removeSync(folder, { recursive: true });
  }
}

testBoth("what is written in pieces is read back, in one piece and in several", (bench) => {
  const { queue, fd, blocks, addresses } = bench;
  blocks.forEach((block, i) => block.fill(i + 1));
  queue.writeVectors(1, fd, bench.vectors(0, 1), 2, BLOCK, false);
  queue.writeVectors(2, fd, bench.vectors(2), 1, 10 * BLOCK, true);
  assertEquals(bench.finish(), new Map([[1, 2 * BLOCK], [2, BLOCK]]));
  queue.sync(3, fd);
  assertEquals(bench.finish(), new Map([[3, 0]]));
  const file = Deno.readFileSync(bench.path);
  assertEquals(
    [0, BLOCK, 2 * BLOCK, 3 * BLOCK, 10 * BLOCK].map((at) => file[at]),
    [0, 1, 2, 0, 3],
  );

  // Block 3 lies in registered memory, block 4 outside, a read across the border as well.
  queue.read(4, fd, addresses[3]!, BLOCK, 10 * BLOCK);
  queue.read(5, fd, addresses[4]!, 512, BLOCK);
  queue.readVectors(6, fd, bench.vectors(5, 6), 2, 2 * BLOCK);
  assertEquals(bench.finish(), new Map([[4, BLOCK], [5, 512], [6, 2 * BLOCK]]));
  assertEquals([3, 4, 5, 6].map((i) => [blocks[i]![0], blocks[i]![512]]), [
    [3, 3],
    [1, 5],
    [2, 2],
    [0, 0],
  ]);
});

testBoth("one piece is written, from registered memory and from other", (bench) => {
  const { queue, fd, blocks, addresses } = bench;
  blocks.forEach((block, i) => block.fill(i + 1));
  queue.write(1, fd, addresses[0]!, BLOCK, 0, false);
  queue.write(2, fd, addresses[7]!, BLOCK, BLOCK, true);
  queue.write(3, fd, addresses[1]! + 512, 512, 2 * BLOCK + 512, true);
  queue.write(4, -1, addresses[1]!, 512, 0, false);
  assertEquals(bench.finish(), new Map([[1, BLOCK], [2, BLOCK], [3, 512], [4, -EBADF]]));
  const file = Deno.readFileSync(bench.path);
  assertEquals(
    [0, BLOCK - 1, BLOCK, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 512].map((at) => file[at]),
    [1, 1, 8, 8, 0, 2],
  );
});

testBoth("past the end a read is short, a bad descriptor is −EBADF", (bench) => {
  const { queue, fd, addresses } = bench;
  queue.read(1, fd, addresses[0]!, BLOCK, 2 ** 20 - 512);
  queue.read(2, fd, addresses[0]!, BLOCK, 2 ** 20);
  queue.read(3, -1, addresses[0]!, BLOCK, 0);
  queue.writeVectors(4, -1, bench.vectors(0), 1, 0, true);
  queue.sync(5, -1);
  assertEquals(bench.finish(), new Map([[1, 512], [2, 0], [3, -EBADF], [4, -EBADF], [5, -EBADF]]));
});

testBoth("offsets beyond 4 GiB are meant as they are", (bench) => {
  const { queue, fd, blocks, addresses } = bench;
  const offset = 2 ** 41 + 512;
  blocks[0]!.fill(9);
  queue.writeVectors(1, fd, bench.vectors(0), 1, offset, false);
  assertEquals(bench.finish(), new Map([[1, BLOCK]]));
  assertEquals(Deno.statSync(bench.path).size, offset + BLOCK);
  queue.read(2, fd, addresses[1]!, BLOCK, offset);
  assertEquals([bench.finish().get(2), blocks[1]![BLOCK - 1]], [BLOCK, 9]);
});

testBoth("a hole reads as zeros", (bench) => {
  const { queue, fd, blocks } = bench;
  blocks[0]!.fill(1);
  queue.writeVectors(1, fd, bench.vectors(0, 0, 0), 3, 0, false);
  bench.finish();
  queue.punch(2, fd, BLOCK, BLOCK);
  const result = bench.finish().get(2);
  if (result === -EOPNOTSUPP) return;
  const file = Deno.readFileSync(bench.path);
  assertEquals([result, file[BLOCK - 1], file[BLOCK], file[2 * BLOCK]], [0, 1, 0, 1]);
});

testBoth("a thousand rounds of a full queue lose nothing", (bench) => {
  const { queue, fd, addresses } = bench;
  for (let round = 0; round < 1000; round++) {
    for (let i = 0; i < ENTRIES; i++) {
      queue.read(round * ENTRIES + i, fd, addresses[i % BLOCKS]!, 512, i * 512);
    }
    const results = bench.finish();
    assertEquals(results.size, ENTRIES);
    for (let i = 0; i < ENTRIES; i++) assertEquals(results.get(round * ENTRIES + i), 512);
  }
});

Deno.test(
  { name: "io_uring: more than fits is our own mistake", ignore: !hasUring() },
  () =>
    withBench(true, (bench) => {
      for (let i = 0; i < ENTRIES; i++) bench.queue.sync(i, bench.fd);
      assertThrows(() => bench.queue.sync(99, bench.fd), RangeError);
      assertEquals([bench.queue.queued, bench.finish().size], [ENTRIES, ENTRIES]);
    }),
);
