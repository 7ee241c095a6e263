// What the tests of the drive share: the ATA commands of decision 11, requests and the registers of
// their answers.

import type { Target } from "../../../src/core/target/target.ts";
import { assertBytes } from "../../wire/encoding.ts";
import { answerTo, ataRequest, ataResponse, linkOf, responseOf, STALE } from "./exchange.ts";

export const READS28 = [0x20, 0xc8, 0xc4];
export const READS48 = [0x24, 0x25, 0x29];
export const WRITES28 = [0x30, 0xca, 0xc5];
export const WRITES48 = [0x34, 0x35, 0x39];
export const WRITES48_FUA = [0x3d, 0xce];
export const VERIFY28 = 0x40;
export const VERIFY48 = 0x42;
export const READS = [...READS28, ...READS48];
export const WRITES = [...WRITES28, ...WRITES48, ...WRITES48_FUA];
export const FLUSHES = [0xe7, 0xea];
export const POWER_CHECKS = [0xe5, 0x98];
export const IDLES = [0x94, 0x95, 0x96, 0x97, 0x99, 0xe0, 0xe1, 0xe2, 0xe3, 0xe6];
export const IDENTIFY = 0xec;
export const SET_FEATURES = 0xef;
export const NATIVE_MAX28 = 0xf8;
export const NATIVE_MAX48 = 0x27;
export const TRIM = 0x06;
export const TRIM_FEATURE = 1;
export const SECTORS = 1_000_000;

export const ABRT = ataResponse(0x41, 0x04);
export const IDNF = ataResponse(0x41, 0x10);
export const UNC = ataResponse(0x41, 0x40);
export const DEVICE_FAULT = ataResponse(0x61, 0x04);
export const GOOD = ataResponse(0x40, 0);

export const JUMBO = linkOf(9000);

type Registers = Parameters<typeof ataRequest>[1];

export function request(command: number, registers: Registers = {}) {
  return { command: 0, section: ataRequest(command, registers) };
}

/** A command with the payload that a WRITE of its sectors has. */
export function transfer(command: number, lba: number, count = 1) {
  const data = new Uint8Array(WRITES.includes(command) ? count * 512 : 0).fill(STALE);
  return request(command, { lba, count, data });
}

/** A TRIM of ranges, padded with unused entries to whole blocks. */
export function trim(ranges: readonly (readonly [number, number])[], registers: Registers = {}) {
  const count = registers.count ?? Math.max(1, Math.ceil(ranges.length / 64));
  const data = new Uint8Array(count * 512);
  ranges.forEach(([lba, sectors], i) => {
    for (let b = 0; b < 6; b++) data[8 * i + b] = Math.floor(lba / 2 ** (8 * b));
    data.set([sectors, sectors >> 8], 8 * i + 6);
  });
  return request(TRIM, { feature: TRIM_FEATURE, count, data, ...registers });
}

export function assertAta(
  target: Target,
  asked: ReturnType<typeof request>,
  section: Uint8Array,
  link = linkOf(),
): void {
  assertBytes(answerTo(target, asked, link), responseOf({ command: 0, section }));
}

export function name(command: number): string {
  return command.toString(16).padStart(2, "0");
}
