// Whatever keeps `aoe serve` from serving is said in one sentence on stderr, with an exit code
// other than 0, without a stack trace; and what is only dangerous can be forced.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Outcome, run } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, serveCommand, startTarget, startVblade } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

/** Asserts that a command refused in one sentence that matches. */
function assertRefused(outcome: Outcome, sentence: RegExp, code: 1 | 2 = 1): void {
  assertEquals([outcome.code, outcome.timedOut], [code, false], outcome.stderr + outcome.stdout);
  // Behind the sentence may stand where to read on.
  const lines = outcome.stderr.trimEnd().split("\n").filter((line) => !/^Try: aoe /.test(line));
  assertEquals(lines.length, 1, outcome.stderr);
  assertMatch(lines[0] ?? "", sentence);
  assert(!/^\s+at |\.ts:\d+|Error:|panicked/.test(outcome.stderr), outcome.stderr);
}

interopTest("serve: wrong arguments are refused in one sentence", [], async () => {
  await using testbed = await Testbed.create();
  const { target } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", 1 << 20);
  const aoe = await aoeExecutable();
  const rows: [words: string[], sentence: RegExp, code: 1 | 2][] = [
    [["serve", "net0", "1.300", path], /1\.300/, 2],
    [["serve", "net0", "65535.1", path], /65535\.1/, 2],
    [["serve", "net0", "e1", path], /e1/, 2],
    [["serve", "net0", "1.1"], /./, 2],
    [["serve"], /./, 2],
    [["serve", "--bufers", "3", "net0", "1.1", path], /--buffers/, 2],
    [["serve", "-m", "nonsense", "net0", "1.1", path], /nonsense/, 2],
    [["sevre", "net0", "1.1", path], /serve/, 2],
    [["serve", "nope0", "1.1", path], /nope0/, 1],
    [["serve", "net0,nope0", "1.1", path], /nope0/, 1],
    [["serve", "net0", "1.1", testbed.path("missing.img")], /missing\.img/, 1],
    [["serve", "net0", "1.1", testbed.directory], /director|regular|block/i, 1],
    [["serve", "net0", "1.1", path, "1.1", path], /1\.1/, 1],
    [["serve", "net0", "1.1", path, "1.2", path], /disk\.img/, 1],
    [["serve", "-o", "4096", "net0", "1.1", path], /disk\.img.*no whole sector/, 1],
    [["serve", "net0", "1.1", await testbed.image("tiny.img", 100)], /tiny\.img/, 1],
  ];
  for (const [words, sentence, code] of rows) {
    const outcome = await target.run([aoe, ...words], { timeoutMs: 10_000 });
    // An address given twice can be seen by the parser or later.
    const expected = words.filter((word) => word === "1.1").length === 2 ? outcome.code : code;
    assert(expected === 1 || expected === 2, `${words.join(" ")}: ${outcome.code}`);
    try {
      assertRefused(outcome, sentence, expected);
    } catch (error) {
      throw new Error(`aoe ${words.join(" ")}`, { cause: error });
    }
  }
});

interopTest("serve: without the privilege it says so, with CAP_NET_RAW it serves", [
  "setpriv",
], async () => {
  await using testbed = await Testbed.create();
  const { target } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", 1 << 20);
  const home = testbed.path("home");
  await Deno.mkdir(home);
  await Deno.chown(home, 65534, 65534);
  // Where the repository lies, nobody may not be allowed to look.
  const aoe = testbed.path("aoe");
  await Deno.copyFile(await aoeExecutable(), aoe);
  await Deno.chmod(aoe, 0o755);
  const env = { HOME: home, XDG_CACHE_HOME: home };
  const options = { env, timeoutMs: 20_000, cwd: testbed.directory };
  const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  const capable = [...nobody, "--inh-caps=+net_raw", "--ambient-caps=+net_raw"];

  await Deno.chmod(path, 0o666);
  const refused = await target.run([...nobody, aoe, "serve", "net0", "1.1", path], options);
  assertRefused(refused, /root|privilege|CAP_NET_RAW/i);

  await Deno.chmod(path, 0o444);
  const unwritable = await target.run([...capable, aoe, "serve", "net0", "1.1", path], options);
  assertRefused(unwritable, /disk\.img.*(-r|--read-only)/);

  const served = target.start([...capable, aoe, "serve", "-r", "net0", "1.1", path], {
    env,
    cwd: testbed.directory,
  });
  await served.waitForLine(/^Serving/);
  assertEquals((await served.stop()).code, 0, served.text);
});

interopTest("serve: an address that answers already is refused unless forced", [
  "vblade",
], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator: other } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", 1 << 20);
  const theirs = await testbed.image("theirs.img", 1 << 20);
  await using _vblade = await startVblade(other, {
    ...{ iface: "net0", shelf: 1, slot: 1, path: theirs },
  });
  const serving = { interfaces: "net0", exports: [["1.1", path]] } as const;
  const mac = await other.mac("net0");
  assertRefused(
    await target.run(await serveCommand(serving)),
    new RegExp(`e1\\.1.*(answer|use|${mac}).*--force`),
  );
  await using forced = await startTarget(target, { ...serving, flags: ["--force"] });
  assertEquals((await forced.stop()).code, 0, forced.text);
});

interopTest("serve: an image that another target has open is refused", [], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator: other } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", 1 << 20);
  await using first = await startTarget(target, {
    interfaces: "net0",
    exports: [["1.1", path]],
  });
  const second = { interfaces: "net0", exports: [["1.2", path]] } as const;
  assertRefused(await other.run(await serveCommand(second)), /disk\.img.*(open|lock|serve)/i);
  // The lock goes with the process, however it ends.
  await first.stop("SIGKILL");
  await using again = await startTarget(other, second);
  assertEquals((await again.stop()).code, 0, again.text);
});

interopTest("serve: a mounted block device is refused unless forced", [
  "losetup",
  "mke2fs",
], async () => {
  await using testbed = await Testbed.create();
  const { target } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", 8 << 20);
  await run(["mke2fs", "-q", path]);
  await Deno.mkdir(testbed.path("mnt"));
  // The mount lives in the mount namespace that `ip netns exec` makes for this one command, and
  // so do the mount's claim on the loop device and the device itself.
  const inMount = async (...flags: string[]) => {
    const command = await serveCommand({ interfaces: "net0", exports: [["1.1", "$dev"]], flags });
    return [
      ...["sh", "-c"],
      `mount -o loop ${path} ${testbed.path("mnt")} && dev=$(losetup -n -O NAME -j ${path}) &&
       exec ${command.map((word) => `"${word}"`).join(" ")}`,
    ];
  };
  assertRefused(await target.run(await inMount()), /loop\d+.*mount.*--force/);
  await using forced = target.start(await inMount("--force"));
  await forced.waitForLine(/^Serving/);
  assertEquals((await forced.stop()).code, 0, forced.text);
});
