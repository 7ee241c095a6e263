// A disk that hangs, and a target that goes on to say that it is there: its file is a FUSE mount whose
// server is stopped, so that a write of the page cache holds whoever makes it.

import { assertEquals, assertMatch } from "@std/assert";
import { eventually, runChecked, RunningProcess } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../../harness/target.ts";
import type { ListedExport } from "../../../src/control/daemon/requests.ts";
import { type Namespace, Testbed } from "../../harness/testbed.ts";

const SERVER = "qemu-storage-daemon";

/** A file mounted over itself through FUSE, by a process that can be stopped. */
class FuseFile implements AsyncDisposable {
  readonly path: string;
  readonly server: RunningProcess;

  constructor(path: string) {
    this.path = path;
    this.server = new RunningProcess([
      ...[SERVER, "--blockdev", `driver=file,node-name=disk,filename=${path}`, "--export"],
      `type=fuse,id=fuse,node-name=disk,mountpoint=${path},writable=on`,
    ]);
  }

  async mounted(): Promise<void> {
    await eventually("the FUSE mount", async () => {
      return (await Deno.readTextFile("/proc/self/mountinfo")).includes(` ${this.path} `);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.signal("SIGCONT");
    await this.server.stop();
    await runChecked(["sh", "-c", `umount -l "$1" 2>/dev/null; true`, "sh", this.path]);
  }
}

/** How many of ten questions are answered. */
async function answered(namespace: Namespace): Promise<number> {
  const words = [await aoeExecutable(), "ping", "1.1", "-i", "net0", "-c", "10", "--json"];
  const { stdout } = await namespace.run([...words, "--interval", "0.1", "--timeout", "0.5"]);
  return stdout.split("\n").filter((line) => /"ms":\d/.test(line)).length;
}

for (const flags of [[], ["-s"], ["--no-uring"], ["-d"]]) {
  interopTest(
    `serve ${flags.join(" ")}: while its only disk hangs it says that it is there, and what hangs`,
    [SERVER],
    async () => {
      await using testbed = await Testbed.create();
      const { target, initiator } = await testbed.pair(1500);
      await using fuse = new FuseFile(await testbed.image("disk.img", 8 << 20));
      await fuse.mounted();
      await using serve = await startTarget(target, {
        interfaces: "net0",
        exports: [["1.1", fuse.path]],
        flags: ["--force", ...flags],
      });
      const aoe = await aoeExecutable();
      // A word that the stand-in must know as well.
      await initiator.runChecked([aoe, "config", "1.1", "set", "of a hanging disk", "-i", "net0"]);
      assertEquals(await answered(initiator), 10);

      fuse.server.signal("SIGSTOP");
      const write = initiator.start([
        ...[aoe, "bench", "1.1", "-i", "net0", "--rw", "write", "--bs", "1k", "--iodepth", "1"],
        ...["--runtime", "1", "--dead-after", "60"],
      ]);
      await serve.waitForLine(/^aoe: .* e1\.1: ".*disk\.img" does not answer \(for \d+ s\)$/);
      assertEquals(await answered(initiator), 10, serve.text);
      const found = await initiator.runChecked([aoe, "discover", "-i", "net0", "--json"]);
      assertMatch(found.stdout, /"address":"e1\.1"/);
      assertMatch(found.stdout, /of a hanging disk/);
      const identity = await initiator.runChecked([aoe, "identify", "1.1", "-i", "net0", "--json"]);
      assertEquals(JSON.parse(identity.stdout).bytes, 8 << 20);

      fuse.server.signal("SIGCONT");
      await serve.waitForLine(/ e1\.1: ".*disk\.img" answers again, after \d+ s$/);
      assertEquals((await write.ended).code, 0, write.text);
      // One answer each: the stand-in has left.
      const ping = [aoe, "ping", "1.1", "-i", "net0", "-c", "5", "--interval", "0.05", "--json"];
      const { code, stdout } = await initiator.run(ping);
      assertEquals([code, stdout.includes('"again":true')], [0, false], stdout);
      assertEquals((await serve.stop()).code, 0, serve.text);
    },
  );
}

for (const workers of [1, 2]) {
  interopTest(
    `serve: while a disk hangs that is taken away, all others come, change and go (${workers} workers)`,
    [SERVER],
    async () => {
      await using testbed = await Testbed.create();
      const { target, initiator } = await testbed.pair(1500);
      await target.loopback();
      await using fuse = new FuseFile(await testbed.image("hung.img", 8 << 20));
      await fuse.mounted();
      const env = {
        RUNTIME_DIRECTORY: testbed.path("run"),
        STATE_DIRECTORY: testbed.path("state"),
        AOE_CONFIG: testbed.path("aoe.toml"),
      };
      const configure = (...exports: [address: string, name: string, more?: string][]) =>
        Deno.writeTextFile(
          env.AOE_CONFIG,
          `[daemon]\nworkers = ${workers}\n[defaults]\ninterfaces = ["net0"]\n` +
            exports.map(([address, name, more = ""]) =>
              `[[export]]\naddress = "${address}"\npath = "${testbed.path(name)}"\n${more}\n`
            ).join(""),
        );
      for (const name of ["two", "three", "four", "new"]) {
        await testbed.image(`${name}.img`, 1 << 20);
      }
      await configure(["e1.1", "hung.img", "force = true"], ["e1.2", "two.img"]);
      await using serve = await startTarget(target, {
        ...{ interfaces: "", exports: [], process: { env } },
      });
      // A failure must not wait for a process that waits for the disk.
      using _ = { [Symbol.dispose]: () => fuse.server.signal("SIGCONT") };
      const aoe = await aoeExecutable();
      const ctl = (...words: string[]) => target.run([aoe, "ctl", ...words], { env });
      const list = async () => {
        const { exports } = JSON.parse((await ctl("list", "--json")).stdout);
        return (exports as ListedExport[]).map(({ address, state, path, readOnly }) =>
          `${address} ${state}${readOnly ? " -r" : ""} ${path.slice(path.lastIndexOf("/") + 1)}`
        );
      };

      fuse.server.signal("SIGSTOP");
      const write = initiator.start([
        ...[aoe, "bench", "1.1", "-i", "net0", "--rw", "write", "--bs", "1k", "--iodepth", "1"],
        ...["--runtime", "60"],
      ]);
      await serve.waitForLine(/ e1\.1: ".*hung\.img" does not answer \(for \d+ s\)$/);
      write.signal("SIGKILL");
      await write.ended;

      assertEquals((await ctl("add", "e1.3", testbed.path("three.img"))).stderr, "");
      await initiator.runChecked([aoe, "identify", "e1.3", "-i", "net0"]);
      await configure(
        ["e1.1", "new.img"],
        ["e1.2", "two.img", "read-only = true"],
        ["e1.4", "four.img", 'interfaces = ["net0", "lo"]'],
      );
      const reloaded = await ctl("reload");
      assertMatch(
        reloaded.stdout,
        /1 added, 0 removed, 2 changed.*1 waiting, 1 still on the way out/,
      );
      await serve.waitForLine(/e1\.1 takes no more commands, and is gone once ".*hung\.img"/);
      await target.runChecked([aoe, "identify", "e1.4", "-i", "lo"]);
      assertEquals(await list(), [
        "e1.1 waiting new.img",
        "e1.1 draining hung.img",
        "e1.2 serving -r two.img",
        "e1.3 serving three.img",
        "e1.4 serving four.img",
      ]);
      const { stdout } = await ctl("list");
      assertMatch(
        stdout,
        /^e1\.1 waits: ".*hung\.img" has not finished what it was given \(\d+ s so/m,
      );
      assertMatch(stdout, /^e1\.1 waits: e1\.1 is still that of ".*hung\.img", which has not/m);
      // It is served no more: not by who stands in for the thread either.
      const found = await initiator.runChecked([aoe, "discover", "-i", "net0", "--json"]);
      assertEquals(
        [...found.stdout.matchAll(/"address":"(e1\.\d)"/g)].map(([, address]) => address).sort(),
        ["e1.2", "e1.3", "e1.4"],
      );
      assertEquals((await ctl("remove", "e1.3")).stdout, "e1.3 is served no more\n");
      // One disk of a thread's holds up no other.
      assertEquals(serve.text.includes('two.img" does not answer'), false, serve.text);

      fuse.server.signal("SIGCONT");
      await serve.waitForLine(/e1\.1 is served: .*new\.img/);
      assertEquals(await list(), [
        "e1.1 serving new.img",
        "e1.2 serving -r two.img",
        "e1.4 serving four.img",
      ]);
      assertEquals((await serve.stop()).code, 0, serve.text);
    },
  );
}
