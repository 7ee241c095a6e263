// systemd as the first process of namespaces of its own: this machine's files with a layer above them,
// a /dev, /run and units of its own, and nothing of the machine's that it could start. It boots in a
// second; what is changed in it is there at its next boot.

import { eventually, type Outcome, run, runChecked, type RunningProcess } from "./process.ts";
import { isFile, type Requirement } from "./requirements.ts";
import type { Namespace, Testbed } from "./testbed.ts";

const SYSTEMD = "/usr/lib/systemd/systemd";
/** Of its own units those that wait for nothing; no folder of wants is there. */
const UNITS = [
  ...["basic", "sysinit", "sockets", "timers", "paths", "slices", "shutdown", "umount", "final"],
  ...["exit", "local-fs", "local-fs-pre", "network", "remote-fs", "remote-fs-pre", "multi-user"],
].map((name) => `${name}.target`);

/** Before the new namespaces: a control group that becomes the root of theirs. */
const ENTER = `mkdir -p "$2" && echo $$ >"$2/cgroup.procs"
exec unshare -m -p -f -C -i -u --kill-child --propagation private sh -e -c "$3" boot "$1"`;

/** $1 is the folder of what is kept; inside it becomes the root's upper layer. */
const BOOT = `
M=$1/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" $M
mount -t proc proc $M/proc
mount -t sysfs -o ro sysfs $M/sys
mount -t cgroup2 cgroup2 $M/sys/fs/cgroup
mount -t tmpfs tmpfs $M/run
mount -t tmpfs tmpfs $M/tmp
mount -t tmpfs -o mode=755 tmpfs $M/dev
mkdir $M/dev/shm $M/dev/pts
mount -t tmpfs tmpfs $M/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts $M/dev/pts
ln -s pts/ptmx $M/dev/ptmx
for node in null zero full random urandom tty; do
  touch $M/dev/$node; mount --bind /dev/$node $M/dev/$node
done
touch $M/dev/kmsg; mount --bind $1/kmsg $M/dev/kmsg
mkdir -p $M/var/lib/aoe
mount --bind $1/state $M/var/lib/aoe
mount -t tmpfs -o mode=755 tmpfs $M/usr/lib/systemd/system-generators
mount --bind $1/units $M/usr/lib/systemd/system
mount --bind $1/etc $M/etc/systemd
cd $M
pivot_root . mnt
umount -l /mnt
exec env -i container=aoe PATH=/usr/sbin:/usr/bin:/sbin:/bin ${SYSTEMD} --system \\
  --log-target=kmsg --show-status=false
`;

/** What it needs of the machine. */
export const systemdTools: readonly Requirement[] = [{
  missing: "systemd, and a cgroup2 file system: apt-get install systemd",
  present: () => isFile(SYSTEMD) && cgroupFolder() !== undefined,
}];

/** A machine of its own, as far as systemd can tell. */
export class SystemdMachine implements AsyncDisposable {
  readonly #namespace: Namespace;
  readonly #folder: string;
  readonly #cgroup: string;
  #process: RunningProcess | undefined;
  #pid = 0;

  private constructor(namespace: Namespace, folder: string) {
    this.#namespace = namespace;
    this.#folder = folder;
    this.#cgroup = `${cgroupFolder()}/${namespace.name}`;
  }

  /** Makes one that is on the network of a namespace. */
  static async create(testbed: Testbed, namespace: Namespace): Promise<SystemdMachine> {
    const folder = testbed.path("machine");
    for (const name of ["root", "upper", "work", "state", "units", "etc/system"]) {
      await Deno.mkdir(`${folder}/${name}`, { recursive: true });
    }
    for (const name of [...UNITS, "systemd-exit.service"]) {
      await Deno.copyFile(`/usr/lib/systemd/system/${name}`, `${folder}/units/${name}`);
    }
    await Deno.symlink("multi-user.target", `${folder}/units/default.target`);
    // What the machine underneath has of us, a machine on which nothing is installed has not.
    await Deno.mkdir(`${folder}/upper/etc`);
    await Deno.writeTextFile(`${folder}/upper/etc/aoe.toml`, "");
    await Deno.writeTextFile(`${folder}/kmsg`, "");
    return new SystemdMachine(namespace, folder);
  }

  /** What systemd has said. */
  get log(): string {
    return Deno.readTextFileSync(`${this.#folder}/kmsg`);
  }

  /** Boots it, and waits until everything that is wanted runs or has failed. */
  async boot(): Promise<void> {
    const words = ["sh", "-e", "-c", ENTER, "enter", this.#folder, this.#cgroup, BOOT];
    this.#process = this.#namespace.start(words);
    const { pid } = this.#process;
    await eventually("systemd is the first process of its namespace", () => {
      this.#pid = Number(Deno.readTextFileSync(`/proc/${pid}/task/${pid}/children`).trim());
      return this.#pid > 0 &&
        Deno.readTextFileSync(`/proc/${this.#pid}/cmdline`).startsWith(SYSTEMD);
    });
    await eventually("it has booted", async () => {
      const { stdout } = await this.run(["systemctl", "is-system-running"]);
      return ["running", "degraded"].includes(stdout.trim());
    }, { timeoutMs: 60_000 });
  }

  /** Shuts it down, in good order. */
  async shutDown(): Promise<void> {
    await this.run(["systemctl", "--no-block", "exit"]);
    await this.#process?.ended;
    this.#process = undefined;
  }

  /** Runs a command in it. */
  run(argv: readonly string[], options: { readonly timeoutMs?: number } = {}): Promise<Outcome> {
    return run(["nsenter", "-t", `${this.#pid}`, "-a", ...argv], options);
  }

  /** Runs a command in it that must succeed. */
  runChecked(argv: readonly string[], options: { readonly timeoutMs?: number } = {}) {
    return runChecked(["nsenter", "-t", `${this.#pid}`, "-a", ...argv], options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process?.stop("SIGKILL");
    // Nobody is in them any more once the first process of the namespace has gone.
    await run(["find", this.#cgroup, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
  }
}

/** Where control groups of the second version are mounted. */
function cgroupFolder(): string | undefined {
  return /^\S+ (\S+) cgroup2 /m.exec(Deno.readTextFileSync("/proc/mounts"))?.[1];
}
