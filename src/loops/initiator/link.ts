// One interface of an initiator's loop: its socket, the frames lent to the kernel for receiving, and
// the requests that wait to be sent, each gathered from a header and a payload elsewhere.

import type { Arena } from "../../../ffi/arena.ts";
import { MessageTable } from "../../../ffi/message_table.ts";
import type { NetworkInterface } from "../../../ffi/netlink.ts";
import { PacketSocket } from "../../../ffi/packet_socket.ts";
import type { OutgoingFrame } from "../../core/initiator/frames.ts";
import type { Address } from "../../wire/aoe.ts";
import { ETHERNET_HEADER_BYTES, ETHERTYPE_AOE } from "../../wire/ethernet.ts";
import { initiatorFilter } from "../../wire/filter.ts";
import { EAGAIN } from "../../../ffi/errno_numbers.ts";

/** Most frames taken in one crossing: few, so that the next requests leave before the last is read. */
const RECEIVE_BATCH = 16;
/** The kernel takes nothing for so long: what waits is dropped, and may go by another path. */
const BLOCKED_MS_MAX = 100;
/** Distance of received frames: a multiple of this, and never of a page. */
const FRAME_ALIGNMENT = 64;
/** Answers to a full window of jumbo frames, as the kernel charges them, several times over. */
const SOCKET_BUFFER_BYTES = 16 * 2 ** 20;

/** Who sent a frame: told when its memory is free again. */
export interface FrameOwner {
  handleSent(nowMs: number, tag: number): void;
  isWanted(tag: number): boolean;
}

/** One interface, as an initiator sees it. */
export class InitiatorLink {
  /** What it is called now. */
  name: string;
  /** The interface's own MAC. */
  mac: Uint8Array = new Uint8Array(6);
  mtu = 0;
  /** Set up, with a carrier. */
  running = false;
  /** A port of a bridge or bond, which gets its frames. */
  port = false;
  /** Whether the next turn should look for frames. */
  readable = true;
  /** The kernel takes no more frames for now. */
  blocked = false;
  /** Entry of the socket in the poll set. */
  pollEntry = -1;

  readonly #disks: readonly Address[];
  readonly #arena: Arena;
  readonly #mtuMax: number;
  readonly #framesAt: number;
  readonly #stride: number;
  readonly #received: MessageTable;
  readonly #sending: MessageTable;
  readonly #capacity: number;
  readonly #tags: Int32Array;
  readonly #owners: (FrameOwner | undefined)[];
  #first = 0;
  #count = 0;
  #blockedSinceMs = Infinity;
  #index = 0;
  #socket: PacketSocket | undefined;

  /**
   * @param capacity Most frames that can wait: never more than all owners have in flight.
   * @param mtuMax Largest MTU whose frames can be received.
   * @param disks Other initiators that look for one of these are heard.
   */
  constructor(
    arena: Arena,
    name: string,
    capacity: number,
    mtuMax: number,
    disks: readonly Address[],
  ) {
    this.#disks = disks;
    this.name = name;
    this.#arena = arena;
    this.#mtuMax = mtuMax;
    this.#capacity = capacity;
    this.#stride = stride(mtuMax);
    this.#framesAt = arena.allocate(RECEIVE_BATCH * this.#stride, FRAME_ALIGNMENT);
    this.#received = new MessageTable(arena, RECEIVE_BATCH, 1);
    this.#sending = new MessageTable(arena, capacity, 2);
    this.#tags = new Int32Array(capacity);
    this.#owners = new Array(capacity).fill(undefined);
  }

  /** The socket's descriptor, −1 while the interface is gone. */
  get fd(): number {
    return this.#socket?.fd ?? -1;
  }

  /** Kernel's number of the interface, 0 while it is gone. */
  get index(): number {
    return this.#index;
  }

  /** Frames not yet sent. */
  get pending(): number {
    return this.#count;
  }

  /**
   * Takes over the state of the interface, opening a socket on one that is new.
   *
   * @returns Whether the initiators should hear of it: it came up, or its MTU or MAC changed.
   * @throws {SystemError} Without CAP_NET_RAW.
   */
  update(link: NetworkInterface | undefined): boolean {
    if (link === undefined) {
      this.close();
      this.#index = 0;
      this.running = false;
      this.port = false;
      return false;
    }
    if (this.#socket === undefined || link.index !== this.#index) {
      this.close();
      this.#socket = new PacketSocket(link.index, {
        etherType: ETHERTYPE_AOE,
        filter: initiatorFilter(this.#disks),
        bufferBytes: SOCKET_BUFFER_BYTES,
      });
      this.#index = link.index;
      this.running = false;
      for (let i = 0; i < RECEIVE_BATCH; i++) {
        const address = this.#arena.address + this.frameAt(i);
        this.#received.setOne(i, address, this.#mtuMax + ETHERNET_HEADER_BYTES);
      }
    }
    this.name = link.name;
    this.port = link.master !== 0;
    // The kernel reports a carrier late: an interface that is up is tried at once.
    const mtu = Math.min(link.mtu, this.#mtuMax);
    const news = link.up && (!this.running || mtu !== this.mtu);
    this.mac = link.mac;
    this.mtu = mtu;
    this.running = link.up;
    this.readable = true;
    this.blocked = false;
    return news;
  }

  /** Takes frames that have arrived; they stand at `frameAt(i)` until the next call. */
  receive(): number {
    if (this.#socket === undefined) return 0;
    const count = this.#socket.receive(this.#received, RECEIVE_BATCH);
    this.readable = count === RECEIVE_BATCH;
    return count;
  }

  /** Offset of received frame `i` in the arena. */
  frameAt(i: number): number {
    return this.#framesAt + i * this.#stride;
  }

  /** Bytes of received frame `i`. */
  length(i: number): number {
    return this.#received.length(i);
  }

  /** Puts a frame in line; its memory stays as it is until the owner hears that it was sent. */
  enqueue(frame: OutgoingFrame, owner: FrameOwner): void {
    if (this.#count === this.#capacity) throw new RangeError("More frames than commands");
    const at = (this.#first + this.#count++) % this.#capacity;
    const base = this.#arena.address;
    if (frame.payloadBytes === 0) {
      this.#sending.setOne(at, base + frame.headerAt, frame.headerBytes);
    } else {
      this.#sending.setTwo(
        at,
        base + frame.headerAt,
        frame.headerBytes,
        base + frame.payloadAt,
        frame.payloadBytes,
      );
    }
    this.#tags[at] = frame.tag;
    this.#owners[at] = owner;
  }

  /**
   * Sends what waits, as far as the kernel takes it. A frame that it refuses is lost as it might be
   * on the wire; so is one that it drops for want of a carrier, which it tells as ENOBUFS.
   */
  flush(nowMs: number): void {
    this.blocked = false;
    while (this.#count > 0) {
      // What was answered while the kernel took nothing need not be sent again.
      if (!this.#owners[this.#first]!.isWanted(this.#tags[this.#first]!)) {
        this.#done(nowMs, 1);
        continue;
      }
      const run = Math.min(this.#count, this.#capacity - this.#first);
      const sent = this.#socket === undefined
        ? -1
        : this.#socket.send(this.#sending, this.#first, run);
      if (sent === -EAGAIN) {
        this.#blockedSinceMs = Math.min(this.#blockedSinceMs, nowMs);
        if (nowMs - this.#blockedSinceMs < BLOCKED_MS_MAX) {
          this.blocked = true;
          return;
        }
      } else this.#blockedSinceMs = Infinity;
      this.#done(nowMs, Math.max(1, sent));
    }
  }

  /** See `PacketSocket.takeDrops`. */
  takeDrops(): number {
    return this.#socket?.takeDrops() ?? 0;
  }

  close(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }

  #done(nowMs: number, frames: number): void {
    for (let i = 0; i < frames; i++) {
      const at = this.#first;
      this.#first = at + 1 === this.#capacity ? 0 : at + 1;
      this.#count--;
      this.#owners[at]!.handleSent(nowMs, this.#tags[at]!);
    }
  }
}

/** Headers at one distance of 4096 would all fall into the same set of the first-level cache. */
function stride(mtuMax: number): number {
  const blocks = Math.ceil((mtuMax + ETHERNET_HEADER_BYTES) / FRAME_ALIGNMENT);
  return (blocks | 1) * FRAME_ALIGNMENT;
}
