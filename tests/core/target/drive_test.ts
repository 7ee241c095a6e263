// wire/README.md, 'What we decide', decisions 9 and 10, seen through a target: reads, writes and their
// refusals, and the registers of every answer.

import { assert, assertEquals } from "@std/assert";
import { DRIVE_READ, DRIVE_VERIFY, DRIVE_WRITE } from "../../../src/core/target/drive.ts";
import {
  OUTCOME_DONE,
  OUTCOME_FAILED,
  OUTCOME_UNSUPPORTED,
  type Target,
} from "../../../src/core/target/target.ts";
import { assertBytes } from "../../wire/encoding.ts";
import {
  ABRT,
  assertAta,
  DEVICE_FAULT,
  FLUSHES,
  GOOD,
  IDNF,
  JUMBO,
  name,
  READS,
  READS28,
  READS48,
  request,
  SECTORS,
  SET_FEATURES,
  transfer,
  trim,
  UNC,
  VERIFY28,
  VERIFY48,
  WRITES,
  WRITES28,
  WRITES48,
  WRITES48_FUA,
} from "./ata_commands.ts";
import { give, linkOf, requestOf, responseOf, STALE, targetOf, workOf } from "./exchange.ts";

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
    assertEquals(workOf(target, whole).operation, DRIVE_WRITE);
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
    ...READS28.map((command) => [command, DRIVE_READ] as const),
    ...WRITES28.map((command) => [command, DRIVE_WRITE] as const),
    [VERIFY28, DRIVE_VERIFY] as const,
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
    ...READS48.map((command) => [command, DRIVE_READ] as const),
    ...[...WRITES48, ...WRITES48_FUA].map((command) => [command, DRIVE_WRITE] as const),
    [VERIFY48, DRIVE_VERIFY] as const,
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
