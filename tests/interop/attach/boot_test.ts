// A Debian guest with systemd mounts an attached disk at boot by what the manual says: the unit that
// `aoe unit attach` writes, and a line in /etc/fstab. It reboots, and shuts down, and what was written
// last is on the target's disk by then. Before, while its root file system is clean, the package is
// installed there by apt, removed and purged.

import { assertEquals, assertStringIncludes } from "@std/assert";
import { guestKernel, guestNetwork, guestSays } from "../../harness/guest.ts";
import { bootDebian, buildDebian, debianTools } from "../../harness/guest_debian.ts";
import { installAndPurge } from "../../harness/package.ts";
import { runChecked, type RunningProcess } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { aoeExecutable, startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

/** Takes the network away at shutdown, as ifupdown does, and tells when a disk is still attached. */
const NETWORK_UNIT = `[Unit]
DefaultDependencies=no
Before=network.target network-online.target shutdown.target
After=systemd-udevd.service sys-subsystem-net-devices-eth0.device
Wants=network.target sys-subsystem-net-devices-eth0.device
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ip link set eth0 up
ExecStop=/bin/sh -c 'for node in /dev/etherd/e*; do [ ! -e $node ] || echo "@@ left $node" >/dev/ttyS0; done; echo "@@ network goes" >/dev/ttyS0; ip link set eth0 down'
[Install]
WantedBy=network-online.target
`;

const REPORT_UNIT = `[Unit]
Wants=network-online.target
After=network-online.target
[Service]
Type=oneshot
StandardOutput=file:/dev/ttyS0
StandardError=inherit
ExecStart=/usr/local/bin/report
[Install]
WantedBy=multi-user.target
`;

/** Says what has become of the boot, writes, and ends it. */
const REPORT = `#!/bin/sh
say() { echo "@@ $*"; }
fail() {
  systemctl --no-pager status aoe.service dev-etherd-e1.1.device mnt.mount
  journalctl -b --no-pager -n 60
  say "failed: $*"; systemctl poweroff -ff; sleep 60
}
uptime() { cut -d. -f1 /proc/uptime; }
within() { end=$(($(uptime)+$1)); until eval "$2"; do [ $(uptime) -lt $end ] || fail "$2"; sleep 0.5; done; }
export XDG_CACHE_HOME=/var/cache NO_COLOR=1
within 500 'systemctl is-active --quiet mnt.mount'
say "mounted $(grep ' /mnt ' /proc/mounts | cut -d' ' -f1-3)"
say "units $(systemctl is-active aoe.service dev-etherd-e1.1.device mnt.mount | tr '\\n' ' ')"
say "fsck $(journalctl -b --no-pager -o cat -u 'systemd-fsck@*e1.1.service' | grep -v '^Start\\|^Finish' | tr '\\n' ' ')"
say "node $(stat -c '%U %G %a' /dev/etherd/e1.1)"
aoe attach --config /etc/aoe.conf >/tmp/again 2>&1 || fail "again: $(cat /tmp/again)"
say "again $(cat /tmp/again)"
say "broken $(systemctl --failed --no-legend --plain | cut -d' ' -f1 | tr '\\n' ' ')"
if [ -e /mnt/data ]; then
  (cd /mnt && sha256sum -c --quiet sums) || fail sums
  say kept
fi
head -c 3000000 /dev/urandom >/mnt/data
(cd /mnt && sha256sum data >sums)
echo "@@ written" >/dev/ttyS0
if [ -e /etc/second-boot ]; then
  systemctl --no-block poweroff
else
  touch /etc/second-boot
  echo 'e1.1 -i eth0 --timeout 60 --backend nbd' >/etc/aoe.conf
  aoe unit attach --config /etc/aoe.conf >/etc/systemd/system/aoe.service || fail unit
  systemctl --no-block reboot
fi
`;

interopTest(
  "attach: Debian takes and loses the package, boots, mounts by unit and fstab, reboots (fuse, nbd)",
  [...debianTools, "e2fsck", "unshare", "dpkg-deb"],
  async () => {
    await using testbed = await Testbed.create();
    const { target, host } = await guestNetwork(testbed, 1500);
    const image = await testbed.image("disk.img", 64 << 20);
    await runChecked(["mke2fs", "-q", "-t", "ext4", image]);
    const kernel = await guestKernel();
    const unit = await runChecked([
      ...[await aoeExecutable(), "unit", "attach", "e1.1", "-i", "eth0", "--backend", "fuse"],
    ]);
    const guest = await buildDebian(testbed, {
      kernel,
      modules: ["fuse", "loop", "nbd", "ext4", "crc32c_generic"],
      files: {
        "/etc/fstab": "/dev/etherd/e1.1 /mnt ext4 _netdev 0 2\n",
        "/etc/aoe.conf": "e1.1 -i eth0 --timeout 60 --backend fuse\n",
        "/etc/systemd/system/aoe.service": unit.stdout,
        // An emulated machine is slow: what takes seconds elsewhere may take minutes.
        "/etc/systemd/system.conf.d/slow.conf":
          "[Manager]\nDefaultDeviceTimeoutSec=600\nDefaultTimeoutStartSec=600\n",
        "/etc/systemd/system/aoe.service.d/slow.conf": "[Service]\nTimeoutStartSec=600\n",
        "/etc/systemd/system/link.service": NETWORK_UNIT,
        "/etc/systemd/system/report.service": REPORT_UNIT,
        "/usr/local/bin/report": REPORT,
      },
      visit: installAndPurge,
      finish: `
mkdir -p etc/systemd/system/remote-fs.target.wants etc/systemd/system/multi-user.target.wants \\
  etc/systemd/system/network-online.target.wants
ln -sf ../aoe.service etc/systemd/system/remote-fs.target.wants/
ln -sf ../report.service etc/systemd/system/multi-user.target.wants/
ln -sf ../link.service etc/systemd/system/network-online.target.wants/
ln -sf /dev/null etc/systemd/system/serial-getty@ttyS0.service
ln -sf /dev/null etc/systemd/system/getty@tty1.service`,
    });
    await using _serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", image]],
    });
    {
      await using first = bootDebian(host, guest, 1500);
      await reportsDisk(first, "/dev/etherd/e1.1", "fuse");
      await guestSays(first, "written", 120_000);
      await endsCleanly(first, image);
    }
    await using second = bootDebian(host, guest, 1500);
    await reportsDisk(second, "/dev/etherd/e1.1", "nbd");
    await guestSays(second, "kept", 60_000);
    await guestSays(second, "written", 120_000);
    await endsCleanly(second, image);
  },
);

/** What a guest must say of its disk after each boot. */
async function reportsDisk(guest: RunningProcess, node: string, backEnd: string): Promise<void> {
  assertEquals(await guestSays(guest, "mounted", 600_000), `${node} /mnt ext4`, backEnd);
  assertEquals((await guestSays(guest, "units", 60_000)).trim(), "active active active");
  assertStringIncludes(await guestSays(guest, "fsck", 60_000), "clean");
  assertEquals(await guestSays(guest, "node", 60_000), "root disk 660");
  assertEquals(await guestSays(guest, "again", 120_000), `e1.1 is attached already, as ${node}`);
  assertEquals((await guestSays(guest, "broken", 120_000)).trim(), "");
}

/** The disk was detached before the network went, and everything is on it. */
async function endsCleanly(guest: RunningProcess, image: string): Promise<void> {
  await guestSays(guest, "network", 240_000);
  await guest.ended;
  assertEquals(guest.text.match(/@@ left .*/)?.[0], undefined);
  const superblock = (await runChecked(["dumpe2fs", "-h", image])).stdout;
  assertEquals(/needs_recovery/.test(superblock), false, superblock);
  await runChecked(["e2fsck", "-f", "-n", image]);
}
