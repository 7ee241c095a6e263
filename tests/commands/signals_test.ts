// Signals, to every command that takes its time: what would be sudden death ends it in good order,
// SIGUSR1 counts and never opens V8's inspector, and what arrives twice at once is one wish.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { listenToSignals } from "../../src/commands/stop_signals.ts";
import { eventually, type RunningProcess, sleep } from "../harness/process.ts";
import { interopTest } from "../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../harness/target.ts";
import { type Namespace, Testbed } from "../harness/testbed.ts";

/** Those that end a command; the rest of 1 to 31 follow. */
const ENDING: readonly Deno.Signal[] = [
  ...["SIGHUP", "SIGINT", "SIGQUIT", "SIGABRT", "SIGUSR2", "SIGTERM"] as const,
  ...["SIGSTKFLT", "SIGXCPU", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR"] as const,
];
const COUNTING: readonly Deno.Signal[] = ["SIGUSR1", "SIGALRM"];
const WITHOUT_EFFECT: readonly Deno.Signal[] = [
  ...["SIGPIPE", "SIGCHLD", "SIGCONT", "SIGURG", "SIGXFSZ", "SIGWINCH"] as const,
];
// The kernel's own (KILL, STOP), those of a terminal (TSTP, TTIN, TTOU) and those that tell of a
// fault of the program (ILL, TRAP, BUS, FPE, SEGV, SYS) keep their meaning.

/** The inspector's port, as /proc/net/tcp has it. */
const INSPECTOR = ":240D";

/** A command that takes its time, how it is known to have begun, and how it ends. */
interface LongCommand {
  readonly words: (i: number) => string[];
  readonly begun: RegExp;
  readonly code: number;
  /** What it says to SIGUSR1. */
  readonly counted: RegExp;
}

const COMMANDS: Readonly<Record<string, LongCommand>> = {
  serve: {
    words: (i) => ["serve", "--size", "1M", "lo", `2.${i}`, `served${i}.img`],
    begun: /^Serving/,
    code: 0,
    counted: /^e2\.\d+ {2}0 reads \(0 B\), 0 writes/,
  },
  nbd: {
    words: (i) => ["nbd", "1.1", "--socket", `nbd${i}.socket`],
    begun: /is served at/,
    code: 0,
    counted: /^e1\.1 {2}0 reads \(0 B\), 0 writes/,
  },
  copy: {
    words: (i) => ["copy", "1.1", `copied${i}.img`],
    begun: /./,
    code: 130,
    counted: /^ *[\d.]+% {2}copying [\d.]+ [KMG]?i?B of 1\.0 TiB/,
  },
  bench: {
    words: () => ["bench", "1.1", "--runtime", "600", "--iodepth", "1"],
    begun: /./,
    code: 130,
    counted: /read [\d.k]+ IOPS/,
  },
  ping: {
    words: () => ["ping", "1.1", "--interval", "0.05"],
    begun: /#2: [\d.]+ ms/,
    code: 0,
    counted: /./,
  },
};

async function prepare(testbed: Testbed): Promise<Namespace> {
  const host = await testbed.namespace("host");
  await host.loopback();
  const image = await testbed.image("disk.img", 2 ** 40);
  await startTarget(host, { interfaces: "lo", exports: [["1.1", image]] });
  return host;
}

/** Starts a command, and waits until it is amid its work. */
async function begin(
  { host, testbed, name, i }: { host: Namespace; testbed: Testbed; name: string; i: number },
): Promise<RunningProcess> {
  const { words, begun } = COMMANDS[name]!;
  // Whoever runs this test may ignore SIGHUP.
  const argv = ["env", "--default-signal=HUP", await aoeExecutable(), ...words(i)];
  const process = host.start(argv, { cwd: testbed.directory });
  if (name === "copy" || name === "bench") {
    // They say nothing before they end: they are at work once they count.
    await eventually(`${name} is at work`, async () => {
      if (isListening(process.pid)) process.signal("SIGUSR1");
      await sleep(300);
      return process.lines.some(({ text }) => COMMANDS[name]!.counted.test(text));
    }, { timeoutMs: 60_000 });
  } else await process.waitForLine(begun, { timeoutMs: 60_000 });
  return process;
}

/** Whether it listens to SIGTERM: before that, SIGUSR1 means what its parent has left of it. */
function isListening(pid: number): boolean {
  const mask = /^SigCgt:\s*([0-9a-f]+)/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1];
  return (BigInt(`0x${mask}`) >> 14n & 1n) === 1n;
}

function assertNoInspector(process: RunningProcess): void {
  const sockets = Deno.readTextFileSync(`/proc/${process.pid}/net/tcp`);
  assert(!sockets.includes(INSPECTOR), sockets);
  assert(!/Debugger|inspect/i.test(process.text), process.text);
}

for (const [name, { code }] of Object.entries(COMMANDS)) {
  interopTest(`signals: ${name} ends in good order at each that would kill it`, [], async () => {
    await using testbed = await Testbed.create();
    const host = await prepare(testbed);
    const end = async (signal: Deno.Signal, i: number) => {
      const process = await begin({ host, testbed, name, i });
      process.signal(signal);
      const status = await process.stop(signal, 20_000);
      assertEquals([signal, status.code, status.signal], [signal, code, null], process.text);
      if (name === "serve") assertMatch(process.text, /^Stopped after/m, signal);
    };
    // As many as do not get into each other's way.
    for (let i = 0; i < ENDING.length; i += 4) {
      await Promise.all(ENDING.slice(i, i + 4).map((signal, j) => end(signal, i + j)));
    }
    const left = [...Deno.readDirSync(testbed.directory)].map((entry) => entry.name);
    assertEquals(left.filter((file) => file.endsWith(".socket")), []);
  });
}

interopTest(
  "signals: SIGUSR1 and SIGALRM count, others do nothing, nothing is opened",
  [],
  async () => {
    await using testbed = await Testbed.create();
    const host = await prepare(testbed);
    for (const name of Object.keys(COMMANDS)) {
      const { counted, code } = COMMANDS[name]!;
      await using process = await begin({ host, testbed, name, i: 0 });
      for (const signal of COUNTING) {
        const from = process.lines.length;
        process.signal(signal);
        await process.waitForLine(counted, { from });
      }
      for (const signal of WITHOUT_EFFECT) process.signal(signal);
      process.signal("SIGUSR1");
      await sleep(600);
      assertEquals([name, process.status], [name, undefined], process.text);
      assertNoInspector(process);
      assertEquals((await process.stop("SIGTERM")).code, code, process.text);
    }
  },
);

interopTest("signals: SIGUSR1 opens no inspector at whatever moment of the start", [], async () => {
  await using testbed = await Testbed.create();
  const host = await prepare(testbed);
  const aoe = await aoeExecutable();
  const moments = Array.from({ length: 12 }, (_, i) => 15 * i);
  const lived = await Promise.all(moments.map(async (ms) => {
    const process = host.start([aoe, "nbd", "1.1", "--socket", testbed.path(`s${ms}`)]);
    await sleep(ms);
    process.signal("SIGUSR1");
    await Promise.race([process.ended, process.waitForLine(/is served at/).catch(() => {})]);
    if (process.status === undefined) assertNoInspector(process);
    return process.status === undefined;
  }));
  assert(lived.includes(true), "none lived on");
});

interopTest("signals: a process and its group signalled at once is one wish", [], async () => {
  await using testbed = await Testbed.create();
  const host = await prepare(testbed);
  const process = await begin({ host, testbed, name: "serve", i: 0 });
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGTERM"] as const) process.signal(signal);
  const status = await process.stop("SIGTERM");
  assertEquals(status.code, 0, process.text);
  assertMatch(process.text, /^Stopped after/m);
});

interopTest("signals: what nohup has started outlives its terminal", [], async () => {
  await using testbed = await Testbed.create();
  const host = await prepare(testbed);
  const image = await testbed.image("other.img", 1 << 20);
  await using process = await startTarget(host, {
    interfaces: "lo",
    exports: [["3.1", image]],
    before: ["nohup"],
  });
  process.signal("SIGHUP");
  await sleep(500);
  assertEquals(process.status, undefined, process.text);
  assertEquals((await process.stop("SIGTERM")).code, 0, process.text);
});

// What replaces Deno's handler of SIGUSR1 stays.
const sanitizers = { sanitizeOps: false, sanitizeResources: false };

Deno.test("signals: a second one insists only after a while", sanitizers, async () => {
  const heard: string[] = [];
  const deaf = listenToSignals({
    stop: (signal) => heard.push(signal),
    insist: () => heard.push("insists"),
    count: () => heard.push("counts"),
  });
  try {
    const send = async (signal: Deno.Signal) => {
      Deno.kill(Deno.pid, signal);
      await sleep(50);
    };
    await send("SIGUSR2");
    await send("SIGPWR");
    assertEquals(heard, ["SIGUSR2"]);
    await sleep(400);
    await send("SIGUSR2");
    await eventually("it insists", () => heard.includes("insists"));
    await send("SIGALRM");
    await send("SIGUSR1");
    await eventually("both are counted", () => heard.length === 4);
    assertEquals(heard, ["SIGUSR2", "insists", "counts", "counts"]);
  } finally {
    deaf();
  }
});
