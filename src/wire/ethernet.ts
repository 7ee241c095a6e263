// The Ethernet II header and MAC addresses (IEEE 802.3). Offsets count from the start of the frame.

export const ETHERNET_DESTINATION = 0;
export const ETHERNET_SOURCE = 6;
export const ETHERNET_TYPE = 12;
export const ETHERNET_HEADER_BYTES = 14;
/** Shortest frame without its check sequence; shorter ones are padded with zeros. */
export const ETHERNET_FRAME_BYTES_MIN = 60;
export const MAC_BYTES = 6;
/** Everybody: never written to. */
export const MAC_BROADCAST: Readonly<Uint8Array> = new Uint8Array(MAC_BYTES).fill(0xff);
/** EtherType of ATA over Ethernet. */
export const ETHERTYPE_AOE = 0x88a2;

/**
 * Parses a MAC address: twelve hexadecimal digits, with or without colons or hyphens, any case.
 *
 * @returns Six bytes, or `undefined` when the text is no MAC address.
 */
export function parseMac(text: string): Uint8Array | undefined {
  const digits = /^([0-9a-f]{2})([:-]?)([0-9a-f]{2})(?:\2[0-9a-f]{2}){4}$/i.test(text)
    ? text.replace(/[:-]/g, "")
    : "";
  if (digits.length !== 2 * MAC_BYTES) return undefined;
  const mac = new Uint8Array(MAC_BYTES);
  for (let i = 0; i < MAC_BYTES; i++) mac[i] = parseInt(digits.slice(2 * i, 2 * i + 2), 16);
  return mac;
}

/** Writes the MAC address at an offset as `52:54:00:12:34:56`. */
export function formatMac(view: Uint8Array, at = 0): string {
  let text = "";
  for (let i = 0; i < MAC_BYTES; i++) {
    text += (i === 0 ? "" : ":") + (view[at + i] ?? 0).toString(16).padStart(2, "0");
  }
  return text;
}

/** Whether the six bytes at `at` and at `otherAt` are the same address. */
export function macEquals(
  view: Uint8Array,
  at: number,
  other: Uint8Array,
  otherAt: number,
): boolean {
  return view[at + 5] === other[otherAt + 5] && view[at + 4] === other[otherAt + 4] &&
    view[at + 3] === other[otherAt + 3] && view[at + 2] === other[otherAt + 2] &&
    view[at + 1] === other[otherAt + 1] && view[at] === other[otherAt];
}

/**
 * Reads a list of MAC addresses, each in memory of its own.
 *
 * @param stride Bytes from one to the next.
 * @param length Of the frame that begins at `at`.
 * @param first Where in the frame the first one stands.
 * @returns `undefined` when the frame is too short for them.
 */
export function readMacs(
  view: Uint8Array,
  at: number,
  length: number,
  { first, count, stride }: {
    readonly first: number;
    readonly count: number;
    readonly stride: number;
  },
): Uint8Array[] | undefined {
  if (count > 0 && first + (count - 1) * stride + MAC_BYTES > length) return undefined;
  return Array.from({ length: count }, (_, i) => {
    const mac = at + first + i * stride;
    return view.slice(mac, mac + MAC_BYTES);
  });
}

/** Copies a MAC address; no intermediate view, for the hot path. */
export function copyMac(to: Uint8Array, toAt: number, from: Uint8Array, fromAt: number): void {
  to[toAt] = from[fromAt]!;
  to[toAt + 1] = from[fromAt + 1]!;
  to[toAt + 2] = from[fromAt + 2]!;
  to[toAt + 3] = from[fromAt + 3]!;
  to[toAt + 4] = from[fromAt + 4]!;
  to[toAt + 5] = from[fromAt + 5]!;
}
