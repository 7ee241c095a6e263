// `aoe serve --user NAME`, as the executable that users get: it serves with the rights of that user
// and one capability, and says in one sentence what it cannot do.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { run } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, serveCommand, startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

const CAP_NET_RAW = (1 << 13).toString(16).padStart(16, "0");

/** A field of every thread of a process. */
function ofThreads(pid: number, field: string): string[] {
  return [...Deno.readDirSync(`/proc/${pid}/task`)].map(({ name }) =>
    new RegExp(`^${field}:\\s*(.*?)\\s*$`, "m")
      .exec(Deno.readTextFileSync(`/proc/${pid}/task/${name}/status`))?.[1] ?? ""
  );
}

interopTest("serve --user: serves as that user, with CAP_NET_RAW alone, in every thread", [
  "setpriv",
], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  const aoe = await aoeExecutable();
  const image = await testbed.image("disk.img", 1 << 20);
  const secret = await testbed.image("secret.img", 1 << 20);
  await Deno.chmod(secret, 0o600);
  await Deno.writeTextFile(image, "what the disk holds");
  await Deno.truncate(image, 1 << 20);
  await Deno.chmod(image, 0o666);
  const serve = (exports: [string, string][], flags: string[]) =>
    serveCommand({ interfaces: "net0", exports, flags });

  // Root's program writes to this one, which NAME could not see.
  const busy = await testbed.image("busy.img", 1 << 20);
  await Deno.chmod(busy, 0o666);
  using _writer = await Deno.open(busy, { write: true });

  // What NAME cannot open is refused, by that name; and so is what cannot be at all.
  const rows: [words: string[], sentence: RegExp][] = [
    [
      await serve([["1.1", secret]], ["--user", "nobody"]),
      /Cannot write to ".*secret\.img" as nobody/,
    ],
    [
      await serve([["1.1", busy]], ["--user", "nobody"]),
      /in use on this host .*busy\.img|busy\.img.*in use on this host/,
    ],
    [await serve([["1.1", image]], ["--user", "nosuchuser"]), /There is no user "nosuchuser"/],
    [await serve([["1.1", image]], ["--user", "root"]), /--user root is root/],
    [
      [
        "setpriv",
        "--reuid=65534",
        "--clear-groups",
        ...await serve([["1.1", image]], [
          ...["--user", "daemon"],
        ]),
      ],
      /Only root can become "daemon"/,
    ],
  ];
  for (const [words, sentence] of rows) {
    const { code, stderr } = await target.run(words);
    assertEquals(code, 1, stderr);
    assertMatch(stderr, sentence);
    assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
  }

  // A daemon that was root's, and has ended, has left its folders to root.
  const name = `test-${crypto.randomUUID().slice(0, 8)}`;
  await Deno.mkdir(testbed.path(`state/${name}`), { recursive: true });
  await Deno.writeTextFile(testbed.path(`state/${name}/lock`), "", { mode: 0o600 });
  const server = await startTarget(target, {
    interfaces: "net0",
    exports: [["1.1", image]],
    flags: ["--user", "nobody", "--name", name, "--state", testbed.path("state")],
  });
  assertEquals(server.errorLines, []);
  const threads = ofThreads(server.pid, "Uid");
  assert(threads.length > 3);
  assertEquals([...new Set(threads)], [Array(4).fill(65534).join("\t")]);
  for (const field of ["CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
    assertEquals([...new Set(ofThreads(server.pid, field))], [CAP_NET_RAW], field);
  }
  assertEquals([...new Set(ofThreads(server.pid, "NoNewPrivs"))], ["1"]);
  // The disk is read and written as ever.
  const copy = testbed.path("copy.img");
  await initiator.runChecked([aoe, "copy", "-q", "e1.1", copy, "-i", "net0"]);
  assertMatch(await Deno.readTextFile(copy), /^what the disk holds\0/);
  await Deno.writeTextFile(copy, "what was written");
  await Deno.truncate(copy, 1 << 20);
  await initiator.runChecked([aoe, "copy", "-q", copy, "e1.1", "-i", "net0"]);
  assertMatch(await Deno.readTextFile(image), /^what was written\0/);
  // Root asks it, and its state is its own.
  assertMatch((await run([aoe, "ctl", "list", "--name", name])).stdout, /^e1\.1 /m);
  await initiator.runChecked([aoe, "config", "e1.1", "set", "kept", "-i", "net0"]);
  assertEquals(Deno.statSync(testbed.path(`state/${name}/e1.1.json`)).uid, 65534);
  // An export that is added later must lie where those from the start do, whoever may open it.
  const elsewhere = await Deno.makeTempDir();
  try {
    await Deno.chmod(elsewhere, 0o777);
    for (const path of [`${elsewhere}/far.img`, testbed.path("near.img")]) {
      await Deno.writeFile(path, new Uint8Array(1 << 20));
      await Deno.chmod(path, 0o666);
    }
    const add = (address: string, path: string) =>
      run([aoe, "ctl", "add", address, path, "--name", name]);
    const near = await add("e1.2", testbed.path("near.img"));
    assertEquals(near.code, 0, near.stderr);
    const far = await add("e1.3", `${elsewhere}/far.img`);
    assertEquals(far.code, 1, far.stdout);
    assertMatch(far.stderr, /far\.img" as nobody: it lies outside of the folders/);
    const listed = await run([aoe, "ctl", "list", "--name", name]);
    assertEquals(/^e1\.3/m.test(listed.stdout), false, listed.stdout);
  } finally {
    await Deno.remove(elsewhere, { recursive: true });
  }
  // An interface that comes again takes new sockets, and these the capability.
  await target.ip("link delete net0");
  await server.waitForLine(/net0 is (gone|down)/);
  await testbed.wire([target, "net0"], [initiator, "net0"], 1500);
  await server.waitForLine(/net0 is up/);
  await initiator.runChecked([aoe, "copy", "-q", "e1.1", copy, "-i", "net0"]);
  await server.stop();
  await Deno.remove(`/run/aoe/${name}`, { recursive: true });
});

interopTest("serve --user: a kernel without Landlock is told of once, and served on", [
  "strace",
], async () => {
  await using testbed = await Testbed.create();
  const { target } = await testbed.pair(1500);
  const image = await testbed.image("disk.img", 1 << 20);
  await Deno.chmod(image, 0o666);
  const server = await startTarget(target, {
    interfaces: "net0",
    exports: [["1.1", image]],
    flags: ["--user", "nobody"],
    before: [
      ...["strace", "-D", "-f", "-qq", "-e", "signal=none", "-o", "/dev/null"],
      ...["-e", "inject=landlock_create_ruleset:error=ENOSYS"],
    ],
  });
  assertEquals(server.errorLines.length, 1, server.text);
  assertMatch(server.errorLines[0] ?? "", /This kernel has no Landlock/);
});
