// The mailbox of orders, whose two sides are two threads.

import { assertEquals } from "@std/assert";
import { OrderMailbox } from "../../../src/loops/target/orders.ts";
import type { TargetOrder } from "../../../src/loops/target/orders.ts";

const order = (order: number, name: string): TargetOrder => ({
  ...{ order, kind: "add-interface" },
  name,
});

Deno.test("orders: what has not been taken can be taken back, and is never carried out", () => {
  const shared = OrderMailbox.allocate();
  const [main, thread] = [new OrderMailbox(shared), new OrderMailbox(shared)];
  main.put(order(1, "eth0"));
  assertEquals(main.withdraw(1), true);
  assertEquals(thread.take(), undefined);
  main.put(order(2, "eth1"));
  assertEquals(main.withdraw(1), false, "another's number");
  assertEquals(thread.take(), order(2, "eth1"));
  assertEquals([main.withdraw(2), thread.take()], [false, undefined]);
});

Deno.test("orders: one that is replaced while it is taken is not taken as a mixture of both", () => {
  const shared = OrderMailbox.allocate();
  const [main, thread] = [new OrderMailbox(shared), new OrderMailbox(shared)];
  main.put(order(1, "eth0"));
  // Between the thread's copy and its claim.
  const { slice } = Uint8Array.prototype;
  Uint8Array.prototype.slice = function (...range) {
    Uint8Array.prototype.slice = slice;
    assertEquals(main.withdraw(1), true);
    main.put(order(2, "eth1"));
    return slice.apply(this, range);
  };
  assertEquals(thread.take(), undefined);
  assertEquals(thread.take(), order(2, "eth1"));
});
