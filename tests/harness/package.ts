// The Debian package: made at need, installed into a clean root file system, and taken away again.

import { assertEquals, assertMatch } from "@std/assert";
import configuration from "../../deno.json" with { type: "json" };
import { runChecked } from "./process.ts";
import { aoeExecutable } from "./target.ts";

const repository = new URL("../..", import.meta.url).pathname;
const LONG_MS = 300_000;

/** Makes the package; its path. */
export async function makePackage(): Promise<string> {
  await aoeExecutable();
  const words = [Deno.execPath(), "run", "-A", ".tasks/package.ts"];
  const { stdout } = await runChecked(words, { cwd: repository, timeoutMs: LONG_MS });
  return repository + /^Made (\S+\.deb), /.exec(stdout)![1];
}

/**
 * `apt install`, `apt remove` and `apt purge` in a root file system that has apt, systemd and nothing
 * of ours: what is left is what somebody may want to have back, and then only disks.
 */
export async function installAndPurge(root: string): Promise<void> {
  const inside = (script: string) =>
    runChecked([
      ...["unshare", "-m", "sh", "-e", "-c"],
      `mount -t proc proc "$0/proc"; exec chroot "$0" env -i DEBIAN_FRONTEND=noninteractive \\
        PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C sh -e -c "$1"`,
      ...[root, script],
    ], { timeoutMs: LONG_MS });
  // Not what dpkg knows, not what this test has brought.
  const ours = async () => {
    const { stdout } = await inside(
      `find / -xdev '(' -path /var/lib/dpkg -o -path /proc -o -path /tmp ')' -prune \\
        -o '(' -iname '*aoe*' -o -path '/var/lib/aoe/*' ')' -print`,
    );
    return stdout.split("\n").filter((line) => line !== "").sort();
  };
  await inside("id aoe && exit 1 || mkdir -p /tmp");
  // The kernel's driver and modprobe's lists, if they are there, and this program as one file.
  const before = await ours();
  const fresh = async () => (await ours()).filter((path) => !before.includes(path));
  await Deno.copyFile(await makePackage(), `${root}/tmp/aoe.deb`);
  await inside("apt-get install -q -y /tmp/aoe.deb");
  const version = await inside("/usr/bin/aoe --version");
  assertEquals(version.stdout, `${configuration.version}\n`);
  assertMatch((await inside("id aoe")).stdout, /groups=\d+\(aoe\),\d+\(disk\)/);
  // A configuration that was written is the administrator's: another version leaves it alone.
  await inside("echo '# mine' >/etc/aoe.toml; apt-get install -q -y --reinstall /tmp/aoe.deb");
  assertEquals((await inside("cat /etc/aoe.toml")).stdout, "# mine\n");
  await inside("rm -rf /root/.cache; apt-get remove -q -y aoe");
  const kept = (await fresh()).filter((path) => !path.startsWith("/var/lib/systemd/"));
  assertEquals(kept, ["/etc/aoe.toml"]);
  await inside(
    "mkdir -p /var/lib/aoe/serve; cd /var/lib/aoe; touch disk.img serve/lock serve/e1.1.json",
  );
  await inside("apt-get purge -q -y aoe; rm /tmp/aoe.deb");
  assertEquals(await fresh(), ["/var/lib/aoe", "/var/lib/aoe/disk.img"]);
  await inside("rm -r /var/lib/aoe");
}
