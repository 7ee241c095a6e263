// What a daemon could not flush gives the next target another incarnation, and each loss another one.

import { assertEquals, assertNotEquals } from "@std/assert";
import { noteLoss, withLosses } from "../../../src/control/daemon/losses.ts";
import type { ExportFile } from "../../../src/control/target/open_file.ts";

const ADDRESS = { shelf: 1, slot: 1 };

function incarnationIn(folder: string, address = ADDRESS): number | undefined {
  const file = { config: { ...address, incarnation: 77 } } as unknown as ExportFile;
  return withLosses(folder, file).config.incarnation;
}

Deno.test("losses: each gives its target another incarnation, which stays until the next", async () => {
  const folder = await Deno.makeTempDir();
  try {
    assertEquals(incarnationIn(folder), 77);
    await noteLoss(folder, ADDRESS);
    const first = incarnationIn(folder);
    assertEquals(incarnationIn(folder), first);
    await noteLoss(folder, ADDRESS);
    assertEquals(new Set([77, first, incarnationIn(folder)]).size, 3);
    assertEquals(incarnationIn(folder, { shelf: 1, slot: 2 }), 77);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("losses: one that cannot be read is a loss, and one that cannot be kept ends nothing", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await noteLoss(`${folder}/absent`, ADDRESS);
    assertEquals(incarnationIn(`${folder}/absent`), 77);
    await Deno.mkdir(`${folder}/e1.1.lost`);
    assertNotEquals(incarnationIn(folder), 77);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
