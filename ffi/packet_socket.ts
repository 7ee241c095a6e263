// A raw Ethernet socket on one interface: packet(7). Frames go in and out whole, in batches.

import { errno, SystemError } from "./errno.ts";
import { check } from "./errno.ts";
import { openLibc } from "./libc.ts";
import type { MessageTable } from "./message_table.ts";
import { EAGAIN, EINTR, EPERM } from "./errno_numbers.ts";

// sys/socket.h, linux/if_packet.h, linux/if_ether.h
const AF_PACKET = 17;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_RCVTIMEO = 20;
const SO_ATTACH_FILTER = 26;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const MSG_DONTWAIT = 0x40;
const MSG_WAITFORONE = 0x10000;
const SOCKADDR_LL_BYTES = 20;
const INSTRUCTION_BYTES = 8;

const libc = openLibc(
  {
    // int domain, int type, int protocol
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    // int fd, const struct sockaddr *addr, socklen_t len
    bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    // int fd, int level, int name, const void *value, socklen_t len
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
    // int fd, int level, int name, void *value, socklen_t *len
    getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
    // int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout
    recvmmsg: { parameters: ["i32", "pointer", "u32", "i32", "pointer"], result: "i32" },
    // int fd, struct mmsghdr *messages, unsigned int count, int flags
    sendmmsg: { parameters: ["i32", "pointer", "u32", "i32"], result: "i32" },
    // int fd
    close: { parameters: ["i32"], result: "i32" },
  } as const,
);

/** How to open a socket. */
export interface PacketSocketOptions {
  /** EtherType that is received and sent. */
  readonly etherType: number;
  /** Classic BPF program, eight bytes an instruction; in force before the first frame arrives. */
  readonly filter: Uint8Array;
  /** Bytes of kernel memory for frames not yet taken, and not yet sent. */
  readonly bufferBytes: number;
  /** How long `receive` waits at most when it is told to; 0, which is usual, for ever. */
  readonly waitMs?: number;
  /** Done to the socket before it is bound, as a ring has to be. */
  readonly prepare?: (fd: number) => void;
}

/** A socket bound to one interface. Calls do not block unless they are told to. */
export class PacketSocket {
  readonly fd: number;

  /**
   * @param interfaceIndex As in `Link.index`.
   * @throws {SystemError} EPERM without CAP_NET_RAW; ENODEV when the interface is gone.
   */
  constructor(interfaceIndex: number, options: PacketSocketOptions) {
    // Protocol 0: nothing is received before the filter stands and bind names the protocol.
    this.fd = libc.socket(AF_PACKET, SOCK_RAW_CLOEXEC, 0);
    if (this.fd < 0) throw new SystemError("Open a packet socket", errno() || EPERM);
    try {
      options.prepare?.(this.fd);
      this.setFilter(options.filter);
      this.#setBuffer(SO_RCVBUFFORCE, SO_RCVBUF, options.bufferBytes);
      this.#setBuffer(SO_SNDBUFFORCE, SO_SNDBUF, options.bufferBytes);
      const timeval = new BigInt64Array([0n, BigInt((options.waitMs ?? 0) * 1000)]);
      const waiting = new Uint8Array(timeval.buffer);
      check(
        libc.setsockopt(this.fd, SOL_SOCKET, SO_RCVTIMEO, waiting, waiting.length),
        "Bound how long a packet socket waits",
      );
      const address = new Uint8Array(SOCKADDR_LL_BYTES);
      const view = new DataView(address.buffer);
      view.setUint16(0, AF_PACKET, true);
      view.setUint16(2, options.etherType, false);
      view.setInt32(4, interfaceIndex, true);
      check(libc.bind(this.fd, address, SOCKADDR_LL_BYTES), "Bind a packet socket");
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Takes frames that have arrived into the first `count` messages of a table.
   *
   * @param wait Sleep until there is one, for `waitMs` at most.
   * @returns How many; 0 when there are none, also when the interface went down.
   */
  receive(table: MessageTable, count: number, wait = false): number {
    const flags = wait ? MSG_WAITFORONE : MSG_DONTWAIT;
    const received = libc.recvmmsg(this.fd, table.pointer(0), count, flags, null);
    return received < 0 ? 0 : received;
  }

  /**
   * Sends messages `first` … `first + count − 1` of a table.
   *
   * @returns How many were sent, or −errno when the first of them could not be (−EAGAIN: the
   * kernel's buffer is full).
   */
  send(table: MessageTable, first: number, count: number): number {
    const sent = libc.sendmmsg(this.fd, table.pointer(first), count, MSG_DONTWAIT);
    if (sent >= 0) return sent;
    const code = errno();
    return code === EINTR || code === 0 ? -EAGAIN : -code;
  }

  /** Frames the kernel dropped since the last call because the socket's buffer was full. */
  takeDrops(): number {
    const statistics = new Uint32Array(2);
    const length = new Uint32Array([statistics.byteLength]);
    const result = libc.getsockopt(
      this.fd,
      SOL_PACKET,
      PACKET_STATISTICS,
      new Uint8Array(statistics.buffer),
      new Uint8Array(length.buffer),
    );
    return result < 0 ? 0 : statistics[1]!;
  }

  close(): void {
    libc.close(this.fd);
  }

  /** Puts another filter in place of the one there is: each frame is judged by one of them. */
  setFilter(filter: Uint8Array): void {
    // struct sock_fprog: unsigned short len, struct sock_filter *filter. The kernel copies the
    // program during the call; both arrays are used after it, hence alive in it.
    const program = new Uint8Array(16);
    const view = new DataView(program.buffer);
    view.setUint16(0, filter.length / INSTRUCTION_BYTES, true);
    view.setBigUint64(
      8,
      Deno.UnsafePointer.value(Deno.UnsafePointer.of(filter as BufferSource)),
      true,
    );
    check(
      libc.setsockopt(this.fd, SOL_SOCKET, SO_ATTACH_FILTER, program, program.length),
      `Attach a packet filter of ${filter.length / INSTRUCTION_BYTES} instructions`,
    );
  }

  #setBuffer(force: number, plain: number, bytes: number): void {
    const value = new Uint8Array(new Int32Array([bytes]).buffer);
    // The forced option goes beyond net.core.rmem_max but needs CAP_NET_ADMIN.
    if (libc.setsockopt(this.fd, SOL_SOCKET, force, value, 4) < 0) {
      libc.setsockopt(this.fd, SOL_SOCKET, plain, value, 4);
    }
  }
}
