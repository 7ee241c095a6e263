// Group commit (group_commit.ts), where the kernel tells of an error once and somebody else hears it.

import { assertEquals } from "@std/assert";
import { closeFile, openFile } from "../../../ffi/files.ts";
import { OUTCOME_FAILED } from "../../../src/core/target/target.ts";
import { TargetExport } from "../../../src/core/target/export.ts";
import { GroupCommit } from "../../../src/core/target/group_commit.ts";
import { exportOf } from "./loopback_target.ts";
import { EIO } from "../../../ffi/errno_numbers.ts";
import { ExportTable } from "../../../src/core/target/export_table.ts";
import { BackingFile } from "../../../src/loops/target/backing_file.ts";

Deno.test("sync: a flush fails when a stable write has taken the error of its write-back", () => {
  const path = Deno.makeTempFileSync({ prefix: "aoe-sync-" });
  const fd = openFile(path, { readOnly: false });
  const config = exportOf(path, { uring: false, export: { fd } });
  const backing = new BackingFile(config, 0, false);
  const options = { backing, frames: 8, heldMax: 8, segments: 0, buffers: 16 };
  const ex = new TargetExport(0, config, options);
  const exports = new ExportTable([ex]);
  exports.activate(ex);
  const outcomes: number[] = [];
  const commit = new GroupCommit(
    {
      commands: { operation: new Uint8Array(8) },
      queue: { inFlight: 1, sync: () => {} },
      exports,
      answers: { answer: (_: unknown, _frame: number, outcome: number) => outcomes.push(outcome) },
      counters: { addTo: () => {} },
      meter: { look: () => {}, diskEnds: () => {} },
      onDiskError: () => {},
    } as unknown as ConstructorParameters<typeof GroupCommit>[0],
  );
  ex.awaitSync(0);
  commit.start();
  commit.distrust(ex, EIO);
  commit.finish(ex, 0);
  assertEquals(outcomes, [OUTCOME_FAILED]);
  closeFile(fd);
  Deno.removeSync(path);
});
