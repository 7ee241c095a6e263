// PROTOCOL.md, 'What we decide', decisions 9 to 12, seen through a target: the ATA commands, their
// refusals, and the registers of every answer.

import { assert, assertEquals } from "@std/assert";
import {
  OPERATION_FLUSH,
  OPERATION_READ,
  OPERATION_TRIM,
  OPERATION_VERIFY,
  OPERATION_WRITE,
  trimSector,
  trimSectors,
} from "../../src/core/drive.ts";
import {
  OUTCOME_DONE,
  OUTCOME_FAILED,
  OUTCOME_UNSUPPORTED,
  type Target,
} from "../../src/core/target.ts";
import { readIdentity } from "../../src/wire/identify.ts";
import { readIncarnation } from "../../src/wire/incarnation.ts";
import { assertBytes } from "../wire/encoding.ts";
import {
  answerTo,
  ataRequest,
  ataResponse,
  give,
  linkOf,
  requestOf,
  responseOf,
  STALE,
  targetOf,
  workOf,
} from "./exchange.ts";

const READS28 = [0x20, 0xc8, 0xc4];
const READS48 = [0x24, 0x25, 0x29];
const WRITES28 = [0x30, 0xca, 0xc5];
const WRITES48 = [0x34, 0x35, 0x39];
const WRITES48_FUA = [0x3d, 0xce];
const VERIFY28 = 0x40;
const VERIFY48 = 0x42;
const READS = [...READS28, ...READS48];
const WRITES = [...WRITES28, ...WRITES48, ...WRITES48_FUA];
const FLUSHES = [0xe7, 0xea];
const POWER_CHECKS = [0xe5, 0x98];
const IDLES = [0x94, 0x95, 0x96, 0x97, 0x99, 0xe0, 0xe1, 0xe2, 0xe3, 0xe6];
const IDENTIFY = 0xec;
const SET_FEATURES = 0xef;
const NATIVE_MAX28 = 0xf8;
const NATIVE_MAX48 = 0x27;
const TRIM = 0x06;
const TRIM_FEATURE = 1;
const SECTORS = 1_000_000;

const ABRT = ataResponse(0x41, 0x04);
const IDNF = ataResponse(0x41, 0x10);
const UNC = ataResponse(0x41, 0x40);
const DEVICE_FAULT = ataResponse(0x61, 0x04);
const GOOD = ataResponse(0x40, 0);

const JUMBO = linkOf(9000);

type Registers = Parameters<typeof ataRequest>[1];

function request(command: number, registers: Registers = {}) {
  return { command: 0, section: ataRequest(command, registers) };
}

/** A command with the payload that a WRITE of its sectors has. */
function transfer(command: number, lba: number, count = 1) {
  const data = new Uint8Array(WRITES.includes(command) ? count * 512 : 0).fill(STALE);
  return request(command, { lba, count, data });
}

/** A TRIM of ranges, padded with unused entries to whole blocks. */
function trim(ranges: readonly (readonly [number, number])[], registers: Registers = {}) {
  const count = registers.count ?? Math.max(1, Math.ceil(ranges.length / 64));
  const data = new Uint8Array(count * 512);
  ranges.forEach(([lba, sectors], i) => {
    for (let b = 0; b < 6; b++) data[8 * i + b] = Math.floor(lba / 2 ** (8 * b));
    data.set([sectors, sectors >> 8], 8 * i + 6);
  });
  return request(TRIM, { feature: TRIM_FEATURE, count, data, ...registers });
}

function assertAta(
  target: Target,
  asked: ReturnType<typeof request>,
  section: Uint8Array,
  link = linkOf(),
): void {
  assertBytes(answerTo(target, asked, link), responseOf({ command: 0, section }));
}

function name(command: number): string {
  return command.toString(16).padStart(2, "0");
}

// Decision 9.

for (const command of [...READS, ...WRITES, VERIFY28, VERIFY48]) {
  const wide = [...READS48, ...WRITES48, ...WRITES48_FUA, VERIFY48].includes(command);

  Deno.test(`decision 9: ${name(command)} out of range is IDNF, nothing transferred`, () => {
    const target = targetOf();
    const last = transfer(command, SECTORS - 2, 2);
    assertEquals(workOf(target, last).sector, SECTORS - 2);
    for (const [lba, count] of [[SECTORS - 1, 2], [SECTORS, 1], [2 ** 28 - 1, 1]] as const) {
      assertAta(target, transfer(command, lba, count), IDNF);
    }
    if (wide) {
      for (const lba of [2 ** 28, 2 ** 32, 2 ** 48 - 1]) {
        assertAta(target, transfer(command, lba), IDNF);
      }
    }
  });

  Deno.test(`decision 9: ${name(command)} of a disk without sectors is IDNF`, () => {
    assertAta(targetOf({ sectors: 0 }), transfer(command, 0), IDNF);
  });

  Deno.test(`decision 9: sector count 0 of ${name(command)} is ABRT`, () => {
    assertAta(targetOf(), transfer(command, 0, 0), ABRT);
  });

  Deno.test(`decision 9: ${name(command)} above the frame's capacity is ABRT`, () => {
    for (const [mtu, capacity] of [[547, 0], [548, 1], [1500, 2], [9000, 17]] as const) {
      const link = linkOf(mtu);
      assertAta(targetOf(), transfer(command, 0, capacity + 1), ABRT, link);
      assertAta(targetOf(), transfer(command, 0, 255), ABRT, link);
      if (capacity > 0) {
        assertEquals(workOf(targetOf(), transfer(command, 0, capacity), link).sectors, capacity);
      }
    }
  });
}

Deno.test("decision 9: on the loopback interface 127 sectors go in a frame", () => {
  const link = linkOf(65536);
  for (const command of [0x24, 0x34, VERIFY48]) {
    assertEquals(workOf(targetOf(), transfer(command, 0, 127), link).sectors, 127);
    assertAta(targetOf(), transfer(command, 0, 128), ABRT, link);
  }
  const data = new Uint8Array(127 * 512).fill(7);
  const answer = workOf(targetOf(), transfer(0x24, 0, 127), link).complete(OUTCOME_DONE, data);
  assertEquals(answer.length, 36 + 127 * 512);
});

for (const command of WRITES) {
  Deno.test(`decision 9: ${name(command)} with a short payload is ABRT`, () => {
    const target = targetOf();
    const whole = transfer(command, 0, 2);
    for (const length of [36, 60, 36 + 512, 36 + 1023]) {
      assertAta(target, { ...whole, section: whole.section.slice(0, length - 24) }, ABRT);
    }
    assertEquals(workOf(target, whole).operation, OPERATION_WRITE);
  });

  Deno.test(`decision 9: ${name(command)} to a read-only export is ABRT`, () => {
    assertAta(targetOf({ readOnly: true }), transfer(command, 0), ABRT);
  });
}

for (const command of [...READS, VERIFY28, VERIFY48]) {
  Deno.test(`decision 9: a medium error of ${name(command)} is UNC`, () => {
    for (const readOnly of [false, true]) {
      const work = workOf(targetOf({ readOnly }), transfer(command, 3, 2));
      assertBytes(
        work.complete(OUTCOME_FAILED, new Uint8Array(1024).fill(STALE)),
        responseOf({ command: 0, section: UNC }),
      );
    }
  });
}

for (
  const [what, asked] of [
    ...WRITES.map((command) => [name(command), transfer(command, 3, 2)] as const),
    ...FLUSHES.map((command) => [name(command), request(command)] as const),
    ["TRIM", trim([[0, 8]])],
    ["SET FEATURES 82", request(SET_FEATURES, { feature: 0x82 })],
  ] as const
) {
  Deno.test(`decision 9: a medium error of ${what} is DF and ABRT`, () => {
    assertBytes(
      workOf(targetOf(), asked, JUMBO).complete(OUTCOME_FAILED),
      responseOf({ command: 0, section: DEVICE_FAULT }),
    );
  });
}

Deno.test("decision 9: a TRIM that the disk does not know after all is ABRT", () => {
  const work = workOf(targetOf(), trim([[0, 8]]));
  assertBytes(work.complete(OUTCOME_UNSUPPORTED), responseOf({ command: 0, section: ABRT }));
});

Deno.test("decision 9: no ATA command is ever an AoE error, but for a reservation", () => {
  for (const options of [{}, { readOnly: true }, { sync: true }, { trim: false }, { sectors: 0 }]) {
    for (let command = 0; command < 256; command++) {
      for (const count of [0, 1, 255]) {
        const answer = finished(targetOf(options), request(command, { count }));
        assertEquals([answer[14], answer[15]], [0x18, 0], `command ${name(command)}`);
      }
    }
  }
});

/** The answer to a request, whether it makes work or not. */
function finished(target: Target, asked: ReturnType<typeof request>): Uint8Array {
  const outcome = give(target, requestOf(asked));
  if ("answer" in outcome) return outcome.answer;
  assert("work" in outcome, `no answer but ${JSON.stringify(outcome)}`);
  return outcome.work.complete(OUTCOME_DONE, new Uint8Array(512 * outcome.work.sectors));
}

// Decision 10.

for (
  const [command, operation] of [
    ...READS28.map((command) => [command, OPERATION_READ] as const),
    ...WRITES28.map((command) => [command, OPERATION_WRITE] as const),
    [VERIFY28, OPERATION_VERIFY] as const,
  ]
) {
  Deno.test(`decision 10: ${name(command)} has an LBA of 28 bits, whatever aflags say`, () => {
    const target = targetOf({ sectors: 2 ** 40 });
    for (const flags of [0x00, 0x01, 0x02, 0x10, 0x40, 0x43, 0xff]) {
      const asked = transfer(command, 0xa9_87f6_5432_10, 2);
      asked.section[0] = flags;
      const work = workOf(target, asked);
      assertEquals([work.operation, work.sector, work.sectors], [operation, 0x6543210, 2]);
      assertEquals(work.forceUnitAccess, false);
    }
  });
}

for (
  const [command, operation] of [
    ...READS48.map((command) => [command, OPERATION_READ] as const),
    ...[...WRITES48, ...WRITES48_FUA].map((command) => [command, OPERATION_WRITE] as const),
    [VERIFY48, OPERATION_VERIFY] as const,
  ]
) {
  Deno.test(`decision 10: ${name(command)} has an LBA of 48 bits, whatever aflags say`, () => {
    const target = targetOf({ sectors: 2 ** 48 - 1 });
    for (const flags of [0x00, 0x01, 0x02, 0x10, 0x40, 0x43, 0xff]) {
      const asked = transfer(command, 0xa987_f654_3210, 2);
      asked.section[0] = flags;
      const work = workOf(target, asked);
      assertEquals([work.operation, work.sector, work.sectors], [operation, 0xa987_f654_3210, 2]);
      assertEquals(work.forceUnitAccess, WRITES48_FUA.includes(command));
    }
  });
}

for (const command of READS) {
  Deno.test(`decision 10: ${name(command)} succeeds with its data and clean registers`, () => {
    for (const count of [1, 2]) {
      const data = Uint8Array.from({ length: count * 512 }, (_, i) => i * 7);
      const work = workOf(targetOf(), transfer(command, 0x1234, count));
      const section = new Uint8Array([...GOOD, ...data]);
      assertBytes(work.complete(OUTCOME_DONE, data), responseOf({ command: 0, section }));
    }
  });
}

for (
  const [what, asked] of [
    ...WRITES.map((command) => [name(command), transfer(command, 0x1234, 2)] as const),
    [name(VERIFY28), transfer(VERIFY28, 0x1234, 2)],
    [name(VERIFY48), transfer(VERIFY48, 0x1234, 2)],
    ...FLUSHES.map((command) =>
      [name(command), request(command, { lba: 0x1234, count: 9, feature: 9 })] as const
    ),
    ["TRIM", trim([[1, 2], [3, 4]])],
  ] as const
) {
  Deno.test(`decision 10: ${what} succeeds with clean registers and nothing behind them`, () => {
    const work = workOf(targetOf(), asked);
    assertBytes(work.complete(OUTCOME_DONE), responseOf({ command: 0, section: GOOD }));
  });
}

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
  assertEquals(off.operation, OPERATION_FLUSH);
  assertBytes(off.complete(OUTCOME_DONE), responseOf({ command: 0, section: GOOD }));
  assertEquals(cacheOf(target), { supported: true, on: false, stable: true });
  assertAta(target, request(SET_FEATURES, { feature: 0x02 }), GOOD);
  assertEquals(cacheOf(target), { supported: true, on: true, stable: false });
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
  assertEquals([work.operation, work.sector, work.sectors], [OPERATION_TRIM, 0, 0]);
  ranges.forEach(([lba, sectors], i) => {
    const at = 12 + 8 * i;
    assertEquals([trimSector(asked.section, at), trimSectors(asked.section, at)], [lba, sectors]);
  });
});

Deno.test("decision 11: TRIM takes as many blocks as a frame holds, and 64 ranges in each", () => {
  const ranges = Array.from({ length: 17 * 64 }, (_, i) => [8 * i, 8] as const);
  assertEquals(workOf(targetOf(), trim(ranges), JUMBO).operation, OPERATION_TRIM);
  assertAta(targetOf(), trim([], { count: 18 }), ABRT, JUMBO);
  assertAta(targetOf(), trim([], { count: 3 }), ABRT);
});

Deno.test("decision 11: a TRIM with a range that leaves the disk is IDNF as a whole", () => {
  for (const range of [[SECTORS, 1], [SECTORS - 1, 2], [2 ** 48 - 1, 1], [0, 0]] as const) {
    const ranges = [...Array.from({ length: 127 }, () => [0, 8] as const), range];
    if (range[1] === 0) assertEquals(workOf(targetOf(), trim(ranges)).operation, OPERATION_TRIM);
    else assertAta(targetOf(), trim(ranges), IDNF);
  }
});

Deno.test("decision 11: an entry of a TRIM without sectors is padding, wherever it points", () => {
  const ranges = [[0, 8], [2 ** 48 - 1, 0], [SECTORS + 1, 0]] as const;
  assertEquals(workOf(targetOf(), trim(ranges)).operation, OPERATION_TRIM);
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
      assertEquals([work.operation, work.sector, work.sectors], [OPERATION_FLUSH, 0, 0]);
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
