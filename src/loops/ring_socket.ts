// A packet socket that receives by a ring of shared memory, where one can be had.

import type { PacketRing } from "../../ffi/packet_ring.ts";
import { PacketSocket } from "../../ffi/packet_socket.ts";
import type { PacketSocketOptions } from "../../ffi/packet_socket.ts";

/** A socket, and why it has no ring though one was wanted. */
export interface RingSocket {
  readonly socket: PacketSocket;
  /** Undefined where it has one, or none was wanted. */
  readonly withoutRing: string | undefined;
}

/**
 * Opens a socket on an interface. Where the kernel refuses the ring, frames come by system calls.
 *
 * @param ring Undefined for none. It is closed when it cannot be had.
 * @param frameBytes What a frame may have, for the ring's slots.
 * @throws {SystemError} As `PacketSocket` throws: the socket itself cannot be had.
 */
export function openRingSocket(
  interfaceIndex: number,
  options: Omit<PacketSocketOptions, "prepare">,
  ring: PacketRing | undefined,
  frameBytes: number,
): RingSocket {
  let refusal: unknown;
  const prepare = (fd: number) => {
    try {
      ring?.open(fd, frameBytes);
    } catch (error) {
      refusal = error;
      throw error;
    }
  };
  try {
    return {
      socket: new PacketSocket(interfaceIndex, { ...options, prepare }),
      withoutRing: undefined,
    };
  } catch (error) {
    ring?.close();
    if (refusal === undefined) throw error;
    const withoutRing = refusal instanceof Error ? refusal.message : String(refusal);
    return { socket: new PacketSocket(interfaceIndex, options), withoutRing };
  }
}
