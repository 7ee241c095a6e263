// The classic pcap format of frames for tshark and tcpdump, with nanoseconds: a header, then a record
// and the bytes of each frame (draft-ietf-opsawg-pcap). Little-endian.

/** Bytes at the beginning of a file. */
export const PCAP_HEADER_BYTES = 24;
/** Bytes in front of each frame. */
export const PCAP_RECORD_BYTES = 16;

/** Times are in seconds and nanoseconds. */
const MAGIC_NANOSECONDS = 0xa1b23c4d;
const VERSION_MAJOR = 2;
const VERSION_MINOR = 4;
/** The most that readers take for Ethernet. */
const FRAME_BYTES_MAX = 262_144;
const LINKTYPE_ETHERNET = 1;

/** Writes the beginning of a file. */
export function writePcapHeader(view: Uint8Array, at: number): void {
  view.fill(0, at, at + PCAP_HEADER_BYTES);
  writeUint32Le(view, at, MAGIC_NANOSECONDS);
  view[at + 4] = VERSION_MAJOR;
  view[at + 6] = VERSION_MINOR;
  writeUint32Le(view, at + 16, FRAME_BYTES_MAX);
  writeUint32Le(view, at + 20, LINKTYPE_ETHERNET);
}

/**
 * Writes what stands in front of a frame.
 *
 * @param seconds Since 1970.
 * @param keptBytes Of the frame, those that follow.
 * @param wireBytes Of the frame as it was on the wire.
 */
export function writePcapRecord(
  view: Uint8Array,
  at: number,
  seconds: number,
  nanoseconds: number,
  keptBytes: number,
  wireBytes: number,
): void {
  writeUint32Le(view, at, seconds);
  writeUint32Le(view, at + 4, nanoseconds);
  writeUint32Le(view, at + 8, keptBytes);
  writeUint32Le(view, at + 12, wireBytes);
}

function writeUint32Le(view: Uint8Array, at: number, value: number): void {
  view[at] = value;
  view[at + 1] = value >>> 8;
  view[at + 2] = value >>> 16;
  view[at + 3] = value >>> 24;
}
