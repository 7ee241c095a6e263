// The replies to one NBD client that are waiting to be sent: their headers, and behind those of
// reads the data, from where the disk has put them. A request is free once its reply has gone.

import type { Arena } from "../../../ffi/arena.ts";
import { StreamPieces } from "../../../ffi/stream_socket.ts";
import { ALLOCATION_ID } from "../../core/nbd_server/handshake.ts";
import { writeUint16Be, writeUint32Be, writeUint64Be } from "../../wire/endian.ts";
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_READ,
  NBD_OFFSET_BYTES,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_OFFSET_DATA,
  writeChunk,
  writeSimpleReply,
} from "../../wire/nbd.ts";
import {
  type NbdServerRequests,
  REQUESTS_A_CONNECTION_MAX,
  UNIT_BYTES,
  UNITS_A_CONNECTION_MAX,
} from "./requests.ts";
import { EAGAIN } from "../../../ffi/errno_numbers.ts";
import { NONE } from "../../core/tables.ts";

/** Every reply has a header, every unit of a read stands in the line once; and a handshake. */
export const REPLY_PIECES = REQUESTS_A_CONNECTION_MAX + UNITS_A_CONNECTION_MAX + 4;
/** u32 error, u16 length of the words, and no words. */
const ERROR_BYTES = 6;
/** u32 context, then one extent: u32 length, u32 state. */
const STATUS_BYTES = 12;

/** The line of one connection. */
export class NbdReplyLine {
  /** When it last moved, or began. */
  progressMs = 0;
  /** The client reads structured replies. */
  structured = false;
  readonly #arena: Arena;
  readonly #requests: NbdServerRequests;
  readonly #pieces: StreamPieces;
  #first = NONE;
  #last = NONE;
  /** Bytes put into the line so far, and sent so far. */
  #added = 0;
  #sent = 0;
  #blocked = false;

  /** @param pieces Of `REPLY_PIECES`. */
  constructor(arena: Arena, pieces: StreamPieces, requests: NbdServerRequests) {
    this.#arena = arena;
    this.#requests = requests;
    this.#pieces = pieces;
  }

  /** Bytes that wait. */
  get bytes(): number {
    return this.#pieces.bytes;
  }

  /** Adds bytes that stay where they are until they are sent. */
  add(at: number, bytes: number): void {
    if (this.#pieces.bytes === 0) this.progressMs = this.#requests.nowMs;
    this.#pieces.add(at, bytes);
    this.#added += bytes;
  }

  /** Adds the reply to a request that has ended. */
  reply(id: number): void {
    const requests = this.#requests;
    const headerAt = requests.headerAt(id);
    this.add(headerAt, this.#writeHeader(id, headerAt));
    if (requests.command[id] === NBD_CMD_READ && requests.error[id] === 0) {
      let left = requests.bytes[id]!;
      for (let unit = requests.firstUnit[id]!; unit !== NONE; unit = requests.unitAfter(unit)) {
        const bytes = Math.min(left, UNIT_BYTES);
        this.add(requests.unitAt(unit), bytes);
        left -= bytes;
      }
    }
    requests.sentAt[id] = this.#added;
    requests.next[id] = NONE;
    if (this.#first === NONE) this.#first = id;
    else requests.next[this.#last] = id;
    this.#last = id;
  }

  /**
   * Sends once, all of it if the socket takes so much.
   *
   * @param writable Whether a poll has just found that the socket takes something.
   * @returns False when the client is gone.
   */
  send(fd: number, writable: boolean): boolean {
    if (this.#pieces.bytes === 0 || (this.#blocked && !writable)) return true;
    const sent = this.#pieces.send(fd);
    if (sent < 0 && sent !== -EAGAIN) return false;
    this.#blocked = this.#pieces.bytes > 0;
    if (sent > 0) {
      this.progressMs = this.#requests.nowMs;
      this.#sent += sent;
      while (this.#first !== NONE && this.#requests.sentAt[this.#first]! <= this.#sent) {
        this.#releaseFirst();
      }
    }
    return true;
  }

  /** Forgets everything: the client is gone. */
  clear(): void {
    this.#pieces.clear();
    while (this.#first !== NONE) this.#releaseFirst();
    this.#added = 0;
    this.#sent = 0;
    this.#blocked = false;
    this.structured = false;
  }

  #releaseFirst(): void {
    const id = this.#first;
    this.#first = this.#requests.next[id]!;
    this.#requests.release(id);
  }

  /** Writes everything but the cookie, which stands there since the request came. */
  #writeHeader(id: number, at: number): number {
    const { bytes } = this.#arena;
    const requests = this.#requests;
    const command = requests.command[id]!;
    const error = requests.error[id]!;
    // Others may have simple replies even so.
    const structured = this.structured &&
      (command === NBD_CMD_READ || command === NBD_CMD_BLOCK_STATUS);
    if (!structured) return writeSimpleReply(bytes, at, error) - at;
    if (error !== 0) {
      const end = writeChunk(bytes, at, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, ERROR_BYTES);
      writeUint32Be(bytes, end, error);
      writeUint16Be(bytes, end + 4, 0);
      return end + ERROR_BYTES - at;
    }
    const length = requests.bytes[id]!;
    if (command === NBD_CMD_BLOCK_STATUS) {
      // AoE does not tell what is allocated: all of it is data.
      const type = NBD_REPLY_TYPE_BLOCK_STATUS;
      const end = writeChunk(bytes, at, NBD_REPLY_FLAG_DONE, type, STATUS_BYTES);
      writeUint32Be(bytes, end, ALLOCATION_ID);
      writeUint32Be(bytes, end + 4, length);
      writeUint32Be(bytes, end + 8, 0);
      return end + STATUS_BYTES - at;
    }
    const type = NBD_REPLY_TYPE_OFFSET_DATA;
    const end = writeChunk(bytes, at, NBD_REPLY_FLAG_DONE, type, NBD_OFFSET_BYTES + length);
    writeUint64Be(bytes, end, requests.offset[id]!);
    return end + NBD_OFFSET_BYTES - at;
  }
}
