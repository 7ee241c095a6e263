// The requests of one NBD client, and what becomes of them when the connection breaks (NBD
// protocol, 'Transmission phase'). Pure: replies come in and headers go out; moving a request's
// payload is the caller's business.
//
// 1. `add` takes a request by a small number of the caller's; it stands in line to be sent.
// 2. `sent` tells what has left; `reply` takes an answer, `payloadRead` a read's data.
// 3. A write that must be stable goes with FUA, if it has little company. Among many, or where the
//    server has no FUA, it waits for a flush that all of them share. It is in flight until then.
// 4. `nextDone` names what is over.
// 5. `broken`: what was in flight is sent again as a whole, which is safe, because requests that
//    overlap are never in flight together (wire/README.md, 13). So are writes that are over and not
//    named yet. Writes that were answered and not yet flushed may be lost with the server, and no
//    later flush would tell: the next one fails.

import { readUint32Be } from "../../wire/endian.ts";
import {
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EIO,
  NBD_ENOTSUP,
  NBD_ESHUTDOWN,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_SIMPLE_REPLY_MAGIC,
  REPLY_COOKIE,
  REPLY_ERROR,
  writeRequest,
} from "../../wire/nbd.ts";
import { EREMOTEIO } from "../../../ffi/errno_numbers.ts";
import { NumberQueue } from "../tables.ts";

/** `reply`: the answer is taken. */
export const REPLY_TAKEN = -1;
/** `reply`: this is no answer to anything that was asked. */
export const REPLY_NONSENSE = -2;
/** `reply`: the server is about to close the connection, and has not done it. */
export const REPLY_SHUTDOWN = -3;

/** Answered writes may be lost. NBD's errors are Linux's, but no server has this one. */
const ERRNO_MAX = 4095;
/** So many stable writes or fewer go with FUA: for more, one flush is cheaper than a sync of each. */
const FUA_MAX = 2;
/** A cookie is a generation and a number, in 53 bits. */
const GENERATION_MASK = 0x1fffff;

// What a request waits for.
const IDLE = 0;
const IN_LINE = 1;
const SENT = 2;
/** Written, and to be flushed before it is over. */
const WRITTEN = 3;
/** The flush under way will have flushed it. */
const COVERED = 4;
const DONE = 5;

/** Requests of one export, in tables made at start. */
export class NbdClientRequests {
  /** The number of the caller's own flush, beyond those of other requests. */
  readonly flushNumber: number;
  /** Bytes of each request. */
  readonly length: Float64Array;
  /** Requests added and not named by `nextDone` yet. */
  inFlight = 0;
  /** Reads that were sent and not answered. */
  readsSent = 0;
  /** Why the last flush that was not the caller's failed; 0 when it did not. */
  sharedFlushError = 0;
  /** What `nextDone` found. */
  doneNumber = 0;
  /** Its count of bytes, 0 for a flush or zeroes, or −errno. */
  doneResult = 0;

  readonly #sharedFlush: number;
  readonly #command: Uint8Array;
  readonly #offset: Float64Array;
  readonly #stable: Uint8Array;
  readonly #withFua: Uint8Array;
  readonly #state: Uint8Array;
  readonly #generation: Uint32Array;
  readonly #line: NumberQueue;
  readonly #done: NumberQueue;
  readonly #results: Float64Array;
  #flags: number;
  /** Requests in state WRITTEN. */
  #written = 0;
  /** Stable writes that are not over. */
  #stableOpen = 0;
  // Changes answered without being stable: ever; covered by the flushes under way; settled.
  #changes = 0;
  #changesCovered = 0;
  #changesCoveredShared = 0;
  #changesSettled = 0;
  #lossUntold = false;

  /**
   * @param numbers One more than the largest number of a request that is no flush.
   * @param flags The server's transmission flags.
   */
  constructor(numbers: number, flags: number) {
    const count = numbers + 2;
    this.flushNumber = numbers;
    this.#sharedFlush = numbers + 1;
    this.length = new Float64Array(count);
    this.#command = new Uint8Array(count);
    this.#offset = new Float64Array(count);
    this.#stable = new Uint8Array(count);
    this.#withFua = new Uint8Array(count);
    this.#state = new Uint8Array(count);
    this.#generation = new Uint32Array(count);
    this.#line = new NumberQueue(count);
    this.#done = new NumberQueue(count);
    this.#results = new Float64Array(count);
    this.#flags = flags;
  }

  /** Whether answered writes wait for a flush. */
  get atRisk(): boolean {
    return this.#changes > this.#changesSettled;
  }

  /** Requests in line. */
  get lineLength(): number {
    return this.#line.count;
  }

  /** The number of the `i`th request in line. */
  inLine(i: number): number {
    return this.#line.at(i);
  }

  /** Whether a request sends its data along. */
  sendsData(number: number): boolean {
    return this.#command[number] === NBD_CMD_WRITE;
  }

  /**
   * Takes a read, write or WRITE_ZEROES.
   *
   * @param stable A write is over only once it is on stable storage.
   */
  add(number: number, command: number, offset: number, length: number, stable: boolean): void {
    this.#command[number] = command;
    this.#offset[number] = offset;
    this.length[number] = length;
    this.#stable[number] = stable ? 1 : 0;
    if (stable) this.#stableOpen++;
    this.inFlight++;
    if (command === NBD_CMD_WRITE_ZEROES && (this.#flags & NBD_FLAG_SEND_WRITE_ZEROES) === 0) {
      this.#finish(number, -NBD_ENOTSUP);
    } else {
      this.#append(number);
    }
  }

  /** Takes the caller's flush, of everything that was answered before; one at a time. */
  addFlush(): void {
    const number = this.flushNumber;
    this.#command[number] = NBD_CMD_FLUSH;
    this.#changesCovered = this.#changes;
    this.inFlight++;
    if (this.#lossUntold) {
      this.#lossUntold = false;
      this.#finish(number, -EREMOTEIO);
    } else if ((this.#flags & NBD_FLAG_SEND_FLUSH) === 0) {
      // What such a server has answered is as stable as it ever will be.
      this.#settle(this.#changes);
      this.#finish(number, 0);
    } else {
      this.#append(number);
    }
  }

  /** Starts the shared flush where a write waits for it, or, if `all`, where anything is at risk. */
  startFlush(all: boolean): void {
    const number = this.#sharedFlush;
    if (this.#state[number] !== IDLE || (this.#flags & NBD_FLAG_SEND_FLUSH) === 0) return;
    if (this.#written === 0 && !(all && this.atRisk)) return;
    for (let i = 0; i < this.flushNumber; i++) {
      if (this.#state[i] === WRITTEN) this.#state[i] = COVERED;
    }
    this.#written = 0;
    this.#command[number] = NBD_CMD_FLUSH;
    this.#changesCoveredShared = this.#changes;
    this.#append(number);
  }

  /** Writes the header of a request in line: `NBD_REQUEST_BYTES`. */
  writeHeader(number: number, view: Uint8Array, at: number): void {
    const flush = this.#command[number] === NBD_CMD_FLUSH;
    writeRequest(
      view,
      at,
      this.#command[number]!,
      this.#withFua[number] === 1 ? NBD_CMD_FLAG_FUA : 0,
      this.#generation[number]! * 0x100000000 + number,
      flush ? 0 : this.#offset[number]!,
      flush ? 0 : this.length[number]!,
    );
  }

  /** The first request in line has been sent whole. */
  sent(): void {
    const number = this.#line.take();
    this.#state[number] = SENT;
    if (this.#command[number] === NBD_CMD_READ) this.readsSent++;
  }

  /**
   * Takes a simple reply, of which 16 bytes have been received.
   *
   * @returns The number of a read whose data follow, or a REPLY constant.
   */
  reply(view: Uint8Array, at: number): number {
    if (readUint32Be(view, at) !== NBD_SIMPLE_REPLY_MAGIC) return REPLY_NONSENSE;
    const number = readUint32Be(view, at + REPLY_COOKIE + 4);
    if (
      number >= this.#state.length || this.#state[number] !== SENT ||
      readUint32Be(view, at + REPLY_COOKIE) !== this.#generation[number]
    ) {
      return REPLY_NONSENSE;
    }
    const code = readUint32Be(view, at + REPLY_ERROR);
    if (code === NBD_ESHUTDOWN) return REPLY_SHUTDOWN;
    const error = code > ERRNO_MAX ? NBD_EIO : code;
    switch (this.#command[number]) {
      case NBD_CMD_READ:
        if (error === 0) return number;
        this.readsSent--;
        this.#finish(number, -error);
        break;
      case NBD_CMD_FLUSH:
        this.#flushed(number, error);
        break;
      default:
        this.#changed(number, error);
    }
    return REPLY_TAKEN;
  }

  /** A read's data have been received whole. */
  payloadRead(number: number): void {
    this.readsSent--;
    this.#finish(number, this.length[number]!);
  }

  /**
   * The connection broke: everything in flight stands in line again.
   *
   * @returns Whether answered writes may be lost.
   */
  broken(): boolean {
    const lost = this.atRisk;
    this.#line.clear();
    this.#written = 0;
    this.readsSent = 0;
    this.#state[this.#sharedFlush] = IDLE;
    for (let i = 0; i < this.flushNumber; i++) {
      if (this.#state[i] !== IDLE && this.#state[i] !== DONE) this.#append(i);
    }
    this.#redo();
    const flush = this.#state[this.flushNumber];
    const flushing = flush !== IDLE && flush !== DONE;
    if (lost) {
      this.#changesSettled = this.#changes;
      // One that was under way has its own failure; the next may be somebody else's.
      this.#lossUntold = true;
      if (flushing) this.#finish(this.flushNumber, -EREMOTEIO);
    } else if (flushing) {
      this.#append(this.flushNumber);
    }
    return lost;
  }

  /** What was answered and not named by `nextDone` yet may be lost: nobody has been told of it. */
  #redo(): void {
    for (let left = this.#done.count; left > 0; left--) {
      const number = this.#done.take();
      const changes = this.#command[number] === NBD_CMD_WRITE ||
        this.#command[number] === NBD_CMD_WRITE_ZEROES;
      const redone = changes && this.#stable[number] === 0 && this.#results[number]! >= 0;
      if (redone) this.#append(number);
      else this.#done.append(number);
    }
  }

  /** There is a connection again, to a server with these transmission flags. */
  connected(flags: number): void {
    this.#flags = flags;
    for (let i = 0; i < this.#line.count; i++) this.#chooseFua(this.#line.at(i));
  }

  /** Takes a request that is over into `doneNumber` and `doneResult`; false when there is none. */
  nextDone(): boolean {
    if (this.#done.count === 0) return false;
    const number = this.#done.take();
    this.doneNumber = number;
    this.doneResult = this.#results[number]!;
    this.#state[number] = IDLE;
    this.inFlight--;
    return true;
  }

  #append(number: number): void {
    this.#chooseFua(number);
    this.#state[number] = IN_LINE;
    this.#generation[number] = (this.#generation[number]! + 1) & GENERATION_MASK;
    this.#line.append(number);
  }

  /** Decides once for each time that a request is sent: its header may be written twice. */
  #chooseFua(number: number): void {
    const can = (this.#flags & NBD_FLAG_SEND_FUA) !== 0;
    const few = this.#stableOpen <= FUA_MAX || !this.#flushes;
    this.#withFua[number] = can && few && this.#stable[number] === 1 ? 1 : 0;
  }

  #finish(number: number, result: number): void {
    if (this.#stable[number] === 1) this.#stableOpen--;
    this.#results[number] = result;
    this.#state[number] = DONE;
    this.#done.append(number);
  }

  /** A write or WRITE_ZEROES was answered. */
  #changed(number: number, error: number): void {
    const stable = this.#stable[number] === 1;
    if (error === 0 && stable && this.#withFua[number] === 0 && this.#flushes) {
      this.#state[number] = WRITTEN;
      this.#written++;
      return;
    }
    // Also one that failed may have changed something.
    if (!stable) this.#changes++;
    this.#finishChange(number, error);
  }

  #finishChange(number: number, error: number): void {
    const bytes = this.#command[number] === NBD_CMD_WRITE ? this.length[number]! : 0;
    this.#finish(number, error === 0 ? bytes : -error);
  }

  /** One of the two flushes was answered. */
  #flushed(number: number, error: number): void {
    if (number === this.flushNumber) {
      if (error === 0) this.#settle(this.#changesCovered);
      this.#finish(number, 0 - error);
      return;
    }
    this.sharedFlushError = error;
    if (error === 0) this.#settle(this.#changesCoveredShared);
    this.#state[number] = IDLE;
    for (let i = 0; i < this.flushNumber; i++) {
      if (this.#state[i] === COVERED) this.#finishChange(i, error);
    }
  }

  get #flushes(): boolean {
    return (this.#flags & NBD_FLAG_SEND_FLUSH) !== 0;
  }

  #settle(changes: number): void {
    this.#changesSettled = Math.max(this.#changesSettled, changes);
  }
}
