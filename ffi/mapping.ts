// A file's pages in the page cache, seen through mmap(2): only their addresses are handed out, for
// sendmmsg to gather from and process_vm_readv to store to. JS never touches the memory, so a page
// that cannot be had makes the system call fail with EFAULT instead of killing the process with SIGBUS.

import { errno, SystemError } from "./errno.ts";
import type { Pointer } from "./libc.ts";
import { openLibc } from "./libc.ts";
import { PAGE_BYTES } from "./arena.ts";
import { fileBytes } from "./files.ts";

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MADV_RANDOM = 1;

const libc = openLibc(
  {
    // void *addr, size_t length, int prot, int flags, int fd, off_t offset
    mmap: {
      parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"],
      result: "pointer",
    },
    // void *addr, size_t length
    munmap: { parameters: ["pointer", "usize"], result: "i32" },
    // void *addr, size_t length, int advice
    madvise: { parameters: ["pointer", "usize", "i32"], result: "i32" },
    // void *addr, size_t length, unsigned char *vec
    mincore: { parameters: ["pointer", "usize", "buffer"], result: "i32" },
  } as const,
);

/** A fixed number of places, each of which can hold one mapped segment of a file. */
export class MappedSegments {
  readonly #fd: number;
  readonly #device: boolean;
  readonly #segmentBytes: number;
  readonly #pointers: Pointer[];
  readonly #addresses: Float64Array;
  readonly #vector = new Uint8Array(256);
  #replaced: Pointer = null;
  #writable: boolean;

  /**
   * @param segmentBytes Multiple of the page size.
   * @param options `device`: the descriptor is a block device's. `writable`: it may be written by.
   */
  constructor(
    fd: number,
    segmentBytes: number,
    places: number,
    options: { readonly device: boolean; readonly writable: boolean },
  ) {
    this.#fd = fd;
    this.#device = options.device;
    this.#writable = options.writable;
    this.#segmentBytes = segmentBytes;
    this.#pointers = new Array(places).fill(null);
    this.#addresses = new Float64Array(places);
  }

  /** Address of the segment in a place; 0 when the place is empty. */
  address(place: number): number {
    return this.#addresses[place]!;
  }

  /**
   * Puts a segment into a place, in place of what was there, which stays mapped until
   * `unmapReplaced`. The part beyond the end of the file cannot be read; that is found out at reading.
   *
   * @throws {SystemError} ENODEV when the file cannot be mapped at all.
   */
  map(place: number, segment: number): void {
    this.unmapReplaced();
    const bytes = BigInt(this.#segmentBytes);
    let pointer = this.#mmap(segment);
    if (pointer === null && this.#writable) {
      // Some file systems map files for reading only. What is mapped already stays writable.
      this.#writable = false;
      pointer = this.#mmap(segment);
    }
    if (pointer === null) throw new SystemError("Map a file", errno());
    // A wrong guess about residency must cost one page of reading, not a read-ahead window.
    libc.madvise(pointer, bytes, MADV_RANDOM);
    this.#replaced = this.#pointers[place]!;
    this.#pointers[place] = pointer;
    this.#addresses[place] = Number(Deno.UnsafePointer.value(pointer));
  }

  /** Whether pages may be written by their addresses. */
  get writable(): boolean {
    return this.#writable;
  }

  /**
   * Whether the file is that long at this moment. What is written by a page's address behind the end
   * of a file, and on the page in which it ends, is lost without an error: mmap(2). A device that has
   * shrunk makes writing back fail, of which fdatasync tells.
   */
  reaches(end: number): boolean {
    return this.#device || fileBytes(this.#fd) >= end;
  }

  /** Whether a segment that has lost its place is still mapped. */
  get hasReplaced(): boolean {
    return this.#replaced !== null;
  }

  /**
   * Unmaps the segment that has lost its place. Nothing may wait to be sent from it: the next one
   * mapped would stand at its address. What has been sent has been copied already.
   */
  unmapReplaced(): void {
    if (this.#replaced === null) return;
    libc.munmap(this.#replaced, BigInt(this.#segmentBytes));
    this.#replaced = null;
  }

  /** Unmaps everything; nothing may wait to be sent from it. */
  close(): void {
    this.unmapReplaced();
    for (const [place, pointer] of this.#pointers.entries()) {
      if (pointer !== null) libc.munmap(pointer, BigInt(this.#segmentBytes));
      this.#pointers[place] = null;
      this.#addresses[place] = 0;
    }
  }

  /**
   * Whether pages of a mapped segment are all in memory: mincore(2).
   *
   * @param offset Bytes into the segment, a multiple of the page size.
   * @param bytes At most 1 MiB.
   */
  resident(place: number, offset: number, bytes: number): boolean {
    const pointer = this.#pointers[place]!;
    if (pointer === null) return false;
    const pages = Math.ceil(bytes / PAGE_BYTES);
    const start = Deno.UnsafePointer.offset(pointer, offset);
    if (libc.mincore(start, BigInt(bytes), this.#vector) < 0) return false;
    for (let i = 0; i < pages; i++) if ((this.#vector[i]! & 1) === 0) return false;
    return true;
  }

  #mmap(segment: number): Pointer {
    const bytes = BigInt(this.#segmentBytes);
    const protection = this.#writable ? PROT_READ | PROT_WRITE : PROT_READ;
    const at = BigInt(segment) * bytes;
    const pointer = libc.mmap(null, bytes, protection, MAP_SHARED, this.#fd, at);
    // MAP_FAILED is (void *) -1.
    if (pointer === null || BigInt.asIntN(64, Deno.UnsafePointer.value(pointer)) === -1n) {
      return null;
    }
    return pointer;
  }
}
