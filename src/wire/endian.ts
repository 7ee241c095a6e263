// Fixed-width integers in byte arrays. AoE and NBD are big-endian; LBA bytes and IDENTIFY words are
// little-endian (wire/README.md, first paragraph). Callers have checked the length: a read past the
// end yields 0 and a write past the end does nothing, as typed arrays do.

/** Reads an unsigned 16-bit big-endian integer. */
export function readUint16Be(view: Uint8Array, at: number): number {
  return (view[at]! << 8) | view[at + 1]!;
}

/** Writes an unsigned 16-bit big-endian integer; higher bits are cut off. */
export function writeUint16Be(view: Uint8Array, at: number, value: number): void {
  view[at] = value >>> 8;
  view[at + 1] = value;
}

/** Reads an unsigned 32-bit big-endian integer. */
export function readUint32Be(view: Uint8Array, at: number): number {
  return ((view[at]! << 24) | (view[at + 1]! << 16) | (view[at + 2]! << 8) | view[at + 3]!) >>> 0;
}

/** Writes an unsigned 32-bit big-endian integer. */
export function writeUint32Be(view: Uint8Array, at: number, value: number): void {
  view[at] = value >>> 24;
  view[at + 1] = value >>> 16;
  view[at + 2] = value >>> 8;
  view[at + 3] = value;
}

/** Reads an unsigned 48-bit little-endian integer, the width of an LBA. */
export function readUint48Le(view: Uint8Array, at: number): number {
  const low = view[at]! | (view[at + 1]! << 8) | (view[at + 2]! << 16);
  const high = view[at + 3]! | (view[at + 4]! << 8) | (view[at + 5]! << 16);
  return high * 0x1000000 + low;
}

/** Writes an unsigned 48-bit little-endian integer. */
export function writeUint48Le(view: Uint8Array, at: number, value: number): void {
  const high = Math.floor(value / 0x1000000);
  view[at] = value;
  view[at + 1] = value >>> 8;
  view[at + 2] = value >>> 16;
  view[at + 3] = high;
  view[at + 4] = high >>> 8;
  view[at + 5] = high >>> 16;
}

/**
 * Reads an unsigned 64-bit big-endian integer. Above 2^53 it is rounded, which is still beyond the
 * end of every disk.
 */
export function readUint64Be(view: Uint8Array, at: number): number {
  return readUint32Be(view, at) * 0x1_0000_0000 + readUint32Be(view, at + 4);
}

/** Writes an unsigned 64-bit big-endian integer of at most 53 bits. */
export function writeUint64Be(view: Uint8Array, at: number, value: number): void {
  writeUint32Be(view, at, Math.floor(value / 0x1_0000_0000));
  writeUint32Be(view, at + 4, value);
}

/**
 * Reads an unsigned 64-bit integer of the machine's own order, which is little-endian, from an array
 * of words. Above 2^53 it is rounded.
 *
 * @param at In bytes.
 */
export function readUint64Words(u32: Uint32Array, at: number): number {
  return u32[at >>> 2]! + u32[(at >>> 2) + 1]! * 0x1_0000_0000;
}

/** Writes an unsigned 64-bit integer of at most 53 bits in the machine's own order; see above. */
export function writeUint64Words(u32: Uint32Array, at: number, value: number): void {
  const high = Math.floor(value / 0x1_0000_0000);
  u32[at >>> 2] = value - high * 0x1_0000_0000;
  u32[(at >>> 2) + 1] = high;
}
