// The target's loop where something gives way: memory for iovecs, places for mapped segments, a wire
// that is slower than the disk, a disk that hangs, interfaces and files that go.

import { assert, assertEquals } from "@std/assert";
import { ATA_READ_SECTORS_EXT, ATA_WRITE_SECTORS_EXT, SECTOR_BYTES } from "../../src/wire/ata.ts";
import { COUNT_GATHERED } from "../../src/workers/target_counters.ts";
import { inOwnNetwork } from "../ffi/own_network.ts";
import { interopTest } from "../interop/requirements.ts";
import { type LoopbackOptions, LoopbackTarget, type Request } from "./loopback_target.ts";

const OK = 0x40;

/** Runs a body with a target for a sparse image of so many bytes. */
function withTarget(
  bytes: number,
  options: LoopbackOptions,
  body: (target: LoopbackTarget, path: string) => void,
): void {
  const path = Deno.makeTempFileSync({ dir: "/var/tmp", prefix: "aoe-faults-" });
  try {
    Deno.truncateSync(path, bytes);
    inOwnNetwork(() => {
      const target = new LoopbackTarget(path, options);
      try {
        body(target, path);
      } finally {
        target.close();
      }
    });
  } finally {
    Deno.removeSync(path);
  }
}

function read(sector: number, sectors: number): Request {
  return { command: ATA_READ_SECTORS_EXT, sector, sectors };
}

function write(sector: number, sectors: number, fill: number): Request {
  const data = new Uint8Array(sectors * SECTOR_BYTES).fill(fill);
  return { command: ATA_WRITE_SECTORS_EXT, sector, sectors, data };
}

interopTest("faults: system calls never run out of iovecs", [], () => {
  withTarget(4 * 2 ** 20, { uring: false, direct: true }, (target) => {
    // 23 divides no power of two: the table is full amid a batch.
    for (let round = 0; round < 40; round++) {
      const requests = Array.from({ length: 23 }, (_, i) => write(i * 300, 1, round + 1));
      for (const { status } of target.exchange(requests).values()) assertEquals(status, OK);
    }
  });
});

interopTest("faults: a segment that loses its place is sent as it was", [], () => {
  const segment = 16 * 2 ** 20;
  const sectors = segment / SECTOR_BYTES;
  withTarget(2 * segment, { uring: true, mapBytes: segment }, (target, path) => {
    Deno.writeFileSync(path, new Uint8Array(2 * segment).fill(1, 0, segment).fill(2, segment));
    target.exchange([read(0, 8)]);
    assertEquals(target.counters.valueOf(0, COUNT_GATHERED), 1);
    // The second segment is read until it is worth the only place there is; in each batch the first
    // is read before it.
    const batch = [read(0, 8), ...Array.from({ length: 31 }, () => read(sectors, 8))];
    for (let round = 0; round < 300; round++) {
      for (const [tag, { data }] of target.exchange(batch)) {
        const expected = tag === 0 ? 1 : 2;
        assert(data.every((byte) => byte === expected), `round ${round}, read ${tag}: ${data[0]}`);
      }
    }
    assert(target.counters.valueOf(0, COUNT_GATHERED) > 4000, "the second was never mapped");
  });
});
