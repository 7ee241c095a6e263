// A table of struct iovec in an arena, for the vectored operations of one batch.

import type { Arena } from "./arena.ts";

/** Struct iovec. */
const IOVEC_BYTES = 16;

/** Iovecs for the operations of one batch; the kernel has copied them once it is submitted. */
export class VectorTable {
  readonly #arena: Arena;
  readonly #at: number;
  readonly #capacity: number;
  readonly #pointers: Deno.PointerValue[] = [];
  #used = 0;

  constructor(arena: Arena, capacity: number) {
    this.#arena = arena;
    this.#capacity = capacity;
    this.#at = arena.allocate(capacity * IOVEC_BYTES, IOVEC_BYTES);
    for (let i = 0; i < capacity; i++) {
      this.#pointers.push(arena.pointer(this.#at + i * IOVEC_BYTES));
    }
  }

  /** Number of the next iovec that `add` makes. */
  get used(): number {
    return this.#used;
  }

  /** Whether `count` more fit. */
  fits(count: number): boolean {
    return this.#used + count <= this.#capacity;
  }

  /** Adds an iovec for memory at an offset of the arena. */
  add(memoryAt: number, bytes: number): void {
    const at = this.#at + this.#used++ * IOVEC_BYTES;
    this.#arena.setUint64(at, this.#arena.address + memoryAt);
    this.#arena.u32[(at >>> 2) + 2] = bytes;
    this.#arena.u32[(at >>> 2) + 3] = 0;
  }

  /** Address of iovec `i`. */
  address(i: number): number {
    return this.#arena.address + this.#at + i * IOVEC_BYTES;
  }

  /** Pointer to iovec `i`. */
  pointer(i: number): Deno.PointerValue {
    return this.#pointers[i]!;
  }

  /** Pointer to the iovec at an address that `address` gave. */
  pointerAt(address: number): Deno.PointerValue {
    return this.#pointers[(address - this.#arena.address - this.#at) / IOVEC_BYTES]!;
  }

  /** Forgets all iovecs. */
  clear(): void {
    this.#used = 0;
  }
}
