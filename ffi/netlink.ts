// Network interfaces through rtnetlink(7): the list of them, and word of each change. One mechanism
// for names, indices, MACs, MTUs and states; it sees the network namespace of this process.

import { check, errno } from "./errno.ts";
import { openLibc } from "./libc.ts";
import { ENOBUFS } from "./errno_numbers.ts";

// linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if.h
const AF_UNSPEC = 0;
const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0o2000000 | 0o4000;
const NETLINK_ROUTE = 0;
const RTMGRP_LINK = 1;
const NLMSG_HEADER_BYTES = 16;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const NLM_F_REQUEST_DUMP = 0x301;
const IFINFOMSG_BYTES = 16;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_PROP_LIST = 52;
const IFLA_ALT_IFNAME = 53;
/** Attributes that contain others may say so in their type. */
const NLA_TYPE_MASK = 0x3fff;
/** A VRF's members hear their frames themselves: only IP is led elsewhere. */
const KIND_VRF = "vrf";
const IFF_UP = 0x1;
const IFF_RUNNING = 0x40;
const ARPHRD_ETHER = 1;
const ARPHRD_LOOPBACK = 772;
const MAC_BYTES = 6;
const MESSAGE_BYTES_MAX = 65536;

const libc = openLibc(
  {
    // int domain, int type, int protocol
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    // int fd, const struct sockaddr *addr, socklen_t len
    bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    // int fd, const void *buf, size_t len, int flags
    send: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
    // int fd, void *buf, size_t len, int flags
    recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
    // int fd
    close: { parameters: ["i32"], result: "i32" },
  } as const,
);

/** One network interface as the kernel describes it. */
export interface NetworkInterface {
  readonly name: string;
  /** Its alternative names (`ip link property add altname`), by which it can be asked for as well. */
  readonly altNames: readonly string[];
  readonly index: number;
  /**
   * Index of the bridge or bond whose port it is, 0 for none. What arrives at a port goes to its
   * master alone: a socket on the port never hears it.
   */
  readonly master: number;
  /** Six bytes; all zero for the loopback interface. */
  readonly mac: Uint8Array;
  /** Payload bytes, without the Ethernet header. */
  readonly mtu: number;
  /** Set up by the administrator. */
  readonly up: boolean;
  /** Up, and the other end of the cable answers. */
  readonly running: boolean;
  /** Whether frames on it begin with an Ethernet header. */
  readonly ethernet: boolean;
  readonly loopback: boolean;
}

/** A change of one interface: its new state, or `undefined` in place of one that is gone. */
export interface LinkChange {
  readonly index: number;
  readonly link: NetworkInterface | undefined;
}

/** An interface by its name, and its number while it is there, else 0. */
interface FollowedInterface {
  readonly name: string;
  readonly index: number;
}

/** A netlink socket that hears of every change to an interface. */
export class LinkMonitor {
  readonly fd: number;
  readonly #buffer = new Uint8Array(MESSAGE_BYTES_MAX);
  /** Indices of the interfaces there are, as far as was told. */
  readonly #known = new Set<number>();

  constructor() {
    this.fd = openNetlink(NETLINK_ROUTE, RTMGRP_LINK);
    for (const { index } of listInterfaces()) this.#known.add(index);
  }

  /**
   * The changes since the last call, in order; never blocks. Where there were more than the kernel
   * kept, the state of everything stands at the end.
   */
  changes(): LinkChange[] {
    const changes: LinkChange[] = [];
    let lost = false;
    for (;;) {
      const length = libc.recv(this.fd, this.#buffer, BigInt(this.#buffer.length), 0);
      if (length > 0) {
        readMessages(this.#buffer, length, (change) => changes.push(change));
      } else if (length < 0 && errno() === ENOBUFS) {
        lost = true;
      } else {
        break;
      }
    }
    this.#note(changes);
    if (!lost) return changes;
    const present = listInterfaces();
    const gone = [...this.#known].filter((known) => !present.some(({ index }) => index === known));
    const state = [
      ...gone.map((index) => ({ index, link: undefined })),
      ...present.map((link) => ({ index: link.index, link })),
    ];
    this.#note(state);
    return [...changes, ...state];
  }

  /**
   * Tells of the changes that concern the interfaces that are followed.
   *
   * @param news Gets the number of one among them and its new state; undefined: it is gone.
   */
  follow(
    followed: readonly FollowedInterface[],
    news: (number: number, link: NetworkInterface | undefined) => void,
  ): void {
    for (const change of this.changes()) {
      followed.forEach((one, number) => {
        if (concernsInterface(one, change)) news(number, change.link);
      });
    }
  }

  #note(changes: readonly LinkChange[]): void {
    for (const { index, link } of changes) {
      if (link === undefined) this.#known.delete(index);
      else this.#known.add(index);
    }
  }

  close(): void {
    libc.close(this.fd);
  }
}

/** Every interface of this network namespace. */
export function listInterfaces(): NetworkInterface[] {
  const fd = openNetlink(NETLINK_ROUTE, 0);
  try {
    const request = new Uint8Array(NLMSG_HEADER_BYTES + IFINFOMSG_BYTES);
    const view = new DataView(request.buffer);
    view.setUint32(0, request.length, true);
    view.setUint16(4, RTM_GETLINK, true);
    view.setUint16(6, NLM_F_REQUEST_DUMP, true);
    check(
      libc.send(fd, request, BigInt(request.length), 0),
      "Ask for the network interfaces",
    );
    const links: NetworkInterface[] = [];
    const buffer = new Uint8Array(MESSAGE_BYTES_MAX);
    for (let done = false; !done;) {
      // The kernel answers a dump within the send and each recv: nothing to wait for.
      const length = check(
        libc.recv(fd, buffer, BigInt(buffer.length), 0),
        "Read the network interfaces",
      );
      done = readMessages(buffer, length, ({ link }) => {
        if (link !== undefined) links.push(link);
      });
    }
    return links;
  } finally {
    libc.close(fd);
  }
}

/**
 * Whether a change is one of the interface that is followed: its own, whatever it is called by now;
 * of one that is gone (index 0), the coming of another one with its name.
 */
function concernsInterface(
  followed: FollowedInterface,
  { index, link }: LinkChange,
): boolean {
  if (followed.index !== 0) return index === followed.index;
  return link !== undefined &&
    (link.name === followed.name || link.altNames.includes(followed.name));
}

/** The name of the bridge or bond whose port an interface is; undefined when it is none's. */
export function masterName(
  { master }: NetworkInterface,
  existing: readonly NetworkInterface[] = listInterfaces(),
): string | undefined {
  if (master === 0) return undefined;
  return existing.find(({ index }) => index === master)?.name ?? `interface ${master}`;
}

/** A netlink socket of a protocol, which hears of the groups given; the caller closes it. */
export function openNetlink(protocol: number, groups: number): number {
  const fd = check(
    libc.socket(AF_NETLINK, SOCK_RAW_CLOEXEC_NONBLOCK, protocol),
    "Open a netlink socket",
  );
  // struct sockaddr_nl: family u16, pad u16, pid u32, groups u32.
  const address = new Uint8Array(12);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_NETLINK, true);
  view.setUint32(8, groups, true);
  check(libc.bind(fd, address, address.length), "Bind a netlink socket");
  return fd;
}

/** Reads one datagram of messages; true when it ended a dump. */
function readMessages(
  buffer: Uint8Array,
  length: number,
  onChange: (change: LinkChange) => void,
): boolean {
  const view = new DataView(buffer.buffer);
  for (let at = 0; at + NLMSG_HEADER_BYTES <= length;) {
    const bytes = view.getUint32(at, true);
    const type = view.getUint16(at + 4, true);
    if (type === NLMSG_DONE || type === NLMSG_ERROR || bytes < NLMSG_HEADER_BYTES) return true;
    if (type === RTM_NEWLINK || type === RTM_DELLINK) {
      const link = readLink(view, at + NLMSG_HEADER_BYTES, Math.min(at + bytes, length));
      // A bridge tells of its ports in a family of its own, their leaving as if they were deleted;
      // events of wireless cards come without the interface's state.
      if (view.getUint8(at + NLMSG_HEADER_BYTES) === AF_UNSPEC && link.mtu > 0) {
        onChange({ index: link.index, link: type === RTM_NEWLINK ? link : undefined });
      }
    }
    at += (bytes + 3) & ~3;
  }
  return false;
}

function readLink(view: DataView, at: number, end: number): NetworkInterface {
  // struct ifinfomsg: family u8, pad u8, type u16, index i32, flags u32, change u32.
  const type = view.getUint16(at + 2, true);
  const flags = view.getUint32(at + 8, true);
  let name = "";
  let mtu = 0;
  let master = 0;
  let kind = "";
  const altNames: string[] = [];
  const mac = new Uint8Array(MAC_BYTES);
  forEachAttribute(view, at + IFINFOMSG_BYTES, end, (attribute, from, to) => {
    switch (attribute) {
      case IFLA_ADDRESS:
        mac.set(new Uint8Array(view.buffer, from, Math.min(to - from, MAC_BYTES)));
        break;
      case IFLA_IFNAME:
        name = readString(view, from, to);
        break;
      case IFLA_MTU:
        mtu = view.getUint32(from, true);
        break;
      case IFLA_MASTER:
        master = view.getUint32(from, true);
        break;
      case IFLA_LINKINFO:
        forEachAttribute(view, from, to, (inner, first, last) => {
          if (inner === IFLA_INFO_SLAVE_KIND) kind = readString(view, first, last);
        });
        break;
      case IFLA_PROP_LIST:
        forEachAttribute(view, from, to, (inner, first, last) => {
          if (inner === IFLA_ALT_IFNAME) altNames.push(readString(view, first, last));
        });
        break;
    }
  });
  return {
    name,
    altNames,
    index: view.getInt32(at + 4, true),
    master: kind === KIND_VRF ? 0 : master,
    mac,
    mtu,
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_RUNNING) !== 0,
    ethernet: type === ARPHRD_ETHER || type === ARPHRD_LOOPBACK,
    loopback: type === ARPHRD_LOOPBACK,
  };
}

/** Walks over struct rtattr: len u16, type u16, then the value, padded to four bytes. */
function forEachAttribute(
  view: DataView,
  from: number,
  end: number,
  take: (type: number, from: number, to: number) => void,
): void {
  for (let at = from; at + 4 <= end;) {
    const bytes = view.getUint16(at, true);
    if (bytes < 4 || at + bytes > end) return;
    take(view.getUint16(at + 2, true) & NLA_TYPE_MASK, at + 4, at + bytes);
    at += (bytes + 3) & ~3;
  }
}

/** A string of an attribute, without its closing zero. */
function readString(view: DataView, from: number, to: number): string {
  const bytes = new Uint8Array(view.buffer, from, to - from);
  const zero = bytes.indexOf(0);
  return new TextDecoder().decode(zero < 0 ? bytes : bytes.subarray(0, zero));
}
