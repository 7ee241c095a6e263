// How much a target thread is given: frames, kernel memory for its sockets, and from where on work
// goes through the ring.

import { RECEIVE_BATCH } from "./link.ts";
import type { RingSize } from "./link.ts";

const FRAMES_MIN = 128;
const FRAMES_MAX = 1024;
const FRAME_MEMORY_MAX = 32 * 2 ** 20;
/** Initiators whose full windows the socket's buffer holds. */
const INITIATORS = 8;
const SOCKET_BYTES_MIN = 4 * 2 ** 20;
const SOCKET_BYTES_MAX = 64 * 2 ** 20;
/** Unlike a socket's buffer, a ring takes its memory at once. */
const RING_BYTES_MAX = 16 * 2 ** 20;
const RINGS_BYTES_MAX = 64 * 2 ** 20;
const RING_SLOTS_MIN = 128;
const RING_SLOTS_MAX = 2048;
const CROSSING_DEAR_NS = 500;
const RECEIVE_BATCH_CHEAP = 32;
const IN_PLACE_MAX_DEAR = 4;

/** What decides about it. */
export interface Demand {
  readonly interfaces: readonly unknown[];
  readonly exports: readonly unknown[];
  /** Requests that one initiator may send without an answer. */
  readonly buffers: number;
}

/** Frames of a worker: the batches being received, and two full windows for each export. */
export function frameCount({ interfaces, exports, buffers }: Demand, mtuMax: number): number {
  const received = RECEIVE_BATCH * interfaces.length;
  const wanted = received + 2 * buffers * exports.length;
  const affordable = Math.floor(FRAME_MEMORY_MAX / mtuMax);
  return Math.max(
    received + 64,
    Math.min(FRAMES_MAX, affordable, Math.max(FRAMES_MIN, wanted)),
  );
}

/** Bytes of a socket's buffer; the kernel charges about twice a frame's length. */
export function socketBytes({ exports, buffers }: Demand, frameBytes: number): number {
  const wanted = 2 * frameBytes * buffers * exports.length * INITIATORS;
  return Math.min(SOCKET_BYTES_MAX, Math.max(SOCKET_BYTES_MIN, wanted));
}

/** A ring that holds the windows of several initiators. */
export function ringSize({ interfaces, exports, buffers }: Demand): RingSize {
  const wanted = buffers * exports.length * INITIATORS;
  return {
    bytesMax: Math.min(RING_BYTES_MAX, Math.floor(RINGS_BYTES_MAX / interfaces.length)),
    slots: Math.min(RING_SLOTS_MAX, Math.max(RING_SLOTS_MIN, wanted)),
  };
}

/**
 * Frames taken in one crossing. Where that is cheap, half of an initiator's window: it gets the first
 * answers while the target works on the rest, where otherwise each would wait for the other.
 *
 * @param crossingNs See `measureCrossingNs`.
 */
export function receiveBatch(crossingNs: number): number {
  return crossingNs >= CROSSING_DEAR_NS ? RECEIVE_BATCH : RECEIVE_BATCH_CHEAP;
}

/**
 * Frames of a turn up to which buffered writes are done in place. Where a crossing into the kernel
 * is cheap that costs a third less than the ring, which gives them to a thread of the kernel; where
 * it is dear, many writes share one crossing through the ring.
 *
 * @param crossingNs See `measureCrossingNs`.
 */
export function inPlaceMax(crossingNs: number): number {
  return crossingNs >= CROSSING_DEAR_NS ? IN_PLACE_MAX_DEAR : Infinity;
}
