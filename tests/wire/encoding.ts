// What the tests of the wire formats share: bytes as hexadecimal text, and encoders watched so that
// they write all of their section and nothing else.

import { assertEquals } from "@std/assert";

/** Where a frame starts in the bytes given to an encoder: anything but 0. */
const FRAME_AT = 64;
/** More than the longest frame of these tests. */
const VIEW_BYTES = 4096;

/** The bytes of hexadecimal text; spaces and line breaks only group it. */
export function bytesOf(hex: string): Uint8Array {
  const digits = hex.replace(/\s+/g, "");
  assertEquals(/^([0-9a-f]{2})*$/.test(digits), true, `"${hex}" is no row of bytes`);
  return Uint8Array.from(digits.match(/../g) ?? [], (byte) => parseInt(byte, 16));
}

/** Bytes as text: two digits each, blanks between. */
export function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/** Fails unless the bytes are the same, and shows the place where long ones differ. */
export function assertBytes(actual: Uint8Array, expected: Uint8Array): void {
  const length = Math.max(actual.length, expected.length);
  let first = 0;
  while (first < length && actual[first] === expected[first]) first++;
  if (first === length) return;
  const from = length <= 64 ? 0 : Math.max(0, first - 16);
  assertEquals(
    `${actual.length} bytes, from ${from}: ${hexOf(actual.subarray(from, from + 64))}`,
    `${expected.length} bytes, from ${from}: ${hexOf(expected.subarray(from, from + 64))}`,
  );
}

/**
 * Runs an encoder on bytes that are all 0xa5, and again on bytes that are all 0x5a: what stands
 * outside the section must stay, and nothing inside may be left as it was.
 *
 * @param from First byte of the section, from the start of the frame.
 * @param to The byte behind its last.
 * @returns The section.
 */
export function written(
  from: number,
  to: number,
  encode: (view: Uint8Array, at: number) => void,
): Uint8Array {
  const sections = [0xa5, 0x5a].map((fill) => {
    const view = new Uint8Array(VIEW_BYTES).fill(fill);
    encode(view, FRAME_AT);
    const section = view.slice(FRAME_AT + from, FRAME_AT + to);
    view.fill(fill, FRAME_AT + from, FRAME_AT + to);
    assertEquals(view.findIndex((byte) => byte !== fill), -1, "wrote outside its section");
    return section;
  });
  assertEquals(sections[0], sections[1], "left bytes of its section as they were");
  return sections[0]!;
}

/** A view with the given bytes as a frame somewhere within, and garbage around it. */
export function framed(bytes: Uint8Array): { view: Uint8Array; at: number } {
  const view = new Uint8Array(FRAME_AT + bytes.length + FRAME_AT).fill(0xa5);
  view.set(bytes, FRAME_AT);
  return { view, at: FRAME_AT };
}
