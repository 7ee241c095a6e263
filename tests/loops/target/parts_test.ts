import { assert, assertEquals } from "@std/assert";
import { measureCrossingNs } from "../../../ffi/syscall_cost.ts";
import {
  frameCount,
  inPlaceMax,
  receiveBatch,
  socketBytes,
} from "../../../src/loops/target/parts.ts";

const demand = (exports: number, buffers: number, interfaces = 1) => ({
  exports: new Array(exports),
  interfaces: new Array(interfaces),
  buffers,
});

Deno.test("parts: a crossing into the kernel takes some tens of nanoseconds to some microseconds", () => {
  const ns = measureCrossingNs();
  assert(ns > 10 && ns < 100_000, `${ns} ns`);
});

Deno.test("parts: where a crossing is dear, only a few writes are done in place", () => {
  assertEquals([inPlaceMax(130), inPlaceMax(1000)], [Infinity, 4]);
});

Deno.test("parts: where a crossing is cheap, an initiator's window takes two", () => {
  assertEquals([receiveBatch(130), receiveBatch(1000)], [32, 64]);
});

Deno.test("parts: frames for the batches and two windows of each export, four at least, within 32 MiB", () => {
  assertEquals(frameCount(demand(1, 64), 9000), 64 + 512);
  assertEquals(frameCount(demand(6, 64, 2), 9000), 128 + 768);
  assertEquals(frameCount(demand(1, 1), 9000), 128);
  assertEquals(frameCount(demand(100, 64), 9000), 1024);
  assert(frameCount(demand(100, 64), 65535) * 65535 <= 32 * 2 ** 20);
});

Deno.test("parts: a socket's buffer holds eight full windows of each export, within 64 MiB", () => {
  assertEquals(socketBytes(demand(1, 64), 9014), 4 * 2 * 9014 * 64 * 8);
  assertEquals(socketBytes(demand(1, 1), 9014), 4 * 2 ** 20);
  assertEquals(socketBytes(demand(100, 64), 9014), 64 * 2 ** 20);
});
