// The target's loop over real sockets, rings and files: what it answers, in which order it touches
// the disk, and what it costs in garbage.

import { V8_FLAGS } from "../../../.tasks/v8_flags.ts";
import { assert, assertEquals } from "@std/assert";
import {
  ATA_DATA_SET_MANAGEMENT,
  ATA_FLUSH_CACHE_EXT,
  ATA_READ_SECTORS_EXT,
  ATA_READ_VERIFY_EXT,
  ATA_SET_FEATURES,
  ATA_WRITE_DMA_FUA_EXT,
  SECTOR_BYTES,
} from "../../../src/wire/ata.ts";
import {
  TARGET_COUNT_GATHERED,
  TARGET_COUNT_OVERLAPS,
  TARGET_COUNT_SYNCS,
} from "../../../src/core/target/counters.ts";
import { interopTest } from "../../harness/requirements.ts";
import {
  type LoopbackOptions,
  type LoopbackTarget,
  type Request,
  withLoopbackTarget,
  writeOf,
} from "./loopback_target.ts";

const IMAGE_BYTES = 4 * 2 ** 20;
const OK = 0x40;
const PLACES = 4;
const DISK_WAYS: readonly (LoopbackOptions & { name: string })[] = [
  { name: "io_uring", uring: true },
  { name: "io_uring and O_DIRECT", uring: true, direct: true },
  { name: "system calls", uring: false },
  { name: "system calls and O_DIRECT", uring: false, direct: true },
  { name: "io_uring, each write stable", uring: true, sync: true },
  { name: "io_uring, O_DIRECT, each write stable", uring: true, direct: true, sync: true },
  { name: "io_uring, nothing mapped", uring: true, mapBytes: 0 },
  { name: "io_uring, writes through the ring", uring: true, crossingNs: Infinity },
];
/** Each of them, with frames from a ring and by recvmmsg. */
const WAYS = DISK_WAYS.flatMap((way) => [
  way,
  { ...way, name: `${way.name}, by recvmmsg`, ring: false },
]);

/** Runs a body with a target for a fresh image, filled with a pattern that tells sectors apart. */
function withTarget(
  options: LoopbackOptions,
  body: (target: LoopbackTarget, path: string) => void,
): void {
  const fill = (path: string) => {
    const image = new Uint8Array(IMAGE_BYTES);
    for (let sector = 0; sector < IMAGE_BYTES / SECTOR_BYTES; sector++) {
      image.fill(sector % 251, sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
    }
    Deno.writeFileSync(path, image);
  };
  withLoopbackTarget({ fill }, options, body);
}

function read(sector: number, sectors: number): Request {
  return { command: ATA_READ_SECTORS_EXT, sector, sectors };
}

for (const { name, ...options } of WAYS) {
  interopTest(`loop, ${name}: reads and writes land where they should`, [], () => {
    withTarget(options, (target, path) => {
      for (let round = 0; round < 40; round++) {
        const requests = Array.from({ length: 32 }, (_, i) => {
          const sector = (round * 97 + i * 211) % 8000;
          return i % 2 === 0 ? writeOf(sector, 2, (round + i) % 250 + 1) : read(sector, 2);
        });
        for (const [tag, answer] of target.exchange(requests)) {
          assertEquals([answer.status, answer.error], [OK, 0], `${name}, request ${tag}`);
        }
      }
      assertEquals(target.exchange([writeOf(100, 16, 7)]).get(0)?.status, OK);
      const image = Deno.readFileSync(path);
      const written = image.subarray(100 * SECTOR_BYTES, 116 * SECTOR_BYTES);
      assert(written.every((byte) => byte === 7));
      const back = target.exchange([read(99, 17)]).get(0)!;
      assertEquals(back.data, image.slice(99 * SECTOR_BYTES, 116 * SECTOR_BYTES));
    });
  });

  interopTest(`loop, ${name}: what overlaps runs in order of arrival`, [], () => {
    withTarget(options, (target) => {
      for (let round = 0; round < 60; round++) {
        // At each place a write, a read, a newer write, a read that lies half beside it. Few places:
        // a batch of eight frames, as around the page cache, is to hold some that overlap.
        const requests: Request[] = [];
        for (let step = 0; step < 4; step++) {
          for (let place = 0; place < PLACES; place++) {
            const sector = place * 900 + round;
            const fill = (round * 2 + (step >> 1)) % 250 + 1;
            requests.push(
              step % 2 === 0 ? writeOf(sector, 4, fill) : read(sector + (step >> 1), 3),
            );
          }
        }
        const answers = target.exchange(requests);
        requests.forEach(({ data }, tag) => {
          if (data !== undefined) return;
          const expected = (round * 2 + (Math.floor(tag / PLACES) >> 1)) % 250 + 1;
          const got = answers.get(tag)!.data;
          assert(got.every((byte) => byte === expected), `${name}: round ${round}, read ${tag}`);
        });
      }
      assert(target.counters.value(TARGET_COUNT_OVERLAPS) > 0, "nothing ever had to wait");
    });
  });

  interopTest(`loop, ${name}: neighbours are merged, each is answered`, [], () => {
    withTarget(options, (target, path) => {
      const requests = Array.from({ length: 60 }, (_, i) => writeOf(2000 + i * 4, 4, i + 1));
      for (const { status } of target.exchange(requests).values()) assertEquals(status, OK);
      const image = Deno.readFileSync(path);
      requests.forEach(({ sector }, i) => {
        const at = sector * SECTOR_BYTES;
        assertEquals([image[at], image[at + 4 * SECTOR_BYTES - 1]], [i + 1, i + 1]);
      });
      const answers = target.exchange(requests.map(({ sector }) => read(sector, 4)));
      for (const [tag, { data }] of answers) assert(data.every((byte) => byte === tag + 1));
    });
  });

  interopTest(`loop, ${name}: a file that shrinks is an ATA error, not the end`, [], () => {
    withTarget(options, (target, path) => {
      assertEquals(target.exchange([read(4000, 2)]).get(0)?.status, OK);
      Deno.truncateSync(path, IMAGE_BYTES / 4);
      const requests = [read(4000, 2), read(10, 2), read(6000, 8), writeOf(20, 2, 9)];
      const answers = target.exchange(requests);
      assertEquals(
        [0, 1, 2, 3].map((tag) => [answers.get(tag)!.status, answers.get(tag)!.error]),
        [[0x41, 0x40], [OK, 0], [0x41, 0x40], [OK, 0]],
      );
      assert(target.messages.some((message) => message.kind === "error"), "nothing was logged");
    });
  });

  interopTest(`loop, ${name}: flush, FUA, verify, trim and features`, [], () => {
    withTarget(options, (target, path) => {
      const sector = 640;
      const ranges = new Uint8Array(SECTOR_BYTES);
      const view = new DataView(ranges.buffer);
      view.setUint32(0, sector, true);
      view.setUint16(6, 16, true);
      view.setUint32(8, sector + 32, true);
      view.setUint16(14, 8, true);
      const trim = {
        command: ATA_DATA_SET_MANAGEMENT,
        feature: 1,
        sector: 0,
        sectors: 1,
        data: ranges,
      };
      const steps: readonly Request[] = [
        writeOf(sector, 17, 0x55),
        { command: ATA_FLUSH_CACHE_EXT, sector: 0, sectors: 0 },
        { ...writeOf(sector + 32, 8, 0x66), command: ATA_WRITE_DMA_FUA_EXT },
        { command: ATA_READ_VERIFY_EXT, sector, sectors: 17 },
        trim,
      ];
      for (const step of steps) {
        assertEquals(target.exchange([step]).get(0)?.status, OK, `${step.command.toString(16)}`);
      }
      assert(target.counters.valueOf(0, TARGET_COUNT_SYNCS) > 0);
      const image = Deno.readFileSync(path);
      const sectorsAt = (first: number, count: number) =>
        image.subarray(first * SECTOR_BYTES, (first + count) * SECTOR_BYTES);
      assert(sectorsAt(sector, 16).every((byte) => byte === 0), "the first range is not empty");
      assert(sectorsAt(sector + 16, 1).every((byte) => byte === 0x55), "too much was discarded");
      assert(sectorsAt(sector + 32, 8).every((byte) => byte === 0), "the second is not empty");
      if (options.sync) return;
      const cacheOff = { command: ATA_SET_FEATURES, feature: 0x82, sector: 0, sectors: 0 };
      assertEquals(target.exchange([cacheOff]).get(0)?.status, OK);
      const before = target.counters.valueOf(0, TARGET_COUNT_SYNCS);
      const three = [writeOf(0, 1, 1), writeOf(9, 1, 2), writeOf(20, 1, 3), writeOf(40, 1, 4)];
      for (const { status } of target.exchange(three).values()) assertEquals(status, OK);
      const syncs = target.counters.valueOf(0, TARGET_COUNT_SYNCS) - before;
      assert(syncs >= 1 && syncs <= 2, `${syncs} fdatasyncs for four writes of one batch`);
    });
  });
}

interopTest("loop: who switches the write cache is told of, once a change", [], () => {
  withTarget({ uring: true }, (target) => {
    const feature = (feature: number): Request => ({
      ...{ command: ATA_SET_FEATURES, feature, sector: 0, sectors: 0 },
    });
    const told = () => target.messages.filter((message) => message.kind === "write-cache");
    target.exchange([feature(0x02)]);
    assertEquals(told(), [], "it was on");
    for (const code of [0x82, 0x82, 0x02]) target.exchange([feature(code)]);
    const by = {
      kind: "write-cache",
      shelf: 1,
      slot: 1,
      mac: "00:00:00:00:00:00",
      interface: "lo",
    };
    assertEquals(told(), [{ ...by, on: false }, { ...by, on: true }]);
  });
  withTarget({ uring: true, export: { cacheFixed: true } }, (target) => {
    const off = { command: ATA_SET_FEATURES, feature: 0x82, sector: 0, sectors: 0 };
    assertEquals(target.exchange([off]).get(0)?.status, 0x41);
    assertEquals(target.messages, []);
  });
});

interopTest("loop: a cached read is gathered from the page cache", [], () => {
  withTarget({ uring: true }, (target) => {
    for (let i = 0; i < 10; i++) target.exchange([read(i * 8, 8)]);
    assertEquals(target.counters.valueOf(0, TARGET_COUNT_GATHERED), 10);
  });
});

/** What many commands have left behind. */
interface Leftovers {
  /** Allocated for each command, whether or not it was collected. */
  readonly bytesPerCommand: number;
  /** By how much the process has grown. */
  readonly residentBytes: number;
}

/** Runs many commands in a process of its own, between two forced collections that V8 traces. */
async function manyCommands(kind: string, commands: number): Promise<Leftovers> {
  const program = new URL("./many_commands.ts", import.meta.url).pathname;
  const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      `--v8-flags=${[...V8_FLAGS, "--trace-gc", "--expose-gc"].join(",")}`,
      program,
      String(commands),
      ...kind.split(" "),
    ],
  }).output();
  const text = new TextDecoder().decode(stdout);
  assert(success, new TextDecoder().decode(stderr) + text);
  const [, before, after] = /resident (\d+) (\d+)/.exec(text)!.map(Number);
  return {
    bytesPerCommand: allocatedBytes(text) / commands,
    residentBytes: after! - before!,
  };
}

/** Bytes allocated between two forced collections, by V8's trace. */
function allocatedBytes(trace: string): number {
  const collections = [...trace.matchAll(
    /(?:Scavenge|Mark-Compact).*? ([0-9.]+) \([0-9.]+\) -> ([0-9.]+) .*/g,
  )].map(([line, from, to]) => ({ forced: line.includes("testing"), from, to }));
  const first = collections.findIndex(({ forced }) => forced);
  const last = collections.findLastIndex(({ forced }) => forced);
  assert(first >= 0 && last > first, `Two forced collections should be traced: ${trace}`);
  let megabytes = 0;
  for (let i = first + 1; i <= last; i++) {
    megabytes += Number(collections[i]!.from) - Number(collections[i - 1]!.to);
  }
  return megabytes * 1e6;
}

/** A byte kept for each of 2.5 million would be more; V8 moves its spaces by less. */
const GROWN_BYTES_MAX = 2e6;

interopTest(
  "loop: 2.5 million reads from the page cache leave no garbage, nor memory",
  [],
  async () => {
    const left = await manyCommands("read", 2_500_000);
    // What the compiler and the clearing up allocate comes to a megabyte at most; one boxed number
    // a command would be sixteen bytes.
    assert(left.bytesPerCommand < 2, JSON.stringify(left));
    assert(left.residentBytes < GROWN_BYTES_MAX, JSON.stringify(left));
  },
);

// The ring takes an address and an offset: two numbers that V8 boxes where it does not inline the
// call, which differs from run to run.
for (const kind of ["read direct", "write direct"]) {
  interopTest(`loop: a ${kind} leaves two boxed numbers at most`, [], async () => {
    const left = await manyCommands(kind, 200_000);
    assert(left.bytesPerCommand < 40, JSON.stringify(left));
  });
}

// pwritev takes its 64-bit offset from Deno only as a BigInt; see ffi/README.md, 'Numbers'.
interopTest(
  "loop: 2.5 million buffered writes leave a BigInt and a boxed number each, and no memory",
  [],
  async () => {
    const left = await manyCommands("write", 2_500_000);
    assert(left.bytesPerCommand < 64, JSON.stringify(left));
    assert(left.residentBytes < GROWN_BYTES_MAX, JSON.stringify(left));
  },
);
