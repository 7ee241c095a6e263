// What the tests of the target share: requests and expected answers built byte by byte, without the
// program's own codecs, and a target asked within bytes that show what it touched beside its frame.

import { assert, assertEquals } from "@std/assert";
import type { AclConfig } from "../../../src/core/target/acl.ts";
import { Drive, type DriveSettings } from "../../../src/core/target/drive.ts";
import {
  DISK_WORK,
  DROP_NAMES,
  type Link,
  receiveFrame,
  Target,
} from "../../../src/core/target/target.ts";
import { assertBytes, bytesOf } from "../../wire/encoding.ts";

export const LINK_MAC = "02 00 00 00 00 01";
export const PEER_MAC = "02 00 00 00 00 02";
export const OTHER_MAC = "02 00 00 00 00 03";
export const TAG = "80 a1 b2 c3";
export const SHELF = 0x1234;
export const SLOT = 0x56;
export const BUFFERS = 64;

/** What stands where a request says nothing; it must never come back. */
export const STALE = 0xed;
/** What stands around the frame. */
const AROUND = 0xa5;
/** Where the frame starts. */
const FRAME_AT = 100;

/** An interface. */
export function linkOf(mtu = 1500): Link {
  const sectors = Math.min(255, Math.max(0, Math.floor((mtu - 36) / 512)));
  return { mac: bytesOf(LINK_MAC), mtu, sectors };
}

/** A target with a disk of 1,000,000 sectors that can do everything, unless told otherwise. */
export function targetOf(
  options: Partial<DriveSettings> & { acl?: Partial<AclConfig>; keeps?: boolean } = {},
): Target {
  const drive = new Drive({
    sectors: 1_000_000,
    readOnly: false,
    sync: false,
    trim: true,
    physicalSectorBytes: 4096,
    rotational: false,
    serial: "serial",
    firmware: "0001",
    model: "model",
    ...options,
  });
  return new Target({
    shelf: SHELF,
    slot: SLOT,
    drive,
    buffers: BUFFERS,
    acl: { accept: [], reject: [], readOnly: [], ...options.acl },
    keeps: options.keeps,
  });
}

/** A request: what is not given is addressed to the target, from PEER_MAC, well-formed. */
export interface Request {
  readonly command: number;
  /** Everything behind the 24 bytes of the header. */
  readonly section?: string | Uint8Array;
  readonly source?: string;
  readonly shelf?: number;
  readonly slot?: number;
  /** Byte 14: version and flags. */
  readonly versionFlags?: number;
  /** Byte 15. */
  readonly error?: number;
  /** Length of the frame, when it is not the section's or, with STALE bytes behind it, 60. */
  readonly length?: number;
}

/** The bytes of a request. */
export function requestOf(request: Request): Uint8Array {
  const section = sectionOf(request.section);
  const frame = new Uint8Array(request.length ?? Math.max(60, 24 + section.length)).fill(STALE);
  const header = bytesOf(
    `${LINK_MAC} ${request.source ?? PEER_MAC} 88 a2 ${hex(request.versionFlags ?? 0x10, 1)} ${
      hex(request.error ?? 0, 1)
    } ${hex(request.shelf ?? SHELF, 2)} ${hex(request.slot ?? SLOT, 1)} ${
      hex(request.command, 1)
    } ${TAG}`,
  );
  frame.set(header.subarray(0, frame.length));
  frame.set(section.subarray(0, Math.max(0, frame.length - 24)), Math.min(24, frame.length));
  return frame;
}

/** The bytes of the answer that wire/README.md demands, padded with zeros to 60. */
export function responseOf(
  response: {
    command: number;
    section?: string | Uint8Array;
    error?: number;
    destination?: string;
  },
): Uint8Array {
  const error = response.error ?? 0;
  const section = sectionOf(response.section);
  const frame = new Uint8Array(Math.max(60, 24 + section.length));
  frame.set(
    bytesOf(
      `${response.destination ?? PEER_MAC} ${LINK_MAC} 88 a2 ${error === 0 ? "18" : "1c"} ${
        hex(error, 1)
      } ${hex(SHELF, 2)} ${hex(SLOT, 1)} ${hex(response.command, 1)} ${TAG}`,
    ),
  );
  frame.set(section, 24);
  return frame;
}

export const CONFIG_READ = "00 00 00 00 00 10 00 00";
export const CONFIG_ANSWER = "00 40 00 01 02 10 00 00";

/** One request of every kind, by name. */
export const EVERY_KIND: readonly (readonly [string, Request])[] = [
  ["a READ", { command: 0, section: ataRequest(0x24) }],
  ["a WRITE", { command: 0, section: ataRequest(0x34, { data: new Uint8Array(512) }) }],
  ["a FLUSH", { command: 0, section: ataRequest(0xe7) }],
  ["an unsupported ATA command", { command: 0, section: ataRequest(0x00) }],
  ["an IDENTIFY", { command: 0, section: ataRequest(0xec) }],
  ["a config read", { command: 1, section: CONFIG_READ }],
  ["a config set", { command: 1, section: "00 00 00 00 00 13 00 01 61" }],
  ["a config request of an unknown kind", { command: 1, section: "00 00 00 00 00 15 00 00" }],
  ["a mask list read", { command: 2, section: "00 00 00 00" }],
  ["a mask list edit", { command: 2, section: `00 01 00 01 00 01 ${OTHER_MAC}` }],
  ["a reservation read", { command: 3, section: "00 00" }],
  ["a reservation", { command: 3, section: `01 01 ${OTHER_MAC}` }],
  ["an unknown command", { command: 4 }],
  ["a vendor's command", { command: 0xf0 }],
  ["another version", { command: 1, section: CONFIG_READ, versionFlags: 0x20 }],
];

/** Fails unless this is the answer to CONFIG_READ. */
export function assertConfigAnswered(answer: Uint8Array, destination = PEER_MAC): void {
  assertBytes(answer, responseOf({ command: 1, section: CONFIG_ANSWER, destination }));
}

/** The 12-byte ATA section of a request, its reserved bytes STALE, and data behind it. */
export function ataRequest(
  command: number,
  registers: {
    lba?: number;
    count?: number;
    feature?: number;
    flags?: number;
    data?: Uint8Array;
  } = {},
): Uint8Array {
  const data = registers.data ?? new Uint8Array(0);
  const section = new Uint8Array(12 + data.length).fill(STALE);
  section[0] = registers.flags ?? 0x40;
  section[1] = registers.feature ?? 0;
  section[2] = registers.count ?? 1;
  section[3] = command;
  for (let i = 0; i < 6; i++) section[4 + i] = Math.floor((registers.lba ?? 0) / 2 ** (8 * i));
  section.set(data, 12);
  return section;
}

/** The 12-byte ATA section of an answer: status and error, sector count and LBA, zeros. */
export function ataResponse(status: number, error: number, count = 0, lba = 0): Uint8Array {
  const section = new Uint8Array(12);
  section.set([0, error, count, status]);
  for (let i = 0; i < 6; i++) section[4 + i] = Math.floor(lba / 2 ** (8 * i));
  return section;
}

/** Disk work that a target asked for. */
export interface Work {
  readonly operation: number;
  readonly sector: number;
  readonly sectors: number;
  readonly forceUnitAccess: boolean;
  /** Ends it; `data` is what the disk put behind the header. */
  complete(outcome: number, data?: Uint8Array): Uint8Array;
  /** As `complete`, but taken back and completed again with `secondOutcome`. */
  completeTwice(outcome: number, secondOutcome: number): Uint8Array;
}

/** What became of a frame: the reason it was dropped for, its answer, or work. */
export type Outcome =
  | { readonly drop: string }
  | { readonly answer: Uint8Array }
  | { readonly work: Work };

/** Gives a target a frame, and fails when it touches what is not the frame's or the answer's. */
export function give(target: Target, frame: Uint8Array, link: Link = linkOf()): Outcome {
  const most = Math.max(frame.length, 60, link.mtu + 14);
  const view = new Uint8Array(FRAME_AT + most + 200).fill(AROUND);
  view.set(frame, FRAME_AT);
  const verdict = receiveFrame(target, view, FRAME_AT, frame.length, link);
  assertUntouched(view, Math.max(frame.length, 60, verdict));
  if (verdict < 0) return { drop: DROP_NAMES[-verdict] ?? `unknown reason ${verdict}` };
  if (verdict !== DISK_WORK) return { answer: takeAnswer(view, verdict, link) };
  const { operation, sector, sectorsWanted, forceUnitAccess } = target.drive;
  const complete = (outcome: number, dataBytes = 0): Uint8Array => {
    const length = target.complete(view, FRAME_AT, link, operation, sectorsWanted, outcome);
    assertUntouched(view, Math.max(frame.length, 60, length, 36 + dataBytes));
    return takeAnswer(view, length, link);
  };
  return {
    work: {
      operation,
      sector,
      sectors: sectorsWanted,
      forceUnitAccess,
      complete(outcome, data = new Uint8Array(0)) {
        view.set(data, FRAME_AT + 36);
        return complete(outcome, data.length);
      },
      completeTwice(outcome, secondOutcome) {
        complete(outcome);
        target.revert(view, FRAME_AT);
        return complete(secondOutcome);
      },
    },
  };
}

/** The answer to a request that needs no disk. */
export function answerTo(target: Target, request: Request, link?: Link): Uint8Array {
  const outcome = give(target, requestOf(request), link);
  assert("answer" in outcome, `no answer but ${JSON.stringify(outcome)}`);
  return outcome.answer;
}

/** The work that a request makes. */
export function workOf(target: Target, request: Request, link?: Link): Work {
  const outcome = give(target, requestOf(request), link);
  assert("work" in outcome, `no work but ${JSON.stringify(outcome)}`);
  return outcome.work;
}

/** Fails unless the request is dropped for the reason. */
export function assertDropped(target: Target, request: Request, reason: string, link?: Link): void {
  assertEquals(give(target, requestOf(request), link), { drop: reason });
}

function takeAnswer(view: Uint8Array, length: number, link: Link): Uint8Array {
  assert(length >= 60 && length <= link.mtu + 14, `an answer of ${length} bytes`);
  return view.slice(FRAME_AT, FRAME_AT + length);
}

function assertUntouched(view: Uint8Array, bytes: number): void {
  const end = FRAME_AT + bytes;
  const touched = view.findIndex((byte, i) => (i < FRAME_AT || i >= end) && byte !== AROUND);
  assertEquals(touched, -1, "touched a byte outside the frame");
}

function sectionOf(section: string | Uint8Array | undefined): Uint8Array {
  return typeof section === "string" ? bytesOf(section) : section ?? new Uint8Array(0);
}

function hex(value: number, bytes: number): string {
  return value.toString(16).padStart(2 * bytes, "0");
}
