// `aoe attach --backend nbd` in a guest with Debian's nbd module: a file system on /dev/nbdN keeps
// its data over a target that was away, a daemon that was killed, and a disk that has grown. Then
// the same disk by `aoe nbd` and nbd-client.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { guestKernel, guestNetwork, guestSays, guestTools } from "../../harness/guest.ts";
import { bootWithExecutable } from "../../harness/guest_executable.ts";
import { runChecked } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

const script = `
aoe attach e1.1 -i eth0 --backend nbd > /tmp/attach 2>&1 || { cat /tmp/attach; fail "aoe attach"; }
say "attached $(head -n 1 /tmp/attach)"
nbd=$(sed -n 's:.*(/dev/\\(nbd[0-9]*\\)).*:\\1:p' /tmp/attach)
say "queue $(cat /sys/block/$nbd/queue/write_cache) $(cat /sys/block/$nbd/queue/fua) $(cat /sys/block/$nbd/queue/scheduler) $(cat /sys/block/$nbd/size)"
must /host/mke2fs -q -t ext4 -E lazy_itable_init=0 $disk
must mount -t ext4 $disk /mnt
head -c 6000000 /dev/urandom > /tmp/data
must cp /tmp/data /mnt/one
must sync
say written
read answer
must cp /tmp/data /mnt/two
must sync
say "over"

# The daemon is killed while it is written to; what the keeper starts goes on.
pid=$(daemon)
[ -n "$pid" ] || fail "no pid"
(cp /tmp/data /mnt/three && sync; echo $? > /tmp/code) &
began=$(date +%s)
kill -9 $pid
wait
say "killed $(cat /tmp/code) after $(($(date +%s) - began)) s"
read answer
within 20 '[ $(cat /sys/block/$nbd/size) = 196608 ]'
say grown
aoe detach e1.1 > /tmp/detach 2>&1 && fail "detached while mounted"
say "busy $(cat /tmp/detach)"
must umount /mnt
echo 3 > /proc/sys/vm/drop_caches
must /host/e2fsck -f -n $disk
must mount -t ext4 -o ro $disk /mnt
for f in one two three; do cmp /tmp/data /mnt/$f || fail "cmp $f"; done
must umount /mnt
must aoe detach e1.1
[ -e $disk ] && fail "$disk stays"
say "size $(cat /sys/block/$nbd/size)"

# The same disk by the server for others, and the usual client of the same driver.
/share/aoe nbd e1.1 -i eth0 --socket /tmp/nbd.sock > /tmp/server 2>&1 &
server=$!
within 30 '[ -S /tmp/nbd.sock ]'
must /host/nbd-client -unix /tmp/nbd.sock /dev/nbd5
must /host/e2fsck -f -n /dev/nbd5
must mount -t ext4 /dev/nbd5 /mnt
for f in one two three; do cmp /tmp/data /mnt/$f || fail "cmp $f"; done
must cp /tmp/data /mnt/four
must sync
must umount /mnt
must /host/nbd-client -d /dev/nbd5
kill $server
wait $server || { cat /tmp/server; fail "aoe nbd ends"; }
say served
dmesg | grep -i nbd | sed 's/^/@@ dmesg /'
say done
`;

interopTest(
  "attach --backend nbd: the kernel's driver keeps a file system over a kill, and grows; nbd-client too",
  [...guestTools, "mke2fs", "e2fsck", "nbd-client"],
  async () => {
    await using testbed = await Testbed.create();
    const { target, host } = await guestNetwork(testbed, 1500);
    const path = await testbed.image("disk.img", 64 << 20);
    const options = { interfaces: "net0", exports: [["1.1", path]] } as const;
    const serve = await startTarget(target, options);
    await using guest = await bootWithExecutable(testbed, host, {
      ...{ kernel: await guestKernel(), mtu: 1500, memoryMiB: 768 },
      modules: ["nbd"],
      programs: ["mke2fs", "e2fsck", "nbd-client"],
      script,
    });
    const attached = await guestSays(guest, "attached", 120_000);
    assert(/^e1\.1 is \/dev\/etherd\/e1\.1, .* by nbd \(\/dev\/nbd\d+\)$/.test(attached), attached);
    const queue = await guestSays(guest, "queue", 10_000);
    assertEquals(queue.replaceAll(/ +/g, " "), "write back 1 [none] mq-deadline 131072");
    await guestSays(guest, "written", 60_000);
    // A target that is away is waited for.
    await serve.stop();
    await guest.write("go on\n");
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const again = await startTarget(target, options);
    await guestSays(guest, "over", 60_000);
    assertMatch(await guestSays(guest, "killed", 120_000), /^0 after \d+ s$/);
    await again.stop();
    await Deno.truncate(path, 96 << 20);
    await using _third = await startTarget(target, options);
    await guest.write("it has grown\n");
    await guestSays(guest, "grown", 60_000);
    assert((await guestSays(guest, "busy", 60_000)).includes("e1.1 is in use"));
    assertEquals(await guestSays(guest, "size", 120_000), "0");
    await guestSays(guest, "served", 120_000);
    await guestSays(guest, "done", 10_000);
    await guest.ended;
    await runChecked(["e2fsck", "-f", "-n", path]);
  },
);
