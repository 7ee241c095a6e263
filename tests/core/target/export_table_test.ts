import { assertEquals } from "@std/assert";
import { TargetExport } from "../../../src/core/target/export.ts";
import { EXPORTS_MAX, ExportTable } from "../../../src/core/target/export_table.ts";

function exportOf(index: number, shelf: number, slot: number, disk?: string): TargetExport {
  return new TargetExport(index, {
    ...{ disk, shelf, slot, fd: 3, directFd: -1, directAlignment: 512, offsetBytes: 0 },
    ...{ lengthBytes: undefined, remote: false, readOnly: false, sync: false, trim: false },
    ...{ physicalSectorBytes: 512, rotational: false, serial: "", incarnation: 1 },
  }, {
    backing: { bytes: 1 << 20, remoteServer: false, atRisk: false, pages: undefined },
    ...{ frames: 4, heldMax: 4, segments: 0, buffers: 1, macs: [] },
  });
}

Deno.test("exports: each is found by its address, and no longer once it has left", () => {
  const table = new ExportTable();
  // Addresses that differ in one part only, and up to the largest that there is.
  const all = Array.from(
    { length: EXPORTS_MAX },
    (_, i) => exportOf(i, i % 2 === 0 ? 65534 - (i >> 4) : 1, i % 2 === 0 ? i % 16 : i >> 1),
  );
  for (const ex of all) table.add(ex);
  for (const ex of all) assertEquals(table.find(ex.settings.shelf, ex.settings.slot), ex);
  for (const ex of all.filter((_, i) => i % 3 === 0)) {
    table.leave(ex);
    assertEquals(table.find(ex.settings.shelf, ex.settings.slot), undefined);
    assertEquals(table.at(ex.index), ex, "its last commands are not over");
    table.forget(ex);
    assertEquals(table.at(ex.index), undefined);
  }
  for (const [i, ex] of all.entries()) {
    const found = table.find(ex.settings.shelf, ex.settings.slot);
    assertEquals(found, i % 3 === 0 ? undefined : ex);
  }
  assertEquals(table.count, table.list.length);
});

Deno.test("exports: only those with something to do take part in a turn", () => {
  const table = new ExportTable([0, 1, 2].map((i) => exportOf(i, 1, i)));
  const [first, , last] = table.list;
  for (const ex of [first!, last!]) {
    table.activate(ex);
    ex.hold();
  }
  table.endTurn();
  assertEquals(table.active.slice(0, table.activeCount), [first, last]);
  first!.release();
  table.endTurn();
  assertEquals(table.active.slice(0, table.activeCount), [last]);
  last!.release();
  table.endTurn();
  assertEquals(table.activeCount, 0);
});

Deno.test("exports: what may hold up all of them is known as they come and go", () => {
  const table = new ExportTable([exportOf(0, 1, 0)]);
  assertEquals(table.onOneDisk, true, "one alone has no neighbours");
  table.add(exportOf(1, 1, 1));
  assertEquals(table.onOneDisk, false, "it is not known what they are on");
  for (const ex of [...table.list]) {
    table.leave(ex);
    table.forget(ex);
  }
  for (const i of [2, 3]) table.add(exportOf(i, 1, i, "8:1"));
  assertEquals(table.onOneDisk, true);
  const other = exportOf(4, 1, 4, "8:2");
  table.add(other);
  assertEquals(table.onOneDisk, false);
  table.leave(other);
  assertEquals(table.onOneDisk, false, "its last commands may hang");
  table.forget(other);
  assertEquals(table.onOneDisk, true);
});
