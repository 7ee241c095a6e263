// A disk that hangs, and a target that goes on to say that it is there: its file is a FUSE mount whose
// server is stopped, so that a write of the page cache holds whoever makes it.

import { assertEquals, assertMatch } from "@std/assert";
import { eventually, runChecked, RunningProcess } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../../harness/target.ts";
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
