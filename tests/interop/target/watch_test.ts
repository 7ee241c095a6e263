// What a serving daemon shows of itself, against what an independent initiator has counted: to
// Prometheus, in a browser, and in the terminal.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  bench,
  benchResult,
  compiledTool,
  sharedTool,
  startBench,
} from "../../harness/aoebench.ts";
import type { Looked } from "../../harness/browser.ts";
import { eventually, run, runChecked } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../../harness/target.ts";
import { type Namespace, Testbed } from "../../harness/testbed.ts";

const PORT = 9477;
const HOSTILE = "ev\x1b[31mil<script>alert(1)</script>\u202e.img";
const VISIBLE = "ev\\u{1b}[31mil<script>alert(1)";
const SCRAPES = 1000;

/** A testbed with a target that is watched; its name tells it from others of this machine. */
async function watched(testbed: Testbed) {
  const { target, initiator } = await testbed.pair(1500);
  await target.loopback();
  const disk = await testbed.image("disk.img", 64 * 2 ** 20);
  // A slash in its name would make a folder of it.
  const hostile = await testbed.image(HOSTILE.replaceAll("/", "_"), 2 ** 20);
  const name = `watch-${crypto.randomUUID().slice(0, 8)}`;
  await startTarget(target, {
    interfaces: "net0",
    exports: [["1.1", disk], ["7.0", hostile]],
    flags: ["--metrics", `${PORT}`, "--name", name],
  });
  return { target, initiator, name, mac: await initiator.mac("net0") };
}

/** What an address of the target answers, asked from its namespace. */
async function fetched(target: Namespace, expression: string): Promise<string> {
  const script = `const url = "http://127.0.0.1:${PORT}"; console.log(${expression})`;
  return (await target.runChecked([Deno.execPath(), "eval", script])).stdout;
}

interopTest(
  "watch: Prometheus, the page and aoe top count what aoebench has counted, under 1,000 scrapes",
  [...sharedTool("aoebench")],
  async () => {
    await compiledTool("aoebench");
    await using testbed = await Testbed.create();
    const { target, initiator, name, mac } = await watched(testbed);
    const at = { iface: "net0", address: "1.1" };
    const running = startBench(initiator, at, { mode: "read", sectors: 2, seconds: 4 });
    const scraped = await fetched(
      target,
      `await (async () => { let good = 0; for (let i = 0; i < ${SCRAPES}; i++) ` +
        `good += (await (await fetch(url + "/metrics")).text()).includes("aoe_info") ? 1 : 0; ` +
        `return good; })()`,
    );
    assertEquals(Number(scraped), SCRAPES);
    const reads = await benchResult(await running);
    const writes = await bench(initiator, at, { mode: "write", sectors: 2, seconds: 1 });
    assertEquals([reads.errors, reads.mismatches, writes.errors], [0, 0, 0]);

    const metrics = await fetched(target, `await (await fetch(url + "/metrics")).text()`);
    const series = (start: string) =>
      Number(metrics.split("\n").find((line) => line.startsWith(start))?.split(" ").at(-1));
    // What was sent twice was done twice.
    const within = (actual: number, wanted: number, retransmissions: number, what: string) =>
      assert(
        actual >= wanted && actual - wanted <= wanted / 100 + retransmissions,
        `${what}: ${actual} of ${wanted}`,
      );
    for (
      const [of, label] of [
        ["", 'export="e1.1"'],
        ["_interface", 'interface="net0"'],
        ["_initiator", `initiator="${mac}"`],
      ]
    ) {
      const done = (kind: string) =>
        series(`aoe_target${of}_commands_total{${label},kind="${kind}"}`);
      within(done("read"), reads.done, reads.retransmissions, `${of} reads`);
      within(done("write"), writes.done, writes.retransmissions, `${of} writes`);
    }
    const read = series('aoe_target_read_bytes_total{export="e1.1"}');
    within(read / 1024, reads.done, reads.retransmissions, "bytes");

    const page = await fetched(
      target,
      `await (async () => { const reader = (await fetch(url + "/events")).body.getReader(); ` +
        `let text = ""; while (text.split("\\n\\n").length < 3) ` +
        `text += new TextDecoder().decode((await reader.read()).value); ` +
        `return text.split("data: ")[2].split("\\n")[0]; })()`,
    );
    const top = await runChecked([
      await aoeExecutable(),
      "top",
      "--once",
      "--json",
      "--name",
      name,
    ]);
    for (const [what, text] of [["page", page], ["top", top.stdout]] as const) {
      const { all, initiators, exports } = JSON.parse(text);
      const both = reads.retransmissions + writes.retransmissions;
      for (const { total } of [all, initiators[0], exports[0]]) {
        // The questions that aoebench begins with are among them.
        within(total.commands, reads.done + writes.done, both + 200, what);
      }
      assertEquals(initiators[0].mac, mac);
      assertStringIncludes(JSON.stringify(exports[1].path), "ev\\u001b[31mil");
    }
    const plain = await runChecked([await aoeExecutable(), "top", "--once", "--name", name]);
    assertStringIncludes(plain.stdout, VISIBLE.slice(0, 14));
    const away = await run([await aoeExecutable(), "top", "--once", "--name", `${name}-not`]);
    assertEquals(away.code, 1);
    assertMatch(away.stderr, /^aoe: No aoe serve called "watch-\w+-not" runs here/);
  },
);

interopTest(
  "watch: aoe top on terminals of 80 by 24 and 60 by 15, left as it was found",
  ["tmux", ...sharedTool("aoebench")],
  async () => {
    await using testbed = await Testbed.create();
    const { initiator, name, mac } = await watched(testbed);
    const at = { iface: "net0", address: "1.1" };
    const load = await startBench(initiator, at, { mode: "mixed", sectors: 2, seconds: 60 });
    const tmux = (...args: string[]) =>
      runChecked(["tmux", "-u", "-L", name, "-f", "/dev/null", ...args]);
    const screen = async () => (await tmux("capture-pane", "-p", "-t", name)).stdout;
    const command = `echo before; LC_ALL=C.UTF-8 ${await aoeExecutable()} top --name ${name}; ` +
      `echo "ended with $?"; stty -a | tr " " "\\n" | grep -cx -e icanon -e echo; sleep 60`;
    await tmux("new-session", "-d", "-s", name, "-x", "80", "-y", "24", command);
    try {
      await eventually("the load is seen", async () => (await screen()).includes(mac));
      const wide = (await screen()).trimEnd().split("\n");
      assertEquals(wide.length, 24);
      assertMatch(wide[0]!, new RegExp(`^aoe ${name} +up .* req/s .* p99 `));
      const row = wide.find((line) => line.startsWith(mac))!;
      assertMatch(row, / e1\.1 +[\d.]+k? █+ +\d+% /);
      assertMatch(wide.at(-1)!, /^q quit/);
      await tmux("send-keys", "-t", name, "2");
      // Its last column, too, up to the last character of the terminal's.
      await eventually(
        "the export is seen",
        async () =>
          (await screen()).split("\n").some((line) =>
            line.length === 80 && /^e1\.1 .* ….*\/disk\.img$/.test(line)
          ),
      );
      await tmux("send-keys", "-t", name, "1");
      await tmux("resize-window", "-t", name, "-x", "60", "-y", "15");
      await eventually(
        "it is drawn again",
        async () => (await screen()).trimEnd().split("\n").length === 15,
      );
      await tmux("send-keys", "-t", name, "/", "7.0", "Enter", "2");
      await eventually("it is filtered", async () => /^e7\.0 /m.test(await screen()));
      const narrow = (await screen()).trimEnd().split("\n");
      assert(!narrow.some((line) => line.startsWith("e1.1")));
      assert(narrow.every((line) => line.length <= 60));
      await tmux("send-keys", "-t", name, "q");
      await eventually("it ends", async () => /^ended with 0\n2$/m.test(await screen()));
      const after = await screen();
      assertMatch(after, /^before\nended with 0\n2\n/);
    } finally {
      await tmux("kill-server");
      load.signal("SIGTERM");
    }
  },
);

/** Where axe-core is, which finds what bars people from using a page; `.ci/run` fetches it. */
const AXE = Deno.env.get("AOE_AXE");

/** What a browser in a namespace has seen at an address, wide and narrow. */
async function looked(
  testbed: Testbed,
  namespace: Namespace,
  schemes: "light,dark" | "dark",
): Promise<Looked[]> {
  const url = `http://127.0.0.1:${PORT}/`;
  const program = new URL("../../harness/browser.ts", import.meta.url).pathname;
  const { stdout } = await namespace.runChecked([
    ...[Deno.execPath(), "run", "-A", program, url, testbed.directory, "1500", schemes],
    ...(AXE === undefined ? [] : [AXE]),
  ], { timeoutMs: 120_000 });
  const pages = JSON.parse(stdout) as Looked[];
  for (const page of pages) {
    const how = `${namespace.name}, ${page.scheme}, ${page.width} pixels`;
    assertEquals([page.complaints, page.nameless, page.overflows], [[], [], false], how);
    if (page.width > 1000) assertEquals(page.scrolled, [], how);
    assertEquals(page.faults, AXE === undefined ? undefined : [], how);
    const shot = await Deno.stat(testbed.path(`page-${page.scheme}-${page.width}.png`));
    assert(shot.size > 10_000, how);
  }
  return pages;
}

interopTest(
  "watch: the pages of serve and nbd by day and by night, wide and narrow: no complaint, " +
    `names for all, text as text${AXE === undefined ? " (without axe-core: see AOE_AXE)" : ""}`,
  ["chromium", "nbdcopy", ...sharedTool("aoebench")],
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator, mac } = await watched(testbed);
    const at = { iface: "net0", address: "1.1" };
    const load = await startBench(initiator, at, { mode: "mixed", sectors: 2, seconds: 60 });
    for (const page of await looked(testbed, target, "light,dark")) {
      const how = `${page.scheme}, ${page.width} pixels`;
      assertMatch(page.text, new RegExp(`${mac} loads e1\\.1: \\d+ % of all requests`), how);
      assertStringIncludes(page.text, VISIBLE, how);
    }
    load.signal("SIGTERM");

    // The other end of the wire: an initiator's daemon, in top and in its own page.
    await initiator.loopback();
    const socket = testbed.path("nbd.socket");
    const aoe = await aoeExecutable();
    const nbd = initiator.start([
      ...[aoe, "nbd", "e1.1", "-i", "net0", "--socket", socket, "--metrics", `${PORT}`],
    ]);
    await nbd.waitForLine(/^Metrics at /);
    const uri = `nbd+unix:///?socket=${socket}`;
    await runChecked(["nbdcopy", "--no-extents", uri, "null:"]);
    const own = async () => {
      const { code, stdout } = await run([aoe, "top", "--once", "--json", socket]);
      // Nothing may run here at all.
      if (code !== 0) return undefined;
      const { disks } = JSON.parse(stdout) as { disks: { address: string; node: string }[] };
      return disks.find(({ node }) => node === uri) as Record<string, never> | undefined;
    };
    const disk = (await own())!;
    const { paths, total } = disk as unknown as {
      paths: { interface: string; roundTripMs: number; window: number }[];
      total: { readBytes: number; commands: number };
    };
    assertEquals(disk["address"], "e1.1");
    assert(total.readBytes >= 64 * 2 ** 20 && total.commands > 0, JSON.stringify(total));
    assertEquals(paths.map((path) => path.interface), ["net0"]);
    assert(paths[0]!.roundTripMs > 0 && paths[0]!.window > 0, JSON.stringify(paths));
    for (const page of await looked(testbed, initiator, "dark")) {
      for (const shown of ["e1.1", uri, `net0 ${await target.mac("net0")}`]) {
        assertStringIncludes(page.text, shown, `${page.scheme}, ${page.width} pixels`);
      }
      assert(!page.text.includes("Who loads what"));
    }
    nbd.signal("SIGTERM");
    await nbd.ended;
    assertEquals(await own(), undefined);
  },
);
