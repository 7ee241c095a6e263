// Stream sockets that never block: Unix and TCP clients, what they send gathered from many pieces of
// memory in one sendmsg(2), and what they receive scattered by one recvmsg(2).

import type { Arena } from "./arena.ts";
import { EAGAIN, EINTR, errno, SystemError } from "./errno.ts";
import type { Pointer } from "./libc.ts";
import { openLibc } from "./libc.ts";

// sys/socket.h, netinet/tcp.h
const AF_UNIX = 1;
const AF_UNSPEC = 0;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC_NONBLOCK = 0o2000000 | 0o4000;
const SOL_SOCKET = 1;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_USER_TIMEOUT = 18;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const EINPROGRESS = 115;

// struct msghdr on 64-bit machines.
const MSGHDR_BYTES = 56;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;

// struct addrinfo on 64-bit machines.
const ADDRINFO_BYTES = 48;
const AI_ADDRLEN = 16;
const AI_ADDR = 24;
const AI_NEXT = 40;
/** More addresses of one name are not tried. */
const ADDRESSES_MAX = 16;

/**
 * A peer that has vanished without a word is given up after this; TCP's own patience is a quarter
 * of an hour.
 */
const SILENCE_MS_MAX = 20_000;

const libc = openLibc(
  {
    // int domain, int type, int protocol
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    // int fd, const struct sockaddr *addr, socklen_t len
    connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    // int fd, int level, int name, const void *value, socklen_t len
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
    // int fd, const struct msghdr *message, int flags
    sendmsg: { parameters: ["i32", "pointer", "i32"], result: "i32" },
    // int fd, struct msghdr *message, int flags
    recvmsg: { parameters: ["i32", "pointer", "i32"], result: "i32" },
    // const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result
    getaddrinfo: { parameters: ["buffer", "buffer", "buffer", "buffer"], result: "i32" },
    // struct addrinfo *result
    freeaddrinfo: { parameters: ["pointer"], result: "void" },
    // int code
    gai_strerror: { parameters: ["i32"], result: "pointer" },
    // int fd
    close: { parameters: ["i32"], result: "i32" },
  } as const,
);

/** The address of a Unix socket, as connect(2) takes it. */
export function unixAddress(path: string): Uint8Array {
  const bytes = new TextEncoder().encode(path);
  const address = new Uint8Array(2 + bytes.length + 1);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(bytes, 2);
  return address;
}

/**
 * Looks a host up, which may take as long as its name servers do.
 *
 * @returns Its addresses, as connect(2) takes them, the best first; or why there are none.
 */
export function tcpAddresses(host: string, port: number): Uint8Array[] | string {
  const text = (word: string) => new TextEncoder().encode(`${word}\0`);
  const hints = new Uint8Array(ADDRINFO_BYTES);
  const view = new DataView(hints.buffer);
  view.setInt32(4, AF_UNSPEC, true);
  view.setInt32(8, SOCK_STREAM, true);
  const result = new BigUint64Array(1);
  const code = libc.getaddrinfo(text(host), text(String(port)), hints, result);
  if (code !== 0) {
    const words = libc.gai_strerror(code);
    return words === null ? `error ${code}` : Deno.UnsafePointerView.getCString(words);
  }
  const list = Deno.UnsafePointer.create(result[0]!);
  const addresses: Uint8Array[] = [];
  for (let entry = list; entry !== null && addresses.length < ADDRESSES_MAX;) {
    const info = new Deno.UnsafePointerView(entry);
    const address = info.getPointer(AI_ADDR);
    if (address !== null) {
      const bytes = new Uint8Array(info.getUint32(AI_ADDRLEN));
      Deno.UnsafePointerView.copyInto(address, bytes);
      addresses.push(bytes);
    }
    entry = info.getPointer(AI_NEXT);
  }
  libc.freeaddrinfo(list);
  return addresses;
}

/**
 * Begins to connect. A TCP connection that is still being made gives EAGAIN when it is used, and
 * its error when it fails.
 *
 * @param address From `unixAddress` or `tcpAddresses`.
 * @returns A descriptor.
 * @throws {SystemError} When it fails at once.
 */
export function connectStream(address: Uint8Array): number {
  const family = address[0]! | (address[1]! << 8);
  const fd = libc.socket(family, SOCK_STREAM | SOCK_CLOEXEC_NONBLOCK, 0);
  if (fd < 0) throw new SystemError("Open a socket", errno());
  if (family !== AF_UNIX) {
    setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    setOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, SILENCE_MS_MAX / 2000);
    setOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, SILENCE_MS_MAX / 8000);
    setOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
    setOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, SILENCE_MS_MAX);
  }
  if (libc.connect(fd, address as BufferSource, address.length) < 0) {
    const code = errno();
    if (code !== EINPROGRESS) {
      libc.close(fd);
      throw new SystemError("Connect", code);
    }
  }
  return fd;
}

/** Closes a stream socket. */
export function closeStream(fd: number): void {
  libc.close(fd);
}

function setOption(fd: number, level: number, name: number, value: number): void {
  // What a kernel does not know is a convenience that is missing, and no reason to give up.
  libc.setsockopt(fd, level, name, new Uint8Array(new Int32Array([value]).buffer), 4);
}

/** A struct msghdr in an arena, for the iovecs of one call. */
export class StreamMessage {
  readonly #arena: Arena;
  readonly #at: number;
  readonly #pointer: Pointer;

  constructor(arena: Arena) {
    this.#arena = arena;
    this.#at = arena.allocate(MSGHDR_BYTES);
    this.#pointer = arena.pointer(this.#at);
  }

  /** Arena bytes of a message. */
  static readonly bytes = MSGHDR_BYTES;

  /** Names `count` iovecs, which stay where they are until the call is over. */
  set(iovecs: number, count: number): void {
    this.#arena.setAddress(this.#at + MSG_IOV, iovecs);
    this.#arena.setAddress(this.#at + MSG_IOVLEN, count);
  }

  /** Sends from the iovecs; returns how many bytes have gone, or −errno. */
  send(fd: number): number {
    const sent = libc.sendmsg(fd, this.#pointer, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? failure() : sent;
  }

  /** Receives into the iovecs; returns how many bytes have come, 0 at the end, or −errno. */
  receive(fd: number): number {
    const received = libc.recvmsg(fd, this.#pointer, MSG_DONTWAIT);
    return received < 0 ? failure() : received;
  }
}

/** An errno that reads 0 tells nothing: trying again tells more. */
function failure(): number {
  const code = errno();
  return code === 0 || code === EINTR ? -EAGAIN : -code;
}
