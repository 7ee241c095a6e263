// What `aoe serve` takes for a disk, and what it refuses: formats that only contain one, devices
// that are missing or read-only, sizes that cannot be said.

import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { closeFile } from "../../../ffi/files.ts";
import {
  type ExportFile,
  type ExportFileOptions,
  ExportRefusal,
  openExport,
} from "../../../src/control/target/open_file.ts";
import { run, runChecked } from "../../harness/process.ts";
import { interopTest } from "../../harness/requirements.ts";

const ADDRESS = { shelf: 1, slot: 1 };

/** Opens an export and closes it again. */
function open(path: string, options: Partial<ExportFileOptions> = {}): ExportFile {
  const file = openExport(ADDRESS, path, {
    ...{ direct: false, sync: false, readOnly: false, force: false, format: undefined },
    ...{ offsetBytes: 0, lengthBytes: undefined, createBytes: undefined },
    ...options,
  });
  closeFile(file.config.fd);
  return file;
}

function refusal(path: string, options: Partial<ExportFileOptions> = {}): string {
  return assertThrows(() => open(path, options), ExportRefusal).message;
}

/** Runs a body with a folder of its own. */
async function withFolder(body: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "aoe-exports-" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("exports: what only contains a disk is refused with what to do, unless it is raw", async () => {
  await withFolder((folder) => {
    const rows: [name: string, bytes: string, wayOut: RegExp][] = [
      [
        "a.qcow2",
        "QFI\xfb\0\0\0\x03",
        /qemu-nbd -t -f qcow2 -k (\/run\/\S+) \S+a\.qcow2 and name nbd\+unix:\/\/\1 /,
      ],
      ["b.vmdk", "KDMV\x01", /qemu-nbd -t -f vmdk/],
      ["c.vhdx", "vhdxfile", /qemu-nbd -t -f vhdx/],
      ["d.vhd", `${"\0".repeat(7680)}conectix`, /qemu-nbd -t -f vpc/],
      ["e.img", "\x1f\x8b\x08", /gunzip -k \S+e\.img\)/],
      ["it's.img", "\xfd7zXZ\0", /xz -dk '\S+it'\\''s\.img'\)/],
    ];
    for (const [name, text, wayOut] of rows) {
      const path = `${folder}/${name}`;
      const bytes = new Uint8Array(8192);
      for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
      Deno.writeFileSync(path, bytes);
      assertMatch(refusal(path), wayOut);
      assertMatch(refusal(path), /--format raw$/);
      assertEquals(open(path, { format: "raw" }).sectors, 16, name);
      assertEquals(open(path, { force: true }).sectors, 16, name);
    }
    assertMatch(refusal(`${folder}/a.qcow2`, { readOnly: true }), /qemu-nbd -t -r -f qcow2/);
  });
});

Deno.test("exports: no file is made in /dev, and a device that is missing is called so", () => {
  const missing = "/dev/aoe-no-such-device";
  for (const createBytes of [undefined, 1 << 20]) {
    assertEquals(refusal(missing, { createBytes }), `There is no device "${missing}"`);
  }
  assertThrows(() => Deno.lstatSync(missing), Deno.errors.NotFound);
  // A tmpfs like any other.
  const path = `/dev/shm/aoe-test-${crypto.randomUUID()}.img`;
  assertMatch(refusal(path), /make one with --size/);
});

Deno.test("exports: a missing file that is only to be read is not to be made with --size", () => {
  const path = "/dev/shm/aoe-no-such-image";
  assertEquals(
    refusal(path, { readOnly: true, createBytes: 1 << 20 }),
    `No such file "${path}", and a new one would be empty for ever: leave out --size or -r`,
  );
  assertEquals(
    refusal(path, { readOnly: true }),
    `No such file "${path}", and nothing to read: make it first`,
  );
  assertThrows(() => Deno.lstatSync(path), Deno.errors.NotFound);
});

Deno.test("exports: from 128 PiB on sizes cannot be said, and are refused", () => {
  // A tmpfs has files of that size, other file systems may not.
  const path = `/dev/shm/aoe-test-${crypto.randomUUID()}.img`;
  assertMatch(refusal(path, { createBytes: 2 ** 57 }), /128 PiB.*48 bits/);
  assertThrows(() => Deno.lstatSync(path), Deno.errors.NotFound);
  Deno.writeFileSync(path, new Uint8Array(0));
  try {
    Deno.truncateSync(path, 2 ** 57);
    assertMatch(refusal(path), /128 PiB.*48 bits/);
    assertEquals(open(path, { lengthBytes: 2 ** 57 - 512 }).sectors, 2 ** 48 - 1);
  } finally {
    Deno.removeSync(path);
  }
});

interopTest("exports: a device or file system that is read-only makes a read-only disk", [
  "losetup",
], async () => {
  await withFolder(async (folder) => {
    const image = `${folder}/disk.img`;
    await Deno.writeFile(image, new Uint8Array(1 << 20));
    const { stdout } = await runChecked(["losetup", "-r", "-f", "--show", image]);
    const device = stdout.trim();
    try {
      const { config, warnings } = open(device);
      assertEquals([config.readOnly, config.trim], [true, false]);
      assertMatch(warnings.join(), new RegExp(`^"${device}".*refuses writes.*read-only$`));
      assertEquals(open(device, { readOnly: true }).warnings, []);
    } finally {
      await run(["losetup", "-d", device]);
    }
    const mount = `${folder}/mnt`;
    await Deno.mkdir(mount);
    await runChecked(["mount", "-t", "tmpfs", "-o", "size=2m", "aoe-test", mount]);
    try {
      await Deno.writeFile(`${mount}/disk.img`, new Uint8Array(1 << 20));
      assertEquals(open(`${mount}/disk.img`).config.readOnly, false);
      await runChecked(["mount", "-o", "remount,ro", mount]);
      const { config, warnings } = open(`${mount}/disk.img`);
      assertEquals(config.readOnly, true);
      assertMatch(warnings.join(), /mounted read-only.*read-only$/);
    } finally {
      await run(["umount", "-l", mount]);
    }
  });
});

Deno.test("exports: another file in the place of one has another incarnation", async () => {
  await withFolder((folder) => {
    const path = `${folder}/disk.img`;
    for (const name of [path, `${path}.new`]) Deno.writeFileSync(name, new Uint8Array(65_536));
    const incarnation = () => open(path).config.incarnation;
    const before = incarnation();
    Deno.writeFileSync(path, new Uint8Array(65_536).fill(1));
    assertEquals(incarnation(), before, "it is the same file");
    Deno.renameSync(`${path}.new`, path);
    // A flush of the new one does not cover what was written to the old one.
    assertEquals(incarnation() === before, false);
  });
});
