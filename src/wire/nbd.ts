// The Network Block Device protocol, both sides: the fixed newstyle handshake, then requests and
// their replies, simple or structured. Everything is big-endian; names of sections are those of
// the specification, doc/proto.md of the NetworkBlockDevice project.
//
// Functions write at an offset and return the offset behind what they wrote; readers are given
// bytes whose length was checked, and return `undefined` for what contradicts itself.

import {
  readUint16Be,
  readUint32Be,
  readUint64Be,
  writeUint16Be,
  writeUint32Be,
  writeUint64Be,
} from "./endian.ts";

// Handshake phase. Magics are written as halves: 64 bits do not fit a Number.
const MAGIC_NBD_HIGH = 0x4e42444d;
const MAGIC_NBD_LOW = 0x41474943;
const MAGIC_OPTION_HIGH = 0x49484156;
const MAGIC_OPTION_LOW = 0x454f5054;
const MAGIC_OPTION_REPLY_HIGH = 0x0003e889;
const MAGIC_OPTION_REPLY_LOW = 0x045565a9;

/** What a server says first: two magics and its handshake flags. */
export const NBD_GREETING_BYTES = 18;
/** What a client says first: its handshake flags. */
export const NBD_CLIENT_FLAGS_BYTES = 4;
export const NBD_OPTION_HEADER_BYTES = 16;
export const NBD_OPTION_REPLY_HEADER_BYTES = 20;
/** Names and queries: at most so many bytes of UTF-8. */
export const NBD_STRING_BYTES_MAX = 4096;

/** Handshake flags, of both sides. */
export const NBD_FLAG_FIXED_NEWSTYLE = 1;
/** After NBD_OPT_EXPORT_NAME the server leaves out 124 zeros. */
export const NBD_FLAG_NO_ZEROES = 2;
/** The zeros behind the answer to NBD_OPT_EXPORT_NAME without that flag. */
export const NBD_EXPORT_NAME_ZEROES = 124;
/** The answer to NBD_OPT_EXPORT_NAME without those zeros: size and transmission flags. */
export const NBD_EXPORT_NAME_REPLY_BYTES = 10;

// Option types
export const NBD_OPT_EXPORT_NAME = 1;
export const NBD_OPT_ABORT = 2;
export const NBD_OPT_LIST = 3;
export const NBD_OPT_STARTTLS = 5;
export const NBD_OPT_INFO = 6;
export const NBD_OPT_GO = 7;
export const NBD_OPT_STRUCTURED_REPLY = 8;
export const NBD_OPT_LIST_META_CONTEXT = 9;
export const NBD_OPT_SET_META_CONTEXT = 10;

// Option reply types
export const NBD_REP_ACK = 1;
export const NBD_REP_SERVER = 2;
export const NBD_REP_INFO = 3;
export const NBD_REP_META_CONTEXT = 4;
/** Set in every reply type that refuses. */
export const NBD_REP_ERROR_BIT = 0x8000_0000;
export const NBD_REP_ERR_UNSUP = 0x8000_0001;
export const NBD_REP_ERR_POLICY = 0x8000_0002;
export const NBD_REP_ERR_INVALID = 0x8000_0003;
export const NBD_REP_ERR_PLATFORM = 0x8000_0004;
export const NBD_REP_ERR_TLS_REQD = 0x8000_0005;
export const NBD_REP_ERR_UNKNOWN = 0x8000_0006;
export const NBD_REP_ERR_SHUTDOWN = 0x8000_0007;
export const NBD_REP_ERR_BLOCK_SIZE_REQD = 0x8000_0008;
export const NBD_REP_ERR_TOO_BIG = 0x8000_0009;

// Information types of NBD_OPT_INFO and NBD_OPT_GO
export const NBD_INFO_EXPORT = 0;
export const NBD_INFO_NAME = 1;
export const NBD_INFO_DESCRIPTION = 2;
export const NBD_INFO_BLOCK_SIZE = 3;

// Transmission flags
export const NBD_FLAG_HAS_FLAGS = 1;
export const NBD_FLAG_READ_ONLY = 2;
export const NBD_FLAG_SEND_FLUSH = 4;
export const NBD_FLAG_SEND_FUA = 8;
export const NBD_FLAG_ROTATIONAL = 16;
export const NBD_FLAG_SEND_TRIM = 32;
export const NBD_FLAG_SEND_WRITE_ZEROES = 64;
export const NBD_FLAG_SEND_DF = 128;
export const NBD_FLAG_CAN_MULTI_CONN = 256;
export const NBD_FLAG_SEND_RESIZE = 512;
export const NBD_FLAG_SEND_CACHE = 1024;
export const NBD_FLAG_SEND_FAST_ZERO = 2048;

// Transmission phase
export const NBD_REQUEST_BYTES = 28;
export const NBD_SIMPLE_REPLY_BYTES = 16;
export const NBD_CHUNK_HEADER_BYTES = 20;
export const NBD_REQUEST_MAGIC = 0x25609513;
export const NBD_SIMPLE_REPLY_MAGIC = 0x67446698;
export const NBD_CHUNK_MAGIC = 0x668e33ef;
/** Bytes of the number that ties a reply to its request, opaque to the server. */
export const NBD_COOKIE_BYTES = 8;

// Offsets of the fields of a request; the magic stands first.
export const REQUEST_FLAGS = 4;
export const REQUEST_COMMAND = 6;
export const REQUEST_COOKIE = 8;
export const REQUEST_OFFSET = 16;
export const REQUEST_LENGTH = 24;
// Of a simple reply.
export const REPLY_ERROR = 4;
export const REPLY_COOKIE = 8;
// Of the header of a chunk of a structured reply; its payload follows.
export const CHUNK_FLAGS = 4;
export const CHUNK_TYPE = 6;
export const CHUNK_COOKIE = 8;
export const CHUNK_LENGTH = 16;

// Request types
export const NBD_CMD_READ = 0;
export const NBD_CMD_WRITE = 1;
/** Disconnect; it has no reply. */
export const NBD_CMD_DISC = 2;
export const NBD_CMD_FLUSH = 3;
export const NBD_CMD_TRIM = 4;
export const NBD_CMD_CACHE = 5;
export const NBD_CMD_WRITE_ZEROES = 6;
export const NBD_CMD_BLOCK_STATUS = 7;

// Command flags
export const NBD_CMD_FLAG_FUA = 1;
export const NBD_CMD_FLAG_NO_HOLE = 2;
export const NBD_CMD_FLAG_DF = 4;
export const NBD_CMD_FLAG_REQ_ONE = 8;
export const NBD_CMD_FLAG_FAST_ZERO = 16;

// Structured replies
export const NBD_REPLY_FLAG_DONE = 1;
export const NBD_REPLY_TYPE_NONE = 0;
export const NBD_REPLY_TYPE_OFFSET_DATA = 1;
export const NBD_REPLY_TYPE_OFFSET_HOLE = 2;
export const NBD_REPLY_TYPE_BLOCK_STATUS = 5;
/** Set in every chunk type that tells of an error: a u32 error, a u16 length, and words. */
export const NBD_REPLY_TYPE_ERROR_BIT = 0x8000;
export const NBD_REPLY_TYPE_ERROR = 0x8001;
export const NBD_REPLY_TYPE_ERROR_OFFSET = 0x8002;
/** An offset stands before the data of NBD_REPLY_TYPE_OFFSET_DATA. */
export const NBD_OFFSET_BYTES = 8;
/** Payload of NBD_REPLY_TYPE_OFFSET_HOLE: offset and length. */
export const NBD_HOLE_BYTES = 12;

// Errors
export const NBD_EPERM = 1;
export const NBD_EIO = 5;
export const NBD_ENOMEM = 12;
export const NBD_EINVAL = 22;
export const NBD_ENOSPC = 28;
export const NBD_EOVERFLOW = 75;
export const NBD_ENOTSUP = 95;
export const NBD_ESHUTDOWN = 108;

// Metadata context base:allocation
export const NBD_CONTEXT_ALLOCATION = "base:allocation";
export const NBD_STATE_HOLE = 1;
export const NBD_STATE_ZERO = 2;

/** Writes what a server says first. */
export function writeGreeting(view: Uint8Array, at: number, handshakeFlags: number): number {
  writeUint32Be(view, at, MAGIC_NBD_HIGH);
  writeUint32Be(view, at + 4, MAGIC_NBD_LOW);
  writeUint32Be(view, at + 8, MAGIC_OPTION_HIGH);
  writeUint32Be(view, at + 12, MAGIC_OPTION_LOW);
  writeUint16Be(view, at + 16, handshakeFlags);
  return at + NBD_GREETING_BYTES;
}

/** The server's handshake flags; undefined when it is no newstyle NBD server that speaks. */
export function readGreeting(view: Uint8Array, at: number): number | undefined {
  return readUint32Be(view, at) === MAGIC_NBD_HIGH &&
      readUint32Be(view, at + 4) === MAGIC_NBD_LOW && isOption(view, at + 8)
    ? readUint16Be(view, at + 16)
    : undefined;
}

/** Writes the header of an option; its data, of `bytes` bytes, follow. */
export function writeOption(view: Uint8Array, at: number, option: number, bytes: number): number {
  writeUint32Be(view, at, MAGIC_OPTION_HIGH);
  writeUint32Be(view, at + 4, MAGIC_OPTION_LOW);
  writeUint32Be(view, at + 8, option);
  writeUint32Be(view, at + 12, bytes);
  return at + NBD_OPTION_HEADER_BYTES;
}

/** The header of an option. */
export interface OptionHeader {
  readonly option: number;
  /** Bytes of data that follow. */
  readonly bytes: number;
}

/** Reads the header of an option; undefined when its magic is wrong. */
export function readOption(view: Uint8Array, at: number): OptionHeader | undefined {
  if (!isOption(view, at)) return undefined;
  return { option: readUint32Be(view, at + 8), bytes: readUint32Be(view, at + 12) };
}

/** Writes the header of a reply to an option; `bytes` bytes of data follow. */
export function writeOptionReply(
  view: Uint8Array,
  at: number,
  option: number,
  type: number,
  bytes: number,
): number {
  writeUint32Be(view, at, MAGIC_OPTION_REPLY_HIGH);
  writeUint32Be(view, at + 4, MAGIC_OPTION_REPLY_LOW);
  writeUint32Be(view, at + 8, option);
  writeUint32Be(view, at + 12, type);
  writeUint32Be(view, at + 16, bytes);
  return at + NBD_OPTION_REPLY_HEADER_BYTES;
}

/** The header of a reply to an option. */
export interface OptionReplyHeader extends OptionHeader {
  /** An NBD_REP constant. */
  readonly type: number;
}

/** Reads the header of a reply to an option; undefined when its magic is wrong. */
export function readOptionReply(view: Uint8Array, at: number): OptionReplyHeader | undefined {
  return readUint32Be(view, at) === MAGIC_OPTION_REPLY_HIGH &&
      readUint32Be(view, at + 4) === MAGIC_OPTION_REPLY_LOW
    ? {
      option: readUint32Be(view, at + 8),
      type: readUint32Be(view, at + 12),
      bytes: readUint32Be(view, at + 16),
    }
    : undefined;
}

/** Writes a string with its length in 32 bits before it. */
export function writeNbdString(view: Uint8Array, at: number, text: Uint8Array): number {
  writeUint32Be(view, at, text.length);
  view.set(text, at + 4);
  return at + 4 + text.length;
}

/** Reads such a string, which ends before `end`; undefined when it does not fit or is too long. */
export function readNbdString(view: Uint8Array, at: number, end: number): Uint8Array | undefined {
  if (at + 4 > end) return undefined;
  const bytes = readUint32Be(view, at);
  if (bytes > NBD_STRING_BYTES_MAX || at + 4 + bytes > end) return undefined;
  return view.subarray(at + 4, at + 4 + bytes);
}

/** Writes the size and the transmission flags, the answer to NBD_OPT_EXPORT_NAME. */
export function writeExport(view: Uint8Array, at: number, bytes: number, flags: number): number {
  writeUint64Be(view, at, bytes);
  writeUint16Be(view, at + 8, flags);
  return at + NBD_EXPORT_NAME_REPLY_BYTES;
}

/** Reads the same; behind the type of an NBD_INFO_EXPORT stands the same, too. */
export function readExport(view: Uint8Array, at: number): { bytes: number; flags: number } {
  return { bytes: readUint64Be(view, at), flags: readUint16Be(view, at + 8) };
}

/** Limits of requests, in bytes. */
export interface BlockSizes {
  readonly min: number;
  readonly preferred: number;
  readonly max: number;
}

/** Bytes of the data of an NBD_INFO_BLOCK_SIZE, with its type. */
export const NBD_INFO_BLOCK_SIZE_BYTES = 14;

/** Writes the data of an NBD_INFO_BLOCK_SIZE, its type first. */
export function writeBlockSizes(view: Uint8Array, at: number, sizes: BlockSizes): number {
  writeUint16Be(view, at, NBD_INFO_BLOCK_SIZE);
  writeUint32Be(view, at + 2, sizes.min);
  writeUint32Be(view, at + 6, sizes.preferred);
  writeUint32Be(view, at + 10, sizes.max);
  return at + NBD_INFO_BLOCK_SIZE_BYTES;
}

/** Reads them, behind the type. */
export function readBlockSizes(view: Uint8Array, at: number): BlockSizes {
  return {
    min: readUint32Be(view, at),
    preferred: readUint32Be(view, at + 4),
    max: readUint32Be(view, at + 8),
  };
}

/**
 * Writes a request; the data of a write follow.
 *
 * @param cookie Below 2^53, told apart from those of all requests in flight.
 */
export function writeRequest(
  view: Uint8Array,
  at: number,
  command: number,
  flags: number,
  cookie: number,
  offset: number,
  bytes: number,
): number {
  writeUint32Be(view, at, NBD_REQUEST_MAGIC);
  writeUint16Be(view, at + REQUEST_FLAGS, flags);
  writeUint16Be(view, at + REQUEST_COMMAND, command);
  writeUint64Be(view, at + REQUEST_COOKIE, cookie);
  writeUint64Be(view, at + REQUEST_OFFSET, offset);
  writeUint32Be(view, at + REQUEST_LENGTH, bytes);
  return at + NBD_REQUEST_BYTES;
}

/** Writes a simple reply, all but its cookie; the data of a read follow. */
export function writeSimpleReply(view: Uint8Array, at: number, error: number): number {
  writeUint32Be(view, at, NBD_SIMPLE_REPLY_MAGIC);
  writeUint32Be(view, at + REPLY_ERROR, error);
  return at + NBD_SIMPLE_REPLY_BYTES;
}

/** Writes the header of a chunk, all but its cookie; a payload of `bytes` bytes follows. */
export function writeChunk(
  view: Uint8Array,
  at: number,
  flags: number,
  type: number,
  bytes: number,
): number {
  writeUint32Be(view, at, NBD_CHUNK_MAGIC);
  writeUint16Be(view, at + CHUNK_FLAGS, flags);
  writeUint16Be(view, at + CHUNK_TYPE, type);
  writeUint32Be(view, at + CHUNK_LENGTH, bytes);
  return at + NBD_CHUNK_HEADER_BYTES;
}

function isOption(view: Uint8Array, at: number): boolean {
  return readUint32Be(view, at) === MAGIC_OPTION_HIGH &&
    readUint32Be(view, at + 4) === MAGIC_OPTION_LOW;
}
