// The kernel's nbd driver, by generic netlink: a block device /dev/nbdN whose requests go into a
// socket. linux/nbd-netlink.h, drivers/block/nbd.c (nbd_genl_connect and its neighbours).
//
// The kernel does what a message asks for within the send: the answer is there behind it.

import { check, errno, SystemError } from "./errno.ts";
import { openLibc } from "./libc.ts";
import { openNetlink } from "./netlink.ts";
import { ENOENT } from "./errno_numbers.ts";

// linux/netlink.h, linux/genetlink.h
const NETLINK_GENERIC = 16;
const NLMSG_HEADER_BYTES = 16;
const GENL_HEADER_BYTES = 4;
const NLM_F_REQUEST_ACK = 0x5;
const NLMSG_ERROR = 2;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;

// linux/nbd-netlink.h
const NBD_CMD_CONNECT = 1;
const NBD_CMD_DISCONNECT = 2;
const NBD_CMD_RECONFIGURE = 3;
const NBD_ATTR_INDEX = 1;
const NBD_ATTR_SIZE_BYTES = 2;
const NBD_ATTR_BLOCK_SIZE_BYTES = 3;
const NBD_ATTR_TIMEOUT = 4;
const NBD_ATTR_SERVER_FLAGS = 5;
const NBD_ATTR_SOCKETS = 7;
const NBD_ATTR_DEAD_CONN_TIMEOUT = 8;
const NBD_ATTR_BACKEND_IDENTIFIER = 10;
const NBD_SOCK_ITEM = 1;
const NBD_SOCK_FD = 1;

const MESSAGE_BYTES_MAX = 8192;

const libc = openLibc(
  {
    // int fd, const void *buf, size_t len, int flags
    send: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
    // int fd, void *buf, size_t len, int flags
    recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
    // int fd
    close: { parameters: ["i32"], result: "i32" },
  } as const,
);

/** What a device is made of. */
export interface NbdDeviceOptions {
  /** The socket's other end is served; the kernel keeps this one by itself. */
  readonly socket: number;
  readonly bytes: number;
  readonly blockBytes: number;
  /** Transmission flags of the protocol. */
  readonly flags: number;
  /** How long requests wait for another server when this one is gone. */
  readonly deadAfterSeconds: number;
  /** Whoever wants to take the device over later has to know it; at most 64 characters. */
  readonly identifier: string;
}

/** Whether the driver is loaded and answers in this network namespace. */
export function hasNbdDriver(): boolean {
  return withSocket((fd) => familyId(fd) !== undefined);
}

/**
 * Makes a device; returns N of /dev/nbdN, which the kernel chooses.
 *
 * @throws {SystemError} EPERM without CAP_SYS_ADMIN, and others.
 */
export function connectNbdDevice(options: NbdDeviceOptions): number {
  const message = new Message(NBD_CMD_CONNECT);
  message.number(NBD_ATTR_SIZE_BYTES, options.bytes);
  message.number(NBD_ATTR_BLOCK_SIZE_BYTES, options.blockBytes);
  message.number(NBD_ATTR_SERVER_FLAGS, options.flags);
  // No limit: the server has its own, and knows better when a disk is dead.
  message.number(NBD_ATTR_TIMEOUT, 0);
  message.number(NBD_ATTR_DEAD_CONN_TIMEOUT, options.deadAfterSeconds);
  message.text(NBD_ATTR_BACKEND_IDENTIFIER, options.identifier);
  message.socket(options.socket);
  const index = ask(message, NBD_ATTR_INDEX, "Connect an nbd device");
  if (index === undefined) throw new Error("The kernel did not say which nbd device it has taken");
  return index;
}

/** Puts another socket in the place of one that is closed, or changes the size, or both. */
export function reconfigureNbd(
  index: number,
  options: Pick<NbdDeviceOptions, "identifier" | "bytes"> & { readonly socket?: number },
): void {
  const message = new Message(NBD_CMD_RECONFIGURE);
  message.index(index);
  message.number(NBD_ATTR_SIZE_BYTES, options.bytes);
  message.text(NBD_ATTR_BACKEND_IDENTIFIER, options.identifier);
  if (options.socket !== undefined) message.socket(options.socket);
  ask(message, NBD_ATTR_INDEX, `Reconfigure /dev/nbd${index}`);
}

/** Takes a device away; what is under way fails. */
export function disconnectNbd(index: number): void {
  const message = new Message(NBD_CMD_DISCONNECT);
  message.index(index);
  ask(message, NBD_ATTR_INDEX, `Disconnect /dev/nbd${index}`);
}

/** A message to a family: its header, and attributes one after the other. */
class Message {
  readonly #buffer = new Uint8Array(1024);
  readonly #view = new DataView(this.#buffer.buffer);
  #end = NLMSG_HEADER_BYTES + GENL_HEADER_BYTES;

  constructor(command: number) {
    this.#view.setUint8(NLMSG_HEADER_BYTES, command);
    this.#view.setUint8(NLMSG_HEADER_BYTES + 1, 1);
  }

  index(index: number): void {
    const at = this.#open(NBD_ATTR_INDEX);
    this.#view.setUint32(this.#end, index, true);
    this.#end += 4;
    this.#close(at);
  }

  number(type: number, value: number): void {
    const at = this.#open(type);
    this.#view.setBigUint64(this.#end, BigInt(value), true);
    this.#end += 8;
    this.#close(at);
  }

  text(type: number, text: string): void {
    const at = this.#open(type);
    const { written } = new TextEncoder().encodeInto(text, this.#buffer.subarray(this.#end));
    this.#end += written + 1;
    this.#close(at);
  }

  /** A list with one socket. */
  socket(fd: number): void {
    const list = this.#open(NBD_ATTR_SOCKETS | NLA_F_NESTED);
    const item = this.#open(NBD_SOCK_ITEM | NLA_F_NESTED);
    const at = this.#open(NBD_SOCK_FD);
    this.#view.setUint32(this.#end, fd, true);
    this.#end += 4;
    this.#close(at);
    this.#close(item);
    this.#close(list);
  }

  /** The whole message to a family. */
  finish(family: number): Uint8Array<ArrayBuffer> {
    this.#view.setUint32(0, this.#end, true);
    this.#view.setUint16(4, family, true);
    this.#view.setUint16(6, NLM_F_REQUEST_ACK, true);
    return this.#buffer.subarray(0, this.#end);
  }

  #open(type: number): number {
    const at = this.#end;
    this.#view.setUint16(at + 2, type, true);
    this.#end += 4;
    return at;
  }

  #close(at: number): void {
    this.#view.setUint16(at, this.#end - at, true);
    this.#end = (this.#end + 3) & ~3;
  }
}

/** Sends a message to the driver; returns the attribute of its answer, if there is one. */
function ask(message: Message, attribute: number, what: string): number | undefined {
  return withSocket((fd) => {
    const family = familyId(fd);
    if (family === undefined) throw new SystemError(what, ENOENT);
    return exchange(fd, message.finish(family), attribute, what);
  });
}

/** The number that the nbd driver has among the families; undefined when it is not there. */
function familyId(fd: number): number | undefined {
  const message = new Message(CTRL_CMD_GETFAMILY);
  message.text(CTRL_ATTR_FAMILY_NAME, "nbd");
  try {
    return exchange(fd, message.finish(GENL_ID_CTRL), CTRL_ATTR_FAMILY_ID, "Look for nbd");
  } catch (error) {
    if (error instanceof SystemError && error.code === ENOENT) return undefined;
    throw error;
  }
}

function withSocket<Result>(use: (fd: number) => Result): Result {
  const fd = openNetlink(NETLINK_GENERIC, 0);
  try {
    return use(fd);
  } finally {
    libc.close(fd);
  }
}

function exchange(
  fd: number,
  message: Uint8Array<ArrayBuffer>,
  attribute: number,
  what: string,
): number | undefined {
  check(libc.send(fd, message, BigInt(message.length), 0), what);
  const buffer = new Uint8Array(MESSAGE_BYTES_MAX);
  const view = new DataView(buffer.buffer);
  let value: number | undefined;
  for (;;) {
    const length = libc.recv(fd, buffer, BigInt(buffer.length), 0);
    if (length <= 0) throw new SystemError(what, errno());
    for (let at = 0; at + NLMSG_HEADER_BYTES <= length;) {
      const bytes = view.getUint32(at, true);
      if (bytes < NLMSG_HEADER_BYTES || at + bytes > length) break;
      if (view.getUint16(at + 4, true) === NLMSG_ERROR) {
        const code = -view.getInt32(at + NLMSG_HEADER_BYTES, true);
        if (code !== 0) throw new SystemError(what, code);
        return value;
      }
      const first = at + NLMSG_HEADER_BYTES + GENL_HEADER_BYTES;
      value = findAttribute(view, first, at + bytes, attribute) ?? value;
      at += (bytes + 3) & ~3;
    }
  }
}

/** A number of 16 or 32 bits among attributes. */
function findAttribute(
  view: DataView,
  from: number,
  end: number,
  type: number,
): number | undefined {
  for (let at = from; at + 4 <= end;) {
    const bytes = view.getUint16(at, true);
    if (bytes < 4 || at + bytes > end) return undefined;
    if ((view.getUint16(at + 2, true) & NLA_TYPE_MASK) === type) {
      return bytes >= 8 ? view.getUint32(at + 4, true) : view.getUint16(at + 4, true);
    }
    at += (bytes + 3) & ~3;
  }
  return undefined;
}
