// Copies within this process that the kernel makes, a line of them in one system call. Where memory
// cannot be written it stops, while a copy of our own would end the process by a signal: a mapped page
// behind the end of its file, on a full disk or on a broken one.

import type { Arena } from "./arena.ts";
import { errno } from "./errno.ts";
import type { Pointer } from "./libc.ts";
import { openLibc } from "./libc.ts";

// sys/resource.h
const RUSAGE_THREAD = 1;
const RUSAGE_BYTES = 144;
const RU_MINFLT = 64;
const RU_MAJFLT = 72;
/** Struct iovec. */
const IOVEC_BYTES = 16;

const libc = openLibc(
  {
    getpid: { parameters: [], result: "i32" },
    // pid_t pid, const struct iovec *local_iov, unsigned long liovcnt,
    // const struct iovec *remote_iov, unsigned long riovcnt, unsigned long flags
    process_vm_readv: {
      parameters: ["i32", "pointer", "u32", "pointer", "u32", "u32"],
      result: "i32",
    },
    // int who, struct rusage *usage
    getrusage: { parameters: ["i32", "buffer"], result: "i32" },
  } as const,
);

/** Copies from an arena to mapped memory, put in line and then made by process_vm_readv(2). */
export class CopyLine {
  readonly #arena: Arena;
  readonly #process: number;
  /** Struct iovec: of what is written, and of what is read. */
  readonly #toAt: number;
  readonly #fromAt: number;
  readonly #to: Pointer;
  readonly #from: Pointer;
  readonly #usage = new BigInt64Array(RUSAGE_BYTES / 8);
  #count = 0;

  constructor(arena: Arena, capacity: number) {
    this.#arena = arena;
    this.#process = libc.getpid();
    this.#toAt = arena.allocate(capacity * IOVEC_BYTES, IOVEC_BYTES);
    this.#fromAt = arena.allocate(capacity * IOVEC_BYTES, IOVEC_BYTES);
    this.#to = arena.pointer(this.#toAt);
    this.#from = arena.pointer(this.#fromAt);
  }

  /** Puts a copy in line: so many bytes at an offset of the arena, to an address. There is room. */
  add(from: number, bytes: number, to: number): void {
    const arena = this.#arena;
    const entry = this.#count++ * IOVEC_BYTES;
    arena.setUint64(this.#toAt + entry, to);
    arena.u32[(this.#toAt + entry + 8) >>> 2] = bytes;
    arena.setUint64(this.#fromAt + entry, arena.address + from);
    arena.u32[(this.#fromAt + entry + 8) >>> 2] = bytes;
  }

  /**
   * Makes the copies in line, in order, and forgets them.
   *
   * @returns Bytes copied: less than all where memory cannot be written. −errno when nothing was:
   * EFAULT, or ENOSYS and EPERM where the kernel does not do it.
   */
  copy(): number {
    const count = this.#count;
    this.#count = 0;
    const copied = libc.process_vm_readv(this.#process, this.#to, count, this.#from, count, 0);
    return copied < 0 ? -errno() : copied;
  }

  /** Forgets the line. */
  clear(): void {
    this.#count = 0;
  }

  /** Page faults of this thread so far, whether or not they waited for a disk: getrusage(2). */
  pageFaults(): number {
    libc.getrusage(RUSAGE_THREAD, this.#usage);
    return Number(this.#usage[RU_MINFLT / 8]! + this.#usage[RU_MAJFLT / 8]!);
  }
}
