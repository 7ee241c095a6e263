// What is told apart from a disk by its bytes: headers written by hand after each format's
// specification, and files made by the programs that people make them with, where they are here.

import { assert, assertEquals } from "@std/assert";
import { IMAGE_PROBE_BYTES, recognizeImage } from "../../src/wire/image_format.ts";

/** 512 bytes that hold `text` (Latin-1) at an offset. */
function sector(text: string, offset = 0): Uint8Array {
  const bytes = new Uint8Array(IMAGE_PROBE_BYTES);
  for (let i = 0; i < text.length; i++) bytes[offset + i] = text.charCodeAt(i);
  return bytes;
}

const EMPTY = new Uint8Array(IMAGE_PROBE_BYTES);

Deno.test("images: the headers of every format are told", () => {
  const heads: [name: string, head: Uint8Array][] = [
    ["qcow", sector("QFI\xfb\0\0\0\x01")],
    ["qcow2", sector("QFI\xfb\0\0\0\x02")],
    ["qcow2", sector("QFI\xfb\0\0\0\x03")],
    ["QED", sector("QED\0\0\0\x01\0")],
    ["VMDK", sector("KDMV\x01\0\0\0")],
    ["VMDK", sector("COWD\x01\0\0\0")],
    ["VMDK", sector("# Disk DescriptorFile\nversion=1\n")],
    ["VDI", sector("\x7f\x10\xda\xbe\x01\0\x01\0", 64)],
    ["VHD", sector("conectix\0\0\0\x02")],
    ["VHDX", sector("vhdxfileQ\0E\0M\0U\0")],
    ["Parallels", sector("WithoutFreeSpace\x02\0\0\0")],
    ["Parallels", sector("WithouFreSpacExt\x02\0\0\0")],
    ["gzip", sector("\x1f\x8b\x08\x08")],
    ["xz", sector("\xfd7zXZ\0\0\x04")],
    ["zstd", sector("\x28\xb5\x2f\xfd\x04")],
    ["bzip2", sector("BZh9\x31\x41\x59\x26\x53\x59")],
    ["bzip2", sector("BZh1\x31\x41\x59\x26\x53\x59")],
    ["lz4", sector("\x04\x22\x4d\x18\x64")],
    ["zip", sector("PK\x03\x04\x14\0")],
    ["7z", sector("7z\xbc\xaf\x27\x1c\0\x04")],
  ];
  for (const [name, head] of heads) {
    assertEquals(recognizeImage(head, EMPTY)?.name, name);
  }
  assertEquals(recognizeImage(EMPTY, sector("conectix\0\0\0\x02"))?.name, "VHD");
  assertEquals(recognizeImage(EMPTY, sector("koly\0\0\0\x04"))?.name, "DMG");
});

Deno.test("images: what can be a disk is one", () => {
  const disks: [what: string, head: Uint8Array][] = [
    ["nothing yet", EMPTY],
    ["a partition table", sector("\x55\xaa", 510)],
    ["LUKS", sector("LUKS\xba\xbe\0\x02")],
    ["xfs", sector("XFSB\0\0\x10\0")],
    ["NTFS", sector("\xeb\x52\x90NTFS    ")],
    ["text that speaks of a format", sector("The QFI\xfb of qcow2, KDMV and conectix")],
    ["half a mark", sector("\x1f\x8b")],
    ["a bzip2 without its block", sector("BZh9")],
    ["a file of 3 bytes", sector("QFI").subarray(0, 3)],
    ["an empty file", new Uint8Array(0)],
  ];
  for (const [what, head] of disks) assertEquals(recognizeImage(head, head), undefined, what);
  // In the middle of a disk stands what its user likes.
  assertEquals(recognizeImage(EMPTY, sector("koly", 4)), undefined);
});

/** Runs a shell line in a folder; false when the program is not on this machine. */
function make(folder: string, line: string): boolean {
  const { code, stderr } = new Deno.Command("sh", {
    args: ["-c", line],
    cwd: folder,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).outputSync();
  const text = new TextDecoder().decode(stderr);
  if (code === 127) return false;
  // Some builds of QEMU leave formats out.
  if (/Unknown file format|Format not found|Unknown driver/.test(text)) return false;
  assertEquals(code, 0, text);
  return true;
}

function ends(path: string): [head: Uint8Array, tail: Uint8Array] {
  const bytes = Deno.readFileSync(path);
  return [bytes.slice(0, IMAGE_PROBE_BYTES), bytes.slice(-IMAGE_PROBE_BYTES)];
}

Deno.test("images: what the programs make is told, and raw images are disks", () => {
  const folder = Deno.makeTempDirSync({ prefix: "aoe-images-" });
  try {
    Deno.writeTextFileSync(`${folder}/raw`, "a disk\n".repeat(1000));
    const rows: [name: string | undefined, file: string, line: string][] = [
      ["qcow2", "a.qcow2", "qemu-img create -q -f qcow2 a.qcow2 64M"],
      ["qcow2", "b.qcow2", "qemu-img create -q -f qcow2 -o compat=0.10 b.qcow2 64M"],
      ["VMDK", "a.vmdk", "qemu-img create -q -f vmdk a.vmdk 64M"],
      ["VMDK", "s.vmdk", "qemu-img create -q -f vmdk -o subformat=streamOptimized s.vmdk 64M"],
      ["VMDK", "f.vmdk", "qemu-img create -q -f vmdk -o subformat=monolithicFlat f.vmdk 64M"],
      ["VDI", "a.vdi", "qemu-img create -q -f vdi a.vdi 64M"],
      ["VHD", "a.vhd", "qemu-img create -q -f vpc a.vhd 64M"],
      ["VHD", "f.vhd", "qemu-img create -q -f vpc -o subformat=fixed f.vhd 1M"],
      ["VHDX", "a.vhdx", "qemu-img create -q -f vhdx a.vhdx 64M"],
      ["QED", "a.qed", "qemu-img create -q -f qed a.qed 64M"],
      [undefined, "a.raw", "qemu-img create -q -f raw a.raw 1M"],
      // The data of a flat VMDK are a raw disk.
      [
        undefined,
        "f-flat.vmdk",
        "qemu-img create -q -f vmdk -o subformat=monolithicFlat f.vmdk 1M",
      ],
      ["gzip", "raw.gz", "gzip -kf raw"],
      ["xz", "raw.xz", "xz -kf raw"],
      ["zstd", "raw.zst", "zstd -qf raw"],
      ["bzip2", "raw.bz2", "bzip2 -kf raw"],
      ["lz4", "raw.lz4", "lz4 -qf raw raw.lz4"],
      ["zip", "raw.zip", "zip -q raw.zip raw"],
      [undefined, "fs.img", "truncate -s 4M fs.img && PATH=$PATH:/usr/sbin:/sbin mke2fs -q fs.img"],
    ];
    let made = 0;
    for (const [name, file, line] of rows) {
      if (!make(folder, line)) continue;
      made++;
      assertEquals(recognizeImage(...ends(`${folder}/${file}`))?.name, name, line);
    }
    // gzip is part of every Debian.
    assert(made > 0);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
