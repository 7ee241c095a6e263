// The two ends of a copy, behind one interface: a remote disk, or a local file, block device or
// stream. Operations are started here and end at `CopyOutcome`, in any order.

import { describeResult, RESULT_OK, RESULT_RESERVED } from "../../core/initiator/results.ts";
import type { Initiator } from "../../core/initiator/initiator.ts";
import {
  REQUEST_DISCARD,
  REQUEST_FLUSH,
  REQUEST_READ,
  REQUEST_WRITE,
} from "../../core/initiator/requests.ts";
import { formatAddress } from "../../wire/aoe.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";

/** Why a copy cannot go on. */
export interface CopyFailure {
  /**
   * Whether the remote end was silent, refused, or a local file is at fault; `changed`: what an
   * earlier run left is there no more.
   */
  readonly kind:
    | "silent"
    | "refused"
    | "reserved"
    | "local"
    | "usage"
    | "mismatch"
    | "changed"
    | "lost";
  /** The end that is reserved by others, as in `e1.1`. */
  readonly disk?: string;
  /** One sentence. */
  readonly text: string;
}

/** Where operations end. */
export interface CopyOutcome {
  /** @param bytes That were transferred: fewer than asked for only where a source ends. */
  succeeded(tag: number, bytes: number): void;
  failed(tag: number, failure: CopyFailure): void;
}

/** How an end makes a range read as zeros. */
export type Zeroing =
  /** It does already. */
  | "skip"
  /** By `discard`, however long the range is. */
  | "discard"
  /** By `discard`, unless that fails: then by writing zeros. */
  | "try-discard"
  /** By writing zeros. */
  | "write";

/** One end of a copy. */
export interface CopyEnd {
  /** For messages. */
  readonly name: string;
  /** Bytes there are; undefined where only the end tells. */
  readonly bytes: number | undefined;
  /** Operations must come one by one, in order: it has no offsets. */
  readonly inOrder: boolean;
  readonly zeroing: Zeroing;
  /** Length of the hole at an offset, at most `bytes`; 0 when there are data, or nobody knows. */
  holeAt(offset: number, bytes: number): number;
  /** @param at In the arena, with room for whole sectors. */
  read(tag: number, offset: number, bytes: number, at: number): void;
  /** @param at As in `read`; the rest of a last sector is overwritten with zeros. */
  write(tag: number, offset: number, bytes: number, at: number): void;
  discard(tag: number, offset: number, bytes: number): void;
  /** Puts everything written so far onto stable storage. */
  flush(tag: number): void;
}

/** A disk on the network. */
export class RemoteEnd implements CopyEnd {
  readonly name: string;
  readonly inOrder = false;
  readonly zeroing: Zeroing;
  readonly #initiator: Initiator;
  readonly #memory: Uint8Array;
  readonly #outcome: CopyOutcome;
  readonly #nowMs: () => number;
  /** Bytes of the operation of each tag. */
  readonly #sizes: Float64Array;

  /**
   * @param zeroesByDiscard Whether discarded sectors are known to read as zeros.
   * @param tags Tags are below it.
   */
  constructor(
    initiator: Initiator,
    options: {
      memory: Uint8Array;
      outcome: CopyOutcome;
      nowMs: () => number;
      tags: number;
      zeroesByDiscard: boolean;
    },
  ) {
    this.name = formatAddress(initiator.shelf, initiator.slot);
    this.#initiator = initiator;
    this.#memory = options.memory;
    this.#outcome = options.outcome;
    this.#nowMs = options.nowMs;
    this.#sizes = new Float64Array(options.tags);
    this.zeroing = options.zeroesByDiscard ? "discard" : "write";
  }

  get bytes(): number {
    return (this.#initiator.sectors ?? 0) * SECTOR_BYTES;
  }

  holeAt(): number {
    return 0;
  }

  read(tag: number, offset: number, bytes: number, at: number): void {
    this.#submit(REQUEST_READ, tag, offset, bytes, at);
  }

  write(tag: number, offset: number, bytes: number, at: number): void {
    const whole = Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;
    this.#memory.fill(0, at + bytes, at + whole);
    this.#submit(REQUEST_WRITE, tag, offset, bytes, at);
  }

  discard(tag: number, offset: number, bytes: number): void {
    this.#submit(REQUEST_DISCARD, tag, offset, bytes, 0);
  }

  flush(tag: number): void {
    this.#submit(REQUEST_FLUSH, tag, 0, 0, 0);
  }

  /** A request has ended. */
  complete(tag: number, result: number): void {
    if (result === RESULT_OK) {
      this.#outcome.succeeded(tag, this.#sizes[tag]!);
      return;
    }
    const { name, words } = describeResult(result);
    const kind = name === "Timeout" ? "silent" : name === "WritesLost" ? "lost" : "refused";
    const text = `${this.name}: ${words}`;
    const reserved = result === RESULT_RESERVED;
    this.#outcome.failed(
      tag,
      reserved ? { kind: "reserved", text, disk: this.name } : { kind, text },
    );
  }

  #submit(operation: number, tag: number, offset: number, bytes: number, at: number): void {
    this.#sizes[tag] = bytes;
    const taken = this.#initiator.submit(
      this.#nowMs(),
      operation,
      offset / SECTOR_BYTES,
      Math.ceil(bytes / SECTOR_BYTES),
      at,
      tag,
    );
    if (!taken) throw new Error("More requests than the initiator has room for");
  }
}
