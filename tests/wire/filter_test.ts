// The programs are run by an interpreter, and are checked as the kernel checks them before it takes
// them. That they agree with the target, frame by frame, shows core/target/fuzz_test.ts.

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Address } from "../../src/wire/aoe.ts";
import { initiatorFilter, rivalFilter, targetFilter } from "../../src/wire/filter.ts";
import { run, TO_BROADCAST, TO_HOST, TO_MULTICAST, TO_OTHER_HOST } from "./bpf.ts";
import { bytesOf } from "./encoding.ts";

/** What bpf_check_classic() asks of a program. */
function assertLoadable(program: Uint8Array): void {
  assertEquals(program.length % 8, 0);
  const count = program.length / 8;
  assert(count >= 1 && count <= 4096, `${count} instructions`);
  const code = new DataView(program.buffer);
  for (let i = 0; i < count; i++) {
    const opcode = code.getUint16(8 * i, true);
    const jumps = opcode === 0x05
      ? [code.getUint32(8 * i + 4, true)]
      : [0x15, 0x25, 0x35, 0x45].includes(opcode)
      ? [code.getUint8(8 * i + 2), code.getUint8(8 * i + 3)]
      : [];
    for (const jump of jumps) assert(i + 1 + jump < count, `jump of ${i} leaves the program`);
  }
  assertEquals(code.getUint16(8 * (count - 1), true), 0x06, "the last instruction returns");
}

function frameFor(
  shelf: number,
  slot: number,
  options: { flags?: number; etherType?: number; command?: number; source?: number } = {},
) {
  const frame = bytesOf(`02 00 00 00 00 01 02 00 00 00 00 02 ${"00 ".repeat(48)}`);
  const view = new DataView(frame.buffer);
  view.setUint16(12, options.etherType ?? 0x88a2);
  view.setUint8(14, 0x10 | (options.flags ?? 0));
  view.setUint16(16, shelf);
  view.setUint8(18, slot);
  view.setUint8(19, options.command ?? 1);
  view.setUint8(6, options.source ?? 2);
  return frame;
}

const EXPORTS: readonly Address[] = [{ shelf: 1, slot: 1 }, { shelf: 1, slot: 2 }, {
  shelf: 0x1234,
  slot: 0,
}];
const target = targetFilter(EXPORTS);

for (
  const [name, frame, passes] of [
    ["the first export", frameFor(1, 1), true],
    ["the second export", frameFor(1, 2), true],
    ["an export on another shelf", frameFor(0x1234, 0), true],
    ["a slot that is not exported", frameFor(1, 3), false],
    ["a slot exported on another shelf only", frameFor(1, 0), false],
    ["a shelf that is not exported", frameFor(2, 1), false],
    ["a shelf with its bytes swapped", frameFor(0x3412, 0), false],
    ["everybody", frameFor(0xffff, 0xff), true],
    ["every shelf's slot that is exported", frameFor(0xffff, 2), true],
    ["every shelf's slot that is not", frameFor(0xffff, 7), false],
    ["every slot of an exported shelf", frameFor(1, 0xff), true],
    ["every slot of another shelf", frameFor(2, 0xff), false],
    ["a response", frameFor(1, 1, { flags: 8 }), false],
    ["a broadcast response", frameFor(0xffff, 0xff, { flags: 8 }), false],
    ["a request with its other flags set", frameFor(1, 1, { flags: 7 }), true],
    ["another version, which has to be answered", frameFor(1, 1, { flags: 0x20 }), true],
    ["an unknown command, likewise", frameFor(1, 1, { command: 0xf0 }), true],
    ["a command for all that is not for all", frameFor(0xffff, 1, { command: 2 }), false],
    ["a group address as the sender", frameFor(1, 1, { source: 3 }), false],
    ["another EtherType", frameFor(1, 1, { etherType: 0x0800 }), false],
    ["an EtherType with its bytes swapped", frameFor(1, 1, { etherType: 0xa288 }), false],
    ["a frame that ends before its slot", frameFor(1, 1).subarray(0, 18), false],
    ["a frame that ends before its EtherType", frameFor(1, 1).subarray(0, 13), false],
    ["nothing at all", new Uint8Array(0), false],
  ] as const
) {
  Deno.test(`filter: a target ${passes ? "hears" : "does not hear"} ${name}`, () => {
    assertEquals(run(target, frame, TO_HOST), passes ? 0xffffffff : 0);
  });
}

Deno.test("filter: a frame to another host is not heard, whatever interface shows it", () => {
  for (const type of [TO_HOST, TO_BROADCAST, TO_MULTICAST]) {
    assertEquals(run(target, frameFor(1, 1), type), 0xffffffff);
    assertEquals(run(initiatorFilter(), frameFor(1, 1, { flags: 8 }), type), 0xffffffff);
  }
  assertEquals(run(target, frameFor(1, 1), TO_OTHER_HOST), 0);
  assertEquals(run(initiatorFilter(), frameFor(1, 1, { flags: 8 }), TO_OTHER_HOST), 0);
});

Deno.test("filter: an initiator hears responses only", () => {
  const filter = initiatorFilter();
  assertLoadable(filter);
  for (let flags = 0; flags < 16; flags++) {
    assertEquals(run(filter, frameFor(9, 9, { flags }), TO_HOST) !== 0, (flags & 8) !== 0);
  }
  assertEquals(run(filter, frameFor(9, 9, { flags: 8, etherType: 0x88a3 }), TO_HOST), 0);
});

Deno.test("filter: an initiator hears its own disks, and others that look for them", () => {
  const filter = initiatorFilter([{ shelf: 9, slot: 9 }, { shelf: 9, slot: 10 }]);
  assertLoadable(filter);
  const heard = (shelf: number, slot: number, command: number, flags = 0) => {
    const frame = frameFor(shelf, slot, { flags });
    frame[19] = command;
    return run(filter, frame, TO_BROADCAST) !== 0;
  };
  assertEquals([heard(9, 9, 1), heard(9, 10, 1)], [true, true]);
  assertEquals([heard(9, 11, 1), heard(8, 9, 1), heard(0xffff, 9, 1)], [false, false, false]);
  assertEquals([heard(9, 9, 0), heard(9, 9, 2), heard(9, 10, 3)], [false, false, false]);
  assertEquals([heard(9, 9, 0, 8), heard(9, 10, 1, 8), heard(9, 9, 3, 0xc)], [true, true, true]);
  // Another initiator on this host has asked those.
  assertEquals([heard(9, 11, 0, 8), heard(7, 9, 1, 8)], [false, false]);
});

Deno.test("filter: many exports on many shelves, every frame as the list says", () => {
  const address = fc.record({ shelf: fc.nat(40), slot: fc.nat(254) });
  fc.assert(
    fc.property(
      fc.array(address, { minLength: 1, maxLength: 300 }),
      fc.array(fc.record({ shelf: fc.nat(41), slot: fc.nat(255) }), { maxLength: 20 }),
      (exports, others) => {
        const program = targetFilter(exports);
        assertLoadable(program);
        for (const { shelf, slot } of [...exports.slice(0, 20), ...others]) {
          for (const asked of [{ shelf, slot }, { shelf: 0xffff, slot }, { shelf, slot: 0xff }]) {
            const meant = exports.some((own) =>
              (asked.shelf === 0xffff || asked.shelf === own.shelf) &&
              (asked.slot === 0xff || asked.slot === own.slot)
            );
            assertEquals(run(program, frameFor(asked.shelf, asked.slot), TO_HOST) !== 0, meant);
          }
        }
      },
    ),
  );
});

Deno.test("filter: a whole shelf fits, and so do two hundred shelves", () => {
  assertLoadable(targetFilter(Array.from({ length: 255 }, (_, slot) => ({ shelf: 1, slot }))));
  const shelves = targetFilter(Array.from({ length: 200 }, (_, shelf) => ({ shelf, slot: 1 })));
  assertLoadable(shelves);
  assertEquals(run(shelves, frameFor(199, 1), TO_HOST), 0xffffffff);
  assertEquals(run(shelves, frameFor(200, 1), TO_HOST), 0);
});

Deno.test("filter: the same export twice is one", () => {
  assertEquals(targetFilter([EXPORTS[0]!, EXPORTS[0]!]), targetFilter([EXPORTS[0]!]));
});

Deno.test("filter: more exports than the kernel takes are refused", () => {
  const exports = Array.from({ length: 600 }, (_, shelf) => ({ shelf, slot: 1 }));
  assertThrows(() => targetFilter(exports), RangeError, "600 exports are too many");
});

Deno.test("filter: a rival is who answers for one of our addresses", () => {
  const filter = rivalFilter(EXPORTS);
  assertLoadable(filter);
  for (const [shelf, slot, passes] of [[1, 1, true], [1, 2, true], [0x1234, 0, true]] as const) {
    const type = TO_BROADCAST;
    assertEquals(run(filter, frameFor(shelf, slot, { flags: 8 }), type) > 0, passes);
    assertEquals(run(filter, frameFor(shelf, slot), type), 0, "a request is none");
  }
  for (const [shelf, slot] of [[1, 3], [1, 0], [2, 1], [0x3412, 0]] as const) {
    assertEquals(run(filter, frameFor(shelf, slot, { flags: 8 }), TO_HOST), 0);
  }
});
