import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { nbdExport } from "../../../src/core/nbd_server/export.ts";
import {
  ALLOCATION_ID,
  HANDSHAKE_BROKEN,
  HANDSHAKE_DONE,
  HANDSHAKE_ENDED,
  HANDSHAKE_GOING,
  HANDSHAKE_INPUT_BYTES,
  HANDSHAKE_OUTPUT_BYTES,
  NbdServerHandshake,
} from "../../../src/core/nbd_server/handshake.ts";
import {
  readUint16Be,
  readUint32Be,
  writeUint16Be,
  writeUint32Be,
} from "../../../src/wire/endian.ts";
import {
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_FLAG_SEND_DF,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_INFO_NAME,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_OPTION_REPLY_HEADER_BYTES,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
  readBlockSizes,
  readExport,
  readGreeting,
  readNbdString,
  readOptionReply,
  writeNbdString,
  writeOption,
} from "../../../src/wire/nbd.ts";
import { hexOf } from "../../wire/encoding.ts";

const OUTPUT_AT = 11;
const disk = nbdExport({
  bytes: 10_240_000,
  physicalBlockBytes: 4096,
  discard: true,
  discardsAreZero: true,
  readOnly: false,
  rotational: false,
});
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A reply to an option: its type and its data. */
interface Reply {
  readonly option: number;
  readonly type: number;
  readonly data: Uint8Array;
}

/** A client of a handshake; what the server writes outside of its room is found out. */
class Client {
  readonly handshake = new NbdServerHandshake(disk, encoder.encode("e1.1"));
  readonly #output = new Uint8Array(OUTPUT_AT + HANDSHAKE_OUTPUT_BYTES + 20);

  /** @param flags Null: what is sent first is for the test to send. */
  constructor(flags: number | null = NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES) {
    if (flags === null) return;
    const bytes = new Uint8Array(4);
    writeUint32Be(bytes, 0, flags);
    assertEquals(this.send(bytes), new Uint8Array(0));
  }

  /** Sends bytes, all of which have to be taken; returns what was answered. */
  send(input: Uint8Array): Uint8Array {
    const answers: number[] = [];
    for (let at = 0; at < input.length;) {
      this.#output.fill(0xa5);
      const taken = this.handshake.receive(input, at, input.length, this.#output, OUTPUT_AT);
      const end = OUTPUT_AT + this.handshake.written;
      assert(this.handshake.written <= HANDSHAKE_OUTPUT_BYTES);
      assert(this.#output.subarray(0, OUTPUT_AT).every((byte) => byte === 0xa5));
      assert(this.#output.subarray(end).every((byte) => byte === 0xa5));
      answers.push(...this.#output.subarray(OUTPUT_AT, end));
      if (taken === 0) break;
      at += taken;
    }
    return Uint8Array.from(answers);
  }

  option(option: number, data: Uint8Array = new Uint8Array(0)): Reply[] {
    const bytes = new Uint8Array(16 + data.length);
    writeOption(bytes, 0, option, data.length);
    bytes.set(data, 16);
    return repliesOf(this.send(bytes));
  }
}

function repliesOf(bytes: Uint8Array): Reply[] {
  const replies: Reply[] = [];
  for (let at = 0; at < bytes.length;) {
    const header = readOptionReply(bytes, at);
    assert(header !== undefined, hexOf(bytes));
    at += NBD_OPTION_REPLY_HEADER_BYTES;
    const { option, type } = header;
    replies.push({ option, type, data: bytes.subarray(at, at + header.bytes) });
    at += header.bytes;
    assert(at <= bytes.length);
  }
  return replies;
}

function typesOf(replies: readonly Reply[]): number[] {
  return replies.map((reply) => reply.type);
}

/** Data of NBD_OPT_GO and NBD_OPT_INFO. */
function asking(name: string, ...infos: number[]): Uint8Array {
  const text = encoder.encode(name);
  const data = new Uint8Array(4 + text.length + 2 + infos.length * 2);
  const at = writeNbdString(data, 0, text);
  writeUint16Be(data, at, infos.length);
  infos.forEach((info, i) => writeUint16Be(data, at + 2 + 2 * i, info));
  return data;
}

/** Data of the options about metadata. */
function querying(name: string, ...queries: string[]): Uint8Array {
  const data = new Uint8Array(8192);
  let at = writeNbdString(data, 0, encoder.encode(name));
  writeUint32Be(data, at, queries.length);
  at += 4;
  for (const query of queries) at = writeNbdString(data, at, encoder.encode(query));
  return data.slice(0, at);
}

Deno.test("nbd_handshake: the server greets first", () => {
  const output = new Uint8Array(40);
  const handshake = new NbdServerHandshake(disk, encoder.encode("e1.1"));
  assertEquals(handshake.greet(output, 4), 18);
  assertEquals(readGreeting(output, 4), NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
});

for (const flags of [4, 0x8000_0000, 0xffff_fffc]) {
  Deno.test(`nbd_handshake: unknown client flags ${flags.toString(16)} end it`, () => {
    assertEquals(new Client(flags).handshake.state, HANDSHAKE_BROKEN);
  });
}

for (const name of ["", "e1.1"]) {
  for (const option of [NBD_OPT_INFO, NBD_OPT_GO]) {
    Deno.test(`nbd_handshake: option ${option} for "${name}" tells size and limits`, () => {
      const client = new Client();
      const replies = client.option(option, asking(name, NBD_INFO_NAME, NBD_INFO_BLOCK_SIZE));
      assertEquals(typesOf(replies), [NBD_REP_INFO, NBD_REP_INFO, NBD_REP_INFO, NBD_REP_ACK]);
      assert(replies.every((reply) => reply.option === option));
      const [size, limits, named] = replies.map((reply) => reply.data);
      assertEquals(readUint16Be(size!, 0), NBD_INFO_EXPORT);
      assertEquals(readExport(size!, 2), { bytes: disk.bytes, flags: disk.flags });
      assertEquals(readUint16Be(limits!, 0), NBD_INFO_BLOCK_SIZE);
      assertEquals(readBlockSizes(limits!, 2), { min: 512, preferred: 4096, max: 32 << 20 });
      assertEquals(decoder.decode(named!.subarray(2)), "e1.1");
      const after = option === NBD_OPT_GO ? HANDSHAKE_DONE : HANDSHAKE_GOING;
      assertEquals(client.handshake.state, after);
      assertEquals([client.handshake.structured, client.handshake.blockStatus], [false, false]);
    });
  }
}

Deno.test("nbd_handshake: another export is refused, and the client can go on", () => {
  const client = new Client();
  assertEquals(typesOf(client.option(NBD_OPT_GO, asking("e1.2"))), [NBD_REP_ERR_UNKNOWN]);
  const [reply] = client.option(NBD_OPT_LIST);
  assertEquals(reply?.type, NBD_REP_SERVER);
  assertEquals(decoder.decode(readNbdString(reply!.data, 0, reply!.data.length)), "e1.1");
  assertEquals(typesOf(client.option(NBD_OPT_GO, asking("e1.1"))).at(-1), NBD_REP_ACK);
});

Deno.test("nbd_handshake: the old way into transmission, with and without its zeros", () => {
  for (const [flags, bytes] of [[NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, 10], [0, 134]]) {
    const client = new Client(flags);
    const request = new Uint8Array(16);
    writeOption(request, 0, NBD_OPT_EXPORT_NAME, 0);
    const answer = client.send(request);
    assertEquals(answer.length, bytes);
    assertEquals(readExport(answer, 0), { bytes: disk.bytes, flags: disk.flags });
    assert(answer.subarray(10).every((byte) => byte === 0));
    assertEquals(client.handshake.state, HANDSHAKE_DONE);
  }
  const client = new Client();
  assertEquals(client.option(NBD_OPT_EXPORT_NAME, encoder.encode("other")), []);
  assertEquals(client.handshake.state, HANDSHAKE_BROKEN);
});

Deno.test("nbd_handshake: abort is answered, and ends it", () => {
  const client = new Client();
  assertEquals(typesOf(client.option(NBD_OPT_ABORT)), [NBD_REP_ACK]);
  assertEquals(client.handshake.state, HANDSHAKE_ENDED);
});

Deno.test("nbd_handshake: block status is agreed on for one export, with structured replies", () => {
  const client = new Client();
  const query = querying("", "base:allocation", "qemu:dirty-bitmap:x");
  assertEquals(typesOf(client.option(NBD_OPT_SET_META_CONTEXT, query)), [NBD_REP_ERR_INVALID]);
  assertEquals(typesOf(client.option(NBD_OPT_STRUCTURED_REPLY)), [NBD_REP_ACK]);
  const [context, ack] = client.option(NBD_OPT_SET_META_CONTEXT, query);
  assertEquals([context?.type, ack?.type], [NBD_REP_META_CONTEXT, NBD_REP_ACK]);
  assertEquals(readUint32Be(context!.data, 0), ALLOCATION_ID);
  assertEquals(decoder.decode(context!.data.subarray(4)), "base:allocation");
  const [size] = client.option(NBD_OPT_GO, asking(""));
  assertEquals(readExport(size!.data, 2).flags, disk.flags | NBD_FLAG_SEND_DF);
  assertEquals([client.handshake.structured, client.handshake.blockStatus], [true, true]);
});

Deno.test("nbd_handshake: what was agreed on for one name does not hold for another", () => {
  const client = new Client();
  client.option(NBD_OPT_STRUCTURED_REPLY);
  client.option(NBD_OPT_SET_META_CONTEXT, querying("", "base:allocation"));
  client.option(NBD_OPT_GO, asking("e1.1"));
  assertEquals(client.handshake.blockStatus, false);
});

Deno.test("nbd_handshake: setting again without a match unsets", () => {
  const client = new Client();
  client.option(NBD_OPT_STRUCTURED_REPLY);
  client.option(NBD_OPT_SET_META_CONTEXT, querying("", "base:allocation"));
  const replies = client.option(NBD_OPT_SET_META_CONTEXT, querying("", "base:"));
  assertEquals(typesOf(replies), [NBD_REP_ACK]);
  client.option(NBD_OPT_GO, asking(""));
  assertEquals(client.handshake.blockStatus, false);
});

for (const queries of [[], ["base:"], ["base:allocation"], ["x:y", "base:"]]) {
  Deno.test(`nbd_handshake: listing metadata by [${queries}] finds base:allocation`, () => {
    const client = new Client();
    client.option(NBD_OPT_STRUCTURED_REPLY);
    const replies = client.option(NBD_OPT_LIST_META_CONTEXT, querying("", ...queries));
    assertEquals(typesOf(replies), [NBD_REP_META_CONTEXT, NBD_REP_ACK]);
    client.option(NBD_OPT_GO, asking(""));
    assertEquals(client.handshake.blockStatus, false);
  });
}

const truncated = asking("e1.1", NBD_INFO_NAME);
for (
  const [what, option, data, reply] of [
    ["a list with data", NBD_OPT_LIST, new Uint8Array(1), NBD_REP_ERR_INVALID],
    ["structured replies with data", NBD_OPT_STRUCTURED_REPLY, new Uint8Array(4), -1],
    ["no name", NBD_OPT_GO, new Uint8Array(3), NBD_REP_ERR_INVALID],
    ["a name that is cut off", NBD_OPT_GO, truncated.subarray(0, 6), NBD_REP_ERR_INVALID],
    ["a wish that is cut off", NBD_OPT_INFO, truncated.slice(0, -1), NBD_REP_ERR_INVALID],
    ["bytes behind the wishes", NBD_OPT_INFO, new Uint8Array([...truncated, 0]), -1],
    ["TLS", NBD_OPT_STARTTLS, new Uint8Array(0), NBD_REP_ERR_UNSUP],
    ["an option of the future", 4711, new Uint8Array(100), NBD_REP_ERR_UNSUP],
    ["data beyond the limit", 4711, new Uint8Array(9000), NBD_REP_ERR_TOO_BIG],
  ] as const
) {
  Deno.test(`nbd_handshake: ${what} is refused in words of the protocol`, () => {
    const client = new Client();
    const type = reply === -1 ? NBD_REP_ERR_INVALID : reply;
    assertEquals(typesOf(client.option(option, data)), [type]);
    assertEquals(client.handshake.state, HANDSHAKE_GOING);
    assertEquals(typesOf(client.option(NBD_OPT_GO, asking(""))).at(-1), NBD_REP_ACK);
  });
}

Deno.test("nbd_handshake: metadata queries that contradict themselves are refused", () => {
  const client = new Client();
  client.option(NBD_OPT_STRUCTURED_REPLY);
  const good = querying("", "base:allocation");
  const tooMany = good.slice();
  writeUint32Be(tooMany, 4, 0xffff_ffff);
  for (
    const data of [good.subarray(0, 6), good.slice(0, -1), new Uint8Array([...good, 0]), tooMany]
  ) {
    const replies = client.option(NBD_OPT_SET_META_CONTEXT, data);
    assertEquals(typesOf(replies), [NBD_REP_ERR_INVALID]);
  }
  const unknown = client.option(NBD_OPT_SET_META_CONTEXT, querying("x", "base:allocation"));
  assertEquals(typesOf(unknown), [NBD_REP_ERR_UNKNOWN]);
});

Deno.test("nbd_handshake: a wrong magic, and asking without end, end it", () => {
  const client = new Client();
  client.send(new Uint8Array(16));
  assertEquals(client.handshake.state, HANDSHAKE_BROKEN);
  const tireless = new Client();
  for (let i = 0; i < 1000 && tireless.handshake.state === HANDSHAKE_GOING; i++) {
    tireless.option(NBD_OPT_LIST);
  }
  assertEquals(tireless.handshake.state, HANDSHAKE_BROKEN);
});

Deno.test("nbd_handshake: it does not matter how the bytes are cut", () => {
  const parts = [
    new Uint8Array([0, 0, 0, 3]),
    ...([[NBD_OPT_STRUCTURED_REPLY, new Uint8Array(0)], [4711, new Uint8Array(9000)], [
      NBD_OPT_SET_META_CONTEXT,
      querying("e1.1", "base:allocation"),
    ], [NBD_OPT_GO, asking("e1.1")]] as const).map(([option, data]) => {
      const bytes = new Uint8Array(16 + data.length);
      writeOption(bytes, 0, option, data.length);
      bytes.set(data, 16);
      return bytes;
    }),
  ];
  const whole = Uint8Array.from(parts.flatMap((part) => [...part]));
  const expected = new Client(null).send(whole);
  fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 4000 })), (sizes) => {
    const client = new Client(null);
    const answers: number[] = [];
    let start = 0;
    let end = 0;
    const output = new Uint8Array(HANDSHAKE_OUTPUT_BYTES);
    while (end < whole.length) {
      end = Math.min(whole.length, end + (sizes.shift() ?? whole.length));
      for (;;) {
        const taken = client.handshake.receive(whole, start, end, output, 0);
        answers.push(...output.subarray(0, client.handshake.written));
        start += taken;
        if (taken === 0) break;
      }
    }
    assertEquals(Uint8Array.from(answers), expected);
    const { state, structured, blockStatus } = client.handshake;
    assertEquals([state, structured, blockStatus], [HANDSHAKE_DONE, true, true]);
  }));
});

Deno.test("nbd_handshake: whatever comes, it takes no more than there is and never throws", () => {
  const garbage = fc.uint8Array({ maxLength: 200 });
  const option = fc.tuple(fc.nat(12), fc.oneof(fc.nat(40), fc.nat(0xffff_ffff)), garbage).map(
    ([type, length, data]) => {
      const bytes = new Uint8Array(16 + data.length);
      writeOption(bytes, 0, type, length);
      bytes.set(data, 16);
      return bytes;
    },
  );
  fc.assert(fc.property(fc.array(fc.oneof(garbage, option)), (messages) => {
    const client = new Client();
    for (const message of messages) {
      assert(message.length <= HANDSHAKE_INPUT_BYTES);
      client.send(message);
    }
  }));
});
