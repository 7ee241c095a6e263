// A Linux guest: Debian's kernel with its aoe driver and an initramfs of busybox and what a test
// adds, run by QEMU without KVM. The test talks to its /init over the serial console.

import { findProgram, isFile, type Requirement, type Tool, tool } from "./requirements.ts";
import { run, runChecked, type RunningProcess } from "./process.ts";
import type { Namespace, Testbed } from "./testbed.ts";

const cache = `${Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`}/aoe-tests`;

/** A kernel image and the folder of its modules. */
export interface Kernel {
  readonly image: string;
  readonly modules: string;
}

/** Everything that booting a guest needs, except the kernel, which is fetched at need. */
export const guestTools: readonly Requirement[] = [
  tool("qemu-system-x86_64"),
  tool("busybox"),
  tool("cpio"),
  {
    missing: "a kernel with aoe.ko: apt-get install linux-image-amd64",
    present: () => findKernel() !== undefined || findProgram("apt-get") !== undefined,
  },
];

/** What a guest with the kernel of Debian's backports needs. */
export const backportsTools: readonly Requirement[] = [
  ...["qemu-system-x86_64", "busybox", "cpio", "xz"].map((name) => tool(name as Tool)),
  {
    missing: "a kernel with ublk_drv.ko, which apt-get fetches",
    present: () => findKernel(ublkDriver) !== undefined || findProgram("apt-get") !== undefined,
  },
];

/** A driver that a kernel must have, and the folder of our cache for such a kernel. */
interface Driver {
  readonly path: string;
  readonly folder: string;
}

const aoeDriver: Driver = { path: "drivers/block/aoe/aoe.ko", folder: "kernel" };
/** Bookworm's kernel is built without it. */
const ublkDriver: Driver = { path: "drivers/block/ublk_drv.ko", folder: "kernel-backports" };

/** The installed kernel, or one of a package that was only unpacked: AOE_KERNEL, or our cache. */
function findKernel(driver: Driver = aoeDriver): Kernel | undefined {
  for (const root of ["", Deno.env.get("AOE_KERNEL") ?? "", `${cache}/${driver.folder}`]) {
    for (const modules of [`${root}/lib/modules`, `${root}/usr/lib/modules`]) {
      for (const version of directoryNames(modules)) {
        const image = `${root}/boot/vmlinuz-${version}`;
        const path = `${modules}/${version}/kernel/${driver.path}`;
        if (isFile(image) && (isFile(path) || isFile(`${path}.xz`))) {
          return { image, modules: `${modules}/${version}` };
        }
      }
    }
  }
  return undefined;
}

function directoryNames(path: string): string[] {
  try {
    return [...Deno.readDirSync(path)].map((entry) => entry.name).sort().reverse();
  } catch {
    return [];
  }
}

/** The kernel for guests; where none is installed, Debian's package is fetched and unpacked. */
export async function guestKernel(): Promise<Kernel> {
  return findKernel() ?? await fetchKernel(aoeDriver, []);
}

/** The kernel of Debian's backports, which has ublk; the machine's own apt knows nothing of it. */
export async function backportsKernel(): Promise<Kernel> {
  const found = findKernel(ublkDriver);
  if (found) return found;
  const apt = await Deno.makeTempDir({ prefix: "aoe-apt-" });
  try {
    await Deno.mkdir(`${apt}/lists/partial`, { recursive: true });
    await Deno.mkdir(`${apt}/cache/archives/partial`, { recursive: true });
    await Deno.writeTextFile(
      `${apt}/sources.list`,
      "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] " +
        "http://deb.debian.org/debian bookworm-backports main\n",
    );
    const options = [
      `Dir::Etc::SourceList=${apt}/sources.list`,
      "Dir::Etc::SourceParts=-",
      `Dir::State::Lists=${apt}/lists`,
      "Dir::State::Status=/dev/null",
      `Dir::Cache=${apt}/cache`,
      // An unprivileged user could not write into our directory.
      "APT::Sandbox::User=root",
    ].map((option) => `-o${option}`);
    await runChecked(["apt-get", ...options, "update"], { timeoutMs: 120_000 });
    return await fetchKernel(ublkDriver, options);
  } finally {
    await Deno.remove(apt, { recursive: true });
  }
}

/** @param options For apt-get and apt-cache. */
async function fetchKernel(driver: Driver, options: readonly string[]): Promise<Kernel> {
  // Installing the package would also build the host an initramfs; unpacking is enough.
  const depends = await runChecked(["apt-cache", ...options, "depends", "linux-image-amd64"]);
  const name = depends.stdout.match(/Depends: (linux-image-\S+)/)?.[1];
  if (name === undefined) throw new Error(`No kernel package is known: ${depends.stdout}`);
  await Deno.mkdir(cache, { recursive: true });
  const unfinished = await Deno.makeTempDir({ dir: cache, prefix: "kernel-" });
  await Deno.chmod(unfinished, 0o755);
  const here = { cwd: unfinished, timeoutMs: 300_000 };
  await runChecked(["apt-get", ...options, "download", name], here);
  await runChecked(["sh", "-c", "dpkg-deb -x *.deb . && rm *.deb"], here);
  await run(["mv", "-T", unfinished, `${cache}/${driver.folder}`]);
  const fetched = findKernel(driver);
  if (!fetched) throw new Error(`"${name}" has no ${driver.path}`);
  return fetched;
}

/** What a guest's root directory holds, beside busybox. */
export interface GuestRoot {
  /** Kernel modules by name, in the order of loading; what they depend on is added. */
  readonly modules: readonly string[];
  /**
   * Programs of the host by name, with their shared libraries. They stand in /host, and are called
   * by that path, for this busybox runs its own applets before anything in PATH.
   */
  readonly programs: readonly string[];
  /** Programs that only lend their shared libraries, by path. */
  readonly libraryUsers?: readonly string[];
  /** Host directories, and where their contents go. */
  readonly directories: readonly (readonly [host: string, guest: string])[];
  /** The script that runs as process 1, once /proc, /sys and /dev are there and modules loaded. */
  readonly script: string;
}

const prologue = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
ln -s /proc/mounts /etc/mtab
say() { echo "@@ $*"; }
fail() { say "failed: $*"; dmesg | tail -n 25; poweroff -f; }
must() { "$@" >/tmp/output 2>&1 || { cat /tmp/output; fail "$*"; }; }
`;

/** Builds an initramfs in the directory and returns its path. */
export async function buildInitramfs(
  directory: string,
  kernel: Kernel,
  content: GuestRoot,
): Promise<string> {
  const root = `${directory}/guest-root`;
  for (const folder of ["bin", "dev", "etc", "host", "mnt", "modules", "proc", "sys", "tmp"]) {
    await Deno.mkdir(`${root}/${folder}`, { recursive: true });
  }
  await Deno.copyFile(findProgram("busybox") ?? "/bin/busybox", `${root}/bin/busybox`);
  const modules = await loadOrder(kernel, content.modules);
  for (const [name, bytes] of modules) await Deno.writeFile(`${root}/modules/${name}.ko`, bytes);
  for (const name of content.programs) await copyProgram(name, root);
  for (const path of content.libraryUsers ?? []) await copyLibraries(path, root);
  for (const [host, guest] of content.directories) {
    await runChecked(["cp", "-a", `${host}/.`, `${root}${guest}`]);
  }
  const insmods = [...modules.keys()].map((name) => `must insmod /modules/${name}.ko\n`).join("");
  const script = `${prologue}${insmods}${content.script}\npoweroff -f\n`;
  await Deno.writeTextFile(`${root}/init`, script, { mode: 0o755 });
  const archive = `${directory}/initramfs.gz`;
  const pack = `find . | cpio --quiet -o -H newc | gzip -1 > ${archive}`;
  await runChecked(["sh", "-c", pack], { cwd: root });
  return archive;
}

/** Puts modules, and what they depend on, where a guest's modprobe finds them. */
export async function installModules(
  root: string,
  kernel: Kernel,
  names: readonly string[],
): Promise<void> {
  const version = kernel.modules.slice(kernel.modules.lastIndexOf("/") + 1);
  const folder = `${root}/usr/lib/modules/${version}/kernel`;
  await Deno.mkdir(folder, { recursive: true });
  for (const [name, bytes] of await loadOrder(kernel, names)) {
    await Deno.writeFile(`${folder}/${name}.ko`, bytes);
  }
  await runChecked([programPath("depmod"), "-b", root, version]);
}

/** Modules and, before each, what it says itself that it depends on. */
async function loadOrder(
  kernel: Kernel,
  names: readonly string[],
): Promise<Map<string, Uint8Array>> {
  const paths = new Map<string, string>();
  const found = await runChecked([
    "find",
    kernel.modules,
    "-name",
    "*.ko",
    "-o",
    "-name",
    "*.ko.xz",
  ]);
  for (const path of found.stdout.split("\n")) {
    const name = path.match(/([^/]+)\.ko(\.xz)?$/)?.[1];
    if (name !== undefined) paths.set(name.replaceAll("-", "_"), path);
  }
  const order = new Map<string, Uint8Array>();
  const decoder = new TextDecoder("latin1");
  const add = async (name: string) => {
    const path = paths.get(name);
    // What has no file is part of the kernel itself in this build.
    if (path === undefined || order.has(name)) return;
    const bytes = path.endsWith(".xz") ? await unpacked(path) : await Deno.readFile(path);
    const depends = decoder.decode(bytes).match(/\0depends=([^\0]*)\0/)?.[1] ?? "";
    for (const dependency of depends.split(",")) await add(dependency.replaceAll("-", "_"));
    order.set(name, bytes);
  };
  for (const name of names) await add(name);
  return order;
}

async function unpacked(path: string): Promise<Uint8Array> {
  const { success, stdout } = await new Deno.Command("xz", { args: ["-dc", path] }).output();
  if (!success) throw new Error(`xz cannot unpack "${path}"`);
  return stdout;
}

async function copyProgram(name: string, root: string): Promise<void> {
  const path = programPath(name);
  await Deno.copyFile(path, `${root}/host/${name}`);
  await copyLibraries(path, root);
}

async function copyLibraries(path: string, root: string): Promise<void> {
  for (const file of await librariesOf(path)) {
    await Deno.mkdir(`${root}${file.slice(0, file.lastIndexOf("/"))}`, { recursive: true });
    await Deno.copyFile(file, root + file);
  }
}

/** The full path of a program that has to be installed. */
export function programPath(name: string): string {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`"${name}" is not installed`);
  return path;
}

/** The shared libraries of a program, by path. */
export async function librariesOf(path: string): Promise<string[]> {
  const { stdout } = await runChecked(["ldd", path]);
  return [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, file = ""]) => file);
}

/** The modules that bring eth0 and the aoe driver up. */
export const networkModules = ["virtio_pci", "virtio_net", "aoe"] as const;

/** A target's host, and one whose tap interface is a guest's eth0, on one wire. */
export async function guestNetwork(
  testbed: Testbed,
  mtu: number,
): Promise<{ target: Namespace; host: Namespace }> {
  const target = await testbed.namespace("target");
  const host = await testbed.namespace("host");
  await testbed.wire([target, "net0"], [host, "net0"], mtu);
  await host.tap("tap0", mtu);
  await host.bridge("br0", ["tap0", "net0"], mtu);
  return { target, host };
}

/** Boots a guest whose eth0 is the tap interface. Its console is the process's output and input. */
export function bootGuest(
  namespace: Namespace,
  options: {
    readonly kernel: Kernel;
    readonly initramfs: string;
    readonly tap: string;
    readonly mtu: number;
    readonly memoryMiB: number;
    /** A host directory that the guest can mount: `mount -t 9p share …`. */
    readonly share?: string;
    /**
     * One when not given: each more costs a sixth of all the work. Of two QEMU 7.2 without KVM now
     * and then runs into code that another processor is just patching: Linux 6.12 dies of it while
     * booting ("Oops: int3").
     */
    readonly processors?: number;
    /** An image that is the guest's /dev/vda. */
    readonly disk?: string;
    /** More words for the kernel. */
    readonly append?: string;
  },
): RunningProcess {
  const { kernel, initramfs, tap, mtu, memoryMiB, share, processors = 1, disk } = options;
  const drive = disk === undefined ? [] : [
    ...["-drive", `file=${disk},format=raw,if=none,id=d0,cache=unsafe`],
    ...["-device", "virtio-blk-pci,drive=d0"],
  ];
  const virtfs = share === undefined
    ? []
    : ["-virtfs", `local,path=${share},mount_tag=share,security_model=none,readonly=on`];
  return namespace.start([
    ...["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max"],
    ...["-smp", `${processors}`, "-m", `${memoryMiB}`, "-display", "none", "-monitor", "none"],
    ...["-serial", "stdio", "-no-reboot", "-nodefaults"],
    ...["-netdev", `tap,id=n0,ifname=${tap},script=no,downscript=no`],
    ...["-device", `virtio-net-pci,netdev=n0,host_mtu=${mtu}`],
    ...virtfs,
    ...drive,
    ...["-kernel", kernel.image, "-initrd", initramfs],
    ...["-append", `console=ttyS0 panic=-1 quiet ${options.append ?? ""}`],
  ]);
}

/** Waits for `@@ word rest` from the guest and returns the rest; what failed in it fails here. */
export async function guestSays(
  guest: RunningProcess,
  word: string,
  timeoutMs: number,
): Promise<string> {
  const match = await guest.waitForLine(new RegExp(`@@ (${word}|failed):? ?(.*)`), { timeoutMs });
  if (match[1] === "failed") {
    await guest.stop("SIGTERM", 2_000);
    throw new Error(`In the guest "${match[2]}" failed\n${guest.text}`);
  }
  return match[2] ?? "";
}

/**
 * Runs a body once more when the guest's kernel has crashed, and says so. In QEMU 7.2 without KVM
 * Linux 6.12 does that about once in twenty boots, in a place that is another each time. The EFLAGS
 * of its reports (dd70a483, 82938202) have reserved bits set: the emulator has lost them.
 */
export async function againAfterPanic(body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof Error && error.message.includes("Kernel panic"))) throw error;
    console.warn(error.message);
    await body();
  }
}
