// One shelf.slot as an AoE target: which frames are for it, who may speak to it, and the answers
// that need no disk (wire/README.md, 'What we decide', by number below). Sans-io: a frame goes in
// where it was received, the answer stands in the same bytes.
//
// 1. `receive` refuses (a negative verdict, the reason), answers (a length) or asks for the disk.
// 2. The caller carries out `drive.operation` and hands the outcome to `complete`.

import {
  AOE_COMMAND,
  AOE_FLAG_RESPONSE,
  AOE_HEADER_BYTES,
  AOE_SLOT,
  AOE_TAG,
  AOE_VERSION,
  aoeShelf,
  aoeVersion,
  COMMAND_ATA,
  COMMAND_CONFIG,
  COMMAND_MASK,
  COMMAND_RESERVE,
  ERROR_BAD_ARGUMENT,
  ERROR_CONFIG_PRESENT,
  ERROR_DEVICE_UNAVAILABLE,
  ERROR_RESERVED,
  ERROR_UNRECOGNIZED_COMMAND,
  ERROR_UNSUPPORTED_VERSION,
  isResponse,
  SHELF_BROADCAST,
  SLOT_BROADCAST,
  turnIntoResponse,
  writeAoeHeader,
} from "../../wire/aoe.ts";
import { ATA_COMMAND_STATUS, ATA_HEADER_BYTES, ATA_IDENTIFY_DEVICE } from "../../wire/ata.ts";
import {
  CONFIG_FORCE_SET,
  CONFIG_READ,
  CONFIG_SET,
  CONFIG_STRING,
  CONFIG_STRING_BYTES_MAX,
  CONFIG_TEST,
  CONFIG_TEST_PREFIX,
  CONFIG_VERSION_COMMAND,
  configCommand,
  configLength,
  writeConfigResponse,
} from "../../wire/config.ts";
import {
  copyMac,
  ETHERNET_DESTINATION,
  ETHERNET_FRAME_BYTES_MIN,
  ETHERNET_HEADER_BYTES,
  ETHERNET_SOURCE,
  MAC_BROADCAST,
  MAC_BYTES,
} from "../../wire/ethernet.ts";
import {
  DIRECTIVE_ADD,
  DIRECTIVE_COMMAND,
  DIRECTIVE_DELETE,
  DIRECTIVE_MAC,
  DIRECTIVE_NONE,
  MASK_COMMAND,
  MASK_COUNT,
  MASK_DIRECTIVE_BYTES,
  MASK_DIRECTIVES,
  MASK_EDIT,
  MASK_ENTRIES_MAX,
  MASK_ERROR,
  MASK_ERROR_BAD_DIRECTIVE,
  MASK_ERROR_FULL,
  writeMaskSection,
} from "../../wire/mask.ts";
import {
  RESERVE_COMMAND,
  RESERVE_COUNT,
  RESERVE_ENTRIES_MAX,
  RESERVE_FORCE_SET,
  RESERVE_MACS,
  RESERVE_READ,
  RESERVE_SET,
  writeReserveSection,
} from "../../wire/reserve.ts";
import { Acl, ACL_READS, ACL_REFUSED } from "./acl.ts";
import type { AclConfig } from "./acl.ts";
import type { Drive } from "./drive.ts";
import { macListOf, sameSettings, startsWithBytes } from "./kept_settings.ts";
import type { KeptSettings } from "./kept_settings.ts";
import { MacList } from "./mac_list.ts";

/** `receive`'s verdict: the disk must work first; the drive's fields say what. */
export const DISK_WORK = 0;
// Other verdicts: positive, the answer's length in bytes; negative, dropped in silence because:
export const DROP_SHORT = -1;
export const DROP_RESPONSE = -2;
export const DROP_OTHER_ADDRESS = -3;
export const DROP_FORBIDDEN = -4;
export const DROP_BROADCAST = -5;
export const DROP_VERSION = -6;
export const DROP_NO_MATCH = -7;
export const DROP_OVER_MTU = -8;
export const DROP_BUSY = -9;
/** Names of the reasons, by the negated verdict. */
export const DROP_NAMES = [
  "",
  "too short",
  "a response",
  "for another address",
  "from a MAC that is not allowed",
  "not to be broadcast",
  "of another version",
  "asking for another config string",
  "whose answer exceeds the MTU",
  "beyond what a slow disk may hold",
] as const;

/** Firmware version of query config; a peer only shows it. */
export const FIRMWARE_VERSION = 0x0001;

/** The interface a frame came in by. */
export interface Link {
  /** Its own MAC, six bytes. */
  readonly mac: Uint8Array;
  /** Payload bytes, the Ethernet header not counted. */
  mtu: number;
  /** Most sectors in one frame, at most 255. */
  sectors: number;
}

/** Told who has switched the write cache, by which link, and whether it is on now. */
export type CacheSwitchListener = (mac: Uint8Array, link: Link, on: boolean) => void;

/** What may have changed of a target since it was made. */
export interface TargetState extends KeptSettings {
  readonly sectors: number;
  readonly incarnation: number | undefined;
  readonly cacheOn: boolean;
}

/**
 * What is wrong with a frame whoever it is for: a DROP constant, or 0. Behind it, a frame has a whole
 * header, and is no response.
 */
export function refuseAtDoor(view: Uint8Array, at: number, length: number): number {
  if (length < AOE_HEADER_BYTES) return DROP_SHORT;
  return isResponse(view, at) ? DROP_RESPONSE : 0;
}

/**
 * Takes one frame at a host with one target: the door and `Target.receive`.
 *
 * @returns A DROP constant, the answer's length, or `DISK_WORK`.
 */
export function receiveFrame(
  target: Target,
  view: Uint8Array,
  at: number,
  length: number,
  link: Link,
): number {
  const refusal = refuseAtDoor(view, at, length);
  if (refusal !== 0) return refusal;
  const shelf = aoeShelf(view, at);
  const slot = view[at + AOE_SLOT]!;
  if (!target.isMeantBy(shelf, slot)) return DROP_OTHER_ADDRESS;
  const broadcast = shelf === SHELF_BROADCAST || slot === SLOT_BROADCAST;
  return target.receive(view, at, length, link, broadcast);
}

/** One exported shelf.slot. */
export class Target {
  readonly shelf: number;
  readonly slot: number;
  readonly drive: Drive;
  readonly #buffers: number;
  #acl: Acl;
  readonly #onCacheSwitch: CacheSwitchListener | undefined;
  readonly #onChange: (() => void) | undefined;
  readonly #keeps: boolean;
  #mask = new MacList(MASK_ENTRIES_MAX);
  #reservation = new MacList(RESERVE_ENTRIES_MAX);
  #config: Uint8Array = new Uint8Array(0);
  #proposal: KeptSettings | undefined;
  /**
   * The frame that was received last asks for a change that is not made yet: its answer is to be held
   * until `proposal` is kept (`keepProposal`) or cannot be (`refuseProposal`).
   */
  proposes = false;

  /**
   * @param options `buffers`: requests accepted without an answer; `acl`: who may use this target,
   * everybody when there is none; `onCacheSwitch` is told when an initiator has
   * switched the write cache, `onChange` when a frame has changed anything of `state`; `keeps`:
   * changes are proposed, see `proposes`.
   */
  constructor(
    options: {
      shelf: number;
      slot: number;
      drive: Drive;
      buffers: number;
      acl?: AclConfig | undefined;
      onCacheSwitch?: CacheSwitchListener | undefined;
      onChange?: (() => void) | undefined;
      keeps?: boolean | undefined;
    },
  ) {
    this.shelf = options.shelf;
    this.slot = options.slot;
    this.drive = options.drive;
    this.#buffers = options.buffers;
    this.#onChange = options.onChange;
    this.#keeps = options.keeps === true;
    this.#onCacheSwitch = options.onCacheSwitch;
    this.#acl = new Acl(options.acl);
  }

  /** Decides from now on who may use it. */
  set acl(acl: AclConfig | undefined) {
    this.#acl = new Acl(acl);
  }

  /** Whether a frame for this shelf and slot is for this target, too. */
  isMeantBy(shelf: number, slot: number): boolean {
    return (shelf === this.shelf || shelf === SHELF_BROADCAST) &&
      (slot === this.slot || slot === SLOT_BROADCAST);
  }

  /**
   * Takes one frame that `refuseAtDoor` has let pass and that is meant for this target.
   *
   * @param broadcast Whether it is meant for others, too.
   * @param length Bytes of the frame; nothing at or beyond `at + max(length, 60)` is touched, save
   * by an answer, which never exceeds the link's MTU.
   * @returns A DROP constant, the answer's length, or `DISK_WORK`.
   */
  receive(view: Uint8Array, at: number, length: number, link: Link, broadcast: boolean): number {
    this.proposes = false;
    const source = at + ETHERNET_SOURCE;
    // A group address never sends (IEEE 802.3 section 3.2.3): answering it would multiply a frame.
    if ((view[source]! & 1) !== 0) return DROP_FORBIDDEN;
    const admitted = this.#acl.decide(view, source);
    if (admitted === ACL_REFUSED || !this.#mask.admits(view, source)) return DROP_FORBIDDEN;
    if (aoeVersion(view, at) !== AOE_VERSION) {
      return broadcast ? DROP_VERSION : this.#error(view, at, link, ERROR_UNSUPPORTED_VERSION);
    }
    const readOnly = admitted === ACL_READS;
    switch (view[at + AOE_COMMAND]) {
      case COMMAND_ATA:
        return this.#receiveAta(view, at, length, link, broadcast, readOnly);
      case COMMAND_CONFIG:
        return this.#receiveConfig(view, at, length, link, broadcast, readOnly);
      case COMMAND_MASK:
        return broadcast ? DROP_BROADCAST : this.#receiveMask(view, at, length, link, readOnly);
      case COMMAND_RESERVE:
        return broadcast ? DROP_BROADCAST : this.#receiveReserve(view, at, length, link, readOnly);
      default:
        return broadcast ? DROP_BROADCAST : this.#error(view, at, link, ERROR_UNRECOGNIZED_COMMAND);
    }
  }

  /** What another target for the same disk must know to answer as this one does. */
  get state(): TargetState {
    return {
      configString: this.#config.slice(),
      mask: this.#mask.bytes().slice(),
      reservation: this.#reservation.bytes().slice(),
      sectors: this.drive.sectors,
      incarnation: this.drive.incarnation,
      cacheOn: !this.drive.stableWrites,
    };
  }

  /** Takes over the state of another target for the same disk. */
  restore(state: TargetState): void {
    this.#install(state);
    this.drive.sectors = state.sectors;
    this.drive.incarnation = state.incarnation;
    this.drive.switchCache(state.cacheOn);
  }

  /** Takes over what an earlier target for the same disk was set to. */
  restoreKept(kept: KeptSettings): void {
    this.#install(kept);
  }

  /** What the target will be set to once that is kept; undefined when nothing is proposed. */
  get proposal(): KeptSettings | undefined {
    return this.#proposal;
  }

  /** The proposal is kept: it holds, and its answer may leave. */
  keepProposal(): void {
    const proposal = this.#proposal!;
    this.#proposal = undefined;
    this.#install(proposal);
    this.#onChange?.();
  }

  /**
   * The proposal cannot be kept: nothing changes, and its answer becomes a refusal.
   *
   * @returns The refusal's length in bytes.
   */
  refuseProposal(view: Uint8Array, at: number, link: Link): number {
    this.#proposal = undefined;
    this.revert(view, at);
    return this.#error(view, at, link, ERROR_DEVICE_UNAVAILABLE);
  }

  /**
   * Takes one frame as `receive` does, in place of a target whose disk hangs: only what asks whether
   * the target is there and what it is, and changes nothing, is answered.
   */
  receiveQuestion(view: Uint8Array, at: number, length: number, link: Link): number {
    if (length < ATA_HEADER_BYTES) return DROP_SHORT;
    const command = view[at + AOE_COMMAND];
    const asks = command === COMMAND_CONFIG
      ? configCommand(view, at) <= CONFIG_TEST_PREFIX
      : command === COMMAND_ATA && view[at + ATA_COMMAND_STATUS] === ATA_IDENTIFY_DEVICE;
    return asks ? receiveFrame(this, view, at, length, link) : DROP_BUSY;
  }

  /**
   * Finishes a command whose disk work is done.
   *
   * @param work What `drive` had asked for; `unsupported` when the store cannot do it at all.
   * @returns Length of the answer in bytes. A READ's data are behind the header, or go out from
   * elsewhere right behind its 36 bytes.
   */
  complete(
    view: Uint8Array,
    at: number,
    link: Link,
    operation: number,
    sectors: number,
    outcome: number,
  ): number {
    turnIntoResponse(view, at, link.mac, this.shelf, this.slot, 0);
    return outcome === OUTCOME_DONE
      ? this.drive.succeed(view, at, operation, sectors)
      : this.drive.fail(view, at, operation, outcome === OUTCOME_UNSUPPORTED);
  }

  /**
   * Takes `complete` back, for an answer that could not be sent as it was: the requester's MAC is
   * where a request has it, and the command can be completed again.
   */
  revert(view: Uint8Array, at: number): void {
    copyMac(view, at + ETHERNET_SOURCE, view, at + ETHERNET_DESTINATION);
  }

  /**
   * Writes the advert of decision 14: a query config response nobody asked for, to everybody.
   *
   * @returns Length of the frame in bytes, or 0 when the link cannot carry it.
   */
  writeAdvert(view: Uint8Array, at: number, link: Link): number {
    writeAoeHeader(view, at, MAC_BROADCAST, link.mac, {
      flags: AOE_FLAG_RESPONSE,
      shelf: this.shelf,
      slot: this.slot,
      command: COMMAND_CONFIG,
      tag: 0,
    });
    view[at + CONFIG_VERSION_COMMAND] = CONFIG_READ;
    return Math.max(0, this.#finish(view, at, this.#writeConfig(view, at, link), link));
  }

  #receiveAta(
    view: Uint8Array,
    at: number,
    length: number,
    link: Link,
    broadcast: boolean,
    readOnly: boolean,
  ) {
    if (length < ATA_HEADER_BYTES) return DROP_SHORT;
    const identify = view[at + ATA_COMMAND_STATUS] === ATA_IDENTIFY_DEVICE;
    if (!identify) {
      if (broadcast) return DROP_BROADCAST;
      if (!this.#reservation.admits(view, at + ETHERNET_SOURCE)) {
        return this.#error(view, at, link, ERROR_RESERVED);
      }
    }
    const answered = this.drive.decode(view, at, length, link.sectors, readOnly);
    if (this.drive.cacheSwitched) {
      const mac = view.slice(at + ETHERNET_SOURCE, at + ETHERNET_SOURCE + MAC_BYTES);
      this.#onCacheSwitch?.(mac, link, !this.drive.stableWrites);
      this.#onChange?.();
    }
    if (answered === 0) return DISK_WORK;
    turnIntoResponse(view, at, link.mac, this.shelf, this.slot, 0);
    return answered;
  }

  #receiveConfig(
    view: Uint8Array,
    at: number,
    length: number,
    link: Link,
    broadcast: boolean,
    readOnly: boolean,
  ) {
    if (length < CONFIG_STRING) return DROP_SHORT;
    const command = configCommand(view, at);
    if (broadcast && command > CONFIG_TEST_PREFIX) return DROP_BROADCAST;
    if (command !== CONFIG_READ) {
      const stringBytes = configLength(view, at);
      if (
        command > CONFIG_FORCE_SET || readOnly && command >= CONFIG_SET ||
        stringBytes > CONFIG_STRING_BYTES_MAX ||
        CONFIG_STRING + stringBytes > length
      ) {
        return this.#error(view, at, link, ERROR_BAD_ARGUMENT);
      }
      const string = view.subarray(at + CONFIG_STRING, at + CONFIG_STRING + stringBytes);
      const prefix = startsWithBytes(this.#config, string);
      const equal = prefix && stringBytes === this.#config.length;
      if (command === CONFIG_TEST && !equal) return DROP_NO_MATCH;
      if (command === CONFIG_TEST_PREFIX && !prefix) return DROP_NO_MATCH;
      if (command === CONFIG_SET && this.#config.length > 0 && !equal) {
        turnIntoResponse(view, at, link.mac, this.shelf, this.slot, ERROR_CONFIG_PRESENT);
        return this.#finish(view, at, this.#writeConfig(view, at, link), link);
      }
      if (command >= CONFIG_SET) {
        const configString = string.slice();
        turnIntoResponse(view, at, link.mac, this.shelf, this.slot, 0);
        const end = this.#writeConfig(view, at, link, configString);
        return this.#change(this.#finish(view, at, end, link), { configString });
      }
    }
    turnIntoResponse(view, at, link.mac, this.shelf, this.slot, 0);
    return this.#finish(view, at, this.#writeConfig(view, at, link), link);
  }

  #receiveMask(view: Uint8Array, at: number, length: number, link: Link, readOnly: boolean) {
    if (length < MASK_DIRECTIVES) return DROP_SHORT;
    const command = view[at + MASK_COMMAND]!;
    const count = view[at + MASK_COUNT]!;
    // Who only reads does not decide who else may come.
    const refusal = readOnly && command === MASK_EDIT;
    if (refusal || command > MASK_EDIT || MASK_DIRECTIVES + count * MASK_DIRECTIVE_BYTES > length) {
      return this.#error(view, at, link, ERROR_BAD_ARGUMENT);
    }
    // The list must fit the answer, which is as long as the MTU at most.
    const room = Math.floor((frameBytesMax(link) - MASK_DIRECTIVES) / MASK_DIRECTIVE_BYTES);
    let list = this.#mask;
    if (command === MASK_EDIT) {
      // All directives or none: a list edited by half would lock somebody out unseen.
      list = this.#mask.clone();
      for (let i = 0; i < count; i++) {
        const error = edit(list, view, at + MASK_DIRECTIVES + i * MASK_DIRECTIVE_BYTES, room);
        if (error !== 0) {
          turnIntoResponse(view, at, link.mac, this.shelf, this.slot, 0);
          const end = writeMaskSection(view, at, command, DIRECTIVE_NONE, NO_MACS);
          view[at + MASK_ERROR] = error;
          view[at + MASK_COUNT] = i;
          return this.#finish(view, at, end, link);
        }
      }
    }
    if (list.size > room) return DROP_OVER_MTU;
    turnIntoResponse(view, at, link.mac, this.shelf, this.slot, 0);
    const end = this.#finish(
      ...[
        view,
        at,
        writeMaskSection(view, at, command, DIRECTIVE_NONE, list.bytes()),
        link,
      ] as const,
    );
    return list === this.#mask ? end : this.#change(end, { mask: list.bytes() });
  }

  #receiveReserve(view: Uint8Array, at: number, length: number, link: Link, readOnly: boolean) {
    if (length < RESERVE_MACS) return DROP_SHORT;
    const command = view[at + RESERVE_COMMAND]!;
    const count = view[at + RESERVE_COUNT]!;
    const macs = at + RESERVE_MACS;
    const refusal = readOnly && command !== RESERVE_READ;
    if (refusal || command > RESERVE_FORCE_SET || RESERVE_MACS + count * MAC_BYTES > length) {
      return this.#error(view, at, link, ERROR_BAD_ARGUMENT);
    }
    const refused = command === RESERVE_SET &&
      !this.#reservation.admits(view, at + ETHERNET_SOURCE);
    const changes = command !== RESERVE_READ && !refused;
    const list = changes ? new MacList(RESERVE_ENTRIES_MAX) : this.#reservation;
    if (changes) { for (let i = 0; i < count; i++) list.add(view, macs + i * MAC_BYTES); }
    if (RESERVE_MACS + list.size * MAC_BYTES > frameBytesMax(link)) return DROP_OVER_MTU;
    const error = refused ? ERROR_RESERVED : 0;
    turnIntoResponse(view, at, link.mac, this.shelf, this.slot, error);
    const end = this.#finish(
      ...[view, at, writeReserveSection(view, at, command, list.bytes()), link] as const,
    );
    return changes ? this.#change(end, { reservation: list.bytes() }) : end;
  }

  /**
   * Changes what is kept, or proposes to; nothing that cannot be confirmed.
   *
   * @param answer Length of the answer that says so, or why there is none.
   * @returns The same, or `DROP_BUSY` while another change is proposed.
   */
  #change(answer: number, change: Partial<KeptSettings>): number {
    if (answer < 0) return answer;
    if (this.#proposal !== undefined) return DROP_BUSY;
    const now: KeptSettings = {
      configString: this.#config,
      mask: this.#mask.bytes(),
      reservation: this.#reservation.bytes(),
    };
    const next = { ...now, ...change };
    if (this.#keeps && !sameSettings(now, next)) {
      this.#proposal = next;
      this.proposes = true;
      return answer;
    }
    this.#install(next);
    this.#onChange?.();
    return answer;
  }

  #install({ configString, mask, reservation }: KeptSettings): void {
    this.#config = configString;
    this.#mask = macListOf(mask, MASK_ENTRIES_MAX);
    this.#reservation = macListOf(reservation, RESERVE_ENTRIES_MAX);
  }

  #writeConfig(view: Uint8Array, at: number, link: Link, string = this.#config): number {
    if (CONFIG_STRING + string.length > frameBytesMax(link)) return DROP_OVER_MTU;
    return writeConfigResponse(view, at, {
      buffers: this.#buffers,
      firmware: FIRMWARE_VERSION,
      sectors: link.sectors,
      string,
    });
  }

  #error(view: Uint8Array, at: number, link: Link, error: number): number {
    turnIntoResponse(view, at, link.mac, this.shelf, this.slot, error);
    return this.#finish(view, at, AOE_TAG + 4, link);
  }

  /** Pads an answer of `length` bytes with zeros; a negative length is a verdict already. */
  #finish(view: Uint8Array, at: number, length: number, link: Link): number {
    if (length < 0) return length;
    if (length > frameBytesMax(link)) return DROP_OVER_MTU;
    if (length >= ETHERNET_FRAME_BYTES_MIN) return length;
    view.fill(0, at + length, at + ETHERNET_FRAME_BYTES_MIN);
    return ETHERNET_FRAME_BYTES_MIN;
  }
}

/** `complete`'s outcome: the disk did it. */
export const OUTCOME_DONE = 0;
/** The disk could not: an I/O error, a full disk, the end of a file that shrank. */
export const OUTCOME_FAILED = 1;
/** The store does not know the operation. */
export const OUTCOME_UNSUPPORTED = 2;

const NO_MACS = new Uint8Array(0);

function frameBytesMax(link: Link): number {
  return link.mtu + ETHERNET_HEADER_BYTES;
}

/** Carries out one mask directive; returns the merror, 0 for none. */
function edit(list: MacList, view: Uint8Array, directive: number, room: number): number {
  switch (view[directive + DIRECTIVE_COMMAND]) {
    case DIRECTIVE_NONE:
      return 0;
    case DIRECTIVE_ADD:
      if (list.has(view, directive + DIRECTIVE_MAC)) return 0;
      if (list.size >= room) return MASK_ERROR_FULL;
      return list.add(view, directive + DIRECTIVE_MAC) ? 0 : MASK_ERROR_FULL;
    case DIRECTIVE_DELETE:
      list.remove(view, directive + DIRECTIVE_MAC);
      return 0;
    default:
      return MASK_ERROR_BAD_DIRECTIVE;
  }
}
