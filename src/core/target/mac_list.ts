// A short list of MAC addresses: the ACL, the mask list and the holders of a reservation, which all
// read "empty admits everybody" (wire/README.md, 'MAC mask list' and 'Reserve/release').

import { copyMac, MAC_BYTES, macEquals } from "../../wire/ethernet.ts";
import { NONE } from "../tables.ts";

/** MACs back to back, in order of their coming, none twice. */
export class MacList {
  /** Number of addresses. */
  size = 0;
  readonly #capacity: number;
  readonly #macs: Uint8Array;

  /** @param capacity Most addresses it takes. */
  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#macs = new Uint8Array(capacity * MAC_BYTES);
  }

  /** Whether the list is empty or holds the address at `at`. */
  admits(view: Uint8Array, at: number): boolean {
    return this.size === 0 || this.has(view, at);
  }

  /** Whether the list holds the address at `at`. */
  has(view: Uint8Array, at: number): boolean {
    return this.#find(view, at) >= 0;
  }

  /** Adds an address unless it is there; false when the list is full. */
  add(view: Uint8Array, at: number): boolean {
    if (this.has(view, at)) return true;
    if (this.size === this.#capacity) return false;
    copyMac(this.#macs, this.size * MAC_BYTES, view, at);
    this.size++;
    return true;
  }

  /** Takes an address out, if it is there. */
  remove(view: Uint8Array, at: number): void {
    const found = this.#find(view, at);
    if (found < 0) return;
    this.#macs.copyWithin(found * MAC_BYTES, (found + 1) * MAC_BYTES, this.size * MAC_BYTES);
    this.size--;
  }

  /** Empties the list. */
  clear(): void {
    this.size = 0;
  }

  /** A list with the same addresses and capacity. */
  clone(): MacList {
    const list = new MacList(this.#capacity);
    list.#macs.set(this.#macs);
    list.size = this.size;
    return list;
  }

  /** The addresses, six bytes each, valid until the next change. */
  bytes(): Uint8Array {
    return this.#macs.subarray(0, this.size * MAC_BYTES);
  }

  #find(view: Uint8Array, at: number): number {
    for (let i = 0; i < this.size; i++) {
      if (macEquals(this.#macs, i * MAC_BYTES, view, at)) return i;
    }
    return NONE;
  }
}
