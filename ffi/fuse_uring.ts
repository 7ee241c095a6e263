// FUSE over io_uring (Linux 6.14): the kernel is told once where each request shall come, and the
// command that carries an answer asks for the next request. A crossing into the kernel less for each
// than by fuse_channel.ts; but what a killed process has not answered nobody can have sent again.
//
// There is a queue for every core that the machine may have, and the kernel uses them once all have
// an entry. Interrupts, forgets and what came before still come by /dev/fuse.

import { type Arena, storeUint64 } from "./arena.ts";
import { SystemError } from "./errno.ts";
import type { FuseEntries } from "./fuse_channel.ts";
import { IoUring } from "./io_uring.ts";

// linux/fuse.h, enum fuse_uring_cmd
const REGISTER = 1;
const COMMIT_AND_FETCH = 2;
/** struct fuse_uring_cmd_req: u64 flags, u64 commit_id, u16 queue, u8[6]. */
const COMMAND_WORDS = 6;
// struct fuse_uring_req_header: 128 bytes for the header of request or answer, 128 for the
// arguments, then struct fuse_uring_ent_in_out: u64 flags, u64 commit_id, u32 payload_sz.
const HEADER_BYTES = 288;
const ARGUMENTS_WORD = 128 / 4;
const COMMIT_ID_WORD = (256 + 8) / 4;
const PAYLOAD_SIZE_WORD = (256 + 16) / 4;
/** Each entry is told of by two struct iovec: its header and its payload. */
const IOVEC_BYTES = 16;

/** Which entries come by io_uring, and what the kernel and we tell each other of them. */
export class FuseUringTable {
  readonly queues: number;
  readonly first: number;
  readonly count: number;
  readonly #arena: Arena;
  readonly #headersAt: number;
  readonly #iovecsAt: number;

  /**
   * @param queues Cores that the machine may have, and not only has.
   * @param first Number of the first entry; those before it are none of the queues' business.
   * @param perQueue Entries of each queue.
   */
  constructor(arena: Arena, queues: number, first: number, perQueue: number) {
    this.#arena = arena;
    this.queues = queues;
    this.first = first;
    this.count = queues * perQueue;
    this.#headersAt = arena.allocate(this.count * HEADER_BYTES, 64);
    this.#iovecsAt = arena.allocate(this.count * 2 * IOVEC_BYTES, 64);
  }

  /** Queue of an entry. */
  queueOf(entry: number): number {
    return (entry - this.first) % this.queues;
  }

  /** Arena offset of an entry's struct fuse_uring_req_header. */
  headerAt(entry: number): number {
    return this.#headersAt + (entry - this.first) * HEADER_BYTES;
  }

  /** Writes where the kernel shall put requests; returns the address of the two iovecs. */
  describe(entry: number, payloadAt: number, payloadBytes: number): number {
    const { address, u32 } = this.#arena;
    const at = this.#iovecsAt + (entry - this.first) * 2 * IOVEC_BYTES;
    storeUint64(u32, at / 4, address + this.headerAt(entry));
    storeUint64(u32, at / 4 + 2, HEADER_BYTES);
    storeUint64(u32, at / 4 + 4, address + payloadAt);
    storeUint64(u32, at / 4 + 6, payloadBytes);
    return address + at;
  }
}

/** The queues of one connection, all of them served by one thread. */
export class FuseUring {
  /** The entry that `next` has found: its request stands at the entry's `requestAt`. */
  entry = 0;
  /** Bytes of the request; or −errno: this entry gets no more. */
  result = 0;
  readonly #fd: number;
  readonly #entries: FuseEntries;
  readonly #table: FuseUringTable;
  readonly #ring: IoUring;
  readonly #command = new Uint32Array(COMMAND_WORDS);

  /** Undefined where io_uring is forbidden. */
  static open(fd: number, entries: FuseEntries, table: FuseUringTable): FuseUring | undefined {
    try {
      const commands = 2 ** Math.ceil(Math.log2(table.count));
      const ring = new IoUring(commands, { wide: true, prompt: true });
      return new FuseUring(fd, entries, table, ring);
    } catch (error) {
      if (error instanceof SystemError) return undefined;
      throw error;
    }
  }

  private constructor(fd: number, entries: FuseEntries, table: FuseUringTable, ring: IoUring) {
    this.#fd = fd;
    this.#entries = entries;
    this.#table = table;
    this.#ring = ring;
  }

  /** Ready to be read as long as `next` finds something. */
  get ready(): number {
    return this.#ring.fd;
  }

  /** Commands that wait for `submit`; after it, that the kernel would not take. */
  get queued(): number {
    return this.#ring.queued;
  }

  /**
   * Hands all entries to the kernel, which must have been answered that it shall use them: its next
   * requests come here, or by /dev/fuse where it refuses an entry.
   */
  register(): void {
    const { first, count } = this.#table;
    const { payloadBytes } = this.#entries;
    for (let entry = first; entry < first + count; entry++) {
      const payloadAt = this.#entries.payloadAt(entry);
      this.#queue(REGISTER, entry, this.#table.describe(entry, payloadAt, payloadBytes), 2);
    }
    this.#ring.submit();
  }

  /** Queues an answer of `bytes` from the entry's `answerAt` on, and asks for the next request. */
  answer(entry: number, bytes: number): void {
    const { arena, answerHeaderBytes } = this.#entries;
    const { u32 } = arena;
    const header = this.#table.headerAt(entry) >>> 2;
    const out = this.#entries.answerAt(entry) >>> 2;
    for (let i = 0; i < answerHeaderBytes >>> 2; i++) u32[header + i] = u32[out + i]!;
    u32[header + PAYLOAD_SIZE_WORD] = bytes - answerHeaderBytes;
    this.#command[2] = u32[header + COMMIT_ID_WORD]!;
    this.#command[3] = u32[header + COMMIT_ID_WORD + 1]!;
    this.#queue(COMMIT_AND_FETCH, entry, 0, 0);
  }

  /** Gives the kernel what is queued; no waiting. */
  submit(): void {
    this.#ring.submit();
  }

  /** Finds the next request that has come; a look costs a load. */
  next(): boolean {
    if (!this.#ring.next()) return false;
    this.entry = this.#ring.tag;
    this.result = this.#ring.result < 0 ? this.#ring.result : this.#gather(this.entry);
    return true;
  }

  close(): void {
    this.#ring.close();
  }

  #queue(operation: number, entry: number, iovecs: number, count: number): void {
    this.#command[4] = this.#table.queueOf(entry);
    this.#ring.command(entry, this.#fd, operation, this.#command, iovecs, count);
  }

  /** Puts header and arguments together, as they come from /dev/fuse; returns the request's bytes. */
  #gather(entry: number): number {
    const { arena, requestHeaderBytes } = this.#entries;
    const { u32 } = arena;
    const header = this.#table.headerAt(entry) >>> 2;
    const at = this.#entries.requestAt(entry) >>> 2;
    const half = requestHeaderBytes >>> 3;
    for (let i = 0; i < half; i++) {
      u32[at + i] = u32[header + i]!;
      u32[at + half + i] = u32[header + ARGUMENTS_WORD + i]!;
    }
    return u32[at]!;
  }
}
