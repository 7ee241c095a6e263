// Classic BPF programs as bytes, for SO_ATTACH_FILTER (linux/filter.h, struct sock_filter). The
// kernel runs them before a frame is copied into a socket's queue, so that a worker wakes only for
// its own exports, and what would be dropped in any case takes no place in its ring.

import {
  AOE_COMMAND,
  AOE_FLAG_RESPONSE,
  AOE_HEADER_BYTES,
  AOE_SHELF,
  AOE_SLOT,
  AOE_VERSION,
  AOE_VERSION_FLAGS,
  COMMAND_ATA,
  COMMAND_CONFIG,
  COMMAND_MASK,
  COMMAND_RESERVE,
} from "./aoe.ts";
import type { Address } from "./aoe.ts";
import { SHELF_BROADCAST, SLOT_BROADCAST } from "./aoe.ts";
import { ATA_COMMAND_STATUS, ATA_HEADER_BYTES, ATA_IDENTIFY_DEVICE } from "./ata.ts";
import { CONFIG_STRING, CONFIG_TEST_PREFIX, CONFIG_VERSION_COMMAND } from "./config.ts";
import { ETHERNET_SOURCE, ETHERNET_TYPE, ETHERTYPE_AOE } from "./ethernet.ts";
import { MASK_DIRECTIVES } from "./mask.ts";
import { RESERVE_MACS } from "./reserve.ts";

// linux/bpf_common.h
const LOAD_HALF = 0x28;
const LOAD_BYTE = 0x30;
const LOAD_LENGTH = 0x80;
const AND = 0x54;
const JUMP_EQUAL = 0x15;
const JUMP_GREATER = 0x25;
const JUMP_AT_LEAST = 0x35;
const JUMP_SET = 0x45;
const JUMP_ALWAYS = 0x05;
const RETURN = 0x06;
/** Bytes of one struct sock_filter: code u16, jt u8, jf u8, k u32, host order. */
export const INSTRUCTION_BYTES = 8;
/** BPF_MAXINSNS: the kernel takes no longer program. */
const INSTRUCTIONS_MAX = 4096;
const ACCEPT_ALL_BYTES = 0xffffffff;
/** SKF_AD_OFF + SKF_AD_PKTTYPE (linux/filter.h): whom the frame was addressed to. */
const PACKET_TYPE = 0xfffff000 + 4;
/** linux/if_packet.h: to another host, seen because the interface is promiscuous. */
const PACKET_OTHERHOST = 3;

/** One instruction, before it becomes bytes. */
interface Instruction {
  code: number;
  jumpTrue: number;
  jumpFalse: number;
  k: number;
}

function instruction(code: number, k: number, jumpTrue = 0, jumpFalse = 0): Instruction {
  return { code, jumpTrue, jumpFalse, k };
}

function assemble(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  program.forEach((step, i) => {
    view.setUint16(i * INSTRUCTION_BYTES, step.code, true);
    view.setUint8(i * INSTRUCTION_BYTES + 2, step.jumpTrue);
    view.setUint8(i * INSTRUCTION_BYTES + 3, step.jumpFalse);
    view.setUint32(i * INSTRUCTION_BYTES + 4, step.k, true);
  });
  return bytes;
}

/** Passes AoE frames to this host or to all, and leaves byte 14 in the accumulator. */
function aoeToThisHost(): Instruction[] {
  return [
    // A bridge floods what it cannot place: a frame for the same shelf.slot of another host must
    // not be carried out here as well.
    instruction(LOAD_BYTE, PACKET_TYPE),
    instruction(JUMP_EQUAL, PACKET_OTHERHOST, 0, 1),
    instruction(RETURN, 0),
    instruction(LOAD_HALF, ETHERNET_TYPE),
    instruction(JUMP_EQUAL, ETHERTYPE_AOE, 1, 0),
    instruction(RETURN, 0),
    instruction(LOAD_BYTE, AOE_VERSION_FLAGS),
  ];
}

/** Passes a frame of so many bytes at least. */
function ofLength(bytes: number): Instruction[] {
  return [
    instruction(LOAD_LENGTH, 0),
    instruction(JUMP_AT_LEAST, bytes, 0, 1),
    instruction(RETURN, ACCEPT_ALL_BYTES),
    instruction(RETURN, 0),
  ];
}

/** Jumps over a block unless the accumulator is `value`. */
function where(value: number, block: readonly Instruction[]): Instruction[] {
  return [instruction(JUMP_EQUAL, value, 0, block.length), ...block];
}

const LOAD_VERSION = [instruction(LOAD_BYTE, AOE_VERSION_FLAGS), instruction(AND, 0xf0)];

/** Of requests for one export: sections that are cut off get no answer; other versions and commands do. */
const REQUEST_TO_ONE = [
  ...LOAD_VERSION,
  ...where(AOE_VERSION << 4, [
    instruction(LOAD_BYTE, AOE_COMMAND),
    ...where(COMMAND_ATA, ofLength(ATA_HEADER_BYTES)),
    ...where(COMMAND_CONFIG, ofLength(CONFIG_STRING)),
    ...where(COMMAND_MASK, ofLength(MASK_DIRECTIVES)),
    ...where(COMMAND_RESERVE, ofLength(RESERVE_MACS)),
  ]),
  ...ofLength(AOE_HEADER_BYTES),
];

/** Of requests for more than one: who is there, and IDENTIFY. */
const REQUEST_TO_ALL = [
  ...LOAD_VERSION,
  instruction(JUMP_EQUAL, AOE_VERSION << 4, 1, 0),
  instruction(RETURN, 0),
  instruction(LOAD_BYTE, AOE_COMMAND),
  ...where(COMMAND_CONFIG, [
    instruction(LOAD_BYTE, CONFIG_VERSION_COMMAND),
    instruction(AND, 0x0f),
    instruction(JUMP_GREATER, CONFIG_TEST_PREFIX, 0, 1),
    instruction(RETURN, 0),
    ...ofLength(CONFIG_STRING),
  ]),
  ...where(COMMAND_ATA, [
    instruction(LOAD_BYTE, ATA_COMMAND_STATUS),
    ...where(ATA_IDENTIFY_DEVICE, ofLength(ATA_HEADER_BYTES)),
    instruction(RETURN, 0),
  ]),
  instruction(RETURN, 0),
];

/**
 * A program that passes AoE requests for the given exports and for the broadcast addresses, as far as
 * they can mean anything: it refuses what the target drops in silence whatever its state (decisions 1
 * to 3 of wire/README.md), and passes what has to be answered, if only by an error.
 * Exports of one shelf are tested together, so that a hundred slots cost one shelf comparison.
 *
 * @param addresses Exports of one worker.
 * @returns Instructions of eight bytes, in host order of the little-endian machines Deno runs on.
 * @throws {RangeError} With more exports than one program can hold (about 2,000).
 */
export function targetFilter(addresses: readonly Address[]): Uint8Array {
  if (addresses.length === 0) return assemble([instruction(RETURN, 0)]);
  const slotsOfShelf = byShelf(addresses);
  const everySlot = new Set(addresses.map((address) => address.slot));
  slotsOfShelf.set(SHELF_BROADCAST, everySlot);
  const program = [
    ...aoeToThisHost(),
    instruction(JUMP_SET, AOE_FLAG_RESPONSE, 0, 1),
    instruction(RETURN, 0),
    // A group address never sends (IEEE 802.3 section 3.2.3).
    instruction(LOAD_BYTE, ETHERNET_SOURCE),
    instruction(JUMP_SET, 1, 0, 1),
    instruction(RETURN, 0),
  ];
  let toOne = program.length + 1;
  for (const slots of slotsOfShelf.values()) toOne += 5 + 2 * (1 + slots.size);
  const toAll = toOne + REQUEST_TO_ONE.length;
  for (const [shelf, slots] of slotsOfShelf) {
    const tests = [SLOT_BROADCAST, ...slots];
    // Conditional jumps reach 255 instructions only: each test is followed by a jump of its own, and
    // the shelf test skips the block with an unconditional jump, which reaches anywhere.
    program.push(
      instruction(LOAD_HALF, AOE_SHELF),
      instruction(JUMP_EQUAL, shelf, 1, 0),
      instruction(JUMP_ALWAYS, 2 + 2 * tests.length),
      instruction(LOAD_BYTE, AOE_SLOT),
    );
    for (const slot of tests) {
      const broadcast = shelf === SHELF_BROADCAST || slot === SLOT_BROADCAST;
      program.push(instruction(JUMP_EQUAL, slot, 0, 1));
      program.push(instruction(JUMP_ALWAYS, (broadcast ? toAll : toOne) - program.length - 1));
    }
    program.push(instruction(RETURN, 0));
  }
  program.push(instruction(RETURN, 0));
  if (program.length !== toOne) throw new Error("The filter's jumps miss their ends");
  program.push(...REQUEST_TO_ONE, ...REQUEST_TO_ALL);
  if (program.length > INSTRUCTIONS_MAX) {
    throw new RangeError(`${addresses.length} exports are too many for one packet filter`);
  }
  return assemble(program);
}

/**
 * A program that passes AoE responses from one of these addresses: what an export of that address
 * never receives, unless another target has it as well.
 */
export function rivalFilter(addresses: readonly Address[]): Uint8Array {
  const program = [
    ...aoeToThisHost(),
    instruction(JUMP_SET, AOE_FLAG_RESPONSE, 1, 0),
    instruction(RETURN, 0),
  ];
  for (const [shelf, slots] of byShelf(addresses)) {
    program.push(
      instruction(LOAD_HALF, AOE_SHELF),
      instruction(JUMP_EQUAL, shelf, 1, 0),
      instruction(JUMP_ALWAYS, 2 + 2 * slots.size),
      instruction(LOAD_BYTE, AOE_SLOT),
    );
    for (const slot of slots) {
      program.push(instruction(JUMP_EQUAL, slot, 0, 1), instruction(RETURN, ACCEPT_ALL_BYTES));
    }
    program.push(instruction(RETURN, 0));
  }
  program.push(instruction(RETURN, 0));
  return assemble(program);
}

function byShelf(addresses: readonly Address[]): Map<number, Set<number>> {
  const slotsOfShelf = new Map<number, Set<number>>();
  for (const { shelf, slot } of addresses) {
    const slots = slotsOfShelf.get(shelf) ?? new Set<number>();
    slotsOfShelf.set(shelf, slots.add(slot));
  }
  return slotsOfShelf;
}

/**
 * A program that passes AoE responses, which are what an initiator's socket is for.
 *
 * @param disks Only theirs, if any are given: beside another initiator of this host, a socket would
 * fill with what is meant for that one. Query config requests for them pass as well, which come from
 * other initiators that look for the same disk.
 */
export function initiatorFilter(disks: readonly Address[] = []): Uint8Array {
  if (disks.length === 0) {
    return assemble([
      ...aoeToThisHost(),
      instruction(JUMP_SET, AOE_FLAG_RESPONSE, 0, 1),
      instruction(RETURN, ACCEPT_ALL_BYTES),
      instruction(RETURN, 0),
    ]);
  }
  return assemble([
    ...aoeToThisHost(),
    ...disks.flatMap(({ shelf, slot }) => [
      instruction(LOAD_HALF, AOE_SHELF),
      instruction(JUMP_EQUAL, shelf, 0, 7),
      instruction(LOAD_BYTE, AOE_SLOT),
      instruction(JUMP_EQUAL, slot, 0, 5),
      instruction(LOAD_BYTE, AOE_VERSION_FLAGS),
      instruction(JUMP_SET, AOE_FLAG_RESPONSE, 2, 0),
      instruction(LOAD_BYTE, AOE_COMMAND),
      instruction(JUMP_EQUAL, COMMAND_CONFIG, 0, 1),
      instruction(RETURN, ACCEPT_ALL_BYTES),
    ]),
    instruction(RETURN, 0),
  ]);
}
