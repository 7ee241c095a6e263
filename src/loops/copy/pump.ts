// Moves bytes from one end to another through a ring of chunks, many of them at once:
//
// 1. A free chunk is read, or found to be a hole of the source, which needs no reading.
// 2. What was read is written at once, in whatever order reads end; runs of zeros are left out or
//    discarded, as the destination likes it. A stream is written in order, one chunk at a time.
// 3. The checksum takes the chunks in order.
// 4. A chunk that is written and summed up is free again, in order: everything before `position`
//    is done, which is where a copy that is interrupted goes on.
//
// Without a destination bytes are only summed up.

import type { Arena } from "../../../ffi/arena.ts";
import { isEqual } from "../../../ffi/file_data.ts";
import type { Checksum } from "./checksum.ts";
import type { CopyEnd, CopyFailure, CopyOutcome } from "./end.ts";
import { FreeStack } from "../../core/tables.ts";

export const COPY_CHUNK_BYTES = 256 * 1024;
const CHUNKS = 64;
/** Zeros are looked for in pieces of this (cp looks in 32 KiB, too). */
const PIECE_BYTES = 32 * 1024;
const PIECES = COPY_CHUNK_BYTES / PIECE_BYTES;
/** Longest hole that is one chunk. */
const HOLE_BYTES_MAX = 2 ** 30;
/** Operations of one chunk: a read, and a write or discard for each run of pieces. */
const TAGS_PER_CHUNK = 16;
/** Tags that the pump uses; those from here on are its owner's. */
export const PUMP_TAGS = CHUNKS * TAGS_PER_CHUNK;

const FREE = 0;
const READING = 1;
const READ = 2;
const WRITING = 3;
const WRITTEN = 4;

/** What to move. */
export interface Transfer {
  readonly source: CopyEnd;
  readonly sourceOffset: number;
  /** Undefined: only the checksum is wanted. */
  readonly sink: CopyEnd | undefined;
  readonly sinkOffset: number;
  /** Infinity: until the source ends. */
  readonly bytes: number;
  /** Whether zeros may be left out or discarded. */
  readonly sparse: boolean;
  readonly checksum: Checksum;
  /** Called once, before the destination is changed: something has come from the source. */
  readonly begins?: () => void;
}

/** The ring. */
export class CopyPump implements CopyOutcome {
  /** Bytes of the transfer that are done, from its beginning without a gap. */
  position = 0;
  /** CRC-32 of what the transfer's checksum has taken up to `position`. */
  positionCrc = 0;
  /** Bytes that were zeros and not written, in chunks that are done or not. */
  zeroBytes = 0;
  /** What went wrong first. */
  failure: CopyFailure | undefined;
  /**
   * Chunks that may be on their way at once. More than the network carries only tires the cache;
   * chunks that wait for an older one do not count.
   */
  activeMax = CHUNKS;

  readonly #memoryAt: number;
  readonly #zeros: Deno.PointerValue;
  readonly #pieces: Deno.PointerValue[] = [];
  readonly #state = new Uint8Array(CHUNKS);
  /** Where the bytes of a chunk are: buffers are used again at once, while the cache has them. */
  readonly #buffer = new Int32Array(CHUNKS);
  readonly #freeBuffers = new FreeStack(CHUNKS);
  readonly #hole = new Uint8Array(CHUNKS);
  readonly #start = new Float64Array(CHUNKS);
  readonly #size = new Float64Array(CHUNKS);
  readonly #crc = new Uint32Array(CHUNKS);
  readonly #pending = new Int32Array(CHUNKS);
  /** Of the runs: bytes from the chunk's begin, and whether they are zeros. */
  readonly #runFrom = new Int32Array(PUMP_TAGS);
  readonly #runBytes = new Float64Array(PUMP_TAGS);
  readonly #runZero = new Uint8Array(PUMP_TAGS);
  #transfer: Transfer | undefined;
  #end = 0;
  #nextStart = 0;
  #stopped = false;
  #begun = false;
  #inFlight = 0;
  #active = 0;
  // Numbers of chunks, modulo CHUNKS their place: read next, written next (streams), summed up
  // next, done next.
  #toRead = 0;
  #toWrite = 0;
  #toSum = 0;
  #toFree = 0;

  constructor(arena: Arena) {
    this.#memoryAt = arena.allocate(CHUNKS * COPY_CHUNK_BYTES, 4096);
    this.#zeros = arena.pointer(arena.allocate(PIECE_BYTES, 4096));
    for (let i = 0; i < CHUNKS * PIECES; i++) {
      this.#pieces.push(arena.pointer(this.#memoryAt + i * PIECE_BYTES));
    }
  }

  /** Begins; the last transfer is over. */
  start(transfer: Transfer): void {
    this.#transfer = transfer;
    this.#end = transfer.bytes;
    this.#nextStart = 0;
    this.#stopped = false;
    this.#begun = false;
    this.position = 0;
    this.positionCrc = transfer.checksum.crc;
    this.#toRead =
      this.#toWrite =
      this.#toSum =
      this.#toFree =
        0;
    this.#state.fill(FREE);
  }

  /** No new reads from now on. */
  stop(): void {
    this.#stopped = true;
  }

  /** Operations that have not ended. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Whether everything is moved, or nothing more will be. */
  get over(): boolean {
    if (this.#inFlight > 0) return false;
    return this.#stopped || this.failure !== undefined || this.position >= this.#end;
  }

  /** Does what can be done now. */
  turn(): void {
    const transfer = this.#transfer;
    if (transfer === undefined) return;
    if (transfer.sink?.inOrder === true) this.#writeInOrder(transfer);
    this.#sumAndFree(transfer);
    while (this.#mayRead(transfer)) this.#readNext(transfer);
  }

  succeeded(tag: number, bytes: number): void {
    const transfer = this.#transfer!;
    const chunk = Math.floor(tag / TAGS_PER_CHUNK);
    this.#inFlight--;
    if (tag % TAGS_PER_CHUNK === 0) this.#wasRead(transfer, chunk, bytes);
    else if (--this.#pending[chunk]! === 0) this.#written(chunk);
  }

  failed(tag: number, failure: CopyFailure): void {
    const sink = this.#transfer!.sink;
    this.#inFlight--;
    if (this.#runZero[tag] === 1 && tag % TAGS_PER_CHUNK > 0 && sink?.zeroing === "write") {
      // It has turned out that it cannot discard: the zeros stand in the chunk.
      this.#runZero[tag] = 0;
      this.#writeRun(sink, tag);
      return;
    }
    this.failure ??= failure;
  }

  #mayRead({ source }: Transfer): boolean {
    if (this.#stopped || this.failure !== undefined || this.#nextStart >= this.#end) return false;
    if (this.#toRead - this.#toFree === CHUNKS || this.#active >= this.activeMax) return false;
    return !source.inOrder || this.#toRead === 0 ||
      this.#state[(this.#toRead - 1) % CHUNKS] !== READING;
  }

  #readNext(transfer: Transfer): void {
    const { source, sourceOffset, sink, sparse } = transfer;
    const chunk = this.#toRead++ % CHUNKS;
    const start = this.#nextStart;
    const offset = sourceOffset + start;
    this.#start[chunk] = start;
    const rest = this.#end - start;
    this.#active++;
    const holesPass = sink === undefined || (sparse && sink.zeroing !== "write" &&
      sink.zeroing !== "try-discard");
    const hole = holesPass ? source.holeAt(offset, Math.min(rest, HOLE_BYTES_MAX)) : 0;
    if (hole >= PIECE_BYTES) {
      const bytes = hole === rest ? hole : hole - hole % PIECE_BYTES;
      this.#hole[chunk] = 1;
      this.#size[chunk] = bytes;
      this.#nextStart = start + bytes;
      this.#state[chunk] = READ;
      if (sink === undefined) this.#written(chunk);
      else if (!sink.inOrder) this.#write(transfer, sink, chunk);
      return;
    }
    const bytes = Math.min(rest, COPY_CHUNK_BYTES);
    this.#hole[chunk] = 0;
    this.#size[chunk] = bytes;
    this.#nextStart = start + bytes;
    this.#state[chunk] = READING;
    this.#inFlight++;
    this.#buffer[chunk] = this.#freeBuffers.take();
    source.read(chunk * TAGS_PER_CHUNK, offset, bytes, this.#addressOf(chunk));
  }

  #wasRead(transfer: Transfer, chunk: number, bytes: number): void {
    const { source, sink } = transfer;
    if (bytes < this.#size[chunk]!) {
      if (source.bytes !== undefined) {
        const text = `${source.name} became shorter while it was copied`;
        this.failure ??= { kind: "local", text };
        return;
      }
      this.#size[chunk] = bytes;
      this.#end = this.#start[chunk]! + bytes;
    }
    this.#state[chunk] = READ;
    if (sink === undefined || bytes === 0) this.#written(chunk);
    else if (!sink.inOrder) this.#write(transfer, sink, chunk);
  }

  #writeInOrder(transfer: Transfer): void {
    while (this.#toWrite < this.#toRead && this.failure === undefined) {
      const chunk = this.#toWrite % CHUNKS;
      if (this.#state[chunk] === READ) this.#write(transfer, transfer.sink!, chunk);
      if (this.#state[chunk] !== WRITTEN) return;
      this.#toWrite++;
    }
  }

  /** Writes a chunk in runs of pieces that are all zeros, or all not. */
  #write({ sinkOffset, sparse }: Transfer, sink: CopyEnd, chunk: number): void {
    const bytes = this.#size[chunk]!;
    if (sink.bytes !== undefined && sinkOffset + this.#start[chunk]! + bytes > sink.bytes) {
      this.failure ??= { kind: "usage", text: `${sink.name} is too small for what comes` };
      return;
    }
    if (!this.#begun) {
      this.#begun = true;
      this.#transfer!.begins?.();
    }
    this.#state[chunk] = WRITING;
    this.#pending[chunk] = 1;
    let tag = chunk * TAGS_PER_CHUNK;
    const looksForZeros = sparse && sink.zeroing !== "write";
    for (let from = 0; from < bytes;) {
      const zero = looksForZeros && (this.#hole[chunk] === 1 || this.#isZero(chunk, from, bytes));
      let to = zero && this.#hole[chunk] === 1 ? bytes : from;
      if (!looksForZeros) to = bytes;
      while (to < bytes && (to === from || this.#isZero(chunk, to, bytes) === zero)) {
        to = Math.min(bytes, to + PIECE_BYTES);
      }
      if (zero) this.zeroBytes += to - from;
      if (!zero || sink.zeroing !== "skip") {
        tag++;
        this.#runFrom[tag] = from;
        this.#runBytes[tag] = to - from;
        this.#runZero[tag] = zero ? 1 : 0;
        this.#pending[chunk]!++;
        this.#inFlight++;
        this.#writeRun(sink, tag);
      }
      from = to;
    }
    // The count that was held while runs were still being found.
    if (--this.#pending[chunk]! === 0) this.#written(chunk);
  }

  #written(chunk: number): void {
    this.#state[chunk] = WRITTEN;
    this.#active--;
  }

  #addressOf(chunk: number): number {
    return this.#memoryAt + this.#buffer[chunk]! * COPY_CHUNK_BYTES;
  }

  #writeRun(sink: CopyEnd, tag: number): void {
    const chunk = Math.floor(tag / TAGS_PER_CHUNK);
    const from = this.#runFrom[tag]!;
    const offset = this.#transfer!.sinkOffset + this.#start[chunk]! + from;
    const at = this.#addressOf(chunk) + from;
    if (this.#runZero[tag] === 1) sink.discard(tag, offset, this.#runBytes[tag]!);
    else sink.write(tag, offset, this.#runBytes[tag]!, at);
  }

  #isZero(chunk: number, from: number, bytes: number): boolean {
    const piece = this.#pieces[this.#buffer[chunk]! * PIECES + from / PIECE_BYTES]!;
    return isEqual(piece, this.#zeros, Math.min(PIECE_BYTES, bytes - from));
  }

  #sumAndFree({ checksum }: Transfer): void {
    for (; this.#toSum < this.#toRead; this.#toSum++) {
      const chunk = this.#toSum % CHUNKS;
      if (this.#state[chunk]! < READ) break;
      if (this.#hole[chunk] === 1) checksum.updateZeros(this.#size[chunk]!);
      else checksum.update(this.#addressOf(chunk), this.#size[chunk]!);
      this.#crc[chunk] = checksum.crc;
    }
    for (; this.#toFree < this.#toSum; this.#toFree++) {
      const chunk = this.#toFree % CHUNKS;
      if (this.#state[chunk] !== WRITTEN) break;
      this.#state[chunk] = FREE;
      if (this.#hole[chunk] === 0) this.#freeBuffers.release(this.#buffer[chunk]!);
      this.position += this.#size[chunk]!;
      this.positionCrc = this.#crc[chunk]!;
    }
  }
}
