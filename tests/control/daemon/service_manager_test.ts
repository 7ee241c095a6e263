// What a service manager hears, by sd_notify(3)'s protocol.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { ServiceManager } from "../../../src/control/daemon/service_manager.ts";
import { eventually } from "../../harness/process.ts";
import { DatagramInbox } from "../../harness/datagram_inbox.ts";

const path = `/tmp/aoe-notify-${crypto.randomUUID()}`;

for (const name of [path, `@${path}`]) {
  Deno.test(`service manager: hears everything ${name === path ? "at a path" : "by a name"}`, () => {
    using inbox = new DatagramInbox(name);
    withEnvironment({ NOTIFY_SOCKET: name }, () => {
      const manager = new ServiceManager();
      manager.ready("Serving\n2 exports");
      manager.reloading();
      manager.status("one waits");
      manager.stopping();
      const [ready, reloading, ...rest] = inbox.take();
      assertEquals(ready, "READY=1\nSTATUS=Serving 2 exports");
      assertMatch(reloading!, /^RELOADING=1\nMONOTONIC_USEC=\d+$/);
      const uptimeMs = Number(Deno.readTextFileSync("/proc/uptime").split(" ")[0]) * 1000;
      const told = Number(reloading!.split("=").at(-1)) / 1000;
      assert(
        Math.abs(uptimeMs - told) < 60_000,
        `${told} ms, and the machine is up ${uptimeMs} ms`,
      );
      assertEquals(rest, ["STATUS=one waits", "STOPPING=1"]);
    });
    if (name === path) Deno.removeSync(path);
  });
}

Deno.test("service manager: hears that all is well while it is, and only who asks for it", async () => {
  const name = `@${path}-watchdog`;
  using inbox = new DatagramInbox(name);
  const watch = { NOTIFY_SOCKET: name, WATCHDOG_USEC: "20000" };
  let well = true;
  let asked = 0;
  const isWell = () => {
    asked++;
    return well;
  };
  const manager = withEnvironment(watch, () => new ServiceManager());
  withEnvironment(watch, () => manager.keepAlive(isWell));
  await eventually("it was told twice", () => inbox.take().length > 0 && asked > 2);
  well = false;
  inbox.take();
  asked = 0;
  await eventually("it was asked again", () => asked > 3);
  assertEquals(inbox.take(), []);
  manager.close();
  const others = { ...watch, WATCHDOG_PID: "1" };
  withEnvironment(others, () => new ServiceManager().keepAlive(isWell));
  withEnvironment({ NOTIFY_SOCKET: name }, () => new ServiceManager().keepAlive(isWell));
  withEnvironment({}, () => new ServiceManager().ready("nobody hears this"));
  assertEquals(inbox.take(), []);
});

function withEnvironment<Result>(
  variables: Readonly<Record<string, string>>,
  body: () => Result,
): Result {
  for (const [name, value] of Object.entries(variables)) Deno.env.set(name, value);
  try {
    return body();
  } finally {
    for (const name of Object.keys(variables)) Deno.env.delete(name);
  }
}
