// The local end of a copy: a file, a block device, or a stream without offsets, through io_uring or,
// where that is absent, one system call after another.

import type { Arena } from "../../../ffi/arena.ts";
import { errnoText } from "../../../ffi/errno.ts";
import { nextData, nextHole, readStream, writeStream } from "../../../ffi/file_data.ts";
import { openFileQueue } from "../../../ffi/file_queue.ts";
import type { FileQueue } from "../../../ffi/file_queue.ts";
import { fileStatus, isMemoryFile, isRemoteFile } from "../../../ffi/files.ts";
import type { SyncQueue } from "../../../ffi/sync_queue.ts";
import type { CopyEnd, CopyOutcome, Zeroing } from "./end.ts";
import { EAGAIN, EINTR, EINVAL, ENOSPC, EOPNOTSUPP } from "../../../ffi/errno_numbers.ts";

/** A stream that is not ready is tried again after this. */
const RETRY_MS = 2;
/** A write into the page cache that takes so long has waited for a disk: others need not. */
const BLOCKED_MS = 20;
/** Then they go by the ring for so long. */
const BY_RING_MS = 2000;

const READ = 0;
const WRITE = 1;
const DISCARD = 2;
const FLUSH = 3;
const OPERATION_NAMES = ["read", "write", "discard in", "flush"];

/** What a file end is made for. */
export interface FileEndConfig {
  readonly fd: number;
  /** For messages. */
  readonly name: string;
  /** A file or block device has offsets, a stream only an order. */
  readonly kind: "file" | "block device" | "stream";
  /** Size of a source; undefined for a stream. */
  readonly bytes: number | undefined;
  readonly zeroing: Zeroing;
}

/** A file, block device or stream. */
export class FileEnd implements CopyEnd {
  readonly name: string;
  readonly bytes: number | undefined;
  readonly inOrder: boolean;
  /** An eventfd that tells of completions; −1 when there is nothing to wait for. */
  readonly event: number;
  /** When a stream that was not ready is tried again; Infinity: no need. */
  retryAtMs = Infinity;
  zeroing: Zeroing;

  readonly #fd: number;
  readonly #arena: Arena;
  readonly #outcome: CopyOutcome;
  readonly #queue: FileQueue;
  readonly #nowMs: () => number;
  readonly #spare: SyncQueue;
  /** From when on writes into the page cache are done at once, beside the ring; Infinity: never. */
  #promptFromMs: number;
  readonly #holes: boolean;
  // The operation of each tag.
  readonly #operation: Uint8Array;
  readonly #offset: Float64Array;
  readonly #size: Float64Array;
  readonly #done: Float64Array;
  readonly #memoryAt: Float64Array;
  /** Tag of a stream's operation to be tried again; −1 for none. */
  #again = -1;
  /** File offsets between which data are known to stand. */
  #dataFrom = 0;
  #dataTo = 0;

  /** @param options `spare`: for so many tags, where the ring may not be used. */
  constructor(
    config: FileEndConfig,
    options: {
      arena: Arena;
      outcome: CopyOutcome;
      nowMs: () => number;
      tags: number;
      uring: boolean;
      spare: SyncQueue;
    },
  ) {
    const { arena, tags, spare } = options;
    this.name = config.name;
    this.bytes = config.bytes;
    this.inOrder = config.kind === "stream";
    this.zeroing = config.zeroing;
    this.#fd = config.fd;
    this.#arena = arena;
    this.#outcome = options.outcome;
    this.#holes = config.kind === "file";
    this.#operation = new Uint8Array(tags);
    this.#offset = new Float64Array(tags);
    this.#size = new Float64Array(tags);
    this.#done = new Float64Array(tags);
    this.#memoryAt = new Float64Array(tags);
    // The ring hands what may block to a thread of the kernel's, which copies data that have left
    // the cache: half as long again. A file in memory does not block, and the page cache of a
    // local file seldom: the ring is for when it does.
    const isFile = config.kind === "file";
    const uring = options.uring && !(isFile && isMemoryFile(config.fd));
    this.#queue = openFileQueue(uring, spare).queue;
    this.#nowMs = options.nowMs;
    this.#spare = spare;
    const promptly = this.#queue !== spare && isFile && !isRemoteFile(config.fd);
    this.#promptFromMs = promptly ? -Infinity : Infinity;
    this.event = this.#queue.event;
  }

  holeAt(offset: number, bytes: number): number {
    if (!this.#holes || (offset >= this.#dataFrom && offset < this.#dataTo)) return 0;
    const data = nextData(this.#fd, offset);
    if (data <= offset) {
      this.#dataFrom = offset;
      this.#dataTo = nextHole(this.#fd, offset);
      return 0;
    }
    // What lies behind the end is no hole: reading there tells that the file was cut.
    return Math.max(0, Math.min(bytes, data - offset, fileStatus(this.#fd).bytes - offset));
  }

  read(tag: number, offset: number, bytes: number, at: number): void {
    this.#begin(READ, tag, offset, bytes, at);
  }

  write(tag: number, offset: number, bytes: number, at: number): void {
    this.#begin(WRITE, tag, offset, bytes, at);
  }

  discard(tag: number, offset: number, bytes: number): void {
    this.#begin(DISCARD, tag, offset, bytes, 0);
  }

  flush(tag: number): void {
    this.#begin(FLUSH, tag, 0, 0, 0);
  }

  /** Gives queued operations to the kernel and takes what has ended; returns how many. */
  turn(nowMs: number): number {
    if (this.#again >= 0 && nowMs >= this.retryAtMs) {
      const tag = this.#again;
      this.#again = -1;
      this.retryAtMs = Infinity;
      this.#issue(tag);
    }
    let ended = 0;
    if (this.#queue.queued > 0 || this.#queue.inFlight > 0) this.#queue.submit();
    while (this.#queue.next()) {
      ended++;
      this.#end(nowMs, this.#queue.tag, this.#queue.result);
    }
    const spare = this.#spare;
    while (spare !== this.#queue && spare.next()) {
      ended++;
      this.#end(nowMs, spare.tag, spare.result);
    }
    return ended;
  }

  /** Operations that have not ended. */
  get inFlight(): number {
    const prompt = this.#spare === this.#queue ? 0 : this.#spare.inFlight;
    return this.#queue.inFlight + prompt + (this.#again >= 0 ? 1 : 0);
  }

  #begin(operation: number, tag: number, offset: number, bytes: number, at: number): void {
    this.#operation[tag] = operation;
    this.#offset[tag] = offset;
    this.#size[tag] = bytes;
    this.#done[tag] = 0;
    this.#memoryAt[tag] = at;
    this.#issue(tag);
  }

  #issue(tag: number): void {
    const done = this.#done[tag]!;
    const bytes = this.#size[tag]! - done;
    const address = this.#arena.address + this.#memoryAt[tag]! + done;
    // Offset −1 is the place where the last operation stopped.
    const offset = this.inOrder ? -1 : this.#offset[tag]! + done;
    switch (this.#operation[tag]) {
      case READ:
        if (this.inOrder && this.#queue.event < 0) this.#callStream(tag, bytes, readStream);
        else this.#queue.read(tag, this.#fd, address, bytes, offset);
        break;
      case WRITE:
        if (this.inOrder && this.#queue.event < 0) {
          this.#callStream(tag, bytes, writeStream);
          break;
        }
        this.#write(tag, address, bytes, offset);
        break;
      case DISCARD:
        this.#queue.punch(tag, this.#fd, offset, bytes);
        break;
      default:
        this.#queue.sync(tag, this.#fd);
    }
  }

  #write(tag: number, address: number, bytes: number, offset: number): void {
    const nowMs = this.#promptFromMs === Infinity ? 0 : this.#nowMs();
    if (nowMs < this.#promptFromMs) {
      this.#queue.write(tag, this.#fd, address, bytes, offset, false);
      return;
    }
    this.#spare.write(tag, this.#fd, address, bytes, offset, false);
    const endedMs = this.#nowMs();
    if (endedMs - nowMs >= BLOCKED_MS) this.#promptFromMs = endedMs + BY_RING_MS;
  }

  #callStream(
    tag: number,
    bytes: number,
    call: (fd: number, memory: Deno.PointerValue, bytes: number) => number,
  ): void {
    const memory = this.#arena.pointer(this.#memoryAt[tag]! + this.#done[tag]!);
    this.#end(0, tag, call(this.#fd, memory, bytes));
  }

  #end(nowMs: number, tag: number, result: number): void {
    const operation = this.#operation[tag]!;
    if (result === -EAGAIN || result === -EINTR) {
      this.#again = tag;
      this.retryAtMs = nowMs + RETRY_MS;
      return;
    }
    // A pipe has no storage; standard output may be a file, which has.
    const needless = operation === FLUSH && this.inOrder && result === -EINVAL;
    if (result < 0 && !needless) {
      this.#fail(tag, operation, -result);
      return;
    }
    if (operation === DISCARD || operation === FLUSH) {
      this.#outcome.succeeded(tag, this.#size[tag]!);
      return;
    }
    const done = this.#done[tag]! + result;
    this.#done[tag] = done;
    if (done === this.#size[tag] || (operation === READ && result === 0)) {
      this.#outcome.succeeded(tag, done);
    } else if (result === 0) {
      this.#fail(tag, operation, ENOSPC);
    } else {
      this.#issue(tag);
    }
  }

  #fail(tag: number, operation: number, code: number): void {
    if (operation === DISCARD && code === EOPNOTSUPP) this.zeroing = "write";
    const what = `Cannot ${OPERATION_NAMES[operation]} ${this.name}`;
    this.#outcome.failed(tag, { kind: "local", text: `${what}: ${errnoText(code)}` });
  }
}
