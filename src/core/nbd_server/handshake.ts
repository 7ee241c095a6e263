// The server's half of NBD's fixed newstyle handshake, for one client: bytes come in, answers go
// out, and in the end the client is in transmission, gone, or refused.
//
// Whatever a client sends is answered or ends the handshake; nothing is kept of it but three flags.

import {
  NBD_CLIENT_FLAGS_BYTES,
  NBD_CONTEXT_ALLOCATION,
  NBD_EXPORT_NAME_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_FLAG_SEND_DF,
  NBD_INFO_BLOCK_SIZE_BYTES,
  NBD_INFO_EXPORT,
  NBD_INFO_NAME,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_OPTION_HEADER_BYTES,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
  NBD_STRING_BYTES_MAX,
  readNbdString,
  readOption,
  writeBlockSizes,
  writeExport,
  writeGreeting,
  writeNbdString,
  writeOptionReply,
} from "../../wire/nbd.ts";
import { readUint16Be, readUint32Be, writeUint16Be, writeUint32Be } from "../../wire/endian.ts";
import type { NbdExport } from "./export.ts";

export const HANDSHAKE_GOING = 0;
/** The next bytes are requests. */
export const HANDSHAKE_DONE = 1;
/** The client has said that it leaves, and gets the last answer. */
export const HANDSHAKE_ENDED = 2;
/** The client does not speak the protocol, or wants what cannot be refused in words. */
export const HANDSHAKE_BROKEN = 3;

/** Data of one option; what has more is skipped and refused. */
const OPTION_BYTES_MAX = 8192;
/** The longest message that `receive` has to be given as a whole. */
export const HANDSHAKE_INPUT_BYTES = NBD_OPTION_HEADER_BYTES + OPTION_BYTES_MAX;
/** The most that `receive` writes in one call: three pieces of information, one a name. */
export const HANDSHAKE_OUTPUT_BYTES = NBD_STRING_BYTES_MAX + 512;
/** The number that replies about base:allocation carry. */
export const ALLOCATION_ID = 1;
/** What a client may not ask for more often in one handshake. */
const OPTIONS_MAX = 64;

const allocation = new TextEncoder().encode(NBD_CONTEXT_ALLOCATION);
const allocationNamespace = allocation.subarray(0, allocation.indexOf(0x3a) + 1);

/** One handshake. */
export class NbdServerHandshake {
  /** A HANDSHAKE constant. */
  state = HANDSHAKE_GOING;
  /** Bytes that the last `receive` wrote. */
  written = 0;
  /** The client reads structured replies. */
  structured = false;
  /** The client may ask for block status. */
  blockStatus = false;
  readonly #disk: NbdExport;
  readonly #name: Uint8Array;
  #clientFlags: number | undefined;
  #options = 0;
  #skip = 0;
  #skipped = 0;
  /** For which export block status was agreed on. */
  #contextName: Uint8Array | undefined;
  #output: Uint8Array = new Uint8Array(0);
  #at = 0;

  /** @param name The export's; it is also found under the empty name. */
  constructor(disk: NbdExport, name: Uint8Array) {
    this.#disk = disk;
    this.#name = name;
  }

  /** Writes what the server says first; returns the bytes. */
  greet(output: Uint8Array, at: number): number {
    return writeGreeting(output, at, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES) - at;
  }

  /**
   * Takes the next message, or a part of one that is to be skipped.
   *
   * @param at,end Where what was received stands in `input`.
   * @param output Gets the answers, of at most HANDSHAKE_OUTPUT_BYTES, at `outputAt`.
   * @returns Bytes taken; 0 when there must be more of them first, or the handshake is over.
   */
  receive(
    input: Uint8Array,
    at: number,
    end: number,
    output: Uint8Array,
    outputAt: number,
  ): number {
    this.written = 0;
    if (this.state !== HANDSHAKE_GOING) return 0;
    this.#output = output;
    this.#at = outputAt;
    const taken = this.#take(input, at, end);
    this.written = this.#at - outputAt;
    return taken;
  }

  #take(input: Uint8Array, at: number, end: number): number {
    if (this.#clientFlags === undefined) {
      if (end - at < NBD_CLIENT_FLAGS_BYTES) return 0;
      const flags = readUint32Be(input, at);
      if ((flags & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) !== 0) {
        this.state = HANDSHAKE_BROKEN;
      }
      this.#clientFlags = flags;
      return NBD_CLIENT_FLAGS_BYTES;
    }
    if (this.#skip > 0) {
      const bytes = Math.min(this.#skip, end - at);
      this.#skip -= bytes;
      if (this.#skip === 0) this.#reply(this.#skipped, NBD_REP_ERR_TOO_BIG);
      return bytes;
    }
    if (end - at < NBD_OPTION_HEADER_BYTES) return 0;
    const header = readOption(input, at);
    if (header === undefined) {
      this.state = HANDSHAKE_BROKEN;
      return 0;
    }
    const { option, bytes } = header;
    if (bytes > OPTION_BYTES_MAX) {
      // There is no way to refuse this option but to leave.
      if (option === NBD_OPT_EXPORT_NAME) this.state = HANDSHAKE_BROKEN;
      this.#skip = bytes;
      this.#skipped = option;
      this.#countOption();
      return NBD_OPTION_HEADER_BYTES;
    }
    const dataAt = at + NBD_OPTION_HEADER_BYTES;
    if (end - dataAt < bytes) return 0;
    this.#countOption();
    if (this.state === HANDSHAKE_GOING) this.#answer(option, input, dataAt, dataAt + bytes);
    return NBD_OPTION_HEADER_BYTES + bytes;
  }

  #countOption(): void {
    if (++this.#options > OPTIONS_MAX) this.state = HANDSHAKE_BROKEN;
  }

  #answer(option: number, input: Uint8Array, at: number, end: number): void {
    switch (option) {
      case NBD_OPT_EXPORT_NAME:
        this.#exportName(input.subarray(at, end));
        break;
      case NBD_OPT_ABORT:
        this.#reply(option, NBD_REP_ACK);
        this.state = HANDSHAKE_ENDED;
        break;
      case NBD_OPT_LIST:
        if (at !== end) {
          this.#reply(option, NBD_REP_ERR_INVALID);
          break;
        }
        this.#replyWith(option, NBD_REP_SERVER, 4 + this.#name.length);
        this.#at = writeNbdString(this.#output, this.#at, this.#name);
        this.#reply(option, NBD_REP_ACK);
        break;
      case NBD_OPT_INFO:
      case NBD_OPT_GO:
        this.#info(option, input, at, end);
        break;
      case NBD_OPT_STRUCTURED_REPLY:
        if (at === end) this.structured = true;
        this.#reply(option, at === end ? NBD_REP_ACK : NBD_REP_ERR_INVALID);
        break;
      case NBD_OPT_LIST_META_CONTEXT:
      case NBD_OPT_SET_META_CONTEXT:
        this.#metaContext(option, input, at, end);
        break;
      default:
        this.#reply(option, NBD_REP_ERR_UNSUP);
    }
  }

  /** The old way into transmission: no answer but the export itself. */
  #exportName(name: Uint8Array): void {
    if (!this.#isOurs(name)) {
      this.state = HANDSHAKE_BROKEN;
      return;
    }
    this.#at = writeExport(this.#output, this.#at, this.#disk.bytes, this.#flags());
    if ((this.#clientFlags! & NBD_FLAG_NO_ZEROES) === 0) {
      this.#output.fill(0, this.#at, this.#at + NBD_EXPORT_NAME_ZEROES);
      this.#at += NBD_EXPORT_NAME_ZEROES;
    }
    this.#enter(name);
  }

  #info(option: number, input: Uint8Array, at: number, end: number): void {
    const name = readNbdString(input, at, end);
    // The name, then a count of what the client wants to know, and those.
    const countAt = at + 4 + (name?.length ?? 0);
    const valid = name !== undefined && countAt + 2 <= end &&
      countAt + 2 + 2 * readUint16Be(input, countAt) === end;
    if (!valid) {
      this.#reply(option, NBD_REP_ERR_INVALID);
      return;
    }
    if (!this.#isOurs(name)) {
      this.#reply(option, NBD_REP_ERR_UNKNOWN);
      return;
    }
    this.#replyWith(option, NBD_REP_INFO, 12);
    writeUint16Be(this.#output, this.#at, NBD_INFO_EXPORT);
    this.#at = writeExport(this.#output, this.#at + 2, this.#disk.bytes, this.#flags());
    this.#replyWith(option, NBD_REP_INFO, NBD_INFO_BLOCK_SIZE_BYTES);
    this.#at = writeBlockSizes(this.#output, this.#at, this.#disk.sizes);
    for (let wantedAt = countAt + 2; wantedAt < end; wantedAt += 2) {
      if (readUint16Be(input, wantedAt) !== NBD_INFO_NAME) continue;
      this.#replyWith(option, NBD_REP_INFO, 2 + this.#name.length);
      writeUint16Be(this.#output, this.#at, NBD_INFO_NAME);
      this.#output.set(this.#name, this.#at + 2);
      this.#at += 2 + this.#name.length;
      break;
    }
    this.#reply(option, NBD_REP_ACK);
    if (option === NBD_OPT_GO) this.#enter(name);
  }

  /** Which metadata there are, or which the client wants: of ours, base:allocation or none. */
  #metaContext(option: number, input: Uint8Array, at: number, end: number): void {
    const sets = option === NBD_OPT_SET_META_CONTEXT;
    if (sets) this.#contextName = undefined;
    const name = readNbdString(input, at, end);
    let queryAt = at + 4 + (name?.length ?? 0);
    if (!this.structured || name === undefined || queryAt + 4 > end) {
      this.#reply(option, NBD_REP_ERR_INVALID);
      return;
    }
    let queries = readUint32Be(input, queryAt);
    queryAt += 4;
    // Without a query, all are listed, and none is set.
    let matches = queries === 0 && !sets;
    for (; queries > 0; queries--) {
      const query = readNbdString(input, queryAt, end);
      if (query === undefined) {
        this.#reply(option, NBD_REP_ERR_INVALID);
        return;
      }
      queryAt += 4 + query.length;
      matches ||= same(query, allocation) || (!sets && same(query, allocationNamespace));
    }
    if (queryAt !== end) {
      this.#reply(option, NBD_REP_ERR_INVALID);
      return;
    }
    if (!this.#isOurs(name)) {
      this.#reply(option, NBD_REP_ERR_UNKNOWN);
      return;
    }
    if (matches) {
      this.#replyWith(option, NBD_REP_META_CONTEXT, 4 + allocation.length);
      writeUint32Be(this.#output, this.#at, sets ? ALLOCATION_ID : 0);
      this.#output.set(allocation, this.#at + 4);
      this.#at += 4 + allocation.length;
      if (sets) this.#contextName = name.slice();
    }
    this.#reply(option, NBD_REP_ACK);
  }

  #enter(name: Uint8Array): void {
    // What was agreed on holds for the export it was agreed on for.
    this.blockStatus = this.structured && this.#contextName !== undefined &&
      same(this.#contextName, name);
    this.state = HANDSHAKE_DONE;
  }

  #flags(): number {
    return this.#disk.flags | (this.structured ? NBD_FLAG_SEND_DF : 0);
  }

  #isOurs(name: Uint8Array): boolean {
    return name.length === 0 || same(name, this.#name);
  }

  #reply(option: number, type: number): void {
    this.#replyWith(option, type, 0);
  }

  #replyWith(option: number, type: number, bytes: number): void {
    this.#at = writeOptionReply(this.#output, this.#at, option, type, bytes);
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
