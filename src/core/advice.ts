// What is wrong with a storage network, and what to do about it: measurements of interfaces and
// paths go in, sentences come out.

import { ATA_HEADER_BYTES, SECTOR_BYTES, sectorsPerFrame } from "../wire/ata.ts";
import { ETHERNET_HEADER_BYTES } from "../wire/ethernet.ts";

/** The Linux driver keeps half of the buffers in flight at first, and with 1 none. */
const BUFFERS_MIN = 2;

/** One of our interfaces. */
export interface CheckedInterface {
  readonly name: string;
  readonly mtu: number;
  /** The other end of the cable answers. */
  readonly running: boolean;
  /** Undefined when the driver does not say. */
  readonly flowControl: { readonly receives: boolean; readonly sends: boolean } | undefined;
  /** Somebody answers on it. */
  readonly answered: boolean;
  /** It was asked for by name. */
  readonly named: boolean;
}

/** Requests that were sent, and what became of them. */
export interface Tally {
  readonly sent: number;
  readonly lost: number;
  /** Answers beyond the first of a request. */
  readonly again: number;
}

/** One path: a disk, one of our interfaces, a MAC. */
export interface CheckedPath {
  /** As in `e1.1`. */
  readonly address: string;
  readonly interface: string;
  /** Payload bytes of our interface. */
  readonly mtu: number;
  readonly mac: string;
  /** Requests and sectors that the target says it takes. */
  readonly buffers: number;
  readonly sectors: number;
  /** Bytes of the largest frame that reached the target; undefined when it never answered. */
  readonly requestBytes: number | undefined;
  /** Sectors of the largest read that came back whole; undefined when reads are refused. */
  readonly readSectors: number | undefined;
  /** Why reads are refused. */
  readonly refusal: string | undefined;
  /** One request after the other. */
  readonly single: Tally;
  /** As many at once as the target takes. */
  readonly burst: Tally;
}

/** Something that is wrong. */
export interface Problem {
  /** What kind, for programs. */
  readonly kind:
    | "no-carrier"
    | "silence"
    | "contested-address"
    | "mtu-mismatch"
    | "frames-vanish"
    | "loss"
    | "burst-loss"
    | "doubled-frames"
    | "no-flow-control"
    | "few-buffers";
  /** What is wrong and what to do, in a sentence or two without the last period. */
  readonly text: string;
}

/** Sectors that one frame carries on a path, both ways. */
export function usableSectors(path: CheckedPath): number {
  const { requestBytes = 0, readSectors = Infinity, sectors, mtu } = path;
  return Math.max(
    0,
    Math.min(
      sectors,
      sectorsPerFrame(mtu),
      readSectors,
      Math.floor((requestBytes - ATA_HEADER_BYTES) / SECTOR_BYTES),
    ),
  );
}

/** Bytes of the largest frame that passes on a path, both ways. */
export function usableBytes(path: CheckedPath): number {
  const { requestBytes = 0, readSectors, sectors, mtu } = path;
  // A read that was as large as both ends allow says nothing against larger frames.
  return readSectors === undefined || readSectors >= Math.min(sectors, sectorsPerFrame(mtu))
    ? requestBytes
    : Math.min(requestBytes, ATA_HEADER_BYTES + readSectors * SECTOR_BYTES);
}

/**
 * Says what is wrong.
 *
 * @param contests Who answers for an address that different disks claim, one sentence each.
 */
export function findProblems(
  interfaces: readonly CheckedInterface[],
  paths: readonly CheckedPath[],
  contests: readonly string[],
): Problem[] {
  return [
    ...interfaces.flatMap(interfaceProblems),
    ...contests.map((contest): Problem => ({
      kind: "contested-address",
      text: `${contest}. Give one of them another shelf or slot before either is written to`,
    })),
    ...paths.flatMap((path) => [...sizeProblems(path), ...lossProblems(path)]),
  ];
}

function interfaceProblems(link: CheckedInterface): Problem[] {
  const { name, running, flowControl, answered, named } = link;
  const problems: Problem[] = [];
  // Interfaces that nobody asked about may well lead elsewhere.
  if (!answered) {
    if (named && running) {
      problems.push({
        kind: "silence",
        text: `Nobody answers on ${name}. Look whether a target serves on this network, and for ` +
          `VLANs in between`,
      });
    } else if (named) {
      problems.push({
        kind: "no-carrier",
        text: `${name} has no carrier. Look at the cable and at the other end`,
      });
    }
    return problems;
  }
  if (flowControl !== undefined && !flowControl.receives && !flowControl.sends) {
    problems.push({
      kind: "no-flow-control",
      text: `${name} has no flow control, so that bursts overrun buffers. Turn it on here ` +
        `(ethtool -A ${name} rx on tx on), on the switch, and at the targets`,
    });
  }
  return problems;
}

function sizeProblems(path: CheckedPath): Problem[] {
  const { address, mac, mtu, sectors, requestBytes, interface: name } = path;
  const who = `${address} at ${mac}`;
  const problems: Problem[] = [];
  if (path.buffers < BUFFERS_MIN) {
    problems.push({
      kind: "few-buffers",
      text:
        `${who} takes ${path.buffers} request at a time. Linux's driver needs 2 at least, and ` +
        `16 to be fast: raise its buffer count`,
    });
  }
  const here = sectorsPerFrame(mtu);
  const allowed = Math.min(here, sectors);
  if (requestBytes !== undefined && usableSectors(path) < allowed) {
    const bytes = usableBytes(path);
    problems.push({
      kind: "frames-vanish",
      text: `Frames over ${bytes} bytes vanish between ${name} and ${who}, though both ends ` +
        `allow ${ATA_HEADER_BYTES + allowed * SECTOR_BYTES}. Raise the MTU of the switches in ` +
        `between, or lower that of both ends to ${mtuFor(bytes)}`,
    });
    return problems;
  }
  if (sectors < here) {
    problems.push({
      kind: "mtu-mismatch",
      text: `${who} takes ${count(sectors, "sector")} a frame, though ${name} with its MTU of ` +
        `${mtu} carries ${here}. Raise the MTU of the target to ${mtu}`,
    });
  } else if (sectors > here) {
    const needed = sectors * SECTOR_BYTES + ATA_HEADER_BYTES;
    problems.push({
      kind: "mtu-mismatch",
      text: `${name} with its MTU of ${mtu} carries ${count(here, "sector")} a frame, though ` +
        `${who} takes ${sectors}. Raise the MTU here to ${needed} or more`,
    });
  }
  return problems;
}

/** The MTU to set where frames of so many bytes pass. */
function mtuFor(frameBytes: number): number {
  const mtu = frameBytes - ETHERNET_HEADER_BYTES;
  // Devices of MTU 1500 pass a VLAN tag or two more.
  return mtu >= 1500 && mtu <= 1508 ? 1500 : mtu;
}

function lossProblems(path: CheckedPath): Problem[] {
  const { single, burst } = path;
  const where = `between ${path.interface} and ${path.address} at ${path.mac}`;
  const problems: Problem[] = [];
  if (single.lost > 0) {
    problems.push({
      kind: "loss",
      text:
        `${single.lost} of ${single.sent} single requests were lost ${where}. Look at cables, ` +
        `transceivers, duplex settings and the error counters of the switch`,
    });
  } else if (burst.lost > 0) {
    problems.push({
      kind: "burst-loss",
      text: `${burst.lost} of ${burst.sent} requests were lost ${where} when many were sent at ` +
        `once. Turn on flow control, or lower the buffer count of the target`,
    });
  }
  if (single.again > 0) {
    problems.push({
      kind: "doubled-frames",
      text:
        `${count(single.again, "answer")} came twice ${where}. Look for a loop in the network, ` +
        `or a port that mirrors another`,
    });
  }
  return problems;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
