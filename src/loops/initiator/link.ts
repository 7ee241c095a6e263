// One interface of an initiator's loop: its socket, the frames lent to the kernel for receiving, and
// the requests that wait to be sent, each gathered from a header and a payload elsewhere.
//
// Frames come by a ring of shared memory, where one can be had, and stay in its slots until
// `giveBack`. Without a ring they come by recvmmsg.

import type { Arena } from "../../../ffi/arena.ts";
import { openRingSocket } from "../ring_socket.ts";
import { MessageTable } from "../../../ffi/message_table.ts";
import type { NetworkInterface } from "../../../ffi/netlink.ts";
import { PacketRing } from "../../../ffi/packet_ring.ts";
import type { PacketSocket } from "../../../ffi/packet_socket.ts";
import type { OutgoingFrame } from "../../core/initiator/frames.ts";
import type { Address } from "../../wire/aoe.ts";
import { ATA_DATA } from "../../wire/ata.ts";
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
const RING_BYTES_MAX = 16 * 2 ** 20;

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
  /** Why frames do not come by a ring, if one was wanted. */
  withoutRing: string | undefined;

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
  readonly #ring: PacketRing | undefined;
  /** Frames of the ring that the last `receive` has found. */
  #found = 0;
  #first = 0;
  #count = 0;
  #blockedSinceMs = Infinity;
  #index = 0;
  #socket: PacketSocket | undefined;

  constructor(
    name: string,
    { arena, capacity, mtuMax, disks, ringSlots }: {
      readonly arena: Arena;
      /** Most frames that can wait: never more than all owners have in flight. */
      readonly capacity: number;
      /** Largest MTU whose frames can be received. */
      readonly mtuMax: number;
      /** Other initiators that look for one of these are heard. */
      readonly disks: readonly Address[];
      /** Frames that a ring should hold, memory permitting; 0 for none. */
      readonly ringSlots: number;
    },
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
    this.#ring = ringSlots > 0
      ? new PacketRing(arena, RING_BYTES_MAX, ringSlots, ATA_DATA)
      : undefined;
  }

  /** Whether frames come by a ring. */
  get byRing(): boolean {
    return this.#ring !== undefined && this.#ring.slots > 0;
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
    const mtu = Math.min(link.mtu, this.#mtuMax);
    const frameBytes = mtu + ETHERNET_HEADER_BYTES;
    if (this.#socket === undefined || link.index !== this.#index) {
      this.close();
      this.#open(link.index, frameBytes);
      this.#index = link.index;
      this.running = false;
    } else if (this.byRing && this.#ring!.frameBytes < frameBytes) {
      this.close();
      this.#open(link.index, frameBytes);
    }
    this.name = link.name;
    this.port = link.master !== 0;
    // The kernel reports a carrier late: an interface that is up is tried at once.
    const news = link.up && (!this.running || mtu !== this.mtu);
    this.mac = link.mac;
    this.mtu = mtu;
    this.running = link.up;
    this.readable = true;
    this.blocked = false;
    return news;
  }

  /** Takes frames that have arrived; they stand at `frameAt(i)` until `giveBack`. */
  receive(): number {
    if (this.#socket === undefined) return 0;
    if (this.byRing) {
      // To look once more costs nothing: it stays readable.
      this.#found = this.#ring!.look(RECEIVE_BATCH);
      this.#ring!.fetch(this.#found, ATA_DATA);
      return this.#found;
    }
    const count = this.#socket.receive(this.#received, RECEIVE_BATCH);
    this.readable = count === RECEIVE_BATCH;
    return count;
  }

  /** Offset of received frame `i` in the arena. */
  frameAt(i: number): number {
    return i < this.#found ? this.#ring!.at(i) : this.#framesAt + i * this.#stride;
  }

  /** Bytes of received frame `i`. */
  length(i: number): number {
    return i < this.#found ? this.#ring!.length(i) : this.#received.length(i);
  }

  /** Gives the slots of what was received back to the kernel. */
  giveBack(): void {
    if (this.#found > 0) this.#ring!.giveBack(this.#found);
    this.#found = 0;
  }

  /** Whether a frame arrives while it looks so many times; only with a ring. */
  watch(times: number): boolean {
    return this.#ring!.watch(times);
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
    this.#ring?.close();
    this.#found = 0;
  }

  #open(index: number, frameBytes: number): void {
    const options = {
      etherType: ETHERTYPE_AOE,
      filter: initiatorFilter(this.#disks),
      bufferBytes: SOCKET_BUFFER_BYTES,
    };
    const { socket, withoutRing } = openRingSocket(index, options, this.#ring, frameBytes);
    this.#socket = socket;
    if (withoutRing !== undefined) this.withoutRing = withoutRing;
    for (let i = 0; i < RECEIVE_BATCH; i++) {
      const address = this.#arena.address + this.#framesAt + i * this.#stride;
      this.#received.setOne(i, address, this.#mtuMax + ETHERNET_HEADER_BYTES);
    }
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
