import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  CHUNK_COOKIE,
  CHUNK_FLAGS,
  CHUNK_LENGTH,
  CHUNK_TYPE,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_WRITE,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_OPT_GO,
  NBD_REP_ACK,
  NBD_REP_ERR_UNSUP,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  readBlockSizes,
  readExport,
  readGreeting,
  readNbdString,
  readOption,
  readOptionReply,
  REPLY_ERROR,
  REQUEST_COMMAND,
  REQUEST_COOKIE,
  REQUEST_FLAGS,
  REQUEST_LENGTH,
  REQUEST_OFFSET,
  writeBlockSizes,
  writeChunk,
  writeExport,
  writeGreeting,
  writeNbdString,
  writeOption,
  writeOptionReply,
  writeRequest,
  writeSimpleReply,
} from "../../src/wire/nbd.ts";
import { readUint16Be, readUint32Be, readUint64Be } from "../../src/wire/endian.ts";
import { bytesOf, hexOf } from "./encoding.ts";

const AT = 5;

/** What a writer leaves in memory full of 0xa5, as hex; nothing outside of it may have changed. */
function written(write: (view: Uint8Array, at: number) => number): string {
  const view = new Uint8Array(300).fill(0xa5);
  const end = write(view, AT);
  assertEquals(view.subarray(0, AT), new Uint8Array(AT).fill(0xa5));
  assertEquals(view.subarray(end), new Uint8Array(view.length - end).fill(0xa5));
  return hexOf(view.subarray(AT, end));
}

// By hand from the tables of the specification.
const CASES: readonly (readonly [string, (view: Uint8Array, at: number) => number, string])[] = [
  [
    "greeting",
    (view, at) => writeGreeting(view, at, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES),
    "4e 42 44 4d 41 47 49 43 49 48 41 56 45 4f 50 54 00 03",
  ],
  [
    "option",
    (view, at) => writeOption(view, at, NBD_OPT_GO, 12),
    "49 48 41 56 45 4f 50 54 00 00 00 07 00 00 00 0c",
  ],
  [
    "option reply",
    (view, at) => writeOptionReply(view, at, NBD_OPT_GO, NBD_REP_ACK, 0),
    "00 03 e8 89 04 55 65 a9 00 00 00 07 00 00 00 01 00 00 00 00",
  ],
  [
    "refusal",
    (view, at) => writeOptionReply(view, at, 5, NBD_REP_ERR_UNSUP, 0),
    "00 03 e8 89 04 55 65 a9 00 00 00 05 80 00 00 01 00 00 00 00",
  ],
  ["string", (view, at) => writeNbdString(view, at, bytesOf("61 62")), "00 00 00 02 61 62"],
  [
    "export",
    (view, at) => writeExport(view, at, 2 ** 48 - 512, 0x016d),
    "00 00 ff ff ff ff fe 00 01 6d",
  ],
  [
    "block sizes",
    (view, at) => writeBlockSizes(view, at, { min: 512, preferred: 4096, max: 1 << 25 }),
    "00 03 00 00 02 00 00 00 10 00 02 00 00 00",
  ],
  [
    "request",
    (view, at) =>
      writeRequest(view, at, NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 2 ** 33 + 7, 2 ** 40, 512),
    "25 60 95 13 00 01 00 01 00 00 00 02 00 00 00 07 00 00 01 00 00 00 00 00 00 00 02 00",
  ],
];

for (const [name, write, bytes] of CASES) {
  Deno.test(`nbd: ${name} in known bytes`, () => assertEquals(written(write), bytes));
}

Deno.test("nbd: replies leave the cookie to who has it", () => {
  assertEquals(
    written((view, at) => writeSimpleReply(view, at, 22)),
    "67 44 66 98 00 00 00 16 a5 a5 a5 a5 a5 a5 a5 a5",
  );
  assertEquals(
    written((view, at) =>
      writeChunk(view, at, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_OFFSET_DATA, 520)
    ),
    "66 8e 33 ef 00 01 00 01 a5 a5 a5 a5 a5 a5 a5 a5 00 00 02 08",
  );
});

Deno.test("nbd: what is written is read", () => {
  const view = new Uint8Array(300);
  const u16 = fc.nat(0xffff);
  const u32 = fc.nat(0xffff_ffff);
  const u53 = fc.maxSafeNat();
  fc.assert(fc.property(u16, u32, u32, u53, u53, (flags, option, bytes, size, cookie) => {
    writeGreeting(view, 3, flags);
    assertEquals(readGreeting(view, 3), flags);
    writeOption(view, 3, option, bytes);
    assertEquals(readOption(view, 3), { option, bytes });
    writeOptionReply(view, 3, option, bytes, 7);
    assertEquals(readOptionReply(view, 3), { option, type: bytes, bytes: 7 });
    writeExport(view, 3, size, flags);
    assertEquals(readExport(view, 3), { bytes: size, flags });
    const sizes = { min: option, preferred: bytes, max: flags };
    writeBlockSizes(view, 3, sizes);
    assertEquals(readUint16Be(view, 3), NBD_INFO_BLOCK_SIZE);
    assertEquals(readBlockSizes(view, 5), sizes);
    writeRequest(view, 3, 7, flags, cookie, size, bytes);
    assertEquals(readUint16Be(view, 3 + REQUEST_COMMAND), 7);
    assertEquals(readUint16Be(view, 3 + REQUEST_FLAGS), flags);
    assertEquals(readUint64Be(view, 3 + REQUEST_COOKIE), cookie);
    assertEquals(readUint64Be(view, 3 + REQUEST_OFFSET), size);
    assertEquals(readUint32Be(view, 3 + REQUEST_LENGTH), bytes);
    writeSimpleReply(view, 3, option);
    assertEquals(readUint32Be(view, 3 + REPLY_ERROR), option);
    writeChunk(view, 3, flags, 5, bytes);
    assertEquals(readUint16Be(view, 3 + CHUNK_FLAGS), flags);
    assertEquals(readUint16Be(view, 3 + CHUNK_TYPE), 5);
    assertEquals(readUint32Be(view, 3 + CHUNK_LENGTH), bytes);
    assertEquals(CHUNK_COOKIE, REQUEST_COOKIE);
  }));
});

Deno.test("nbd: strange bytes are no greeting, no option, and no reply", () => {
  const view = bytesOf("4e 42 44 4d 41 47 49 43 00 00 42 02 81 86 12 53 00 00 00 00");
  // The old style's second magic.
  assertEquals(readGreeting(view, 0), undefined);
  assertEquals(readOption(view, 0), undefined);
  assertEquals(readOptionReply(view, 0), undefined);
});

Deno.test("nbd: a string never reaches beyond what was received", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 60 }),
      fc.nat(70),
      fc.oneof(fc.nat(20), fc.nat(0xffff_ffff)),
      (bytes, at, length) => {
        const view = new Uint8Array(80);
        view.set(bytes);
        view.set([length >>> 24, length >>> 16, length >>> 8, length], at);
        const string = readNbdString(view, at, bytes.length);
        if (string === undefined) return;
        assertEquals(string.length, length);
        assertEquals(string.byteOffset + string.length <= bytes.length, true);
      },
    ),
  );
  const long = new Uint8Array(5000);
  long.set([0, 0, 0x10, 1]);
  assertEquals(readNbdString(long, 0, long.length), undefined);
  long.set([0, 0, 0x10, 0]);
  assertEquals(readNbdString(long, 0, long.length)?.length, 4096);
});
