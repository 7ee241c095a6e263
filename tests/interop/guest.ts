// A Linux guest: Debian's kernel with its aoe driver and an initramfs of busybox and what a test
// adds, run by QEMU without KVM. The test talks to its /init over the serial console.

import { findProgram, isFile, type Requirement, tool } from "./requirements.ts";
import { run, runChecked, type RunningProcess } from "./process.ts";
import { aoeExecutable } from "./target.ts";
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

/** The installed kernel, or one of a package that was only unpacked: AOE_KERNEL, or our cache. */
function findKernel(): Kernel | undefined {
  for (const root of ["", Deno.env.get("AOE_KERNEL") ?? "", `${cache}/kernel`]) {
    for (const modules of [`${root}/lib/modules`, `${root}/usr/lib/modules`]) {
      for (const version of directoryNames(modules)) {
        const image = `${root}/boot/vmlinuz-${version}`;
        const driver = `${modules}/${version}/kernel/drivers/block/aoe/aoe.ko`;
        if (isFile(image) && isFile(driver)) return { image, modules: `${modules}/${version}` };
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
  const found = findKernel();
  if (found) return found;
  // Installing the package would also build the host an initramfs; unpacking is enough.
  const depends = await runChecked(["apt-cache", "depends", "linux-image-amd64"]);
  const name = depends.stdout.match(/Depends: (linux-image-\S+)/)?.[1];
  if (name === undefined) throw new Error(`No kernel package is known: ${depends.stdout}`);
  await Deno.mkdir(cache, { recursive: true });
  const unfinished = await Deno.makeTempDir({ dir: cache, prefix: "kernel-" });
  await Deno.chmod(unfinished, 0o755);
  const options = { cwd: unfinished, timeoutMs: 180_000 };
  await runChecked(["sh", "-c", `apt-get download ${name} && dpkg-deb -x *.deb .`], options);
  await run(["mv", "-T", unfinished, `${cache}/kernel`]);
  const fetched = findKernel();
  if (!fetched) throw new Error(`"${name}" has no kernel with aoe.ko`);
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
  for (const [name, path] of modules) await Deno.copyFile(path, `${root}/modules/${name}.ko`);
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

/** Finds modules and, first, what they depend on, by what they themselves say of it. */
async function loadOrder(kernel: Kernel, names: readonly string[]): Promise<Map<string, string>> {
  const paths = new Map<string, string>();
  const found = await runChecked(["find", kernel.modules, "-name", "*.ko"]);
  for (const path of found.stdout.split("\n")) {
    const name = path.match(/([^/]+)\.ko$/)?.[1];
    if (name !== undefined) paths.set(name.replaceAll("-", "_"), path);
  }
  const order = new Map<string, string>();
  const decoder = new TextDecoder("latin1");
  const add = async (name: string) => {
    const path = paths.get(name);
    // What has no file is part of the kernel itself in this build.
    if (path === undefined || order.has(name)) return;
    const text = decoder.decode(await Deno.readFile(path));
    const depends = text.match(/\0depends=([^\0]*)\0/)?.[1] ?? "";
    for (const dependency of depends.split(",")) await add(dependency.replaceAll("-", "_"));
    order.set(name, path);
  };
  for (const name of names) await add(name);
  return order;
}

async function copyProgram(name: string, root: string): Promise<void> {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`"${name}" is not installed`);
  await Deno.copyFile(path, `${root}/host/${name}`);
  await copyLibraries(path, root);
}

async function copyLibraries(path: string, root: string): Promise<void> {
  const libraries = (await runChecked(["ldd", path])).stdout.matchAll(/(\/\S+) \(0x/g);
  for (const [, file = ""] of libraries) {
    await Deno.mkdir(`${root}${file.slice(0, file.lastIndexOf("/"))}`, { recursive: true });
    await Deno.copyFile(file, root + file);
  }
}

/** The modules that bring eth0 and the aoe driver up. */
export const networkModules = ["virtio_pci", "virtio_net", "aoe"] as const;

/** The modules that mount the shared directory of `bootGuest`. */
export const shareModules = ["virtio_pci", "9pnet_virtio", "9p"] as const;

/**
 * A directory with the executable in it, to be shared with a guest; it is unpacked here and not in
 * the guest, where that takes long. The script says `export XDG_CACHE_HOME=/share/cache`.
 */
export async function shareExecutable(
  testbed: Testbed,
): Promise<{ readonly share: string; readonly libraryUsers: readonly string[] }> {
  const share = testbed.path("share");
  await Deno.mkdir(`${share}/cache`, { recursive: true });
  await Deno.copyFile(await aoeExecutable(), `${share}/aoe`);
  await run([`${share}/aoe`, "--version"], { env: { XDG_CACHE_HOME: `${share}/cache` } });
  const programs = [`${share}/aoe`];
  for await (const path of filesIn(`${share}/cache`)) programs.push(path);
  const libraryUsers: string[] = [];
  for (const path of programs) {
    if ((await run(["ldd", path])).code === 0) libraryUsers.push(path);
  }
  return { share, libraryUsers };
}

async function* filesIn(folder: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) yield* filesIn(path);
    else yield path;
  }
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
    /** A host directory that the guest can mount: `mount -t 9p share …`, with `shareModules`. */
    readonly share?: string;
  },
): RunningProcess {
  const { kernel, initramfs, tap, mtu, memoryMiB, share } = options;
  const virtfs = share === undefined
    ? []
    : ["-virtfs", `local,path=${share},mount_tag=share,security_model=none,readonly=on`];
  return namespace.start([
    ...["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max"],
    ...["-smp", "2", "-m", `${memoryMiB}`, "-display", "none", "-monitor", "none"],
    ...["-serial", "stdio", "-no-reboot", "-nodefaults"],
    ...["-netdev", `tap,id=n0,ifname=${tap},script=no,downscript=no`],
    ...["-device", `virtio-net-pci,netdev=n0,host_mtu=${mtu}`],
    ...virtfs,
    ...["-kernel", kernel.image, "-initrd", initramfs],
    ...["-append", "console=ttyS0 panic=-1 quiet"],
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
