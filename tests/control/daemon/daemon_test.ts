// The order in which a daemon does things, where timing decides: what it looks for while its plan
// changes, and what it could not do the first time. No interface of these plans exists, so that
// nothing is sent.

import { assertEquals } from "@std/assert";
import { giveName, takeName } from "../../../ffi/name_lock.ts";
import { Daemon } from "../../../src/control/daemon/daemon.ts";
import type { DaemonEvent } from "../../../src/control/daemon/daemon_options.ts";
import type { DaemonPlan, ExportPlan } from "../../../src/core/daemon/plan.ts";

const EXPORT: Omit<ExportPlan, "path"> = {
  ...{ address: { shelf: 65_001, slot: 1 }, interfaces: ["aoenone0"], direct: false, sync: false },
  ...{ readOnly: false, cacheFixed: false, offsetBytes: 0, lengthBytes: undefined, line: 1 },
  ...{ createBytes: undefined, format: "raw", force: false, acl: undefined },
};

/** A running daemon, which reads what `exports` is at the time. */
class RunningDaemon implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync({ dir: "/var/tmp", prefix: "aoe-daemon-" });
  readonly events: DaemonEvent[] = [];
  exports: ExportPlan[];
  readonly daemon: Daemon;
  /** What it does every second. */
  readonly #everySecond: (() => void)[] = [];

  constructor(exports: (folder: string) => ExportPlan[]) {
    this.exports = exports(this.folder);
    this.daemon = new Daemon({
      plan: this.#plan(),
      from: "configuration",
      group: {
        ...{ uring: true, ring: true, pollUs: 0, buffers: 16, workers: 1, aids: undefined },
        mapBytes: 0,
      },
      readPlan: () => this.#plan(),
      tell: (event) => this.events.push(event),
      onMessage: () => {},
      summary: () => [],
      overview: () => Promise.resolve(undefined),
    });
  }

  async start(): Promise<this> {
    const { setInterval } = globalThis;
    globalThis.setInterval = ((callback: () => void, ms: number) => {
      if (ms !== 1_000) return setInterval(callback, ms);
      this.#everySecond.push(callback);
    }) as typeof setInterval;
    try {
      await this.daemon.start();
    } finally {
      globalThis.setInterval = setInterval;
    }
    return this;
  }

  /** A second has passed. */
  second(): void {
    for (const callback of this.#everySecond) callback();
  }

  image(name: string): void {
    Deno.writeFileSync(`${this.folder}/${name}`, new Uint8Array(65_536));
  }

  /** What is served: paths, behind their addresses. */
  get served(): string[] {
    return this.daemon.group.exports.map(({ slot, path }) =>
      `${slot} ${path.slice(path.lastIndexOf("/") + 1)}`
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon.stop();
    Deno.removeSync(this.folder, { recursive: true });
  }

  #plan(): DaemonPlan {
    return {
      ...{ name: undefined, stateDir: false, control: false, metrics: undefined, user: undefined },
      ...{ waits: true, workers: 1, buffers: 16, pollUs: 0, uring: true, ring: true, mapBytes: 0 },
      ...{ capture: undefined, captureBytes: undefined, dropPercent: undefined },
      ...{ initiatorInterfaces: [], exports: this.exports },
    };
  }
}

function daemonTest(name: string, body: () => Promise<void>): void {
  // Timers of a group that nobody waits for outlive it.
  Deno.test({ name: `daemon: ${name}`, sanitizeOps: false, sanitizeResources: false, fn: body });
}

daemonTest("what a reload has taken away is not served when it comes meanwhile", async () => {
  await using running = await new RunningDaemon((folder) => [
    { ...EXPORT, path: `${folder}/old` },
  ]).start();
  const { daemon } = running;
  running.image("old");
  running.exports = [{ ...EXPORT, path: `${running.folder}/new` }];
  const reloaded = daemon.reload();
  running.second();
  await reloaded;
  await daemon.reload();
  assertEquals(running.served, [], "the old disk would be served by the new one's address");
});

daemonTest("a change that could not be made is made by the next reload", async () => {
  await using running = await new RunningDaemon((folder) => {
    Deno.writeFileSync(`${folder}/one`, new Uint8Array(65_536));
    return [{ ...EXPORT, path: `${folder}/one` }];
  }).start();
  const { daemon } = running;
  const acl = { accept: ["525400000001"], reject: [], readOnly: [] };
  const moved = [{ ...running.exports[0]!, interfaces: ["aoenone1"], acl }];
  running.exports = moved;
  const other = takeName("aoe-serve/aoenone1/e65001.1")!;
  await daemon.reload();
  giveName(other);
  const config = () => {
    const [{ interfaces, acl } = {}] = daemon.group.exports;
    return { interfaces, acl };
  };
  assertEquals(config(), { interfaces: ["aoenone0"], acl: undefined });
  await daemon.reload();
  assertEquals(config(), { interfaces: ["aoenone1"], acl });
});

daemonTest("what was opened beside something that fails is served later", async () => {
  await using running = await new RunningDaemon((folder) => [
    { ...EXPORT, path: `${folder}/one` },
    { ...EXPORT, address: { shelf: 65_001, slot: 2 }, path: `${folder}/two` },
  ]).start();
  const { daemon } = running;
  running.image("one");
  // A file that is gone and still open has no name from which to make a serial number.
  running.image("gone");
  using file = Deno.openSync(`${running.folder}/gone`, { read: true, write: true });
  const link = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => `/proc/self/fd/${name}`)
    .find((path) => {
      try {
        return Deno.readLinkSync(path).endsWith("/gone");
      } catch {
        return false;
      }
    })!;
  Deno.removeSync(`${running.folder}/gone`);
  Deno.symlinkSync(link, `${running.folder}/two`);
  running.second();
  await daemon.reload();
  file.close();
  Deno.removeSync(`${running.folder}/two`);
  assertEquals(running.served, []);
  running.second();
  await daemon.reload();
  assertEquals(running.served, ["1 one"]);
});

daemonTest("the address of what is not served is free for another process", async () => {
  const isFree = (name: string, address: string) => {
    const holder = takeName(`aoe-serve/${name}/${address}`);
    if (holder !== undefined) giveName(holder);
    return holder !== undefined;
  };
  const free = () =>
    ["e65001.3", "e65001.4"].map((address) =>
      ["aoenone0", "aoenone1"].filter((name) => isFree(name, address)).join()
    );
  await using running = await new RunningDaemon((folder) => {
    Deno.writeFileSync(`${folder}/four`, new Uint8Array(65_536));
    return [3, 4].map((slot) => ({
      ...{ ...EXPORT, address: { shelf: 65_001, slot } },
      path: `${folder}/${slot === 3 ? "three" : "four"}`,
    }));
  }).start();
  const { daemon } = running;
  assertEquals(free(), ["aoenone0,aoenone1", "aoenone1"], "the third has no file yet");
  const others = [3, 4].map((slot) => takeName(`aoe-serve/aoenone1/e65001.${slot}`)!);
  running.image("three");
  running.exports = running.exports.map((ex) => ({ ...ex, interfaces: ["aoenone0", "aoenone1"] }));
  await daemon.reload();
  assertEquals(running.served, ["4 four"]);
  others.forEach(giveName);
  assertEquals(free(), ["aoenone0,aoenone1", "aoenone1"], "another had them on one of two");
  running.exports = [];
  await daemon.reload();
  assertEquals(free(), ["aoenone0,aoenone1", "aoenone0,aoenone1"]);
});
