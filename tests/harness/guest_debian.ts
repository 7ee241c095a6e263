// A guest that is a whole Debian, small, with systemd as its first process and /dev/vda as its disk:
// what it writes there is there at its next boot.

import {
  bootGuest,
  buildInitramfs,
  guestTools,
  installModules,
  type Kernel,
  programPath,
} from "./guest.ts";
import { runChecked, type RunningProcess } from "./process.ts";
import { type Requirement, tool } from "./requirements.ts";
import { aoeExecutable } from "./target.ts";
import type { Namespace, Testbed } from "./testbed.ts";

const SUITE = "bookworm";
const MIRROR = "http://deb.debian.org/debian";
/** Enough to boot, with what their dependencies add. */
const PACKAGES = [
  ...["apt", "dpkg", "tar", "perl-base", "libgcc-s1"],
  ...["base-files", "base-passwd", "bash", "coreutils", "dash", "diffutils", "e2fsprogs"],
  ...["findutils", "grep", "gzip", "init-system-helpers", "iproute2", "kmod", "libc-bin", "mount"],
  ...["sed", "systemd", "systemd-sysv", "udev", "util-linux"],
];
const DISK_MIB = 896;

/** What building and booting it needs. */
export const debianTools: readonly Requirement[] = [
  ...guestTools,
  tool("mmdebstrap"),
  tool("depmod"),
  tool("mke2fs"),
];

/** What is put into it. */
export interface DebianContent {
  readonly kernel: Kernel;
  /** For its modprobe, beside those of its card and its disk. */
  readonly modules: readonly string[];
  /** Texts by path; those in /usr/local/bin may be run. */
  readonly files: Readonly<Record<string, string>>;
  /** Shell commands that finish it, in the folder of its root. */
  readonly finish: string;
  /** Called first, when nothing but Debian is in the folder of its root. */
  readonly visit: (root: string) => Promise<void>;
}

/** Its disk, and what loads it. */
export interface DebianGuest {
  readonly kernel: Kernel;
  readonly disk: string;
  readonly initramfs: string;
}

/** Builds one, with ./aoe in /usr/local/bin, unpacked already where its unit has it. */
export async function buildDebian(
  testbed: Testbed,
  content: DebianContent,
): Promise<DebianGuest> {
  const { kernel, files } = content;
  const root = testbed.path("debian");
  await runChecked([
    ...[programPath("mmdebstrap"), "--quiet", "--mode=root", "--variant=custom"],
    ...[`--include=${PACKAGES.join(",")}`, "--dpkgopt=path-exclude=/usr/share/doc/*"],
    ...["--dpkgopt=path-exclude=/usr/share/locale/*", SUITE, root, MIRROR],
  ], { timeoutMs: 300_000 });
  await content.visit(root);
  await installModules(root, kernel, ["virtio_net", ...content.modules]);
  await Deno.copyFile(await aoeExecutable(), `${root}/usr/local/bin/aoe`);
  const cache = { XDG_CACHE_HOME: `${root}/var/cache` };
  await runChecked([`${root}/usr/local/bin/aoe`, "--version"], { env: cache });
  for (const [path, text] of Object.entries(files)) {
    await Deno.mkdir(root + path.slice(0, path.lastIndexOf("/")), { recursive: true });
    const mode = path.startsWith("/usr/local/bin/") ? 0o755 : 0o644;
    await Deno.writeTextFile(root + path, text, { mode });
  }
  await runChecked(["sh", "-e", "-c", content.finish], { cwd: root });
  const disk = testbed.path("debian.img");
  await runChecked([
    ...[programPath("mke2fs"), "-q", "-t", "ext4", "-d", root, disk, `${DISK_MIB}M`],
  ], { timeoutMs: 120_000 });
  await Deno.remove(root, { recursive: true });
  const initramfs = await buildInitramfs(testbed.directory, kernel, {
    modules: ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"],
    programs: [],
    directories: [],
    script: `
n=0; until [ -b /dev/vda ] || [ $n -gt 100 ]; do n=$((n+1)); sleep 0.1; done
must mount -t ext4 /dev/vda /mnt
must mount --move /dev /mnt/dev
umount /sys; umount /proc
exec switch_root /mnt /sbin/init`,
  });
  return { kernel, disk, initramfs };
}

/** Boots it on the network of `guestNetwork`; a reboot ends the process. */
export function bootDebian(host: Namespace, guest: DebianGuest, mtu: number): RunningProcess {
  return bootGuest(host, {
    ...guest,
    ...{ tap: "tap0", mtu, memoryMiB: 768 },
    append: "net.ifnames=0 systemd.show_status=0",
  });
}
