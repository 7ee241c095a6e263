// Writes of pages that have been written before, which the kernel copies straight into the mapped file
// (core/target/page_stores.ts): what is in the file afterwards, whatever becomes of it meanwhile.

import { assert, assertEquals } from "@std/assert";
import { ATA_FLUSH_CACHE_EXT, ATA_READ_SECTORS_EXT, SECTOR_BYTES } from "../../../src/wire/ata.ts";
import { interopTest } from "../../harness/requirements.ts";
import {
  type LoopbackTarget,
  type Request,
  withLoopbackTarget,
  writeOf,
} from "./loopback_target.ts";

const OK = 0x40;
const IMAGE_BYTES = 2 ** 20;

/** Runs a body with a target for a file of IMAGE_BYTES zeros, all in memory. */
function withTarget(body: (target: LoopbackTarget, path: string) => void, dir?: string): void {
  const fill = (path: string) => Deno.writeFileSync(path, new Uint8Array(IMAGE_BYTES));
  withLoopbackTarget({ fill, ...dir !== undefined && { dir } }, { uring: true }, body);
}

/** Has requests answered, which is to go well. */
function mustDo(target: LoopbackTarget, ...requests: readonly Request[]): void {
  for (const { status } of target.exchange(requests).values()) assertEquals(status, OK);
}

interopTest(
  "stores: rounds of writes, some of the same sectors in one batch, the last one wins",
  [],
  () =>
    withTarget((target, path) => {
      const model = new Uint8Array(IMAGE_BYTES);
      for (let round = 1; round <= 60; round++) {
        const requests = Array.from({ length: 40 }, (_, i) => {
          // Of 32 pages of two chunks of residency; every fourth writes what the one before has written.
          const page = 100 + (i - (i % 4 === 3 ? 1 : 0)) * 7 % 32;
          const sectors = 1 + (round + i) % 17;
          model.fill(round + i, page * 4096, page * 4096 + sectors * SECTOR_BYTES);
          return writeOf(page * 8, sectors, round + i);
        });
        if (round % 16 === 0) {
          mustDo(target, { command: ATA_FLUSH_CACHE_EXT, sector: 0, sectors: 0 });
        }
        mustDo(target, ...requests);
        if (round % 10 === 0) assertEquals(Deno.readFileSync(path), model);
      }
      for (const page of [100, 110, 131]) {
        const { data } = target.exchange([
          { command: ATA_READ_SECTORS_EXT, sector: page * 8, sectors: 8 },
        ]).get(0)!;
        assertEquals(data, model.subarray(page * 4096, (page + 1) * 4096));
      }
    }),
);

for (const dir of ["/var/tmp", "/dev/shm"]) {
  interopTest(
    `stores: a write behind an end that has come to lie in its page is there (${dir})`,
    [],
    () =>
      withTarget((target, path) => {
        for (let fill = 1; fill <= 4; fill++) mustDo(target, writeOf(64, 8, fill));
        Deno.truncateSync(path, 64 * SECTOR_BYTES + 700);
        mustDo(target, writeOf(67, 2, 9));
        const written = Deno.readFileSync(path).subarray(67 * SECTOR_BYTES, 69 * SECTOR_BYTES);
        assertEquals([written.length, written.every((byte) => byte === 9)], [1024, true]);
      }, dir),
  );
}

interopTest(
  "stores: pages that are gone with the end of the file, or punched, are written anew",
  [],
  () =>
    withTarget((target, path) => {
      for (let fill = 1; fill <= 4; fill++) {
        mustDo(target, writeOf(640, 8, fill), writeOf(64, 8, fill));
      }
      Deno.truncateSync(path, IMAGE_BYTES / 8);
      mustDo(target, writeOf(640, 8, 8), writeOf(64, 8, 8));
      const expect = (sector: number, fill: number) => {
        const at = sector * SECTOR_BYTES;
        const page = Deno.readFileSync(path).subarray(at, at + 8 * SECTOR_BYTES);
        assertEquals([page.length, page.every((byte) => byte === fill)], [4096, true]);
      };
      expect(640, 8);
      expect(64, 8);
      for (let fill = 1; fill <= 4; fill++) mustDo(target, writeOf(64, 8, fill));
      const { success } = new Deno.Command("fallocate", {
        args: ["--punch-hole", "--offset", "32768", "--length", "4096", path],
      }).outputSync();
      assert(success);
      mustDo(target, writeOf(64, 2, 9));
      assertEquals([...Deno.readFileSync(path).subarray(33_790, 33_794)], [9, 9, 0, 0]);
    }),
);

interopTest(
  "stores: the file's time of change is that of the last write, a second later at most",
  [],
  () =>
    withTarget((target, path) => {
      for (let fill = 1; fill <= 4; fill++) mustDo(target, writeOf(64, 8, fill));
      const long = new Date("2001-02-03T04:05:06Z");
      Deno.utimeSync(path, long, long);
      mustDo(target, writeOf(64, 8, 5));
      // So it was stored, and nothing else: a write(2) sets the time.
      assertEquals(Deno.statSync(path).mtime, long);
      target.stop();
      assert(Deno.statSync(path).mtime! > long);
      assertEquals(Deno.readFileSync(path)[64 * SECTOR_BYTES], 5);
    }),
);
