// `aoe attach --backend fuse` on a kernel that cannot send requests to another process again (before
// Linux 6.9): nothing replaces a daemon that is killed, and nobody may wait for it.

import { assertEquals, assertMatch } from "@std/assert";
import {
  againAfterPanic,
  guestKernel,
  guestNetwork,
  guestSays,
  guestTools,
} from "../../harness/guest.ts";
import { bootWithExecutable } from "../../harness/guest_executable.ts";
import { interopTest } from "../../harness/requirements.ts";
import { startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

const script = `
aoe attach e1.1 -i eth0 --backend fuse > /tmp/attach 2>&1 || { cat /tmp/attach; fail "aoe attach"; }
say "attached $(head -n 1 /tmp/attach)"
say "keeper $(tail -n 1 /tmp/attach)"
loop=$(sed -n 's:.*(/dev/\\(loop[0-9]*\\)).*:\\1:p' /tmp/attach)
# What is in the page cache only when the daemon dies.
must dd if=/dev/urandom of=$disk bs=1M count=8
# Its name goes with it; who has it open reads on, in vain.
exec 3<$disk
kill -9 $(daemon)
began=$(date +%s)
dd of=/dev/null bs=4k count=1 skip=9999 <&3 2> /tmp/dd && fail "it still reads"
say "refused after $(($(date +%s) - began)) s: $(head -n 1 /tmp/dd)"
within 10 '[ ! -e $disk ]'
exec 3<&-
within 10 '[ ! -e /sys/block/$loop/loop ]'
say free
must aoe attach e1.1 -i eth0 --backend fuse
must dd if=$disk of=/dev/null bs=1M count=8
must aoe detach e1.1
say done
`;

async function killInGuest(): Promise<void> {
  await using testbed = await Testbed.create();
  const { target, host } = await guestNetwork(testbed, 1500);
  const path = await testbed.image("disk.img", 64 << 20);
  await using _serve = await startTarget(target, {
    interfaces: "net0",
    exports: [["1.1", path]],
  });
  await using guest = await bootWithExecutable(testbed, host, {
    ...{ kernel: await guestKernel(), mtu: 1500, memoryMiB: 768 },
    modules: ["fuse", "loop"],
    programs: [],
    script,
  });
  const attached = await guestSays(guest, "attached", 120_000);
  assertMatch(attached, /^e1\.1 is \/dev\/etherd\/e1\.1, .* by fuse \(\/dev\/loop\d+\)$/);
  const keeper = "a daemon that is killed is not replaced: " +
    "requests cannot be sent again before Linux 6.9";
  assertEquals((await guestSays(guest, "keeper", 10_000)).trim(), keeper);
  assertMatch(await guestSays(guest, "refused", 60_000), /^after [0-5] s: .*error/);
  await guestSays(guest, "free", 30_000);
  await guestSays(guest, "done", 120_000);
  await guest.ended;
}

interopTest(
  "attach: before Linux 6.9 a killed daemon's device fails at once, and its name is free",
  guestTools,
  () => againAfterPanic(killInGuest),
);
