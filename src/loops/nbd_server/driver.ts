// An NBD server in front of one remote disk, as a driver of the initiator's loop: several clients
// on a socket that listens, or the kernel's nbd driver on one that is connected.
//
// In each turn: look which sockets are ready, send what has been answered, read what is asked for,
// send again what could be answered at once. All connections share the tables of requests.ts;
// a flush on one of them covers the writes of all, for they reach the disk by one initiator.

import { BlockDriver } from "../block/driver.ts";
import type { Arena } from "../../../ffi/arena.ts";
import { POLLIN, POLLOUT, PollSet } from "../../../ffi/poll.ts";
import {
  acceptStream,
  closeStream,
  setTcpOptions,
  StreamPieces,
} from "../../../ffi/stream_socket.ts";
import { nbdExport } from "../../core/nbd_server/export.ts";
import { NbdServerHandshake } from "../../core/nbd_server/handshake.ts";
import type { BlockConfig, BlockDisk, BlockMessage } from "../block/disk.ts";
import { BlockMemory, BlockRequests } from "../block/requests.ts";
import { initiatorJob } from "../initiator/job.ts";
import type { InitiatorLoop } from "../initiator/loop.ts";
import { NbdConnectionMemory, NbdServerConnection, type NbdSharing } from "./connection.ts";
import { type NbdReplies, NbdRequestMemory, NbdServerRequests } from "./requests.ts";

/** Clients at once; others wait in the kernel until one of them leaves. */
const NBD_CONNECTIONS_MAX = 16;
/** A client has so long to say what it wants. */
const HANDSHAKE_MS = 10_000;
/** A client that takes no answers is left after so long, if others wait for the memory. */
const STALLED_MS = 30_000;
/** After a signal, requests in flight have so long to end. */
const DRAIN_MS = 5000;
/** Clients that are left are told of so often at most, whatever comes to the socket. */
const NOTE_EVERY_MS = 1000;

/** What to serve, and to whom. */
export interface NbdConfig extends BlockConfig {
  readonly kind: "nbd";
  readonly socket:
    /** A socket that listens, and the name of the export. */
    | { readonly listener: number; readonly name: string }
    /** One that is connected, without a handshake: the other end of the kernel's. */
    | { readonly stream: number };
}

/** What the driver needs in the loop's arena. */
function nbdMemory(arena: Arena, { socket }: NbdConfig) {
  const clients = "stream" in socket ? 1 : NBD_CONNECTIONS_MAX;
  return {
    requests: new NbdRequestMemory(arena),
    blocks: new BlockMemory(arena),
    pieces: new StreamPieces(arena, 2),
    connections: Array.from({ length: clients }, () => new NbdConnectionMemory(arena)),
    poll: new PollSet(arena, clients + 1),
  };
}

/** The driver. */
class NbdDriver extends BlockDriver implements NbdReplies {
  readonly #loop: InitiatorLoop;
  readonly #config: NbdConfig;
  readonly #post: (message: BlockMessage) => void;
  protected readonly blocks: BlockRequests;
  readonly #requests: NbdServerRequests;
  readonly #shared: NbdSharing;
  readonly #connections: readonly NbdServerConnection[];
  readonly #openedMs: Float64Array;
  /** Of each connection, and behind them of the listener: its fd and events as polled for now. */
  readonly #fds: Int32Array;
  readonly #events: Int32Array;
  readonly #loopEntries: Int32Array;
  /** Looked at in every turn; the loop's own set is only waited for when there is nothing to do. */
  readonly #poll: PollSet;
  readonly #name: Uint8Array;
  #disk: BlockDisk | undefined;
  #drainUntilMs = Infinity;
  #noteAtMs = 0;
  #again = false;

  constructor(
    loop: InitiatorLoop<ReturnType<typeof nbdMemory>>,
    config: NbdConfig,
    post: (message: BlockMessage) => void,
  ) {
    super();
    const { memory } = loop;
    this.#loop = loop;
    this.#config = config;
    this.#post = post;
    const { socket } = config;
    const clients = memory.connections.length;
    this.#name = new TextEncoder().encode("name" in socket ? socket.name : "");
    this.#requests = new NbdServerRequests(memory.requests, clients, this);
    this.blocks = new BlockRequests(
      ...[loop, memory.blocks, NbdServerRequests.numbers, config, this.#requests, post] as const,
    );
    this.#requests.blocks = this.blocks;
    const traits = { bytes: 0, physicalBlockBytes: 512, readOnly: true, rotational: false };
    this.#shared = {
      arena: loop.arena,
      requests: this.#requests,
      pieces: memory.pieces,
      disk: nbdExport({ ...traits, discard: false, discardsAreZero: false }),
      stopping: false,
    };
    this.#connections = memory.connections.map((own, index) =>
      new NbdServerConnection(index, own, this.#shared)
    );
    this.#openedMs = new Float64Array(clients);
    this.#poll = memory.poll;
    this.#fds = new Int32Array(clients + 1).fill(-1);
    this.#events = new Int32Array(clients + 1);
    this.#loopEntries = new Int32Array(clients + 1);
    for (let entry = 0; entry <= clients; entry++) {
      this.#poll.add(-1, 0);
      this.#loopEntries[entry] = loop.watch(-1, 0);
    }
    if ("stream" in socket) this.blocks.guard();
  }

  turn(nowMs: number): boolean {
    this.#requests.nowMs = nowMs;
    if (this.#disk === undefined && !this.#connect(nowMs)) {
      return this.blocks.failure !== undefined || this.#shared.stopping
        ? this.#end(this.blocks.failure)
        : false;
    }
    this.#followDisk();
    this.#poll.wait(0);
    this.#accept(nowMs);
    const connections = this.#connections;
    for (let i = 0; i < connections.length; i++) {
      connections[i]!.send((this.#foundAt(i) & ~POLLIN) !== 0);
    }
    const { released } = this.#requests;
    let waiting = false;
    // Whoever comes first gets memory first: another one in each turn.
    const first = Math.floor(nowMs) % connections.length;
    for (let i = 0; i < connections.length; i++) {
      const index = (first + i) % connections.length;
      const connection = connections[index]!;
      connection.read((this.#foundAt(index) & ~POLLOUT) !== 0);
      connection.send(false);
      this.#checkTimes(nowMs, index, connection);
      waiting ||= connection.waits;
    }
    for (let i = 0; i < connections.length; i++) {
      const connection = connections[i]!;
      if (connection.failure !== undefined) this.#tell(nowMs, connection);
      this.#follow(i, connection.fd, connection.wants);
    }
    // What was sent last may have freed what another one waits for.
    this.#again = waiting && released !== this.#requests.released;
    return this.#isOver(nowMs);
  }

  override complete(nowMs: number, disk: number, userTag: number, result: number): void {
    this.#requests.nowMs = nowMs;
    super.complete(nowMs, disk, userTag, result);
  }

  stop(nowMs: number): void {
    this.#shared.stopping = true;
    this.#drainUntilMs = nowMs + DRAIN_MS;
  }

  wakeAtMs(): number {
    if (this.#again) return 0;
    let atMs = Math.min(this.blocks.wakeAtMs, this.#drainUntilMs);
    for (let i = 0; i < this.#connections.length; i++) {
      const connection = this.#connections[i]!;
      if (connection.isShaking) atMs = Math.min(atMs, this.#openedMs[i]! + HANDSHAKE_MS);
      if (this.#requests.waiting >= 0 && connection.line.bytes > 0) {
        atMs = Math.min(atMs, connection.line.progressMs + STALLED_MS);
      }
    }
    return atMs;
  }

  /** See `NbdReplies`. */
  ended(connection: number, id: number): void {
    this.#connections[connection]!.ended(id);
  }

  #connect(nowMs: number): boolean {
    if (!this.blocks.connect(nowMs)) return false;
    this.#followDisk();
    const { socket } = this.#config;
    if ("stream" in socket) this.#connections[0]!.open(socket.stream, undefined);
    return true;
  }

  /** Takes over what is known of the disk; sizes change. */
  #followDisk(): void {
    const { disk } = this.blocks;
    if (disk === this.#disk || disk === undefined) return;
    this.#disk = disk;
    this.#shared.disk = nbdExport(disk);
  }

  #accept(nowMs: number): void {
    const { socket } = this.#config;
    if ("stream" in socket) return;
    const { listener } = socket;
    const entry = this.#connections.length;
    const free = this.#connections.findIndex((connection) => connection.isFree);
    const accepts = free >= 0 && !this.#shared.stopping;
    if (accepts && this.#fds[entry] === listener && (this.#poll.found(entry) & POLLIN) !== 0) {
      const fd = acceptStream(listener);
      if (fd >= 0) {
        setTcpOptions(fd);
        this.#openedMs[free] = nowMs;
        this.#connections[free]!.open(fd, new NbdServerHandshake(this.#shared.disk, this.#name));
      }
    }
    this.#follow(entry, listener, accepts ? POLLIN : 0);
  }

  #checkTimes(nowMs: number, index: number, connection: NbdServerConnection): void {
    if (connection.isShaking && nowMs >= this.#openedMs[index]! + HANDSHAKE_MS) {
      connection.leave("it did not say what it wants");
    } else if (
      this.#requests.waiting >= 0 && connection.line.bytes > 0 &&
      nowMs >= connection.line.progressMs + STALLED_MS
    ) {
      connection.leave("it takes no answers, and others wait for the memory");
    }
  }

  /** Tells why a client was left. */
  #tell(nowMs: number, connection: NbdServerConnection): void {
    const { failure } = connection;
    connection.failure = undefined;
    if (nowMs < this.#noteAtMs) return;
    this.#noteAtMs = nowMs + NOTE_EVERY_MS;
    this.#post({ kind: "note", text: `A client was disconnected: ${failure}` });
  }

  /** What the last look has found of a connection. */
  #foundAt(index: number): number {
    const { fd } = this.#connections[index]!;
    return fd >= 0 && this.#fds[index] === fd ? this.#poll.found(index) : 0;
  }

  /** Polls an entry for what is wanted there, here and in the loop. */
  #follow(entry: number, fd: number, events: number): void {
    const polled = events === 0 ? -1 : fd;
    if (this.#fds[entry] !== polled) {
      this.#fds[entry] = polled;
      this.#poll.replace(entry, polled);
      this.#loop.rewatch(this.#loopEntries[entry]!, polled);
    }
    if (this.#events[entry] !== events) {
      this.#events[entry] = events;
      this.#poll.want(entry, events);
      this.#loop.want(this.#loopEntries[entry]!, events);
    }
  }

  #isOver(nowMs: number): boolean {
    const { socket } = this.#config;
    const gone = "stream" in socket && this.#connections[0]!.fd < 0;
    if (gone && this.#requests.inUse === 0) return this.#end(undefined);
    if (!this.#shared.stopping) return false;
    const drained = this.#requests.inUse === 0 &&
      this.#connections.every((connection) => connection.line.bytes === 0);
    return drained || nowMs >= this.#drainUntilMs ? this.#end(undefined) : false;
  }

  #end(failure: string | undefined): true {
    for (const connection of this.#connections) connection.leave(undefined);
    const { socket } = this.#config;
    // The kernel's end notices. The listener is closed by who has opened it.
    if ("stream" in socket && this.#disk === undefined) closeStream(socket.stream);
    this.#post({ kind: "ended", failure });
    return true;
  }
}

/** The job. */
export const runNbdDriver = initiatorJob(nbdMemory, NbdDriver);
