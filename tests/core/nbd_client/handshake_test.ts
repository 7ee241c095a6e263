// The client's side of NBD's handshake: both ways in, every way out, and whatever else a server may
// send.

import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import {
  HANDSHAKE_SEND_BYTES,
  NbdClientHandshake,
} from "../../../src/core/nbd_client/handshake.ts";
import {
  NBD_EXPORT_NAME_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_EXPORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_REP_ACK,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  readOption,
  writeBlockSizes,
  writeExport,
  writeGreeting,
  writeOptionReply,
} from "../../../src/wire/nbd.ts";
import { writeUint16Be } from "../../../src/wire/endian.ts";

const MODERN = NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES;

function made(bytes: number, write: (view: Uint8Array) => void): Uint8Array {
  const view = new Uint8Array(bytes);
  write(view);
  return view;
}

const greeting = (flags: number) => made(18, (view) => writeGreeting(view, 0, flags));
const reply = (type: number, data: Uint8Array = new Uint8Array(0)) =>
  made(20 + data.length, (view) => {
    writeOptionReply(view, 0, NBD_OPT_GO, type, data.length);
    view.set(data, 20);
  });
const exportInfo = (bytes: number, flags: number) =>
  reply(
    NBD_REP_INFO,
    made(12, (view) => {
      writeUint16Be(view, 0, NBD_INFO_EXPORT);
      writeExport(view, 2, bytes, flags);
    }),
  );
const blockInfo = (min: number, preferred: number, max: number) =>
  reply(NBD_REP_INFO, made(14, (view) => void writeBlockSizes(view, 0, { min, preferred, max })));
const description = (bytes: number) =>
  reply(NBD_REP_INFO, made(bytes, (view) => writeUint16Be(view, 0, NBD_INFO_DESCRIPTION)));
const words = (text: string) => new TextEncoder().encode(text);

/** Feeds bytes in pieces of a size; returns what the client had to say. */
function shake(
  handshake: NbdClientHandshake,
  messages: readonly Uint8Array[],
  piece: number,
): number[] {
  const said: number[] = [];
  let pending = new Uint8Array(0);
  for (const message of messages) {
    for (let at = 0; at < message.length; at += piece) {
      const arrived = message.subarray(at, at + piece);
      const view = new Uint8Array(pending.length + arrived.length);
      view.set(pending);
      view.set(arrived, pending.length);
      pending = view.slice(handshake.receive(view, 0, view.length));
      said.push(...handshake.out);
      handshake.out = new Uint8Array(0);
    }
  }
  return said;
}

Deno.test("nbd handshake: GO brings size, flags and block sizes, in pieces of any length", () => {
  for (const piece of [1, 7, 18, 1000]) {
    const handshake = new NbdClientHandshake("disk");
    const said = shake(handshake, [
      greeting(MODERN | 0x80),
      exportInfo(3 * 2 ** 40, 0x4d),
      description(40),
      description(9000),
      blockInfo(512, 65536, 1_000_000),
      reply(NBD_REP_ACK),
    ], piece);
    assertEquals(handshake.facts, {
      bytes: 3 * 2 ** 40,
      flags: 0x4d,
      blockPreferred: 65536,
      blockMax: 999_936,
    });
    // Flags that are not known are not agreed to; one wish: block sizes.
    assertEquals(said.slice(0, 4), [0, 0, 0, MODERN]);
    assertEquals(readOption(Uint8Array.from(said), 4), { option: NBD_OPT_GO, bytes: 12 });
    assertEquals(said.slice(20), [0, 0, 0, 4, ...words("disk"), 0, 1, 0, 3]);
  }
});

Deno.test("nbd handshake: EXPORT_NAME, where GO is not known or the server is an old one", () => {
  const named = (zeroes: number) => made(10 + zeroes, (view) => writeExport(view, 0, 2 ** 20, 5));
  const expected = { bytes: 2 ** 20, flags: 5, blockPreferred: 4096, blockMax: 32 * 2 ** 20 };
  for (const piece of [1, 1000]) {
    const fallback = new NbdClientHandshake("disk");
    const said = shake(fallback, [greeting(MODERN), reply(NBD_REP_ERR_UNSUP), named(0)], piece);
    assertEquals(fallback.facts, expected);
    const option = Uint8Array.from(said.slice(-20));
    assertEquals(readOption(option, 0), { option: NBD_OPT_EXPORT_NAME, bytes: 4 });
    const old = new NbdClientHandshake("");
    shake(old, [greeting(0), named(NBD_EXPORT_NAME_ZEROES)], piece);
    assertEquals(old.facts, expected);
  }
});

Deno.test("nbd handshake: every refusal is a clause about the server", () => {
  const opening = [greeting(MODERN)];
  const cases: readonly (readonly [readonly Uint8Array[], RegExp])[] = [
    [[words("SSH-2.0-OpenSSH_9.2p1\r\n")], /^speaks no NBD/],
    [[...opening, words("HTTP/1.1 400 Bad Request")], /^answers with what is no NBD$/],
    [
      [...opening, reply(NBD_REP_ERR_UNKNOWN, words("no \x1b[1mdisk"))],
      /such export: "no {2}\[1mdisk"$/,
    ],
    [[...opening, reply(NBD_REP_ERR_TLS_REQD)], /^asks for TLS, which is not spoken here$/],
    [[...opening, reply(NBD_REP_ERR_POLICY)], /^does not let us in$/],
    [[...opening, reply(0x80000009)], /^refuses \(80000009\)$/],
    [[...opening, reply(NBD_REP_ACK)], /how large/],
    [[...opening, exportInfo(2 ** 54, 1), reply(NBD_REP_ACK)], /more than 8 PiB/],
    [
      [...opening, exportInfo(99, 1), blockInfo(4096, 4096, 8192), reply(NBD_REP_ACK)],
      /blocks of 4096/,
    ],
    [[...opening, exportInfo(99, 1), blockInfo(1, 1, 511), reply(NBD_REP_ACK)], /at most 511/],
    [[...opening, ...Array<Uint8Array>(65).fill(description(2))], /what is no NBD/],
  ];
  for (const [messages, expected] of cases) {
    const handshake = new NbdClientHandshake("disk");
    shake(handshake, messages, 1000);
    assertMatch(handshake.refusal ?? "none", expected);
    assertEquals(handshake.facts, undefined);
  }
});

Deno.test("nbd handshake: whatever a server sends, nothing throws and nothing is written", () => {
  const good = [
    ...[greeting(MODERN), exportInfo(4096, 1), blockInfo(1, 4096, 4096), description(30)],
    ...[reply(NBD_REP_ERR_UNSUP), reply(NBD_REP_ACK), greeting(0)],
  ];
  const change = fc.tuple(fc.nat({ max: 40 }), fc.nat({ max: 255 }));
  const message = fc.tuple(fc.nat({ max: good.length - 1 }), fc.array(change, { maxLength: 2 }))
    .map(([which, changes]) => {
      const bytes = good[which]!.slice();
      for (const [place, byte] of changes) if (place < bytes.length) bytes[place] = byte;
      return bytes;
    });
  const stream = fc.array(fc.oneof(message, fc.uint8Array({ maxLength: 40 })), { maxLength: 8 });
  fc.assert(
    fc.property(stream, fc.integer({ min: 1, max: 50 }), fc.boolean(), (messages, piece, begin) => {
      const handshake = new NbdClientHandshake("x".repeat(4096));
      const all = begin ? [greeting(MODERN), ...messages] : messages;
      const copies = all.map((bytes) => bytes.slice());
      const said = shake(handshake, all, piece);
      assertEquals(all, copies);
      assert(said.length <= 2 * HANDSHAKE_SEND_BYTES);
      assert(handshake.facts === undefined || handshake.refusal === undefined);
    }),
    { numRuns: 5000 },
  );
});
