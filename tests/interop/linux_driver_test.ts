// The Linux kernel's own AoE driver, in a guest, on two exports of `aoe serve` at once: it finds
// them, makes and mounts file systems, and finds every byte again after the target was restarted.

import { assertEquals } from "@std/assert";
import {
  bootGuest,
  buildInitramfs,
  guestKernel,
  guestSays,
  guestTools,
  networkModules,
} from "./guest.ts";
import { runChecked } from "./process.ts";
import { interopTest } from "./requirements.ts";
import { startTarget } from "./target.ts";
import { Testbed } from "./testbed.ts";

const imageBytes = 64 << 20;

/** What the guest does. `$mtu` stands in front. */
const script = `
wait_for() { n=0; until [ -b "$1" ]; do n=$((n+1)); [ $n -lt 200 ] || fail "no $1"; sleep 0.1; done; }
both() { "$1" e1.1 >/tmp/e1.1.log 2>&1 & first=$!
  "$1" e2.7 >/tmp/e2.7.log 2>&1; second=$?
  wait $first && [ $second = 0 ] || { cat /tmp/*.log; fail "$1"; }; }
ip link set eth0 mtu $mtu up || fail "eth0 with MTU $mtu"
echo > /dev/etherd/discover
wait_for /dev/etherd/e1.1
wait_for /dev/etherd/e2.7
for e in e1.1 e2.7; do cd /sys/block/etherd!$e
  say "device $e $(cat size) $(cat state) $(cat netif) $(cat payload)"; cd /; done

make() { /host/mke2fs -q -t ext4 -E lazy_itable_init=0 /dev/etherd/$1 && mkdir -p /mnt/$1 &&
  mount -t ext4 /dev/etherd/$1 /mnt/$1; }
both make
say mounted
fill() { cp -a /tree /mnt/$1/tree && sync; }
both fill
say copied
leave() { umount /mnt/$1; }
both leave
echo 3 > /proc/sys/vm/drop_caches
say unmounted
read answer

again() { mount -t ext4 /dev/etherd/$1 /mnt/$1; }
both again
say remounted
compare() { cd /mnt/$1/tree && sha256sum -c -s /sums && [ "$(readlink link)" = one ] &&
  [ "$(find . | wc -l)" = "$(find /tree | wc -l)" ]; }
both compare
say compared
cd /
both leave
check() { /host/e2fsck -f -n /dev/etherd/$1; }
both check
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

for (const { mtu, payload } of [{ mtu: 1500, payload: 1024 }, { mtu: 9000, payload: 8704 }]) {
  interopTest(
    `serve: the Linux driver keeps two file systems over a restart at MTU ${mtu}`,
    [...guestTools, "mke2fs", "e2fsck"],
    async () => {
      await using testbed = await Testbed.create();
      const target = await testbed.namespace("target");
      const host = await testbed.namespace("host");
      await testbed.wire([target, "net0"], [host, "net0"], mtu);
      await host.tap("tap0", mtu);
      await host.bridge("br0", ["tap0", "net0"], mtu);

      await makeTree(testbed.directory);
      const kernel = await guestKernel();
      const initramfs = await buildInitramfs(testbed.directory, kernel, {
        modules: [...networkModules, "crc32c_generic", "ext4"],
        programs: ["mke2fs", "e2fsck"],
        directories: [[testbed.path("tree"), "/tree"], [testbed.path("lists"), "/"]],
        script: `mtu=${mtu}\n${script}`,
      });
      const paths = [
        await testbed.image("first.img", imageBytes),
        await testbed.image("second.img", imageBytes),
      ] as const;
      const serving = {
        interfaces: "net0",
        exports: [["1.1", paths[0]], ["2.7", paths[1]]],
      } as const;
      const before = await startTarget(target, serving);
      await using guest = bootGuest(host, {
        ...{ kernel, initramfs, tap: "tap0", mtu, memoryMiB: 512 },
      });
      const size = imageBytes / 512;
      for (const address of ["e1.1", "e2.7"]) {
        const seen = await guestSays(guest, `device ${address}`, 60_000);
        assertEquals(seen, `${size} up eth0 ${payload}`);
      }
      await guestSays(guest, "unmounted", 60_000);

      assertEquals((await before.stop()).code, 0, before.text);
      await using after = await startTarget(target, serving);
      await guest.write("go on\n");
      await guestSays(guest, "clean", 60_000);
      await guest.ended;
      assertEquals((await after.stop()).code, 0, after.text);
      for (const path of paths) await runChecked(["e2fsck", "-f", "-n", path]);
    },
  );
}
