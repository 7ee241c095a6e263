// wire/README.md, 'What we decide', decisions 11 and 12, seen through a target: the commands that are
// no reads and writes, and what is promised of the write cache.

import { assert, assertEquals } from "@std/assert";
import {
  DRIVE_FLUSH,
  DRIVE_TRIM,
  trimSector,
  trimSectors,
} from "../../../src/core/target/drive.ts";
import { OUTCOME_DONE, type Target } from "../../../src/core/target/target.ts";
import { readIdentity } from "../../../src/wire/identify.ts";
import { readIncarnation } from "../../../src/wire/incarnation.ts";
import { assertBytes } from "../../wire/encoding.ts";
import {
  ABRT,
  assertAta,
  FLUSHES,
  GOOD,
  IDENTIFY,
  IDLES,
  IDNF,
  JUMBO,
  name,
  NATIVE_MAX28,
  NATIVE_MAX48,
  POWER_CHECKS,
  READS,
  request,
  SECTORS,
  SET_FEATURES,
  transfer,
  TRIM,
  trim,
  VERIFY28,
  VERIFY48,
  WRITES,
  WRITES48_FUA,
} from "./ata_commands.ts";
import { answerTo, ataResponse, linkOf, responseOf, targetOf, workOf } from "./exchange.ts";

// Decision 11.

for (const command of POWER_CHECKS) {
  Deno.test(`decision 11: CHECK POWER ${name(command)} says 255, active`, () => {
    assertAta(
      targetOf(),
      request(command, { lba: 7, count: 9, feature: 9 }),
      ataResponse(0x40, 0, 255),
    );
  });
}

for (const command of IDLES) {
  Deno.test(`decision 11: ${name(command)} (IDLE, STANDBY, SLEEP) succeeds`, () => {
    assertAta(targetOf(), request(command, { lba: 7, count: 9, feature: 9 }), GOOD);
  });
}

Deno.test("decision 11: everything that is not listed is ABRT", () => {
  const supported = new Set([
    ...READS,
    ...WRITES,
    VERIFY28,
    VERIFY48,
    ...FLUSHES,
    ...POWER_CHECKS,
    ...IDLES,
    IDENTIFY,
    SET_FEATURES,
    NATIVE_MAX28,
    NATIVE_MAX48,
    TRIM,
  ]);
  const data = new Uint8Array(512);
  for (let command = 0; command < 256; command++) {
    if (supported.has(command)) continue;
    assertAta(targetOf(), request(command, { lba: 7, feature: 1, data }), ABRT);
  }
  assertEquals(supported.size, 6 + 8 + 2 + 2 + 2 + 10 + 1 + 1 + 2 + 1);
});

for (
  const [sectors, max28, max48] of [
    [0, 0, 0],
    [1, 0, 0],
    [1000, 999, 999],
    [2 ** 28 - 1, 2 ** 28 - 2, 2 ** 28 - 2],
    [2 ** 28, 2 ** 28 - 2, 2 ** 28 - 1],
    [2 ** 48 - 1, 2 ** 28 - 2, 2 ** 48 - 2],
  ] as const
) {
  Deno.test(`decision 11: READ NATIVE MAX of ${sectors} sectors is the last one's number`, () => {
    const target = targetOf({ sectors });
    assertAta(target, request(NATIVE_MAX28, { lba: 7 }), ataResponse(0x40, 0, 0, max28));
    assertAta(target, request(NATIVE_MAX48, { lba: 7 }), ataResponse(0x40, 0, 0, max48));
  });
}

Deno.test("decision 11: SET FEATURES 02 and 82 switch the write cache, and IDENTIFY says so", () => {
  const target = targetOf();
  assertEquals(cacheOf(target), { supported: true, on: true, stable: false });
  const off = workOf(target, request(SET_FEATURES, { feature: 0x82 }));
  // What was answered from the cache has to be on the disk before the cache is off.
  assertEquals(off.operation, DRIVE_FLUSH);
  assertBytes(off.complete(OUTCOME_DONE), responseOf({ command: 0, section: GOOD }));
  assertEquals(cacheOf(target), { supported: true, on: false, stable: true });
  assertAta(target, request(SET_FEATURES, { feature: 0x02 }), GOOD);
  assertEquals(cacheOf(target), { supported: true, on: true, stable: false });
});

Deno.test("decision 11: a fixed write cache stays as it is, and IDENTIFY says so", () => {
  const target = targetOf({ cacheFixed: true });
  const on = { supported: true, on: true, stable: false };
  assertEquals(cacheOf(target), on);
  assertAta(target, request(SET_FEATURES, { feature: 0x82 }), ABRT);
  assertEquals(cacheOf(target), on);
  // What is so already is no change.
  assertAta(target, request(SET_FEATURES, { feature: 0x02 }), GOOD);
  assertEquals(cacheOf(target), on);
});

for (const options of [{ sync: true }, { readOnly: true }]) {
  Deno.test(`decision 12: no write cache is claimed with ${JSON.stringify(options)}`, () => {
    const target = targetOf(options);
    assertEquals(cacheOf(target), { supported: false, on: false, stable: true });
    assertAta(target, request(SET_FEATURES, { feature: 0x02 }), ABRT);
    workOf(target, request(SET_FEATURES, { feature: 0x82 })).complete(OUTCOME_DONE);
    assertEquals(cacheOf(target), { supported: false, on: false, stable: true });
  });
}

function cacheOf(target: Target) {
  const identity = readIdentity(answerTo(target, request(IDENTIFY)), 36);
  return {
    supported: identity.writeCacheSupported,
    on: identity.writeCacheOn,
    stable: target.drive.stableWrites,
  };
}

Deno.test("decision 11: SET FEATURES 03 succeeds, every other but 02 and 82 is ABRT", () => {
  for (let feature = 0; feature < 256; feature++) {
    if (feature === 0x02 || feature === 0x82) continue;
    const section = feature === 0x03 ? GOOD : ABRT;
    assertAta(targetOf(), request(SET_FEATURES, { feature, count: 0x45 }), section);
  }
});

Deno.test("decision 11: IDENTIFY describes the disk in 512 bytes behind clean registers", () => {
  const target = targetOf({ serial: "S-1", model: "M 2", firmware: "F3" });
  const answer = answerTo(target, request(IDENTIFY, { lba: 0xa0000000, count: 0 }));
  assertEquals(answer.length, 548);
  assertBytes(answer.subarray(0, 36), responseOf({ command: 0, section: GOOD }).subarray(0, 36));
  assertEquals(readIdentity(answer, 36), {
    serial: "S-1",
    model: "M 2",
    firmware: "F3",
    sectors: SECTORS,
    writeCacheSupported: true,
    writeCacheOn: true,
    trim: true,
    physicalSectorBytes: 4096,
    rotational: false,
  });
  assertEquals(answer.subarray(36).reduce((sum, byte) => sum + byte, 0) % 256, 0);
});

Deno.test("decision 11: IDENTIFY names the incarnation of a target that has one", () => {
  for (const incarnation of [undefined, 1, 0xffffffff]) {
    const answer = answerTo(targetOf({ incarnation }), request(IDENTIFY));
    assertEquals(readIncarnation(answer, 36), incarnation ?? 0);
    assertEquals(answer.subarray(36).reduce((sum, byte) => sum + byte, 0) % 256, 0);
  }
});

Deno.test("decision 11: IDENTIFY and the range follow the size of the disk", () => {
  const target = targetOf();
  for (const sectors of [2_000_000, 10]) {
    target.drive.sectors = sectors;
    assertEquals(readIdentity(answerTo(target, request(IDENTIFY)), 36).sectors, sectors);
    assertEquals(workOf(target, transfer(0x24, sectors - 1)).sector, sectors - 1);
    assertAta(target, transfer(0x24, sectors), IDNF);
  }
});

Deno.test("decision 11: IDENTIFY does not fit an MTU under 548", () => {
  assertAta(targetOf(), request(IDENTIFY), ABRT, linkOf(547));
  assertEquals(answerTo(targetOf(), request(IDENTIFY), linkOf(548)).length, 548);
});

Deno.test("decision 11: IDENTIFY offers TRIM only where it is done", () => {
  for (
    const [options, offered] of [[{}, true], [{ trim: false }, false], [
      { readOnly: true },
      false,
    ]] as const
  ) {
    assertEquals(
      readIdentity(answerTo(targetOf(options), request(IDENTIFY)), 36).trim,
      offered,
    );
  }
});

Deno.test("decision 11: TRIM leaves its ranges to the disk", () => {
  const ranges = [[0, 1], [SECTORS - 65535, 65535], [0x12345, 0x6789], [5, 0]] as const;
  const asked = trim(ranges);
  const work = workOf(targetOf(), asked);
  assertEquals([work.operation, work.sector, work.sectors], [DRIVE_TRIM, 0, 0]);
  ranges.forEach(([lba, sectors], i) => {
    const at = 12 + 8 * i;
    assertEquals([trimSector(asked.section, at), trimSectors(asked.section, at)], [lba, sectors]);
  });
});

Deno.test("decision 11: TRIM takes as many blocks as a frame holds, and 64 ranges in each", () => {
  const ranges = Array.from({ length: 17 * 64 }, (_, i) => [8 * i, 8] as const);
  assertEquals(workOf(targetOf(), trim(ranges), JUMBO).operation, DRIVE_TRIM);
  assertAta(targetOf(), trim([], { count: 18 }), ABRT, JUMBO);
  assertAta(targetOf(), trim([], { count: 3 }), ABRT);
});

Deno.test("decision 11: a TRIM with a range that leaves the disk is IDNF as a whole", () => {
  for (const range of [[SECTORS, 1], [SECTORS - 1, 2], [2 ** 48 - 1, 1], [0, 0]] as const) {
    const ranges = [...Array.from({ length: 127 }, () => [0, 8] as const), range];
    if (range[1] === 0) assertEquals(workOf(targetOf(), trim(ranges)).operation, DRIVE_TRIM);
    else assertAta(targetOf(), trim(ranges), IDNF);
  }
});

Deno.test("decision 11: an entry of a TRIM without sectors is padding, wherever it points", () => {
  const ranges = [[0, 8], [2 ** 48 - 1, 0], [SECTORS + 1, 0]] as const;
  assertEquals(workOf(targetOf(), trim(ranges)).operation, DRIVE_TRIM);
});

for (
  const [what, options, asked] of [
    ["where the disk cannot do it", { trim: false }, trim([[0, 8]])],
    ["of a read-only export", { readOnly: true }, trim([[0, 8]])],
    ["that is another DATA SET MANAGEMENT", {}, trim([[0, 8]], { feature: 0 })],
    ["of no block", {}, trim([], { count: 0 })],
    ["with a short payload", {}, trim([[0, 8]], { data: new Uint8Array(511) })],
  ] as const
) {
  Deno.test(`decision 11: a TRIM ${what} is ABRT`, () => {
    assertAta(targetOf(options), asked, ABRT);
  });
}

// Decision 12.

for (const command of FLUSHES) {
  Deno.test(`decision 12: ${name(command)} is answered only once the disk has synced`, () => {
    for (const options of [{}, { sync: true }, { readOnly: true }]) {
      const work = workOf(targetOf(options), request(command, { count: 0 }));
      assertEquals([work.operation, work.sector, work.sectors], [DRIVE_FLUSH, 0, 0]);
    }
  });
}

Deno.test("decision 12: FUA asks for stable storage itself, and only the command that has it", () => {
  const target = targetOf();
  for (const command of [0x3d, 0x34, 0xce, 0x24, 0xe7]) {
    const work = workOf(target, transfer(command, 0));
    assertEquals(work.forceUnitAccess, WRITES48_FUA.includes(command));
  }
  assert(!target.drive.stableWrites);
});
