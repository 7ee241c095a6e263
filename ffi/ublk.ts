// ublk's two kinds of device files: /dev/ublk-control makes block devices and takes them away,
// /dev/ublkcN is where a server gets the requests of one. Both know nothing but commands by
// io_uring; what stands in them is wire/ublk.ts.

import { Arena, PAGE_BYTES } from "./arena.ts";
import { errno, SystemError } from "./errno.ts";
import { closeFile, openFile } from "./files.ts";
import { IoUring } from "./io_uring.ts";
import type { Pointer } from "./libc.ts";
import { openLibc } from "./libc.ts";

const PROT_READ = 1;
const MAP_SHARED_POPULATE = 0x8001;
/** Descriptors of queue 0 stand at the beginning of the device file. */
const DESCRIPTORS_AT = 0n;
const IO_WORDS = 16 / 4;
const CONTROL_WORDS = 32 / 4;
/** Structures that a control command points at. */
const STRUCTURE_BYTES = 64;

const libc = openLibc(
  {
    mmap: {
      // void *addr, size_t length, int prot, int flags, int fd, off_t offset
      parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"],
      result: "pointer",
    },
    // void *addr, size_t length
    munmap: { parameters: ["pointer", "usize"], result: "i32" },
  } as const,
);

/** /dev/ublk-control, one command at a time. */
export class UblkControlFile {
  /** Words of a command, to be filled before `begin`. */
  readonly command = new Uint32Array(CONTROL_WORDS);
  /** The structure that the command points at; in an arena, since the kernel keeps its address. */
  readonly structure: Uint32Array;
  readonly structureAddress: number;
  readonly #fd: number;
  readonly #ring: IoUring;

  /** @throws {SystemError} ENOENT without the module; EPERM where io_uring is forbidden. */
  constructor() {
    this.#fd = openFile("/dev/ublk-control", { readOnly: false });
    try {
      this.#ring = new IoUring(4, { wide: true });
    } catch (error) {
      closeFile(this.#fd);
      throw error;
    }
    const arena = new Arena(STRUCTURE_BYTES);
    this.structure = arena.u32.subarray(0, STRUCTURE_BYTES / 4);
    this.structureAddress = arena.address;
  }

  /** Gives `command` to the kernel, which works on it in a thread of its own. */
  begin(operation: number): void {
    this.#ring.command(0, this.#fd, operation, this.command);
  }

  /** The result of the command: 0 or more, or −errno; undefined as long as it is under way. */
  result(): number | undefined {
    this.#ring.submit();
    return this.#ring.next() ? this.#ring.result : undefined;
  }

  close(): void {
    this.#ring.close();
    closeFile(this.#fd);
  }
}

/** /dev/ublkcN: the only queue of a block device. Belongs to the thread that made it. */
export class UblkQueue {
  /** An eventfd, signalled when a request waits. */
  readonly event: number;
  /** What the kernel wants, at 24 bytes for each tag; the kernel writes it, nobody else may. */
  readonly descriptors: Uint32Array;
  /** Words of a command, to be filled before `command`. */
  readonly words = new Uint32Array(IO_WORDS);
  readonly #fd: number;
  readonly #ring: IoUring;
  readonly #mapped: Pointer;
  readonly #mappedBytes: number;

  /** @throws {SystemError} EBUSY as long as another server has the device. */
  constructor(path: string, depth: number, descriptorBytes: number) {
    this.#fd = openFile(path, { readOnly: false });
    try {
      this.#ring = new IoUring(depth);
      this.event = this.#ring.event;
      this.#mappedBytes = Math.ceil(depth * descriptorBytes / PAGE_BYTES) * PAGE_BYTES;
      this.#mapped = libc.mmap(
        null,
        BigInt(this.#mappedBytes),
        PROT_READ,
        MAP_SHARED_POPULATE,
        this.#fd,
        DESCRIPTORS_AT,
      );
      const address = Deno.UnsafePointer.value(this.#mapped);
      if (this.#mapped === null || BigInt.asIntN(64, address) === -1n) {
        throw new SystemError(`Map "${path}"`, errno());
      }
    } catch (error) {
      closeFile(this.#fd);
      throw error;
    }
    const buffer = Deno.UnsafePointerView.getArrayBuffer(this.#mapped, this.#mappedBytes);
    this.descriptors = new Uint32Array(buffer);
  }

  /** Queues `words` as a command for a tag. */
  command(operation: number, tag: number): void {
    this.#ring.command(tag, this.#fd, operation, this.words);
  }

  /** Gives the kernel what is queued, and lets it tell of new requests; no waiting. */
  submit(): void {
    this.#ring.submit();
  }

  /** Whether the kernel would not take all that is queued. */
  get full(): boolean {
    return this.#ring.queued > 0;
  }

  /** Takes the end of one command into `tag` and `result`; false when there is none. */
  next(): boolean {
    return this.#ring.next();
  }

  get tag(): number {
    return this.#ring.tag;
  }

  get result(): number {
    return this.#ring.result;
  }

  /** Lets go of the device; `descriptors` may not be touched any more. */
  close(): void {
    // The device cannot be deleted as long as a mapping of the file is left.
    libc.munmap(this.#mapped, BigInt(this.#mappedBytes));
    this.#ring.close();
    closeFile(this.#fd);
  }
}
