// Disks attached by `aoe attach` in tests: block devices are the machine's, not a namespace's, so
// that each test takes an address of its own, and gives up what it holds however it ends.

import { assertEquals } from "@std/assert";
import {
  eventually,
  type Outcome,
  run,
  runChecked,
  type RunningProcess,
} from "../../harness/process.ts";
import type { Requirement } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../../harness/target.ts";
import { type Namespace, Testbed } from "../../harness/testbed.ts";

/** A kernel that makes block devices by FUSE and loop devices. */
export const loopDevices: Requirement = {
  missing: "FUSE and loop devices: modprobe fuse loop",
  present: () => {
    try {
      return ["/dev/fuse", "/dev/loop-control"].every((path) => Deno.statSync(path).isCharDevice);
    } catch {
      return false;
    }
  },
};

/** What a test works with: a served image, and a device of it on another host. */
export class AttachBench implements AsyncDisposable {
  readonly testbed: Testbed;
  /** `e4711.7`; no other test has it. */
  readonly address: string;
  readonly node: string;
  readonly image: string;
  readonly server: Namespace;
  readonly client: Namespace;
  target: RunningProcess;
  readonly #flags: readonly string[];
  readonly #mounts: string[] = [];
  #folders = 0;

  private constructor(
    testbed: Testbed,
    hosts: { server: Namespace; client: Namespace },
    target: RunningProcess,
    options: { address: string; image: string; flags: readonly string[] },
  ) {
    this.testbed = testbed;
    this.server = hosts.server;
    this.client = hosts.client;
    this.target = target;
    this.address = options.address;
    this.image = options.image;
    this.node = `/dev/etherd/${options.address}`;
    this.#flags = options.flags;
  }

  /**
   * @param options `flags`: of `aoe serve`; `lossy`: a program and its arguments that join "left"
   * and "right" of a host between the two.
   */
  static async create(
    bytes: number,
    options: { readonly flags?: readonly string[]; readonly lossy?: readonly string[] } = {},
  ): Promise<AttachBench> {
    const testbed = await Testbed.create();
    try {
      const server = await testbed.namespace("target");
      const client = await testbed.namespace("initiator");
      if (options.lossy === undefined) {
        await testbed.wire([server, "net0"], [client, "net0"], 9000);
      } else {
        const middle = await testbed.namespace("middle");
        await testbed.wire([server, "net0"], [middle, "left"], 9000);
        await testbed.wire([middle, "right"], [client, "net0"], 9000);
        middle.start(options.lossy);
      }
      const image = await testbed.image("disk.img", bytes);
      const address = `e${1000 + Math.floor(Math.random() * 60_000)}.7`;
      const flags = options.flags ?? [];
      const exports = [[address, image]] as const;
      const target = await startTarget(server, { interfaces: "net0", exports, flags });
      return new AttachBench(testbed, { server, client }, target, { address, image, flags });
    } catch (error) {
      await testbed[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Runs an `aoe` command on the initiator's host. */
  async aoe(args: readonly string[], timeoutMs = 60_000): Promise<Outcome> {
    return await this.client.run([await aoeExecutable(), ...args], { timeoutMs });
  }

  /** Attaches; what it says. */
  async attach(flags: readonly string[] = []): Promise<string> {
    const outcome = await this.aoe(["attach", this.address, "-i", "net0", ...flags]);
    assertEquals(outcome.code, 0, outcome.stderr);
    return outcome.stdout;
  }

  /** Detaches, which must succeed. */
  async detach(): Promise<void> {
    const outcome = await this.aoe(["detach", this.address]);
    assertEquals([outcome.code, outcome.stderr], [0, ""]);
  }

  /** What `aoe stat --json` says of the attached disk. */
  async status(): Promise<Record<string, unknown> & { attached: Record<string, unknown> }> {
    const { stdout } = await this.aoe(["stat", "--json", "--timeout", "0.2", this.address]);
    return JSON.parse(stdout);
  }

  /** Starts the target again, after it was stopped or killed. */
  async serveAgain(): Promise<void> {
    this.target = await startTarget(this.server, {
      interfaces: "net0",
      exports: [[this.address, this.image]],
      flags: this.#flags,
    });
  }

  /** Mounts a device on a folder of its own; returns the folder. */
  async mount(device = this.node, options: readonly string[] = []): Promise<string> {
    const folder = this.testbed.path(`mnt${this.#folders++}`);
    await Deno.mkdir(folder);
    await runChecked(["mount", ...options, device, folder]);
    this.#mounts.push(folder);
    return folder;
  }

  /** Unmounts it. */
  async unmount(folder: string): Promise<void> {
    await runChecked(["umount", folder]);
    this.#mounts.splice(this.#mounts.indexOf(folder), 1);
  }

  /** Pid of the daemon. */
  async daemonPid(): Promise<number> {
    return Number((await this.status()).attached.pid);
  }

  /** Waits until the loop device of this disk, as in /dev/loop7, is free again. */
  async untilFree(loop: string): Promise<void> {
    const bound = loop.replace("/dev/", "/sys/block/") + "/loop";
    await eventually(`${loop} is free`, async () => {
      return await Deno.stat(bound).then(() => false, () => true);
    });
  }

  /** Kills the daemon and its keeper, so that nobody goes on. */
  async killWithKeeper(): Promise<void> {
    const pid = await this.daemonPid();
    const keepers = await childrenOf(pid, "aoe-keeper");
    assertEquals(keepers.length, 1);
    Deno.kill(keepers[0]!, "SIGKILL");
    Deno.kill(pid, "SIGKILL");
  }

  /** What the disk's daemon holds a lock of. */
  get #lockFile(): string {
    return `/run/aoe/${this.address}.lock`;
  }

  /** Waits until a killed daemon's lock is free: it lets go of it as it ends, a while after the signal. */
  async whenDead(): Promise<void> {
    await eventually("the daemon is dead", async () => {
      return (await run(["flock", "-n", this.#lockFile, "true"])).code === 0;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const folder of this.#mounts.toReversed()) await run(["umount", "-l", folder]);
    // A daemon holds its lock, however the test ended.
    const free = await run(["flock", "-n", this.#lockFile, "true"]);
    if (free.code !== 0) await this.aoe(["detach", "--force", this.address]);
    await this.testbed[Symbol.asyncDispose]();
    // A test that failed may have left a node behind; the name is this test's own.
    for (const suffix of ["", "p1", "p2"]) await run(["rm", "-f", this.node + suffix]);
  }
}

/** The children of a process in whose command lines a word stands. */
export async function childrenOf(pid: number, word: string): Promise<number[]> {
  const children = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`);
  const found = [];
  for (const child of children.trim().split(" ").map(Number)) {
    // One that has just ended has none.
    const line = child > 0 ? await Deno.readTextFile(`/proc/${child}/cmdline`).catch(() => "") : "";
    if (line.includes(word)) found.push(child);
  }
  return found;
}

/** Words of a fio that writes to a device or file what it can recognise, and verifies it. */
export function fioVerify(
  file: string,
  options: { readonly seconds: number; readonly bytes: number; readonly sizes?: string },
): string[] {
  return [
    ...["fio", "--name=verify", `--filename=${file}`, `--size=${options.bytes}`, "--direct=1"],
    ...["--ioengine=libaio", "--iodepth=32", "--rw=randrw", "--verify=crc32c", "--verify_fatal=1"],
    ...["--verify_backlog=64", "--verify_state_save=0", "--randrepeat=0", "--norandommap"],
    ...[`--bssplit=${options.sizes ?? "512/10:4k/50:16k/20:128k/20"}`, "--serialize_overlap=1"],
    ...["--time_based", `--runtime=${options.seconds}`, "--output-format=terse"],
  ];
}

/** Waits until a condition of a block device's size holds. */
export async function sizeBecomes(node: string, bytes: number): Promise<void> {
  await eventually(`"${node}" has ${bytes} bytes`, async () => {
    const { stdout } = await run(["blockdev", "--getsize64", node]);
    return stdout.trim() === String(bytes);
  }, { timeoutMs: 20_000 });
}
