// Memory that the kernel may keep addresses of: one anonymous mmap(2), never moved and never given
// back while the process runs. V8 may free a typed array after its last use, even one that a system
// call still points into; an arena it cannot.

import { openLibc } from "./libc.ts";
import type { Pointer } from "./libc.ts";
import { errno, SystemError } from "./errno.ts";

// sys/mman.h
const PROT_READ_WRITE = 3;
const MAP_PRIVATE_ANONYMOUS = 0x22;

const libc = openLibc(
  {
    mmap: {
      // void *addr, size_t length, int prot, int flags, int fd, off_t offset
      parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"],
      result: "pointer",
    },
  } as const,
);

/** Bytes of a memory page on the machines Deno runs on; a larger real page only wastes. */
export const PAGE_BYTES = 4096;

/** Size of the arena that only counts; see `Arena.fit`. */
const COUNTING = Infinity;

/** A block of memory with typed views over all of it; offsets are in bytes from its start. */
export class Arena {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly u16: Uint16Array;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly i64: BigInt64Array;
  #used = 0;
  /** Bytes that may be allocated. */
  readonly #limit: number;

  /** @param size Bytes, rounded up to whole pages; pages are backed by memory once touched. */
  constructor(size: number) {
    const length = Math.ceil(size / PAGE_BYTES) * PAGE_BYTES;
    const { address, buffer } = size === COUNTING
      ? { address: 0, buffer: new ArrayBuffer(0) }
      : mapMemory(length);
    this.#limit = length;
    this.address = address;
    this.bytes = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.i64 = new BigInt64Array(buffer);
  }

  /**
   * Builds tables on an arena of exactly the size that they allocate, and of so much more for what
   * is to be built later: address space, until it is used.
   *
   * @param build Called twice. On the first arena everything can be allocated, but there is no
   * memory: what is written goes nowhere, and what was built is thrown away. So it must do nothing
   * but build.
   */
  static fit<T>(
    build: (arena: Arena) => T,
    spareBytes = 0,
  ): { readonly arena: Arena; readonly built: T } {
    const counting = new Arena(COUNTING);
    build(counting);
    const arena = new Arena(counting.#used + spareBytes);
    return { arena, built: build(arena) };
  }

  /**
   * Sets bytes aside, zeroed; there is no way to give them back.
   *
   * @returns Their offset.
   * @throws {RangeError} When the arena is used up: its maker computed the size wrong.
   */
  allocate(bytes: number, alignment = 8): number {
    const at = Math.ceil(this.#used / alignment) * alignment;
    if (at + bytes > this.#limit) throw new RangeError("Arena is used up");
    this.#used = at + bytes;
    return at;
  }

  /** A pointer to an offset, for calls; made once, kept by the caller. */
  pointer(at: number): Pointer {
    return Deno.UnsafePointer.create(BigInt(this.address + at));
  }

  /** Stores an address, a size or a place in a file as 64 bits; see `storeUint64`. */
  setUint64(at: number, value: number): void {
    // A store beyond the end, as an arena that only counts would have it, makes V8 compile all of
    // them for that case: half as slow again for every frame.
    if (this.address !== 0) storeUint64(this.u32, at >>> 2, value);
  }

  /** The 64 bits at an offset, of which no more than 53 are in use. */
  uint64(at: number): number {
    return this.u32[at >>> 2]! + this.u32[(at >>> 2) + 1]! * 0x1_0000_0000;
  }
}

/**
 * Stores an integer from −2^53 to 2^53 as 64 bits, as the kernel reads them; no BigInt, which would
 * be allocated.
 *
 * @param at In words.
 */
export function storeUint64(u32: Uint32Array, at: number, value: number): void {
  const high = Math.floor(value / 0x1_0000_0000);
  u32[at] = value - high * 0x1_0000_0000;
  u32[at + 1] = high;
}

function mapMemory(length: number): { readonly address: number; readonly buffer: ArrayBuffer } {
  const pointer = libc.mmap(
    null,
    BigInt(length),
    PROT_READ_WRITE,
    MAP_PRIVATE_ANONYMOUS,
    -1,
    0n,
  );
  const value = Deno.UnsafePointer.value(pointer);
  // MAP_FAILED is (void *) -1.
  if (pointer === null || value === 0xffffffffffffffffn || value === -1n) {
    throw new SystemError(`Map ${length} bytes of memory`, errno());
  }
  return { address: Number(value), buffer: Deno.UnsafePointerView.getArrayBuffer(pointer, length) };
}
