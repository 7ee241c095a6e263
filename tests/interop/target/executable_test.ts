// ./aoe as the process that users run: stopped and killed under load, its network and its files
// changed under its feet, its memory and its idleness measured.

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  bench,
  type BenchOptions,
  benchResult,
  compiledTool,
  countWrongSectors,
  sharedTool,
  startBench,
} from "../../harness/aoebench.ts";
import {
  type AtaExchange,
  ataExchanges,
  Capture,
  keepCapture,
  readCapture,
} from "../../harness/capture.ts";
import { eventually, type RunningProcess, sleep } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

const mebibyte = 1 << 20;
const first = { iface: "net0", address: "1.1" };
const second = { iface: "net1", address: "1.2" };

/** What was sent before the time and never answered. */
function unansweredBefore(exchanges: readonly AtaExchange[], timeMs: number): AtaExchange[] {
  // The clock of the capture and ours are one clock, but ours counts whole milliseconds.
  return exchanges.filter((exchange) =>
    exchange.requestedMs < timeMs - 1 && exchange.answer === undefined
  );
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  interopTest(
    `serve: ${signal} under load answers what was received and ends with a summary`,
    [...sharedTool("aoebench"), "tcpdump"],
    async () => {
      await using testbed = await Testbed.create();
      const { target, initiator } = await testbed.pair(9000);
      // Each load has a wire of its own: aoebench would take answers to the other for its own.
      await testbed.wire([target, "net1"], [initiator, "net1"], 9000);
      const paths = [
        await testbed.image("first.img", 32 * mebibyte),
        await testbed.image("second.img", 32 * mebibyte),
      ] as const;
      await using serve = await startTarget(target, {
        interfaces: "net0,net1",
        exports: [["1.1", paths[0]], ["1.2", paths[1]]],
      });
      await compiledTool("aoebench");
      // Before the load: while it begins, libpcap loses frames that it does not count.
      const capture = await Capture.start(initiator, "net0", testbed.path("load.pcap"), 64);
      const load: BenchOptions = { mode: "mixed", sectors: 8, window: 32, seconds: 30 };
      const loads = [
        await startBench(initiator, first, load),
        await startBench(initiator, second, { ...load, mode: "write" }),
      ];
      await eventually(
        "the load flows",
        async () => (await Deno.stat(capture.path)).size > 1_000_000,
      );
      const signalledAt = Date.now();
      const status = await serve.stop(signal, 10_000);
      const tookMs = Date.now() - signalledAt;
      await sleep(100);
      for (const bench of loads) await bench.stop("SIGKILL");
      const lost = await capture.stop();
      assertEquals([status.code, serve.errorLines], [0, []], serve.text);
      assert(tookMs < 3_000, `It took ${tookMs} ms to stop`);
      assertMatch(serve.text, /\d+ (requests|reads|commands)/);
      const exchanges = ataExchanges(await readCapture(capture.path));
      assert(exchanges.length > 1000, `Only ${exchanges.length} requests were captured`);
      const unanswered = lost > 0 ? [] : unansweredBefore(exchanges, signalledAt);
      const kept = unanswered.length > 0 ? await keepCapture(capture.path) : "";
      assertEquals(unanswered, [], `signalled at ${signalledAt}, ${kept}\n${serve.text}`);
    },
  );
}

interopTest(
  "serve: after kill -9 under load every answered write is in the file, and a restart goes on",
  [...sharedTool("aoebench"), "tcpdump"],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(9000);
    const sectors = 8;
    const spanSectors = 64 * 2048;
    const path = await testbed.image("disk.img", spanSectors * 512);
    const serving = { interfaces: "net0", exports: [["1.1", path]] } as const;
    const killed = await startTarget(target, serving);
    const capture = await Capture.start(initiator, "net0", testbed.path("kill.pcap"), 64);
    const shared = { sectors, spanSectors, window: 32, timeoutMs: 100 };
    const writer = await startBench(initiator, first, {
      ...{ ...shared, mode: "write", sequential: true, seconds: 4 },
    });
    // Early, while the disk is written for the first time: what is there was written by these.
    await sleep(150);
    await killed.stop("SIGKILL");
    const image = testbed.path("killed.img");
    await Deno.copyFile(path, image);
    await capture.stop();
    const written = ataExchanges(await readCapture(capture.path))
      .filter((exchange) => exchange.command === 0x34 && exchange.answer?.status === 0x40);
    assert(written.length > 100, `Only ${written.length} writes were answered`);
    // Around the end and anywhere before; each comparison costs a hundredth of a millisecond.
    const some = [...written.slice(-1000), ...written.filter((_, i) => i % 16 === 0)];
    const lbas = some.flatMap(({ lba }) => [lba, lba + sectors - 1]);
    assertEquals(await countWrongSectors(image, lbas), 0);

    await using restarted = await startTarget(target, serving);
    const result = await benchResult(writer);
    assertEquals([result.errors, result.mismatches], [0, 0], result.line);
    assert(result.retransmissions > 0, result.line);
    assert(result.done >= spanSectors / sectors, result.line);
    const verify = await bench(initiator, first, { ...shared, mode: "verify" });
    assertEquals([verify.errors, verify.mismatches], [0, 0], verify.line);
    assertEquals((await restarted.stop()).code, 0, restarted.text);
  },
);

interopTest(
  "serve: an interface that goes down and comes back is served again",
  sharedTool("aoebench"),
  async () => {
    await using testbed = await Testbed.create();
    const target = await testbed.namespace("target");
    const initiator = await testbed.namespace("initiator");
    await testbed.wire([target, "net0"], [initiator, "net0"], 1500);
    await testbed.wire([target, "net1"], [initiator, "net1"], 1500);
    const path = await testbed.image("disk.img", 16 * mebibyte);
    await using serve = await startTarget(target, {
      interfaces: "net0,net1",
      exports: [["1.1", path]],
    });
    const load: BenchOptions = {
      ...{ mode: "mixed", sectors: 2, window: 16, seconds: 3, timeoutMs: 100 },
    };
    // Nothing on the other wire may wait for this one; a busy machine alone costs a tenth second.
    const patient = { ...load, timeoutMs: 1_000 };
    const other = await startBench(initiator, { ...first, iface: "net1" }, patient);
    const through = await startBench(initiator, first, load);
    await sleep(500);
    await target.ip("link set net0 down");
    await sleep(1_000);
    await target.ip("link set net0 up");
    for (const load of [other, through]) {
      const result = await benchResult(load);
      assertEquals([result.errors, result.mismatches], [0, 0], result.line);
      assert(load === other ? result.retransmissions === 0 : true, result.line);
    }
    const again = await bench(initiator, first, { ...load, seconds: 0.5 });
    assertEquals([again.errors, again.mismatches], [0, 0], again.line);
    assertEquals((await serve.stop()).code, 0, serve.text);
  },
);

interopTest(
  "serve: frames that the far end cannot take do not silence the rest",
  sharedTool("aoebench"),
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(9000);
    const path = await testbed.image("disk.img", 16 * mebibyte);
    await using serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", path]],
    });
    await initiator.ip("link set net0 mtu 1500");
    // The wire drops each answer of 16 sectors, for ever.
    await using large = await startBench(initiator, first, {
      ...{ mode: "read", sectors: 16, window: 4, seconds: 5, timeoutMs: 50 },
    });
    await sleep(700);
    const small = await bench(initiator, first, {
      ...{ mode: "read", sectors: 2, window: 4, seconds: 0.5, timeoutMs: 1_000 },
    });
    assertEquals([small.errors, small.mismatches], [0, 0], small.line);
    assert(small.done > 0, small.line);
    await large.stop("SIGKILL");
    assertEquals((await serve.stop()).code, 0, serve.text);
  },
);

interopTest(
  "serve: a changed MTU changes what a frame carries",
  sharedTool("aoebench"),
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(9000);
    const path = await testbed.image("disk.img", 16 * mebibyte);
    await using serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", path]],
    });
    for (const [mtu, sectors] of [[1500, 2], [4200, 8], [9000, 17]] as const) {
      await target.ip(`link set net0 mtu ${mtu}`);
      await eventually(`${sectors} sectors at MTU ${mtu}`, async () => {
        const result = await bench(initiator, first, {
          ...{ mode: "read", sectors: 1, window: 1, seconds: 0.05 },
        });
        return result.sectorsPerFrame === sectors;
      });
      const result = await bench(initiator, first, {
        ...{ mode: "mixed", sectors, window: 16, seconds: 0.3 },
      });
      assertEquals([result.errors, result.mismatches], [0, 0], result.line);
    }
    assertEquals((await serve.stop()).code, 0, serve.text);
  },
);

interopTest(
  "serve: a file that shrinks gives ATA errors beyond its end, and is served again when it grows",
  [...sharedTool("aoebench"), "tcpdump"],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(9000);
    const path = await testbed.image("disk.img", 64 * mebibyte);
    await using serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", path]],
    });
    const keptSectors = 16 * mebibyte / 512;
    const shared = { sectors: 8, window: 32, timeoutMs: 1_000 };
    for (const mode of ["read", "write"] as const) {
      await Deno.truncate(path, 64 * mebibyte);
      await eventually("the file's full size is served", async () => {
        const probe = await bench(initiator, first, { ...shared, mode: "read", seconds: 0.2 });
        return probe.sizeSectors === 64 * mebibyte / 512 && probe.errors === 0;
      });
      const load = await startBench(initiator, first, { ...shared, mode, seconds: 2 });
      await sleep(500);
      await Deno.truncate(path, 16 * mebibyte);
      const capturePath = testbed.path(`${mode}.pcap`);
      const capture = await Capture.start(initiator, "net0", capturePath, 64);
      const result = await benchResult(load);
      await capture.stop();
      assertEquals(result.mismatches, 0, result.line);
      const exchanges = ataExchanges(await readCapture(capturePath));
      const failed = exchanges.filter((exchange) => ((exchange.answer?.status ?? 0) & 1) !== 0);
      // A write beyond the end of a shrunken file makes it longer again, which is no error.
      if (mode === "read") assert(failed.length > 100, `${failed.length} errors: ${result.line}`);
      for (const { lba, answer } of failed) {
        assert(lba + shared.sectors > keptSectors, `LBA ${lba} is in the file, and failed`);
        const codes = mode === "read" ? [0x10, 0x40] : [0x10, 0x04];
        assert(codes.includes(answer?.error ?? 0), `ATA error ${answer?.error?.toString(16)}`);
      }
    }
    assertMatch(serve.text, /disk\.img|e1\.1/);
    await Deno.truncate(path, 64 * mebibyte);
    assertEquals((await serve.stop()).code, 0, serve.text);
  },
);

interopTest(
  "serve: a file that grows is seen, and announced",
  [...sharedTool("aoebench"), "tcpdump"],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(1500);
    const path = await testbed.image("disk.img", 4 * mebibyte);
    await using serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", path]],
    });
    const capture = await Capture.start(initiator, "net0", testbed.path("adverts.pcap"));
    await Deno.truncate(path, 12 * mebibyte);
    const advert = await eventually(
      "an advert",
      async () =>
        (await readCapture(capture.path)).find(({ bytes }) =>
          bytes.subarray(0, 6).every((byte) => byte === 0xff) && bytes[19] === 1 &&
          ((bytes[14] ?? 0) & 0x08) !== 0
        ),
    );
    assertEquals(advert.bytes[14], 0x18);
    assertEquals([...advert.bytes.subarray(16, 24)], [0, 1, 1, 1, 0, 0, 0, 0]);
    await capture.stop();
    const result = await bench(initiator, first, {
      ...{ mode: "mixed", sectors: 2, window: 16, seconds: 0.3 },
    });
    assertEquals([result.sizeSectors, result.errors], [12 * mebibyte / 512, 0], result.line);
    assertEquals((await serve.stop()).code, 0, serve.text);
  },
);

/**
 * Memory of its own (not mapped pages of the image) in MiB; processor time used so far in milliseconds;
 * and how often its threads have gone to sleep.
 */
async function usage(
  process: RunningProcess,
): Promise<{ ownMiB: number; cpuMs: number; sleeps: number }> {
  const status = await Deno.readTextFile(`/proc/${process.pid}/status`);
  const stat = await Deno.readTextFile(`/proc/${process.pid}/stat`);
  // Fields 14 and 15 in clock ticks of 10 ms; the name before them may hold spaces.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  let sleeps = 0;
  for await (const { name } of Deno.readDir(`/proc/${process.pid}/task`)) {
    try {
      const text = await Deno.readTextFile(`/proc/${process.pid}/task/${name}/status`);
      sleeps += Number(text.match(/^voluntary_ctxt_switches:\s+(\d+)/m)?.[1]);
    } catch {
      // The runtime's threads come and go.
    }
  }
  return {
    sleeps,
    ownMiB: Number(status.match(/RssAnon:\s+(\d+) kB/)?.[1]) / 1024,
    cpuMs: (Number(fields[11]) + Number(fields[12])) * 10,
  };
}

/**
 * Of an idle target in three seconds: it looks around some fifteen times a second. What a look costs
 * is the machine's (5 ms a second of processor time on a quiet one, 40 where a host gives the
 * processor to others meanwhile); a thread that looks without a pause takes thousands.
 */
const IDLE_SLEEPS_MAX = 90;
const IDLE_MS_MAX = 600;

interopTest(
  "serve: its own memory stays under 64 MB and does not grow, and an idle target uses no processor",
  sharedTool("aoebench"),
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(9000);
    const path = await testbed.image("disk.img", 32 * mebibyte);
    await using serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", path]],
    });
    const round = async (seconds: number) => {
      const result = await bench(initiator, first, {
        ...{ mode: "mixed", sectors: 17, window: 64, seconds },
      });
      assertEquals([result.errors, result.mismatches], [0, 0], result.line);
      return await usage(serve);
    };
    const warm = await round(2);
    const worn = await round(4);
    const told = `${warm.ownMiB.toFixed(0)} and then ${worn.ownMiB.toFixed(0)} MiB`;
    assert(worn.ownMiB < 64e6 / mebibyte, told);
    // V8 settles within some MiB; a leak of one word per request would pass 4 s of load with more.
    assert(worn.ownMiB - warm.ownMiB < 8, told);
    await sleep(500);
    let leastMs = Infinity;
    let leastSleeps = Infinity;
    for (let i = 0; i < 3 && (leastMs > IDLE_MS_MAX || leastSleeps > IDLE_SLEEPS_MAX); i++) {
      const before = await usage(serve);
      await sleep(3_000);
      const after = await usage(serve);
      leastMs = Math.min(leastMs, after.cpuMs - before.cpuMs);
      leastSleeps = Math.min(leastSleeps, after.sleeps - before.sleeps);
    }
    assert(leastSleeps <= IDLE_SLEEPS_MAX, `${leastSleeps} wake-ups in 3 s`);
    assert(leastMs <= IDLE_MS_MAX, `${leastMs} ms in 3 s`);
    assertEquals((await serve.stop()).code, 0, serve.text);
  },
);
