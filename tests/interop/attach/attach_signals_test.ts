// Signals to the processes of an attached disk, its keeper among them, and what cannot be written.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { eventually, type RunningProcess, sleep } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable } from "../../harness/target.ts";
import { AttachBench, loopDevices } from "./attached.ts";

const ENDING: readonly Deno.Signal[] = [
  ...["SIGHUP", "SIGQUIT", "SIGUSR2", "SIGABRT", "SIGPROF", "SIGXCPU", "SIGPWR"] as const,
];
const HARMLESS: readonly Deno.Signal[] = ["SIGUSR1", "SIGALRM", "SIGPIPE", "SIGXFSZ", "SIGWINCH"];
/** The inspector's port, as /proc/net/tcp has it. */
const INSPECTOR = ":240D";

function exists(path: string): boolean {
  try {
    return Deno.statSync(path) !== null;
  } catch {
    return false;
  }
}

/** Whether a process runs; a zombie does not. */
function runs(pid: number): boolean {
  try {
    return !Deno.readTextFileSync(`/proc/${pid}/stat`).includes(") Z ");
  } catch {
    return false;
  }
}

async function foreground(bench: AttachBench): Promise<RunningProcess> {
  const words = ["attach", bench.address, "-i", "net0", "--foreground"];
  const before = ["env", "--default-signal=HUP"];
  const process = bench.client.start([...before, await aoeExecutable(), ...words]);
  await process.waitForLine(/ is \/dev\/etherd\//);
  return process;
}

interopTest("attach: signals detach an idle disk, or count, and open nothing", [
  loopDevices,
], async () => {
  await using bench = await AttachBench.create(8 << 20);
  for (const signal of ENDING) {
    const process = await foreground(bench);
    if (signal === ENDING[0]) {
      for (const other of HARMLESS) process.signal(other);
      await process.waitForLine(
        / {2}\d+ reads? \([\d.]+ \S+\), 0 writes \(0 B\), 0 retransmitted$/,
      );
      const sockets = Deno.readTextFileSync(`/proc/${process.pid}/net/tcp`);
      assert(!sockets.includes(INSPECTOR), sockets);
    }
    const { code } = await process.stop(signal, 20_000);
    assertEquals([signal, code, exists(bench.node)], [signal, 0, false], process.text);
  }
});

/** Whether a process listens to SIGPWR (bit 29 of what is caught), as only the program itself does. */
function listens(pid: number): boolean {
  const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`));
  return caught?.[1] !== undefined && (BigInt(`0x${caught[1]}`) & 0x2000_0000n) !== 0n;
}

interopTest("attach: a signal before there is a device ends it at once, and leaves none", [
  loopDevices,
], async () => {
  await using bench = await AttachBench.create(8 << 20);
  await bench.target.stop("SIGTERM");
  // Nobody answers, and for a long time nobody gives up.
  const words = ["attach", bench.address, "-i", "net0", "--timeout", "600"];
  for (const flags of [["--foreground"], []]) {
    const process = bench.client.start([await aoeExecutable(), ...words, ...flags]);
    await eventually("it listens", () => listens(process.pid));
    // In the background it is the daemon that is to hear of it.
    if (flags.length === 0) await sleep(1500);
    const { code } = await process.stop("SIGTERM", 20_000);
    assertEquals([code, exists(bench.node)], [130, false], process.text);
    assertMatch(process.text, /interrupted/i);
  }
});

interopTest("attach: a daemon and its keeper outlive what is sent to them", [
  loopDevices,
], async () => {
  await using bench = await AttachBench.create(8 << 20);
  await bench.attach();
  const daemon = await bench.daemonPid();
  const children = Deno.readTextFileSync(`/proc/${daemon}/task/${daemon}/children`);
  const keeper = Number(
    children.trim().split(" ").find((pid) =>
      Deno.readTextFileSync(`/proc/${pid}/cmdline`).includes("aoe-keeper")
    ),
  );
  assert(keeper > 0, children);
  for (const signal of [...ENDING, ...HARMLESS]) Deno.kill(keeper, signal);
  for (const signal of HARMLESS) Deno.kill(daemon, signal);
  await sleep(600);
  assertEquals([runs(daemon), runs(keeper)], [true, true]);
  const sockets = Deno.readTextFileSync(`/proc/${daemon}/net/tcp`);
  assert(!sockets.includes(INSPECTOR), sockets);
  Deno.kill(daemon, "SIGHUP");
  await eventually("it is detached", () => !exists(bench.node) && !runs(daemon) && !runs(keeper));
});

interopTest("attach: what cannot be written keeps no disk from being attached", [
  loopDevices,
], async () => {
  await using bench = await AttachBench.create(8 << 20);
  const aoe = await aoeExecutable();
  const full = ["sh", "-c", 'exec "$@" >/dev/full', "sh", aoe];
  const attached = await bench.client.run([...full, "attach", bench.address, "-i", "net0"]);
  const refusal = "aoe: Standard output cannot be written: No space left on device (ENOSPC)\n";
  assertEquals([attached.code, attached.stderr], [1, refusal]);
  assert(exists(bench.node), "it is attached all the same");
  const detached = await bench.client.run([...full, "detach", bench.address]);
  assertEquals([detached.code, detached.stderr], [1, refusal]);
  assert(!exists(bench.node), "and detached");
  const words = ["attach", bench.address, "-i", "net0", "--foreground"];
  const process = bench.client.start([...full, ...words]);
  await eventually("it is attached, and listens to signals", () => {
    const status = Deno.readTextFileSync(`/proc/${process.pid}/status`);
    const mask = /^SigCgt:\s*([0-9a-f]+)/m.exec(status)?.[1];
    // SIGPWR: nobody else listens to it.
    return exists(bench.node) && (BigInt(`0x${mask}`) >> 29n & 1n) === 1n;
  });
  assertEquals((await process.stop("SIGTERM", 20_000)).code, 0, process.text);
});
