import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type Identity,
  readCapabilities,
  readIdentifyWords,
  readIdentity,
  takesLba48,
  writeIdentity,
} from "../../src/wire/identify.ts";
import { framed, written } from "./encoding.ts";

const DISK: Identity = {
  serial: "e1.1-0123456789ab",
  firmware: "0001",
  model: "aoe target",
  sectors: 2 ** 33 + 5,
  writeCacheSupported: true,
  writeCacheOn: true,
  trim: true,
  physicalSectorBytes: 4096,
  rotational: false,
};

/** Two characters a word, the first in the high byte. */
function stringWords(first: number, words: number, text: string): [number, number][] {
  const padded = text.padEnd(2 * words);
  return Array.from({ length: words }, (_, i) => [
    first + i,
    (padded.charCodeAt(2 * i) << 8) | padded.charCodeAt(2 * i + 1),
  ]);
}

/** The 256 little-endian words; the integrity word checked, and blanked. */
function wordsOf(identity: Identity): number[] {
  const bytes = written(0, 512, (view, at) => writeIdentity(view, at, identity));
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  assertEquals(bytes[510], 0xa5, "signature of the integrity word");
  assertEquals(sum % 256, 0, "all bytes with the checksum");
  const view = new DataView(bytes.buffer);
  const words = Array.from({ length: 256 }, (_, i) => view.getUint16(2 * i, true));
  words[255] = 0;
  return words;
}

/** All 256 words, zero but for those given. */
function expected(words: readonly (readonly [number, number])[]): number[] {
  const all = new Array<number>(256).fill(0);
  for (const [word, value] of words) all[word] = value;
  return all;
}

const COMMON: readonly (readonly [number, number])[] = [
  [0, 0x0040],
  [1, 16383],
  [3, 16],
  [6, 63],
  [47, 0x8000],
  [49, 0x0200],
  [50, 0x4000],
  [53, 0x0007],
  [54, 16383],
  [55, 16],
  [56, 63],
  [57, 16383 * 16 * 63 & 0xffff],
  [58, 16383 * 16 * 63 >>> 16],
  [80, 0x01f0],
  [83, 0x7400],
  [84, 0x4000],
  [86, 0x3400],
  [87, 0x4000],
  [93, 0x4001],
  [117, 256],
  ...stringWords(23, 4, DISK.firmware),
  ...stringWords(27, 20, DISK.model),
];

Deno.test("identify: a large disk with a write cache, TRIM and 4 KiB sectors, word for word", () => {
  assertEquals(
    wordsOf(DISK),
    expected([
      ...COMMON,
      ...stringWords(10, 10, DISK.serial),
      [60, 0xffff],
      [61, 0x0fff],
      // What was discarded reads as zeros, and that is promised.
      [69, 0x4020],
      [82, 0x0020],
      [85, 0x0020],
      [100, 5],
      [102, 2],
      [106, 0x6003],
      [169, 1],
      [217, 1],
    ]),
  );
});

Deno.test("identify: a small disk that spins, without any of it, word for word", () => {
  const disk: Identity = {
    ...DISK,
    serial: "",
    sectors: 0x12345,
    writeCacheSupported: false,
    writeCacheOn: false,
    trim: false,
    physicalSectorBytes: 512,
    rotational: true,
  };
  const cylinders = Math.floor(0x12345 / 1008);
  assertEquals(
    wordsOf(disk),
    expected([
      ...COMMON,
      ...stringWords(10, 10, ""),
      [1, cylinders],
      [54, cylinders],
      [57, cylinders * 1008 & 0xffff],
      [58, cylinders * 1008 >>> 16],
      [60, 0x2345],
      [61, 1],
      [100, 0x2345],
      [101, 1],
      [106, 0x4000],
    ]),
  );
});

for (
  const [sectors, words28, words48] of [
    [0, [0, 0], [0, 0, 0]],
    [1, [1, 0], [1, 0, 0]],
    [2 ** 28 - 2, [0xfffe, 0x0fff], [0xfffe, 0x0fff, 0]],
    [2 ** 28 - 1, [0xffff, 0x0fff], [0xffff, 0x0fff, 0]],
    [2 ** 28, [0xffff, 0x0fff], [0, 0x1000, 0]],
    [2 ** 32, [0xffff, 0x0fff], [0, 0, 1]],
    [2 ** 48 - 1, [0xffff, 0x0fff], [0xffff, 0xffff, 0xffff]],
  ] as const
) {
  Deno.test(`identify: ${sectors} sectors in words 60-61 and 100-103`, () => {
    const words = wordsOf({ ...DISK, sectors });
    assertEquals(words.slice(60, 62), [...words28]);
    assertEquals(words.slice(100, 104), [...words48, 0]);
  });
}

Deno.test("identify: a cache that is there and switched off is not claimed to be on", () => {
  const words = wordsOf({ ...DISK, writeCacheOn: false });
  assertEquals([words[82], words[85]], [0x0020, 0]);
});

Deno.test("identify: strings are cut at their field, and what is no ASCII becomes a question mark", () => {
  const words = wordsOf({ ...DISK, serial: "0123456789012345678901234", firmware: "a\nbé" });
  assertEquals(words.slice(10, 20), stringWords(10, 10, "01234567890123456789").map(([, w]) => w));
  assertEquals(words.slice(23, 27), stringWords(23, 4, "a?b?").map(([, w]) => w));
});

const text = (maxLength: number) =>
  fc.string({
    unit: fc.integer({ min: 0x20, max: 0x7e }).map((c) => String.fromCharCode(c)),
    maxLength,
  })
    .map((string) => string.trim());

Deno.test("identify: every identity comes back", () => {
  const identity = fc.record({
    serial: text(20),
    firmware: text(8),
    model: text(40),
    sectors: fc.maxSafeNat().map((any) => any % 2 ** 48),
    writeCacheSupported: fc.boolean(),
    writeCacheOn: fc.boolean(),
    trim: fc.boolean(),
    physicalSectorBytes: fc.nat(15).map((exponent) => 512 << exponent),
    rotational: fc.boolean(),
  }, { noNullPrototype: true });
  fc.assert(fc.property(identity, (fields) => {
    const { view, at } = framed(written(0, 512, (view, at) => writeIdentity(view, at, fields)));
    assertEquals(readIdentity(view, at), fields);
  }));
});

Deno.test("identify: any bytes give an identity", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 512, maxLength: 512 }), (bytes) => {
    const identity = readIdentity(bytes, 0);
    assertEquals(Number.isSafeInteger(identity.sectors) && identity.sectors >= 0, true);
    assertEquals(/^[\x20-\x7e]*$/.test(identity.serial + identity.firmware + identity.model), true);
  }));
});

Deno.test("identify: a disk without LBA48 has the size of words 60-61", () => {
  const { view, at } = framed(written(0, 512, (view, at) => writeIdentity(view, at, DISK)));
  for (const word of [83, 86]) view.fill(0, at + 2 * word, at + 2 * word + 2);
  assertEquals(readIdentity(view, at).sectors, 2 ** 28 - 1);
});

Deno.test("identify: either of two words says LBA48, and nothing lies beyond 28 bits without it", () => {
  const { view, at } = framed(written(0, 512, (view, at) => writeIdentity(view, at, DISK)));
  assert(takesLba48(view, at));
  view.fill(0, at + 2 * 83, at + 2 * 84);
  assert(takesLba48(view, at));
  view.fill(0, at + 2 * 86, at + 2 * 87);
  assert(!takesLba48(view, at));
  assertEquals(readIdentity(view, at).trim, false, "TRIM is a command of 48 bits");
  view.fill(0xff, at + 2 * 60, at + 2 * 62);
  assertEquals(readIdentity(view, at).sectors, 2 ** 28 - 1);
});

Deno.test("identify: capabilities of ours, of none, and of a disk that turns", () => {
  const read = (words: readonly (readonly [number, number])[]) => {
    const bytes = new Uint8Array(512);
    const view = new DataView(bytes.buffer);
    for (const [word, value] of words) view.setUint16(2 * word, value, true);
    return readCapabilities(bytes, 0);
  };
  const none = {
    ...{ lba48: false, flush: false, flushExt: false },
    ...{ logicalSectorBytes: 512, turnsPerMinute: undefined },
  };
  const all = { ...none, lba48: true, flush: true, flushExt: true };
  const { view, at } = framed(new Uint8Array(512));
  writeIdentity(view, at, DISK);
  assertEquals(readCapabilities(view, at), { ...all, turnsPerMinute: 0 });
  assertEquals(read([]), none);
  assertEquals(read([[83, 0x7400], [217, 7200]]), { ...all, turnsPerMinute: 7200 });
  // Words that are marked as invalid say nothing; 0xffff turns are none.
  assertEquals(read([[83, 0xffff], [217, 0xffff]]), none);
  assertEquals(read([[86, 0x1000]]), { ...none, flush: true });
  const long = read([[106, 0x5000], [117, 2048]]);
  assertEquals(long.logicalSectorBytes, 4096);
  assertEquals(readIdentifyWords(view, at).slice(0, 4), [0x40, 16383, 0, 16]);
  assertEquals(readIdentifyWords(view, at).length, 256);
});
