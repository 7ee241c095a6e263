// How a ublk device goes from the main thread, which makes and deletes it, to the thread that serves
// it, and back: by a state in shared memory, and an eventfd that wakes the serving thread.
//
// 1. The main thread has made a device, or found one whose server has gone: it hands it over.
// 2. The serving thread fetches with every tag, and holds the device: it can start. What an earlier
//    process had read and not answered, the kernel tells it again.
// 3. The serving thread lets go of it, because it was stopped or could not serve.
// 4. The main thread has deleted it: the serving thread ends.

import { EIO } from "../../../ffi/errno_numbers.ts";
import { clearEvent, openEvent, signalEvent } from "../../../ffi/poll.ts";

// Words of the memory.
const STATE = 0;
const DEVICE = 1;
const ERRNO = 2;
const BYTES = 12;

const HELD_BY_NOBODY = 0;
const HANDED_OVER = 1;
const HELD = 2;
const LET_GO = 3;
const DELETED = 4;

/** What both threads know of the device: plain data, to be told to a thread. */
export interface UblkShared {
  readonly memory: SharedArrayBuffer;
  /** Becomes ready when the main thread has told something. */
  readonly event: number;
}

/** For a device that is not there yet. */
export function openUblkShared(): UblkShared {
  return { memory: new SharedArrayBuffer(BYTES), event: openEvent() };
}

/** The hand-over, as each of the two threads has it. */
export class UblkHandOver {
  readonly #shared: UblkShared;
  readonly #words: Int32Array;

  constructor(shared: UblkShared) {
    this.#shared = shared;
    this.#words = new Int32Array(shared.memory);
  }

  /** Number of the device, once there has been one. */
  get device(): number {
    return this.#words[DEVICE]!;
  }

  /** There has not been a device yet. */
  get isHeldByNobody(): boolean {
    return this.#state === HELD_BY_NOBODY;
  }

  /** The serving thread shall serve the device. */
  get isHandedOver(): boolean {
    return this.#state === HANDED_OVER;
  }

  /** Every tag waits for requests, and the device can start. */
  get isHeld(): boolean {
    return this.#state === HELD;
  }

  /** The serving thread has let go of it, and it can be deleted. */
  get isLetGo(): boolean {
    return this.#state === LET_GO;
  }

  /** It is deleted, and the serving thread has nothing more to do. */
  get isDeleted(): boolean {
    return this.#state === DELETED;
  }

  /** Why the serving thread could not serve. */
  get errno(): number {
    return this.#words[ERRNO]! || EIO;
  }

  /** The main thread hands a device over. */
  handOver(device: number): void {
    this.#words[DEVICE] = device;
    this.#tell(HANDED_OVER);
    signalEvent(this.#shared.event);
  }

  /** The main thread has deleted the device. */
  delete(): void {
    this.#tell(DELETED);
    signalEvent(this.#shared.event);
  }

  /** The serving thread takes what the event tells. */
  clear(): void {
    clearEvent(this.#shared.event);
  }

  /** The serving thread holds the device. */
  hold(): void {
    this.#tell(HELD);
  }

  /** The serving thread cannot serve; it lets go of the device next. */
  fail(errno: number): void {
    this.#words[ERRNO] = errno || EIO;
  }

  /** The serving thread lets go of the device. */
  letGo(): void {
    this.#tell(LET_GO);
  }

  get #state(): number {
    return Atomics.load(this.#words, STATE);
  }

  #tell(state: number): void {
    Atomics.store(this.#words, STATE, state);
  }
}
