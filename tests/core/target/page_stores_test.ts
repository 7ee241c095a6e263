import { assertEquals } from "@std/assert";
import { ENOSYS } from "../../../ffi/errno_numbers.ts";
import { TargetCommands } from "../../../src/core/target/commands.ts";
import type { DiskInPlace } from "../../../src/core/target/disk_queue.ts";
import type { TargetExport } from "../../../src/core/target/export.ts";
import { ExportTable } from "../../../src/core/target/export_table.ts";
import { PageStores } from "../../../src/core/target/page_stores.ts";

const BYTES = 1024;
const BATCH = 16;

/** Stores of one export, all of whose pages are dirty. */
class Bench {
  /** Page faults of each batch; and what it comes to, in bytes, unless all of it. */
  faultsEach = 0;
  outcome: number | undefined;
  reaches = true;
  forgotten = 0;
  refusedUntilMs = 0;
  readonly stores: PageStores;
  readonly #ex: TargetExport;
  #faults = 0;

  constructor() {
    const commands = new TargetCommands(BATCH);
    commands.byteCount.fill(BYTES);
    const ex = {
      ...{ index: 0, settings: { shelf: 1, slot: 1 } },
      tryStore: () => true,
      takeReach: () => this.reaches,
      refuseStores: (untilMs: number) => {
        this.refusedUntilMs = untilMs;
      },
    };
    this.#ex = ex as unknown as TargetExport;
    let bytes = 0;
    const inPlace: Partial<DiskInPlace> = {
      addStore: (_from, piece) => {
        bytes += piece;
      },
      store: () => {
        this.#faults += this.faultsEach;
        const all = bytes;
        bytes = 0;
        return this.outcome ?? all;
      },
      forgetStores: () => {
        this.forgotten++;
        bytes = 0;
      },
      pageFaults: () => this.#faults,
    };
    this.stores = new PageStores({
      commands,
      exports: new ExportTable([this.#ex]),
      inPlace: inPlace as DiskInPlace,
    });
  }

  /** Stores so many batches at a time; how many of the last one are done. */
  run(batches: number, nowMs: number): number {
    let done = 0;
    for (let batch = 0; batch < batches; batch++) {
      for (let frame = 0; frame < BATCH; frame++) this.stores.add(this.#ex, frame);
      done = this.stores.carryOut(nowMs);
    }
    return done;
  }
}

Deno.test("page stores: those before the first that could not be stored whole are done", () => {
  const bench = new Bench();
  assertEquals([bench.run(1, 0), bench.stores.count], [BATCH, 0]);
  for (
    const [outcome, done] of [[3 * BYTES, 3], [3 * BYTES - 1, 2], [BYTES - 512, 0], [
      -14,
      0,
    ]] as const
  ) {
    bench.outcome = outcome;
    bench.refusedUntilMs = 0;
    assertEquals([bench.run(1, 10), bench.refusedUntilMs], [done, 1010]);
  }
  assertEquals(bench.stores.ready(0), true);
});

Deno.test("page stores: nothing is stored in a file that ends before", () => {
  const bench = new Bench();
  bench.reaches = false;
  assertEquals([bench.run(1, 0), bench.forgotten, bench.stores.count], [0, 1, 0]);
  assertEquals(bench.refusedUntilMs, 1000);
});

Deno.test("page stores: a kernel that does not do it is not asked again", () => {
  const bench = new Bench();
  bench.outcome = -ENOSYS;
  assertEquals([bench.run(1, 0), bench.stores.ready(Infinity)], [0, false]);
});

Deno.test("page stores: they rest where most of them wait for a page fault", () => {
  const bench = new Bench();
  bench.faultsEach = BATCH / 8;
  bench.run(1_000_000 / BATCH, 0);
  assertEquals(bench.stores.ready(0), true, "one in eight is paid for by the others");
  bench.faultsEach = BATCH;
  bench.run(200_000 / BATCH, 0);
  assertEquals(bench.stores.ready(0), true, "a file of some hundred megabytes may be new to them");
  bench.run(1_000_000 / BATCH, 5000);
  assertEquals([bench.stores.ready(5000), bench.stores.ready(64_999)], [false, false]);
  assertEquals(bench.stores.ready(65_000), true);
});
