// Captures and frames that are lost on purpose, without a network: the file is whole at any time
// and never too large, a disk that is full ends it with a sentence, and a seed loses the same frames.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { openFile } from "../../ffi/files.ts";
import { FrameCapture } from "../../src/loops/capture.ts";
import { SeededLoss } from "../../src/loops/seeded_loss.ts";
import { makeOwnFile } from "../../src/control/own_files.ts";
import { readCapture } from "../harness/capture.ts";

/** A frame whose bytes tell which it is. */
function frame(i: number, bytes: number): Uint8Array {
  return new Uint8Array(bytes).fill(i % 251 + 1);
}

Deno.test("capture: frames come out as they went in, two pieces as one, lengths kept", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/x.pcap`;
  const told: string[] = [];
  const config = { fd: makeOwnFile(path), path, bytesMax: 2 ** 24 };
  const capture = new FrameCapture(config, (text) => told.push(text));
  const startMs = Date.now();
  capture.stamp();
  const memory = frame(0, 10_000);
  memory.fill(7, 5000);
  // More than the buffer holds, so that it is written in between.
  for (let i = 0; i < 300; i++) capture.add(memory, 4990, 10, 5010, 4000, 4010);
  capture.add(memory, 0, 36, 0, 0, 36 + 8192);
  capture.close();
  capture.add(memory, 0, 36, 0, 0, 36);
  const frames = await readCapture(path);
  assertEquals(frames.length, 301);
  const expected = new Uint8Array(4010).fill(7).fill(1, 0, 10);
  for (const { bytes, length } of frames.slice(0, 300)) {
    assertEquals([length, bytes.length], [4010, 4010]);
    assert(bytes.every((byte, at) => byte === expected[at]));
  }
  assertEquals([frames[300]?.length, frames[300]?.bytes.length], [8228, 36]);
  const { timeMs } = frames[0]!;
  assert(Math.abs(timeMs - startMs) < 60_000, `${timeMs} is far from ${startMs}`);
  assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
  assertEquals(told, []);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("capture: it ends at its limit with one sentence, behind a whole frame", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/x.pcap`;
  const told: string[] = [];
  const config = { fd: makeOwnFile(path), path, bytesMax: 70_000 };
  const capture = new FrameCapture(config, (text) => told.push(text));
  for (let i = 0; i < 100; i++) capture.add(frame(i, 1000), 0, 1000, 0, 0, 1000);
  capture.close();
  assertEquals(told, [
    `The capture "${path}" has reached 70000 bytes and ends: --capture-size allows more`,
  ]);
  const frames = await readCapture(path);
  assertEquals(frames.length, Math.floor((70_000 - 24) / 1016));
  assertEquals((await Deno.stat(path)).size, 24 + frames.length * 1016);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("capture: a full disk ends it with one sentence", () => {
  const told: string[] = [];
  const config = { fd: openFile("/dev/full", { readOnly: false }), path: "/dev/full" };
  const capture = new FrameCapture({ ...config, bytesMax: 2 ** 20 }, (text) => told.push(text));
  for (let i = 0; i < 2000; i++) capture.add(frame(i, 1000), 0, 1000, 0, 0, 1000);
  capture.write();
  capture.close();
  assertEquals(told.length, 1);
  assertStringIncludes(told[0]!, `The capture "/dev/full" ends: no space left on device`);
});

Deno.test("loss: so many percent, the same ones for the same seed", () => {
  const count = 100_000;
  const lost = (percent: number, seed: number) => {
    const loss = new SeededLoss(percent, seed);
    return Array.from({ length: count }, () => loss.next());
  };
  for (const percent of [0.1, 5, 50, 99]) {
    for (const seed of [0, 1, 2, 1000]) {
      const share = lost(percent, seed).filter((one) => one).length / count * 100;
      assert(Math.abs(share - percent) < 1, `${share} % of ${percent} %, seed ${seed}`);
    }
  }
  assertEquals(lost(5, 3), lost(5, 3));
  const [one, other] = [lost(50, 1), lost(50, 2)];
  const same = one.filter((value, i) => value === other[i]).length / count;
  assert(Math.abs(same - 0.5) < 0.05, `two seeds agree in ${same}`);
});
