// What is wrong with a storage network, and what to do about it: measurements of interfaces and
// paths go in, sentences come out.

import { ATA_HEADER_BYTES, SECTOR_BYTES, sectorsPerFrame } from "../../wire/ata.ts";
import { ETHERNET_HEADER_BYTES } from "../../wire/ethernet.ts";

/** The Linux driver keeps half of the buffers in flight at first, and with 1 none. */
const BUFFERS_MIN = 2;
/** Disks that one sentence names. */
const ADDRESSES_NAMED_MAX = 3;
/** Stands in a text for the addresses it is about, until all of them are known. */
const ADDRESSES = "\0";

/** One of our interfaces. */
export interface CheckedInterface {
  readonly name: string;
  readonly mtu: number;
  readonly loopback: boolean;
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
  /** Different answers came from here: two disks behind one MAC. */
  readonly contradictory: boolean;
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
    | "no-reads"
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
  return Math.min(sectors, sectorsPerFrame(mtu), readSectors, sectorsIn(requestBytes));
}

/** Bytes of the largest frame that passes on a path, both ways. */
export function usableBytes(path: CheckedPath): number {
  const { requestBytes = 0, readSectors, sectors, mtu } = path;
  const most = Math.min(sectors, sectorsPerFrame(mtu), sectorsIn(requestBytes));
  // A read that was as large as it could be says nothing against larger frames.
  return readSectors === undefined || readSectors >= most
    ? requestBytes
    : ATA_HEADER_BYTES + readSectors * SECTOR_BYTES;
}

function sectorsIn(frameBytes: number): number {
  return Math.max(0, Math.floor((frameBytes - ATA_HEADER_BYTES) / SECTOR_BYTES));
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
  const problems = [
    ...interfaces.flatMap(interfaceProblems),
    ...contests.map((contest): Problem => ({
      kind: "contested-address",
      text: `${contest}. Give one of them another shelf or slot before either is written to`,
    })),
    ...Map.groupBy(paths, (path) => `${path.interface} ${path.mac}`).values()
      .flatMap((together) => [...merge(together.flatMap(sizeProblems)), ...lossProblems(together)]),
  ];
  // A host that answers in another's stead answers besides: that is no fault of the network.
  return contests.length === 0
    ? problems
    : problems.filter(({ kind }) => kind !== "doubled-frames");
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

/** A problem of one disk, in whose text the address is left out. */
interface Complaint extends Problem {
  readonly address: string;
}

/** The same complaint of many disks behind one MAC is one problem. */
function merge(complaints: readonly Complaint[]): Problem[] {
  return [...Map.groupBy(complaints, ({ text }) => text)].map(([text, same]) => ({
    kind: same[0]!.kind,
    text: text.replace(ADDRESSES, list(same.map(({ address }) => address))),
  }));
}

function sizeProblems(path: CheckedPath): Complaint[] {
  const { address, mac, mtu, sectors, requestBytes, interface: name } = path;
  const who = `${ADDRESSES} at ${mac}`;
  const problems: Complaint[] = [];
  if (path.buffers < BUFFERS_MIN) {
    problems.push({
      ...{ address, kind: "few-buffers" },
      text: `With ${count(path.buffers, "buffer")}, ${who} cannot serve Linux's driver, which ` +
        `needs ${BUFFERS_MIN}, and 16 to be fast. Raise the buffer count`,
    });
  }
  const here = sectorsPerFrame(mtu);
  const allowed = Math.min(here, sectors);
  if (path.readSectors === 0) {
    problems.push({
      ...{ address, kind: "no-reads" },
      text: `Reads of ${who} are not answered, not even of one sector, though other questions ` +
        `are. Look at what the target logs`,
    });
    return problems;
  }
  if (requestBytes !== undefined && usableSectors(path) < allowed) {
    const bytes = usableBytes(path);
    problems.push({
      ...{ address, kind: "frames-vanish" },
      text: `Frames over ${bytes} bytes vanish between ${name} and ${who}, though both ends ` +
        `allow ${ATA_HEADER_BYTES + allowed * SECTOR_BYTES}. Raise the MTU of the switches in ` +
        `between, or lower that of both ends to ${mtuFor(bytes)}`,
    });
    return problems;
  }
  if (sectors < here) {
    problems.push({
      ...{ address, kind: "mtu-mismatch" },
      text: `A frame to ${who} carries ${count(sectors, "sector")}, though ${name} with its MTU ` +
        `of ${mtu} has room for ${here}. Raise the MTU of the target to ${mtu}`,
    });
  } else if (sectors > here) {
    const needed = sectors * SECTOR_BYTES + ATA_HEADER_BYTES;
    problems.push({
      ...{ address, kind: "mtu-mismatch" },
      text: `${name} with its MTU of ${mtu} has room for ${count(here, "sector")}, though a ` +
        `frame to ${who} may carry ${sectors}. Raise the MTU here to ${needed} or more`,
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

/** Losses of all disks behind one MAC, which share a way. */
function lossProblems(paths: readonly CheckedPath[]): Problem[] {
  const { interface: name, mac } = paths[0]!;
  const single = sum(paths.map((path) => path.single));
  const burst = sum(paths.map((path) => path.burst));
  const where = `between ${name} and ${list(paths.map(({ address }) => address))} at ${mac}`;
  const problems: Problem[] = [];
  if (single.lost > 0) {
    problems.push({
      kind: "loss",
      text: `${single.lost} of ${single.sent} single requests were lost ${where}. Look at ` +
        `cables, transceivers, duplex settings and the error counters of the switch`,
    });
  } else if (burst.lost > 0) {
    problems.push({
      kind: "burst-loss",
      text: `${burst.lost} of ${burst.sent} requests were lost ${where} when many were sent at ` +
        `once. Turn on flow control, or lower the buffer count of the target`,
    });
  }
  // Two disks behind one MAC answer twice because they are two.
  const again = paths.filter((path) => !path.contradictory)
    .reduce((sum, path) => sum + path.single.again + path.burst.again, 0);
  if (again > 0) {
    problems.push({
      kind: "doubled-frames",
      text: `${count(again, "answer")} came twice ${where}. Look for a loop in the network, or a ` +
        `port that mirrors another`,
    });
  }
  return problems;
}

function sum(tallies: readonly Tally[]): Tally {
  return tallies.reduce((a, b) => ({
    sent: a.sent + b.sent,
    lost: a.lost + b.lost,
    again: a.again + b.again,
  }));
}

/** `e1.1`, `e1.1 and e1.2`, or `e1.1, e1.2, e1.3 and 61 others`. */
function list(addresses: readonly string[]): string {
  const named = addresses.slice(0, ADDRESSES_NAMED_MAX);
  const others = addresses.length - named.length;
  const last = others > 0 ? count(others, "other") : named.pop()!;
  return named.length === 0 ? last : `${named.join(", ")} and ${last}`;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
