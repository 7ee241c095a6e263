// The options of `aoe serve`, as they show from outside: who is answered, what may be written, how
// durable it is, and which part of a file is exported.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { bench, countWrongSectors, sharedTool } from "../../harness/aoebench.ts";
import { interopTest } from "../../harness/requirements.ts";
import { startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

const mebibyte = 1 << 20;
const at = { iface: "net0", address: "1.1" };

for (
  const flags of [["-d"], ["-s"], ["-d", "-s"], ["--no-uring"], ["--no-uring", "-d", "-s"], [
    "--no-ring",
  ]]
) {
  interopTest(
    `serve ${flags.join(" ")}: writes read back unchanged`,
    sharedTool("aoebench"),
    async () => {
      await using testbed = await Testbed.create();
      const { target, initiator } = await testbed.pair(9000);
      const path = await testbed.image("disk.img", 4 * mebibyte);
      await using serve = await startTarget(target, {
        interfaces: "net0",
        exports: [["1.1", path]],
        flags,
      });
      // 17 sectors at any sector: what O_DIRECT cannot do on every disk must work all the same.
      for (const sectors of [8, 17]) {
        const units = Math.floor(4 * mebibyte / 512 / sectors);
        const shared = { sectors, window: 32, timeoutMs: 2_000 };
        const write = await bench(initiator, at, {
          ...{ ...shared, mode: "write", sequential: true, seconds: 1.5 },
        });
        assertEquals([write.errors, write.mismatches], [0, 0], write.line);
        const verify = await bench(initiator, at, { ...shared, mode: "verify" });
        assertEquals([verify.errors, verify.done], [0, units], verify.line);
        if (write.done < units) continue;
        assertEquals(verify.mismatches, 0, verify.line);
        const sample = Array.from({ length: 64 }, (_, i) => Math.floor(units * sectors * i / 64));
        assertEquals(await countWrongSectors(path, sample), 0);
      }
      assertEquals((await serve.stop()).code, 0, serve.text);
    },
  );
}

interopTest(
  "serve -r: writes fail and the file stays as it is",
  sharedTool("aoebench"),
  async () => {
    await using testbed = await Testbed.create();
    const { target, initiator } = await testbed.pair(1500);
    const path = await testbed.image("disk.img", mebibyte);
    await Deno.chmod(path, 0o444);
    await using serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", path]],
      flags: ["-r"],
    });
    const write = await bench(initiator, at, {
      mode: "write",
      sectors: 2,
      window: 4,
      seconds: 0.2,
    });
    assertEquals(write.errors, write.done, write.line);
    const read = await bench(initiator, at, { mode: "read", sectors: 2, window: 4, seconds: 0.2 });
    assertEquals(read.errors, 0, read.line);
    assert((await Deno.readFile(path)).every((byte) => byte === 0));
    assertMatch(serve.text, /read.only/i);
  },
);

interopTest("serve -m: only the named are answered", ["aoeping"], async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", mebibyte);
  const mac = await initiator.mac("net0");
  const serving = { interfaces: "net0", exports: [["1.1", path]] } as const;
  const answered = async (macs: string) => {
    await using _serve = await startTarget(target, { ...serving, flags: ["-m", macs] });
    return (await initiator.run(["aoeping", "-s", "1", "1", "1", "net0"])).code === 0;
  };
  assertEquals(await answered("020000000001"), false);
  assertEquals(await answered(`02:00:00:00:00:01,${mac.toUpperCase()}`), true);
  assertEquals(await answered(mac.replaceAll(":", "")), true);
});

interopTest("serve -o -l: a part of the file is the disk", sharedTool("aoebench"), async () => {
  await using testbed = await Testbed.create();
  const { target, initiator } = await testbed.pair(1500);
  const path = await testbed.image("disk.img", 4 * mebibyte);
  await using _serve = await startTarget(target, {
    interfaces: "net0",
    exports: [["1.1", path]],
    flags: ["-o", "1M", "-l", "2048"],
  });
  const shared = { sectors: 2, window: 8, seconds: 0.5 };
  const write = await bench(initiator, at, { ...shared, mode: "write", sequential: true });
  assertEquals([write.sizeSectors, write.errors], [2048, 0], write.line);
  const verify = await bench(initiator, at, { ...shared, mode: "verify" });
  assertEquals([verify.errors, verify.mismatches, verify.done], [0, 0, 1024], verify.line);
  const bytes = await Deno.readFile(path);
  assert(bytes.subarray(0, mebibyte).every((byte) => byte === 0));
  assert(bytes.subarray(2 * mebibyte).every((byte) => byte === 0));
  const exported = testbed.path("part.img");
  await Deno.writeFile(exported, bytes.subarray(mebibyte, 2 * mebibyte));
  assertEquals(await countWrongSectors(exported, [0, 1, 1000, 2047]), 0);
});

interopTest("serve --size: the image is created, sparse, and kept", [], async () => {
  await using testbed = await Testbed.create();
  const { target } = await testbed.pair(1500);
  const path = testbed.path("new.img");
  for (const size of ["10G", "20G"]) {
    await using serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", path]],
      flags: ["--size", size],
    });
    const info = await Deno.stat(path);
    assertEquals([info.size, info.blocks], [10 * 1024 ** 3, 0]);
    assertEquals((await serve.stop()).code, 0, serve.text);
  }
});

interopTest("serve: what will bite is said", [], async () => {
  await using testbed = await Testbed.create();
  const { target } = await testbed.pair(1000);
  const path = await testbed.image("odd.img", mebibyte + 100);
  await using serve = await startTarget(target, {
    interfaces: "net0",
    exports: [["4095.1", path]],
  });
  assertEquals((await serve.stop()).code, 0, serve.text);
  const warnings = serve.errorLines.join("\n");
  assertMatch(warnings, /4095/);
  assertMatch(warnings, /512/);
  assertMatch(warnings, /MTU/);
  assertEquals(serve.errorLines.length, 3, warnings);
});
