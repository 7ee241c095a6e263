// The round trip estimate against RFC 6298's own arithmetic, the window, and when a path or its
// large frames are given up.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { Path, PATH_PROBING, PATH_UP } from "../../../src/core/initiator/path.ts";

const TIMES = { rtoInitialMs: 150, rtoMinMs: 50, rtoMaxMs: 4000, pathLostMs: 300 };
const MAC = Uint8Array.of(0x52, 0x54, 0xff, 0xfe, 0xfd, 0xfc);

function upPath(buffers = 64, sectors = 17): Path {
  const path = new Path(0, 1, MAC, TIMES);
  path.configure(buffers, sectors, 256, 0);
  path.up(0);
  return path;
}

Deno.test("path: RFC 6298, 2.2 and 2.3", () => {
  const path = upPath();
  assertEquals(path.rtoMs, 150);
  path.answered(1000, 900, 2);
  assertEquals([path.srttMs, path.rttvarMs, path.rtoMs], [100, 50, 300]);
  path.answered(2000, 1800, 2);
  assertAlmostEquals(path.rttvarMs, 0.75 * 50 + 0.25 * 100, 1e-9);
  assertAlmostEquals(path.srttMs, 7 / 8 * 100 + 1 / 8 * 200, 1e-9);
  assertAlmostEquals(path.rtoMs, 112.5 + 4 * 62.5, 1e-9);
});

Deno.test("path: the timeout is bounded on both sides, and doubles", () => {
  const path = upPath();
  for (let i = 0; i < 20; i++) path.answered(i, i - 0.1, 2);
  assertEquals(path.rtoMs, 50);
  for (const expected of [100, 200, 400, 800, 1600, 3200, 4000, 4000]) {
    path.timedOut(1000);
    assertEquals(path.rtoMs, expected);
  }
  path.answered(2000, 1999.9, 2);
  assertEquals(path.rtoMs, 50, "one answer ends the backoff");
});

Deno.test("path: a copy whose sending time is unknown gives no sample", () => {
  const path = upPath();
  path.answered(1000, NaN, 2);
  assertEquals([path.srttMs, path.rtoMs], [0, 150]);
});

Deno.test("path: slow start to the buffer count, then one more a round trip", () => {
  const path = upPath(64);
  assertEquals(path.window, 16);
  path.answered(10, 9, 2);
  assertEquals(path.window, 16, "an unused window does not grow");
  for (let i = 0; i < 100; i++) {
    path.flying = Math.floor(path.window) - 1;
    path.answered(10, 9, 2);
  }
  assertEquals(path.window, 64);
  path.timedOut(20);
  assertEquals(path.window, 4);
  for (let i = 0; i < 28; i++) {
    path.flying = Math.floor(path.window) - 1;
    path.answered(30, 29, 2);
  }
  assertEquals(path.window, 32, "slow start ends at half of what it was");
  path.flying = 31;
  path.answered(31, 30, 2);
  assertAlmostEquals(path.window, 32 + 1 / 32, 1e-9);
});

Deno.test("path: a loss with a queue halves, one without takes a little, each once a round trip", () => {
  for (const [rtts, factor] of [[[1, 9, 9, 9, 9, 9, 9, 9, 9], 0.5], [[1, 1, 1], 0.85]] as const) {
    const path = upPath(32);
    path.window = 32;
    rtts.forEach((rtt, i) => path.answered(100 + i, 100 + i - rtt, 2));
    path.lostOne(200, 150, 2);
    assertEquals(path.window, 32 * factor);
    path.lostOne(201, 199, 2);
    assertEquals(path.window, 32 * factor, "it was sent before the decrease");
    path.lostOne(300, 250, 2);
    assert(path.window < 32 * factor);
    path.needless();
    assertEquals(path.window, 32 * factor, "taken back");
    for (let i = 4; i < 30; i++) path.lostOne(100 * i, 100 * i - 50, 2);
    assertEquals(path.window, 8);
  }
});

Deno.test("path: windows of 0, 1 and 2 buffers", () => {
  for (const [buffers, window] of [[0, 1], [1, 1], [2, 2]] as const) {
    const path = upPath(buffers);
    for (let i = 0; i < 9; i++) path.timedOut(i);
    path.lostOne(100, 99, 2);
    assertEquals(Math.floor(path.window), window);
    assert(path.hasRoom());
    path.flying = window;
    assert(!path.hasRoom());
  }
});

Deno.test("path: given up after three timeouts and enough silence", () => {
  const path = upPath();
  path.sent(1000);
  assert(!path.timedOut(1100));
  assert(!path.timedOut(1200));
  assert(!path.timedOut(1250), "not silent for long enough");
  assert(path.timedOut(1300));
  path.lose(1300);
  assertEquals([path.state, path.probeAtMs], [PATH_PROBING, 1300]);
  path.probeFailed(1400);
  assertEquals(path.probeAtMs, 1500);
  for (let i = 0; i < 9; i++) path.probeFailed(2000);
  assertEquals(path.probeAtMs, 3000, "at most a second apart");
  path.up(2500);
  assertEquals([path.state, path.sectors, path.largeProbeAtMs], [PATH_UP, 2, 2500]);
});

Deno.test("path: large frames that vanish are followed by small ones, then probed for", () => {
  const path = upPath();
  assertEquals(path.sectors, 2);
  path.largeAnswered(10);
  assertEquals(path.sectors, 17);
  path.answered(20, 19, 17);
  for (let i = 0; i < 9; i++) path.lostOne(200, 50 + i, 17);
  assertEquals(path.sectors, 17, "a large frame was answered a moment ago");
  path.lostInTimeout(300, 2);
  assertEquals(path.sectors, 17, "a small frame tells nothing of large ones");
  path.lostInTimeout(300, 17);
  assertEquals([path.sectors, path.largeProbeAtMs], [2, 400]);
  path.largeFailed(400);
  assertEquals(path.largeProbeAtMs, 400 + 300);
  path.largeAnswered(800);
  assertEquals([path.sectors, path.largeProbeAtMs], [17, Infinity]);
});

Deno.test("path: a larger MTU is probed for, a smaller one taken at once", () => {
  const path = upPath(64, 2);
  assertEquals([path.sectors, path.largeProbeAtMs], [2, Infinity]);
  path.configure(64, 17, 256, 50);
  assertEquals([path.sectors, path.largeProbeAtMs], [2, 50]);
  path.largeAnswered(60);
  path.configure(64, 8, 256, 70);
  assertEquals(path.sectors, 8);
  path.configure(64, 1, 256, 80);
  assertEquals(path.sectors, 1);
});

Deno.test("path: a frame that was overtaken is lost sooner, unless that proves wrong", () => {
  const path = upPath();
  for (let i = 0; i < 50; i++) path.answered(100 + i, 99 + i, 2);
  assertEquals(path.lostAtMs(200), 250, "nothing sent later was answered");
  const soonMs = path.lostAtMs(140) - 140;
  assert(soonMs >= 1 && soonMs < 3, `after ${soonMs} ms`);
  path.needless();
  path.needless();
  assertAlmostEquals(path.lostAtMs(140) - 140, 4 * Math.max(1, path.srttMs + 4 * path.rttvarMs), 1);
});
