// The Linux kernel's own AoE driver, in a guest, on exports of `aoe serve`: it finds them, makes and
// mounts file systems, and finds every byte again after the target, or what stands behind it, was
// restarted.

import { assertEquals } from "@std/assert";
import { guestSays, guestTools } from "../../harness/guest.ts";
import { fileSystemGuest } from "../../harness/guest_file_systems.ts";
import { qcow2Image, startQemuNbd } from "../nbd/nbd_server.ts";
import { runChecked } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";
import { startTarget } from "../../harness/target.ts";
import { Testbed } from "../../harness/testbed.ts";

const imageBytes = 64 << 20;

for (const { mtu, payload } of [{ mtu: 1500, payload: 1024 }, { mtu: 9000, payload: 8704 }]) {
  interopTest(
    `serve: the Linux driver keeps two file systems over a restart at MTU ${mtu}`,
    [...guestTools, "mke2fs", "e2fsck"],
    async () => {
      await using testbed = await Testbed.create();
      const { target, boot } = await fileSystemGuest(testbed, mtu, ["e1.1", "e2.7"]);
      const paths = [
        await testbed.image("first.img", imageBytes),
        await testbed.image("second.img", imageBytes),
      ] as const;
      const serving = {
        interfaces: "net0",
        exports: [["1.1", paths[0]], ["2.7", paths[1]]],
      } as const;
      const before = await startTarget(target, serving);
      await using guest = boot();
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

interopTest(
  "serve: the Linux driver keeps a file system on a qcow2 image, whose qemu-nbd is killed",
  [...guestTools, "mke2fs", "e2fsck", "qemu-img", "qemu-nbd"],
  async () => {
    await using testbed = await Testbed.create();
    const { target, boot } = await fileSystemGuest(testbed, 9000, ["e1.1"]);
    const image = await qcow2Image(testbed, "disk.qcow2", imageBytes);
    const socket = testbed.path("nbd");
    const before = await startQemuNbd(target, socket, image);
    await using serve = await startTarget(target, {
      interfaces: "net0",
      exports: [["1.1", `nbd+unix://${socket}`]],
      // The driver never flushes.
      flags: ["-s"],
    });
    await using guest = boot();
    const seen = await guestSays(guest, "device e1.1", 60_000);
    assertEquals(seen, `${imageBytes / 512} up eth0 8704`);
    await guestSays(guest, "mounted", 60_000);
    // While it copies.
    await before.stop("SIGKILL");
    await Deno.remove(socket);
    await serve.waitForLine(/is away/);
    const after = await startQemuNbd(target, socket, image);
    await guestSays(guest, "unmounted", 60_000);
    await guest.write("go on\n");
    await guestSays(guest, "clean", 60_000);
    await guest.ended;
    assertEquals((await serve.stop()).code, 0, serve.text);
    await after.stop();
    await runChecked(["qemu-img", "check", "-q", image]);
    const raw = testbed.path("raw");
    await runChecked(["qemu-img", "convert", "-O", "raw", image, raw]);
    await runChecked(["e2fsck", "-f", "-n", raw]);
  },
);
