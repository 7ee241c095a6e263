// An NBD export behind an AoE export: the disk's queue of the target's loop, with a connection in
// place of a ring (see disk_queues.ts).
//
// 1. `read`, `write`, `sync` and `punch` put requests in line (core/nbd_client/requests.ts).
// 2. `advance` sends what the socket takes: many headers and the frames' data in one sendmsg.
// 3. It receives what has come. A read's data land in the frame behind its header, and the same
//    call takes the header of the next reply.
// 4. When the connection breaks, what was in flight waits for the next one (nbd_client/connection.ts).
//
// Nothing here waits. Where the data of a request lie is known from the frame pool: in the frame of
// its number, and in those merged with it.

import type { Arena } from "../../../ffi/arena.ts";
import type { Clock } from "../../../ffi/poll.ts";
import { POLLIN, POLLOUT } from "../../../ffi/poll.ts";
import { StreamPieces } from "../../../ffi/stream_socket.ts";
import {
  NbdClientRequests,
  REPLY_NONSENSE,
  REPLY_SHUTDOWN,
} from "../../core/nbd_client/requests.ts";
import { ATA_DATA } from "../../wire/ata.ts";
import {
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_REQUEST_BYTES,
  NBD_SIMPLE_REPLY_BYTES,
} from "../../wire/nbd.ts";
import { FRAME_ALREADY_STABLE } from "../../core/target/commands.ts";
import type { TargetCommands } from "../../core/target/commands.ts";
import type { Backing } from "../../core/target/export.ts";
import type { FramePool } from "../../core/target/frames.ts";
import { NbdClientConnection } from "../nbd_client/connection.ts";
import type { NbdOrigin } from "../nbd_client/connection.ts";
import { EAGAIN } from "../../../ffi/errno_numbers.ts";

/** Room for one header in the arena. */
const HEADER_STRIDE = 32;
/** Pieces of memory in one call. */
const PIECES_MAX = 256;
/** Those of one request at most: its header, and as many frames as are merged. */
const PIECES_OF_REQUEST = 65;
/** Replies without data that are received at once. */
const REPLIES_MAX = 64;

/** Told in a sentence's middle what became of a source; `lost`: answered writes may be lost. */
export type SourceListener = (state: "away" | "back", text: string, lost: boolean) => void;

/** What a source needs in an arena. */
export class NbdSourceMemory {
  readonly headers: number;
  readonly replies: number;
  readonly pieces: StreamPieces;
  readonly connection: NbdClientConnection;

  constructor(arena: Arena, pool: FramePool, origin: NbdOrigin) {
    this.headers = arena.allocate((pool.count + 2) * HEADER_STRIDE);
    this.replies = arena.allocate(REPLIES_MAX * NBD_SIMPLE_REPLY_BYTES);
    this.pieces = new StreamPieces(arena, PIECES_MAX);
    this.connection = new NbdClientConnection(arena, origin);
  }
}

/** One NBD export, its requests and its connection. */
export class NbdSource implements Backing {
  readonly remoteServer = true;
  readonly pages = undefined;
  /** Number of the operation that `next` has found, and its result; see `IoUring`. */
  tag = 0;
  result = 0;
  /** Its entry in the poll set of the thread. */
  readonly pollEntry: number;

  readonly #clock: Clock;
  readonly #pool: FramePool;
  readonly #commands: TargetCommands;
  readonly #connection: NbdClientConnection;
  readonly #requests: NbdClientRequests;
  readonly #listener: SourceListener;
  readonly #headers: number;
  readonly #replies: number;
  readonly #pieces: StreamPieces;
  /** Tag of the flush that the loop asked for. */
  #syncTag = 0;
  /** Bytes of the first request in line that have been sent. */
  #partSent = 0;
  #sendBlocked = false;
  /** Bytes of replies that are in memory. */
  #received = 0;
  /** The read whose data are being received, −1 for none, and how many of its bytes are there. */
  #reading = -1;
  #readBytes = 0;
  #closed = false;

  constructor(
    memory: NbdSourceMemory,
    options: {
      pool: FramePool;
      commands: TargetCommands;
      clock: Clock;
      origin: NbdOrigin;
      pollEntry: number;
      listener: SourceListener;
    },
  ) {
    const { pool, origin, listener } = options;
    this.pollEntry = options.pollEntry;
    this.#clock = options.clock;
    this.#pool = pool;
    this.#commands = options.commands;
    this.#listener = listener;
    this.#requests = new NbdClientRequests(pool.count, origin.facts.flags);
    this.#headers = memory.headers;
    this.#replies = memory.replies;
    this.#pieces = memory.pieces;
    this.#connection = memory.connection;
  }

  /** Operations that `next` has not named. */
  get inFlight(): number {
    return this.#requests.inFlight;
  }

  /** Size of the export. */
  get bytes(): number {
    return this.#connection.facts.bytes;
  }

  /** See `NbdClientRequests.atRisk`. */
  get atRisk(): boolean {
    return this.#requests.atRisk;
  }

  /** What to poll: −1 while there is no connection. */
  get fd(): number {
    return this.#connection.fd;
  }

  get events(): number {
    return this.#sendBlocked || this.#connection.sendBlocked ? POLLIN | POLLOUT : POLLIN;
  }

  /** When `advance` has something to do by itself; Infinity when only the server can tell. */
  get dueMs(): number {
    return this.#closed ? Infinity : this.#connection.dueMs;
  }

  /** Queues a read into the frames of a command. */
  read(tag: number, offset: number): void {
    this.#requests.add(tag, NBD_CMD_READ, offset, this.#bytesOf(tag), false);
  }

  /** Queues a write from the frames of a command; see `IoUring.write`. */
  write(tag: number, offset: number, stable: boolean): void {
    this.#requests.add(tag, NBD_CMD_WRITE, offset, this.#bytesOf(tag), stable);
  }

  /** Queues a flush of everything that was answered before. */
  sync(tag: number): void {
    this.#syncTag = tag;
    this.#requests.addFlush();
  }

  /** Queues zeroes, for which the server may punch a hole. */
  punch(tag: number, offset: number, bytes: number): void {
    const stable = (this.#commands.flags[tag]! & FRAME_ALREADY_STABLE) !== 0;
    this.#requests.add(tag, NBD_CMD_WRITE_ZEROES, offset, bytes, stable);
  }

  /** Does what can be done without waiting. */
  advance(): void {
    const connection = this.#connection;
    if (this.#closed) return;
    if (!connection.ready) {
      const nowMs = this.#clock.nowMs();
      if (!connection.advance(nowMs)) return;
      this.#requests.connected(connection.facts.flags);
      this.#listener("back", connection.backAfter(nowMs), false);
    }
    this.#requests.startFlush(false);
    this.#send();
    this.#receive();
    this.#requests.startFlush(false);
    this.#send();
  }

  /** Takes one operation that is over into `tag` and `result`; false when there is none. */
  next(): boolean {
    const requests = this.#requests;
    if (!requests.nextDone()) return false;
    const number = requests.doneNumber;
    this.tag = number === requests.flushNumber ? this.#syncTag : number;
    this.result = requests.doneResult;
    return true;
  }

  /** At the end: starts to flush what is at risk. */
  finish(): void {
    this.#requests.startFlush(true);
    this.#send();
  }

  /** Whether that goes on; a server that is away is not waited for. */
  get finishing(): boolean {
    return this.#connection.ready && this.atRisk && this.#requests.sharedFlushError === 0;
  }

  /** Ends it; nothing may be in flight. */
  close(): void {
    this.#closed = true;
    this.#connection.close();
  }

  /** Bytes of a command and those merged with it, or as many as the server takes. */
  #bytesOf(first: number): number {
    const { byteCount, progress, next } = this.#commands;
    let bytes = 0;
    for (let frame = first; frame >= 0; frame = next[frame]!) {
      bytes += byteCount[frame]! - progress[frame]!;
    }
    return Math.min(bytes, this.#connection.facts.blockMax);
  }

  #send(): void {
    const { ready } = this.#connection;
    this.#sendBlocked = false;
    while (ready && this.#requests.lineLength > 0 && !this.#sendBlocked) {
      this.#gatherLine();
      const { bytes } = this.#pieces;
      const sent = this.#pieces.send(this.#connection.fd);
      if (sent < 0 && sent !== -EAGAIN) {
        this.#break(-sent);
        return;
      }
      if (sent > 0) this.#takeSent(sent);
      this.#sendBlocked = sent < bytes;
    }
  }

  /** Makes pieces of what stands in line, as far as there is room. */
  #gatherLine(): void {
    const { count } = this.#pool;
    const requests = this.#requests;
    const pieces = this.#pieces;
    pieces.clear();
    let skip = this.#partSent;
    for (let i = 0; i < requests.lineLength && pieces.room >= PIECES_OF_REQUEST; i++) {
      const number = requests.inLine(i);
      const header = this.#headers + number * HEADER_STRIDE;
      requests.writeHeader(number, this.#pool.bytes, header);
      if (skip < NBD_REQUEST_BYTES) {
        pieces.add(header + skip, NBD_REQUEST_BYTES - skip);
        skip = 0;
      } else {
        skip -= NBD_REQUEST_BYTES;
      }
      if (number < count && requests.sendsData(number)) this.#addData(number, skip);
      skip = 0;
    }
  }

  /** Adds pieces for the data of a request, but for its first `skip` bytes. */
  #addData(number: number, skip: number): void {
    const pool = this.#pool;
    const { next, progress, byteCount } = this.#commands;
    let left = this.#requests.length[number]!;
    for (let frame = number; frame >= 0 && left > 0; frame = next[frame]!) {
      const done = progress[frame]!;
      const bytes = Math.min(left, byteCount[frame]! - done);
      left -= bytes;
      if (skip < bytes) this.#pieces.add(pool.start(frame) + ATA_DATA + done + skip, bytes - skip);
      skip = Math.max(0, skip - bytes);
    }
  }

  #takeSent(sent: number): void {
    const requests = this.#requests;
    this.#partSent += sent;
    while (requests.lineLength > 0) {
      const number = requests.inLine(0);
      const bytes = NBD_REQUEST_BYTES +
        (requests.sendsData(number) ? requests.length[number]! : 0);
      if (this.#partSent < bytes) return;
      this.#partSent -= bytes;
      requests.sent();
    }
  }

  #receive(): void {
    while (this.#connection.ready) {
      this.#makeRoom();
      const wanted = this.#pieces.bytes;
      const received = this.#pieces.receive(this.#connection.fd);
      if (received === -EAGAIN) return;
      if (received <= 0) {
        this.#break(-received);
        return;
      }
      if (!this.#takeReceived(received)) return;
      // The socket is empty.
      if (received < wanted) return;
    }
  }

  /** Makes pieces for what may come next. */
  #makeRoom(): void {
    this.#pieces.clear();
    if (this.#reading >= 0) {
      this.#addData(this.#reading, this.#readBytes);
      this.#pieces.add(this.#replies, NBD_SIMPLE_REPLY_BYTES);
      return;
    }
    // Where data may follow a header, only the header is taken: the data have their own place.
    const replies = this.#requests.readsSent === 0 ? REPLIES_MAX : 1;
    const bytes = replies * NBD_SIMPLE_REPLY_BYTES - this.#received;
    this.#pieces.add(this.#replies + this.#received, bytes);
  }

  /** Takes so many bytes that have come into the room that was made; false after a break. */
  #takeReceived(received: number): boolean {
    const requests = this.#requests;
    if (this.#reading >= 0) {
      const left = requests.length[this.#reading]! - this.#readBytes;
      const data = Math.min(left, received);
      this.#readBytes += data;
      received -= data;
      if (data < left) return true;
      requests.payloadRead(this.#reading);
      this.#reading = -1;
    }
    this.#received += received;
    let at = 0;
    for (; at + NBD_SIMPLE_REPLY_BYTES <= this.#received; at += NBD_SIMPLE_REPLY_BYTES) {
      const read = requests.reply(this.#pool.bytes, this.#replies + at);
      if (read === REPLY_NONSENSE || read === REPLY_SHUTDOWN) {
        this.#break(0, read);
        return false;
      }
      if (read >= 0) {
        this.#reading = read;
        this.#readBytes = 0;
      }
    }
    this.#received -= at;
    if (at > 0 && this.#received > 0) {
      this.#pool.bytes.copyWithin(
        this.#replies,
        this.#replies + at,
        this.#replies + at + this.#received,
      );
    }
    return true;
  }

  /** The connection is over, for an errno (0: the server has closed it), or a REPLY constant. */
  #break(code: number, reply = 0): void {
    const lost = this.#requests.broken();
    this.#partSent = 0;
    this.#sendBlocked = false;
    this.#received = 0;
    this.#reading = -1;
    const reason = reply === REPLY_NONSENSE
      ? "it talks nonsense"
      : reply === REPLY_SHUTDOWN
      ? "it is shutting down"
      : undefined;
    this.#listener("away", this.#connection.break(this.#clock.nowMs(), reason ?? code), lost);
  }
}
