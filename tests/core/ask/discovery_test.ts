// Who is there: the questions byte by byte, and what becomes of every kind of answer.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Discovery, groupByAddress, isContested } from "../../../src/core/ask/discovery.ts";
import type { FoundPath } from "../../../src/core/ask/discovery.ts";
import {
  AOE_FLAG_ERROR,
  AOE_FLAG_RESPONSE,
  AOE_TAG,
  turnIntoResponse,
  writeAoeHeader,
} from "../../../src/wire/aoe.ts";
import {
  ATA_COMMAND_STATUS,
  ATA_DATA,
  ATA_ERROR_ABRT,
  ATA_FEATURE_ERROR,
  ATA_STATUS_DRDY,
  ATA_STATUS_ERR,
} from "../../../src/wire/ata.ts";
import { writeConfigResponse } from "../../../src/wire/config.ts";
import { parseMac } from "../../../src/wire/ethernet.ts";
import { IDENTIFY_BYTES, writeIdentity } from "../../../src/wire/identify.ts";

const US = parseMac("02:00:00:00:00:01")!;
const DISK = parseMac("02:00:00:00:00:02")!;
const OTHER = parseMac("02:00:00:00:00:03")!;
const CONFIG = { buffers: 64, firmware: 0x4019, sectors: 17, string: new Uint8Array([0x68]) };
const IDENTITY = {
  ...{ serial: "S1", firmware: "1", model: "M", sectors: 32768 },
  ...{ writeCacheSupported: true, writeCacheOn: true, trim: true },
  ...{ physicalSectorBytes: 512, rotational: false },
};

/** Room for one frame, full of what must not show through. */
function frame(): Uint8Array {
  return new Uint8Array(2048).fill(0xa5);
}

/** The answer to a query of this discovery. */
function configAnswer(discovery: Discovery, options: {
  readonly shelf: number;
  readonly slot: number;
  readonly mac?: Uint8Array;
  readonly config?: typeof CONFIG;
}): Uint8Array {
  const view = frame();
  discovery.writeQuery(view, 0, US, undefined);
  turnIntoResponse(view, 0, options.mac ?? DISK, options.shelf, options.slot, 0);
  return view.subarray(0, Math.max(60, writeConfigResponse(view, 0, options.config ?? CONFIG)));
}

/** The answer to an IDENTIFY. */
function identifyAnswer(discovery: Discovery, path: FoundPath, identity = IDENTITY): Uint8Array {
  const view = frame();
  discovery.writeIdentify(view, 0, US, path);
  turnIntoResponse(view, 0, path.mac, path.address.shelf, path.address.slot, 0);
  view[ATA_COMMAND_STATUS] = ATA_STATUS_DRDY;
  writeIdentity(view, ATA_DATA, identity);
  return view.subarray(0, ATA_DATA + IDENTIFY_BYTES);
}

function hear(discovery: Discovery, answer: Uint8Array, link = 0): void {
  discovery.receive(answer, 0, answer.length, link);
}

Deno.test("discovery: a query to everybody, byte by byte", () => {
  const view = frame();
  assertEquals(new Discovery(0x1234).writeQuery(view, 3, US, undefined), 60);
  assertEquals(
    view.subarray(3, 63).toHex(),
    "ffffffffffff" + "020000000001" + "88a2" + "1000" + "ffff" + "ff" + "01" + "92340000" +
      "0000" + "0000" + "00" + "10" + "0000" + "00".repeat(28),
  );
  assertEquals([view[2], view[63]], [0xa5, 0xa5]);
});

Deno.test("discovery: an IDENTIFY goes to one path, byte by byte", () => {
  const discovery = new Discovery(1);
  hear(discovery, configAnswer(discovery, { shelf: 258, slot: 7 }));
  const view = frame();
  assertEquals(discovery.writeIdentify(view, 0, US, discovery.paths()[0]!), 60);
  assertEquals(
    view.subarray(0, 60).toHex(),
    "020000000002" + "020000000001" + "88a2" + "1000" + "0102" + "07" + "00" + "80010001" +
      "00" + "00" + "01" + "ec" + "000000a00000" + "0000" + "00".repeat(24),
  );
});

Deno.test("discovery: the tag has bit 31 set, whatever the nonce", () => {
  for (const nonce of [0, 0x7fffffff, 0xffffffff, 2 ** 15 * 0.999]) {
    const view = frame();
    new Discovery(nonce).writeQuery(view, 0, US, undefined);
    assert(view[AOE_TAG]! >= 0x80);
  }
});

Deno.test("discovery: answers are listed by address as numbers, then interface, then MAC", () => {
  const discovery = new Discovery(1);
  for (
    const [shelf, slot, mac, link] of [
      [10, 1, DISK, 0],
      [2, 10, DISK, 1],
      [2, 9, OTHER, 0],
      [2, 9, DISK, 0],
      [2, 9, DISK, 0],
      [2, 10, OTHER, 0],
    ] as const
  ) {
    hear(discovery, configAnswer(discovery, { shelf, slot, mac }), link);
  }
  const found = discovery.paths().map(({ address, link, mac }) =>
    `${address.shelf}.${address.slot} ${link} ${mac[5]}`
  );
  assertEquals(found, ["2.9 0 2", "2.9 0 3", "2.10 0 3", "2.10 1 2", "10.1 0 2"]);
  assertEquals(groupByAddress(discovery.paths()).map(({ paths }) => paths.length), [2, 2, 1]);
  assertEquals(discovery.paths()[0]!.config, CONFIG);
});

Deno.test("discovery: what is no answer to us is passed over", () => {
  const discovery = new Discovery(1);
  const change = (at: number, value: number) => {
    const answer = configAnswer(discovery, { shelf: 1, slot: 1 });
    answer[at] = value;
    return answer;
  };
  const refused: Uint8Array[] = [
    change(12, 0x08), // EtherType
    change(14, 0x10), // a request
    change(14, 0x08), // version 0
    change(14, 0x28), // version 2
    change(14, (1 << 4) | AOE_FLAG_RESPONSE | AOE_FLAG_ERROR),
    change(AOE_TAG + 1, 2), // somebody else's tag
    change(AOE_TAG, 0),
    change(6, 3), // from a group address
    change(18, 0xff),
    change(19, 2),
    change(19, 0xf0),
    change(30, 0xff), // a string longer than the frame
    configAnswer(discovery, { shelf: 0xffff, slot: 1 }),
    configAnswer(discovery, { shelf: 1, slot: 1 }).subarray(0, 31),
    configAnswer(discovery, { shelf: 1, slot: 1 }).subarray(0, 0),
  ];
  for (const answer of refused) hear(discovery, answer);
  assertEquals(discovery.paths(), []);
  const foreign = new Discovery(2);
  hear(discovery, configAnswer(foreign, { shelf: 1, slot: 1 }));
  assertEquals(discovery.paths(), []);
});

Deno.test("discovery: IDENTIFY is answered, refused, or asked in vain", () => {
  const discovery = new Discovery(1);
  hear(discovery, configAnswer(discovery, { shelf: 1, slot: 1 }));
  const path = discovery.paths()[0]!;
  // Of a path that nobody has announced, and too short for what it claims: nothing.
  hear(discovery, identifyAnswer(discovery, { ...path, mac: OTHER }));
  hear(discovery, identifyAnswer(discovery, path).subarray(0, 547));
  hear(discovery, identifyAnswer(discovery, path).subarray(0, 35));
  assertEquals([path.identity, path.refusal, discovery.paths().length], [undefined, undefined, 1]);

  const aborted = identifyAnswer(discovery, path).subarray(0, 60);
  aborted[ATA_COMMAND_STATUS] = ATA_STATUS_DRDY | ATA_STATUS_ERR;
  aborted[ATA_FEATURE_ERROR] = ATA_ERROR_ABRT;
  hear(discovery, aborted);
  assertEquals([path.identity, path.refusal], [undefined, "ERR ABRT"]);
  const unavailable = identifyAnswer(discovery, path);
  turnIntoResponse(unavailable, 0, path.mac, 1, 1, 3);
  hear(discovery, unavailable.subarray(0, 24));
  assertEquals(path.refusal, "device unavailable");

  hear(discovery, identifyAnswer(discovery, path));
  assertEquals([path.identity?.sectors, path.refusal], [32768, undefined]);
});

Deno.test("discovery: an address is contested when disks differ, not when a disk has two cards", () => {
  const contested = (sectorsOfSecond: number, mac: Uint8Array) => {
    const discovery = new Discovery(1);
    for (const source of [DISK, mac]) {
      hear(discovery, configAnswer(discovery, { shelf: 1, slot: 1, mac: source }));
    }
    const [first, second = first] = discovery.paths();
    hear(discovery, identifyAnswer(discovery, first!));
    hear(discovery, identifyAnswer(discovery, second!, { ...IDENTITY, sectors: sectorsOfSecond }));
    return isContested(groupByAddress(discovery.paths())[0]!);
  };
  assertEquals(contested(32768, OTHER), false);
  assertEquals(contested(65536, OTHER), true);
  assertEquals(contested(32768, DISK), false);
  assertEquals(contested(65536, DISK), true);

  const discovery = new Discovery(1);
  hear(discovery, configAnswer(discovery, { shelf: 1, slot: 1 }));
  assertEquals(isContested(groupByAddress(discovery.paths())[0]!), false);
  // Its MTU has shrunk: that is no other disk.
  const smaller = { ...CONFIG, sectors: 2 };
  hear(discovery, configAnswer(discovery, { shelf: 1, slot: 1, config: smaller }));
  assertEquals(isContested(groupByAddress(discovery.paths())[0]!), false);
  const config = { ...CONFIG, string: new Uint8Array([0x69]) };
  hear(discovery, configAnswer(discovery, { shelf: 1, slot: 1, config }));
  assertEquals(isContested(groupByAddress(discovery.paths())[0]!), true);
});

Deno.test("discovery: arbitrary and mutated frames never throw, nor make up broadcast addresses", () => {
  const discovery = new Discovery(7);
  hear(discovery, configAnswer(discovery, { shelf: 1, slot: 1 }));
  const genuine = [
    configAnswer(discovery, { shelf: 1, slot: 1 }),
    identifyAnswer(discovery, discovery.paths()[0]!),
  ];
  const mutated = fc.tuple(
    fc.constantFrom(...genuine),
    fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { maxLength: 4 }),
    fc.nat(600),
  ).map(([frame, changes, length]) => {
    const copy = frame.slice();
    for (const [at, value] of changes) copy[at] = value;
    return copy.subarray(0, length);
  });
  const arbitrary = fc.uint8Array({ maxLength: 600 });
  fc.assert(
    fc.property(fc.oneof(mutated, arbitrary), fc.nat(3), (frame, link) => {
      hear(discovery, frame, link);
    }),
    { numRuns: 20_000 },
  );
  for (const { address } of discovery.paths()) {
    assert(address.shelf < 0xffff && address.slot < 0xff);
  }
});

Deno.test("discovery: who floods us with answers fills a bounded list", () => {
  const discovery = new Discovery(1);
  const answer = configAnswer(discovery, { shelf: 1, slot: 1 });
  const header = { flags: AOE_FLAG_RESPONSE, shelf: 0, slot: 0, command: 1, tag: 0x80010000 };
  const mac = DISK.slice();
  for (let i = 0; i < 65_540; i++) {
    mac[4] = i >>> 8;
    mac[5] = i;
    writeAoeHeader(answer, 0, US, mac, { ...header, slot: i < 65_536 ? 1 : 2 });
    hear(discovery, answer);
  }
  assertEquals([discovery.paths().length, discovery.full], [65_536, true]);
});
