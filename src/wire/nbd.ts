// The Network Block Device protocol (doc/proto.md of the NBD project): its constants, and bytes ↔
// fields of its messages. All fields are big-endian.

import { readUint16Be, readUint32Be, writeUint16Be, writeUint32Be } from "./endian.ts";

// 'Values'. Magic numbers of 64 bits are given in halves.
const GREETING_MAGIC = [0x4e42444d, 0x41474943] as const;
const OPTION_MAGIC = [0x49484156, 0x454f5054] as const;
const OPTION_REPLY_MAGIC = [0x0003e889, 0x045565a9] as const;
const REQUEST_MAGIC = 0x25609513;
const SIMPLE_REPLY_MAGIC = 0x67446698;

// Handshake flags, and those that the client answers with.
export const NBD_FLAG_FIXED_NEWSTYLE = 1 << 0;
export const NBD_FLAG_NO_ZEROES = 1 << 1;

// Transmission flags.
export const NBD_FLAG_READ_ONLY = 1 << 1;
export const NBD_FLAG_SEND_FLUSH = 1 << 2;
export const NBD_FLAG_SEND_FUA = 1 << 3;
export const NBD_FLAG_ROTATIONAL = 1 << 4;
export const NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6;
export const NBD_FLAG_CAN_MULTI_CONN = 1 << 8;

// Options.
export const NBD_OPT_EXPORT_NAME = 1;
export const NBD_OPT_GO = 7;
export const NBD_REP_ACK = 1;
export const NBD_REP_INFO = 3;
export const NBD_REP_ERR_UNSUP = 0x80000001;
export const NBD_REP_ERR_POLICY = 0x80000002;
export const NBD_REP_ERR_TLS_REQD = 0x80000005;
export const NBD_REP_ERR_UNKNOWN = 0x80000006;
export const NBD_INFO_EXPORT = 0;
export const NBD_INFO_BLOCK_SIZE = 3;

// Commands.
export const NBD_CMD_READ = 0;
export const NBD_CMD_WRITE = 1;
export const NBD_CMD_DISC = 2;
export const NBD_CMD_FLUSH = 3;
export const NBD_CMD_WRITE_ZEROES = 6;
export const NBD_CMD_FLAG_FUA = 1 << 0;

// Lengths of messages, without what follows them.
export const NBD_GREETING_BYTES = 18;
export const NBD_OPTION_BYTES = 16;
export const NBD_OPTION_REPLY_BYTES = 20;
export const NBD_REQUEST_BYTES = 28;
export const NBD_SIMPLE_REPLY_BYTES = 16;

/** The handshake flags of a server's greeting; −1 when it is none of the newstyle handshake. */
export function readNbdGreeting(view: Uint8Array, at: number): number {
  const known = isMagic(view, at, GREETING_MAGIC) && isMagic(view, at + 8, OPTION_MAGIC);
  return known ? readUint16Be(view, at + 16) : -1;
}

/** Writes the header of an option, whose `bytes` of data follow. */
export function writeNbdOption(view: Uint8Array, at: number, option: number, bytes: number): void {
  writeUint32Be(view, at, OPTION_MAGIC[0]);
  writeUint32Be(view, at + 4, OPTION_MAGIC[1]);
  writeUint32Be(view, at + 8, option);
  writeUint32Be(view, at + 12, bytes);
}

/** The reply's type, an NBD_REP constant; −1 when this is no reply to the option. */
export function readNbdOptionReply(view: Uint8Array, at: number, option: number): number {
  const known = isMagic(view, at, OPTION_REPLY_MAGIC) && readUint32Be(view, at + 8) === option;
  return known ? readUint32Be(view, at + 12) : -1;
}

/** Bytes that follow an option reply. */
export function nbdOptionReplyBytes(view: Uint8Array, at: number): number {
  return readUint32Be(view, at + 16);
}

/** Writes the header of a request: `NBD_REQUEST_BYTES`. */
export function writeNbdRequest(
  view: Uint8Array,
  at: number,
  flags: number,
  command: number,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
  length: number,
): void {
  writeUint32Be(view, at, REQUEST_MAGIC);
  writeUint16Be(view, at + 4, flags);
  writeUint16Be(view, at + 6, command);
  writeUint32Be(view, at + 8, cookieHigh);
  writeUint32Be(view, at + 12, cookieLow);
  writeUint32Be(view, at + 16, Math.floor(offset / 0x100000000));
  writeUint32Be(view, at + 20, offset);
  writeUint32Be(view, at + 24, length);
}

/** Whether this begins as a simple reply does. */
export function isNbdSimpleReply(view: Uint8Array, at: number): boolean {
  return readUint32Be(view, at) === SIMPLE_REPLY_MAGIC;
}

/** An unsigned 64-bit integer; what is beyond 2^53 loses its low bits. */
export function readNbdUint64(view: Uint8Array, at: number): number {
  return readUint32Be(view, at) * 0x100000000 + readUint32Be(view, at + 4);
}

function isMagic(view: Uint8Array, at: number, [high, low]: readonly [number, number]): boolean {
  return readUint32Be(view, at) === high && readUint32Be(view, at + 4) === low;
}
