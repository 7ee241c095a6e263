// A remote disk as a block device of the kernel's ublk driver: requests come by io_uring from
// /dev/ublkcN, which the main thread has made (control/attach/ublk_back_end.ts).
//
// 1. The disk shows itself; the main thread makes a device for it and hands its number over.
// 2. This thread, and no other, fetches: one command waits in the kernel for each tag.
// 3. `turn` enters the ring once: what has been answered goes out, what is wanted comes in. Data
//    of a write stand in the tag's memory then; those of a read are taken from there.
// 4. Requests go to block/requests.ts; `answered` queues the answer, which is the next fetch too.
// 5. The main thread stops the device: every fetch ends, this thread lets go of it, the main
//    thread deletes it, and this thread ends.
//
// Nothing is allocated for a request. A tag's memory is read by nobody else until it is answered.

import type { Arena } from "../../../ffi/arena.ts";
import { SystemError } from "../../../ffi/errno.ts";
import { clearEvent, POLLIN } from "../../../ffi/poll.ts";
import { UblkQueue } from "../../../ffi/ublk.ts";
import type { InitiatorEvent } from "../../core/initiator/session.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import {
  UBLK_COMMIT_AND_FETCH,
  UBLK_DESCRIPTOR_BYTES,
  UBLK_FETCH,
  UBLK_OP_DISCARD,
  UBLK_OP_FLUSH,
  UBLK_OP_FUA,
  UBLK_OP_NO_UNMAP,
  UBLK_OP_READ,
  UBLK_OP_WRITE,
  UBLK_OP_WRITE_ZEROES,
  ublkFirstSector,
  ublkOperation,
  ublkSectors,
  writeUblkIo,
} from "../../wire/ublk.ts";
import type { BlockConfig, BlockMessage } from "../block/disk.ts";
import {
  BLOCK_DISCARD,
  BLOCK_FLUSH,
  BLOCK_READ,
  BLOCK_WRITE,
  BLOCK_ZERO,
  BLOCK_ZERO_KEEP,
  type BlockAnswers,
  BlockMemory,
  BlockRequests,
} from "../block/requests.ts";
import type { InitiatorDriver, InitiatorLoop } from "../initiator/loop.ts";
import { EINVAL, EIO, ENODEV, EOPNOTSUPP } from "../../../ffi/errno_numbers.ts";

/** Requests at once. */
export const UBLK_DEPTH = 128;
/**
 * Data of one request. The kernel goes through all tags, so that sooner or later all of this memory
 * is there: 16 MiB of the 120 that a daemon may take.
 */
export const UBLK_REQUEST_BYTES_MAX = 128 * 1024;
/** The kernel is asked again after this when it would not take all commands. */
const FULL_RETRY_MS = 1;

// Words of UblkConfig.shared.
/** One of the states below; each thread writes its own. */
export const UBLK_SHARED_STATE = 0;
export const UBLK_SHARED_DEVICE = 1;
/** Why this thread gave up. */
export const UBLK_SHARED_ERRNO = 2;
export const UBLK_SHARED_BYTES = 12;

/** There is no device yet. */
export const UBLK_HELD_BY_NOBODY = 0;
/** There is a new one, or one whose server has gone: this thread shall serve it. */
export const UBLK_HANDED_OVER = 1;
/** Every tag waits for requests, and the device can start. */
export const UBLK_HELD = 2;
/** This thread has let go of it, and it can be deleted. */
export const UBLK_LET_GO = 3;
/** It is deleted, and this thread has nothing more to do. */
export const UBLK_DELETED = 4;

/** What to serve. */
export interface UblkConfig extends BlockConfig {
  readonly kind: "ublk";
  /** What both threads know of the device, as Int32; see the UBLK_SHARED constants. */
  readonly shared: SharedArrayBuffer;
  /** An eventfd that tells of news in it. */
  readonly event: number;
}

/** What the driver needs in the loop's arena. */
export function ublkMemory(arena: Arena) {
  return {
    blocks: new BlockMemory(arena),
    dataAt: arena.allocate(UBLK_DEPTH * UBLK_REQUEST_BYTES_MAX, 4096),
  };
}

/** The driver. */
export class UblkDriver implements InitiatorDriver, BlockAnswers {
  readonly #loop: InitiatorLoop;
  readonly #config: UblkConfig;
  readonly #post: (message: BlockMessage) => void;
  readonly #requests: BlockRequests;
  readonly #shared: Int32Array;
  readonly #sharedEntry: number;
  readonly #memoryAt: number;
  /** Of each tag: what its answer is when it succeeds. */
  readonly #bytes = new Int32Array(UBLK_DEPTH);
  #queue: UblkQueue | undefined;
  #queueEntry = -1;
  /** Tags whose fetch has ended for good. */
  #gone = 0;
  #failure: string | undefined;
  #stopped = false;

  constructor(
    loop: InitiatorLoop<ReturnType<typeof ublkMemory>>,
    config: UblkConfig,
    post: (message: BlockMessage) => void,
  ) {
    this.#loop = loop;
    this.#config = config;
    this.#post = post;
    this.#requests = new BlockRequests(loop, loop.memory.blocks, UBLK_DEPTH, config, this, post);
    this.#requests.guard();
    this.#shared = new Int32Array(config.shared);
    this.#sharedEntry = loop.watch(config.event, POLLIN);
    this.#memoryAt = loop.memory.dataAt;
  }

  turn(nowMs: number): boolean {
    if (this.#loop.found(this.#sharedEntry) !== 0) clearEvent(this.#config.event);
    if (this.#requests.connect(nowMs)) {
      if (this.#queue !== undefined) this.#serve(nowMs, this.#queue);
      else if (this.#handedOver) this.#open(nowMs);
    }
    this.#failure ??= this.#requests.failure;
    const failed = this.#failure !== undefined;
    if (failed || this.#stopped || this.#gone === UBLK_DEPTH) this.#letGo();
    const deleted = Atomics.load(this.#shared, UBLK_SHARED_STATE) === UBLK_DELETED;
    if (!failed && !this.#stopped && !deleted) return false;
    this.#post({ kind: "ended", failure: this.#failure });
    return true;
  }

  wakeAtMs(): number {
    if (this.#queue?.full) return this.#loop.clock.nowMs() + FULL_RETRY_MS;
    return this.#requests.wakeAtMs;
  }

  complete(nowMs: number, _disk: number, userTag: number, result: number): void {
    this.#requests.complete(nowMs, userTag, result);
  }

  linkChanged(text: string | undefined): void {
    this.#requests.linkChanged(text);
  }

  event(nowMs: number, _disk: number, event: InitiatorEvent): void {
    this.#requests.event(nowMs, event);
  }

  /**
   * Who wants the device gone stops the device, and not this thread. Otherwise it stays, and its
   * requests wait for the next process.
   */
  stop(): void {
    this.#stopped = true;
  }

  answered(tag: number, errno: number): void {
    this.#command(UBLK_COMMIT_AND_FETCH, tag, errno === 0 ? this.#bytes[tag]! : -errno);
  }

  /** There is a device to open. */
  get #handedOver(): boolean {
    return Atomics.load(this.#shared, UBLK_SHARED_STATE) === UBLK_HANDED_OVER;
  }

  #open(nowMs: number): void {
    const path = `/dev/ublkc${this.#shared[UBLK_SHARED_DEVICE]!}`;
    try {
      this.#queue = new UblkQueue(path, UBLK_DEPTH, UBLK_DESCRIPTOR_BYTES);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#fail(error.message, error.code);
      return;
    }
    this.#queueEntry = this.#loop.watch(this.#queue.event, POLLIN);
    for (let tag = 0; tag < UBLK_DEPTH; tag++) this.#command(UBLK_FETCH, tag, 0);
    this.#serve(nowMs, this.#queue);
    if (this.#failure === undefined) this.#tell(UBLK_HELD);
  }

  #serve(nowMs: number, queue: UblkQueue): void {
    if (this.#loop.found(this.#queueEntry) !== 0) clearEvent(queue.event);
    queue.submit();
    while (queue.next()) this.#take(nowMs, queue, queue.tag, queue.result);
    // What is answered at once does not wait for the next turn.
    if (queue.full) queue.submit();
  }

  /** A fetch has ended: with a request, or because there will be none. */
  #take(nowMs: number, queue: UblkQueue, tag: number, result: number): void {
    if (result === 0) this.#handle(nowMs, queue.descriptors, tag);
    else if (result === -ENODEV) this.#gone++;
    else this.#fail(new SystemError("Fetch requests from ublk", -result).message, -result);
  }

  #handle(nowMs: number, descriptors: Uint32Array, tag: number): void {
    const at = tag * UBLK_DESCRIPTOR_BYTES;
    const flags = ublkOperation(descriptors, at);
    const sectors = ublkSectors(descriptors, at);
    const lba = ublkFirstSector(descriptors, at);
    const memoryAt = this.#memoryAt + tag * UBLK_REQUEST_BYTES_MAX;
    const stable = (flags & UBLK_OP_FUA) !== 0;
    const requests = this.#requests;
    this.#bytes[tag] = 0;
    switch (flags & 0xff) {
      case UBLK_OP_READ:
      case UBLK_OP_WRITE: {
        const bytes = sectors * SECTOR_BYTES;
        if (bytes > UBLK_REQUEST_BYTES_MAX) return this.answered(tag, EINVAL);
        this.#bytes[tag] = bytes;
        const operation = (flags & 0xff) === UBLK_OP_READ ? BLOCK_READ : BLOCK_WRITE;
        requests.submit(nowMs, tag, operation, lba, sectors, memoryAt, stable);
        return;
      }
      case UBLK_OP_FLUSH:
        return requests.submit(nowMs, tag, BLOCK_FLUSH, 0, 0, 0, false);
      case UBLK_OP_DISCARD:
        return requests.submit(nowMs, tag, BLOCK_DISCARD, lba, sectors, 0, stable);
      case UBLK_OP_WRITE_ZEROES: {
        const operation = (flags & UBLK_OP_NO_UNMAP) !== 0 ? BLOCK_ZERO_KEEP : BLOCK_ZERO;
        requests.submit(nowMs, tag, operation, lba, sectors, 0, stable);
        return;
      }
      default:
        return this.answered(tag, EOPNOTSUPP);
    }
  }

  #command(operation: number, tag: number, result: number): void {
    const queue = this.#queue!;
    const address = this.#loop.arena.address + this.#memoryAt + tag * UBLK_REQUEST_BYTES_MAX;
    writeUblkIo(queue.words, 0, tag, result, address);
    queue.command(operation, tag);
  }

  #fail(text: string, code: number): void {
    this.#failure ??= text;
    this.#shared[UBLK_SHARED_ERRNO] = code || EIO;
  }

  #letGo(): void {
    if (this.#queue !== undefined) {
      this.#loop.rewatch(this.#queueEntry, -1);
      this.#queue.close();
      this.#queue = undefined;
    }
    this.#gone = 0;
    this.#tell(UBLK_LET_GO);
  }

  #tell(state: number): void {
    Atomics.store(this.#shared, UBLK_SHARED_STATE, state);
  }
}
