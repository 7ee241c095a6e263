// `aoe attach --backend ublk` in a guest, whose kernel has the driver: a file system keeps its files,
// what was written under load is read back, and detaching leaves everything on the target and
// nothing in the guest.

import { assert, assertEquals } from "@std/assert";
import {
  againAfterPanic,
  backportsKernel,
  backportsTools,
  guestNetwork,
  guestSays,
} from "../../harness/guest.ts";
import { bootWithExecutable } from "../../harness/guest_executable.ts";
import { runChecked } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

const imageBytes = 256 << 20;

const script = `
must aoe attach e1.1 --backend ublk
say attached $(cat /tmp/output)
[ -b $disk ] || fail "no $disk"
cd /sys/block/ublkb0; say device $(cat size) $(cat ro) $(cat queue/write_cache) $(cat queue/fua); cd /
must /host/mke2fs -q -t ext4 $disk
must mount -t ext4 $disk /mnt/disk
for i in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/mnt/disk/file$i bs=64k count=$((i*i)) 2>/dev/null; done
(cd /mnt/disk && sha256sum file* > /tmp/sums && cp /tmp/sums sums)
aoe detach e1.1 > /tmp/output 2>&1 && fail "detached while mounted"
say refused $(cat /tmp/output)
must umount /mnt/disk
echo 3 > /proc/sys/vm/drop_caches
must mount -t ext4 $disk /mnt/disk
(cd /mnt/disk && must sha256sum -c -s /tmp/sums)
must fstrim /mnt/disk
must umount /mnt/disk
must /host/e2fsck -f -n $disk
must sync
say kept
read answer
fio() { LD_LIBRARY_PATH=/share/lib /share/host/fio --filename=$disk --direct=1 \\
  --verify=crc32c --verify_fatal=1 "$@"; }
fio --name=small --ioengine=libaio --iodepth=32 --rw=randwrite --bs=4k --size=16m \\
    --name=large --ioengine=io_uring --iodepth=8 --rw=randwrite --bs=256k --size=32m --offset=64m \\
  > /tmp/fio 2>&1 || { cat /tmp/fio; fail fio; }
say verified $(sed -n 's/.*VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$(daemon)/status)
must aoe detach e1.1
say detached $(cat /tmp/output)
within 5 '[ ! -e /dev/ublkb0 ] && [ ! -e /dev/ublkc0 ] && [ ! -e $disk ]'
must aoe attach e1.1 --backend ublk --read-only
say again $(cat /sys/block/ublkb0/ro)
must aoe detach e1.1
say done
`;

async function attachInGuest(): Promise<void> {
  await using testbed = await Testbed.create();
  const { target, host } = await guestNetwork(testbed, 9000);
  const image = await testbed.image("disk.img", imageBytes);
  await using serve = await startTarget(target, {
    interfaces: "net0",
    exports: [["1.1", image]],
  });
  await using guest = await bootWithExecutable(testbed, host, {
    ...{ kernel: await backportsKernel(), mtu: 9000, memoryMiB: 1024 },
    modules: ["ublk_drv"],
    programs: ["mke2fs", "e2fsck"],
    largeProgram: "fio",
    script,
  });
  const attached = await guestSays(guest, "attached", 120_000);
  assert(
    /^e1\.1 is \/dev\/etherd\/e1\.1, 256 MiB, by ublk \(\/dev\/ublkb0\)$/.test(attached),
    attached,
  );
  const device = await guestSays(guest, "device", 30_000);
  assertEquals(device, `${imageBytes / 512} 0 write back 1`);
  const refused = await guestSays(guest, "refused", 60_000);
  assert(/in use: unmount it first/.test(refused), refused);
  await guestSays(guest, "kept", 120_000);
  // What was synced stands on the target.
  await runChecked(["e2fsck", "-f", "-n", image]);
  await guest.write("go on\n");
  const peakKiB = Number(await guestSays(guest, "verified", 400_000));
  assert(peakKiB > 0 && peakKiB <= 120 * 1024, `The daemon took ${peakKiB} KiB of memory`);
  await guestSays(guest, "detached", 60_000);
  assertEquals(await guestSays(guest, "again", 60_000), "1");
  await guestSays(guest, "done", 60_000);
  await guest.ended;
  assertEquals((await serve.stop()).code, 0, serve.text);
}

interopTest(
  "attach: ublk: files are kept, fio reads back what it wrote, and detaching leaves nothing",
  [...backportsTools, "mke2fs", "e2fsck", "fio"],
  () => againAfterPanic(attachInGuest),
);
