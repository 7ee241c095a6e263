// Who may use an export, as its administrator wants it: by MAC address, or by how addresses begin.
// Frames cannot change it, unlike the mask list. The pattern that matches most of an address decides;
// of equal ones a refusal first, then reading alone. What no pattern matches is refused where
// anybody is admitted by name, and admitted otherwise (wire/README.md, decision 15).

import { MAC_BYTES } from "../../wire/ethernet.ts";
import { NONE } from "../tables.ts";

/**
 * Patterns are lower-case hex digits, two for each byte that has to match: twelve are one address,
 * six are all of one maker, none are everybody.
 */
export interface AclConfig {
  readonly accept: readonly string[];
  readonly reject: readonly string[];
  /** Admitted, and to them the export is read-only. */
  readonly readOnly: readonly string[];
}

/** `Acl.decide`: no answer at all. */
export const ACL_REFUSED = 0;
/** Answered as a read-only export would. */
export const ACL_READS = 1;
export const ACL_WRITES = 2;

/** Initiators of which the decision is remembered: a long list is not gone through for each frame. */
const REMEMBERED = 64;

/** Decides once a frame, without allocating. */
export class Acl {
  /** Patterns, the longest first; of each its bytes, how many they are, and what it says. */
  readonly #bytes: Uint8Array;
  readonly #lengths: Uint8Array;
  readonly #verdicts: Uint8Array;
  readonly #otherwise: number;
  /** Nobody is named. */
  readonly #open: boolean;
  readonly #rememberedHigh = new Int32Array(REMEMBERED).fill(NONE);
  readonly #rememberedLow = new Int32Array(REMEMBERED);
  readonly #rememberedVerdicts = new Uint8Array(REMEMBERED);

  constructor(config: AclConfig | undefined) {
    const { accept = [], reject = [], readOnly = [] } = config ?? {};
    const patterns = [
      ...reject.map((digits) => ({ digits, verdict: ACL_REFUSED })),
      ...readOnly.map((digits) => ({ digits, verdict: ACL_READS })),
      ...accept.map((digits) => ({ digits, verdict: ACL_WRITES })),
    ];
    // Stable: of equal lengths the stricter stays first.
    patterns.sort((one, other) => other.digits.length - one.digits.length);
    this.#bytes = new Uint8Array(patterns.length * MAC_BYTES);
    this.#lengths = new Uint8Array(patterns.length);
    this.#verdicts = Uint8Array.from(patterns, ({ verdict }) => verdict);
    this.#open = patterns.length === 0;
    this.#otherwise = accept.length > 0 ? ACL_REFUSED : ACL_WRITES;
    for (const [i, { digits }] of patterns.entries()) {
      this.#lengths[i] = digits.length / 2;
      for (let byte = 0; byte < digits.length / 2; byte++) {
        this.#bytes[i * MAC_BYTES + byte] = parseInt(digits.slice(2 * byte, 2 * byte + 2), 16);
      }
    }
  }

  /** What the address at `at` may do: an ACL constant. */
  decide(view: Uint8Array, at: number): number {
    if (this.#open) return ACL_WRITES;
    const high = view[at]! << 8 | view[at + 1]!;
    const low = view[at + 2]! << 24 | view[at + 3]! << 16 | view[at + 4]! << 8 | view[at + 5]!;
    const entry = (view[at + 4]! ^ view[at + 5]!) % REMEMBERED;
    if (this.#rememberedLow[entry] === low && this.#rememberedHigh[entry] === high) {
      return this.#rememberedVerdicts[entry]!;
    }
    const verdict = this.#look(view, at);
    this.#rememberedHigh[entry] = high;
    this.#rememberedLow[entry] = low;
    this.#rememberedVerdicts[entry] = verdict;
    return verdict;
  }

  #look(view: Uint8Array, at: number): number {
    for (let i = 0; i < this.#lengths.length; i++) {
      const length = this.#lengths[i]!;
      let same = 0;
      while (same < length && this.#bytes[i * MAC_BYTES + same] === view[at + same]) same++;
      if (same === length) return this.#verdicts[i]!;
    }
    return this.#otherwise;
  }
}
