// Orders that cannot be carried out: the thread serves afterwards what it served before. The main
// thread closes what was not added, and the next file that is opened gets the same descriptor.

import { assertEquals } from "@std/assert";
import { closeFile, openFile } from "../../../ffi/files.ts";
import type { TargetLoop } from "../../../src/core/target/loop.ts";
import { TargetMetrics } from "../../../src/core/target/metrics.ts";
import type { ExportConfig } from "../../../src/loops/target/export_config.ts";
import { ServedExports } from "../../../src/loops/target/exports.ts";
import type { TargetLink } from "../../../src/loops/target/link.ts";
import type { ServedLinks } from "../../../src/loops/target/links.ts";
import { LiveChanges } from "../../../src/loops/target/live_changes.ts";
import type { TargetJobConfig, TargetMessage } from "../../../src/loops/target/messages.ts";
import { OrderMailbox } from "../../../src/loops/target/orders.ts";
import type { TargetOrder } from "../../../src/loops/target/orders.ts";
import type { TargetParts } from "../../../src/loops/target/parts.ts";

const EXPORT = {
  ...{ shelf: 1, path: "disk", directFd: -1, directAlignment: 512, offsetBytes: 0 },
  ...{ lengthBytes: undefined, remote: false, readOnly: false, sync: false, trim: false },
  ...{ physicalSectorBytes: 512, rotational: false, serial: "1", incarnation: 1 },
};

/** A thread's exports on two links, of which `eth1` takes no filter once `full` is set. */
class Thread {
  full = false;
  readonly fd = openFile("/dev/zero", { readOnly: true });
  readonly messages: TargetMessage[] = [];
  /** Descriptors that the queue has. */
  readonly files = new Set<number>();
  readonly exports: ServedExports;
  readonly #orders = OrderMailbox.allocate();
  readonly #changes: LiveChanges;

  constructor() {
    const post = (message: TargetMessage) => void this.messages.push(message);
    const config = { mapBytes: 0, buffers: 16, exports: [], orders: this.#orders };
    const parts = {
      pool: { count: 256 },
      files: {
        addFile: (fd: number) => void this.files.add(fd),
        removeFile: (fd: number) => void this.files.delete(fd),
      },
    } as unknown as TargetParts;
    this.exports = new ServedExports(
      config as unknown as TargetJobConfig,
      parts,
      post,
      () => "eth0",
    );
    const full = () => this.full;
    const list = ["eth0", "eth1"].map((asked) => ({
      asked,
      isCalled: (name: string) => name === asked,
      growTo: () => {},
      set filter(_: Uint8Array) {
        if (asked === "eth1" && full()) throw new Error("Attach a filter: ENOMEM");
      },
    } as unknown as TargetLink));
    const loop = { announceExport: () => {}, activate: () => {} } as unknown as TargetLoop;
    this.#changes = new LiveChanges({ orders: this.#orders }, parts, {
      ...{ exports: this.exports, post, loop, onGone: () => {} },
      links: { list, aided: { links: list } } as unknown as ServedLinks,
      metrics: new TargetMetrics(TargetMetrics.allocate(4, 2)),
    });
  }

  /** Gives an order; returns why it was refused. */
  order(order: TargetOrder): string | undefined {
    this.messages.length = 0;
    new OrderMailbox(this.#orders).put(order);
    this.#changes.take();
    const outcomes = this.messages.filter((message) => message.kind === "outcome");
    assertEquals(outcomes.length, 1);
    return outcomes[0]!.refusal;
  }

  config(slot: number, interfaces?: readonly string[]): ExportConfig {
    return { ...EXPORT, slot, fd: this.fd, interfaces };
  }

  [Symbol.dispose](): void {
    closeFile(this.fd);
  }
}

Deno.test("live changes: an export whose filter the kernel refuses is not served at all", () => {
  using thread = new Thread();
  thread.full = true;
  const refusal = thread.order({ kind: "add", order: 1, index: 0, config: thread.config(1) });
  assertEquals(refusal, "Attach a filter: ENOMEM");
  const { table } = thread.exports;
  assertEquals([table.find(1, 1), table.at(0), table.count], [undefined, undefined, 0]);
  assertEquals([...thread.files], [], "its descriptor is the main thread's to close");
  thread.full = false;
  assertEquals(
    thread.order({ kind: "add", order: 2, index: 0, config: thread.config(1) }),
    undefined,
  );
  assertEquals(table.find(1, 1)?.links, 3);
});

Deno.test("live changes: an export that cannot move to an interface stays where it was", () => {
  using thread = new Thread();
  thread.order({ kind: "add", order: 1, index: 0, config: thread.config(1, ["eth0"]) });
  thread.full = true;
  const config = { ...thread.config(1, ["eth1"]), readOnly: true };
  assertEquals(
    thread.order({ kind: "change", order: 2, index: 0, config }),
    "Attach a filter: ENOMEM",
  );
  const ex = thread.exports.table.find(1, 1)!;
  assertEquals([ex.links, ex.settings.readOnly], [1, false]);
});

Deno.test("live changes: an export leaves, whatever becomes of the filter", () => {
  using thread = new Thread();
  thread.order({ kind: "add", order: 1, index: 0, config: thread.config(1) });
  thread.full = true;
  assertEquals(thread.order({ kind: "remove", order: 2, index: 0, drain: false }), undefined);
  assertEquals(thread.exports.table.at(0), undefined);
  assertEquals([...thread.files], []);
});
