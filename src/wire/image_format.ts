// Files that hold a disk without being one: images of virtual machines, which have a layout of
// their own, and compressed files. They are told by their bytes, never by their names, since names
// are what people get wrong. Sources: QEMU's docs/interop (qcow2, qed, parallels), Microsoft's VHD
// and VHDX specifications, VMware's 'Virtual Disk Format 5.0', VirtualBox's VDICore.h, RFC 1952
// (gzip), RFC 8878 (zstd), the xz, bzip2 and lz4 file formats, PKWARE's APPNOTE.TXT (zip).

/** A format that is not the disk itself. */
export interface ImageFormat {
  /** As people call it: `qcow2`, `gzip`. */
  readonly name: string;
  /**
   * What opens it: `qemu` with the name that `qemu-nbd -f` has for it; `unpack` with the words in
   * front of the file's name that write the contents beside it.
   */
  readonly opens:
    | { readonly by: "qemu"; readonly driver: string }
    | { readonly by: "unpack"; readonly command: string };
}

/** Bytes that must be read from each end of a file to tell. */
export const IMAGE_PROBE_BYTES = 512;

/** Bytes that stand at an offset of the first or the last 512 bytes. */
interface Mark {
  readonly format: ImageFormat;
  readonly end: "head" | "tail";
  readonly offset: number;
  readonly bytes: readonly number[];
}

const MARKS: readonly Mark[] = [
  mark(qemu("qcow2", "qcow2"), "head", 0, [...ascii("QFI"), 0xfb, 0, 0, 0, 2]),
  mark(qemu("qcow2", "qcow2"), "head", 0, [...ascii("QFI"), 0xfb, 0, 0, 0, 3]),
  mark(qemu("qcow", "qcow"), "head", 0, [...ascii("QFI"), 0xfb, 0, 0, 0, 1]),
  mark(qemu("QED", "qed"), "head", 0, [...ascii("QED"), 0]),
  mark(qemu("VMDK", "vmdk"), "head", 0, ascii("KDMV")),
  mark(qemu("VMDK", "vmdk"), "head", 0, ascii("COWD")),
  mark(qemu("VMDK", "vmdk"), "head", 0, ascii("# Disk DescriptorFile")),
  mark(qemu("VDI", "vdi"), "head", 64, [0x7f, 0x10, 0xda, 0xbe]),
  // A dynamic one has a copy of its footer in front; a fixed one has it at the end alone.
  mark(qemu("VHD", "vpc"), "head", 0, ascii("conectix")),
  mark(qemu("VHD", "vpc"), "tail", 0, ascii("conectix")),
  mark(qemu("VHDX", "vhdx"), "head", 0, ascii("vhdxfile")),
  mark(qemu("Parallels", "parallels"), "head", 0, ascii("WithoutFreeSpace")),
  mark(qemu("Parallels", "parallels"), "head", 0, ascii("WithouFreSpacExt")),
  mark(qemu("DMG", "dmg"), "tail", 0, ascii("koly")),
  mark(unpack("gzip", "gunzip -k"), "head", 0, [0x1f, 0x8b, 8]),
  mark(unpack("xz", "xz -dk"), "head", 0, [0xfd, ...ascii("7zXZ"), 0]),
  mark(unpack("zstd", "zstd -d"), "head", 0, [0x28, 0xb5, 0x2f, 0xfd]),
  // Its level, then pi: the mark of the first block.
  ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((level) =>
    mark(unpack("bzip2", "bzip2 -dk"), "head", 0, [
      ...ascii(`BZh${level}`),
      ...[0x31, 0x41, 0x59, 0x26, 0x53, 0x59],
    ])
  ),
  mark(unpack("lz4", "lz4 -d"), "head", 0, [0x04, 0x22, 0x4d, 0x18]),
  mark(unpack("zip", "unzip"), "head", 0, [...ascii("PK"), 3, 4]),
  mark(unpack("7z", "7z x"), "head", 0, [...ascii("7z"), 0xbc, 0xaf, 0x27, 0x1c]),
];

/**
 * Tells what a file is when it is not the disk itself.
 *
 * @param head Its first 512 bytes, fewer when it has no more.
 * @param tail Its last 512 bytes.
 * @returns Undefined for everything that can be a disk: file systems, partition tables, LUKS, ISO.
 */
export function recognizeImage(head: Uint8Array, tail: Uint8Array): ImageFormat | undefined {
  return MARKS.find(({ end, offset, bytes }) => {
    const view = end === "head" ? head : tail;
    return bytes.every((byte, i) => view[offset + i] === byte);
  })?.format;
}

function mark(
  format: ImageFormat,
  end: Mark["end"],
  offset: number,
  bytes: readonly number[],
): Mark {
  return { format, end, offset, bytes };
}

function qemu(name: string, driver: string): ImageFormat {
  return { name, opens: { by: "qemu", driver } };
}

function unpack(name: string, command: string): ImageFormat {
  return { name, opens: { by: "unpack", command } };
}

function ascii(text: string): number[] {
  return [...text].map((character) => character.charCodeAt(0));
}
