// One NBD client on a stream socket: its handshake, then its requests.
//
// 1. `read` receives once. What comes goes behind what is left of the last time; the data of a
//    write go right to where the disk takes them from.
// 2. Every request that is there begins (requests.ts). If it has to wait for memory, nothing
//    more is read: the client's socket fills up, and the client waits.
// 3. A request that has ended puts its reply into the line (reply_line.ts), which `send` sends.
//
// Nothing that a client sends throws: who breaks the protocol is left.

import type { Arena } from "../../../ffi/arena.ts";
import { POLLIN, POLLOUT } from "../../../ffi/poll.ts";
import { closeStream, StreamPieces } from "../../../ffi/stream_socket.ts";
import {
  HANDSHAKE_BROKEN,
  HANDSHAKE_DONE,
  HANDSHAKE_ENDED,
  HANDSHAKE_OUTPUT_BYTES,
} from "../../core/nbd_server/handshake.ts";
import type { NbdServerHandshake } from "../../core/nbd_server/handshake.ts";
import { type NbdExport, nbdRefusal } from "../../core/nbd_server/export.ts";
import { readUint16Be, readUint32Be, readUint64Be } from "../../wire/endian.ts";
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_COOKIE_BYTES,
  NBD_EIO,
  NBD_ESHUTDOWN,
  NBD_REQUEST_BYTES,
  NBD_REQUEST_MAGIC,
  REPLY_COOKIE,
  REQUEST_COMMAND,
  REQUEST_COOKIE,
  REQUEST_FLAGS,
  REQUEST_LENGTH,
  REQUEST_OFFSET,
} from "../../wire/nbd.ts";
import { NbdReplyLine, REPLY_PIECES } from "./reply_line.ts";
import { type NbdServerRequests, UNIT_BYTES } from "./requests.ts";
import { EAGAIN } from "../../../ffi/errno_numbers.ts";
import { NONE } from "../../core/tables.ts";

/** Received at once, beside the data of a write; an option of a handshake has to fit, too. */
const INPUT_BYTES = 32 * 1024;

/** There is no client. */
const CLOSED = 0;
const HANDSHAKE = 1;
const TRANSMISSION = 2;
/** No more requests: the client has said so, or has ended its half of the connection. */
const ENDING = 3;
/** The socket is closed; requests are still at the disk. */
const GONE = 4;

/** What the connections of one server share. */
export interface NbdSharing {
  readonly arena: Arena;
  readonly requests: NbdServerRequests;
  /** For receiving: two pieces. */
  readonly pieces: StreamPieces;
  /** What is served now. */
  disk: NbdExport;
  /** The server comes to an end: new requests are refused. */
  stopping: boolean;
}

/** What a connection needs in an arena. */
export class NbdConnectionMemory {
  readonly replies: StreamPieces;
  readonly inputAt: number;
  readonly outputAt: number;

  constructor(arena: Arena) {
    this.replies = new StreamPieces(arena, REPLY_PIECES);
    this.inputAt = arena.allocate(INPUT_BYTES, 4096);
    this.outputAt = arena.allocate(HANDSHAKE_OUTPUT_BYTES);
  }
}

/** A place for one client after the other. */
export class NbdServerConnection {
  /** The socket; −1 without one. */
  fd = NONE;
  /** Why the last client was left, in words, until that has been told. */
  failure: string | undefined;
  readonly line: NbdReplyLine;
  readonly #index: number;
  readonly #shared: NbdSharing;
  readonly #bytes: Uint8Array;
  readonly #inputAt: number;
  readonly #outputAt: number;
  #handshake: NbdServerHandshake | undefined;
  #state = CLOSED;
  #blockStatus = false;
  #start = 0;
  #end = 0;
  /** The next request has to wait for memory. */
  #waits = false;
  // The write whose data are coming in.
  #writing = NONE;
  #writeFlags = 0;
  #writeOffset = 0;
  #writeLeft = 0;
  #unit = NONE;
  #unitFilled = 0;
  /** Data of a refused write that are still to come. */
  #skip = 0;

  /** @param index Its number, from 0. */
  constructor(index: number, memory: NbdConnectionMemory, shared: NbdSharing) {
    const { arena, requests } = shared;
    this.#index = index;
    this.#shared = shared;
    this.#bytes = arena.bytes;
    this.line = new NbdReplyLine(arena, memory.replies, requests);
    this.#inputAt = memory.inputAt;
    this.#outputAt = memory.outputAt;
  }

  /** Whether another client can have it. */
  get isFree(): boolean {
    return this.#state === CLOSED;
  }

  /** Whether the client has not said yet what it wants. */
  get isShaking(): boolean {
    return this.#state === HANDSHAKE;
  }

  /** Whether it has to wait for memory before it can go on. */
  get waits(): boolean {
    return this.#waits;
  }

  /** What to poll the socket for; 0 for nothing, then the socket must not be polled at all. */
  get wants(): number {
    if (this.fd < 0) return 0;
    const answers = this.line.bytes > 0 ? POLLOUT : 0;
    // In a handshake one answers the other; after it, requests need not wait for replies.
    const reads = this.#state === TRANSMISSION && !this.#waits ||
      this.#state === HANDSHAKE && answers === 0;
    return answers | (reads ? POLLIN : 0);
  }

  /** Takes a client over. Without a handshake, it is in transmission at once. */
  open(fd: number, handshake: NbdServerHandshake | undefined): void {
    this.fd = fd;
    this.#shared.requests.welcome(this.#index);
    this.#handshake = handshake;
    this.#state = handshake === undefined ? TRANSMISSION : HANDSHAKE;
    this.#blockStatus = false;
    this.#start = this.#inputAt;
    this.#end = this.#inputAt;
    this.#waits = false;
    this.#skip = 0;
    this.line.progressMs = this.#shared.requests.nowMs;
    if (handshake !== undefined) {
      this.line.add(this.#outputAt, handshake.greet(this.#bytes, this.#outputAt));
    }
  }

  /** Goes on with what had to wait; then, if there is something, receives once. */
  read(readable: boolean): void {
    if (this.#waits) {
      this.#waits = false;
      this.#work();
    }
    if (this.fd < 0 || !readable || (this.wants & POLLIN) === 0) return;
    const received = this.#receive();
    if (received > 0) this.#work();
    else if (received === 0) this.#endReading();
    else if (received !== -EAGAIN) this.leave(undefined);
    this.#leaveIfOver();
  }

  /** Sends the replies that there are. */
  send(writable: boolean): void {
    if (this.fd < 0) return;
    if (!this.line.send(this.fd, writable)) {
      this.leave(undefined);
      return;
    }
    // The next option of a handshake has waited until the answer to the last one was away.
    if (this.#state === HANDSHAKE && this.line.bytes === 0) this.#work();
    this.#leaveIfOver();
  }

  /** A request has ended: its reply goes into the line. */
  ended(id: number): void {
    if (this.#state !== GONE) {
      this.line.reply(id);
      return;
    }
    const { requests } = this.#shared;
    requests.release(id);
    if (requests.heldBy(this.#index) === 0) this.#state = CLOSED;
  }

  /** Closes the socket now; requests that are at the disk end there. */
  leave(failure: string | undefined): void {
    if (this.fd < 0) return;
    const { requests } = this.#shared;
    this.failure ??= failure;
    closeStream(this.fd);
    this.fd = NONE;
    this.#state = GONE;
    this.#waits = false;
    this.#handshake = undefined;
    this.line.clear();
    this.#abandonWrite();
    requests.forget(this.#index);
    if (requests.heldBy(this.#index) === 0) this.#state = CLOSED;
  }

  #receive(): number {
    const { pieces, requests } = this.#shared;
    this.#bytes.copyWithin(this.#inputAt, this.#start, this.#end);
    this.#end -= this.#start - this.#inputAt;
    this.#start = this.#inputAt;
    pieces.clear();
    let direct = 0;
    if (this.#unit !== NONE) {
      // The input is empty: what stood in it was copied to the unit.
      direct = Math.min(UNIT_BYTES - this.#unitFilled, this.#writeLeft);
      pieces.add(requests.unitAt(this.#unit) + this.#unitFilled, direct);
    }
    // Behind a unit that does not take the rest of the data, there are data for the next one.
    if (direct === 0 || direct === this.#writeLeft) {
      pieces.add(this.#end, this.#inputAt + INPUT_BYTES - this.#end);
    }
    const received = pieces.receive(this.fd);
    if (received <= 0) return received;
    const filled = Math.min(received, direct);
    this.#unitFilled += filled;
    this.#writeLeft -= filled;
    this.#end += received - filled;
    return received;
  }

  /** Does what has been received, as far as that goes now. */
  #work(): void {
    while (this.#state === HANDSHAKE && this.line.bytes === 0) if (!this.#shake()) break;
    while (this.#state === TRANSMISSION) {
      if (this.#skip > 0) {
        const bytes = Math.min(this.#skip, this.#end - this.#start);
        this.#skip -= bytes;
        this.#start += bytes;
        if (this.#skip > 0) return;
      } else if (this.#writing !== NONE) {
        if (!this.#takeData()) return;
      } else if (this.#end - this.#start < NBD_REQUEST_BYTES || !this.#begin()) {
        return;
      }
    }
  }

  #shake(): boolean {
    const handshake = this.#handshake!;
    const { line } = this;
    const bytes = this.#bytes;
    const taken = handshake.receive(bytes, this.#start, this.#end, bytes, this.#outputAt);
    this.#start += taken;
    if (handshake.written > 0) line.add(this.#outputAt, handshake.written);
    switch (handshake.state) {
      case HANDSHAKE_DONE:
        this.#state = TRANSMISSION;
        this.#blockStatus = handshake.blockStatus;
        line.structured = handshake.structured;
        this.#handshake = undefined;
        break;
      case HANDSHAKE_ENDED:
        this.#state = ENDING;
        break;
      case HANDSHAKE_BROKEN:
        this.leave("it does not speak NBD as it should, or asked for another export");
    }
    return taken > 0;
  }

  /** Begins the request at the start of the input; false when it has to wait or is the last. */
  #begin(): boolean {
    const { requests, disk } = this.#shared;
    const view = this.#bytes;
    const at = this.#start;
    if (readUint32Be(view, at) !== NBD_REQUEST_MAGIC) {
      this.leave("what it sent is no request");
      return false;
    }
    const command = readUint16Be(view, at + REQUEST_COMMAND);
    if (command === NBD_CMD_DISC) {
      this.#endReading();
      return false;
    }
    const flags = readUint16Be(view, at + REQUEST_FLAGS);
    const offset = readUint64Be(view, at + REQUEST_OFFSET);
    const bytes = readUint32Be(view, at + REQUEST_LENGTH);
    const error = this.#shared.stopping
      ? NBD_ESHUTDOWN
      : nbdRefusal(disk, command, flags, offset, bytes, this.#blockStatus);
    const memory = command === NBD_CMD_READ && error === 0 ? bytes : 0;
    const id = requests.begin(this.#index, command, offset, bytes, memory);
    if (id < 0) {
      this.#waits = true;
      return false;
    }
    const cookieAt = at + REQUEST_COOKIE;
    view.copyWithin(requests.headerAt(id) + REPLY_COOKIE, cookieAt, cookieAt + NBD_COOKIE_BYTES);
    this.#start = at + NBD_REQUEST_BYTES;
    if (error !== 0) {
      if (command === NBD_CMD_WRITE) this.#skip = bytes;
      requests.end(id, error);
    } else if (command === NBD_CMD_BLOCK_STATUS) {
      requests.end(id, 0);
    } else if (command === NBD_CMD_WRITE) {
      this.#writing = id;
      this.#writeFlags = flags;
      this.#writeOffset = offset;
      this.#writeLeft = bytes;
    } else {
      requests.start(id, flags);
    }
    return true;
  }

  /** Moves data of a write to its unit; false when more have to come, or to wait. */
  #takeData(): boolean {
    const { requests } = this.#shared;
    const id = this.#writing;
    if (this.#unit === NONE) {
      this.#unit = requests.nextUnit(this.#index, id);
      this.#unitFilled = 0;
      if (this.#unit === NONE) {
        this.#waits = true;
        return false;
      }
    }
    const wanted = Math.min(UNIT_BYTES - this.#unitFilled, this.#writeLeft);
    const bytes = Math.min(wanted, this.#end - this.#start);
    const to = requests.unitAt(this.#unit) + this.#unitFilled;
    this.#bytes.copyWithin(to, this.#start, this.#start + bytes);
    this.#start += bytes;
    this.#unitFilled += bytes;
    this.#writeLeft -= bytes;
    if (bytes < wanted) return false;
    const unit = this.#unit;
    this.#unit = NONE;
    requests.write(id, unit, this.#writeOffset, this.#unitFilled);
    this.#writeOffset += this.#unitFilled;
    if (this.#writeLeft === 0) {
      this.#writing = NONE;
      requests.finish(id, this.#writeFlags);
    }
    return true;
  }

  /** Nothing more comes; what was asked for is still answered. */
  #endReading(): void {
    this.#state = ENDING;
    this.#abandonWrite();
  }

  /** The rest of a write will not come. */
  #abandonWrite(): void {
    if (this.#writing === NONE) return;
    const { requests } = this.#shared;
    if (this.#unit !== NONE) requests.releaseUnit(this.#index, this.#unit);
    this.#unit = NONE;
    const id = this.#writing;
    this.#writing = NONE;
    requests.error[id] = NBD_EIO;
    requests.finish(id, 0);
  }

  #leaveIfOver(): void {
    if (this.#state !== ENDING || this.line.bytes > 0) return;
    if (this.#shared.requests.heldBy(this.#index) === 0) this.leave(undefined);
  }
}
