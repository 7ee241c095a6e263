// Messages to the system's log: datagrams to /dev/log (RFC 3164, as syslog(3) writes them), which
// the journal and every syslog daemon read; where nobody listens, lines to /dev/kmsg.

import { openLibc } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC_NONBLOCK = 2 | 0o2000000 | 0o4000;
/** LOG_DAEMON (3) in the upper bits, a severity in the lower three. */
const FACILITY_DAEMON = 3 << 3;
const SEVERITY_WARNING = 4;
const SEVERITY_INFO = 6;

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

/** Writes one line; never waits, and never fails. */
export function writeSystemLog(text: string, severity: "warning" | "info"): void {
  const priority = FACILITY_DAEMON | (severity === "warning" ? SEVERITY_WARNING : SEVERITY_INFO);
  const line = new TextEncoder().encode(`<${priority}>aoe[${Deno.pid}]: ${text}`);
  const fd = libc.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC_NONBLOCK, 0);
  const path = new TextEncoder().encode("/dev/log\0");
  const address = new Uint8Array(2 + path.length);
  address[0] = AF_UNIX;
  address.set(path, 2);
  const sent = fd < 0 ? -1 : libc.sendto(fd, line, BigInt(line.length), 0, address, address.length);
  if (fd >= 0) libc.close(fd);
  if (sent >= 0) return;
  try {
    // The kernel's buffer: `dmesg` shows it.
    const kmsg = Deno.openSync("/dev/kmsg", { write: true });
    try {
      kmsg.writeSync(line);
    } finally {
      kmsg.close();
    }
  } catch {
    // Nobody wants to know.
  }
}
