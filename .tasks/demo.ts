// `deno task demo`: a disk image is served, found, asked and read back, on this machine alone. Two
// network namespaces play two hosts with a wire between them; where `ip` is missing, `lo` plays all
// of it. Everything is taken away again, also after Ctrl-C (tests/harness/testbed.ts).

import { findProgram } from "../tests/harness/requirements.ts";
import { run, RunningProcess } from "../tests/harness/process.ts";
import { Testbed } from "../tests/harness/testbed.ts";

const IMAGE_BYTES = 64 * 1024 * 1024;
const MTU = 9000;
const ADDRESS = "e1.1";

const root = new URL("..", import.meta.url).pathname;
const aoe = `${root}aoe`;

/** One of the two hosts: how a command of it is run. */
type Host = (argv: readonly string[]) => string[];

/** The whole demonstration; returns what the process exits with. */
async function demonstrate(): Promise<number> {
  if (Deno.uid() !== 0) {
    console.error("The demo needs root: AoE speaks raw Ethernet. Try: sudo deno task demo");
    return 1;
  }
  await using testbed = await Testbed.create();
  const { target, initiator, networkInterface } = await makeHosts(testbed);

  const image = testbed.path("disk.img");
  const expected = await writeRandomImage(image);
  say(`An image of ${IMAGE_BYTES / 1024 ** 2} MiB of random bytes, SHA-256 ${short(expected)}.`);

  say(`The first host serves it as ${ADDRESS}.`);
  show(`aoe serve ${networkInterface} ${ADDRESS} disk.img`);
  await using server = new RunningProcess(target([aoe, "serve", networkInterface, ADDRESS, image]));
  await server.waitForLine(/^Serving/);
  const shown = server.lines.length;
  indent(server.text);

  say("The second host looks for disks, and asks this one how it is.");
  for (const command of ["discover", "stat"]) {
    const argv = command === "stat" ? [ADDRESS, "-i", networkInterface] : [networkInterface];
    show(["aoe", command, ...argv].join(" "));
    const { code, stdout, stderr } = await run(initiator([aoe, command, ...argv]));
    indent(stdout + stderr);
    if (code !== 0) throw new Error(`"aoe ${command}" ended with ${code}`);
  }

  say("It reads the whole disk over the wire.");
  const started = performance.now();
  const script = [Deno.execPath(), "run", "-A", `${root}.tasks/read_back.ts`];
  const back = await run(initiator([...script, networkInterface, ADDRESS, String(IMAGE_BYTES)]));
  if (back.code !== 0) throw new Error(back.stderr.trim());
  const seconds = (performance.now() - started) / 1000;
  const same = back.stdout.trim() === expected;
  say(
    `SHA-256 ${short(back.stdout)} after ${seconds.toFixed(1)} s: ${same ? "the same" : "OTHER"}.`,
  );

  say("The first host is told to stop (SIGTERM).");
  const { code } = await server.stop();
  indent(server.lines.slice(shown).map((line) => line.text).join("\n"));
  say(same && code === 0 ? "Done; nothing of it is left." : `It ended with ${code}.`);
  return same ? code : 1;
}

/** Two namespaces joined by a wire, or the loopback interface twice. */
async function makeHosts(
  testbed: Testbed,
): Promise<{ target: Host; initiator: Host; networkInterface: string }> {
  if (findProgram("ip") === undefined) {
    say("Without `ip` there are no namespaces: the loopback interface plays both hosts.");
    const here: Host = (argv) => [...argv];
    return { target: here, initiator: here, networkInterface: "lo" };
  }
  const { target, initiator } = await testbed.pair(MTU);
  say(`Two hosts, joined by a wire (net0 on both) with an MTU of ${MTU}.`);
  // The kernel tells of a new link's carrier up to a second later.
  const state = initiator.inside(["cat", "/sys/class/net/net0/operstate"]);
  for (let tries = 0; tries < 30 && (await run(state)).stdout.trim() !== "up"; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return {
    target: (argv) => target.inside(argv),
    initiator: (argv) => initiator.inside(argv),
    networkInterface: "net0",
  };
}

/** Fills a file with random bytes and returns their SHA-256. */
async function writeRandomImage(path: string): Promise<string> {
  const content = new Uint8Array(IMAGE_BYTES);
  const most = 65536;
  for (let at = 0; at < content.length; at += most) {
    crypto.getRandomValues(content.subarray(at, at + most));
  }
  await Deno.writeFile(path, content);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", content)).toHex();
}

function short(digest: string): string {
  return `${digest.slice(0, 12)}…`;
}

function say(sentence: string): void {
  console.log(`\n${sentence}`);
}

function show(command: string): void {
  console.log(`  $ ${command}`);
}

function indent(text: string): void {
  for (const line of text.trimEnd().split("\n")) console.log(`    ${line}`);
}

try {
  Deno.exit(await demonstrate());
} catch (error) {
  console.error(`The demo failed: ${error instanceof Error ? error.message : error}`);
  Deno.exit(1);
}
