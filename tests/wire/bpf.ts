// A small interpreter of classic BPF that does what the kernel's does (net/core/filter.c).

import { assertEquals } from "@std/assert";

// Whom a frame is addressed to: linux/if_packet.h.
export const TO_HOST = 0;
export const TO_BROADCAST = 1;
export const TO_MULTICAST = 2;
export const TO_OTHER_HOST = 3;
/** SKF_AD_OFF; SKF_AD_PKTTYPE is 4 behind it. */
const ANCILLARY = 0xfffff000;

/** Runs a program on a frame; how many bytes of it pass. */
export function run(program: Uint8Array, frame: Uint8Array, packetType: number): number {
  const code = new DataView(program.buffer, program.byteOffset, program.byteLength);
  let accumulator = 0;
  for (let at = 0;; at += 8) {
    const k = code.getUint32(at + 4, true);
    switch (code.getUint16(at, true)) {
      case 0x28:
        if (k + 2 > frame.length) return 0;
        accumulator = frame[k]! << 8 | frame[k + 1]!;
        break;
      case 0x30:
        if (k >= ANCILLARY) {
          assertEquals(k - ANCILLARY, 4, "the only ancillary load known here is PKTTYPE");
          accumulator = packetType;
          break;
        }
        if (k + 1 > frame.length) return 0;
        accumulator = frame[k]!;
        break;
      case 0x80:
        accumulator = frame.length;
        break;
      case 0x54:
        accumulator &= k;
        break;
      case 0x25:
        at += 8 * code.getUint8(at + (accumulator > k ? 2 : 3));
        break;
      case 0x35:
        at += 8 * code.getUint8(at + (accumulator >= k ? 2 : 3));
        break;
      case 0x15:
        at += 8 * code.getUint8(at + (accumulator === k ? 2 : 3));
        break;
      case 0x45:
        at += 8 * code.getUint8(at + ((accumulator & k) !== 0 ? 2 : 3));
        break;
      case 0x05:
        at += 8 * k;
        break;
      case 0x06:
        return k;
      default:
        throw new Error(`Instruction 0x${code.getUint16(at, true).toString(16)} is not known`);
    }
  }
}
