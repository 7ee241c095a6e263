// The checksum of a stream: CRC-32 as gzip, zip and Ethernet have it, or SHA-256. It is taken in
// order; on the way its state is noted at every segment's end, so that reading back tells at once
// where the first difference is.

import { crcOfZeros } from "../../core/copy/crc_of_zeros.ts";

/** Bytes between two notes. */
export const CHECKSUM_SEGMENT_BYTES = 16 * 2 ** 20;
/** Zeros are hashed in pieces of this. */
const ZEROS_BYTES = 256 * 1024;

/** What a copy can be summed up with. */
export type ChecksumName = "crc32" | "sha256" | "none";

type Sha256 = ReturnType<ReturnType<typeof cryptoModule>["createHash"]>;

// Neither is imported: Deno would load them, and a hundred modules of theirs, at every command's start.
// This one takes 20 to 40 ms, which pass while the thread waits to be told what to copy.
const { crc32 } = process.getBuiltinModule("node:zlib");
const cryptoModule = () => process.getBuiltinModule("node:crypto");

/** A checksum under way. */
export class Checksum {
  /** Bytes taken so far. */
  bytes = 0;
  /** CRC-32 of them, whatever they are summed up with; 0 with "none". */
  crc = 0;
  /** The states at the ends of segments. */
  readonly notes: (number | string)[] = [];
  readonly #name: ChecksumName;
  readonly #memory: Uint8Array;
  readonly #expected: readonly (number | string)[] | undefined;
  readonly #hash: Sha256 | undefined;
  #zeros: Uint8Array | undefined;
  /** Where a segment begins whose state is not the expected one; −1: all are. */
  differsAt = -1;

  /**
   * @param memory What `update` takes offsets of.
   * @param expected Notes of an earlier stream that this one should equal.
   */
  constructor(
    name: ChecksumName,
    memory: Uint8Array,
    expected?: readonly (number | string)[],
  ) {
    this.#name = name;
    if (name === "sha256") this.#hash = cryptoModule().createHash("sha256");
    this.#memory = memory;
    this.#expected = expected;
  }

  /** Takes bytes that stand in the memory. */
  update(at: number, bytes: number): void {
    for (let done = 0; done < bytes;) {
      const part = Math.min(bytes - done, this.#untilNote());
      this.#add(this.#memory.subarray(at + done, at + done + part));
      done += part;
      this.#advance(part);
    }
  }

  /** Takes zeros, however many. */
  updateZeros(bytes: number): void {
    for (let done = 0; done < bytes;) {
      const part = Math.min(bytes - done, this.#untilNote());
      if (this.#name !== "none") this.crc = crcOfZeros(this.crc, part);
      if (this.#name === "sha256") this.#addZeros(part);
      done += part;
      this.#advance(part);
    }
  }

  /** The checksum of everything taken so far, in hex. */
  digest(): string {
    if (this.#name === "none") return "";
    if (this.#name === "crc32") return this.crc.toString(16).padStart(8, "0");
    return this.#hash!.copy().digest("hex");
  }

  #untilNote(): number {
    return CHECKSUM_SEGMENT_BYTES - this.bytes % CHECKSUM_SEGMENT_BYTES;
  }

  #advance(bytes: number): void {
    this.bytes += bytes;
    if (this.bytes % CHECKSUM_SEGMENT_BYTES !== 0) return;
    const state = this.#name === "crc32" ? this.crc : this.digest();
    const expected = this.#expected?.[this.notes.length];
    if (expected !== undefined && expected !== state && this.differsAt < 0) {
      this.differsAt = this.bytes - CHECKSUM_SEGMENT_BYTES;
    }
    this.notes.push(state);
  }

  #add(bytes: Uint8Array): void {
    this.#hash?.update(bytes);
    if (this.#name !== "none") this.crc = crc32(bytes, this.crc);
  }

  #addZeros(bytes: number): void {
    const zeros = this.#zeros ??= new Uint8Array(ZEROS_BYTES);
    for (let done = 0; done < bytes; done += ZEROS_BYTES) {
      this.#hash!.update(zeros.subarray(0, Math.min(ZEROS_BYTES, bytes - done)));
    }
  }
}
