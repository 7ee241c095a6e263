// What a target thread is made of: its arena and the tables in it, its queue and its links; and how
// much of each it is given.

import { Arena } from "../../../ffi/arena.ts";
import { openFileQueue } from "../../../ffi/file_queue.ts";
import type { FileQueue } from "../../../ffi/file_queue.ts";
import { VectorTable } from "../../../ffi/iovec_table.ts";
import { Clock, PollSet } from "../../../ffi/poll.ts";
import { SyncQueue } from "../../../ffi/sync_queue.ts";
import { TargetCommands } from "../../core/target/commands.ts";
import { EXPORTS_MAX } from "../../core/target/export_table.ts";
import { FramePool } from "../../core/target/frames.ts";
import { FilesInPlace } from "./in_place.ts";
import { LINKS_MAX, RECEIVE_BATCH, TargetLink } from "./link.ts";
import type { RingSize } from "./link.ts";
import type { TargetJobConfig } from "./messages.ts";
import { NbdSourceMemory } from "./nbd_source.ts";

const FRAMES_MIN = 128;
const FRAMES_MAX = 1024;
const FRAME_MEMORY_MAX = 32 * 2 ** 20;
/** Initiators whose full windows the socket's buffer holds. */
const INITIATORS = 8;
const SOCKET_BYTES_MIN = 4 * 2 ** 20;
const SOCKET_BYTES_MAX = 64 * 2 ** 20;
/**
 * Exports that a thread is made for at least. More may come while it runs, and then share what there
 * is: frames, and what rings and sockets hold.
 */
const EXPORTS_PLANNED = 4;
/** Unlike a socket's buffer, a ring takes its memory at once. */
const RING_BYTES_MAX = 16 * 2 ** 20;
const RINGS_BYTES_MAX = 64 * 2 ** 20;
/** Of an interface that comes while the thread runs. */
const RING_BYTES_LATER = RINGS_BYTES_MAX / LINKS_MAX;
/** Bytes at most that a link has for each frame of the pool, and beside them. */
const LINK_BYTES_OF_FRAME = 128;
const LINK_BYTES_ELSE = 2 ** 17;
/** The control event, the interfaces' news and the queue. */
const POLL_ENTRIES_ELSE = 3;
const RING_SLOTS_MIN = 128;
const RING_SLOTS_MAX = 2048;
const CROSSING_DEAR_NS = 500;
const RECEIVE_BATCH_CHEAP = 32;
const IN_PLACE_MAX_DEAR = 4;
/** Through the page cache, and O_DIRECT. */
const FILES_OF_EXPORT = 2;
/** Frames taken at a time where an export goes around the page cache. */
const DIRECT_BATCH = 8;

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
  const wanted = received + 2 * buffers * Math.max(EXPORTS_PLANNED, exports.length);
  const affordable = Math.floor(FRAME_MEMORY_MAX / mtuMax);
  return Math.max(
    received + 64,
    Math.min(FRAMES_MAX, affordable, Math.max(FRAMES_MIN, wanted)),
  );
}

/** Bytes of a socket's buffer; the kernel charges about twice a frame's length. */
export function socketBytes({ exports, buffers }: Demand, frameBytes: number): number {
  const planned = Math.max(EXPORTS_PLANNED, exports.length);
  const wanted = 2 * frameBytes * buffers * planned * INITIATORS;
  return Math.min(SOCKET_BYTES_MAX, Math.max(SOCKET_BYTES_MIN, wanted));
}

/** A ring that holds the windows of several initiators. */
function ringSize({ interfaces, exports, buffers }: Demand): RingSize {
  return {
    bytesMax: Math.min(RING_BYTES_MAX, Math.floor(RINGS_BYTES_MAX / (interfaces.length || 1))),
    slots: ringSlots(exports.length, buffers),
  };
}

/** Frames that a ring should hold for so many exports. */
export function ringSlots(exports: number, buffers: number): number {
  const wanted = buffers * exports * INITIATORS;
  return Math.min(RING_SLOTS_MAX, Math.max(RING_SLOTS_MIN, wanted));
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

/** All that lies in a thread's arena, or works on it. */
export interface TargetParts {
  readonly pool: FramePool;
  readonly commands: TargetCommands;
  readonly vectors: VectorTable;
  readonly clock: Clock;
  readonly poll: PollSet;
  readonly inPlace: FilesInPlace;
  /** For files; the kernel knows the pool's memory where they are direct. */
  readonly files: FileQueue;
  /** Why io_uring is not used, if it is not. */
  readonly withoutUring: string | undefined;
  /** Of each export that has a source. */
  readonly sources: readonly (NbdSourceMemory | undefined)[];
  readonly links: TargetLink[];
  /** Makes one for an interface that comes later, of which there is room for `LINKS_MAX` in all. */
  readonly makeLink: (name: string) => TargetLink;
}

/** @param mtuMax Largest MTU whose frames are to fit. */
export function buildParts(config: TargetJobConfig, mtuMax: number): TargetParts {
  const { interfaces, exports } = config;
  const frames = frameCount(config, mtuMax);
  const commands = new TargetCommands(frames);
  const direct = exports.some((ex) => ex.directFd >= 0);
  // Submitting to a disk takes microseconds each: the first answers should not wait for the last.
  const batch = direct ? DIRECT_BATCH : receiveBatch(config.crossingNs);
  const { ringSlots } = config;
  const ring = config.ring
    ? { ...ringSize(config), ...ringSlots === undefined ? {} : { slots: ringSlots } }
    : undefined;
  const sources = exports.filter((ex) => ex.source !== undefined).length;
  const room = LINKS_MAX - interfaces.length;
  const spare = room * (2 * RING_BYTES_LATER + frames * LINK_BYTES_OF_FRAME + LINK_BYTES_ELSE);
  const { arena, built } = Arena.fit((arena) => {
    const pool = new FramePool(arena, frames, mtuMax, direct ? 4096 : 512);
    const vectors = new VectorTable(arena, frames);
    const bufferBytes = socketBytes(config, pool.frameBytes);
    return {
      ...{ pool, commands, vectors },
      clock: new Clock(arena),
      poll: new PollSet(arena, POLL_ENTRIES_ELSE + LINKS_MAX + sources),
      inPlace: new FilesInPlace(arena, pool, vectors),
      sync: new SyncQueue(arena, frames + EXPORTS_MAX, (at) => vectors.pointerAt(at)),
      sources: exports.map(({ source }) =>
        source === undefined ? undefined : new NbdSourceMemory(arena, pool, source)
      ),
      links: interfaces.map((name) =>
        new TargetLink(name, { arena, pool, commands, batch, bufferBytes, ring })
      ),
      bufferBytes,
    };
  }, spare);
  const { queue: files, withoutUring } = openFileQueue(config.uring, built.sync);
  if (direct) files.registerBuffer(arena, built.pool.memoryAt, built.pool.memoryBytes);
  files.reserveFiles(FILES_OF_EXPORT * EXPORTS_MAX);
  files.allowBlocked(frames);
  const makeLink = (name: string) => {
    const later = ring && { ...ring, bytesMax: Math.min(ring.bytesMax, RING_BYTES_LATER) };
    return new TargetLink(name, {
      ...{ arena, pool: built.pool, commands, batch, bufferBytes: built.bufferBytes },
      ring: later,
    });
  };
  return { ...built, files, withoutUring, makeLink };
}
