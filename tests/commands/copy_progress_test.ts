// The progress line of `aoe copy`: how long it will take is said only while something comes.

import { assertEquals, assertMatch } from "@std/assert";
import { CopyProgress } from "../../src/commands/copy_progress.ts";
import { PHASE_COPYING } from "../../src/loops/copy/config.ts";

const MIB = 2 ** 20;

/** The line at a moment: so many MiB of 100 are done. */
function lineAt(progress: CopyProgress, ms: number, mib: number, paths = 1): string | undefined {
  const moment = {
    phase: PHASE_COPYING,
    bytes: mib * MIB,
    total: 100 * MIB,
    retransmitted: 0,
    paths,
  };
  return progress.line(moment, ms);
}

Deno.test("copy progress: while nothing comes it waits, and promises no centuries", () => {
  const progress = new CopyProgress();
  for (let ms = 0; ms <= 4000; ms += 200) lineAt(progress, ms, ms / 200);
  assertEquals(
    lineAt(progress, 4200, 21),
    " 21.0%  copying 21.0 MiB of 100 MiB  5.0 MiB/s  0:16 left",
  );
  // The target is away, though its path is not known to be lost.
  for (let ms = 4400; ms < 60_000; ms += 200) lineAt(progress, ms, 21);
  const away = lineAt(progress, 60_000, 21);
  assertEquals(away, " 21.0%  copying 21.0 MiB of 100 MiB  waiting for 55 s");
  assertMatch(lineAt(progress, 60_200, 21, 0)!, /waiting for 56 s {2}no path$/);
  // It is back: the rate is what comes now, not what faded.
  lineAt(progress, 60_400, 22);
  assertMatch(lineAt(progress, 60_600, 23)!, /5\.0 MiB\/s {2}0:16 left$/);
  assertEquals(
    new CopyProgress().line({
      ...{ phase: 0, bytes: 0, total: 0, retransmitted: 0, paths: 0 },
    }, 0),
    undefined,
  );
});
