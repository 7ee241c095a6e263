// A target whose ring of frames is as small as is wanted, and overflows: a thread as `aoe serve` has,
// in the main thread. Arguments: interface, slots, a path, then pairs of address and image. Serves
// until there is something at the path; its last line says how many frames the kernel dropped.

import { openEvent } from "../../ffi/poll.ts";
import { openExport } from "../../src/control/target/open_file.ts";
import { TARGET_COUNT_KERNEL_DROPS, TargetCounters } from "../../src/core/target/counters.ts";
import { CONTROL_WORDS } from "../../src/core/target/loop.ts";
import { TargetMetrics } from "../../src/core/target/metrics.ts";
import { OrderMailbox } from "../../src/loops/target/orders.ts";
import { TargetWorker } from "../../src/loops/target/thread.ts";
import { parseAddress } from "../../src/wire/aoe.ts";
import { isFile } from "./requirements.ts";

const [name = "", slots, stop = "", ...disks] = Deno.args;
const exports = [];
for (let i = 0; i < disks.length; i += 2) {
  const address = parseAddress(disks[i]!);
  if (address === undefined) throw new Error(`"${disks[i]}" is no address`);
  const { config } = openExport(address, disks[i + 1]!, {
    ...{ direct: false, sync: false, readOnly: false, force: true },
    ...{ offsetBytes: 0, lengthBytes: undefined, createBytes: undefined },
  });
  exports.push(config);
}
const counters = TargetCounters.allocate(exports.length);
const worker = new TargetWorker({
  ...{ interfaces: [name], exports, buffers: 64, uring: true, crossingNs: 0, pollUs: 0 },
  ...{ ring: true, ringSlots: Number(slots), mapBytes: 64 * 2 ** 20, stores: true },
  controlEvent: openEvent(),
  control: new SharedArrayBuffer(4 * CONTROL_WORDS),
  counters,
  metrics: TargetMetrics.allocate(exports.length, 1),
  orders: OrderMailbox.allocate(),
}, (message) => {
  if (message.kind === "error") console.log(message.text);
});
console.log("Serving");
while (!isFile(stop)) {
  for (let turns = 0; turns < 100; turns++) if (worker.turn() === 0) worker.look(10);
}
worker.stop();
console.log(`dropped ${new TargetCounters(counters).value(TARGET_COUNT_KERNEL_DROPS)}`);
