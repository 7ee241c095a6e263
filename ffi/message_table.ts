// A table of struct mmsghdr with its iovecs, for recvmmsg(2) and sendmmsg(2): many frames in one
// crossing into the kernel. It lies in an arena, since the kernel reads and writes it there.

import type { Arena } from "./arena.ts";
import type { Pointer } from "./libc.ts";

// struct mmsghdr on 64-bit machines: struct msghdr (56 bytes) and unsigned int msg_len.
const MMSGHDR_BYTES = 64;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_LEN = 56;
/** struct iovec: void *iov_base, size_t iov_len. */
const IOVEC_BYTES = 16;

/** Messages of up to `vectors` pieces of memory each. */
export class MessageTable {
  readonly capacity: number;
  readonly #arena: Arena;
  readonly #headers: number;
  readonly #iovecs: number;
  readonly #vectors: number;
  readonly #pointers: readonly Pointer[];

  constructor(arena: Arena, capacity: number, vectors: number) {
    this.capacity = capacity;
    this.#arena = arena;
    this.#vectors = vectors;
    this.#headers = arena.allocate(capacity * MMSGHDR_BYTES, 64);
    this.#iovecs = arena.allocate(capacity * vectors * IOVEC_BYTES, 64);
    const pointers: Pointer[] = [];
    for (let i = 0; i < capacity; i++) {
      const header = this.#headers + i * MMSGHDR_BYTES;
      arena.setUint64(
        header + MSG_IOV,
        arena.address + this.#iovecs + i * vectors * IOVEC_BYTES,
      );
      arena.u32[(header + MSG_IOVLEN) >>> 2] = 1;
      pointers.push(arena.pointer(header));
    }
    this.#pointers = pointers;
  }

  /** Address of message `i`, to start a call there. */
  pointer(i: number): Pointer {
    return this.#pointers[i]!;
  }

  /** Makes message `i` one piece of memory. */
  setOne(i: number, address: number, bytes: number): void {
    const header = (this.#headers + i * MMSGHDR_BYTES) >>> 2;
    this.#arena.u32[header + MSG_IOVLEN / 4] = 1;
    this.#setVector(i * this.#vectors, address, bytes);
  }

  /** Makes message `i` two pieces: a header and what follows it from elsewhere. */
  setTwo(i: number, address: number, bytes: number, nextAddress: number, nextBytes: number) {
    const header = (this.#headers + i * MMSGHDR_BYTES) >>> 2;
    this.#arena.u32[header + MSG_IOVLEN / 4] = 2;
    this.#setVector(i * this.#vectors, address, bytes);
    this.#setVector(i * this.#vectors + 1, nextAddress, nextBytes);
  }

  /** Moves messages `first` to before `end` to the beginning of the table. */
  move(first: number, end: number): void {
    const u32 = this.#arena.u32;
    const bytes = this.#vectors * IOVEC_BYTES;
    const vectors = this.#iovecs;
    this.#arena.bytes.copyWithin(vectors, vectors + first * bytes, vectors + end * bytes);
    for (let i = first; i < end; i++) {
      const to = (this.#headers + (i - first) * MMSGHDR_BYTES + MSG_IOVLEN) >>> 2;
      u32[to] = u32[(this.#headers + i * MMSGHDR_BYTES + MSG_IOVLEN) >>> 2]!;
    }
  }

  /** Bytes that were received into, or sent from, message `i`. */
  length(i: number): number {
    return this.#arena.u32[(this.#headers + i * MMSGHDR_BYTES + MSG_LEN) >>> 2]!;
  }

  #setVector(i: number, address: number, bytes: number): void {
    const at = this.#iovecs + i * IOVEC_BYTES;
    this.#arena.setUint64(at, address);
    this.#arena.u32[(at >>> 2) + 2] = bytes;
    this.#arena.u32[(at >>> 2) + 3] = 0;
  }
}
