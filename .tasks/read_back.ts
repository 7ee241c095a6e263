// A small initiator for the demo: `read_back.ts IFACE SHELF.SLOT BYTES` reads so much of a disk,
// from its start, and prints the SHA-256 of it. It stands on the program's own codecs and sockets
// and keeps to the simplest rules that work on a healthy wire: a window of reads, sent again after
// a silence.

import { Arena } from "../ffi/arena.ts";
import { MessageTable } from "../ffi/message_table.ts";
import { listInterfaces, type NetworkInterface } from "../ffi/netlink.ts";
import { PacketSocket } from "../ffi/packet_socket.ts";
import { POLLIN, PollSet } from "../ffi/poll.ts";
import {
  type Address,
  AOE_COMMAND,
  AOE_SLOT,
  AOE_TAG,
  aoeShelf,
  COMMAND_ATA,
  COMMAND_CONFIG,
  parseAddress,
  writeAoeHeader,
} from "../src/wire/aoe.ts";
import {
  ATA_COMMAND_STATUS,
  ATA_DATA,
  ATA_FLAG_LBA48,
  ATA_READ_SECTORS_EXT,
  ATA_STATUS_DRDY,
  SECTOR_BYTES,
  sectorsPerFrame,
  writeAtaRequest,
} from "../src/wire/ata.ts";
import { CONFIG_READ, readConfigResponse, writeConfigRequest } from "../src/wire/config.ts";
import { readUint32Be } from "../src/wire/endian.ts";
import {
  ETHERNET_FRAME_BYTES_MIN,
  ETHERNET_HEADER_BYTES,
  ETHERNET_SOURCE,
  ETHERTYPE_AOE,
  MAC_BYTES,
} from "../src/wire/ethernet.ts";
import { initiatorFilter } from "../src/wire/filter.ts";

const WINDOW = 32;
const SILENCE_US = 200_000;
const SILENCES_MAX = 25;
const BROADCAST = new Uint8Array(MAC_BYTES).fill(0xff);

/** Frames to and from one interface; place 0 … WINDOW − 1 of the arena are sent, the rest received. */
class Wire {
  readonly #arena: Arena;
  readonly #frameBytes: number;
  readonly #sent: MessageTable;
  readonly #received: MessageTable;
  readonly #socket: PacketSocket;
  readonly #poll: PollSet;

  constructor(readonly link: NetworkInterface) {
    this.#frameBytes = Math.ceil((link.mtu + ETHERNET_HEADER_BYTES) / 64) * 64;
    const { arena, built } = Arena.fit((arena) => ({
      frames: arena.allocate(2 * WINDOW * this.#frameBytes),
      sent: new MessageTable(arena, WINDOW, 1),
      received: new MessageTable(arena, WINDOW, 1),
      poll: new PollSet(arena, 1),
    }));
    this.#arena = arena;
    this.#sent = built.sent;
    this.#received = built.received;
    for (let i = 0; i < WINDOW; i++) {
      const at = this.#arena.address + (WINDOW + i) * this.#frameBytes;
      this.#received.setOne(i, at, this.#frameBytes);
    }
    this.#socket = new PacketSocket(link.index, {
      etherType: ETHERTYPE_AOE,
      filter: initiatorFilter(),
      bufferBytes: 4 * WINDOW * this.#frameBytes,
    });
    this.#poll = built.poll;
    this.#poll.add(this.#socket.fd, POLLIN);
  }

  get bytes(): Uint8Array {
    return this.#arena.bytes;
  }

  /** Sends a frame that `write` puts at the offset it is given; it returns the length. */
  send(place: number, write: (at: number) => number): void {
    const at = place * this.#frameBytes;
    this.bytes.fill(0, at, at + ETHERNET_FRAME_BYTES_MIN);
    const length = Math.max(write(at), ETHERNET_FRAME_BYTES_MIN);
    this.#sent.setOne(place, this.#arena.address + at, length);
    this.#socket.send(this.#sent, place, 1);
  }

  /** Sends the frame of a place once more. */
  repeat(place: number): void {
    this.#socket.send(this.#sent, place, 1);
  }

  /** Hands every frame that comes to `take`; false when none came in time. */
  receive(take: (at: number, length: number) => void): boolean {
    if (this.#poll.wait(SILENCE_US) === 0) return false;
    const count = this.#socket.receive(this.#received, WINDOW);
    for (let i = 0; i < count; i++) {
      take((WINDOW + i) * this.#frameBytes, this.#received.length(i));
    }
    return true;
  }
}

/** Asks who has the address: its MAC, and the sectors a read of it may carry. */
function findTarget(wire: Wire, address: Address): { mac: Uint8Array; sectors: number } {
  wire.send(0, (at) => {
    const header = { flags: 0, ...address, command: COMMAND_CONFIG, tag: 1 };
    writeAoeHeader(wire.bytes, at, BROADCAST, wire.link.mac, header);
    return writeConfigRequest(wire.bytes, at, CONFIG_READ, new Uint8Array());
  });
  let found: { mac: Uint8Array; sectors: number } | undefined;
  for (let silences = 0; found === undefined; silences++) {
    if (silences === SILENCES_MAX) throw new Error("Nobody answers");
    if (silences > 0) wire.repeat(0);
    wire.receive((at, length) => {
      if (!isFrom(wire.bytes, at, address, COMMAND_CONFIG)) return;
      const config = readConfigResponse(wire.bytes, at, length);
      if (config === undefined) return;
      const mac = wire.bytes.slice(at + ETHERNET_SOURCE, at + ETHERNET_SOURCE + MAC_BYTES);
      found = { mac, sectors: Math.min(config.sectors, sectorsPerFrame(wire.link.mtu)) };
    });
  }
  return found;
}

/** Reads the first `bytes` of a disk. */
function read(wire: Wire, address: Address, bytes: number): Uint8Array<ArrayBuffer> {
  const { mac, sectors } = findTarget(wire, address);
  const sectorsTotal = bytes / SECTOR_BYTES;
  const reads = Math.ceil(sectorsTotal / sectors);
  const content = new Uint8Array(bytes);
  // The read that a place of the window waits for, which is its tag too.
  const waiting = new Int32Array(WINDOW).fill(-1);
  let next = 0;
  let silences = 0;

  const issue = (place: number) => {
    if (next === reads) return;
    const tag = next++;
    waiting[place] = tag;
    wire.send(place, (at) => {
      const header = { flags: 0, ...address, command: COMMAND_ATA, tag };
      writeAoeHeader(wire.bytes, at, mac, wire.link.mac, header);
      writeAtaRequest(wire.bytes, at, {
        flags: ATA_FLAG_LBA48,
        feature: 0,
        count: Math.min(sectors, sectorsTotal - tag * sectors),
        command: ATA_READ_SECTORS_EXT,
        lba: tag * sectors,
      });
      return ATA_DATA;
    });
  };
  const take = (at: number, length: number) => {
    const tag = readUint32Be(wire.bytes, at + AOE_TAG);
    const place = waiting.indexOf(tag);
    if (place < 0 || !isFrom(wire.bytes, at, address, COMMAND_ATA)) return;
    const from = tag * sectors * SECTOR_BYTES;
    const size = Math.min(sectors * SECTOR_BYTES, bytes - from);
    if (wire.bytes[at + ATA_COMMAND_STATUS] !== ATA_STATUS_DRDY || length < ATA_DATA + size) {
      throw new Error(`Reading at byte ${from} failed`);
    }
    content.set(wire.bytes.subarray(at + ATA_DATA, at + ATA_DATA + size), from);
    waiting[place] = -1;
    issue(place);
  };

  for (let place = 0; place < WINDOW; place++) issue(place);
  while (waiting.some((tag) => tag >= 0)) {
    if (wire.receive(take)) silences = 0;
    else if (++silences === SILENCES_MAX) throw new Error("The target fell silent");
    else waiting.forEach((tag, place) => tag >= 0 && wire.repeat(place));
  }
  return content;
}

function isFrom(view: Uint8Array, at: number, { shelf, slot }: Address, command: number): boolean {
  return aoeShelf(view, at) === shelf && view[at + AOE_SLOT] === slot &&
    view[at + AOE_COMMAND] === command;
}

const [name = "", addressText = "", bytesText = ""] = Deno.args;
const link = listInterfaces().find((candidate) => candidate.name === name);
const address = parseAddress(addressText);
if (link === undefined || address === undefined) throw new Error("IFACE SHELF.SLOT BYTES");
const content = read(new Wire(link), address, Number(bytesText));
console.log(new Uint8Array(await crypto.subtle.digest("SHA-256", content)).toHex());
