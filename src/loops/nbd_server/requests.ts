// What NBD clients have asked for and have not been answered: a table of requests, and the memory
// of their data, shared by all connections. Both are allocated at start and never grow.
//
// 1. `begin` takes a request; a connection that gets none waits, and reads no more until it does.
// 2. Data stand in units of memory. A read has all of its units before it starts; a write gets one
//    after the other as its data come in, and each goes to the disk as soon as it is full.
// 3. When the last part has been answered, FUA flushes, and the connection gets the request back
//    for its reply.
// 4. `release` frees a request once its reply is sent; a write's units are free before.
//
// A flush covers the writes of all connections, and one that fails says to one of them that writes
// may be lost. Each of the others that has such writes hears of it with its own next flush.

import type { Arena } from "../../../ffi/arena.ts";
import {
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_EIO,
  NBD_ENOMEM,
  NBD_ENOSPC,
  NBD_ENOTSUP,
  NBD_EPERM,
} from "../../wire/nbd.ts";
import { NBD_DATA_BYTES_MAX } from "../../core/nbd_server/export.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";
import {
  BLOCK_DISCARD,
  BLOCK_FLUSH,
  BLOCK_READ,
  BLOCK_WRITE,
  BLOCK_ZERO,
  BLOCK_ZERO_KEEP,
} from "../block/requests.ts";
import type { BlockAnswers, BlockRequests } from "../block/requests.ts";
import { EBADE, ENOMEM, ENOSPC, EOPNOTSUPP, EPERM, EROFS } from "../../../ffi/errno_numbers.ts";
import { FreeStack, NONE } from "../../core/tables.ts";

/** The longest part of a request that is one request to the disk. */
export const UNIT_BYTES = 128 * 1024;
const UNITS = 512;
const REQUESTS = 448;
/** What one connection may hold: a request of the largest size, and half of the table. */
export const UNITS_A_CONNECTION_MAX = NBD_DATA_BYTES_MAX / UNIT_BYTES;
export const REQUESTS_A_CONNECTION_MAX = REQUESTS / 2;
/** Room for the header of a reply, of whatever kind. */
const HEADER_BYTES = 64;
// What becomes of a request with FUA.
const FUA_NONE = 0;
const FUA_WANTED = 1;
const FUA_FLUSHING = 2;

/** A driver, which passes requests back to their connections. */
export interface NbdReplies {
  /** Request `id` of connection `connection` has ended. */
  ended(connection: number, id: number): void;
}

/** What the tables need in an arena; most of it is untouched as long as there is little to do. */
export class NbdRequestMemory {
  readonly headersAt: number;
  /** 64 MiB for data. */
  readonly unitsAt: number;

  constructor(arena: Arena) {
    this.headersAt = arena.allocate(REQUESTS * HEADER_BYTES, 64);
    this.unitsAt = arena.allocate(UNITS * UNIT_BYTES, 4096);
  }
}

/** The tables. */
export class NbdServerRequests implements BlockAnswers {
  /** The driver's time, which it sets whenever it is called. */
  nowMs = 0;
  /** Requests begun and not released. */
  inUse = 0;
  /** Requests released so far. */
  released = 0;
  /** A connection waits for memory that others have. */
  waiting = NONE;
  // Of each request, by its number.
  readonly command = new Uint8Array(REQUESTS);
  readonly offset = new Float64Array(REQUESTS);
  readonly bytes = new Float64Array(REQUESTS);
  /** The NBD error that a part of it has met first; 0 for none. */
  readonly error = new Int32Array(REQUESTS);
  readonly firstUnit = new Int16Array(REQUESTS);
  /** The next in the same connection's list of replies. */
  readonly next = new Int16Array(REQUESTS);
  /** The number in that connection's stream behind the reply's last byte. */
  readonly sentAt = new Float64Array(REQUESTS);
  readonly #connection = new Uint8Array(REQUESTS);
  readonly #fua = new Uint8Array(REQUESTS);
  /** Of a flush: writes of its connection that were answered when it was submitted. */
  readonly #covered = new Float64Array(REQUESTS);
  /** Parts that are not answered, and one more while parts are added. */
  readonly #parts = new Int32Array(REQUESTS);
  readonly #unitRequest = new Int16Array(UNITS);
  readonly #unitNext = new Int16Array(UNITS);
  // The one freed last is taken first: a small load touches little memory.
  readonly #freeRequests = new FreeStack(REQUESTS);
  readonly #freeUnits = new FreeStack(UNITS);
  // Of each connection.
  readonly #requestsHeld: Int32Array;
  readonly #unitsHeld: Int32Array;
  /** Writes that were answered; how many of them, from the first, a flush has covered. */
  readonly #written: Float64Array;
  readonly #settled: Float64Array;
  /** A flush of another connection has failed, and this one's writes may be concerned. */
  readonly #doubtful: Uint8Array;
  readonly #headersAt: number;
  readonly #unitsAt: number;
  readonly #replies: NbdReplies;
  #blocks: BlockRequests | undefined;

  constructor(memory: NbdRequestMemory, connections: number, replies: NbdReplies) {
    this.#headersAt = memory.headersAt;
    this.#unitsAt = memory.unitsAt;
    this.#replies = replies;
    this.#requestsHeld = new Int32Array(connections);
    this.#unitsHeld = new Int32Array(connections);
    this.#written = new Float64Array(connections);
    this.#settled = new Float64Array(connections);
    this.#doubtful = new Uint8Array(connections);
  }

  /** Numbers that `BlockRequests` gets from here. */
  static readonly numbers = UNITS + REQUESTS;

  /** Where requests go. */
  set blocks(blocks: BlockRequests) {
    this.#blocks = blocks;
  }

  /** Where the reply's header of a request stands. */
  headerAt(id: number): number {
    return this.#headersAt + id * HEADER_BYTES;
  }

  /** Where the data of a unit stand. */
  unitAt(unit: number): number {
    return this.#unitsAt + unit * UNIT_BYTES;
  }

  /** The unit behind another one of the same read; −1 for none. */
  unitAfter(unit: number): number {
    return this.#unitNext[unit]!;
  }

  /**
   * Takes a request, and memory for so many bytes, at once.
   *
   * @returns Its number; −1 when the connection has to wait.
   */
  begin(
    connection: number,
    command: number,
    offset: number,
    bytes: number,
    memoryBytes: number,
  ): number {
    const units = Math.ceil(memoryBytes / UNIT_BYTES);
    if (this.#requestsHeld[connection]! >= REQUESTS_A_CONNECTION_MAX) return NONE;
    if (!this.#claimTurn(connection, 1, units)) return NONE;
    const id = this.#freeRequests.take();
    this.inUse++;
    this.#requestsHeld[connection] = this.#requestsHeld[connection]! + 1;
    this.#connection[id] = connection;
    this.command[id] = command;
    this.offset[id] = offset;
    this.bytes[id] = bytes;
    this.error[id] = 0;
    this.firstUnit[id] = NONE;
    this.#parts[id] = 1;
    this.#fua[id] = FUA_NONE;
    let last = NONE;
    for (let i = 0; i < units; i++) {
      const unit = this.#takeUnit(connection, id);
      if (last === NONE) this.firstUnit[id] = unit;
      else this.#unitNext[last] = unit;
      last = unit;
    }
    return id;
  }

  /** Another unit for a write; −1 when the connection has to wait. */
  nextUnit(connection: number, id: number): number {
    return this.#claimTurn(connection, 0, 1) ? this.#takeUnit(connection, id) : NONE;
  }

  /** Hands a request without data of its own, or a read, to the disk. */
  start(id: number, flags: number): void {
    const command = this.command[id]!;
    if (command === NBD_CMD_READ) {
      let offset = this.offset[id]!;
      let left = this.bytes[id]!;
      for (let unit = this.firstUnit[id]!; unit !== NONE; unit = this.#unitNext[unit]!) {
        const bytes = Math.min(left, UNIT_BYTES);
        this.#submitUnit(id, unit, BLOCK_READ, offset, bytes);
        offset += bytes;
        left -= bytes;
      }
    } else {
      this.#parts[id] = this.#parts[id]! + 1;
      const keep = (flags & NBD_CMD_FLAG_NO_HOLE) !== 0;
      const zero = keep ? BLOCK_ZERO_KEEP : BLOCK_ZERO;
      const operation = command === NBD_CMD_FLUSH
        ? BLOCK_FLUSH
        : command === NBD_CMD_TRIM
        ? BLOCK_DISCARD
        : zero;
      const lba = this.offset[id]! / SECTOR_BYTES;
      const sectors = this.bytes[id]! / SECTOR_BYTES;
      this.#covered[id] = this.#written[this.#connection[id]!]!;
      this.#blocks!.submit(this.nowMs, UNITS + id, operation, lba, sectors, 0, false);
    }
    this.finish(id, command === NBD_CMD_READ || command === NBD_CMD_FLUSH ? 0 : flags);
  }

  /** Hands a full unit of a write to the disk. */
  write(id: number, unit: number, offset: number, bytes: number): void {
    this.#submitUnit(id, unit, BLOCK_WRITE, offset, bytes);
  }

  /** Everything of a request has been handed over: it ends with its last part. */
  finish(id: number, flags: number): void {
    if ((flags & NBD_CMD_FLAG_FUA) !== 0) this.#fua[id] = FUA_WANTED;
    this.#partEnded(id);
  }

  /** Ends a request that is not handed to the disk, with an NBD error or 0. */
  end(id: number, error: number): void {
    this.error[id] = error;
    this.#replies.ended(this.#connection[id]!, id);
  }

  /** The reply has been sent, or never will be. */
  release(id: number): void {
    const connection = this.#connection[id]!;
    for (let unit = this.firstUnit[id]!; unit !== NONE;) {
      const next = this.#unitNext[unit]!;
      this.releaseUnit(connection, unit);
      unit = next;
    }
    this.firstUnit[id] = NONE;
    this.#freeRequests.release(id);
    this.#requestsHeld[connection] = this.#requestsHeld[connection]! - 1;
    this.inUse--;
    this.released++;
  }

  /** Frees a unit. */
  releaseUnit(connection: number, unit: number): void {
    this.#freeUnits.release(unit);
    this.#unitsHeld[connection] = this.#unitsHeld[connection]! - 1;
  }

  /** Requests that a connection has. */
  heldBy(connection: number): number {
    return this.#requestsHeld[connection]!;
  }

  /** A new client takes a connection's place: nothing was promised to it. */
  welcome(connection: number): void {
    this.#written[connection] = 0;
    this.#settled[connection] = 0;
    this.#doubtful[connection] = 0;
  }

  /** A connection that is gone does not wait. */
  forget(connection: number): void {
    if (this.waiting === connection) this.waiting = NONE;
  }

  /** See `BlockAnswers`; a part has ended. */
  answered(number: number, errno: number): void {
    const id = number < UNITS ? this.#unitRequest[number]! : number - UNITS;
    if (errno !== 0 && this.error[id] === 0) this.error[id] = nbdError(errno);
    if (number < UNITS && this.command[id] === NBD_CMD_WRITE) {
      this.releaseUnit(this.#connection[id]!, number);
    }
    if (this.command[id] === NBD_CMD_FLUSH || this.#fua[id] === FUA_FLUSHING) this.#flushed(id);
    this.#partEnded(id);
  }

  /** A flush has ended, which tells its client of what is lost; or one of FUA, which does not. */
  #flushed(id: number): void {
    const connection = this.#connection[id]!;
    const tells = this.command[id] === NBD_CMD_FLUSH;
    if (this.error[id] !== 0) {
      for (let other = 0; other < this.#written.length; other++) {
        if (this.#written[other]! > this.#settled[other]!) this.#doubtful[other] = 1;
      }
    } else if (tells && this.#doubtful[connection] !== 0) {
      this.error[id] = NBD_EIO;
    }
    if (tells) this.#doubtful[connection] = 0;
    if (this.#doubtful[connection] !== 0) return;
    this.#settled[connection] = Math.max(this.#settled[connection]!, this.#covered[id]!);
  }

  #partEnded(id: number): void {
    this.#parts[id] = this.#parts[id]! - 1;
    if (this.#parts[id]! > 0) return;
    const connection = this.#connection[id]!;
    if (this.#fua[id] === FUA_WANTED && this.error[id] === 0) {
      this.#fua[id] = FUA_FLUSHING;
      this.#parts[id] = 1;
      this.#covered[id] = this.#written[connection]!;
      this.#blocks!.submit(this.nowMs, UNITS + id, BLOCK_FLUSH, 0, 0, 0, false);
      return;
    }
    const command = this.command[id]!;
    const changes = command !== NBD_CMD_READ && command !== NBD_CMD_FLUSH;
    if (changes && this.#fua[id] === FUA_NONE && this.error[id] === 0) {
      this.#written[connection] = this.#written[connection]! + 1;
    }
    this.#replies.ended(connection, id);
  }

  #submitUnit(
    id: number,
    unit: number,
    operation: number,
    offset: number,
    bytes: number,
  ): void {
    this.#parts[id] = this.#parts[id]! + 1;
    const lba = offset / SECTOR_BYTES;
    const sectors = bytes / SECTOR_BYTES;
    this.#blocks!.submit(this.nowMs, unit, operation, lba, sectors, this.unitAt(unit), false);
  }

  #takeUnit(connection: number, id: number): number {
    const unit = this.#freeUnits.take();
    this.#unitsHeld[connection] = this.#unitsHeld[connection]! + 1;
    this.#unitRequest[unit] = id;
    this.#unitNext[unit] = NONE;
    return unit;
  }

  /**
   * Whether a connection may take so much now; if there is too little it waits, and gets what it
   * needs before others get more: large requests would starve.
   */
  #claimTurn(connection: number, requests: number, units: number): boolean {
    if (this.#unitsHeld[connection]! + units > UNITS_A_CONNECTION_MAX) return false;
    if (this.waiting !== NONE && this.waiting !== connection) return false;
    const there = this.#freeRequests.count >= requests && this.#freeUnits.count >= units;
    this.waiting = there ? NONE : connection;
    return there;
  }
}

/** The NBD error for an errno of `BlockRequests`; what it was has been told as an event. */
function nbdError(errno: number): number {
  switch (errno) {
    case 0:
      return 0;
    case EPERM:
    case EROFS:
    case EBADE: // Another initiator has reserved the disk.
      return NBD_EPERM;
    case ENOMEM:
      return NBD_ENOMEM;
    case ENOSPC:
      return NBD_ENOSPC;
    case EOPNOTSUPP:
      return NBD_ENOTSUP;
    default:
      return NBD_EIO;
  }
}
