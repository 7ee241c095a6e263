// What the interoperability tests need from the machine, and what becomes of a test when it is not
// there: at a developer's desk it is skipped and its name says what to install; under CI=true it
// fails, because everything here can be installed.

/** Something a test cannot do without. */
export interface Requirement {
  /** What is missing and how to get it, for a sentence that begins with "needs". */
  readonly missing: string;
  readonly present: () => boolean;
}

const packages = {
  "aoe-sancheck": "aoetools",
  "aoe-stat": "aoetools",
  aoecfg: "aoetools",
  aoeping: "aoetools",
  "apt-get": "apt",
  btrfs: "btrfs-progs",
  busybox: "busybox-static",
  chromium: "chromium",
  cmp: "diffutils",
  cpio: "cpio",
  depmod: "kmod",
  "dpkg-deb": "dpkg",
  e2fsck: "e2fsprogs",
  fio: "fio",
  fstrim: "util-linux",
  gcc: "gcc",
  ip: "iproute2",
  lintian: "lintian",
  losetup: "mount",
  mke2fs: "e2fsprogs",
  mmdebstrap: "mmdebstrap",
  "mkfs.btrfs": "btrfs-progs",
  "mkfs.xfs": "xfsprogs",
  "nbd-client": "nbd-client",
  nbdcopy: "libnbd-bin",
  nbdinfo: "libnbd-bin",
  nbdkit: "nbdkit",
  partx: "util-linux",
  promtool: "prometheus",
  "qemu-img": "qemu-utils",
  "qemu-io": "qemu-utils",
  "qemu-storage-daemon": "qemu-system-common",
  "qemu-nbd": "qemu-utils",
  "qemu-system-x86_64": "qemu-system-x86",
  setpriv: "util-linux",
  setcap: "libcap2-bin",
  sfdisk: "fdisk",
  strace: "strace",
  taskset: "util-linux",
  tcpdump: "tcpdump",
  tmux: "tmux",
  tshark: "tshark",
  unshare: "util-linux",
  vblade: "vblade",
  xfs_repair: "xfsprogs",
  xz: "xz-utils",
} as const;

/** A program that a test runs, by its name. */
export type Tool = keyof typeof packages;

// Debian keeps these out of an ordinary user's PATH, and some shells out of root's.
const directories = [
  ...(Deno.env.get("PATH") ?? "").split(":"),
  "/usr/local/sbin",
  "/usr/sbin",
  "/sbin",
];

/** The full path of a program, or undefined. */
export function findProgram(name: string): string | undefined {
  return directories.map((directory) => `${directory}/${name}`).find(isFile);
}

/** Whether a regular file, or a link to one, stands at the path. */
export function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** The requirement that a program is installed. */
export function tool(name: Tool): Requirement {
  return {
    missing: `${name}: apt-get install ${packages[name]}`,
    present: () => findProgram(name) !== undefined,
  };
}

const root: Requirement = {
  missing: "root, to make network namespaces",
  present: () => Deno.uid() === 0,
};

/** Registers a test that runs as root, with `ip`, and with everything else that it names. */
export function interopTest(
  name: string,
  needs: readonly (Tool | Requirement)[],
  body: () => void | Promise<void>,
): void {
  const requirements = [root, tool("ip"), ...needs.map((n) => typeof n === "string" ? tool(n) : n)];
  const missing = requirements.filter((requirement) => !requirement.present())
    .map((requirement) => requirement.missing);
  if (missing.length === 0) {
    Deno.test(name, body);
  } else if (Deno.env.get("CI") === "true") {
    Deno.test(name, () => {
      throw new Error(`Under CI nothing is skipped, and this needs ${missing.join("; ")}`);
    });
  } else {
    Deno.test({ name: `${name} (skipped: needs ${missing.join("; ")})`, ignore: true, fn: body });
  }
}
