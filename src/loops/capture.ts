// A capture of the frames of one thread, for tshark: gathered in memory, written by the thread in
// batches of whole frames, bounded. Whatever befalls the file ends the capture and nothing else.

import { Arena } from "../../ffi/arena.ts";
import { errnoText } from "../../ffi/errno.ts";
import { EIO } from "../../ffi/errno_numbers.ts";
import { closeFile, truncateFile, writeBlock } from "../../ffi/files.ts";
import { Clock } from "../../ffi/poll.ts";
import {
  PCAP_HEADER_BYTES,
  PCAP_RECORD_BYTES,
  writePcapHeader,
  writePcapRecord,
} from "../wire/pcap.ts";

/** What one write takes: some hundred large frames, and many times the longest. */
const BUFFER_BYTES = 2 ** 20;

/** Where a capture goes; the descriptor is the thread's to close. */
export interface CaptureConfig {
  readonly fd: number;
  readonly path: string;
  /** The file becomes no larger. */
  readonly bytesMax: number;
}

/** What helps to see what goes on, and what happens when frames are lost. */
export interface WireAids {
  readonly capture: CaptureConfig | undefined;
  /** Of the frames that are received and sent, so many are lost on purpose; 0 for none. */
  readonly dropPercent: number;
  /** Which: the same number loses the same ones. */
  readonly dropSeed: number;
}

/** A capture that goes on. */
export class FrameCapture {
  readonly #config: CaptureConfig;
  readonly #tell: (text: string) => void;
  readonly #arena: Arena;
  readonly #bufferAt: number;
  readonly #buffer: Uint8Array;
  readonly #clock: Clock;
  readonly #offset = new BigInt64Array(1);
  #used = PCAP_HEADER_BYTES;
  #written = 0;
  #ended = false;

  /** @param tell Hears the sentence that says why it has ended early. */
  constructor(config: CaptureConfig, tell: (text: string) => void) {
    this.#config = config;
    this.#tell = tell;
    const { arena, built } = Arena.fit((arena) => ({
      bufferAt: arena.allocate(BUFFER_BYTES),
      clock: new Clock(arena, "realtime"),
    }));
    this.#arena = arena;
    this.#bufferAt = built.bufferAt;
    this.#buffer = arena.bytes.subarray(built.bufferAt, built.bufferAt + BUFFER_BYTES);
    this.#clock = built.clock;
    writePcapHeader(this.#buffer, 0);
    this.write();
  }

  /** The frames that are added next were received, or sent, now. */
  stamp(): void {
    this.#clock.read();
  }

  /**
   * Adds a frame.
   *
   * @param at Where it begins in `memory`.
   * @param bytes How much of it lies there.
   * @param restAt Where so many more lie.
   * @param restBytes 0 for none.
   * @param wireBytes Of the whole frame; what is beyond the two pieces is left out.
   */
  add(
    memory: Uint8Array,
    at: number,
    bytes: number,
    restAt: number,
    restBytes: number,
    wireBytes: number,
  ): void {
    if (this.#ended) return;
    const kept = bytes + restBytes;
    const needed = PCAP_RECORD_BYTES + kept;
    if (this.#used + needed > BUFFER_BYTES) this.write();
    if (this.#written + this.#used + needed > this.#config.bytesMax) this.#end();
    if (this.#ended) return;
    const { seconds, nanoseconds } = this.#clock;
    const buffer = this.#buffer;
    writePcapRecord(buffer, this.#used, seconds, nanoseconds, kept, wireBytes);
    this.#used += PCAP_RECORD_BYTES;
    buffer.set(memory.subarray(at, at + bytes), this.#used);
    if (restBytes > 0) buffer.set(memory.subarray(restAt, restAt + restBytes), this.#used + bytes);
    this.#used += kept;
  }

  /** Writes what has been gathered: whole frames, so that the file can be read at any time. */
  write(): void {
    if (this.#ended) return;
    const { fd } = this.#config;
    for (let at = 0; at < this.#used;) {
      this.#offset[0] = BigInt(this.#written + at);
      const pointer = this.#arena.pointer(this.#bufferAt + at);
      const count = writeBlock(fd, pointer, BigInt(this.#used - at), this.#offset, 0);
      if (count <= 0) {
        this.#fail(-count || EIO);
        return;
      }
      at += count;
    }
    this.#written += this.#used;
    this.#used = 0;
  }

  /** Writes the last of it. */
  close(): void {
    this.write();
    this.#close();
  }

  /** It is as large as it may become. */
  #end(): void {
    this.write();
    if (this.#ended) return;
    this.#close();
    const { path, bytesMax } = this.#config;
    this.#tell(
      `The capture "${path}" has reached ${bytesMax} bytes and ends: --capture-size allows more`,
    );
  }

  #fail(code: number): void {
    try {
      // Half a frame would make readers complain.
      truncateFile(this.#config.fd, this.#written);
    } catch {
      // The sentence below says what is wrong with the file.
    }
    this.#close();
    this.#tell(
      `The capture "${this.#config.path}" ends: ${errnoText(code)}; everything else goes on`,
    );
  }

  #close(): void {
    if (!this.#ended) closeFile(this.#config.fd);
    this.#ended = true;
  }
}
