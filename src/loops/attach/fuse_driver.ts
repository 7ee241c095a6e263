// A remote disk as one file of a FUSE mount, under a loop device (control/attach/fuse_back_end.ts): the kernel's
// requests come from /dev/fuse and are answered there, or by io_uring where that is wanted and to be had.
//
// 1. `turn` moves answers out and requests in, one crossing for a batch; each request comes straight
//    into the memory from which, or to which, the initiator moves its data.
// 2. Reads, writes, flushes and zeroing go to block/requests.ts; the rest is answered at once.
// 3. `answered` queues the answer; the entry is free once it has gone out.
//
// Nothing is allocated for a request. An entry's memory is read by nobody else until it is answered.

import { BlockDriver } from "../block/driver.ts";
import type { Arena } from "../../../ffi/arena.ts";
import { FuseEntries, type FuseQueue, openFuseQueue } from "../../../ffi/fuse_channel.ts";
import { FuseUring, FuseUringTable } from "../../../ffi/fuse_uring.ts";
import { POLLIN } from "../../../ffi/poll.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import {
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  FALLOC_ZERO_RANGE,
  FUSE_BATCH_FORGET,
  FUSE_DESTROY,
  FUSE_FALLOCATE,
  FUSE_FLUSH,
  FUSE_FORGET,
  FUSE_FSYNC,
  FUSE_GETATTR,
  FUSE_INIT,
  FUSE_INTERRUPT,
  FUSE_MINOR_RESEND,
  FUSE_OPEN,
  FUSE_OUT_HEADER_BYTES,
  FUSE_READ,
  FUSE_RELEASE,
  FUSE_SETATTR,
  FUSE_STATFS,
  FUSE_WRITE,
  FUSE_WRITE_HEADER_BYTES,
  fuseFallocateLength,
  fuseFallocateMode,
  fuseInitMinor,
  fuseInitOffersUring,
  fuseOffset,
  fuseOpcode,
  fuseSize,
  writeFuseAnswer,
  writeFuseAttributes,
  writeFuseFileSystem,
  writeFuseInit,
  writeFuseOpened,
  writeFuseResend,
  writeFuseWritten,
} from "../../wire/fuse.ts";
import type { BlockConfig, BlockMessage } from "../block/disk.ts";
import {
  BLOCK_FLUSH,
  BLOCK_READ,
  BLOCK_WRITE,
  BLOCK_ZERO,
  BLOCK_ZERO_KEEP,
  type BlockAnswers,
  BlockMemory,
  BlockRequests,
} from "../block/requests.ts";
import { initiatorJob } from "../initiator/job.ts";
import type { InitiatorLoop } from "../initiator/loop.ts";
import { ECONNABORTED, EINVAL, ENODEV, ENOSYS, EOPNOTSUPP } from "../../../ffi/errno_numbers.ts";
import { FreeStack, NONE } from "../../core/tables.ts";

/** Requests at once from /dev/fuse; a loop device has 128. */
const ENTRIES = 160;
/** The kernel keeps as many under way, and leaves some entries to requests that somebody waits for. */
const BACKGROUND_MAX = 128;
/**
 * By io_uring, where they are numbered from there on; divided among the queues, of which none has
 * fewer than so many. What comes meanwhile waits in the kernel.
 */
const URING_ENTRIES = 144;
const URING_ENTRIES_EACH = 4;
/** Data of one request; entries that are never used are never backed by memory. */
const REQUEST_BYTES_MAX = 256 * 1024;
/**
 * Answers that leave together: whoever waits for one is told of it when this thread leaves the
 * kernel, and shall not wait for a whole window.
 */
const ANSWERS = 8;
/**
 * Most requests asked for at once: each that is not there costs the kernel some work. Together with
 * what can be under way they leave entries free.
 */
const RECEIVES_MAX = 16;
/**
 * The ring is looked at so often without a cause: the kernel may move what was asked for to a thread
 * of its own, where memory is short, and then the descriptor does not tell of it.
 */
const LOOK_EVERY_MS = 100;
/** The kernel is asked again after this when it would not take everything. */
const REFUSED_RETRY_MS = 1;

/** What to serve. */
export interface FuseConfig extends BlockConfig {
  readonly kind: "fuse";
  /** /dev/fuse, opened without blocking. */
  readonly fd: number;
  /** Queues for FUSE over io_uring, one for each core that there may be; 0: it is not wanted. */
  readonly uringQueues: number;
}

/** What the thread tells, beside what every block device's does. */
export type FuseMessage =
  | BlockMessage
  /**
   * The kernel has shown itself; whether it can send requests again to another process, and whether
   * they come by io_uring.
   */
  | { readonly kind: "mounted"; readonly resends: boolean; readonly uring: boolean };

/** What the driver needs in the loop's arena. */
function fuseMemory(arena: Arena, { uringQueues }: FuseConfig) {
  const perQueue = Math.max(URING_ENTRIES_EACH, Math.ceil(URING_ENTRIES / uringQueues));
  const uring = uringQueues > 0
    ? new FuseUringTable(arena, uringQueues, ENTRIES, perQueue)
    : undefined;
  return {
    blocks: new BlockMemory(arena),
    uring,
    entries: new FuseEntries(
      arena,
      ENTRIES + (uring?.count ?? 0),
      FUSE_WRITE_HEADER_BYTES,
      FUSE_OUT_HEADER_BYTES,
      REQUEST_BYTES_MAX,
    ),
  };
}

/** The driver. */
class FuseDriver extends BlockDriver implements BlockAnswers {
  readonly #loop: InitiatorLoop<ReturnType<typeof fuseMemory>>;
  readonly #config: FuseConfig;
  readonly #post: (message: FuseMessage) => void;
  protected readonly blocks: BlockRequests;
  readonly #entries: FuseEntries;
  readonly #queue: FuseQueue;
  #uring: FuseUring | undefined;
  #uringPollEntry = NONE;
  readonly #words: Uint32Array;
  readonly #pollEntry: number;
  readonly #free = new FreeStack(ENTRIES);
  /** Requests that are asked for and not there; as many as the last turn found are worth it. */
  #asked = 0;
  #worthAsking = 1;
  #lookAtMs = 0;
  #serving = false;
  #stopped = false;
  #disconnected = false;

  constructor(
    loop: InitiatorLoop<ReturnType<typeof fuseMemory>>,
    config: FuseConfig,
    post: (message: FuseMessage) => void,
  ) {
    super();
    this.#loop = loop;
    this.#config = config;
    this.#post = post;
    const { blocks, entries } = loop.memory;
    this.blocks = new BlockRequests(loop, blocks, entries.count, config, this, post);
    this.#entries = entries;
    this.#queue = openFuseQueue(config.fd, this.#entries);
    this.#words = loop.arena.u32;
    this.#pollEntry = loop.watch(config.fd, 0);
    this.blocks.guard();
  }

  turn(nowMs: number): boolean {
    if (!this.#serving && !this.#begin(nowMs)) {
      const { failure } = this.blocks;
      return (failure !== undefined || this.#stopped) && this.#end(failure);
    }
    const found = this.#loop.found(this.#pollEntry) !== 0;
    if (this.#uring !== undefined && !this.#disconnected) this.#serveUring(nowMs, this.#uring);
    // What does not come by io_uring is seldom.
    const byDevice = this.#uring === undefined || found || this.#asked > 0 ||
      this.#queue.queued > 0;
    if (byDevice && !this.#disconnected) this.#serve(nowMs, found);
    if (this.blocks.inFlight > 0 || !(this.#stopped || this.#disconnected)) return false;
    return this.#end(undefined);
  }

  wakeAtMs(): number {
    if (!this.#serving) return this.blocks.wakeAtMs;
    const queued = this.#queue.queued + (this.#uring?.queued ?? 0);
    const refused = !this.#disconnected && queued > 0;
    return refused ? this.#loop.clock.nowMs() + REFUSED_RETRY_MS : Infinity;
  }

  stop(): void {
    this.#stopped = true;
  }

  answered(entry: number, errno: number): void {
    const at = this.#entries.requestAt(entry);
    if (errno !== 0) return this.#answer(entry, 0, errno);
    const opcode = fuseOpcode(this.#words, at);
    if (opcode === FUSE_READ) this.#answer(entry, fuseSize(this.#words, at), 0);
    else if (opcode === FUSE_WRITE) {
      const outAt = this.#entries.answerAt(entry);
      const bytes = writeFuseWritten(this.#words, outAt, fuseSize(this.#words, at));
      this.#answer(entry, bytes, 0);
    } else this.#answer(entry, 0, 0);
  }

  /** Whether requests may be read; an earlier process has read some and answered not all. */
  #begin(nowMs: number): boolean {
    if (!this.blocks.connect(nowMs)) return false;
    if (this.#config.before !== undefined) {
      const entry = this.#free.take();
      this.#queue.answer(entry, writeFuseResend(this.#words, this.#entries.answerAt(entry)));
    }
    this.#loop.want(this.#pollEntry, POLLIN);
    this.#serving = true;
    return true;
  }

  /**
   * Moves messages until there are no more.
   *
   * @param found The descriptor is ready: for a request, or because the connection has ended.
   */
  #serve(nowMs: number, found: boolean): void {
    // An answer that left with others may have brought requests.
    let received = this.#take(nowMs);
    const due = this.#asked > 0 && nowMs >= this.#lookAtMs;
    let again = found || due || received > 0 || this.#queue.queued > 0;
    if (again) this.#lookAtMs = nowMs + LOOK_EVERY_MS;
    let anew = found;
    while (again && !this.#disconnected) {
      if (found || this.#worthAsking > 1) this.#ask();
      this.#queue.submit();
      const refused = this.#queue.queued > 0;
      const count = this.#take(nowMs);
      received += count;
      const allThere = this.#asked === 0;
      // A kernel that waits for each answer before its next request costs no look in vain.
      const several = this.blocks.inFlight > 1;
      this.#worthAsking = allThere && several
        ? Math.min(2 * this.#worthAsking, RECEIVES_MAX)
        : Math.max(1, count);
      const more = allThere && count > 1 && this.#free.count > 0;
      again = !refused && (more || this.#queue.queued > 0);
      // The descriptor is ready, and yet no request has come: what was asked for waits for the
      // file that the descriptor stood for before (`abandonFile`).
      if (!again && anew && received === 0 && this.#free.count > 0) {
        anew = false;
        again = true;
        this.#askOne();
      }
    }
    if (this.#disconnected) return;
    // Where there is no room for a request, the descriptor would be ready for nothing.
    this.#loop.want(this.#pollEntry, this.#free.count + this.#asked > 0 ? POLLIN : 0);
  }

  /** Takes requests and lets answers go, until there are no more. */
  #serveUring(nowMs: number, uring: FuseUring): void {
    for (;;) {
      while (uring.next()) {
        // An entry that is refused or has ended gets no more: its requests come another way, or the
        // connection's end is told by the descriptor.
        if (uring.result > 0) this.#handle(nowMs, uring.entry, uring.result);
      }
      const { queued } = uring;
      if (queued === 0) return;
      uring.submit();
      if (uring.queued === queued) return;
    }
  }

  #ask(): void {
    while (this.#asked < this.#worthAsking && this.#free.count > 0) this.#askOne();
  }

  #askOne(): void {
    this.#queue.receive(this.#free.take());
    this.#asked++;
  }

  /** Takes what has been moved; returns the number of requests. */
  #take(nowMs: number): number {
    const queue = this.#queue;
    let received = 0;
    while (!this.#disconnected && queue.next()) {
      const { entry, result } = queue;
      if (queue.isAnswer) {
        this.#free.release(entry);
        continue;
      }
      this.#asked--;
      if (result > 0) {
        received++;
        this.#handle(nowMs, entry, result);
        continue;
      }
      this.#free.release(entry);
      if (isEnd(result)) this.#disconnect();
    }
    return received;
  }

  #disconnect(): void {
    this.#disconnected = true;
    this.#loop.rewatch(this.#pollEntry, -1);
    this.#queue.close();
    if (this.#uring === undefined) return;
    // The connection lives as long as an entry of it waits for a request.
    this.#loop.rewatch(this.#uringPollEntry, -1);
    this.#uring.close();
  }

  #end(failure: string | undefined): true {
    if (!this.#disconnected) this.#disconnect();
    this.#post({ kind: "ended", failure });
    return true;
  }

  #handle(nowMs: number, entry: number, bytes: number): void {
    const at = this.#entries.requestAt(entry);
    const outAt = this.#entries.answerAt(entry);
    const words = this.#words;
    const disk = this.blocks.disk!;
    switch (fuseOpcode(words, at)) {
      case FUSE_READ:
        return this.#move(nowMs, entry, BLOCK_READ);
      case FUSE_WRITE:
        if (bytes !== FUSE_WRITE_HEADER_BYTES + fuseSize(words, at)) {
          return this.#answer(entry, 0, EINVAL);
        }
        return this.#move(nowMs, entry, BLOCK_WRITE);
      case FUSE_FSYNC:
        return this.blocks.submit(nowMs, entry, BLOCK_FLUSH, 0, 0, 0, false);
      case FUSE_FALLOCATE:
        return this.#zero(nowMs, entry);
      case FUSE_FORGET:
      case FUSE_BATCH_FORGET:
      case FUSE_INTERRUPT:
        this.#free.release(entry);
        return;
      case FUSE_INIT:
        return this.#init(entry);
      case FUSE_GETATTR:
      case FUSE_SETATTR:
        this.#answer(entry, writeFuseAttributes(words, outAt, disk.bytes, disk.readOnly), 0);
        return;
      case FUSE_OPEN:
        return this.#answer(entry, writeFuseOpened(words, outAt), 0);
      case FUSE_STATFS:
        // The loop driver offers discards where it gets an answer: they must read as zeros.
        if (!disk.discardsAreZero || disk.readOnly) return this.#answer(entry, 0, ENOSYS);
        return this.#answer(entry, writeFuseFileSystem(words, outAt, disk.bytes), 0);
      case FUSE_RELEASE:
      case FUSE_FLUSH:
      case FUSE_DESTROY:
        return this.#answer(entry, 0, 0);
      default:
        return this.#answer(entry, 0, ENOSYS);
    }
  }

  #init(entry: number): void {
    const at = this.#entries.requestAt(entry);
    const { uring: table } = this.#loop.memory;
    const uring = table !== undefined && fuseInitOffersUring(this.#words, at)
      ? FuseUring.open(this.#config.fd, this.#entries, table)
      : undefined;
    const minor = fuseInitMinor(this.#words, at);
    const bytes = writeFuseInit(this.#words, at, this.#entries.answerAt(entry), {
      requestBytesMax: REQUEST_BYTES_MAX,
      backgroundMax: BACKGROUND_MAX,
      overUring: uring !== undefined,
    });
    this.#answer(entry, bytes, 0);
    if (uring !== undefined) {
      // Entries are refused before the answer is there, and the kernel asks for nothing before it
      // has some.
      this.#queue.submit();
      uring.register();
      this.#uring = uring;
      this.#uringPollEntry = this.#loop.watch(uring.ready, POLLIN);
    }
    const resends = minor >= FUSE_MINOR_RESEND;
    this.#post({ kind: "mounted", resends, uring: uring !== undefined });
  }

  #move(nowMs: number, entry: number, operation: number): void {
    const at = this.#entries.requestAt(entry);
    const offset = fuseOffset(this.#words, at);
    const size = fuseSize(this.#words, at);
    if (offset % SECTOR_BYTES !== 0 || size % SECTOR_BYTES !== 0 || size > REQUEST_BYTES_MAX) {
      return this.#answer(entry, 0, EINVAL);
    }
    const payloadAt = this.#entries.payloadAt(entry);
    const sectors = size / SECTOR_BYTES;
    const lba = offset / SECTOR_BYTES;
    this.blocks.submit(nowMs, entry, operation, lba, sectors, payloadAt, false);
  }

  #zero(nowMs: number, entry: number): void {
    const at = this.#entries.requestAt(entry);
    const offset = fuseOffset(this.#words, at);
    const length = fuseFallocateLength(this.#words, at);
    const mode = fuseFallocateMode(this.#words, at);
    const operation = mode === (FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE)
      ? BLOCK_ZERO
      : mode === (FALLOC_KEEP_SIZE | FALLOC_ZERO_RANGE)
      ? BLOCK_ZERO_KEEP
      : -1;
    if (operation < 0) return this.#answer(entry, 0, EOPNOTSUPP);
    if (offset % SECTOR_BYTES !== 0 || length % SECTOR_BYTES !== 0) {
      return this.#answer(entry, 0, EINVAL);
    }
    const lba = offset / SECTOR_BYTES;
    this.blocks.submit(nowMs, entry, operation, lba, length / SECTOR_BYTES, 0, false);
  }

  /**
   * Answers a request with `bytes` behind the header. What comes of it tells nothing that matters
   * any more.
   */
  #answer(entry: number, bytes: number, errno: number): void {
    if (this.#disconnected) {
      if (entry < ENTRIES) this.#free.release(entry);
      return;
    }
    const outAt = this.#entries.answerAt(entry);
    writeFuseAnswer(this.#words, this.#entries.requestAt(entry), outAt, bytes, errno);
    const queue = entry < ENTRIES ? this.#queue : this.#uring!;
    queue.answer(entry, FUSE_OUT_HEADER_BYTES + bytes);
    if (queue.queued >= ANSWERS) queue.submit();
  }
}

/**
 * Whether the connection has ended: unmounted, aborted, or abandoned; the descriptor would be ready
 * for ever. All else passes: it is not mounted yet (EPERM), or reading was interrupted.
 */
function isEnd(result: number): boolean {
  return result === -ENODEV || result === -ECONNABORTED || result === 0;
}

/** The job. */
export const runFuseDriver = initiatorJob(fuseMemory, FuseDriver);
