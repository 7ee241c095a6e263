// One interface of a target worker: its socket, the frames lent to the kernel for receiving, and
// the answers that wait to be sent. Everything in batches, and nothing blocks unless `patient`.
//
// Frames come by a ring of shared memory, where one can be had: their first bytes are copied, and what
// they bring along stays in its slot until `giveBack`. Without a ring they come by recvmmsg.

import type { Arena } from "../../../ffi/arena.ts";
import { openRingSocket } from "../ring_socket.ts";
import { MessageTable } from "../../../ffi/message_table.ts";
import type { NetworkInterface } from "../../../ffi/netlink.ts";
import { PacketRing } from "../../../ffi/packet_ring.ts";
import { PacketSocket } from "../../../ffi/packet_socket.ts";
import { NONE } from "../../core/tables.ts";
import { ATA_DATA, sectorsPerFrame } from "../../wire/ata.ts";
import {
  ETHERNET_FRAME_BYTES_MIN,
  ETHERNET_HEADER_BYTES,
  ETHERTYPE_AOE,
} from "../../wire/ethernet.ts";
import { targetFilter } from "../../wire/filter.ts";
import type { TargetCommands } from "../../core/target/commands.ts";
import type { FrameLink, SendOutcome } from "../../core/target/frame_link.ts";
import type { FramePool } from "../../core/target/frames.ts";
import { EAGAIN } from "../../../ffi/errno_numbers.ts";

/** Links of one thread at most: an export's are the bits of one number. */
export const LINKS_MAX = 16;
/** Most frames taken in one crossing. */
export const RECEIVE_BATCH = 64;
/** Most frames taken from a ring at a time: answers flow while the next frames arrive. */
const RING_BATCH = 16;
/** Frames begin at multiples of four, since their data lie at multiples of 512. */
const HEAD_WORDS = ETHERNET_FRAME_BYTES_MIN / 4;
/** How long a patient link sleeps at most. */
const RECEIVE_WAIT_MS = 10;

const PAUSE_MS = 1;
const PAUSE = new Int32Array(new SharedArrayBuffer(4));
/** Passes nothing, until it is known what is served. */
const NO_FRAMES = targetFilter([]);

/** Of a ring: bytes at most, and frames. */
export interface RingSize {
  readonly bytesMax: number;
  readonly slots: number;
}

/** One interface, as a target sees it. */
export class TargetLink implements FrameLink {
  /** What it was asked for as; empty: the link is free for another interface. */
  asked: string;
  /** What it is called now. */
  name: string;
  /** The interface's own MAC; a new array when it changes. */
  mac: Uint8Array = new Uint8Array(6);
  mtu = 0;
  sectors = 0;
  /** Set up, with a carrier. */
  running = false;
  /** A port of a bridge or bond, which gets its frames. */
  port = false;
  /** Whether the next turn should look for frames: set by the wait, or by frames just found. */
  readable = true;
  /** Whether that look sleeps until there is one, for `RECEIVE_WAIT_MS` at most. */
  patient = false;
  /** Whether the last look did. */
  slept = false;
  /** No frame was free to receive into; those that come free are tried first. */
  starved = false;
  /** The kernel takes no more frames for now. */
  blocked = false;
  /** Entry of the socket in the poll set. */
  pollEntry = -1;
  /** Why frames do not come by a ring, if one was wanted. */
  withoutRing: string | undefined;

  readonly #pool: FramePool;
  /** The memory of pool and ring. */
  readonly #words: Uint32Array;
  readonly #commands: TargetCommands;
  readonly #batch: number;
  #filter: Uint8Array = NO_FRAMES;
  readonly #bufferBytes: number;
  readonly #received: MessageTable;
  readonly #receivedFrames = new Int32Array(RECEIVE_BATCH).fill(NONE);
  readonly #sending: MessageTable;
  readonly #sendingFrames: Int32Array;
  #ring: PacketRing | undefined;
  /** A place for another one, while this one is emptied. */
  #otherRing: PacketRing | undefined;
  /** The socket and the ring before this one, as long as frames are left in it. */
  #retiring: { readonly socket: PacketSocket; readonly ring: PacketRing } | undefined;
  /** Frames that the last `receive` has found, and in which ring. */
  #found = 0;
  #foundIn: PacketRing | undefined;
  /** Of sockets that are closed. */
  #dropsBefore = 0;
  #index = 0;
  #socket: PacketSocket | undefined;
  #sendFirst = 0;
  #sendEnd = 0;

  /**
   * @param batch Most frames taken at a time, up to `RECEIVE_BATCH`.
   * @param bufferBytes Of the socket, each way.
   * @param ring How large a ring may be and should be; none without.
   */
  constructor(
    name: string,
    options: {
      arena: Arena;
      pool: FramePool;
      commands: TargetCommands;
      batch: number;
      bufferBytes: number;
      ring: RingSize | undefined;
    },
  ) {
    this.asked = name;
    this.name = name;
    this.#pool = options.pool;
    this.#words = options.arena.u32;
    this.#commands = options.commands;
    this.#batch = options.batch;
    this.#bufferBytes = options.bufferBytes;
    this.#received = new MessageTable(options.arena, RECEIVE_BATCH, 1);
    this.#sending = new MessageTable(options.arena, options.pool.count, 2);
    this.#sendingFrames = new Int32Array(options.pool.count);
    const { arena, ring } = options;
    if (ring === undefined) return;
    this.#ring = new PacketRing(arena, ring.bytesMax, ring.slots, ATA_DATA);
    this.#otherRing = new PacketRing(arena, ring.bytesMax, ring.slots, ATA_DATA);
  }

  /** BPF program that passes what is served here. */
  set filter(filter: Uint8Array) {
    this.#filter = filter;
    this.#socket?.setFilter(filter);
  }

  /** Makes room for so many frames in the ring, memory permitting, where it has much less. */
  growTo(slots: number): void {
    if (!this.byRing || slots < 2 * this.#ring!.slotsWanted || this.#retiring !== undefined) return;
    this.#replaceRing(this.#ring!.frameBytes, slots);
  }

  /** Whether it is for an interface of that name. */
  isCalled(name: string): boolean {
    return this.asked === name || this.name === name;
  }

  /** Serves an interface of that name once `update` tells of it; the link has to be free. */
  dedicate(name: string): void {
    this.asked = name;
    this.name = name;
  }

  /** Serves no interface from now on. */
  vacate(): void {
    this.update(undefined);
    this.asked = "";
    this.name = "";
    this.readable = false;
    for (const [i, frame] of this.#receivedFrames.entries()) {
      if (frame >= 0) this.#pool.release(frame);
      this.#receivedFrames[i] = NONE;
    }
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

  /** Answers not yet sent. */
  get pending(): number {
    return this.#sendEnd - this.#sendFirst;
  }

  /**
   * Takes over the state of the interface, opening a socket on one that is new.
   *
   * @returns Whether peers should hear of it: it came up, or its MTU changed.
   * @throws {SystemError} Without CAP_NET_RAW; ENODEV when the interface is gone already.
   */
  update(link: NetworkInterface | undefined): boolean {
    if (link === undefined) {
      this.close();
      this.#index = 0;
      this.running = false;
      this.port = false;
      // What waits in line is given up at the next turn.
      this.blocked = false;
      return false;
    }
    // A frame that does not fit the pool cannot be taken whole: a larger MTU counts from a restart.
    const mtu = Math.min(link.mtu, this.#pool.mtuMax);
    const frameBytes = mtu + ETHERNET_HEADER_BYTES;
    if (this.#socket === undefined || link.index !== this.#index) {
      this.close();
      this.#open(link.index, frameBytes);
      this.#index = link.index;
      this.running = false;
    } else if (this.byRing && this.#ring!.frameBytes < frameBytes) {
      if (!this.#replaceRing(frameBytes, this.#ring!.slotsWanted)) {
        this.close();
        this.#open(link.index, frameBytes);
      }
    }
    this.name = link.name;
    this.port = link.master !== 0;
    const running = link.up && link.running;
    const news = running && (!this.running || mtu !== this.mtu);
    this.mac = link.mac;
    this.mtu = mtu;
    this.sectors = sectorsPerFrame(mtu);
    this.running = running;
    this.readable = true;
    this.blocked = false;
    return news;
  }

  /** Takes frames that have arrived; see `takeFrame` and `length`. */
  receive(): number {
    const wait = this.patient;
    this.patient = false;
    this.slept = wait;
    if (this.#socket === undefined) {
      this.readable = false;
      return 0;
    }
    if (this.byRing) return this.#receiveByRing();
    const armed = this.#arm();
    this.starved = armed === 0;
    if (armed === 0) return 0;
    const count = this.#socket.receive(this.#received, armed, wait);
    this.readable = count === armed;
    return count;
  }

  /** Hands over received frame `i`: it is the caller's until released. */
  takeFrame(i: number): number {
    const frame = this.#receivedFrames[i]!;
    this.#receivedFrames[i] = NONE;
    const at = this.#pool.start(frame);
    let dataAt = at + ATA_DATA;
    if (i < this.#found) {
      const from = this.#foundIn!.at(i);
      copyHead(this.#words, from >>> 2, at >>> 2);
      dataAt = from + ATA_DATA;
    }
    this.#commands.dataAt[frame] = dataAt;
    return frame;
  }

  /** Bytes of received frame `i`. */
  length(i: number): number {
    return i < this.#found
      ? Math.min(this.#foundIn!.length(i), this.#pool.frameBytes)
      : this.#received.length(i);
  }

  /** Gives the slots of what was received back to the kernel. */
  giveBack(): void {
    if (this.#found > 0) this.#foundIn!.giveBack(this.#found);
    this.#found = 0;
  }

  /** Whether a frame arrives while it looks so many times; only with a ring. */
  watch(times: number): boolean {
    return this.#retiring !== undefined || this.#ring!.watch(times);
  }

  /** Puts an answer in line that lies in its frame as a whole. */
  enqueue(frame: number, bytes: number): void {
    this.#sending.setOne(this.#sendEnd, this.#pool.address(frame), bytes);
    this.#sendingFrames[this.#sendEnd++] = frame;
  }

  /** Puts an answer in line whose data lie at `commands.gatherAddress`. */
  enqueueGathered(frame: number, headerBytes: number, bytes: number): void {
    const pool = this.#pool;
    const address = this.#commands.gatherAddress[frame]!;
    this.#sending.setTwo(this.#sendEnd, pool.address(frame), headerBytes, address, bytes);
    this.#sendingFrames[this.#sendEnd++] = frame;
  }

  /**
   * Sends what waits, as far as the kernel takes it.
   *
   * @param outcome Told of each frame: sent, or not to be sent because of an error.
   */
  flush(outcome: SendOutcome): void {
    this.blocked = false;
    while (this.#sendFirst < this.#sendEnd) {
      const sent = this.#socket === undefined
        ? -1
        : this.#socket.send(this.#sending, this.#sendFirst, this.#sendEnd - this.#sendFirst);
      // Anything else concerns the first frame alone. ENOBUFS, too: the kernel has dropped it, as a
      // veth does for ever with one that exceeds its peer's MTU.
      if (sent === -EAGAIN) {
        this.blocked = true;
        this.#closeRanks();
        return;
      }
      if (sent <= 0) {
        outcome.sendFailed(this.#sendingFrames[this.#sendFirst++]!);
        continue;
      }
      const end = this.#sendFirst + sent;
      while (this.#sendFirst < end) outcome.sent(this.#sendingFrames[this.#sendFirst++]!);
    }
    this.#sendFirst = 0;
    this.#sendEnd = 0;
  }

  /** See `PacketSocket.takeDrops`; what sockets before this one dropped is among them. */
  takeDrops(): number {
    const drops = this.#dropsBefore + (this.#socket?.takeDrops() ?? 0);
    this.#dropsBefore = 0;
    return drops;
  }

  close(): void {
    this.#dropsBefore += this.#socket?.takeDrops() ?? 0;
    this.#endRetiring();
    this.#socket?.close();
    this.#socket = undefined;
    this.#ring?.close();
    this.#found = 0;
  }

  #open(index: number, frameBytes: number): void {
    const options = {
      etherType: ETHERTYPE_AOE,
      filter: this.#filter,
      bufferBytes: this.#bufferBytes,
      waitMs: RECEIVE_WAIT_MS,
    };
    const { socket, withoutRing } = openRingSocket(index, options, this.#ring, frameBytes);
    this.#socket = socket;
    if (withoutRing !== undefined) this.withoutRing = withoutRing;
  }

  /**
   * Receives by another ring from now on, of other sizes, on another socket. Between the moments at
   * which the new one begins to take frames and the old one ends both take them: a frame comes twice
   * rather than never. What is left in the old one is taken first, and before that nothing of either,
   * so that the order of frames stays what it was; a repetition does not harm (rule 13).
   *
   * @returns Whether it could be had; everything is as before otherwise.
   */
  #replaceRing(frameBytes: number, slots: number): boolean {
    this.#endRetiring();
    const before = { socket: this.#socket!, ring: this.#ring! };
    const ring = this.#otherRing!;
    let socket: PacketSocket | undefined;
    try {
      socket = new PacketSocket(this.#index, {
        etherType: ETHERTYPE_AOE,
        filter: NO_FRAMES,
        bufferBytes: this.#bufferBytes,
        waitMs: RECEIVE_WAIT_MS,
        prepare: (fd) => ring.open(fd, frameBytes, slots),
      });
      socket.setFilter(this.#filter);
      before.socket.setFilter(NO_FRAMES);
    } catch {
      // Before Linux 6.7 the memory for filters is 20 KiB, of which these two take their share.
      socket?.close();
      ring.close();
      return false;
    }
    // A frame that another processor had on its way through the old filter has arrived after that.
    Atomics.wait(PAUSE, 0, 0, PAUSE_MS);
    this.#dropsBefore += before.socket.takeDrops();
    this.#retiring = before;
    this.#socket = socket;
    this.#ring = ring;
    this.#otherRing = before.ring;
    this.readable = true;
    return true;
  }

  #endRetiring(): void {
    this.#retiring?.socket.close();
    this.#retiring?.ring.close();
    this.#retiring = undefined;
  }

  /** The ring whose frames are the next. */
  #nextRing(): PacketRing {
    if (this.#retiring !== undefined) {
      if (this.#retiring.ring.look(1) > 0) return this.#retiring.ring;
      this.#endRetiring();
    }
    return this.#ring!;
  }

  #receiveByRing(): number {
    // As in `#arm`.
    if (this.blocked) return 0;
    const ring = this.#foundIn = this.#nextRing();
    const ready = ring.look(Math.min(this.#batch, RING_BATCH));
    ring.fetch(ready, this.#pool.frameBytes);
    let count = 0;
    for (; count < ready; count++) {
      const frame = this.#pool.take();
      if (frame < 0) break;
      this.#receivedFrames[count] = frame;
    }
    this.#found = count;
    this.starved = count === 0 && ready > 0;
    // To look once more costs nothing.
    this.readable = ready > 0;
    return count;
  }

  /**
   * Moves the answers that are left to the head of the table. It has a place for every frame, but
   * those sent are soon in line again.
   */
  #closeRanks(): void {
    this.#sending.move(this.#sendFirst, this.#sendEnd);
    this.#sendingFrames.copyWithin(0, this.#sendFirst, this.#sendEnd);
    this.#sendEnd -= this.#sendFirst;
    this.#sendFirst = 0;
  }

  /** Lends frames to the places whose frame was taken; the number of places ready, from 0 on. */
  #arm(): number {
    // While answers pile up, requests stay in the socket's queue, and beyond it are dropped and
    // counted by the kernel.
    if (this.blocked) return 0;
    for (let i = 0; i < this.#batch; i++) {
      if (this.#receivedFrames[i]! >= 0) continue;
      const frame = this.#pool.take();
      if (frame < 0) return i;
      this.#receivedFrames[i] = frame;
      this.#received.setOne(i, this.#pool.address(frame), this.#pool.frameBytes);
    }
    return this.#batch;
  }
}

/**
 * Copies the first bytes of a frame, as many as the shortest has; places in words. A loop, since V8
 * leaves its code for `copyWithin`, which costs more than the bytes.
 */
function copyHead(words: Uint32Array, from: number, to: number): void {
  for (let i = 0; i < HEAD_WORDS; i++) words[to + i] = words[from + i]!;
}
