// An NBD server and the connection to it, in place of a disk: what loops/target/nbd_source.ts does
// over a socket, with the very requests of core/nbd_client. The server may be killed, with what it
// had not made stable, and comes back; what was in flight is sent again.

import { NbdClientRequests } from "../../src/core/nbd_client/requests.ts";
import { ATA_DATA, SECTOR_BYTES } from "../../src/wire/ata.ts";
import {
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_REQUEST_BYTES,
  NBD_SIMPLE_REPLY_BYTES,
  NBD_SIMPLE_REPLY_MAGIC,
} from "../../src/wire/nbd.ts";
import { FRAME_ALREADY_STABLE } from "../../src/core/target/commands.ts";
import type { TargetCommands } from "../../src/core/target/commands.ts";
import type { DiskInPlace, DiskQueue } from "../../src/core/target/disk_queue.ts";
import type { FramePool } from "../../src/core/target/frames.ts";
import type { Disk } from "./disk.ts";
import type { DiskBreakages, SimulatedMemory } from "./simulated_queue.ts";
import type { Clock, Random } from "./virtual_time.ts";

/** The server, and the queue to it. */
export class SimulatedServer implements DiskQueue {
  readonly needsVectors = false;
  tag = 0;
  result = 0;
  queued = 0;

  readonly #clock: Clock;
  readonly #disk: Disk;
  readonly #pool: FramePool;
  readonly #commands: TargetCommands;
  readonly #requests: NbdClientRequests;
  readonly #view: DataView;
  readonly #headerAt: number;
  readonly #replyAt: number;
  readonly #offsetBytes: number;
  readonly #breakages: DiskBreakages;
  readonly #flags: number;
  readonly #wake: () => void;
  #syncTag = 0;
  /** Which of its lives the server has, and whether it is there. */
  #life = 0;
  #up = true;

  constructor(
    clock: Clock,
    random: Random,
    disk: Disk,
    parts: {
      memory: SimulatedMemory;
      pool: FramePool;
      commands: TargetCommands;
      offsetBytes: number;
      breakages: DiskBreakages;
      wake: () => void;
    },
  ) {
    this.#clock = clock;
    this.#disk = disk;
    this.#pool = parts.pool;
    this.#commands = parts.commands;
    this.#view = new DataView(parts.memory.bytes.buffer);
    this.#headerAt = parts.memory.allocate(NBD_REQUEST_BYTES, 8);
    this.#replyAt = parts.memory.allocate(NBD_SIMPLE_REPLY_BYTES, 8);
    this.#offsetBytes = parts.offsetBytes;
    this.#breakages = parts.breakages;
    this.#wake = parts.wake;
    this.#flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_WRITE_ZEROES |
      (random.chance(0.5) ? NBD_FLAG_SEND_FUA : 0);
    this.#requests = new NbdClientRequests(parts.pool.count, this.#flags);
  }

  get inFlight(): number {
    return this.#requests.inFlight;
  }

  /** See `NbdClientRequests.atRisk`. */
  get atRisk(): boolean {
    return this.#requests.atRisk;
  }

  /** A server has no place. */
  get inPlace(): DiskInPlace {
    const none = () => {
      throw new Error("An NBD server was asked to work in place");
    };
    const stores = { addStore: none, store: none, forgetStores: none, pageFaults: none };
    return { readCached: none, write: none, writeVectors: none, sync: none, ...stores };
  }

  read(tag: number, _fd: number, _address: number, _bytes: number, offset: number): void {
    this.#add(tag, NBD_CMD_READ, offset, this.#bytesOf(tag), false);
  }

  readVectors(tag: number, _fd: number, _iovecs: number, _count: number, offset: number): void {
    this.#add(tag, NBD_CMD_READ, offset, this.#bytesOf(tag), false);
  }

  write(
    tag: number,
    _fd: number,
    _address: number,
    _bytes: number,
    offset: number,
    stable: boolean,
  ): void {
    this.#add(tag, NBD_CMD_WRITE, offset, this.#bytesOf(tag), stable);
  }

  writeVectors(
    tag: number,
    _fd: number,
    _iovecs: number,
    _count: number,
    offset: number,
    stable: boolean,
  ): void {
    this.#add(tag, NBD_CMD_WRITE, offset, this.#bytesOf(tag), stable);
  }

  punch(tag: number, _fd: number, offset: number, bytes: number): void {
    const stable = (this.#commands.flags[tag]! & FRAME_ALREADY_STABLE) !== 0;
    this.#add(tag, NBD_CMD_WRITE_ZEROES, offset, bytes, stable);
  }

  sync(tag: number): void {
    this.#syncTag = tag;
    this.#requests.addFlush();
    this.queued++;
  }

  submit(): void {
    this.queued = 0;
    this.#advance();
  }

  next(): boolean {
    const requests = this.#requests;
    if (!requests.nextDone()) return false;
    const number = requests.doneNumber;
    this.tag = number === requests.flushNumber ? this.#syncTag : number;
    this.result = requests.doneResult;
    return true;
  }

  /** The target's host crashes; the disk is the caller's business. */
  die(): void {
    this.#up = false;
    this.#life++;
  }

  /**
   * The server is killed, and its disk's volatile content is gone.
   *
   * @returns Whether the target knows that answered writes may be lost.
   */
  kill(backAfterMs: number): boolean {
    if (!this.#up) return false;
    this.#up = false;
    this.#life++;
    this.#disk.crash();
    const lost = this.#requests.broken();
    const life = this.#life;
    this.#clock.after(backAfterMs, () => {
      if (life !== this.#life) return;
      this.#up = true;
      this.#requests.connected(this.#flags);
      this.#advance();
      this.#wake();
    });
    this.#wake();
    return lost;
  }

  #add(tag: number, command: number, offset: number, bytes: number, stable: boolean): void {
    this.#requests.add(tag, command, offset, bytes, stable);
    this.queued++;
  }

  /** Bytes of a command and those merged with it. */
  #bytesOf(first: number): number {
    const { byteCount, progress, next } = this.#commands;
    let bytes = 0;
    for (let frame = first; frame >= 0; frame = next[frame]!) {
      bytes += byteCount[frame]! - progress[frame]!;
    }
    return bytes;
  }

  /** Sends what stands in line. */
  #advance(): void {
    const requests = this.#requests;
    if (!this.#up) return;
    requests.startFlush(false);
    while (requests.lineLength > 0) {
      const number = requests.inLine(0);
      requests.writeHeader(number, this.#pool.bytes, this.#headerAt);
      const header = this.#pool.bytes.slice(this.#headerAt, this.#headerAt + NBD_REQUEST_BYTES);
      const data = requests.sendsData(number) ? this.#gather(number) : new Uint8Array(0);
      requests.sent();
      this.#serve(header, data);
    }
  }

  /** The data of a request as they are when they are sent. */
  #gather(number: number): Uint8Array {
    const data = new Uint8Array(this.#requests.length[number]!);
    this.#eachPiece(number, data.length, (at, from, bytes) => {
      data.set(this.#pool.bytes.subarray(at, at + bytes), from);
    });
    return data;
  }

  #eachPiece(
    number: number,
    total: number,
    body: (at: number, from: number, bytes: number) => void,
  ): void {
    const { byteCount, progress, next } = this.#commands;
    let from = 0;
    for (let frame = number; frame >= 0 && from < total; frame = next[frame]!) {
      const bytes = Math.min(total - from, byteCount[frame]! - progress[frame]!);
      const last = from > 0 && next[frame]! < 0;
      const at = this.#pool.start(frame) + ATA_DATA + progress[frame]!;
      if (!(last && this.#breakages.loseNeighbour)) body(at, from, bytes);
      from += bytes;
    }
  }

  /** The server's side: it works on the request for a while, and replies. */
  #serve(header: Uint8Array, data: Uint8Array): void {
    const life = this.#life;
    const disk = this.#disk;
    const view = new DataView(header.buffer);
    const command = view.getUint16(6);
    const fua = (view.getUint16(4) & NBD_CMD_FLAG_FUA) !== 0;
    const first = (Number(view.getBigUint64(16)) - this.#offsetBytes) / SECTOR_BYTES;
    const sectors = view.getUint32(24) / SECTOR_BYTES;
    const dirty = command === NBD_CMD_FLUSH ? disk.dirtySectors() : [];
    this.#clock.after(disk.latencyMs(), () => {
      if (life !== this.#life) return;
      let error = 0;
      let read: Uint8Array | undefined;
      if (command === NBD_CMD_FLUSH) {
        error = disk.syncError();
        if (error !== 0) disk.forget(dirty);
        else if (!this.#breakages.skipSync) {
          disk.stabilize(dirty.filter((lba) => lba < disk.sectors));
        }
      } else if (disk.fails()) {
        error = disk.errorCode;
      } else if (command === NBD_CMD_READ) {
        read = new Uint8Array(sectors * SECTOR_BYTES);
        disk.read(first, sectors, read, 0);
      } else {
        if (command === NBD_CMD_WRITE) disk.write(first, sectors, data, 0);
        else disk.discard(first, sectors);
        const written = Array.from({ length: sectors }, (_, i) => first + i);
        if (fua) error = disk.syncError();
        if (error !== 0) disk.forget(written);
        else if (fua) disk.stabilize(written);
      }
      this.#reply(header, error, read);
      this.#advance();
      this.#wake();
    });
  }

  #reply(header: Uint8Array, error: number, read: Uint8Array | undefined): void {
    const requests = this.#requests;
    this.#view.setUint32(this.#replyAt, NBD_SIMPLE_REPLY_MAGIC);
    this.#view.setUint32(this.#replyAt + 4, error);
    this.#pool.bytes.set(header.subarray(8, 16), this.#replyAt + 8);
    const number = requests.reply(this.#pool.bytes, this.#replyAt);
    if (read === undefined) return;
    if (number < 0) throw new Error("A read's reply was not recognized");
    this.#eachPiece(number, read.length, (at, from, bytes) => {
      this.#pool.bytes.set(read.subarray(from, from + bytes), at);
    });
    requests.payloadRead(number);
  }
}
