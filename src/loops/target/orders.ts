// What the main thread has to say to a running target thread, and how it gets there: one order at a
// time, as text in shared memory. The thread's eventfd wakes it to look; it posts when it has taken
// the order, which makes room for the next one, and when it has carried it out. What a thread has not
// taken, since a disk holds it up, can be taken back.

import type { ExportConfig } from "./export_config.ts";

/** What a thread is to do; `order` is its number, by which the outcome is told. */
export type TargetOrder =
  & { readonly order: number }
  & (
    /** Serves one more, with an index that none has. */
    | { readonly kind: "add"; readonly index: number; readonly config: ExportConfig }
    /** Takes no more commands, answers those that it has, and with `drain` flushes. */
    | { readonly kind: "remove"; readonly index: number; readonly drain: boolean }
    /** Serves it in another way; address, descriptors and offset are as before. */
    | { readonly kind: "change"; readonly index: number; readonly config: ExportConfig }
    /** Serves on one more interface, as soon as there is one of that name. */
    | { readonly kind: "add-interface"; readonly name: string }
    | { readonly kind: "remove-interface"; readonly name: string }
  );

/** The longest order: an ACL of some tens of thousands of addresses. */
const TEXT_BYTES_MAX = 2 ** 20;
/** Before the text stand the order's number, 0 when there is none, and the text's length. */
const HEADER_WORDS = 2;
const NUMBER = 0;
const LENGTH = 1;

/** The one order that is under way. */
export class OrderMailbox {
  readonly #header: Int32Array;
  readonly #text: Uint8Array;

  /** @param shared From `allocate`. */
  constructor(shared: SharedArrayBuffer) {
    this.#header = new Int32Array(shared, 0, HEADER_WORDS);
    this.#text = new Uint8Array(shared, 4 * HEADER_WORDS);
  }

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(4 * HEADER_WORDS + TEXT_BYTES_MAX);
  }

  /**
   * Puts an order in; the one before has to be taken.
   *
   * @returns False when it is too long.
   */
  put(order: TargetOrder): boolean {
    const text = new TextEncoder().encode(JSON.stringify(order, writeBytes));
    if (text.length > TEXT_BYTES_MAX) return false;
    this.#text.set(text);
    Atomics.store(this.#header, LENGTH, text.length);
    Atomics.store(this.#header, NUMBER, order.order);
    return true;
  }

  /**
   * Takes an order back.
   *
   * @returns False when the thread has taken it, and carries it out.
   */
  withdraw(order: number): boolean {
    return Atomics.compareExchange(this.#header, NUMBER, order, 0) === order;
  }

  /** Takes the order out, if there is one. */
  take(): TargetOrder | undefined {
    const number = Atomics.load(this.#header, NUMBER);
    if (number === 0) return undefined;
    const text = this.#text.slice(0, Atomics.load(this.#header, LENGTH));
    // One that was withdrawn meanwhile may have been written over; who puts another rings again.
    if (!this.withdraw(number)) return undefined;
    return JSON.parse(new TextDecoder().decode(text), readBytes) as TargetOrder;
  }
}

/** As which bytes stand in the text. */
interface BytesInText {
  readonly hex: string;
}

function writeBytes(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? { hex: value.toHex() } satisfies BytesInText : value;
}

function readBytes(_key: string, value: unknown): unknown {
  const { hex } = (value ?? {}) as Partial<BytesInText>;
  return hex === undefined ? value : Uint8Array.fromHex(hex);
}
