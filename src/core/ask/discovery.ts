// Who is there: writes the questions, collects the answers (wire/README.md, 'Query config' and
// 'IDENTIFY DEVICE'). One path is an address seen through one of our interfaces at one MAC; a disk
// with two cards, or a second target that took the same address, has several.
//
// Tags have bit 31 set, so that a kernel driver on the same host ignores the answers. The 15 bits
// below tell apart who asked, since on the loopback interface everybody hears every answer; the rest
// numbers the questions, for whoever watches the wire.

import {
  AOE_COMMAND,
  AOE_ERROR,
  AOE_FLAG_ERROR,
  AOE_HEADER_BYTES,
  AOE_SLOT,
  AOE_TAG,
  AOE_VERSION,
  AOE_VERSION_FLAGS,
  aoeErrorName,
  aoeShelf,
  aoeVersion,
  COMMAND_ATA,
  COMMAND_CONFIG,
  isResponse,
  SHELF_BROADCAST,
  SLOT_BROADCAST,
  TAG_USERLAND,
  writeAoeHeader,
} from "../../wire/aoe.ts";
import type { Address } from "../../wire/aoe.ts";
import {
  ATA_COMMAND_STATUS,
  ATA_DATA,
  ATA_FEATURE_ERROR,
  ATA_IDENTIFY_DEVICE,
  ATA_STATUS_DF,
  ATA_STATUS_ERR,
  ataErrorName,
  LBA_DEVICE_0,
  writeAtaRequest,
} from "../../wire/ata.ts";
import { CONFIG_READ, readConfigResponse, writeConfigRequest } from "../../wire/config.ts";
import type { ConfigResponse } from "../../wire/config.ts";
import { readUint16Be } from "../../wire/endian.ts";
import {
  ETHERNET_FRAME_BYTES_MIN,
  ETHERNET_SOURCE,
  ETHERNET_TYPE,
  ETHERTYPE_AOE,
  formatMac,
  MAC_BROADCAST,
  MAC_BYTES,
} from "../../wire/ethernet.ts";
import { IDENTIFY_BYTES, readIdentity, takesLba48 } from "../../wire/identify.ts";
import type { Identity } from "../../wire/identify.ts";

/** Paths that are remembered; who answers for more is making them up. */
const PATHS_MAX = 65_536;
const TAG_NONCE_MASK = 0x7fff;
const TAG_SERIAL_MASK = 0xffff;
const NO_STRING = new Uint8Array(0);

/** One address, seen through one interface at one MAC. */
export interface FoundPath {
  readonly address: Address;
  /** The caller's number of the interface. */
  readonly link: number;
  readonly mac: Uint8Array;
  /** As answered last. */
  readonly config: ConfigResponse;
  /** Different answers came from here: two targets behind one MAC. */
  readonly contradictory: boolean;
  /** Undefined until IDENTIFY was answered. */
  readonly identity: Identity | undefined;
  /** Whether the disk knows 48-bit commands, once IDENTIFY was answered. */
  readonly lba48: boolean;
  /** Why IDENTIFY was refused. */
  readonly refusal: string | undefined;
}

type MutablePath = { -readonly [Key in keyof FoundPath]: FoundPath[Key] };

/** One round of questions and what was answered. */
export class Discovery {
  /** Whether paths were left out because there were too many. */
  full = false;
  readonly #tagHigh: number;
  #questions = 0;
  readonly #paths = new Map<string, MutablePath>();

  /** @param nonce Any 15 bits that another who asks will hardly have. */
  constructor(nonce: number) {
    this.#tagHigh = (TAG_USERLAND >>> 16) | (nonce & TAG_NONCE_MASK);
  }

  /**
   * Writes a query config read, sent to everybody on the segment.
   *
   * @param address The one that is asked for; all when undefined.
   * @returns Length of the frame in bytes.
   */
  writeQuery(
    view: Uint8Array,
    at: number,
    sender: Uint8Array,
    address: Address | undefined,
  ): number {
    view.fill(0, at, at + ETHERNET_FRAME_BYTES_MIN);
    writeAoeHeader(view, at, MAC_BROADCAST, sender, {
      flags: 0,
      shelf: address?.shelf ?? SHELF_BROADCAST,
      slot: address?.slot ?? SLOT_BROADCAST,
      command: COMMAND_CONFIG,
      tag: this.#nextTag(),
    });
    writeConfigRequest(view, at, CONFIG_READ, NO_STRING);
    return ETHERNET_FRAME_BYTES_MIN;
  }

  /**
   * Writes an IDENTIFY DEVICE, sent to one path.
   *
   * @returns Length of the frame in bytes.
   */
  writeIdentify(view: Uint8Array, at: number, sender: Uint8Array, path: FoundPath): number {
    view.fill(0, at, at + ETHERNET_FRAME_BYTES_MIN);
    const { shelf, slot } = path.address;
    const header = { flags: 0, shelf, slot, command: COMMAND_ATA, tag: this.#nextTag() };
    writeAoeHeader(view, at, path.mac, sender, header);
    writeAtaRequest(view, at, {
      flags: 0,
      feature: 0,
      count: IDENTIFY_BYTES / 512,
      command: ATA_IDENTIFY_DEVICE,
      lba: LBA_DEVICE_0,
    });
    return ETHERNET_FRAME_BYTES_MIN;
  }

  /** Takes a frame that arrived on interface `link`; whatever is no answer to us is passed over. */
  receive(view: Uint8Array, at: number, length: number, link: number): void {
    if (length < AOE_HEADER_BYTES || !isAoeResponse(view, at)) return;
    if (readUint16Be(view, at + AOE_TAG) !== this.#tagHigh) return;
    const address = { shelf: aoeShelf(view, at), slot: view[at + AOE_SLOT]! };
    if (address.shelf === SHELF_BROADCAST || address.slot === SLOT_BROADCAST) return;
    const sender = at + ETHERNET_SOURCE;
    // A group address is nobody's: an answer to it would reach everybody.
    if ((view[sender]! & 1) !== 0) return;
    const key = `${address.shelf}.${address.slot} ${link} ${formatMac(view, sender)}`;
    const path = this.#paths.get(key);
    switch (view[at + AOE_COMMAND]) {
      case COMMAND_CONFIG: {
        if ((view[at + AOE_VERSION_FLAGS]! & AOE_FLAG_ERROR) !== 0) return;
        const config = readConfigResponse(view, at, length);
        if (config === undefined) return;
        if (path === undefined) {
          const mac = view.slice(sender, sender + MAC_BYTES);
          this.#add(key, {
            ...{ address, link, mac, config, contradictory: false },
            ...{ identity: undefined, lba48: true, refusal: undefined },
          });
        } else {
          path.contradictory ||= !sameConfig(path.config, config);
          path.config = config;
        }
        return;
      }
      case COMMAND_ATA:
        if (path !== undefined) readIdentifyAnswer(view, at, length, path);
    }
  }

  /** What was found, by address, interface and MAC. */
  paths(): FoundPath[] {
    return [...this.#paths.values()].sort((a, b) =>
      a.address.shelf - b.address.shelf || a.address.slot - b.address.slot || a.link - b.link ||
      compareBytes(a.mac, b.mac)
    );
  }

  #nextTag(): number {
    return this.#tagHigh * 0x10000 + (this.#questions++ & TAG_SERIAL_MASK);
  }

  #add(key: string, path: MutablePath): void {
    if (this.#paths.size < PATHS_MAX) this.#paths.set(key, path);
    else this.full = true;
  }
}

/** Every path to one address. */
export interface FoundTarget {
  readonly address: Address;
  /** At least one. */
  readonly paths: readonly FoundPath[];
}

/** Puts paths to the same address together, in the order in which they come. */
export function groupByAddress(paths: readonly FoundPath[]): FoundTarget[] {
  const groups = Map.groupBy(paths, ({ address }) => `${address.shelf}.${address.slot}`);
  return [...groups.values()].map((paths) => ({ address: paths[0]!.address, paths }));
}

/** Whether two disks have this address: they call themselves differently. */
export function isContested({ paths }: FoundTarget): boolean {
  const disks = new Set(
    paths.flatMap(({ identity }) => identity === undefined ? [] : [diskName(identity)]),
  );
  return disks.size > 1 || paths.some((path) => path.contradictory);
}

function isAoeResponse(view: Uint8Array, at: number): boolean {
  return view[at + ETHERNET_TYPE] === ETHERTYPE_AOE >>> 8 &&
    view[at + ETHERNET_TYPE + 1] === (ETHERTYPE_AOE & 0xff) &&
    aoeVersion(view, at) === AOE_VERSION && isResponse(view, at);
}

/** A short answer that claims success says nothing, and is passed over. */
function readIdentifyAnswer(
  view: Uint8Array,
  at: number,
  length: number,
  path: MutablePath,
): void {
  if ((view[at + AOE_VERSION_FLAGS]! & AOE_FLAG_ERROR) !== 0) {
    path.refusal = aoeErrorName(view[at + AOE_ERROR]!);
    return;
  }
  if (length < ATA_DATA) return;
  const status = view[at + ATA_COMMAND_STATUS]!;
  if ((status & (ATA_STATUS_ERR | ATA_STATUS_DF)) !== 0) {
    path.refusal = ataErrorName(status, view[at + ATA_FEATURE_ERROR]!);
  } else if (length >= ATA_DATA + IDENTIFY_BYTES) {
    const identity = readIdentity(view, at + ATA_DATA);
    path.contradictory ||= path.identity !== undefined &&
      diskName(path.identity) !== diskName(identity);
    path.identity = identity;
    path.lba48 = takesLba48(view, at + ATA_DATA);
    path.refusal = undefined;
  }
}

/** What tells disks apart. */
function diskName({ serial, model, sectors }: Identity): string {
  return `${serial}\n${model}\n${sectors}`;
}

/** Whether one target can have said both; its MTU, and so its sectors a frame, may have changed. */
function sameConfig(a: ConfigResponse, b: ConfigResponse): boolean {
  return a.buffers === b.buffers && a.firmware === b.firmware &&
    compareBytes(a.string, b.string) === 0;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < a.length && i < b.length; i++) {
    if (a[i] !== b[i]) return a[i]! - b[i]!;
  }
  return a.length - b.length;
}
