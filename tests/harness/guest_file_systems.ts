// What the real driver's guests do with a disk of ours, whatever is behind it: file systems made,
// filled, mounted again after the target has been somewhere else, compared and checked.

import { bootGuest, buildInitramfs, guestKernel, guestNetwork, networkModules } from "./guest.ts";
import type { RunningProcess } from "./process.ts";
import type { Namespace, Testbed } from "./testbed.ts";

/**
 * What the guest does with the disks `$disks` over an interface with MTU `$mtu`, each set in front.
 * It says `device …` of each, `mounted`, `copied` and `unmounted`, waits for a line, and goes on with
 * `remounted`, `compared` and `clean`.
 */
const fileSystemScript = `
wait_for() { n=0; until [ -b "$1" ]; do n=$((n+1)); [ $n -lt 200 ] || fail "no $1"; sleep 0.1; done; }
each() { pids=; for disk in $disks; do "$1" $disk >/tmp/$disk.log 2>&1 & pids="$pids $!"; done
  for pid in $pids; do wait $pid || { cat /tmp/*.log; fail "$1"; }; done; }
ip link set eth0 mtu $mtu up || fail "eth0 with MTU $mtu"
echo > /dev/etherd/discover
for e in $disks; do wait_for /dev/etherd/$e; done
for e in $disks; do cd /sys/block/etherd!$e
  say "device $e $(cat size) $(cat state) $(cat netif) $(cat payload)"; cd /; done

make() { /host/mke2fs -q -t ext4 -E lazy_itable_init=0 /dev/etherd/$1 && mkdir -p /mnt/$1 &&
  mount -t ext4 /dev/etherd/$1 /mnt/$1; }
each make
say mounted
fill() { cp -a /tree /mnt/$1/tree && sync; }
each fill
say copied
leave() { umount /mnt/$1; }
each leave
echo 3 > /proc/sys/vm/drop_caches
say unmounted
read answer

again() { mount -t ext4 /dev/etherd/$1 /mnt/$1; }
each again
say remounted
compare() { cd /mnt/$1/tree && sha256sum -c -s /sums && [ "$(readlink link)" = one ] &&
  [ "$(find . | wc -l)" = "$(find /tree | wc -l)" ]; }
each compare
say compared
cd /
each leave
check() { /host/e2fsck -f -n /dev/etherd/$1; }
each check
say clean
`;

/** A tree of files of many sizes with reproducible content, and its list of checksums. */
async function makeTree(directory: string): Promise<void> {
  const tree = `${directory}/tree`;
  let x = 0x2545f491;
  const sizes = [0, 1, 511, 512, 513, 4095, 4096, 4097, 8704, 65_537, 1_000_003, 6 << 20];
  for (let i = 0; i < 48; i++) sizes.push(i * 977);
  let sums = "";
  for (const [index, size] of sizes.entries()) {
    const words = new Uint32Array(Math.ceil(size / 4));
    for (let i = 0; i < words.length; i++) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      words[i] = x;
    }
    const folder = `d${index % 5}/sub${index % 3}`;
    await Deno.mkdir(`${tree}/${folder}`, { recursive: true });
    const bytes = new Uint8Array(words.buffer, 0, size);
    await Deno.writeFile(`${tree}/${folder}/file${index}`, bytes);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
    sums += `${digest}  ${folder}/file${index}\n`;
  }
  await Deno.symlink("one", `${tree}/link`);
  await Deno.mkdir(`${directory}/lists`);
  await Deno.writeTextFile(`${directory}/lists/sums`, sums);
}

/**
 * A guest that is to have the disks, and a namespace `target` where they are to be served on `net0`
 * before it boots.
 */
export async function fileSystemGuest(
  testbed: Testbed,
  mtu: number,
  disks: readonly string[],
): Promise<{ target: Namespace; boot: () => RunningProcess }> {
  const { target, host } = await guestNetwork(testbed, mtu);
  await makeTree(testbed.directory);
  const kernel = await guestKernel();
  const initramfs = await buildInitramfs(testbed.directory, kernel, {
    modules: [...networkModules, "crc32c_generic", "ext4"],
    programs: ["mke2fs", "e2fsck"],
    directories: [[testbed.path("tree"), "/tree"], [testbed.path("lists"), "/"]],
    script: `mtu=${mtu} disks="${disks.join(" ")}"\n${fileSystemScript}`,
  });
  const boot = () => bootGuest(host, { kernel, initramfs, tap: "tap0", mtu, memoryMiB: 512 });
  return { target, boot };
}
