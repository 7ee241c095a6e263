// One daemon for many disks: what is missing is waited for, what is changed is changed while the rest
// is served, what is wrong changes nothing; the service manager and the journal are told.

import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { bench, sharedTool } from "../../harness/aoebench.ts";
import { DatagramInbox } from "../../harness/datagram_inbox.ts";
import { eventually } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../../harness/target.ts";
import { type Namespace, Testbed } from "../../harness/testbed.ts";
import type { ListedExport } from "../../../src/control/daemon/requests.ts";

/** How often the configuration changes under load; 200 by hand. */
const RELOADS = Number(Deno.env.get("AOE_RELOADS") ?? 12);

interopTest(
  "daemon: what is missing at the start is waited for, and served once it comes",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const daemon = await Daemon.create(testbed, "net0");
    await testbed.image("one.img", 1 << 20);
    await testbed.image("three.img", 1 << 20);
    using inbox = new DatagramInbox(testbed.path("notify"));
    const nbd = `nbd+unix:///?socket=${testbed.path("nbd.sock")}`;
    await daemon.configure(
      { address: "e1.1", path: "one.img", interfaces: ["net0", "away0"] },
      { address: "e1.2", path: "two.img" },
      { address: "e1.3", path: "three.img", interfaces: ["late0"] },
      { address: "e1.4", path: nbd },
      { address: "e1.5", path: "five.img", size: "1M", interfaces: ["lat?0"] },
    );
    const serve = await daemon.start();
    const told = inbox.take();
    assertEquals(told, ["READY=1\nSTATUS=Serving one export, waiting for 4"]);
    const reasons = (await daemon.list()).map(({ address, state, reason }) =>
      `${address} ${state}: ${reason}`
    );
    assertEquals(reasons.map((text) => text.split(":")[0]), [
      "e1.1 serving",
      "e1.2 waiting",
      "e1.3 waiting",
      "e1.4 waiting",
      "e1.5 waiting",
    ]);
    assertStringIncludes(reasons[1]!, `No such file "${testbed.path("two.img")}"`);
    assertEquals(reasons[2], 'e1.3 waiting: no interface is called "late0"');
    assertStringIncludes(reasons[3]!, "no such file or directory (ENOENT)");
    // The journal is told once, as a warning.
    for (const reason of reasons.slice(1)) {
      const [address] = reason.split(" ");
      const said = serve.errorLines.filter((line) => line.includes(`${address} waits: `));
      assertEquals(said.length, 1, serve.text);
      assertMatch(said[0]!, /^<4>aoe: e1/);
    }

    // It is served by one interface of two: the other is missed, once.
    const missed = serve.errorLines.filter((line) => line.includes("away0"));
    assertEquals(missed, [
      '<4>aoe: warning: No interface is called "away0" now: it is served on once there is one',
    ]);

    await testbed.image("two.img", 2 << 20);
    await daemon.host.ip("link add late0 type veth peer name late1");
    await daemon.host.ip("link set late1 up");
    await daemon.host.ip("link set late0 up");
    await eventually("what came is served", async () => {
      const states = (await daemon.list()).map(({ state }) => state);
      return states.join() === "serving,serving,serving,waiting,serving";
    });
    const aoe = await aoeExecutable();
    await daemon.other.runChecked([aoe, "stat", "-i", "net0", "e1.2"]);
    await daemon.host.runChecked([aoe, "stat", "-i", "late1", "e1.3", "e1.5"]);
    assertEquals(serve.errorLines.filter((line) => line.includes("e1.4 waits")).length, 1);
    await serve.stop();
    assertEquals(inbox.take(), ["STOPPING=1"]);
  },
);

interopTest(
  "daemon: --wait does the same for arguments, without it nothing starts",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const daemon = await Daemon.create(testbed, "net0");
    const options = {
      ...{ interfaces: "net0", process: { env: daemon.env } },
      exports: [["1.1", await testbed.image("one.img", 512)], ["1.2", testbed.path("two.img")]],
    } as const;
    const serve = await startTarget(daemon.host, { ...options, flags: ["--wait"] });
    assertEquals((await daemon.list()).map(({ state }) => state), ["serving", "waiting"]);
    await testbed.image("two.img", 512);
    await serve.waitForLine(/e1\.2 is served: /);
    // SIGHUP asks for the end, as ever: there is no configuration.
    assertMatch(
      (await daemon.ctl("reload")).stderr,
      /^aoe: It was started by arguments, and has no/,
    );
    assertEquals((await serve.stop("SIGHUP")).code, 0);
  },
);

interopTest(
  "daemon: a reload touches what has changed, and a mistake changes nothing",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const daemon = await Daemon.create(testbed, "net0");
    const exports = Array.from({ length: 8 }, (_, slot) => ({
      address: `e1.${slot}`,
      path: `${slot}.img`,
      size: "1M",
    }));
    using inbox = new DatagramInbox(testbed.path("notify"));
    await daemon.configure(...exports);
    const serve = await daemon.start();
    const aoe = await aoeExecutable();
    for (const { address } of exports) {
      await daemon.other.runChecked([aoe, "identify", "-i", "net0", address]);
    }
    const before = await daemon.listing();
    const counted = await daemon.stats();
    inbox.take();

    // Nothing has changed: not a frame, whichever way it is asked.
    assertEquals(JSON.parse((await daemon.ctl("reload", "--json")).stdout), {
      ...{ added: 0, removed: 0, changed: 0, same: 8, waiting: 0, leaving: 0 },
    });
    const from = serve.lines.length;
    serve.signal("SIGHUP");
    await serve.waitForLine(/Reloaded: 0 added, 0 removed, 0 changed, 8 as before/, { from });
    assertEquals(await daemon.listing(), before);
    assertEquals((await daemon.stats()).sent, counted.sent);
    assertEquals(inbox.take().map((text) => text.split("\n")[0]), [
      ...["RELOADING=1", "READY=1", "RELOADING=1", "READY=1"],
    ]);

    // One of eight is for others now.
    await daemon.configure(
      ...exports.map((ex) => ex.address === "e1.3" ? { ...ex, mac: "52:54:00:00:00:09" } : ex),
    );
    const { stdout } = await daemon.ctl("reload");
    assertEquals(stdout, "Reloaded: 0 added, 0 removed, 1 changed, 7 as before\n");
    assertEquals(await daemon.listing(), before);
    const now = await daemon.stats();
    assertEquals(now.exports, counted.exports);
    const refused = ["identify", "-i", "net0", "--timeout", "0.5", "e1.3"];
    assert((await daemon.other.run([aoe, ...refused])).code !== 0);

    // A mistake, with its line, and nothing else.
    await daemon.configure(...exports.slice(1), { address: "e9.9", path: "9.img", sice: "1M" });
    const wrong = await daemon.ctl("reload");
    assertEquals(wrong.code, 1);
    assertMatch(
      wrong.stderr,
      /^aoe: ".*" has 1 mistake: nothing is changed or started \(\d+: .*"sice"/,
    );
    await serve.waitForLine(/^<3>aoe: .*aoe\.toml:\d+: .*no key "sice"/);
    assertEquals(await daemon.listing(), before);

    // An interface under another name is served as before, and is told of so.
    for (const words of ["net0 down", "net0 name san0", "san0 up"]) {
      await daemon.host.ip(`link set ${words}`);
    }
    await serve.waitForLine(/net0 is called san0 now: served as before/);
    await serve.waitForLine(/san0 is up/);
    assertEquals(await daemon.listing(), before);
    await serve.stop();

    // The images that the configuration's sizes have made are nothing to warn of.
    await daemon.host.ip("link set san0 down");
    await daemon.host.ip("link set san0 name net0 up");
    await Deno.remove(daemon.env.STATE_DIRECTORY!, { recursive: true });
    await daemon.configure(...exports);
    const again = await daemon.start("--no-state");
    assertEquals(again.lines.filter(({ text }) => /warning/.test(text)), []);
    await assertRejects(() => Deno.stat(daemon.env.STATE_DIRECTORY!), Deno.errors.NotFound);
    await again.stop();
  },
);

interopTest("daemon: exports are added, removed and drained by hand", [], async () => {
  await using testbed = await Testbed.create();
  const daemon = await Daemon.create(testbed, "net0");
  await daemon.configure({ address: "e1.1", path: "1.img", size: "1M" });
  using inbox = new DatagramInbox(testbed.path("notify"));
  daemon.env.WATCHDOG_USEC = "200000";
  const serve = await daemon.start();
  const added = await daemon.ctl(
    "add",
    "1.2",
    testbed.path("2.img"),
    "--size",
    "2M",
    "-r",
    "--json",
  );
  assertEquals(added.code, 1);
  assertMatch(added.stderr, /No such file/);
  const two = JSON.parse(
    (await daemon.ctl("add", "1.2", testbed.path("2.img"), "--size", "2M", "--json")).stdout,
  );
  assertEquals([two.address, two.bytes, two.from, two.interfaces], [
    ...["e1.2", 2 << 20, "ctl", ["net0"]],
  ]);
  for (const [words, said] of REFUSED) {
    const { code, stderr } = await daemon.ctl(
      ...words.map((word) => word.endsWith(".img") ? testbed.path(word) : word),
    );
    assert(code === 1 || code === 2, stderr);
    assertMatch(stderr, said);
  }
  assertEquals((await daemon.list()).map(({ address }) => address), ["e1.1", "e1.2"]);
  // The configuration leaves alone what was added by hand, and brings back what it names.
  assertEquals((await daemon.ctl("remove", "e1.1")).stdout, "e1.1 is served no more\n");
  assertEquals(
    (await daemon.ctl("reload")).stdout,
    "Reloaded: 1 added, 0 removed, 0 changed, 0 as before\n",
  );
  assertEquals(JSON.parse((await daemon.ctl("drain", "e1.2", "--json")).stdout), {
    ...{ address: "e1.2", flushed: true },
  });
  assertEquals((await daemon.list()).map(({ address }) => address), ["e1.1"]);
  // Its file is nobody's any more.
  assertEquals((await daemon.ctl("add", "1.3", testbed.path("2.img"))).code, 0);
  await eventually("it says that it is alive", () => inbox.take().includes("WATCHDOG=1"));
  await serve.stop();
});

/** What is refused by hand, and why. */
const REFUSED: readonly (readonly [readonly string[], RegExp])[] = [
  [["add", "1.2", "3.img"], /e1\.2 is there already: aoe ctl remove e1\.2 first/],
  [["add", "1.3", "2.img"], /is exported already/],
  [["add", "1.3", "1.img", "-i", "none0"], /no interface is called "none0"/],
  [["remove", "1.9"], /e1\.9 is not served/],
  [["drain"], /Say which export to drain/],
  [["list", "1.1"], /leave the address out/],
];

interopTest(
  "daemon: exports that come and go cost the others nothing",
  sharedTool("aoebench"),
  async () => {
    await using testbed = await Testbed.create();
    const daemon = await Daemon.create(testbed, "net0");
    const all = Array.from({ length: 4 }, (_, slot) => ({
      address: `e1.${slot}`,
      path: `${slot}.img`,
      size: "8M",
    }));
    await daemon.configure(...all);
    const serve = await daemon.start();
    const at = { iface: "net0", address: "1.0" };
    const size = { sectors: 2, spanSectors: 16_384 };
    await bench(daemon.other, at, { ...size, mode: "write", sequential: true, seconds: 2 });
    let reloads = 0;
    const changing = (async () => {
      for (; reloads < RELOADS; reloads++) {
        // Each of the others goes and comes in a rhythm of its own.
        const kept = all.filter((_, slot) => slot === 0 || (reloads >> slot & 1) === 0);
        await daemon.configure(...kept);
        const from = serve.lines.length;
        serve.signal("SIGHUP");
        await serve.waitForLine(/Reloaded: /, { from });
      }
    })();
    let done = 0;
    while (reloads < RELOADS) {
      const result = await bench(daemon.other, at, {
        ...{ ...size, mode: "verify", window: 16, timeoutMs: 5_000 },
      });
      const { errors, mismatches, retransmissions, line } = result;
      assertEquals([errors, mismatches, retransmissions], [0, 0, 0], line);
      done += result.done;
    }
    await changing;
    assert(done > 0);
    await serve.stop();
  },
);

/** A daemon with a configuration, and a host that uses its disks. */
class Daemon {
  readonly env: Record<string, string>;
  readonly #testbed: Testbed;
  readonly #interface: string;

  private constructor(
    testbed: Testbed,
    readonly host: Namespace,
    readonly other: Namespace,
    name: string,
  ) {
    this.#testbed = testbed;
    this.#interface = name;
    this.env = {
      RUNTIME_DIRECTORY: testbed.path("run"),
      STATE_DIRECTORY: testbed.path("state"),
      NOTIFY_SOCKET: testbed.path("notify"),
      AOE_CONFIG: testbed.path("aoe.toml"),
    };
  }

  static async create(testbed: Testbed, name: string): Promise<Daemon> {
    const { target, initiator } = await testbed.pair(1500);
    return new Daemon(testbed, target, initiator, name);
  }

  /** Writes the configuration. */
  async configure(
    ...exports: readonly Readonly<Record<string, string | readonly string[]>>[]
  ): Promise<void> {
    const tables = exports.map((ex) =>
      Object.entries(ex).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`).join("")
    );
    const text = `[defaults]\ninterfaces = ["${this.#interface}"]\n` +
      tables.map((table) => `[[export]]\n${table}`).join("");
    await Deno.writeTextFile(this.#testbed.path("aoe.toml"), text);
  }

  /** Starts it as a service manager would, with the journal behind standard error. */
  start(...flags: readonly string[]) {
    const script =
      'JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2); export JOURNAL_STREAM; exec "$@"';
    return startTarget(this.host, {
      ...{ interfaces: "", exports: [], flags, process: { env: this.env } },
      before: ["sh", "-c", script, "sh"],
    });
  }

  async ctl(...words: string[]) {
    return await this.host.run([await aoeExecutable(), "ctl", ...words], { env: this.env });
  }

  async list(): Promise<ListedExport[]> {
    return (JSON.parse((await this.ctl("list", "--json")).stdout)).exports;
  }

  /** Everything that a change would show in: files, threads, states. */
  async listing(): Promise<unknown> {
    return JSON.parse((await this.ctl("list", "--json")).stdout);
  }

  async stats(): Promise<{ readonly sent: number; readonly exports: unknown }> {
    return JSON.parse((await this.ctl("stats", "--json")).stdout);
  }
}
