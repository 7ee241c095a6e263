// The connection to an NBD server: made once on the main thread, which has to know what the server
// says before anything is served, then kept by the worker, who makes it again when it breaks.

import { Arena } from "../../../ffi/arena.ts";
import { errnoText, SystemError } from "../../../ffi/errno.ts";
import { Clock, POLLIN, PollSet } from "../../../ffi/poll.ts";
import {
  closeStream,
  connectStream,
  resolveTcp,
  streamError,
  StreamPieces,
  unixAddress,
} from "../../../ffi/stream_socket.ts";
import {
  HANDSHAKE_RECEIVE_BYTES,
  HANDSHAKE_SEND_BYTES,
  NbdClientHandshake,
} from "../../core/nbd_client/handshake.ts";
import type { NbdFacts } from "../../core/nbd_client/handshake.ts";
import {
  NBD_CMD_DISC,
  NBD_FLAG_SEND_FLUSH,
  NBD_REQUEST_BYTES,
  writeRequest,
} from "../../wire/nbd.ts";
import type { NbdAddress } from "../../wire/nbd_uri.ts";
import { EAGAIN } from "../../../ffi/errno_numbers.ts";

/** A server that has not let us in by then is tried again, or given up at start. */
const HANDSHAKE_MS_MAX = 10_000;
/** How long to wait before the next attempt: at first, and at last. */
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 5000;

/** A connection that is ready, and what is needed to make it again. */
export interface NbdOrigin {
  readonly exportName: string;
  /** Addresses that the server's name had at start, for connect(2). */
  readonly addresses: readonly Uint8Array[];
  readonly fd: number;
  readonly facts: NbdFacts;
}

/**
 * Connects to a server and shakes hands, within ten seconds.
 *
 * @returns The ready connection, or why there is none, in a clause for behind a colon.
 */
export function connectNbdServer(at: NbdAddress): NbdOrigin | string {
  const addresses = at.kind === "unix"
    ? [unixAddress(at.socketPath)]
    : resolveTcp(at.host, at.port);
  const { clock, poll, connections } = Arena.fit((arena) => ({
    clock: new Clock(arena),
    poll: new PollSet(arena, 1),
    connections: addresses.map((address) =>
      new NbdClientConnection(arena, { exportName: at.exportName, addresses: [address] })
    ),
  })).built;
  const entry = poll.add(-1, POLLIN);
  let why = "no address is known for its host";
  for (const connection of connections) {
    // The server speaks first.
    while (!connection.advance(clock.nowMs()) && connection.failure === undefined) {
      poll.replace(entry, connection.fd);
      poll.wait(Math.max(0, connection.dueMs - clock.nowMs()) * 1000);
    }
    if (connection.failure === undefined) {
      const { fd, facts } = connection;
      return { exportName: at.exportName, addresses, fd, facts };
    }
    why = connection.failure;
  }
  return why;
}

/** One connection at a time; `break` and failures lead to the next attempt. */
export class NbdClientConnection {
  /** −1 while there is none. */
  fd = -1;
  /** Requests may be sent. */
  ready = false;
  /** What the server has said last. */
  facts: NbdFacts;
  /** Why the last attempt has failed. */
  failure: string | undefined;
  /** When `advance` is to be called though nothing has come. */
  dueMs: number;
  /** Something of the handshake waits for room in the socket. */
  sendBlocked = false;

  readonly #origin: Pick<NbdOrigin, "exportName" | "addresses">;
  /** What the server said when it was checked; undefined for the first connection of all. */
  readonly #first: NbdFacts | undefined;
  readonly #arena: Arena;
  readonly #receiveAt: number;
  readonly #sendAt: number;
  /** What is received next, and what has not been sent of the handshake. */
  readonly #pieces: StreamPieces;
  readonly #leaving: StreamPieces;
  #handshake: NbdClientHandshake | undefined;
  #received = 0;
  #attempts = 0;
  #retryMs = RETRY_MS_MIN;
  #awaySinceMs = 0;

  /** @param origin With a connection that is ready, or without. */
  constructor(
    arena: Arena,
    origin: Pick<NbdOrigin, "exportName" | "addresses"> & Partial<NbdOrigin>,
  ) {
    this.#arena = arena;
    this.#origin = origin;
    this.#receiveAt = arena.allocate(HANDSHAKE_RECEIVE_BYTES);
    this.#sendAt = arena.allocate(HANDSHAKE_SEND_BYTES);
    this.#pieces = new StreamPieces(arena, 1);
    this.#leaving = new StreamPieces(arena, 1);
    this.#first = origin.facts;
    this.facts = origin.facts ?? { bytes: 0, flags: 0, blockPreferred: 512, blockMax: 512 };
    this.fd = origin.fd ?? -1;
    this.ready = this.fd >= 0;
    this.dueMs = this.ready ? Infinity : 0;
  }

  /**
   * Goes on connecting, as far as that is possible without waiting.
   *
   * @returns Whether the connection has become ready; if not, and `failure` is new, an attempt has
   * failed.
   */
  advance(nowMs: number): boolean {
    if (this.ready) return false;
    if (this.#handshake === undefined) {
      if (nowMs < this.dueMs || !this.#begin(nowMs)) return false;
    } else if (nowMs >= this.dueMs) {
      this.#fail(nowMs, `it has not answered within ${HANDSHAKE_MS_MAX / 1000} seconds`);
      return false;
    }
    return this.#shakeHands(nowMs);
  }

  /**
   * Gives a ready connection up; the next attempt follows.
   *
   * @param why An errno, 0 for the end of the stream, or a clause.
   * @returns What to say about it, with the export as its subject.
   */
  break(nowMs: number, why: number | string): string {
    this.#awaySinceMs = nowMs;
    this.#retryMs = RETRY_MS_MIN;
    const reason = typeof why === "string"
      ? why
      : why === 0
      ? "it closed the connection"
      : errnoText(why);
    this.#fail(nowMs, reason);
    return `is away (${reason}): commands wait until it is back`;
  }

  /** How long it was away, in a clause. */
  backAfter(nowMs: number): string {
    return `is back after ${((nowMs - this.#awaySinceMs) / 1000).toFixed(1)} s`;
  }

  /** Takes leave of the server. */
  close(): void {
    if (this.ready) {
      writeRequest(this.#arena.bytes, this.#sendAt, NBD_CMD_DISC, 0, 0, 0, 0);
      this.#leaving.clear();
      this.#leaving.add(this.#sendAt, NBD_REQUEST_BYTES);
      // Whether it goes out or not, the connection ends.
      this.#leaving.send(this.fd);
    }
    this.ready = false;
    if (this.fd >= 0) closeStream(this.fd);
    this.fd = -1;
  }

  #begin(nowMs: number): boolean {
    const { addresses, exportName } = this.#origin;
    try {
      this.fd = connectStream(addresses[this.#attempts++ % addresses.length]!);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#fail(nowMs, errnoText(error.code));
      return false;
    }
    this.#handshake = new NbdClientHandshake(exportName);
    this.#received = 0;
    this.#leaving.clear();
    this.dueMs = nowMs + HANDSHAKE_MS_MAX;
    return true;
  }

  #shakeHands(nowMs: number): boolean {
    const handshake = this.#handshake!;
    // The first call after a failed attempt to connect takes its error, and the next has another.
    const error = streamError(this.fd);
    if (error !== 0) {
      this.#fail(nowMs, errnoText(error));
      return false;
    }
    for (;;) {
      if (!this.#sendOut(nowMs, handshake)) return false;
      this.#pieces.clear();
      const room = HANDSHAKE_RECEIVE_BYTES - this.#received;
      this.#pieces.add(this.#receiveAt + this.#received, room);
      const received = this.#pieces.receive(this.fd);
      if (received === -EAGAIN) return false;
      if (received <= 0) {
        this.#fail(nowMs, received === 0 ? "it closed the connection" : errnoText(-received));
        return false;
      }
      this.#received += received;
      const { bytes } = this.#arena;
      const end = this.#receiveAt + this.#received;
      const taken = handshake.receive(bytes, this.#receiveAt, end);
      bytes.copyWithin(this.#receiveAt, this.#receiveAt + taken, end);
      this.#received -= taken;
      if (handshake.facts !== undefined) return this.#letIn(nowMs, handshake.facts);
      if (handshake.refusal !== undefined) {
        this.#fail(nowMs, `its server ${handshake.refusal}`);
        return false;
      }
    }
  }

  /** Sends what the handshake has to say; false when that has to wait, or has failed. */
  #sendOut(nowMs: number, handshake: NbdClientHandshake): boolean {
    if (handshake.out.length > 0) {
      this.#arena.bytes.set(handshake.out, this.#sendAt);
      this.#leaving.clear();
      this.#leaving.add(this.#sendAt, handshake.out.length);
      handshake.out = handshake.out.subarray(0, 0);
    }
    while (this.#leaving.bytes > 0) {
      const sent = this.#leaving.send(this.fd);
      this.sendBlocked = sent === -EAGAIN;
      if (this.sendBlocked) return false;
      if (sent < 0) {
        this.#fail(nowMs, errnoText(-sent));
        return false;
      }
    }
    return true;
  }

  #letIn(nowMs: number, facts: NbdFacts): boolean {
    const lost = (this.#first?.flags ?? 0) & ~facts.flags & NBD_FLAG_SEND_FLUSH;
    if (lost !== 0 || this.#received > 0) {
      this.#fail(nowMs, lost !== 0 ? "its server no longer knows flush" : "it talks nonsense");
      return false;
    }
    this.facts = facts;
    this.ready = true;
    this.failure = undefined;
    this.#handshake = undefined;
    this.dueMs = Infinity;
    this.#retryMs = RETRY_MS_MIN;
    return true;
  }

  #fail(nowMs: number, why: string): void {
    if (this.fd >= 0) closeStream(this.fd);
    this.fd = -1;
    this.ready = false;
    this.sendBlocked = false;
    this.failure = why;
    this.#handshake = undefined;
    this.dueMs = nowMs + this.#retryMs;
    this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MS_MAX);
  }
}
