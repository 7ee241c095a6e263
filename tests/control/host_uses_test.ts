// How this host's use of a file is found: programs that have it open or in their memory, under
// whatever name.

import { assertEquals, assertMatch } from "@std/assert";
import { describeUses, type HostUse, hostUses } from "../../src/control/host_uses.ts";

/** Runs a script in a process of its own until the body is over; `args[0]` is the path. */
async function withProgram(script: string, path: string, body: (pid: number) => void) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", `${script}; console.log("ready"); setInterval(() => {}, 1000)`, path],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  try {
    const reader = child.stdout.getReader();
    await reader.read();
    body(child.pid);
    await reader.cancel();
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
}

const MAPPED = `
  const libc = Deno.dlopen("libc.so.6", {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
    mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  }).symbols;
  const fd = libc.open(new TextEncoder().encode(Deno.args[0] + "\\0"), 2);
  globalThis.kept = libc.mmap(null, 4096n, 3, 1, fd, 0n);
  libc.close(fd)`;

Deno.test("uses: programs that have a file open, or in their memory, are found and named", async () => {
  const folder = await Deno.makeTempDir({ prefix: "aoe-uses-" });
  const path = `${folder}/disk.img`;
  const link = `${folder}/link.img`;
  await Deno.writeFile(path, new Uint8Array(8192));
  await Deno.link(path, link);
  await Deno.writeFile(`${folder}/other.img`, new Uint8Array(8192));
  const only = (uses: HostUse[], pid: number): HostUse => {
    assertEquals(uses.length, 1, JSON.stringify(uses));
    assertMatch(uses[0]!.text, new RegExp(`^\\S+ \\(pid ${pid}\\) has it open`));
    return uses[0]!;
  };
  try {
    assertEquals(hostUses(path), []);
    assertEquals(hostUses(`${folder}/missing.img`), []);
    const openFor = (write: boolean) =>
      `globalThis.kept = Deno.openSync(Deno.args[0], { read: true, write: ${write} })`;
    await withProgram(openFor(true), path, (pid) => {
      assertEquals(only(hostUses(link), pid).writes, true);
      assertEquals(hostUses(path, (program) => program.pid === pid), []);
      assertEquals(hostUses(`${folder}/other.img`), []);
    });
    await withProgram(openFor(false), link, (pid) => {
      assertEquals(only(hostUses(path), pid).writes, false);
    });
    await withProgram(MAPPED, path, (pid) => {
      assertEquals(only(hostUses(path), pid).writes, true);
    });
    // This process itself is no other.
    using _own = await Deno.open(path, { write: true });
    assertEquals(hostUses(path), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("uses: what is told stays one sentence, however much there is", () => {
  const uses = ["a", "b", "c", "d", "e", "f"].map((text) => ({
    ...{ text, writes: true, bearsChanges: false },
  }));
  assertEquals(describeUses(uses.slice(0, 1)), "a");
  assertEquals(describeUses(uses.slice(0, 3)), "a, b, and c");
  assertEquals(describeUses(uses), "a, b, c, d, and 2 more use it");
});
