// 100,000 random and mutated frames against targets in random states: never a throw, never a byte
// touched that is not the frame's or a legitimate answer's, never work outside the disk.
//
// Each frame goes to two equal targets, in bytes that differ around it. What they answer must be the
// same: nothing that stood behind a frame shows. And the kernel's filter is asked: it refuses nothing
// that a target answers, and all that a target drops whatever its state.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  Drive,
  DRIVE_FLUSH,
  DRIVE_READ,
  DRIVE_TRIM,
  DRIVE_VERIFY,
  DRIVE_WRITE,
  trimSector,
  trimSectors,
} from "../../../src/core/target/drive.ts";
import {
  DISK_WORK,
  DROP_BROADCAST,
  DROP_BUSY,
  DROP_NAMES,
  DROP_OTHER_ADDRESS,
  DROP_RESPONSE,
  DROP_SHORT,
  DROP_VERSION,
  type Link,
  OUTCOME_DONE,
  OUTCOME_UNSUPPORTED,
  receiveFrame,
  Target,
} from "../../../src/core/target/target.ts";
import { sectorsPerFrame } from "../../../src/wire/ata.ts";
import { targetFilter } from "../../../src/wire/filter.ts";
import { run, TO_HOST } from "../../wire/bpf.ts";

const RUNS = 2000;
const FRAMES_A_RUN = 50;
const FRAME_AT = 512;
const FRAME_BYTES_MAX = 65536 + 14;
const AROUND = [0xa5, 0x5a] as const;
const SHELF = 0x1234;
const SLOT = 0x56;
const COMMANDS = [0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 0xf0];
const ATA_COMMANDS = [
  ...[0x20, 0xc8, 0xc4, 0x24, 0x25, 0x29, 0x30, 0xca, 0xc5, 0x34, 0x35, 0x39, 0x3d, 0xce],
  ...[0x40, 0x42, 0xe7, 0xea, 0xec, 0xe5, 0x98, 0xef, 0xe0, 0xf8, 0x27, 0x06, 0x06, 0x00],
];
const FILTER = targetFilter([{ shelf: SHELF, slot: SLOT }]);
/** What takes no place in a ring. */
const REFUSED_BY_FILTER: readonly (string | undefined)[] = [
  DROP_SHORT,
  DROP_RESPONSE,
  DROP_OTHER_ADDRESS,
  DROP_BROADCAST,
  DROP_VERSION,
].map((verdict) => DROP_NAMES[-verdict]);
/** Sizes of disks, and LBAs near their ends. */
const SIZES = [0, 1, 2, 7, 1000, 2 ** 28 - 1, 2 ** 28, 2 ** 32, 2 ** 48 - 1];

const mtu = fc.constantFrom(46, 560, 1041, 1060, 1500, 1500, 1500, 4000, 4000, 9000, 65536);

/** Of an ACL: hosts of `macOf`, and more than one at a time. */
const patterns = fc.array(
  fc.constantFrom("", "02", "0200000000", "020000000000", "020000000001", "020000000002"),
  { minLength: 1, maxLength: 2 },
);

/** A disk, its options and the MTUs of its two interfaces. */
const state = fc.record({
  sectors: fc.constantFrom(...SIZES),
  readOnly: fc.boolean(),
  sync: fc.boolean(),
  trim: fc.boolean(),
  accept: fc.oneof({ arbitrary: fc.constant<string[]>([]), weight: 4 }, patterns),
  reject: fc.oneof({ arbitrary: fc.constant<string[]>([]), weight: 4 }, patterns),
  readers: fc.oneof({ arbitrary: fc.constant<string[]>([]), weight: 2 }, patterns),
  mtus: fc.tuple(mtu, mtu),
  outcome: fc.nat(OUTCOME_UNSUPPORTED),
});

/** A frame that is well-formed but for what `mutations` do to it. */
const recipe = fc.record({
  command: fc.nat(COMMANDS.length - 1),
  /** ATA command or sub-command. */
  kind: fc.nat(255),
  /** Sectors, directives, MACs or string bytes; scaled to what is usual. */
  count: fc.nat(255),
  lba: fc.nat(255),
  /** In one of four the second. */
  link: fc.nat(7),
  address: fc.nat(15),
  source: fc.nat(15),
  /** What the payload is filled with. */
  fill: fc.nat(255),
  /** Below 8: up to 64 bytes more or fewer than the section and its data need. */
  extra: fc.nat(63),
  mutations: fc.array(fc.nat(0xffff_ffff), { maxLength: 4 }),
});

type Recipe = typeof recipe extends fc.Arbitrary<infer T> ? T : never;
type State = typeof state extends fc.Arbitrary<infer T> ? T : never;

const frameBytes = new Uint8Array(FRAME_BYTES_MAX + 1100);
const views = AROUND.map((fill) => {
  return new Uint8Array(FRAME_AT + FRAME_BYTES_MAX + 2048).fill(fill);
});

Deno.test("100,000 random and mutated frames do no harm", () => {
  const seen = { frames: 0, answers: 0, work: 0, drops: new Set<string>(), operations: new Set() };
  fc.assert(
    fc.property(
      state,
      fc.array(recipe, { minLength: FRAMES_A_RUN, maxLength: FRAMES_A_RUN, size: "max" }),
      (options, recipes) => {
        const links = options.mtus.map((mtu): Link => ({
          mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
          mtu,
          sectors: sectorsPerFrame(mtu),
        }));
        const targets = AROUND.map(() => targetOf(options));
        for (const each of recipes) {
          const link = links[each.link < 2 ? 1 : 0]!;
          const length = cook(each, options, link);
          const verdicts = targets.map((target, i) =>
            ask(target, views[i]!, AROUND[i]!, length, link, options)
          );
          assertEquals(verdicts[0], verdicts[1], "what stood around the frame shows");
          seen.frames++;
          const verdict = verdicts[0]!;
          assertFiltered(frameBytes.subarray(0, length), verdict);
          if (verdict.drop !== undefined) seen.drops.add(verdict.drop);
          else seen.answers++;
          if (verdict.operation !== undefined) seen.operations.add(verdict.operation);
        }
        views.forEach((view, i) => {
          assertEquals(view.findIndex((byte) => byte !== AROUND[i]), -1, "touched far away");
        });
      },
    ),
    { numRuns: RUNS },
  );
  assertEquals(seen.frames, RUNS * FRAMES_A_RUN);
  // That the frames reach everything is part of the test.
  assert(seen.answers > seen.frames / 5, `${seen.answers} answers`);
  assertEquals([...seen.operations].sort(), [
    DRIVE_READ,
    DRIVE_WRITE,
    DRIVE_VERIFY,
    DRIVE_FLUSH,
    DRIVE_TRIM,
  ]);
  // Whether a disk is too slow is not the target's to say, but the loop's.
  const reasons = DROP_NAMES.filter((_, i) => i > 0 && i !== -DROP_BUSY);
  assertEquals([...seen.drops].sort(), reasons.sort());
});

/** Checks the filter on a frame of which it is known what a target makes of it. */
function assertFiltered(frame: Uint8Array, { drop }: Verdict): void {
  // What is no AoE reaches no target.
  if (frame[12] !== 0x88 || frame[13] !== 0xa2) return;
  const passes = run(FILTER, frame, TO_HOST) !== 0;
  if (passes) assert(!REFUSED_BY_FILTER.includes(drop), drop);
  else assert(drop !== undefined, "the filter refuses what is answered");
}

function targetOf(options: State): Target {
  return new Target({
    shelf: SHELF,
    slot: SLOT,
    buffers: 64,
    acl: { accept: options.accept, reject: options.reject, readOnly: options.readers },
    drive: new Drive({
      ...options,
      physicalSectorBytes: 512,
      rotational: true,
      serial: "s",
      firmware: "f",
      model: "m",
    }),
  });
}

/** Three hosts; 15 is a group address. */
function macOf(source: number): Uint8Array {
  return Uint8Array.of(source === 15 ? 3 : 2, 0, 0, 0, 0, source % 3);
}

/** Writes the frame of a recipe; its length. */
function cook(each: Recipe, options: State, link: Link): number {
  const frame = frameBytes;
  const command = COMMANDS[each.command]!;
  frame.set([2, 0, 0, 0, 0, 1, ...macOf(each.source), 0x88, 0xa2, 0x10, 0]);
  const shelf = each.address === 0 || each.address === 1 ? 0xffff : SHELF;
  frame.set([shelf >> 8, shelf, each.address === 1 || each.address === 2 ? 0xff : SLOT], 16);
  frame.set([command, each.fill, 0x80, each.kind, each.count], 19);
  frame.fill(each.fill, 24, 24 + 4096);
  let end = 24;
  if (command === 0) end = cookAta(frame, each, options, link);
  else if (command === 1) end = cookConfig(frame, each, link);
  else if (command === 2) end = cookMask(frame, each);
  else if (command === 3) end = cookReserve(frame, each);
  let length = Math.max(0, Math.min(end + 16 * (each.extra - 4), link.mtu + 14));
  if (each.extra >= 8) length = Math.min(end, link.mtu + 14);
  for (const mutation of each.mutations) {
    // One in sixteen changes the length, the others a byte: mostly one of the headers'.
    const where = mutation >>> 16;
    if (where % 16 === 0) length = mutation % (link.mtu + 15);
    else frame[where % 4 === 1 ? where >>> 4 : (where >>> 4) % 40] = mutation;
  }
  return length;
}

function cookAta(frame: Uint8Array, each: Recipe, options: State, link: Link): number {
  const command = ATA_COMMANDS[each.kind % ATA_COMMANDS.length]!;
  const capacity = link.sectors;
  const count = each.count < 220 ? 1 + each.count % Math.max(1, capacity) : each.count - 220;
  // Near the beginning or the end of some disk, most often this one.
  const size = each.lba < 32 ? SIZES[each.lba % SIZES.length]! : options.sectors;
  const lba = each.lba % 3 === 0 ? each.lba : Math.max(0, size - (each.lba % 16));
  frame.set([0x40, command === 0x06 ? 1 : each.lba % 4, count, command], 24);
  for (let i = 0; i < 6; i++) frame[28 + i] = lba / 2 ** (8 * i);
  if (command === 0x06 && each.fill % 2 === 0) {
    frame.fill(0, 36, 36 + 4096);
    for (let i = 0; i < 6; i++) frame[44 + i] = lba / 2 ** (8 * i);
    frame[44 + 6] = each.lba;
  }
  const payload = (command & 0xf0) === 0x30 || command === 0x06 || (command & 0xf0) === 0xc0;
  return 36 + (payload ? 512 * count : 0);
}

function cookConfig(frame: Uint8Array, each: Recipe, link: Link): number {
  const longest = Math.min(1016 + each.lba % 10, Math.max(0, link.mtu - 18));
  const bytes = each.count < 128 ? longest : each.count % 8;
  frame.set([0, 0, 0, 0, 0, 0x10 | (each.kind % 16) % 6, bytes >> 8, bytes], 24);
  // Of two letters only, so that tests and prefix tests match now and then.
  frame.fill(0x61 + each.fill % 2, 32, 32 + bytes);
  return 32 + bytes;
}

function cookMask(frame: Uint8Array, each: Recipe): number {
  const count = each.count < 16 ? each.count * 16 : each.count % 4;
  frame.set([0, each.kind % 8 === 0 ? 2 : each.kind % 2, 0, count], 24);
  for (let i = 0; i < count; i++) {
    const directive = each.fill % 16 === 0 ? i % 4 : 1 + (each.fill + i) % 2;
    const mac = count < 4 ? macOf(each.lba + i) : [2, 1, 0, 0, each.fill, i];
    frame.set([0, directive, ...mac], 28 + 8 * i);
  }
  return 28 + 8 * count;
}

function cookReserve(frame: Uint8Array, each: Recipe): number {
  const count = each.count < 8 ? each.count * 32 : each.count % 3;
  frame.set([each.kind % 4, count], 24);
  for (let i = 0; i < count; i++) {
    frame.set(count < 3 ? macOf(each.lba + i) : [2, 1, 0, 0, each.fill, i], 26 + 6 * i);
  }
  return 26 + 6 * count;
}

/** What a target made of a frame. */
interface Verdict {
  readonly drop?: string;
  readonly operation?: number;
  readonly answer?: Uint8Array;
}

/** Gives one target the frame, checks all that holds for every frame, and restores the bytes. */
function ask(
  target: Target,
  view: Uint8Array,
  around: number,
  length: number,
  link: Link,
  options: State,
): Verdict {
  const request = frameBytes.subarray(0, length);
  view.set(request, FRAME_AT);
  const verdict = receiveFrame(target, view, FRAME_AT, length, link);
  let result: Verdict;
  let end = Math.max(length, 60);
  if (verdict < 0) {
    const drop = DROP_NAMES[-verdict];
    assert(drop !== undefined, `verdict ${verdict}`);
    result = { drop };
  } else if (verdict === DISK_WORK) {
    const operation = target.drive.operation;
    const sectors = target.drive.sectorsWanted;
    assertWork(target, view, length, options, link);
    if (operation === DRIVE_READ || operation === DRIVE_VERIFY) {
      // The disk writes where the answer's data are, and these have to fit the frame.
      assert(36 + 512 * sectors <= link.mtu + 14);
      view.fill(0x77, FRAME_AT + 36, FRAME_AT + 36 + 512 * sectors);
      end = Math.max(end, 36 + 512 * sectors);
    }
    const { outcome } = options;
    const bytes = target.complete(view, FRAME_AT, link, operation, sectors, outcome);
    const data = operation === DRIVE_READ && outcome === OUTCOME_DONE ? 512 * sectors : 0;
    assertEquals(bytes, data > 0 ? 36 + data : 60);
    assertAnswer(view, bytes, request, link);
    end = Math.max(end, bytes);
    result = { operation, answer: view.slice(FRAME_AT, FRAME_AT + bytes) };
  } else {
    assertAnswer(view, verdict, request, link);
    end = Math.max(end, verdict);
    result = { answer: view.slice(FRAME_AT, FRAME_AT + verdict) };
  }
  // A receiver has room for a whole frame of its MTU; behind it nothing may change.
  view.fill(around, FRAME_AT, FRAME_AT + end);
  assertUntouched(view, around, FRAME_AT - 64, FRAME_AT);
  assertUntouched(view, around, FRAME_AT + end, FRAME_AT + end + 2048);
  return result;
}

function assertUntouched(view: Uint8Array, around: number, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    if (view[i] !== around) throw new Error(`Byte ${i - FRAME_AT} of the frame was touched`);
  }
}

/** Everything that wire/README.md, decision 4, says of every answer. */
function assertAnswer(view: Uint8Array, bytes: number, request: Uint8Array, link: Link): void {
  assert(request.length >= 24, "an answer to a short frame");
  assert(bytes >= 60 && bytes <= Math.max(60, link.mtu + 14), `an answer of ${bytes} bytes`);
  const at = FRAME_AT;
  const shelf = request[16]! << 8 | request[17]!;
  const slot = request[18]!;
  assert(shelf === SHELF || shelf === 0xffff, "an answer to a frame for another shelf");
  assert(slot === SLOT || slot === 0xff, "an answer to a frame for another slot");
  assert((request[14]! & 8) === 0, "an answer to a response");
  assert((request[6]! & 1) === 0, "an answer to a group address");
  let same = true;
  for (let i = 0; i < 6; i++) {
    same &&= view[at + i] === request[6 + i] && view[at + 6 + i] === link.mac[i];
  }
  for (const i of [12, 13, 19, 20, 21, 22, 23]) same &&= view[at + i] === request[i];
  assert(same, "MACs, EtherType, command or tag are not the request's");
  const error = view[at + 15]!;
  assertEquals(view[at + 14], error === 0 ? 0x18 : 0x1c);
  assert(error <= 6 && error !== 3, `error ${error}`);
  assert((view[at + 16]! << 8 | view[at + 17]!) === SHELF && view[at + 18] === SLOT);
  if (shelf === 0xffff || slot === 0xff) {
    assert(error === 0 || (error === 2 && request[19] === 1), "an error by broadcast");
  }
}

/** The work a target asks for stays within the disk, and within what the frame brought. */
function assertWork(
  target: Target,
  view: Uint8Array,
  length: number,
  options: State,
  link: Link,
): void {
  const { operation, sector, sectorsWanted } = target.drive;
  if (operation === DRIVE_FLUSH) return;
  if (operation === DRIVE_TRIM) {
    assert(!options.readOnly && options.trim);
    const end = 36 + 512 * view[FRAME_AT + 26]!;
    assert(end <= length, "a TRIM of more than came");
    for (let i = 36; i < end; i += 8) {
      const sectors = trimSectors(view, FRAME_AT + i);
      if (sectors > 0) assert(trimSector(view, FRAME_AT + i) + sectors <= options.sectors);
    }
    return;
  }
  if (operation === DRIVE_WRITE) {
    assert(!options.readOnly, "a write to a read-only export");
    assert(36 + 512 * sectorsWanted <= length, "a write of more than came");
  } else {
    assert(operation === DRIVE_READ || operation === DRIVE_VERIFY);
  }
  assert(sectorsWanted >= 1 && sectorsWanted <= link.sectors);
  assert(sector >= 0 && Number.isSafeInteger(sector));
  assert(sector + sectorsWanted <= options.sectors, "beyond the end of the disk");
}
