// `aoe copy` as a user meets it, on the loopback interface of a namespace: every kind of end, what
// is left out, what is said, and how it goes on after Ctrl-C. Bad networks are in
// tests/interop/initiator/initiator_test.ts.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { assertSameBytes } from "../harness/bytes.ts";
import { eventually, run, runChecked, sleep } from "../harness/process.ts";
import { interopTest } from "../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../harness/target.ts";
import { type Namespace, Testbed } from "../harness/testbed.ts";

const MIB = 2 ** 20;

/** A host with two disks on its loopback interface, and the executable. */
async function prepare(
  testbed: Testbed,
): Promise<{ host: Namespace; aoe: string; disk: string; other: string }> {
  const host = await testbed.namespace("host");
  await host.loopback();
  const disk = await testbed.image("disk.img", 24 * MIB);
  const other = await testbed.image("other.img", 8 * MIB);
  await startTarget(host, { interfaces: "lo", exports: [["1.1", disk], ["1.2", other]] });
  return { host, aoe: await aoeExecutable(), disk, other };
}

/** Bytes that are no zeros, the same for the same seed. */
function noise(bytes: number, seed: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(bytes / 4);
  let x = seed;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x | 1;
  }
  return new Uint8Array(words.buffer);
}

/** Writes a whole disk's content: its size never changes, as a file's does that is written anew. */
async function overwrite(path: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  using file = await Deno.open(path, { write: true });
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

/** CRC-32 of a file, as gzip has it. */
async function gzipSum(path: string): Promise<string> {
  const shell = `gzip -1c "${path}" | tail -c 8 | od -An -tx4 -N4`;
  return (await runChecked(["sh", "-c", shell])).stdout.trim();
}

async function allocatedBytes(path: string): Promise<number> {
  return ((await Deno.stat(path)).blocks ?? 0) * 512;
}

interopTest("copy: a file to a disk and back, with holes left out on both sides", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe, disk } = await prepare(testbed);
  // Data, a hole of the file system, zeros that are written, data up to no whole sector.
  const content = new Uint8Array(20 * MIB + 100);
  content.set(noise(2 * MIB, 1), 0);
  content.set(noise(MIB, 2), 19 * MIB);
  content.set(noise(100, 3), 20 * MIB);
  const source = testbed.path("source.img");
  await Deno.writeFile(source, content);
  await Deno.truncate(source, 3 * MIB);
  await Deno.truncate(source, 19 * MIB);
  using file = await Deno.open(source, { append: true });
  for (let at = 19 * MIB; at < content.length;) at += file.writeSync(content.subarray(at));
  // What stood there before must be gone where the source has zeros.
  await overwrite(disk, noise(24 * MIB, 9));

  const there = await host.runChecked([aoe, "copy", source, "e1.1", "--verify", "--json"]);
  const result = JSON.parse(there.stdout);
  assertEquals(
    [result.event, result.bytes, result.verified, result.flushed],
    ["copied", content.length, true, true],
  );
  assertEquals(result.checksum.crc32, await gzipSum(source));
  assertEquals(result.zeroBytes, 17 * MIB);
  const image = await Deno.readFile(disk);
  assertSameBytes(image.subarray(0, content.length), content, "disk");
  assertEquals(image.subarray(content.length, content.length + 412).every((b) => b === 0), true);
  assertSameBytes(
    image.subarray(-3 * MIB),
    noise(24 * MIB, 9).subarray(-3 * MIB),
    "behind the copy",
  );
  assert(await allocatedBytes(disk) < 8 * MIB, "zeros are discarded");

  const copy = testbed.path("copy.img");
  await Deno.writeFile(copy, noise(MIB, 5));
  const back = await host.runChecked([aoe, "copy", "e1.1", copy, "--checksum", "sha256"]);
  assertSameBytes(await Deno.readFile(copy), image, "copy");
  assert(await allocatedBytes(copy) < 8 * MIB, "zeros are left out");
  const sum = (await runChecked(["sha256sum", copy])).stdout.slice(0, 64);
  assertStringIncludes(back.stdout, `sha256  ${sum}`);
  assertMatch(back.stdout, /^Copied 25165824 bytes \(24\.0 MiB\) in .*\n.* left out as zeros\n/);
  for (const line of back.stdout.split("\n")) assert(line.length <= 80, line);
  assertEquals(back.stderr, "");
});

interopTest("copy: what is there is flushed while more comes", [], async () => {
  await using testbed = await Testbed.create();
  const host = await testbed.namespace("host");
  await host.loopback();
  const disk = testbed.path("disk.img");
  await Deno.writeFile(disk, new Uint8Array());
  await Deno.truncate(disk, 400 * MIB);
  const serve = await startTarget(host, { interfaces: "lo", exports: [["1.1", disk]] });
  const source = testbed.path("source.img");
  await runChecked(["sh", "-c", `yes | head -c ${400 * MIB} > ${source}`]);
  const aoe = await aoeExecutable();
  const copy = [aoe, "copy", source, "e1.1", "--state-every", "3600", "--json"];
  const { retransmitted } = JSON.parse((await host.runChecked(copy)).stdout);
  assertEquals((await serve.stop()).code, 0, serve.text);
  const flushes = Number(serve.text.match(/, (\d+) flushes/)?.[1]);
  // After 128, 256 and 384 MiB, unless the disk is slow, and at the end; one that takes long is
  // sent again.
  assert(flushes >= 2 && flushes <= 4 + retransmitted, serve.text);
});

interopTest("copy: pipes, parts of disks, and disk to disk", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe, disk, other } = await prepare(testbed);
  const content = noise(5 * MIB, 4);
  const source = testbed.path("source");
  await Deno.writeFile(source, content);
  for (const flags of ["", "--no-uring"]) {
    const shell = `cat ${source} | ${aoe} copy - e1.1 --seek 1M -q ${flags} && ` +
      `${aoe} copy e1.1 - --offset 1M --length 5M -q ${flags} | cmp - ${source}`;
    assertEquals(await host.runChecked(["sh", "-c", shell]), {
      ...{ code: 0, stdout: "", stderr: "", timedOut: false },
    });
    assertSameBytes((await Deno.readFile(disk)).subarray(MIB, 6 * MIB), content, "disk");
    await overwrite(disk, new Uint8Array(24 * MIB));
  }
  await host.runChecked([aoe, "copy", source, "e1.1", "--seek", "10M", "--no-sparse"]);
  await host.runChecked([aoe, "copy", "1.1", "e1.2", "--offset", "10M", "--length", "5M"]);
  assertSameBytes((await Deno.readFile(other)).subarray(0, 5 * MIB), content, "other disk");
  // Into the middle of a file, which keeps the rest.
  const part = testbed.path("part");
  await Deno.writeFile(part, noise(3 * MIB, 6));
  await host.runChecked([aoe, "copy", "e1.2", part, "--length", "1M", "--seek", "1M"]);
  const expected = noise(3 * MIB, 6);
  expected.set(content.subarray(0, MIB), MIB);
  assertSameBytes(await Deno.readFile(part), expected, "part of a file");
  // Zeros at the end that are left out still make the file as long as it has to be.
  const ends = testbed.path("ends");
  const range = ["--offset", "4M", "--length", "3M", "--seek", "1M"];
  await host.runChecked([aoe, "copy", "e1.2", ends, ...range]);
  const whole = new Uint8Array(4 * MIB);
  whole.set(content.subarray(4 * MIB), MIB);
  assertSameBytes(await Deno.readFile(ends), whole, "zeros at the end of a file");
});

interopTest("copy: an image of another format is not written to a disk as it is", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe, disk } = await prepare(testbed);
  const image = testbed.path("vm.qcow2");
  const content = new Uint8Array(64 * 1024);
  content.set([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
  await Deno.writeFile(image, content);
  const before = await Deno.readFile(disk);

  const refused = await host.run([aoe, "copy", image, "e1.1"]);
  assertEquals(refused.code, 1);
  assertEquals(
    refused.stderr,
    `aoe: "${image}" is a qcow2 image, and not the disk in it: convert it first ` +
      `(qemu-img convert -f qcow2 -O raw ${image} ${image}.raw), ` +
      `or copy it as it is with --force\n`,
  );
  assertSameBytes(await Deno.readFile(disk), before, "disk after a refusal");
  await host.runChecked([aoe, "copy", image, "e1.1", "--force"]);
  assertSameBytes(
    (await Deno.readFile(disk)).subarray(0, content.length),
    content,
    "disk by --force",
  );
});

interopTest("copy: Ctrl-C says how far it came, and --resume goes on there", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe, disk } = await prepare(testbed);
  const content = noise(24 * MIB, 7);
  await overwrite(disk, content);
  // A pipe that gives no more holds the copy up.
  const env = { XDG_STATE_HOME: testbed.path("state") };
  const fifo = testbed.path("fifo");
  await runChecked(["mkfifo", fifo]);
  const feed = `exec >${fifo}; head -c 4M ${disk}; exec sleep 60`;
  const feeder = host.start(["sh", "-c", feed]);
  const argv = [aoe, "copy", fifo, "e1.2"];
  const copy = host.start([...argv, "--json"], { env });
  const written = testbed.path("other.img");
  await eventually(
    "what the pipe gave is on the disk",
    async () => await allocatedBytes(written) >= 4 * MIB,
    { timeoutMs: 30_000 },
  );
  await sleep(300);
  copy.signal("SIGINT");
  assertEquals((await copy.ended).code, 130, copy.text);
  await feeder.stop("SIGKILL", 0);
  const stopped = JSON.parse(copy.lines.findLast((line) => line.stream === "stdout")!.text);
  assertEquals([stopped.event, stopped.resumable, stopped.flushed], ["stopped", true, true]);
  assertEquals(stopped.bytes, 4 * MIB);
  const state = `${env.XDG_STATE_HOME}/aoe/e1.2.aoe-copy`;
  assertEquals(JSON.parse(await Deno.readTextFile(state)).done, 4 * MIB);

  const other = await host.run([aoe, "copy", disk, "e1.2", "--resume"], { env });
  assertEquals(other.code, 1);
  assertMatch(other.stderr, /The copy that was interrupted is another: its source was/);

  host.start(["sh", "-c", `head -c 8M ${disk} > ${fifo}`]);
  const resumed = await host.runChecked([...argv, "--resume", "--verify", "--json"], { env });
  const result = JSON.parse(resumed.stdout);
  assertEquals([result.bytes, result.verified], [8 * MIB, true]);
  // The checksum is that of the whole, though only a part was copied now.
  const image = testbed.path("other.img");
  assertEquals(result.checksum.crc32, await gzipSum(image));
  assertSameBytes(await Deno.readFile(image), content.subarray(0, 8 * MIB), "disk");
  assertEquals(await Deno.stat(state).then(() => true, () => false), false);
  const nothing = await host.run([...argv, "--resume"], { env });
  assertEquals(nothing.code, 1);
  assertMatch(nothing.stderr, /Nothing to resume/);
});

interopTest("copy: reading back finds what somebody else has changed", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe, disk } = await prepare(testbed);
  const source = testbed.path("source");
  await Deno.writeFile(source, noise(24 * MIB, 8));
  using file = await Deno.open(disk, { write: true });
  let over = false;
  const forger = (async () => {
    while (!over) {
      await file.seek(17 * MIB + 5, Deno.SeekMode.Start);
      await file.write(new Uint8Array(2));
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  const outcome = await host.run([aoe, "copy", source, "e1.1", "--verify"]);
  over = true;
  await forger;
  assertEquals(outcome.code, 5, outcome.stdout + outcome.stderr);
  // Which segment of 16 MiB it is in.
  assertMatch(
    outcome.stderr,
    /not equal to what was copied, first between byte 16777216 and 25165824/,
  );
});

interopTest("copy: what goes wrong has an exit code and one sentence", [], async () => {
  await using testbed = await Testbed.create();
  const { host, aoe } = await prepare(testbed);
  const big = await testbed.image("big.img", 25 * MIB);
  const file = testbed.path("new.img");
  const rows: readonly (readonly [string, number, RegExp])[] = [
    ["a b", 2, /Neither SRC nor DST is a SHELF\.SLOT/],
    ["e1.1 1.1", 2, /SRC and DST are the same/],
    [`${big} e1.1`, 2, /e1\.1 has room for 25165824 bytes, but 26214400 would be copied/],
    [`e1.1 ${file} --length 25M`, 2, /e1\.1 has only 25165824 bytes/],
    [`e1.1 ${file} --offset 30M`, 2, /e1\.1 has only 25165824 bytes/],
    [`e7.7 ${file} --timeout 0.3`, 3, /No answer from e7\.7/],
    ["e1.1 /nonexistent/x", 1, /\/nonexistent\/x.*no such file or directory/],
    ["e1.1 /dev/full", 1, /Cannot write "\/dev\/full": no space left on device/],
    [`${file} e1.1`, 1, /new\.img.*no such file or directory/],
    ["e1.1 - --resume", 2, /standard output cannot be resumed/],
    ["e1.1 x --checksum md5", 2, /--checksum/],
  ];
  for (const [words, code, sentence] of rows) {
    const outcome = await host.run([aoe, "copy", ...words.split(" ")]);
    assertEquals(outcome.code, code, `${words}: ${outcome.stderr}`);
    assertMatch(outcome.stderr, sentence);
    assertEquals(outcome.stderr.trim().split("\n").length, 1, outcome.stderr);
    assertEquals(await Deno.stat(file).then(() => true, () => false), false, "an empty file");
  }
  const refused = await run(["./aoe", "copy", "--help"]);
  assertStringIncludes(refused.stdout, "130 interrupted");
});
