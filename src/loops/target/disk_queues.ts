// The disk queue of a worker that serves NBD sources, and perhaps files beside them: one face for
// the ring (or the system calls) and for each source's connection. A source's number stands where a
// file has its descriptor.

import type { FileQueue } from "../../../ffi/file_queue.ts";
import type { NbdSource } from "./nbd_source.ts";

/** What stands for the descriptor of the first source; the next ones count down. */
const SOURCE_NUMBER_FIRST = -2;

/** The number that stands where a file has its descriptor. */
export function sourceNumber(index: number): number {
  return SOURCE_NUMBER_FIRST - index;
}

/** Any queue of disk work. */
export type WorkerQueue = FileQueue | DiskQueues;

/** The queue for files and the sources, as one; see `IoUring` for what each method is. */
export class DiskQueues {
  readonly event: number;
  tag = 0;
  result = 0;
  readonly #files: FileQueue;
  readonly #sources: readonly NbdSource[];
  /** Which queue `next` asks: a source by its place, then the files. */
  #asked = 0;
  /** Operations given to sources since the last `submit`. */
  #given = 0;

  /** @param sources In the order of their numbers. */
  constructor(files: FileQueue, sources: readonly NbdSource[]) {
    this.event = files.event;
    this.#files = files;
    this.#sources = sources;
  }

  get inFlight(): number {
    let count = this.#files.inFlight;
    for (let i = 0; i < this.#sources.length; i++) count += this.#sources[i]!.inFlight;
    return count;
  }

  get queued(): number {
    return this.#files.queued + this.#given;
  }

  /** A source finds the data by the frames, and needs no iovecs. */
  get needsVectors(): boolean {
    return this.#files.needsVectors;
  }

  read(
    tag: number,
    fd: number,
    address: number,
    bytes: number,
    offset: number,
    remote = false,
  ): void {
    if (fd <= SOURCE_NUMBER_FIRST) this.#source(fd).read(tag, offset);
    else this.#files.read(tag, fd, address, bytes, offset, remote);
  }

  readVectors(
    tag: number,
    fd: number,
    iovecs: number,
    count: number,
    offset: number,
    remote = false,
  ): void {
    if (fd <= SOURCE_NUMBER_FIRST) this.#source(fd).read(tag, offset);
    else this.#files.readVectors(tag, fd, iovecs, count, offset, remote);
  }

  write(
    tag: number,
    fd: number,
    address: number,
    bytes: number,
    offset: number,
    stable: boolean,
    remote = false,
  ): void {
    if (fd <= SOURCE_NUMBER_FIRST) this.#source(fd).write(tag, offset, stable);
    else this.#files.write(tag, fd, address, bytes, offset, stable, remote);
  }

  writeVectors(
    tag: number,
    fd: number,
    iovecs: number,
    count: number,
    offset: number,
    stable: boolean,
    remote = false,
  ): void {
    if (fd <= SOURCE_NUMBER_FIRST) this.#source(fd).write(tag, offset, stable);
    else this.#files.writeVectors(tag, fd, iovecs, count, offset, stable, remote);
  }

  sync(tag: number, fd: number): void {
    if (fd <= SOURCE_NUMBER_FIRST) this.#source(fd).sync(tag);
    else this.#files.sync(tag, fd);
  }

  punch(tag: number, fd: number, offset: number, bytes: number): void {
    if (fd <= SOURCE_NUMBER_FIRST) this.#source(fd).punch(tag, offset, bytes);
    else this.#files.punch(tag, fd, offset, bytes);
  }

  submit(): void {
    this.#given = 0;
    if (this.#files.inFlight > 0) this.#files.submit();
    for (let i = 0; i < this.#sources.length; i++) this.#sources[i]!.advance();
  }

  next(): boolean {
    for (; this.#asked < this.#sources.length; this.#asked++) {
      const source = this.#sources[this.#asked]!;
      if (!source.next()) continue;
      this.tag = source.tag;
      this.result = source.result;
      return true;
    }
    if (this.#files.next()) {
      this.tag = this.#files.tag;
      this.result = this.#files.result;
      return true;
    }
    this.#asked = 0;
    return false;
  }

  close(): void {
    this.#files.close();
    for (const source of this.#sources) source.close();
  }

  #source(number: number): NbdSource {
    this.#given++;
    return this.#sources[SOURCE_NUMBER_FIRST - number]!;
  }
}
