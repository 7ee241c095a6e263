// A testbed: network namespaces, the wires between them, and a directory, all with names of their
// own, so that tests can run side by side and nothing reaches the machine's network. Everything is
// taken away by one guard process, which waits on a pipe: whether the test ends, fails, or is
// killed by Ctrl-C or worse, the pipe closes and the guard clears up.

import {
  eventually,
  type Outcome,
  run,
  runChecked,
  RunningProcess,
  type RunOptions,
} from "./process.ts";

// $1 is the prefix of the namespaces, $2 the directory. Signals from the terminal reach the whole
// process group, hence setsid and trap.
const guardScript = `
trap '' INT TERM HUP
cat >/dev/null
for name in $(ip netns list | sed -n "s/^\\($1[a-z0-9-]*\\).*/\\1/p"); do
  pids=$(ip netns pids "$name")
  [ -z "$pids" ] || kill -KILL $pids 2>/dev/null
  ip netns del "$name"
done
rm -rf -- "$2"
`;

/** A network namespace of a testbed: one host on a test network. */
export class Namespace {
  readonly name: string;
  readonly #started: RunningProcess[];

  constructor(name: string, started: RunningProcess[]) {
    this.name = name;
    this.#started = started;
  }

  /** A command's words, prefixed so that it runs in this namespace. */
  inside(argv: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.name, ...argv];
  }

  /** Runs a command to its end, whatever the exit code. */
  run(argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return run(this.inside(argv), options);
  }

  /** Runs a command that must succeed. */
  runChecked(argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return runChecked(this.inside(argv), options);
  }

  /** Starts a process; `ip netns exec` becomes the program, so that its pid is the program's. */
  start(
    argv: readonly string[],
    options: Omit<RunOptions, "input" | "timeoutMs"> = {},
  ): RunningProcess {
    const process = new RunningProcess(this.inside(argv), options);
    this.#started.push(process);
    return process;
  }

  /** `ip -n NAMESPACE …`, words separated by spaces. */
  async ip(words: string): Promise<string> {
    return (await runChecked(["ip", "-n", this.name, ...words.split(" ")])).stdout;
  }

  /** Brings the loopback interface up, which a new namespace has down. */
  async loopback(): Promise<void> {
    await this.ip("link set lo up");
  }

  /** Joins interfaces of this namespace by a bridge that passes frames of the given MTU. */
  async bridge(name: string, members: readonly string[], mtu: number): Promise<void> {
    await this.ip(`link add ${name} mtu ${mtu} type bridge stp_state 0 mcast_snooping 0`);
    for (const member of members) await this.ip(`link set dev ${member} master ${name}`);
    await this.ip(`link set dev ${name} up`);
  }

  /** A tap interface, for a virtual machine. */
  async tap(name: string, mtu: number): Promise<void> {
    await this.ip(`tuntap add dev ${name} mode tap`);
    await this.ip(`link set dev ${name} mtu ${mtu} up`);
  }

  /** An interface's MAC address, as `ip` prints it. */
  async mac(name: string): Promise<string> {
    const match = (await this.ip(`-o link show ${name}`)).match(/link\/\S+ ([0-9a-f:]{17})/);
    if (!match?.[1]) throw new Error(`"${name}" has no MAC address`);
    return match[1];
  }
}

/** The namespaces, processes and files of one test. */
export class Testbed implements AsyncDisposable {
  /** A directory of this testbed alone. */
  readonly directory: string;
  readonly #prefix: string;
  readonly #guard: Deno.ChildProcess;
  readonly #started: RunningProcess[] = [];

  private constructor(directory: string, prefix: string, guard: Deno.ChildProcess) {
    this.directory = directory;
    this.#prefix = prefix;
    this.#guard = guard;
  }

  static async create(): Promise<Testbed> {
    const directory = await Deno.makeTempDir({ prefix: "aoe-interop-" });
    // Programs that give up their privileges must still find their files here.
    await Deno.chmod(directory, 0o755);
    const prefix = `aoe-${crypto.randomUUID().slice(0, 8)}-`;
    const guard = new Deno.Command("setsid", {
      args: ["sh", "-c", guardScript, "guard", prefix, directory],
      stdin: "piped",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    return new Testbed(directory, prefix, guard);
  }

  /** A path in the testbed's directory. */
  path(name: string): string {
    return `${this.directory}/${name}`;
  }

  /** A new, empty, sparse image file. */
  async image(name: string, bytes: number): Promise<string> {
    const path = this.path(name);
    await Deno.writeFile(path, new Uint8Array(0));
    await Deno.truncate(path, bytes);
    return path;
  }

  /** A new namespace with nothing in it; IPv6 is off, so that only what is sent is on the wire. */
  async namespace(label: string): Promise<Namespace> {
    const namespace = new Namespace(this.#prefix + label, this.#started);
    await runChecked(["ip", "netns", "add", namespace.name]);
    const ipv6 = "/proc/sys/net/ipv6/conf";
    const off = `[ ! -d ${ipv6} ] || echo 1 | tee ${ipv6}/all/disable_ipv6 ` +
      `${ipv6}/default/disable_ipv6 >/dev/null`;
    await namespace.runChecked(["sh", "-c", off]);
    return namespace;
  }

  /** A wire: a veth pair between two namespaces, both ends up and with the given MTU. */
  async wire(
    a: readonly [Namespace, string],
    b: readonly [Namespace, string],
    mtu: number,
  ): Promise<void> {
    await runChecked([
      ...["ip", "link", "add", a[1], "mtu", `${mtu}`, "netns", a[0].name, "type", "veth"],
      ...["peer", "name", b[1], "mtu", `${mtu}`, "netns", b[0].name],
    ]);
    await a[0].ip(`link set dev ${a[1]} up`);
    await b[0].ip(`link set dev ${b[1]} up`);
    // The kernel tells of a carrier up to a second later, and programs believe what it tells.
    for (const [namespace, name] of [a, b]) {
      await eventually(
        `"${name}" has a carrier`,
        async () => (await namespace.ip(`link show up dev ${name}`)).includes("state UP"),
      );
    }
  }

  /** Two hosts and one wire between them; the interface is called `net0` on both. */
  async pair(mtu: number): Promise<{ target: Namespace; initiator: Namespace }> {
    const target = await this.namespace("target");
    const initiator = await this.namespace("initiator");
    await this.wire([target, "net0"], [initiator, "net0"], mtu);
    return { target, initiator };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Backwards, as things were started; then the guard does what it would do for a dead test.
    for (const process of this.#started.toReversed()) await process.stop();
    await this.#guard.stdin.close();
    await this.#guard.status;
  }
}
