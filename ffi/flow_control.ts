// Ethernet flow control of an interface, as `ethtool -a` shows it: ioctl(2) SIOCETHTOOL, which
// needs no privilege.

import { openLibc } from "./libc.ts";

// linux/sockios.h, linux/ethtool.h, linux/if.h
const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SIOCETHTOOL = 0x8946;
const ETHTOOL_GPAUSEPARAM = 0x12;
/** struct ifreq: char name[16], then a union, of which a pointer is used. */
const IFREQ_BYTES = 40;
const IFREQ_DATA = 16;
/** struct ethtool_pauseparam: u32 cmd, autoneg, rx_pause, tx_pause. */
const PAUSEPARAM_BYTES = 16;

const libc = openLibc(
  {
    // int domain, int type, int protocol
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    // int fd, unsigned long request, void *argument; a variadic function takes its third argument
    // where a fixed one would on x86_64 and aarch64.
    ioctl: { parameters: ["i32", "usize", "buffer"], result: "i32" },
    // int fd
    close: { parameters: ["i32"], result: "i32" },
  } as const,
);

/** Which pause frames an interface knows. */
export interface FlowControl {
  /** It stops sending when it is asked to. */
  readonly receives: boolean;
  /** It asks the other end to stop. */
  readonly sends: boolean;
}

/** An interface's flow control; undefined when its driver does not say, as those without a cable. */
export function readFlowControl(name: string): FlowControl | undefined {
  const fd = libc.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) return undefined;
  // The kernel uses both arrays during the call only; both are used after it, hence alive in it.
  const pause = new Uint32Array(PAUSEPARAM_BYTES / 4);
  pause[0] = ETHTOOL_GPAUSEPARAM;
  const request = new Uint8Array(IFREQ_BYTES);
  new TextEncoder().encodeInto(name, request.subarray(0, IFREQ_DATA - 1));
  const address = Deno.UnsafePointer.value(Deno.UnsafePointer.of(pause));
  new DataView(request.buffer).setBigUint64(IFREQ_DATA, BigInt(address), true);
  const result = libc.ioctl(fd, BigInt(SIOCETHTOOL), request);
  libc.close(fd);
  if (result < 0 || request[0] === 0) return undefined;
  return { receives: pause[2] !== 0, sends: pause[3] !== 0 };
}
