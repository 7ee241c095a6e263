// The round trip estimate against RFC 6298's own arithmetic, the window, and when a path or its
// large frames are given up.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { TIME_BUCKETS, timeBucket } from "../../../src/core/time_buckets.ts";
import { CLASS_FLUSH, CLASS_IDENTIFY, CLASS_READ } from "../../../src/core/initiator/pace.ts";
import { Path, PATH_PROBING, PATH_UP } from "../../../src/core/initiator/path.ts";

const TIMES = { rtoInitialMs: 150, rtoMinMs: 50, rtoMaxMs: 4000, pathLostMs: 300 };
const MAC = Uint8Array.of(0x52, 0x54, 0xff, 0xfe, 0xfd, 0xfc);

function upPath(buffers = 64, sectors = 17, times = TIMES): Path {
  const path = new Path(0, 1, MAC, times);
  path.configure(buffers, sectors, 256, 0);
  path.up(0);
  return path;
}

Deno.test("path: RFC 6298, 2.2 and 2.3", () => {
  const path = upPath();
  assertEquals(path.paces[CLASS_READ]!.rtoMs, 150);
  path.answered(1000, 900, 2, CLASS_READ);
  const pace = path.paces[CLASS_READ]!;
  assertEquals([pace.srttMs, pace.rttvarMs, pace.rtoMs], [100, 50, 300]);
  path.answered(2000, 1800, 2, CLASS_READ);
  assertAlmostEquals(pace.rttvarMs, 0.75 * 50 + 0.25 * 100, 1e-9);
  assertAlmostEquals(pace.srttMs, 7 / 8 * 100 + 1 / 8 * 200, 1e-9);
  assertAlmostEquals(pace.rtoMs, 112.5 + 4 * 62.5, 1e-9);
});

Deno.test("path: the timeout is bounded on both sides, and doubles", () => {
  const path = upPath();
  for (let i = 0; i < 20; i++) path.answered(i, i - 0.1, 2, CLASS_READ);
  assertEquals(path.paces[CLASS_READ]!.rtoMs, 50);
  for (const expected of [100, 200, 400, 800, 1600, 3200, 4000, 4000]) {
    path.timedOut(1000, CLASS_READ);
    assertEquals(path.paces[CLASS_READ]!.rtoMs, expected);
  }
  path.answered(2000, 1999.9, 2, CLASS_READ);
  assertEquals(path.paces[CLASS_READ]!.rtoMs, 50, "one answer ends the backoff");
});

Deno.test("path: the disk's round trips are counted by their length, IDENTIFY's are not", () => {
  const path = upPath();
  path.answered(1000, 998, 2, CLASS_READ);
  path.answered(1001, 999, 2, CLASS_FLUSH);
  path.answered(1050, 1002, 2, CLASS_READ);
  path.answered(1051, 1050, 2, CLASS_IDENTIFY);
  path.answered(1052, NaN, 2, CLASS_READ);
  assertEquals([path.trips[timeBucket(2)], path.trips[timeBucket(48)]], [2, 1]);
  assertEquals(path.trips.subarray(0, TIME_BUCKETS).reduce((sum, n) => sum + n, 0), 3);
  assertEquals(path.trips[TIME_BUCKETS], 52);
});

Deno.test("path: a copy whose sending time is unknown gives no sample", () => {
  const path = upPath();
  path.answered(1000, NaN, 2, CLASS_READ);
  assertEquals([path.srttMs, path.paces[CLASS_READ]!.rtoMs], [0, 150]);
});

Deno.test("path: slow start to the buffer count, then one more a round trip", () => {
  const path = upPath(64);
  assertEquals(path.window, 16);
  path.answered(10, 9, 2, CLASS_READ);
  assertEquals(path.window, 16, "an unused window does not grow");
  for (let i = 0; i < 100; i++) {
    path.flying = Math.floor(path.window) - 1;
    path.answered(10, 9, 2, CLASS_READ);
  }
  assertEquals(path.window, 64);
  path.timedOut(20, CLASS_READ);
  assertEquals(path.window, 64, "one timeout may be a slow disk");
  path.timedOut(21, CLASS_READ);
  assertEquals(path.window, 4);
  for (let i = 0; i < 28; i++) {
    path.flying = Math.floor(path.window) - 1;
    path.answered(30, 29, 2, CLASS_READ);
  }
  assertEquals(path.window, 32, "slow start ends at half of what it was");
  path.flying = 31;
  path.answered(31, 30, 2, CLASS_READ);
  assertAlmostEquals(path.window, 32 + 1 / 32, 1e-9);
});

Deno.test("path: a loss with a queue halves, one without takes a little, each once a round trip", () => {
  for (const [rtts, factor] of [[[1, 9, 9, 9, 9, 9, 9, 9, 9], 0.5], [[1, 1, 1], 0.85]] as const) {
    const path = upPath(32);
    path.window = 32;
    rtts.forEach((rtt, i) => path.answered(100 + i, 100 + i - rtt, 2, CLASS_READ));
    path.lostOne(200, 150, 2, CLASS_READ);
    assertEquals(path.window, 32 * factor);
    path.lostOne(201, 199, 2, CLASS_READ);
    assertEquals(path.window, 32 * factor, "it was sent before the decrease");
    path.lostOne(300, 250, 2, CLASS_READ);
    assert(path.window < 32 * factor);
    path.needless(CLASS_READ);
    assertEquals(path.window, 32 * factor, "taken back");
    for (let i = 4; i < 30; i++) path.lostOne(100 * i, 100 * i - 50, 2, CLASS_READ);
    assertEquals(path.window, 8);
  }
});

Deno.test("path: windows of 0, 1 and 2 buffers", () => {
  for (const [buffers, window] of [[0, 1], [1, 1], [2, 2]] as const) {
    const path = upPath(buffers);
    for (let i = 0; i < 9; i++) path.timedOut(i, CLASS_READ);
    path.lostOne(100, 99, 2, CLASS_READ);
    assertEquals(Math.floor(path.window), window);
    assert(path.hasRoom());
    path.flying = window;
    assert(!path.hasRoom());
  }
});

Deno.test("path: given up after three timeouts and enough silence", () => {
  const path = upPath();
  path.sent(1000);
  assert(!path.timedOut(1100, CLASS_READ));
  assert(!path.timedOut(1200, CLASS_READ));
  assert(!path.timedOut(1250, CLASS_READ), "not silent for long enough");
  assert(path.timedOut(1300, CLASS_READ));
  path.lose(1300);
  assertEquals([path.state, path.probeAtMs], [PATH_PROBING, 1300]);
  path.probeFailed(1400);
  assertEquals(path.probeAtMs, 1500);
  for (let i = 0; i < 9; i++) path.probeFailed(2000);
  assertEquals(path.probeAtMs, 3000, "at most a second apart");
  path.up(2500);
  assertEquals([path.state, path.sectors, path.largeProbeAtMs], [PATH_UP, 2, 2600]);
});

Deno.test("path: large frames that vanish are followed by small ones, then probed for", () => {
  const path = upPath();
  assertEquals(path.sectors, 2);
  path.largeAnswered(10);
  assertEquals(path.sectors, 17);
  path.answered(20, 19, 17, CLASS_READ);
  for (let i = 0; i < 9; i++) path.lostOne(200, 50 + i, 17, CLASS_READ);
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
  for (let i = 0; i < 50; i++) path.answered(100 + i, 99 + i, 2, CLASS_READ);
  const pace = path.paces[CLASS_READ]!;
  assertEquals(pace.timeoutAtMs(200), 250, "nothing sent later was answered");
  const soonMs = pace.overtakenAtMs(140, 1, false) - 140;
  assert(soonMs >= 1 && soonMs < 3, `after ${soonMs} ms`);
  assertEquals(pace.overtakenAtMs(140, 2, false) - 140, 4 * soonMs, "a copy waits longer");
  assertEquals(pace.overtakenAtMs(140, 2, true) - 140, soonMs, "where frames are lost it does not");
  path.needless(CLASS_READ);
  path.needless(CLASS_READ);
  const waitMs = 4 * Math.max(1, pace.srttMs + 4 * pace.rttvarMs, 1.5 * pace.srttMs);
  assertAlmostEquals(pace.overtakenAtMs(140, 1, false) - 140, waitMs, 1e-9);
});

Deno.test("path: a disk whose target answers is left alone, unless the network loses frames", () => {
  const waits = (path: Path): number[] => {
    const sent: number[] = [];
    for (let i = 0, nowMs = 1000; i < 4; i++) {
      path.timedOut(nowMs, CLASS_READ);
      path.answered(nowMs + 1, nowMs, 2, CLASS_IDENTIFY);
      const nextMs = path.paces[CLASS_READ]!.timeoutAtMs(200);
      sent.push(nextMs - nowMs);
      nowMs = nextMs;
    }
    return sent;
  };
  const unknown = upPath(64, 17, { ...TIMES, rtoMaxMs: 3_600_000 });
  assertEquals(waits(unknown), [1000, 25_000, 60_000, 60_000]);
  const path = upPath(64, 17, { ...TIMES, rtoMaxMs: 3_600_000 });
  for (let i = 0; i < 50; i++) path.answered(100 + i, 99 + i, 2, CLASS_READ);
  const pace = path.paces[CLASS_READ]!;
  assertEquals(waits(path), [1000, 5000, 8000, 8000], "one that is known to be quick, sooner");
  path.answered(200_000, 199_999, 2, CLASS_READ);
  path.lossProven(200_000);
  path.timedOut(201_000, CLASS_READ);
  path.answered(201_001, 201_000, 2, CLASS_IDENTIFY);
  assertEquals(pace.timeoutAtMs(200), 201_000 + pace.rtoMs);
  path.timedOut(300_000, CLASS_READ);
  path.answered(300_001, 300_000, 2, CLASS_IDENTIFY);
  assertEquals(pace.timeoutAtMs(200), 300_000 + 5000, "a minute later that is forgotten");
});

Deno.test("path: each copy waits longer for the proof of its loss, and none for more than 30 s", () => {
  const pace = upPath().paces[CLASS_READ]!;
  pace.answered(1000, 990);
  const waits = [1, 2, 3, 19].map((tries) => pace.overtakenAtMs(0, tries, false));
  assertEquals(waits, [30, 120, 480, 30_000]);
  assertEquals(pace.overtakenAtMs(0, 19, true), 30);
});
