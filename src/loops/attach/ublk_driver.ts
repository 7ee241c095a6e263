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

import type { UblkShared } from "./ublk_hand_over.ts";
import { UblkHandOver } from "./ublk_hand_over.ts";
import { BlockDriver } from "../block/driver.ts";
import type { Arena } from "../../../ffi/arena.ts";
import { SystemError } from "../../../ffi/errno.ts";
import { clearEvent, POLLIN } from "../../../ffi/poll.ts";
import { UblkQueue } from "../../../ffi/ublk.ts";
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
import { initiatorJob } from "../initiator/job.ts";
import type { InitiatorLoop } from "../initiator/loop.ts";
import { EINVAL, ENODEV, EOPNOTSUPP } from "../../../ffi/errno_numbers.ts";

/** Requests at once. */
export const UBLK_DEPTH = 128;
/**
 * Data of one request. The kernel goes through all tags, so that sooner or later all of this memory
 * is there: 16 MiB of the 120 that a daemon may take.
 */
export const UBLK_REQUEST_BYTES_MAX = 128 * 1024;
/** The kernel is asked again after this when it would not take all commands. */
const FULL_RETRY_MS = 1;

/** What to serve. */
export interface UblkConfig extends BlockConfig {
  readonly kind: "ublk";
  /** How the main thread hands the device over. */
  readonly shared: UblkShared;
}

/** What the driver needs in the loop's arena. */
function ublkMemory(arena: Arena) {
  return {
    blocks: new BlockMemory(arena),
    dataAt: arena.allocate(UBLK_DEPTH * UBLK_REQUEST_BYTES_MAX, 4096),
  };
}

/** The driver. */
class UblkDriver extends BlockDriver implements BlockAnswers {
  readonly #loop: InitiatorLoop;
  readonly #post: (message: BlockMessage) => void;
  protected readonly blocks: BlockRequests;
  readonly #handOver: UblkHandOver;
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
    super();
    this.#loop = loop;
    this.#post = post;
    this.blocks = new BlockRequests(loop, loop.memory.blocks, UBLK_DEPTH, config, this, post);
    this.blocks.guard();
    this.#handOver = new UblkHandOver(config.shared);
    this.#sharedEntry = loop.watch(config.shared.event, POLLIN);
    this.#memoryAt = loop.memory.dataAt;
  }

  turn(nowMs: number): boolean {
    if (this.#loop.found(this.#sharedEntry) !== 0) this.#handOver.clear();
    if (this.blocks.connect(nowMs)) {
      if (this.#queue !== undefined) this.#serve(nowMs, this.#queue);
      else if (this.#handOver.isHandedOver) this.#open(nowMs);
    }
    this.#failure ??= this.blocks.failure;
    const failed = this.#failure !== undefined;
    if (failed || this.#stopped || this.#gone === UBLK_DEPTH) this.#letGo();
    if (!failed && !this.#stopped && !this.#handOver.isDeleted) return false;
    this.#post({ kind: "ended", failure: this.#failure });
    return true;
  }

  wakeAtMs(): number {
    if (this.#queue?.full) return this.#loop.clock.nowMs() + FULL_RETRY_MS;
    return this.blocks.wakeAtMs;
  }

  /**
   * The main thread, which wants the device gone, stops the device, and not this thread. Otherwise it stays, and its
   * requests wait for the next process.
   */
  stop(): void {
    this.#stopped = true;
  }

  answered(tag: number, errno: number): void {
    this.#command(UBLK_COMMIT_AND_FETCH, tag, errno === 0 ? this.#bytes[tag]! : -errno);
  }

  #open(nowMs: number): void {
    const path = `/dev/ublkc${this.#handOver.device}`;
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
    if (this.#failure === undefined) this.#handOver.hold();
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
    const requests = this.blocks;
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
    this.#handOver.fail(code);
  }

  #letGo(): void {
    if (this.#queue !== undefined) {
      this.#loop.rewatch(this.#queueEntry, -1);
      this.#queue.close();
      this.#queue = undefined;
    }
    this.#gone = 0;
    this.#handOver.letGo();
  }
}

/** The job. */
export const runUblkDriver = initiatorJob(ublkMemory, UblkDriver);
