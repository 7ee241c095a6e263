// Words that cannot be written: onto a full file system, to a terminal that is gone, into a pipe that
// nobody empties. What serves a disk goes on and hears signals; what only prints fails in a sentence.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { eventually, run, runChecked, type RunningProcess, sleep } from "../harness/process.ts";
import { interopTest } from "../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../harness/target.ts";
import { type Namespace, Testbed } from "../harness/testbed.ts";

const OLD_TARGET = new URL("../harness/old_target.ts", import.meta.url).pathname;
const REFUSAL = "aoe: Standard output cannot be written: No space left on device (ENOSPC)\n";
/** Runs the words behind it with a standard output, or error, that is full. */
const FULL = ["sh", "-c", 'exec "$@" >/dev/full', "sh"];
const BOTH_FULL = ["sh", "-c", 'exec "$@" >/dev/full 2>&1', "sh"];
/** … with both of them a pipe that is full, and that nobody reads. */
const STUCK = [
  ...["sh", "-c"],
  '{ head -c 1000000 /dev/zero & sleep 0.3; exec "$@" 2>&1; } 2>/dev/null | sleep 100 >/dev/null 2>&1',
  "sh",
];

/** A host whose loopback interface has a disk, e1.1. */
async function prepare(testbed: Testbed): Promise<{ host: Namespace; aoe: string }> {
  const host = await testbed.namespace("host");
  await host.loopback();
  const image = await testbed.image("disk.img", 2 ** 40);
  await startTarget(host, { interfaces: "lo", exports: [["1.1", image]] });
  return { host, aoe: await aoeExecutable() };
}

/** Something to say: each goes down and comes back. */
async function flap(host: Namespace): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await host.ip("link set lo down");
    await host.ip("link set lo up");
    await sleep(30);
  }
}

/** Waits until a target answers; its output says nothing. */
async function untilServed(host: Namespace, aoe: string, address: string): Promise<void> {
  await eventually(
    `${address} answers`,
    async () => (await host.run([aoe, "discover", "--timeout", "0.2"])).stdout.includes(address),
  );
}

/** A file's content; nothing where there is none. */
function read(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}

/** The process that a shell, or a pipeline, has become or started. */
async function pidOf(words: string): Promise<number> {
  return await eventually(`a process runs "${words}"`, () => {
    for (const { name } of Deno.readDirSync("/proc")) {
      if (!/^\d+$/.test(name)) continue;
      const line = read(`/proc/${name}/cmdline`).replaceAll("\0", " ").trim();
      if (line.includes(" run ") && line.endsWith(words)) return Number(name);
    }
    return undefined;
  });
}

interopTest("output: what only prints says that it cannot, and exits with 1", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe } = await prepare(testbed);
  const commands = [
    ...[
      "discover",
      "discover --json",
      "stat",
      "stat --json",
      "identify 1.1",
      "identify 1.1 --json",
    ],
    ...[
      "ping 1.1 -c 3",
      "ping 1.1 --json",
      "check -c 5",
      "config 1.1 --json",
      "mask 1.1",
      "reserve 1.1",
    ],
    ...["bench 1.1 --runtime 0.2", "man", "man serve", "--help", "serve --help", "--version"],
    ...["completions bash", "unit attach e1.1"],
    `copy 1.1 ${testbed.path("copied.img")} --length 1M`,
  ];
  await Promise.all(commands.map(async (command) => {
    const outcome = await host.run([...FULL, aoe, ...command.split(" ")], { timeoutMs: 60_000 });
    const told = outcome.stderr.replaceAll(/^aoe: warning: .*\n/gm, "");
    assertEquals([command, outcome.code, told], [command, 1, REFUSAL]);
  }));
});

interopTest(
  "output: full, it stops no disk, and what was lost is told at the end",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const { host, aoe } = await prepare(testbed);
    const image = await testbed.image("served.img", 1 << 20);
    for (const [i, before] of [FULL, BOTH_FULL].entries()) {
      for (const flags of [["--json"], []]) {
        const words = [aoe, "serve", ...flags, "lo", "2.1", image];
        await using target = host.start([...before, ...words]);
        await untilServed(host, aoe, "e2.1");
        await flap(host);
        await untilServed(host, aoe, "e2.1");
        target.signal("SIGUSR1");
        await sleep(400);
        assertEquals(target.status, undefined, target.text);
        const { code } = await target.stop("SIGTERM");
        assertEquals(code, 0, target.text);
        if (i > 0) continue;
        assertMatch(
          target.errorLines.at(-1) ?? "",
          /^aoe: Standard output has not got \d+ lines: No space left on device \(ENOSPC\)$/,
        );
      }
    }
  },
);

interopTest("output: once there is room again, it says how many lines were lost", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe } = await prepare(testbed);
  const folder = testbed.path("log");
  await Deno.mkdir(folder);
  await runChecked(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]);
  try {
    const log = `${folder}/aoe.log`;
    const image = await testbed.image("served.img", 1 << 20);
    const script = 'log=$1; shift; exec "$@" >>"$log" 2>&1';
    const words = [aoe, "serve", "--json", "lo", "2.1", image];
    await using target = host.start(["sh", "-c", script, "sh", log, ...words]);
    await eventually("it serves", () => read(log).includes('"serving"'));
    await run(["sh", "-c", `head -c 100000 /dev/zero >${folder}/filler`]);
    // Until the last page of the log is full, too, with half a line. What comes by itself, as links
    // that go up and down, is told of a few times only.
    await eventually("a line is lost", async () => {
      target.signal("SIGUSR1");
      await sleep(20);
      return read(log).length % 4096 === 0;
    });
    await Deno.remove(`${folder}/filler`);
    await eventually(
      "it tells",
      () =>
        /^\{"event":"lost","lines":[1-9]\d*,"reason":"No space left on device \(ENOSPC\)"\}$/m
          .test(read(log)),
    );
    assertEquals((await target.stop("SIGTERM")).code, 0);
    assertMatch(read(log), /\n\{"event":"stopped",.*\}\n$/);
  } finally {
    await run(["umount", "-l", folder]);
  }
});

interopTest("output: a terminal that is gone stops no disk", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe } = await prepare(testbed);
  const image = await testbed.image("served.img", 1 << 20);
  const code = testbed.path("code");
  // A session of its own, which no SIGHUP reaches.
  const script = `setsid sh -c '${aoe} serve lo 2.1 ${image}; echo $? >${code}' & sleep 100`;
  const terminal = host.start(["script", "-qfc", script, "/dev/null"]);
  await terminal.waitForLine(/^Serving/);
  await terminal.stop("SIGKILL");
  await flap(host);
  await untilServed(host, aoe, "e2.1");
  Deno.kill(await pidOf(`serve lo 2.1 ${image}`), "SIGTERM");
  await eventually("it ends", () => read(code) !== "");
  assertEquals(read(code), "0\n");
});

/** Runs a command into a pipe that is stuck; its process, once it is at work. */
async function startStuck(
  { host, aoe }: { host: Namespace; aoe: string },
  words: string,
): Promise<{ pipeline: RunningProcess; pid: number }> {
  const pipeline = host.start([...STUCK, aoe, ...words.split(" ")]);
  const pid = await pidOf(words);
  await eventually(`"${words}" listens to signals`, () => {
    const mask = /^SigCgt:\s*([0-9a-f]+)/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1];
    // SIGPWR: nobody else listens to it.
    return (BigInt(`0x${mask}`) >> 29n & 1n) === 1n;
  });
  return { pipeline, pid };
}

interopTest("output: a pipe that nobody empties keeps no signal from being heard", [], async () => {
  await using testbed = await Testbed.create();
  const bed = await prepare(testbed);
  const image = await testbed.image("served.img", 1 << 20);
  const commands = [
    ...[
      `serve lo 2.1 ${image}`,
      `nbd 1.1 --socket ${testbed.path("nbd")}`,
      "ping 1.1 --interval 0.01",
    ],
    ...["bench 1.1 --runtime 600", `copy 1.1 ${testbed.path("copied.img")}`],
  ];
  await Promise.all(commands.map(async (words) => {
    const { pid } = await startStuck(bed, words);
    if (words.startsWith("serve")) await untilServed(bed.host, bed.aoe, "e2.1");
    await sleep(300);
    Deno.kill(pid, "SIGTERM");
    await eventually(`"${words}" ends`, () => {
      const stat = read(`/proc/${pid}/stat`);
      return stat === "" || stat.includes(") Z ");
    });
  }));
});

interopTest("output: strings of others neither hide nor move anything", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe } = await prepare(testbed);
  const nasty = "a\u009b31m\u202egpj.exe\u2066\u001b]0;title\u0007\u001b[31m";
  await host.runChecked([aoe, "config", "1.1", "set", nasty]);
  const model = "\x1b[31mgpj.exe\x9b8m\x07";
  const other = host.start([Deno.execPath(), "run", "-A", OLD_TARGET, "lo", "3", "1", "", model]);
  await other.waitForLine(/^Serving/);
  // A path is somebody's string, too.
  const path = await testbed.image("b\x1b[31mgpj.exe\u202e\x1b[2J.img", 2 ** 20);
  const exports = [["7.0", path]] as const;
  const target = await startTarget(host, { interfaces: "lo", exports });
  const shown = await Promise.all([
    ...["discover", "discover --json", "config 1.1", "config 1.1 --json"],
    ...["identify 3.1", "stat 3.1", "stat 3.1 --json"],
  ].map(async (words) => {
    const { code, stdout, stderr } = await host.run([aoe, ...words.split(" ")]);
    assertEquals([code, stderr], [0, ""]);
    return [words, stdout] as const;
  }));
  for (const [words, text] of [...shown, ["serve", target.text] as const]) {
    assert(!/[\p{Cc}\p{Cf}]/u.test(text.replaceAll("\n", "")), `${words}: ${text}`);
    assert(words === "stat 3.1" || text.includes("gpj.exe"), `${words}: ${text}`);
  }
});
