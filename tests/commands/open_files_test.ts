// A process that may open few files: Deno would end in a panic amid its work, so that this is looked
// at before anything starts.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { openFilesObstacle } from "../../src/control/open_files.ts";
import { run } from "../harness/process.ts";
import { aoeExecutable } from "../harness/target.ts";

Deno.test("open files: below what the runtime needs, one sentence and exit code 1", async () => {
  const aoe = await aoeExecutable();
  for (const limit of [16, 20, 24, 28, 63]) {
    for (const words of ["--version", "serve lo 1.1 /nonexistent", "discover"]) {
      const script = `ulimit -n ${limit}; exec "${aoe}" ${words}`;
      const { code, stdout, stderr } = await run(["sh", "-c", script]);
      assertEquals([code, stdout], [1, ""], stderr);
      assertMatch(
        stderr,
        new RegExp(
          `^aoe: Only ${limit} files may be open here, and 64 are needed: .*LimitNOFILE.*\n$`,
        ),
      );
    }
  }
});

Deno.test("open files: a soft limit is raised to the hard one", async () => {
  const script = `ulimit -Sn 20; exec "${await aoeExecutable()}" --version`;
  const { code, stderr } = await run(["sh", "-c", script]);
  assertEquals([code, stderr], [0, ""]);
});

Deno.test("open files: a group of threads is not started into a limit", async () => {
  const dir = await Deno.makeTempDir({ prefix: "aoe-open-files-" });
  try {
    const images = Array.from({ length: 40 }, (_, i) => [`${i}.1`, `${dir}/${i}.img`]).flat();
    const serve = `"${await aoeExecutable()}" serve --size 1M --workers 40 lo ${images.join(" ")}`;
    const { code, stderr } = await run(["sh", "-c", `ulimit -n 200; exec ${serve}`]);
    assertEquals(code, 1, stderr);
    assertMatch(stderr, /^aoe: Only 200 files may be open here, and \d+ are needed: .*\n$/);
    assertEquals([...Deno.readDirSync(dir)], [], "made before it was looked");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("open files: what fits is no obstacle, what does not is", () => {
  assertEquals(openFilesObstacle(1), undefined);
  assert(openFilesObstacle(2 ** 40)?.includes("are needed"));
});
