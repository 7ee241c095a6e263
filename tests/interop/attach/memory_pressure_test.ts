// A disk that is attached where memory is short: a guest of 320 MB writes twice what it has free
// to a file system on it. Dirty pages can only be written by the daemon, which needs memory to do so.

import { assert } from "@std/assert";
import { guestKernel, guestNetwork, guestSays, guestTools } from "../../harness/guest.ts";
import { bootWithExecutable } from "../../harness/guest_executable.ts";
import { interopTest } from "../../harness/requirements.ts";
import { startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

/** A multiple of what is written at once; AOE_PRESSURE_MIB=2048 takes minutes without KVM. */
const mib = Number(Deno.env.get("AOE_PRESSURE_MIB") ?? 384);
const PIECE_MIB = 16;

const script = `
must aoe attach e1.1 -i eth0 --backend fuse
say attached $(cat /tmp/output)
must /host/mke2fs -q -t ext4 -E lazy_itable_init=0,lazy_journal_init=0 $disk
must mount -t ext4 $disk /mnt
yes "sixteen bytes of" | head -c ${PIECE_MIB * 2 ** 20} > /tmp/piece
pieces=$(seq ${mib / PIECE_MIB})
say free $(sed -n 's/^MemAvailable: *//p' /proc/meminfo)
for i in $pieces; do cat /tmp/piece || fail "write"; done > /mnt/large
say written $(sed -n 's/^MemFree: *//p' /proc/meminfo)
must sync
echo 3 > /proc/sys/vm/drop_caches
for i in $pieces; do cat /tmp/piece; done | /host/cmp - /mnt/large || fail "compare"
must umount /mnt
must /host/e2fsck -f -n $disk
must aoe detach e1.1
dmesg | grep -iE "hung|blocked for|oom-kill|Out of memory" | sed 's/^/@@ trouble /'
say done
`;

interopTest(
  `attach: a guest of 320 MB writes ${mib} MiB to its disk, and reads them back`,
  [...guestTools, "cmp", "mke2fs", "e2fsck"],
  async () => {
    await using testbed = await Testbed.create();
    const { target, host } = await guestNetwork(testbed, 9000);
    const image = await testbed.image("disk.img", (mib + 256) * 2 ** 20);
    await using _serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", image]],
    });
    await using guest = await bootWithExecutable(testbed, host, {
      ...{ kernel: await guestKernel(), mtu: 9000, memoryMiB: 320 },
      modules: ["fuse", "loop"],
      programs: ["cmp", "mke2fs", "e2fsck"],
      script,
    });
    await guestSays(guest, "attached", 90_000);
    const freeMiB = parseInt(await guestSays(guest, "free", 90_000)) / 1024;
    assert(mib > 2 * freeMiB, `${freeMiB} MiB are free`);
    await guestSays(guest, "written", 600_000);
    await guestSays(guest, "done", 600_000);
    assert(!guest.lines.some((line) => line.text.includes("@@ trouble")), guest.text);
  },
);
