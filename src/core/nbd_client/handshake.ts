// The beginning of an NBD connection, seen from the client: fixed newstyle with NBD_OPT_GO, and
// NBD_OPT_EXPORT_NAME where the server does not know that (NBD protocol, 'Handshake phase'). Pure:
// what was received goes into `receive`, what is to be sent stands in `out`. Structured replies are
// not asked for: simple ones are all that reads of whole sectors need.

import { readUint16Be, writeUint16Be, writeUint32Be } from "../../wire/endian.ts";
import {
  NBD_CLIENT_FLAGS_BYTES,
  NBD_EXPORT_NAME_REPLY_BYTES,
  NBD_EXPORT_NAME_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_GREETING_BYTES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_BLOCK_SIZE_BYTES,
  NBD_INFO_EXPORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPTION_HEADER_BYTES,
  NBD_OPTION_REPLY_HEADER_BYTES,
  NBD_REP_ACK,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_STRING_BYTES_MAX,
  readBlockSizes,
  readExport,
  readGreeting,
  readOptionReply,
  writeNbdString,
  writeOption,
} from "../../wire/nbd.ts";
import type { BlockSizes } from "../../wire/nbd.ts";
import { SECTOR_BYTES } from "../../wire/ata.ts";

/** What a server says of an export. */
export interface NbdFacts {
  readonly bytes: number;
  /** Transmission flags. */
  readonly flags: number;
  readonly blockPreferred: number;
  /** Most bytes of one read or write, in whole sectors. */
  readonly blockMax: number;
}

/** The longest data of an option reply that are understood: a name, and a few numbers. */
const OPTION_DATA_BYTES_MAX = 2 * NBD_STRING_BYTES_MAX;
/** The shortest buffer to receive in. */
export const HANDSHAKE_RECEIVE_BYTES = NBD_OPTION_REPLY_HEADER_BYTES + OPTION_DATA_BYTES_MAX;
/** The longest thing that `out` ever is. */
export const HANDSHAKE_SEND_BYTES = NBD_STRING_BYTES_MAX + 64;
/** Option data longer than this are no description of anything. */
const OPTION_DATA_SKIPPED_MAX = 1 << 20;
/** Replies to one option before a server is taken for mad. */
const REPLIES_MAX = 64;
// 'Size constraints': what holds where a server does not say.
const BLOCKS_DEFAULT: BlockSizes = { min: 1, preferred: 4096, max: 32 * 2 ** 20 };
const TEXT_CHARACTERS_MAX = 200;

const GREETING = 0;
const GOING = 1;
const NAMED = 2;
const ENDED = 3;

/** One handshake. */
export class NbdClientHandshake {
  /** What is to be sent, once it is there: the caller takes it and sets `out` to nothing. */
  out: Uint8Array = NOTHING;
  /** What the server says, once it has let us in. */
  facts: NbdFacts | undefined;
  /** Why there is no way in: a clause whose subject is the server. */
  refusal: string | undefined;
  readonly #name: Uint8Array;
  #state = GREETING;
  #serverFlags = 0;
  #replies = 0;
  /** Bytes of an overlong reply that are still to come. */
  #skip = 0;
  #export: { readonly bytes: number; readonly flags: number } | undefined;
  #blocks = BLOCKS_DEFAULT;

  constructor(exportName: string) {
    this.#name = new TextEncoder().encode(exportName);
  }

  /**
   * Takes bytes that have been received, from `at` to before `end`.
   *
   * @returns How many were taken; what is left waits for more.
   */
  receive(view: Uint8Array, at: number, end: number): number {
    let taken = 0;
    while (this.#state !== ENDED) {
      const count = this.#take(view, at + taken, end - at - taken);
      if (count === 0) break;
      taken += count;
    }
    return taken;
  }

  #take(view: Uint8Array, at: number, available: number): number {
    if (this.#skip > 0) {
      const skipped = Math.min(this.#skip, available);
      this.#skip -= skipped;
      return skipped;
    }
    switch (this.#state) {
      case GREETING:
        return available < NBD_GREETING_BYTES ? 0 : this.#greeted(view, at);
      case GOING:
        return this.#takeOptionReply(view, at, available);
      default:
        return this.#takeNamedReply(view, at, available);
    }
  }

  #greeted(view: Uint8Array, at: number): number {
    const flags = readGreeting(view, at);
    if (flags === undefined) return this.#refuse("speaks no NBD, or only its old style");
    this.#serverFlags = flags & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    if ((flags & NBD_FLAG_FIXED_NEWSTYLE) === 0) {
      this.#ask(NBD_OPT_EXPORT_NAME, NBD_CLIENT_FLAGS_BYTES);
      return NBD_GREETING_BYTES;
    }
    this.#ask(NBD_OPT_GO, NBD_CLIENT_FLAGS_BYTES);
    return NBD_GREETING_BYTES;
  }

  /**
   * Puts an option into `out`, behind the client's flags if it is the first one.
   *
   * @param before Bytes of those flags, or 0.
   */
  #ask(option: number, before: number): void {
    const name = this.#name.length;
    const bytes = option === NBD_OPT_GO ? 4 + name + 4 : name;
    const out = new Uint8Array(before + NBD_OPTION_HEADER_BYTES + bytes);
    // The client's flags are the server's: each of them is agreed to.
    if (before > 0) writeUint32Be(out, 0, this.#serverFlags);
    const data = writeOption(out, before, option, bytes);
    if (option === NBD_OPT_GO) {
      const wishes = writeNbdString(out, data, this.#name);
      writeUint16Be(out, wishes, 1);
      writeUint16Be(out, wishes + 2, NBD_INFO_BLOCK_SIZE);
      this.#state = GOING;
    } else {
      out.set(this.#name, data);
      this.#state = NAMED;
    }
    this.out = out;
  }

  #takeOptionReply(view: Uint8Array, at: number, available: number): number {
    if (available < NBD_OPTION_REPLY_HEADER_BYTES) return 0;
    const reply = readOptionReply(view, at);
    if (
      reply === undefined || reply.option !== NBD_OPT_GO ||
      reply.bytes > OPTION_DATA_SKIPPED_MAX || ++this.#replies > REPLIES_MAX
    ) {
      return this.#refuse("answers with what is no NBD");
    }
    const { type, bytes } = reply;
    if (bytes > OPTION_DATA_BYTES_MAX) {
      this.#skip = bytes;
      return NBD_OPTION_REPLY_HEADER_BYTES;
    }
    const all = NBD_OPTION_REPLY_HEADER_BYTES + bytes;
    if (available < all) {
      this.#replies--;
      return 0;
    }
    const data = at + NBD_OPTION_REPLY_HEADER_BYTES;
    if (type === NBD_REP_INFO) this.#takeInfo(view, data, bytes);
    else if (type === NBD_REP_ACK) this.#letIn();
    else if (type === NBD_REP_ERR_UNSUP) this.#ask(NBD_OPT_EXPORT_NAME, 0);
    else this.#refuse(refusalOf(type, textOf(view, data, bytes)));
    return all;
  }

  #takeInfo(view: Uint8Array, at: number, bytes: number): void {
    const type = bytes < 2 ? -1 : readUint16Be(view, at);
    if (type === NBD_INFO_EXPORT && bytes >= 2 + NBD_EXPORT_NAME_REPLY_BYTES) {
      this.#export = readExport(view, at + 2);
    } else if (type === NBD_INFO_BLOCK_SIZE && bytes >= NBD_INFO_BLOCK_SIZE_BYTES) {
      this.#blocks = readBlockSizes(view, at + 2);
    }
  }

  #takeNamedReply(view: Uint8Array, at: number, available: number): number {
    const zeroes = (this.#serverFlags & NBD_FLAG_NO_ZEROES) !== 0 ? 0 : NBD_EXPORT_NAME_ZEROES;
    if (available < NBD_EXPORT_NAME_REPLY_BYTES + zeroes) return 0;
    this.#export = readExport(view, at);
    this.#letIn();
    return NBD_EXPORT_NAME_REPLY_BYTES + zeroes;
  }

  #letIn(): void {
    const { min, preferred, max } = this.#blocks;
    if (this.#export === undefined) {
      this.#refuse("does not say how large the export is");
    } else if (this.#export.bytes > Number.MAX_SAFE_INTEGER) {
      this.#refuse("has an export of more than 8 PiB, which is not understood here");
    } else if (min > SECTOR_BYTES) {
      this.#refuse(
        `takes blocks of ${min} bytes and no less, but AoE has sectors of 512: ` +
          `put nbdkit's blocksize filter in front of it`,
      );
    } else if (max < SECTOR_BYTES) {
      this.#refuse(`takes at most ${max} bytes at a time, which is no whole sector`);
    } else {
      this.#state = ENDED;
      const blockMax = max - max % SECTOR_BYTES;
      this.facts = { ...this.#export, blockPreferred: preferred, blockMax };
    }
  }

  #refuse(clause: string): number {
    this.#state = ENDED;
    this.refusal = clause;
    return 0;
  }
}

const NOTHING = new Uint8Array(0);

function refusalOf(type: number, text: string): string {
  const words = text === "" ? "" : `: "${text}"`;
  switch (type) {
    case NBD_REP_ERR_UNKNOWN:
      return `has no such export${words}`;
    case NBD_REP_ERR_TLS_REQD:
      return `asks for TLS, which is not spoken here${words}`;
    case NBD_REP_ERR_POLICY:
      return `does not let us in${words}`;
    default:
      return `refuses (${type.toString(16)})${words}`;
  }
}

/** What a server says in its own words, made harmless for a terminal. */
function textOf(view: Uint8Array, at: number, bytes: number): string {
  const text = new TextDecoder().decode(view.subarray(at, at + bytes));
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x1f\x7f-\x9f]+/g, " ").trim().slice(0, TEXT_CHARACTERS_MAX);
}
