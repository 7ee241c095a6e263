// Messages to the system's log: datagrams to /dev/log (RFC 3164, as syslog(3) writes them), which
// the journal and every syslog daemon read; where nobody listens, lines to /dev/kmsg.

import { sendDatagram } from "./datagram.ts";

/** LOG_DAEMON (3) in the upper bits, a severity in the lower three. */
const FACILITY_DAEMON = 3 << 3;
const SEVERITY_WARNING = 4;
const SEVERITY_INFO = 6;

/** Writes one line; never waits, and never fails. */
export function writeSystemLog(text: string, severity: "warning" | "info"): void {
  const priority = FACILITY_DAEMON | (severity === "warning" ? SEVERITY_WARNING : SEVERITY_INFO);
  const line = new TextEncoder().encode(`<${priority}>aoe[${Deno.pid}]: ${text}`);
  if (sendDatagram("/dev/log", line)) return;
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
