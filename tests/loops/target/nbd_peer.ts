// The server's end of a source's connection, in the test's own thread: it takes requests and answers
// them as the test says, piece by piece, rightly or wrongly.

import { Arena } from "../../../ffi/arena.ts";
import { closeStream, streamPair, StreamPieces } from "../../../ffi/stream_socket.ts";
import { readUint16Be, readUint32Be, readUint64Be } from "../../../src/wire/endian.ts";
import {
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_REQUEST_BYTES,
  NBD_SIMPLE_REPLY_BYTES,
  REPLY_COOKIE,
  REQUEST_COMMAND,
  REQUEST_COOKIE,
  REQUEST_FLAGS,
  REQUEST_LENGTH,
  REQUEST_OFFSET,
  writeSimpleReply,
} from "../../../src/wire/nbd.ts";
import type { NbdOrigin } from "../../../src/loops/nbd_client/connection.ts";

const BUFFER_BYTES = 1 << 20;

/** One request that has come whole. */
export interface PeerRequest {
  readonly command: number;
  readonly fua: boolean;
  readonly offset: number;
  readonly length: number;
  readonly cookie: Uint8Array;
  /** Of a write. */
  readonly data: Uint8Array;
}

/** A server with one connection. */
export class NbdPeer {
  /** For the source: connected already; when it breaks, nobody is found. */
  readonly origin: NbdOrigin;
  readonly #arena = new Arena(2 * BUFFER_BYTES);
  readonly #buffer = this.#arena.allocate(BUFFER_BYTES);
  readonly #pieces = new StreamPieces(this.#arena, 1);
  readonly #fd: number;
  #closed = false;
  #pending: Uint8Array = new Uint8Array(0);

  constructor(bytes: number, flags: number) {
    const [ours, theirs] = streamPair();
    this.#fd = ours;
    const facts = { bytes, flags, blockPreferred: 4096, blockMax: 2 ** 25 };
    const nobody = new TextEncoder().encode("\x01\x00/nonexistent/nbd\x00");
    this.origin = { exportName: "", addresses: [nobody], fd: theirs, facts };
  }

  /** Takes the requests that have come, as many bytes at a time as are told. */
  take(bytesMax = BUFFER_BYTES): PeerRequest[] {
    this.#pieces.clear();
    this.#pieces.add(this.#buffer, bytesMax);
    const received = this.#pieces.receive(this.#fd);
    if (received > 0) {
      const pending = new Uint8Array(this.#pending.length + received);
      pending.set(this.#pending);
      const from = this.#buffer;
      pending.set(this.#arena.bytes.subarray(from, from + received), this.#pending.length);
      this.#pending = pending;
    }
    const requests: PeerRequest[] = [];
    for (let next = this.#next(); next !== undefined; next = this.#next()) requests.push(next);
    return requests;
  }

  #next(): PeerRequest | undefined {
    const view = this.#pending;
    if (view.length < NBD_REQUEST_BYTES) return undefined;
    const command = readUint16Be(view, REQUEST_COMMAND);
    const length = readUint32Be(view, REQUEST_LENGTH);
    const end = NBD_REQUEST_BYTES + (command === NBD_CMD_WRITE ? length : 0);
    if (view.length < end) return undefined;
    this.#pending = view.slice(end);
    return {
      command,
      fua: (readUint16Be(view, REQUEST_FLAGS) & 1) !== 0,
      offset: readUint64Be(view, REQUEST_OFFSET),
      length,
      cookie: view.slice(REQUEST_COOKIE, REQUEST_COOKIE + 8),
      data: view.slice(NBD_REQUEST_BYTES, end),
    };
  }

  /** The reply to a request, with the data of a read from a disk. */
  reply(request: PeerRequest, disk: Uint8Array, error = 0): Uint8Array {
    const read = request.command === NBD_CMD_READ && error === 0;
    const bytes = new Uint8Array(NBD_SIMPLE_REPLY_BYTES + (read ? request.length : 0));
    writeSimpleReply(bytes, 0, error);
    bytes.set(request.cookie, REPLY_COOKIE);
    if (read) {
      const data = disk.subarray(request.offset, request.offset + request.length);
      bytes.set(data, NBD_SIMPLE_REPLY_BYTES);
    }
    return bytes;
  }

  /** Sends bytes; all of them, since the socket's buffer is larger than what a test sends. */
  send(bytes: Uint8Array): void {
    this.#arena.bytes.set(bytes, this.#buffer);
    this.#pieces.clear();
    this.#pieces.add(this.#buffer, bytes.length);
    if (this.#pieces.send(this.#fd) !== bytes.length) throw new Error("Not all was sent");
  }

  close(): void {
    if (!this.#closed) closeStream(this.#fd);
    this.#closed = true;
  }
}
