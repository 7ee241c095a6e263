import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  configCommand,
  configLength,
  readConfigResponse,
  writeConfigRequest,
  writeConfigResponse,
} from "../../src/wire/config.ts";
import { bytesOf, framed, hexOf, written } from "./encoding.ts";

const text = new TextEncoder();
const HEADER = "00 ".repeat(24);

for (
  const [name, command, string, hex] of [
    ["a read", 0, "", "00 00 00 00 00 10 00 00"],
    ["a test", 1, "abc", "00 00 00 00 00 11 00 03 61 62 63"],
    ["a prefix test", 2, "a", "00 00 00 00 00 12 00 01 61"],
    ["a set", 3, "x y", "00 00 00 00 00 13 00 03 78 20 79"],
    ["a force set of nothing", 4, "", "00 00 00 00 00 14 00 00"],
  ] as const
) {
  Deno.test(`config: ${name}, byte for byte`, () => {
    const bytes = text.encode(string);
    let length = 0;
    const section = written(24, 32 + bytes.length, (view, at) => {
      length = writeConfigRequest(view, at, command, bytes);
    });
    assertEquals(hexOf(section), hex);
    assertEquals(length, 32 + bytes.length);
    const { view, at } = framed(bytesOf(HEADER + hex));
    assertEquals(configCommand(view, at), command);
    assertEquals(configLength(view, at), bytes.length);
  });
}

Deno.test("config: a response, byte for byte; the sub-command stands as it came", () => {
  let length = 0;
  const section = written(24, 35, (view, at) => {
    view[at + 29] = 0xf3;
    length = writeConfigResponse(view, at, {
      buffers: 0x1234,
      firmware: 0x5678,
      sectors: 17,
      string: text.encode("abc"),
    });
  });
  assertEquals(hexOf(section), "12 34 56 78 11 13 00 03 61 62 63");
  assertEquals(length, 35);
});

Deno.test("config: every request's sub-command and length come back", () => {
  const string = fc.uint8Array({ maxLength: 1024 });
  fc.assert(fc.property(fc.nat(4), string, (command, bytes) => {
    const section = written(24, 32 + bytes.length, (view, at) => {
      writeConfigRequest(view, at, command, bytes);
    });
    const { view, at } = framed(new Uint8Array([...new Uint8Array(24), ...section]));
    assertEquals(configCommand(view, at), command);
    assertEquals(configLength(view, at), bytes.length);
    assertEquals(view.slice(at + 32, at + 32 + bytes.length), bytes);
  }));
});

Deno.test("config: every response comes back", () => {
  const response = fc.record({
    buffers: fc.nat(0xffff),
    firmware: fc.nat(0xffff),
    sectors: fc.integer({ min: 1, max: 255 }),
    string: fc.uint8Array({ maxLength: 1024 }),
  }, { noNullPrototype: true });
  fc.assert(fc.property(response, fc.nat(100), (fields, padding) => {
    const view = new Uint8Array(2048).fill(0xa5);
    const length = writeConfigResponse(view, 7, fields);
    assertEquals(readConfigResponse(view, 7, length + padding), fields);
    assertEquals(readConfigResponse(view, 7, length - 1), undefined);
  }));
});

Deno.test("config: a response's 0 sectors read as 2", () => {
  const { view, at } = framed(bytesOf(`${HEADER} 00 03 00 01 00 10 00 00`));
  assertEquals(readConfigResponse(view, at, 32)?.sectors, 2);
});

for (
  const [name, section, length] of [
    ["that ends before its section", "00 40 00 01 02 10 00 00", 31],
    ["that ends before its string", "00 40 00 01 02 10 00 04 61 62 63", 35],
    ["with a string of 1025 bytes", `00 40 00 01 02 10 04 01 ${"61 ".repeat(1025)}`, 32 + 1025],
  ] as const
) {
  Deno.test(`config: a response ${name} is none`, () => {
    const { view, at } = framed(bytesOf(HEADER + section));
    assertEquals(readConfigResponse(view, at, length), undefined);
  });
}

Deno.test("config: a response with a string of 1024 bytes is one", () => {
  const { view, at } = framed(bytesOf(`${HEADER} 00 40 00 01 02 10 04 00 ${"61 ".repeat(1024)}`));
  assertEquals(readConfigResponse(view, at, 32 + 1024)?.string.length, 1024);
});

Deno.test("config: a response's string is a copy", () => {
  const { view, at } = framed(bytesOf(`${HEADER} 00 40 00 01 02 10 00 01 61`));
  const response = readConfigResponse(view, at, 60);
  view.fill(0);
  assertEquals(response?.string, text.encode("a"));
});

Deno.test("config: any bytes are read without a throw, and never beyond the frame", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 1200 }), (bytes) => {
    const { view, at } = framed(bytes);
    const response = readConfigResponse(view, at, bytes.length);
    if (response !== undefined) {
      assertEquals(bytes.length >= 32 + response.string.length, true);
    }
  }));
});
