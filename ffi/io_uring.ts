// io_uring(7): work on files submitted in batches, completed in any order. One ring a worker, made and
// entered by the same thread, so that the kernel may skip its locks and interrupts.
//
// Head and tail of the completion queue are read with Atomics: the kernel may write them from
// another core where DEFER_TASKRUN is not to be had.

import { type Arena, storeUint64 } from "./arena.ts";
import { check, errno, SystemError } from "./errno.ts";
import { openLibc } from "./libc.ts";
import { PUNCH_HOLE } from "./files.ts";
import { openEvent } from "./poll.ts";
import { EINVAL } from "./errno_numbers.ts";

// System call numbers from 424 up are the same on every architecture.
const SYS_IO_URING_SETUP = 425;
const SYS_IO_URING_ENTER = 426;
const SYS_IO_URING_REGISTER = 427;
// linux/io_uring.h
const SETUP_CLAMP = 1 << 4;
const SETUP_SUBMIT_ALL = 1 << 7;
const SETUP_COOP_TASKRUN = 1 << 8;
const SETUP_SQE128 = 1 << 10;
const SETUP_SINGLE_ISSUER = 1 << 12;
const SETUP_DEFER_TASKRUN = 1 << 13;
const FEATURE_SINGLE_MMAP = 1 << 0;
const ENTER_GETEVENTS = 1;
const REGISTER_BUFFERS = 0;
const REGISTER_FILES = 2;
const REGISTER_EVENTFD = 4;
const REGISTER_FILES_UPDATE = 6;
const OFFSET_SQES = 0x10000000n;
const PARAMS_BYTES = 120;
const SQE_BYTES = 64;
const SQE_WIDE_BYTES = 128;
/** Where the payload of a URING_CMD stands in its entry. */
const SQE_PAYLOAD_AT = 48;
const CQE_BYTES = 16;
const OP_READV = 1;
const OP_WRITEV = 2;
const OP_FSYNC = 3;
const OP_READ_FIXED = 4;
const OP_WRITE_FIXED = 5;
const OP_FALLOCATE = 17;
const OP_READ = 22;
const OP_WRITE = 23;
const OP_URING_CMD = 46;
const FSYNC_DATASYNC = 1;
const RWF_DSYNC = 2;
const IOSQE_FIXED_FILE = 1 << 0;
const IOSQE_ASYNC = 1 << 4;
const REGISTER_IOWQ_MAX_WORKERS = 19;
/** An entry of the table of files that has none. */
const NO_FILE = -1;
const PROT_READ_WRITE = 3;
const MAP_SHARED_POPULATE = 0x8001;

const libc = openLibc(
  {
    // long number, unsigned entries, struct io_uring_params *params
    setup: { name: "syscall", parameters: ["i32", "u32", "buffer"], result: "i32" },
    // long number, int fd, unsigned submit, unsigned complete, unsigned flags, sigset_t *, size_t
    enter: {
      name: "syscall",
      parameters: ["i32", "i32", "u32", "u32", "u32", "pointer", "u32"],
      result: "i32",
    },
    // long number, int fd, unsigned opcode, void *argument, unsigned count
    register: {
      name: "syscall",
      parameters: ["i32", "i32", "u32", "buffer", "u32"],
      result: "i32",
    },
    // void *addr, size_t length, int prot, int flags, int fd, off_t offset
    mmap: {
      parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"],
      result: "pointer",
    },
    // int fd
    close: { parameters: ["i32"], result: "i32" },
  } as const,
);

/** Work in flight, told apart by small numbers that the caller chooses. */
export class IoUring {
  /**
   * An eventfd, signalled when a completion waits. Polling the ring itself is not enough: with
   * DEFER_TASKRUN it did not wake (Linux 6.18). −1 in a ring that was made without.
   */
  readonly event: number;
  /** Operations submitted, or about to be, that have not completed. */
  inFlight = 0;
  /** Those of them not yet given to the kernel. */
  queued = 0;
  /** Whether operations not yet given to the kernel still need the iovecs they were given. */
  get needsVectors(): boolean {
    return this.queued > 0;
  }
  /** Whether completions are posted within `submit` only: DEFER_TASKRUN, Linux 6.1. */
  readonly deferred: boolean;
  /** Number of the operation that `next` has found. */
  tag = 0;
  /** Its result: a count of bytes, 0, or −errno. */
  result = 0;

  /** Descriptor of the ring itself. */
  readonly fd: number;
  readonly #entries: number;
  readonly #sqeWords: number;
  readonly #ring: Int32Array;
  readonly #sqes: Uint32Array;
  readonly #sqeBytes: Uint8Array;
  readonly #sqTail: number;
  readonly #sqMask: number;
  readonly #cqHead: number;
  readonly #cqTail: number;
  readonly #cqMask: number;
  readonly #cqes: number;
  /** The ring's table of files: descriptors, `NO_FILE` where an entry is free. */
  #fileTable = new Int32Array(0);
  /** Entry in that table, by descriptor; −1 for none. */
  #fixedFiles = new Int32Array(0);
  #fixedFrom = 0;
  #fixedTo = 0;

  /**
   * @param entries Most operations queued between two calls of `submit`; a power of two.
   * @param options `wide`: `command` may carry 80 bytes (Linux 5.19), and not only 16. `silent`:
   * nobody waits for completions by themselves, and there is no eventfd. `prompt`: there is none
   * either, since completions are posted whenever the thread comes back from the kernel, and the
   * ring's own descriptor is ready when one waits (Linux 6.0).
   * @throws {SystemError} ENOSYS or EPERM where io_uring is absent or forbidden.
   */
  constructor(
    entries: number,
    options: {
      readonly wide?: boolean;
      readonly silent?: boolean;
      readonly prompt?: boolean;
    } = {},
  ) {
    const wide = options.wide === true;
    const params = new Uint8Array(PARAMS_BYTES);
    const view = new DataView(params.buffer);
    const prompt = options.prompt === true;
    const wanted = prompt ? [SETUP_SINGLE_ISSUER | SETUP_COOP_TASKRUN | SETUP_SUBMIT_ALL] : [
      SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN | SETUP_COOP_TASKRUN | SETUP_SUBMIT_ALL,
      // Linux 5.19 and 6.0 know COOP_TASKRUN only, 5.18 SUBMIT_ALL.
      SETUP_COOP_TASKRUN | SETUP_SUBMIT_ALL,
      0,
    ];
    let fd = -1;
    for (const flags of wanted) {
      params.fill(0);
      view.setUint32(8, flags | SETUP_CLAMP | (wide ? SETUP_SQE128 : 0), true);
      fd = libc.setup(SYS_IO_URING_SETUP, entries, params);
      if (fd >= 0 || errno() !== EINVAL) break;
    }
    if (fd < 0) throw new SystemError("Set up io_uring", errno());
    this.fd = fd;
    this.deferred = (view.getUint32(8, true) & SETUP_DEFER_TASKRUN) !== 0;
    if ((view.getUint32(20, true) & FEATURE_SINGLE_MMAP) === 0) {
      libc.close(fd);
      throw new SystemError("Set up io_uring (Linux before 5.4)", EINVAL);
    }
    this.event = options.silent === true || prompt ? -1 : openEvent();
    if (this.event >= 0) {
      const event = new Uint8Array(new Int32Array([this.event]).buffer);
      check(
        libc.register(SYS_IO_URING_REGISTER, fd, REGISTER_EVENTFD, event, 1),
        "Give io_uring an eventfd",
      );
    }
    this.#entries = view.getUint32(0, true);
    const cqEntries = view.getUint32(4, true);
    const sqArray = view.getUint32(40 + 24, true);
    this.#cqes = view.getUint32(80 + 20, true) >>> 2;
    const ringBytes = Math.max(
      sqArray + 4 * this.#entries,
      4 * this.#cqes + CQE_BYTES * cqEntries,
    );
    const ring = this.#map(ringBytes, 0n);
    this.#ring = new Int32Array(ring);
    const sqeBytes = wide ? SQE_WIDE_BYTES : SQE_BYTES;
    this.#sqeWords = sqeBytes / 4;
    const sqes = this.#map(sqeBytes * this.#entries, OFFSET_SQES);
    this.#sqes = new Uint32Array(sqes);
    this.#sqeBytes = new Uint8Array(sqes);
    this.#sqTail = view.getUint32(40 + 4, true) >>> 2;
    this.#sqMask = this.#ring[view.getUint32(40 + 8, true) >>> 2]!;
    this.#cqHead = view.getUint32(80, true) >>> 2;
    this.#cqTail = view.getUint32(80 + 4, true) >>> 2;
    this.#cqMask = this.#ring[view.getUint32(80 + 8, true) >>> 2]!;
    // Entry i of the queue is always submission i: the indirection is not needed.
    for (let i = 0; i < this.#entries; i++) this.#ring[(sqArray >>> 2) + i] = i;
  }

  /**
   * Lets the kernel keep the pages of `bytes` at `at` of an arena pinned, which spares the work for
   * each operation. Where the limit on locked memory forbids it, everything works without.
   */
  registerBuffer(arena: Arena, at: number, bytes: number): void {
    const iovec = new BigUint64Array([BigInt(arena.address + at), BigInt(bytes)]);
    const result = libc.register(
      SYS_IO_URING_REGISTER,
      this.fd,
      REGISTER_BUFFERS,
      new Uint8Array(iovec.buffer),
      1,
    );
    if (result < 0) return;
    this.#fixedFrom = arena.address + at;
    this.#fixedTo = this.#fixedFrom + bytes;
  }

  /**
   * Makes a table of files for `addFile`, as large as it will ever be. Where it cannot be had
   * (Linux before 5.5, or a limit on open files below it), everything works without.
   */
  reserveFiles(files: number): void {
    const table = new Int32Array(files).fill(NO_FILE);
    const bytes = new Uint8Array(table.buffer);
    if (libc.register(SYS_IO_URING_REGISTER, this.fd, REGISTER_FILES, bytes, files) < 0) return;
    this.#fileTable = table;
  }

  /** Lets the kernel keep a file open by itself, which spares it the look-up for each operation. */
  addFile(fd: number): void {
    const entry = this.#fileTable.indexOf(NO_FILE);
    if (entry < 0 || !this.#updateFile(entry, fd)) return;
    if (fd >= this.#fixedFiles.length) {
      const grown = new Int32Array(2 * (fd + 1)).fill(NO_FILE);
      grown.set(this.#fixedFiles);
      this.#fixedFiles = grown;
    }
    this.#fixedFiles[fd] = entry;
  }

  /** Lets go of it, so that it is closed when its descriptor is; nothing may be under way. */
  removeFile(fd: number): void {
    const entry = this.#fixedFiles[fd] ?? NO_FILE;
    if (entry < 0) return;
    this.#fixedFiles[fd] = NO_FILE;
    this.#updateFile(entry, NO_FILE);
  }

  #updateFile(entry: number, fd: number): boolean {
    const fds = new Int32Array([fd]);
    // struct io_uring_files_update: u32 offset, u32 reserved, u64 address of the descriptors.
    const update = new BigUint64Array([
      BigInt(entry),
      BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(fds))),
    ]);
    const bytes = new Uint8Array(update.buffer);
    const result = libc.register(
      SYS_IO_URING_REGISTER,
      this.fd,
      REGISTER_FILES_UPDATE,
      bytes,
      fds.length,
    );
    if (result >= 0) this.#fileTable[entry] = fd;
    return result >= 0;
  }

  /**
   * Queues a read of `bytes` at `offset` to `address`; its result is the count read.
   *
   * @param remote In a thread of the kernel's, since the file system would block here.
   */
  read(
    tag: number,
    fd: number,
    address: number,
    bytes: number,
    offset: number,
    remote = false,
  ): void {
    const opcode = (this.#isFixed(address, bytes) ? OP_READ_FIXED : OP_READ) |
      (remote ? IOSQE_ASYNC << 8 : 0);
    this.#queue(opcode, tag, fd, address, bytes, offset, 0);
  }

  /** Queues a read at `offset` into `count` iovecs; see `writeVectors` for how long they must stay. */
  readVectors(
    tag: number,
    fd: number,
    iovecs: number,
    count: number,
    offset: number,
    remote = false,
  ): void {
    const opcode = OP_READV | (remote ? IOSQE_ASYNC << 8 : 0);
    this.#queue(opcode, tag, fd, iovecs, count, offset, 0);
  }

  /**
   * Queues a write of `bytes` at `offset` from `address`; its result is the count written.
   *
   * @param stable Complete only once the data are on stable storage.
   * @param remote As in `read`: FUSE waits for its server even in a submission that must not block.
   */
  write(
    tag: number,
    fd: number,
    address: number,
    bytes: number,
    offset: number,
    stable: boolean,
    remote = false,
  ): void {
    const opcode = (this.#isFixed(address, bytes) ? OP_WRITE_FIXED : OP_WRITE) |
      (remote ? IOSQE_ASYNC << 8 : 0);
    this.#queue(opcode, tag, fd, address, bytes, offset, stable ? RWF_DSYNC : 0);
  }

  /**
   * Queues a write from `count` iovecs at the address `iovecs`, which stay as they are until it is
   * submitted; otherwise as `write`.
   */
  writeVectors(
    tag: number,
    fd: number,
    iovecs: number,
    count: number,
    offset: number,
    stable: boolean,
    remote = false,
  ): void {
    const opcode = OP_WRITEV | (remote ? IOSQE_ASYNC << 8 : 0);
    this.#queue(opcode, tag, fd, iovecs, count, offset, stable ? RWF_DSYNC : 0);
  }

  /** Queues an fdatasync of everything that has completed before. */
  sync(tag: number, fd: number): void {
    this.#queue(OP_FSYNC, tag, fd, 0, 0, 0, FSYNC_DATASYNC);
  }

  /** Queues a discard of `bytes` at `offset`, which then read as zeros. */
  punch(tag: number, fd: number, offset: number, bytes: number): void {
    // FALLOCATE takes its length where others have the address, and the mode as the length.
    this.#queue(OP_FALLOCATE, tag, fd, bytes, PUNCH_HOLE, offset, 0);
  }

  /**
   * Queues a command of a driver's own (URING_CMD).
   *
   * @param payload At most 16 bytes, 80 in a wide ring, as words; they are copied.
   * @param iovecs Address of `count` iovecs, which stay as they are until it is submitted.
   */
  command(
    tag: number,
    fd: number,
    operation: number,
    payload: Uint32Array,
    iovecs = 0,
    count = 0,
  ): void {
    const entry = this.#queue(OP_URING_CMD, tag, fd, iovecs, count, operation, 0);
    const sqe = entry + SQE_PAYLOAD_AT / 4;
    for (let i = 0; i < payload.length; i++) this.#sqes[sqe + i] = payload[i]!;
  }

  /** Gives the queued operations to the kernel and lets it post what has completed; no waiting. */
  submit(): void {
    const submitted = libc.enter(
      SYS_IO_URING_ENTER,
      this.fd,
      this.queued,
      0,
      ENTER_GETEVENTS,
      null,
      0,
    );
    // EAGAIN and EBUSY leave everything queued: the next call tries again.
    if (submitted > 0) this.queued -= submitted;
  }

  /** Takes one completion into `tag` and `result`; false when there is none. */
  next(): boolean {
    const head = Atomics.load(this.#ring, this.#cqHead);
    if (head === Atomics.load(this.#ring, this.#cqTail)) return false;
    const cqe = this.#cqes + (head & this.#cqMask) * (CQE_BYTES / 4);
    this.tag = this.#ring[cqe]!;
    this.result = this.#ring[cqe + 2]!;
    Atomics.store(this.#ring, this.#cqHead, (head + 1) | 0);
    this.inFlight--;
    return true;
  }

  /**
   * Lets so many operations on files block at a time. The kernel's own limit is four a core, which
   * one hanging disk would use up.
   */
  allowBlocked(operations: number): void {
    const limits = new Uint8Array(new Uint32Array([operations, 0]).buffer);
    // Linux before 5.15 does not know it and keeps its own limit.
    libc.register(SYS_IO_URING_REGISTER, this.fd, REGISTER_IOWQ_MAX_WORKERS, limits, 2);
  }

  close(): void {
    libc.close(this.fd);
    if (this.event >= 0) libc.close(this.event);
  }

  /** Whether memory lies in the registered buffer. */
  #isFixed(address: number, bytes: number): boolean {
    return address >= this.#fixedFrom && address + bytes <= this.#fixedTo;
  }

  /**
   * @param opcode In the low byte; the entry's flags above it.
   * @returns Where the entry stands, in words.
   */
  #queue(
    opcode: number,
    tag: number,
    fd: number,
    address: number,
    length: number,
    offset: number,
    flags: number,
  ): number {
    if (this.queued === this.#entries) throw new RangeError("Submission queue is full");
    const tail = this.#ring[this.#sqTail]!;
    const sqe = (tail & this.#sqMask) * this.#sqeWords;
    const sqes = this.#sqes;
    this.#sqeBytes.fill(0, sqe * 4, (sqe + this.#sqeWords) * 4);
    const index = fd < this.#fixedFiles.length ? this.#fixedFiles[fd]! : -1;
    sqes[sqe] = index < 0 ? opcode : opcode | (IOSQE_FIXED_FILE << 8);
    sqes[sqe + 1] = index < 0 ? fd : index;
    storeUint64(sqes, sqe + 2, offset);
    storeUint64(sqes, sqe + 4, address);
    sqes[sqe + 6] = length;
    sqes[sqe + 7] = flags;
    sqes[sqe + 8] = tag;
    Atomics.store(this.#ring, this.#sqTail, (tail + 1) | 0);
    this.queued++;
    this.inFlight++;
    return sqe;
  }

  #map(bytes: number, offset: bigint): ArrayBuffer {
    const pointer = libc.mmap(
      null,
      BigInt(bytes),
      PROT_READ_WRITE,
      MAP_SHARED_POPULATE,
      this.fd,
      offset,
    );
    if (pointer === null || BigInt.asIntN(64, Deno.UnsafePointer.value(pointer)) === -1n) {
      throw new SystemError("Map io_uring", errno());
    }
    // The mapping outlives the ring: it is never unmapped, so that no view of it can dangle.
    return Deno.UnsafePointerView.getArrayBuffer(pointer, bytes);
  }
}
