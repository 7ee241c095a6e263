// Data written by an independent initiator come back unchanged and stand at the right place in the
// image, whatever the frame size, and however badly the network behaves between.

import { assert, assertEquals } from "@std/assert";
import { bench, compiledTool, countWrongSectors, sharedTool } from "../../harness/aoebench.ts";
import { interopTest } from "../../harness/requirements.ts";
import { startTarget } from "../../harness/target.ts";
import { type Namespace, Testbed } from "../../harness/testbed.ts";

/** One network, one frame size. */
interface Row {
  readonly mtu: number;
  /** Sectors in one frame: what the target must advertise, and what is sent. */
  readonly sectors: number;
}

const imageSectors = 64 * 2048;
const address = "7.3";

/**
 * Writes a span in order and then all over, reads it back, and looks into the file. The span is
 * no multiple of the sectors that a frame carries only at its end, which aoebench leaves out.
 */
async function writeAndVerify(
  initiator: Namespace,
  options: Row & {
    iface: string;
    path: string;
    spanSectors: number;
    timeoutMs: number;
    cpu?: number;
  },
): Promise<{ retransmissions: number }> {
  const { iface, sectors, spanSectors, timeoutMs } = options;
  const at = { iface, address };
  const pinned = options.cpu === undefined ? {} : { cpu: options.cpu };
  const shared = { sectors, spanSectors, timeoutMs, window: 32, ...pinned };
  const sequential = await bench(initiator, at, {
    ...{ ...shared, mode: "write", sequential: true, seconds: 1 },
  });
  assertEquals([sequential.errors, sequential.mismatches], [0, 0], sequential.line);
  assertEquals(sequential.sizeSectors, imageSectors);
  assertEquals(sequential.sectorsPerFrame, Math.min(255, Math.floor((options.mtu - 36) / 512)));
  const units = Math.floor(spanSectors / sectors);
  assert(sequential.done >= units, `Not the whole span was written: ${sequential.line}`);
  const random = await bench(initiator, at, { ...shared, mode: "mixed", seconds: 1 });
  assertEquals([random.errors, random.mismatches], [0, 0], random.line);
  const verify = await bench(initiator, at, { ...shared, mode: "verify" });
  assertEquals([verify.errors, verify.mismatches, verify.done], [0, 0, units], verify.line);
  const sample = Array.from({ length: 257 }, (_, i) => Math.floor(units * sectors * i / 257));
  assertEquals(await countWrongSectors(options.path, [...sample, units * sectors - 1]), 0);
  return {
    retransmissions: sequential.retransmissions + random.retransmissions + verify.retransmissions,
  };
}

const rows: readonly Row[] = [
  { mtu: 1500, sectors: 2 },
  { mtu: 9000, sectors: 17 },
  { mtu: 1060, sectors: 2 },
];

for (const row of rows) {
  interopTest(
    `serve: writes read back unchanged at MTU ${row.mtu}`,
    sharedTool("aoebench"),
    async () => {
      await using testbed = await Testbed.create();
      const { target, initiator } = await testbed.pair(row.mtu);
      const path = await testbed.image("disk.img", imageSectors * 512);
      await using _serve = await startTarget(target, {
        interfaces: "net0",
        exports: [[address, path]],
      });
      await writeAndVerify(initiator, {
        ...{ ...row, iface: "net0", path, spanSectors: 20_000, timeoutMs: 200 },
      });
    },
  );
}

interopTest("serve: writes read back unchanged on lo", [
  ...sharedTool("aoebench"),
  "taskset",
], async () => {
  await using testbed = await Testbed.create();
  const host = await testbed.namespace("host");
  await host.loopback();
  // aoebench sees its own frames here, and gives up after twenty: the answer must come before.
  const apart = navigator.hardwareConcurrency > 1;
  const path = await testbed.image("disk.img", imageSectors * 512);
  await using _serve = await startTarget(host, {
    interfaces: "lo",
    exports: [[address, path]],
    ...(apart ? { cpu: 0 } : {}),
  });
  // lo would carry 127 sectors; aoebench's frames hold 19.
  await writeAndVerify(host, {
    ...{ mtu: 65536, sectors: 19, iface: "lo", path, spanSectors: 20_000, timeoutMs: 200 },
    ...(apart ? { cpu: 1 } : {}),
  });
});

for (const row of rows.slice(0, 2)) {
  interopTest(
    `serve: writes read back unchanged over a lossy network at MTU ${row.mtu}`,
    [...sharedTool("aoebench"), ...sharedTool("lossybridge")],
    async () => {
      await using testbed = await Testbed.create();
      const target = await testbed.namespace("target");
      const middle = await testbed.namespace("middle");
      const initiator = await testbed.namespace("initiator");
      await testbed.wire([target, "net0"], [middle, "left"], row.mtu);
      await testbed.wire([middle, "right"], [initiator, "net0"], row.mtu);
      const path = await testbed.image("disk.img", imageSectors * 512);
      await using bridge = middle.start([
        await compiledTool("lossybridge"),
        ...["left", "right", "3", "2", "10", "20", "7"],
      ]);
      await using _serve = await startTarget(target, {
        interfaces: "net0",
        exports: [[address, path]],
      });
      const { retransmissions } = await writeAndVerify(initiator, {
        ...{ ...row, iface: "net0", path, spanSectors: 2_000, timeoutMs: 60 },
      });
      await bridge.stop();
      const counts = bridge.text.match(/dropped (\d+) duplicated (\d+) delayed (\d+)/);
      assert(counts?.slice(1).every((count) => Number(count) > 10), bridge.text);
      assert(retransmissions > 10, "The network was not lossy");
    },
  );
}
