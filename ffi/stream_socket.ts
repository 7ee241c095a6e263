// Stream sockets, unix(7) and tcp(7): all of them non-blocking, and only numbers to their callers,
// who keep them in tables. Bytes go in and out of an arena by lists of pieces, so that a header and
// a payload that stand in different places cross into the kernel in one call.

import type { Arena } from "./arena.ts";
import { check, errno, SystemError } from "./errno.ts";
import type { Pointer } from "./libc.ts";
import { openLibc } from "./libc.ts";
import { EAGAIN, EINPROGRESS, EINTR, ENAMETOOLONG } from "./errno_numbers.ts";

// sys/socket.h, netinet/in.h, netinet/tcp.h, netdb.h
const AF_UNIX = 1;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_STREAM_CLOEXEC_NONBLOCK = 1 | 0o2000000 | 0o4000;
const SOCK_CLOEXEC_NONBLOCK = 0o2000000 | 0o4000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_ERROR = 4;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_USER_TIMEOUT = 18;
/** A peer that is silent for so long is gone; TCP's own patience is hours. */
const SILENCE_SECONDS_MAX = 20;
const MSG_DONTWAIT_NOSIGNAL = 0x40 | 0x4000;
/** struct sockaddr_un: sa_family_t, then a path of at most 107 bytes and a zero. */
const SUN_PATH = 2;
const SUN_PATH_BYTES_MAX = 107;
const SOCKADDR_BYTES_MAX = 128;
/** Connections that wait to be accepted. */
const BACKLOG = 64;
// struct addrinfo: int flags, family, socktype, protocol; socklen_t addrlen; struct sockaddr *addr;
// char *canonname; struct addrinfo *next.
const ADDRINFO_BYTES = 48;
const AI_SOCKTYPE = 8;
const AI_ADDRLEN = 16;
const AI_ADDR = 24;
const AI_NEXT = 40;
// struct msghdr: void *name; socklen_t namelen; struct iovec *iov; size_t iovlen; …
const MSGHDR_BYTES = 56;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
/** struct iovec: void *iov_base, size_t iov_len. */
const IOVEC_BYTES = 16;
/** The kernel's UIO_MAXIOV. */
const PIECES_A_CALL_MAX = 1024;

const libc = openLibc(
  {
    // int domain, int type, int protocol
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    // int domain, int type, int protocol, int fds[2]
    socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
    // int fd, mode_t mode
    fchmod: { parameters: ["i32", "u32"], result: "i32" },
    // mode_t mask
    umask: { parameters: ["u32"], result: "u32" },
    // int fd, const struct sockaddr *addr, socklen_t len
    bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    // int fd, const struct sockaddr *addr, socklen_t len
    connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    // int fd, int backlog
    listen: { parameters: ["i32", "i32"], result: "i32" },
    // int fd, struct sockaddr *addr, socklen_t *len, int flags
    accept4: { parameters: ["i32", "pointer", "pointer", "i32"], result: "i32" },
    // int fd, int level, int name, const void *value, socklen_t len
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
    // int fd, int level, int name, void *value, socklen_t *len
    getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
    // int fd, struct sockaddr *addr, socklen_t *len
    getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
    // int fd, struct msghdr *message, int flags; ssize_t cut to 32 bits: a call moves less than 2 GiB
    recvmsg: { parameters: ["i32", "pointer", "i32"], result: "i32" },
    // int fd, const struct msghdr *message, int flags
    sendmsg: { parameters: ["i32", "pointer", "i32"], result: "i32" },
    // int fd
    close: { parameters: ["i32"], result: "i32" },
    // const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result
    getaddrinfo: { parameters: ["buffer", "buffer", "buffer", "buffer"], result: "i32" },
    // struct addrinfo *result
    freeaddrinfo: { parameters: ["pointer"], result: "void" },
  } as const,
);

/** A struct sockaddr, from `unixAddress` or `resolveTcp`. */
export type SocketAddress = Uint8Array;

/**
 * The address of a unix socket.
 *
 * @throws {SystemError} ENAMETOOLONG for more than 107 bytes.
 */
export function unixAddress(path: string): SocketAddress {
  const bytes = new TextEncoder().encode(path);
  if (bytes.length > SUN_PATH_BYTES_MAX || bytes.includes(0)) {
    throw new SystemError(`Use "${path}" as a socket (at most 107 bytes)`, ENAMETOOLONG);
  }
  const address = new Uint8Array(SUN_PATH + bytes.length + 1);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(bytes, SUN_PATH);
  return address;
}

/**
 * The addresses of a host, in the order in which they are to be tried. It blocks while names are
 * looked up, which literal addresses are not.
 *
 * @param host A name, an IPv4 address, or an IPv6 address without brackets.
 * @returns Empty when the host is unknown.
 */
export function resolveTcp(host: string, port: number): SocketAddress[] {
  const hints = new Uint8Array(ADDRINFO_BYTES);
  new DataView(hints.buffer).setInt32(AI_SOCKTYPE, SOCK_STREAM, true);
  const result = new BigUint64Array(1);
  const encoder = new TextEncoder();
  const failed = libc.getaddrinfo(
    encoder.encode(`${host}\0`),
    encoder.encode(`${port}\0`),
    hints,
    result,
  );
  if (failed !== 0) return [];
  const addresses: SocketAddress[] = [];
  const first = Deno.UnsafePointer.create(result[0]!);
  for (let pointer = first; pointer !== null;) {
    const info = new Deno.UnsafePointerView(pointer);
    const address = new Uint8Array(info.getUint32(AI_ADDRLEN));
    new Deno.UnsafePointerView(info.getPointer(AI_ADDR)!).copyInto(address);
    addresses.push(address);
    pointer = info.getPointer(AI_NEXT);
  }
  libc.freeaddrinfo(first);
  return addresses;
}

/**
 * A socket that listens.
 *
 * @param mode Permissions of a unix socket's file, whatever this process's mask: it has them from
 * the moment it exists.
 * @throws {SystemError} EADDRINUSE and others.
 */
export function listenStream(address: SocketAddress, mode = 0o600): number {
  const fd = openSocket(address);
  try {
    // After a restart, connections that are ending keep the port for a minute otherwise.
    setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    // The file gets the socket's own mode, less the mask: no chmod by name, which could be another's.
    check(libc.fchmod(fd, mode), "Set a socket's mode");
    const mask = libc.umask(0);
    const bound = libc.bind(fd, address as BufferSource, address.length);
    const code = bound < 0 ? errno() : 0;
    libc.umask(mask);
    if (bound < 0) throw new SystemError("Bind a socket", code);
    check(libc.listen(fd, BACKLOG), "Listen on a socket");
  } catch (error) {
    closeStream(fd);
    throw error;
  }
  return fd;
}

/** The TCP port that a socket is bound to: for one that was asked for as port 0. */
export function localPort(fd: number): number {
  const address = new Uint8Array(SOCKADDR_BYTES_MAX);
  const length = new Uint32Array([SOCKADDR_BYTES_MAX]);
  check(libc.getsockname(fd, address, length), "Ask for a socket's address");
  return new DataView(address.buffer).getUint16(2, false);
}

/** The next connection of a socket that listens: a descriptor, or −errno (−EAGAIN: none waits). */
export function acceptStream(fd: number): number {
  let connection = libc.accept4(fd, null, null, SOCK_CLOEXEC_NONBLOCK);
  if (connection < 0 && isDoubtful()) {
    connection = libc.accept4(fd, null, null, SOCK_CLOEXEC_NONBLOCK);
  }
  return connection < 0 ? failure() : connection;
}

/**
 * Begins to connect. A unix socket is connected at once; TCP is once it can be written to
 * (POLLOUT) and `streamError` is 0.
 *
 * @throws {SystemError} ECONNREFUSED, ENOENT, and others that are known at once.
 */
export function connectStream(address: SocketAddress): number {
  const fd = openSocket(address);
  if (libc.connect(fd, address as BufferSource, address.length) < 0) {
    const code = errno();
    if (code !== EINPROGRESS) {
      closeStream(fd);
      throw new SystemError("Connect a socket", code);
    }
  }
  setTcpOptions(fd);
  return fd;
}

/** Takes a socket's error: an errno; 0 for none. */
export function streamError(fd: number): number {
  const value = new Int32Array(1);
  const length = new Uint32Array([4]);
  check(libc.getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length), "Ask for a socket's error");
  return value[0]!;
}

/** For TCP: what is sent leaves at once, and a dead peer is noticed; other sockets ignore it. */
export function setTcpOptions(fd: number): void {
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  setOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, SILENCE_SECONDS_MAX / 2);
  setOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, SILENCE_SECONDS_MAX / 4);
  setOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 2);
  setOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, SILENCE_SECONDS_MAX * 1000);
}

/** Two connected sockets. */
export function streamPair(): [number, number] {
  const fds = new Int32Array(2);
  check(
    libc.socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC_NONBLOCK, 0, fds),
    "Make a pair of sockets",
  );
  return [fds[0]!, fds[1]!];
}

/** Closes a socket. */
export function closeStream(fd: number): void {
  libc.close(fd);
}

/**
 * Pieces of an arena to be sent or received, first in, first out: a struct msghdr and its iovecs,
 * which lie in the same arena, because the kernel reads them there.
 */
export class StreamPieces {
  /** Bytes of all pieces together. */
  bytes = 0;
  readonly #arena: Arena;
  readonly #capacity: number;
  readonly #header: number;
  readonly #iovecs: number;
  readonly #pointer: Pointer;
  #first = 0;
  #end = 0;

  /** @param capacity Most pieces. */
  constructor(arena: Arena, capacity: number) {
    this.#arena = arena;
    this.#capacity = capacity;
    this.#header = arena.allocate(MSGHDR_BYTES);
    this.#iovecs = arena.allocate(capacity * IOVEC_BYTES);
    this.#pointer = arena.pointer(this.#header);
  }

  /** How many more can be added. */
  get room(): number {
    return this.#capacity - (this.#end - this.#first);
  }

  /** Adds arena bytes at the end; what stands there is not copied. */
  add(at: number, bytes: number): void {
    if (this.#end === this.#capacity) this.#moveDown();
    const vector = this.#iovecs + this.#end++ * IOVEC_BYTES;
    this.#arena.setUint64(vector, this.#arena.address + at);
    this.#arena.setUint64(vector + 8, bytes);
    this.bytes += bytes;
  }

  /** Forgets all pieces. */
  clear(): void {
    this.#first = 0;
    this.#end = 0;
    this.bytes = 0;
  }

  /**
   * Receives into the pieces, which shrink by what came.
   *
   * @returns Bytes received; 0 when the other side has ended; −errno (−EAGAIN: nothing is there).
   */
  receive(fd: number): number {
    this.#prepare();
    let moved = libc.recvmsg(fd, this.#pointer, MSG_DONTWAIT_NOSIGNAL);
    if (moved < 0 && isDoubtful()) moved = libc.recvmsg(fd, this.#pointer, MSG_DONTWAIT_NOSIGNAL);
    if (moved < 0) return failure();
    this.#take(moved);
    return moved;
  }

  /**
   * Sends the pieces, which shrink by what went.
   *
   * @returns Bytes sent, or −errno (−EAGAIN: the kernel's buffer is full).
   */
  send(fd: number): number {
    this.#prepare();
    let moved = libc.sendmsg(fd, this.#pointer, MSG_DONTWAIT_NOSIGNAL);
    if (moved < 0 && isDoubtful()) moved = libc.sendmsg(fd, this.#pointer, MSG_DONTWAIT_NOSIGNAL);
    if (moved < 0) return failure();
    this.#take(moved);
    return moved;
  }

  #prepare(): void {
    const { u32 } = this.#arena;
    const header = this.#header >>> 2;
    const first = this.#iovecs + this.#first * IOVEC_BYTES;
    this.#arena.setUint64(this.#header + MSG_IOV, this.#arena.address + first);
    u32[header + MSG_IOVLEN / 4] = Math.min(this.#end - this.#first, PIECES_A_CALL_MAX);
  }

  #take(moved: number): void {
    const arena = this.#arena;
    this.bytes -= moved;
    while (this.#first < this.#end) {
      const vector = this.#iovecs + this.#first * IOVEC_BYTES;
      const bytes = arena.uint64(vector + 8);
      if (moved < bytes) {
        arena.setUint64(vector, arena.uint64(vector) + moved);
        arena.setUint64(vector + 8, bytes - moved);
        return;
      }
      moved -= bytes;
      this.#first++;
    }
    this.#first = 0;
    this.#end = 0;
  }

  #moveDown(): void {
    if (this.#first === 0) throw new RangeError("More pieces than the list has room for");
    const { bytes } = this.#arena;
    const from = this.#iovecs + this.#first * IOVEC_BYTES;
    bytes.copyWithin(this.#iovecs, from, this.#iovecs + this.#end * IOVEC_BYTES);
    this.#end -= this.#first;
    this.#first = 0;
  }
}

/**
 * Whether a call that has just failed is to be made again. A connection is given up for whatever is
 * not EAGAIN, and errno was seen wrong once in a million failures.
 */
function isDoubtful(): boolean {
  return failure() !== -EAGAIN;
}

/** −errno of the call that has just failed; −EAGAIN for all that means "not now". */
function failure(): number {
  const code = errno();
  return code === EINTR || code === 0 ? -EAGAIN : -code;
}

function openSocket(address: SocketAddress): number {
  const family = new DataView(address.buffer, address.byteOffset).getUint16(0, true);
  const what = family === AF_UNIX ? "unix" : family === AF_INET6 ? "TCP (IPv6)" : "TCP";
  return check(
    libc.socket(family, SOCK_STREAM_CLOEXEC_NONBLOCK, 0),
    `Open a ${what} socket`,
  );
}

/** Options that the socket's kind does not have are left out. */
function setOption(fd: number, level: number, name: number, value: number): void {
  libc.setsockopt(fd, level, name, new Int32Array([value]), 4);
}
