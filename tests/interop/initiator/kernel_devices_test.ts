// Beside the kernel's own driver, in a guest: `aoe discover` has the driver look again, and
// `aoe stat` shows the driver's devices as Debian's aoe-stat does; `aoe attach --backend kernel`
// makes it attach a disk.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  guestKernel,
  guestNetwork,
  guestSays,
  guestTools,
  programPath,
} from "../../harness/guest.ts";
import { bootWithExecutable } from "../../harness/guest_executable.ts";
import { interopTest } from "../../harness/requirements.ts";
import { startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

const script = `
n=0; until [ -b /dev/etherd/e1.1 ]; do n=$((n+1)); [ $n -lt 100 ] || fail "no e1.1"
  echo > /dev/etherd/discover; sleep 0.1; done

echo all > /dev/etherd/flush
n=0; while [ -e /dev/etherd/e1.1 ]; do n=$((n+1)); [ $n -lt 50 ] || fail "e1.1 stays"; sleep 0.1; done
aoe discover > /tmp/discover 2>&1 || { cat /tmp/discover; fail "aoe discover"; }
sed 's/^/@@ discover /' /tmp/discover
n=0; until [ -b /dev/etherd/e1.1 ]; do n=$((n+1)); [ $n -lt 50 ] || fail "e1.1 not again"; sleep 0.1; done
n=0; until grep -q up /sys/block/etherd!e1.1/state; do n=$((n+1)); [ $n -lt 50 ] || fail "up"; sleep 0.1; done

sh /aoe-stat > /tmp/theirs 2>/tmp/complaints
aoe stat > /tmp/ours 2>&1 || { cat /tmp/ours; fail "aoe stat"; }
sed 's/^/@@ theirs /; s/ *$//' /tmp/theirs
sed 's/^/@@ ours /; s/ *$//' /tmp/ours

# The driver as a back end of attach.
printf e1.9 > /dev/etherd/flush
n=0; while [ -e /dev/etherd/e1.9 ]; do n=$((n+1)); [ $n -lt 50 ] || fail "e1.9 stays"; sleep 0.1; done
aoe attach e1.9 --backend kernel > /tmp/attach 2>&1 || { cat /tmp/attach; fail "attach e1.9"; }
say "attached $(head -n 1 /tmp/attach)"
[ -b /dev/etherd/e1.9 ] || fail "no e1.9"
must /host/mke2fs -q /dev/etherd/e1.9
must mount -t ext4 /dev/etherd/e1.9 /mnt
aoe detach e1.9 > /tmp/detach 2>&1 && fail "detached while mounted"
say "busy $(cat /tmp/detach)"
must umount /mnt
must aoe detach e1.9 e1.1
n=0; while [ -e /dev/etherd/e1.9 ]; do n=$((n+1)); [ $n -lt 50 ] || fail "e1.9 stays"; sleep 0.1; done
# One that only begins like another is left alone.
n=0; while [ -e /dev/etherd/e1.1 ]; do n=$((n+1)); [ $n -lt 50 ] || fail "e1.1 stays"; sleep 0.1; done
[ -e /dev/etherd/e1.10 ] || fail "e1.10 went with e1.1"
aoe attach e7.7 --backend kernel --timeout 1 > /tmp/attach 2>&1 && fail "attached e7.7"
say "missing $(cat /tmp/attach)"
say done
`;

interopTest(
  "stat and discover: beside the Linux driver they show and wake the kernel's devices",
  [...guestTools, "aoe-stat", "mke2fs"],
  async () => {
    await using testbed = await Testbed.create();
    const { target, host } = await guestNetwork(testbed, 1500);
    const path = await testbed.image("disk.img", 40 << 20);
    await using _serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", path], ["1.10", path.replace("disk", "other")], ["1.9", `${path}2`]],
      flags: ["--size", "2M"],
    });
    await Deno.mkdir(testbed.path("scripts"));
    await Deno.copyFile(programPath("aoe-stat"), testbed.path("scripts/aoe-stat"));
    await using guest = await bootWithExecutable(testbed, host, {
      ...{ kernel: await guestKernel(), mtu: 1500, memoryMiB: 512 },
      modules: ["aoe"],
      programs: ["mke2fs"],
      directories: [[testbed.path("scripts"), "/"]],
      script,
    });
    await guestSays(guest, "done", 180_000);
    const said = (word: string) =>
      guest.lines.flatMap((line) => line.text.split(`@@ ${word} `).slice(1));
    assertEquals(said("discover").filter((line) => /\be1\.1\b.*eth0/.test(line)).length, 1);
    // aoe-stat sorts by text; we sort by address.
    assertEquals(said("ours").toSorted(), said("theirs").toSorted());
    assertEquals(said("ours").map((line) => line.trim().split(" ")[0]), ["e1.1", "e1.9", "e1.10"]);
    assertEquals(
      said("attached"),
      ["e1.9 is /dev/etherd/e1.9, 2.0 MiB, by the kernel's driver"],
    );
    assertStringIncludes(said("busy").join(), "aoe: e1.9 is in use: unmount it first");
    assertStringIncludes(
      said("missing").join(),
      "aoe: No answer from e7.7",
    );
    assert(said("theirs").every((line) => /eth0 1024 {2}up$/.test(line)), guest.text);
  },
);
