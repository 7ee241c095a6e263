// Datagrams to a unix(7) socket of somebody's: the system's log, a service manager. They are sent or
// they are not; nobody waits.

import { openLibc } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC_NONBLOCK = 2 | 0o2000000 | 0o4000;
const MSG_NOSIGNAL = 0x4000;
/** struct sockaddr_un: sa_family_t, then a path of at most 108 bytes. */
const SUN_PATH = 2;
const SUN_PATH_BYTES_MAX = 108;

const libc = openLibc(
  {
    // int domain, int type, int protocol
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    // int fd, const void *buf, size_t len, int flags, const struct sockaddr *addr, socklen_t len
    sendto: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "u32"], result: "i32" },
    // int fd
    close: { parameters: ["i32"], result: "i32" },
  } as const,
);

/**
 * Sends one datagram.
 *
 * @param path Of the socket; abstract where it begins with "@", as service managers write it.
 * @returns Whether it was taken.
 */
export function sendDatagram(path: string, bytes: Uint8Array<ArrayBuffer>): boolean {
  const name = new TextEncoder().encode(path.startsWith("@") ? `\0${path.slice(1)}` : path);
  if (name.length === 0 || name.length > SUN_PATH_BYTES_MAX) return false;
  const address = new Uint8Array(SUN_PATH + name.length);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(name, SUN_PATH);
  const fd = libc.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC_NONBLOCK, 0);
  if (fd < 0) return false;
  const length = BigInt(bytes.length);
  const sent = libc.sendto(fd, bytes, length, MSG_NOSIGNAL, address, address.length);
  libc.close(fd);
  return sent >= 0;
}
