import { assert, assertEquals } from "@std/assert";
import type { ValueParser } from "@optique/core/valueparser";
import fc from "fast-check";
import {
  address,
  byteSize,
  hostAndPort,
  integerBetween,
  interfaceList,
  macList,
  path,
  seconds,
  sectorsOrBytes,
} from "../../src/commands/arguments.ts";

const K = 1024;

/** Text → value, or undefined where the text is refused. */
function assertParses<T>(
  parser: ValueParser<"sync", T>,
  cases: readonly (readonly [string, T | undefined])[],
): void {
  for (const [text, expected] of cases) {
    const result = parser.parse(text);
    assertEquals([text, result.success ? result.value : undefined], [text, expected]);
  }
}

Deno.test("arguments: hosts with ports", () => {
  assertParses(hostAndPort(), [
    ["127.0.0.1:10809", { host: "127.0.0.1", port: 10809 }],
    ["[::1]:0", { host: "::1", port: 0 }],
    ["disks.example:65535", { host: "disks.example", port: 65535 }],
    ["::1:10809", undefined],
    ["127.0.0.1", undefined],
    ["127.0.0.1:65536", undefined],
    ["127.0.0.1:-1", undefined],
    [":10809", undefined],
    ["a b:1", undefined],
    ["", undefined],
  ]);
  assertEquals(hostAndPort().format({ host: "::1", port: 1 }), "[::1]:1");
});

Deno.test("arguments: addresses", () => {
  assertParses(address(), [
    ["e1.1", { shelf: 1, slot: 1 }],
    ["1.1", { shelf: 1, slot: 1 }],
    ["65534.254", { shelf: 65534, slot: 254 }],
    ["e0.0", { shelf: 0, slot: 0 }],
    ["65535.1", undefined],
    ["1.255", undefined],
    ["1", undefined],
    ["e1.1p1", undefined],
    ["", undefined],
  ]);
});

Deno.test("arguments: MAC addresses, with and without colons, in any case", () => {
  assertParses(macList(), [
    ["00:11:22:AA:bb:cc", ["001122aabbcc"]],
    ["001122AABBCC,52:54:00:12:34:56", ["001122aabbcc", "525400123456"]],
    ["00:11:22:aa:bb", undefined],
    ["00:11:22:aa:bb:cg", undefined],
    ["001122aabbcc,", undefined],
    ["", undefined],
  ]);
});

Deno.test("arguments: interfaces", () => {
  assertParses(interfaceList(), [
    ["eth0", ["eth0"]],
    ["eth0,br-lan.5,enp0s31f6", ["eth0", "br-lan.5", "enp0s31f6"]],
    ["eth0,eth0", undefined],
    ["eth0,", undefined],
    ["x".repeat(127), ["x".repeat(127)]],
    ["x".repeat(128), undefined],
    ["a/b", undefined],
    ["..", undefined],
  ]);
  const names = [...interfaceList().suggest?.("eth9,l") ?? []];
  assert(names.some((name) => name.kind === "literal" && name.text === "eth9,lo"));
});

Deno.test("arguments: sizes in bytes", () => {
  assertParses(byteSize(), [
    ["512", 512],
    ["4k", 4 * K],
    ["4K", 4 * K],
    ["1.5M", 1.5 * K * K],
    ["10G", 10 * K ** 3],
    ["2TiB", 2 * K ** 4],
    ["1P", K ** 5],
    ["0", undefined],
    ["1.0001K", undefined],
    ["-1", undefined],
    ["1e3", undefined],
    ["9999P", undefined],
    ["K", undefined],
  ]);
});

Deno.test("arguments: a plain number is sectors, a suffix makes it bytes", () => {
  assertParses(sectorsOrBytes(), [
    ["0", 0],
    ["8", 8],
    ["4K", 8],
    ["512B", 1],
    ["1.5K", 3],
    ["700B", undefined],
    ["99999999999999999", undefined],
    ["0x10", undefined],
    ["", undefined],
  ]);
  assertParses(sectorsOrBytes({ min: 1 }), [["0", undefined], ["1", 1]]);
  fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 41 }), (sectors) => {
    assertParses(sectorsOrBytes(), [[String(sectors), sectors], [`${2 * sectors}K`, 4 * sectors]]);
  }));
});

Deno.test("arguments: seconds become milliseconds", () => {
  assertParses(seconds(), [
    ["1", 1000],
    ["0.5", 500],
    [".25", 250],
    ["86400", 86_400_000],
    ["0", undefined],
    ["86401", undefined],
    ["1s", undefined],
    ["1e3", undefined],
    ["", undefined],
  ]);
});

Deno.test("arguments: whole numbers between bounds, and paths", () => {
  assertParses(integerBetween(16, 64), [
    ["16", 16],
    ["64", 64],
    ["15", undefined],
    ["65", undefined],
    ["16.5", undefined],
    ["+16", undefined],
    ["", undefined],
  ]);
  assertParses(path(), [["disk.img", "disk.img"], ["-", "-"], ["", undefined]]);
});

Deno.test("arguments: any text is either accepted or refused with a sentence", () => {
  const parsers = [
    address(),
    macList(),
    interfaceList(),
    byteSize(),
    sectorsOrBytes(),
    seconds(),
    integerBetween(0, 9),
  ];
  fc.assert(fc.property(fc.string({ maxLength: 40 }), (text) => {
    for (const parser of parsers) {
      const result = parser.parse(text);
      assert(result.success || result.error.length > 0);
    }
  }));
});
