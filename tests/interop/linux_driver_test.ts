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
import { fileSystemScript, makeTree } from "./guest_file_systems.ts";
import { runChecked } from "./process.ts";
import { interopTest } from "./requirements.ts";
import { startTarget } from "./target.ts";
import { Testbed } from "./testbed.ts";

const imageBytes = 64 << 20;

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
        script: `mtu=${mtu} disks="e1.1 e2.7"\n${fileSystemScript}`,
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
