// A target as old ones are (qaoed, a disk of 2002): 28-bit commands and FLUSH CACHE only, as its
// IDENTIFY says, and neither mask nor reservations. Started with the interface, shelf, slot,
// and "silent" or "error": what becomes of a command that it does not know; then its model, if it is
// to say something nasty. Serves from memory.

import { Arena } from "../../ffi/arena.ts";
import { MessageTable } from "../../ffi/message_table.ts";
import { listInterfaces } from "../../ffi/netlink.ts";
import { PacketSocket } from "../../ffi/packet_socket.ts";
import { Drive, DRIVE_READ, DRIVE_WRITE } from "../../src/core/target/drive.ts";
import { DISK_WORK, OUTCOME_DONE, receiveFrame, Target } from "../../src/core/target/target.ts";
import {
  AOE_COMMAND,
  AOE_TAG,
  COMMAND_ATA,
  COMMAND_CONFIG,
  ERROR_UNRECOGNIZED_COMMAND,
  turnIntoResponse,
} from "../../src/wire/aoe.ts";
import {
  ATA_COMMAND_STATUS,
  ATA_DATA,
  ATA_FEATURE_ERROR,
  ATA_FLAG_LBA48,
  ATA_FLAGS,
  ATA_IDENTIFY_DEVICE,
  SECTOR_BYTES,
  sectorsPerFrame,
} from "../../src/wire/ata.ts";
import { ETHERNET_FRAME_BYTES_MIN, ETHERTYPE_AOE } from "../../src/wire/ethernet.ts";
import { targetFilter } from "../../src/wire/filter.ts";

const FRAME_BYTES = 12_288;
const SECTORS = 16_384;
const MODEL_WORD = 27;

class OldTarget {
  readonly #disk = new Uint8Array(SECTORS * SECTOR_BYTES);
  readonly #saysSo: boolean;
  readonly #link: { mac: Uint8Array; mtu: number; sectors: number };
  readonly #target: Target;
  /** Written as it is, byte for byte. */
  readonly #model: string;

  constructor(
    address: { readonly shelf: number; readonly slot: number },
    saysSo: boolean,
    link: { mac: Uint8Array; mtu: number; sectors: number },
    model: string,
  ) {
    this.#model = model;
    const drive = new Drive({
      ...{ sectors: SECTORS, readOnly: false, sync: false, trim: false, rotational: true },
      ...{ physicalSectorBytes: SECTOR_BYTES, serial: "old", firmware: "1", model },
    });
    this.#target = new Target({ ...address, drive, buffers: 16 });
    this.#saysSo = saysSo;
    this.#link = link;
  }

  /** Turns a request into its answer in place; its length, or 0 or less for none. */
  answer(view: Uint8Array, at: number, length: number): number {
    const command = view[at + AOE_COMMAND]!;
    if (command !== COMMAND_ATA && command !== COMMAND_CONFIG) {
      if (!this.#saysSo) return 0;
      const { shelf, slot } = this.#target;
      turnIntoResponse(view, at, this.#link.mac, shelf, slot, ERROR_UNRECOGNIZED_COMMAND);
      view.fill(0, at + AOE_TAG + 4, at + ETHERNET_FRAME_BYTES_MIN);
      return ETHERNET_FRAME_BYTES_MIN;
    }
    const ata = command === COMMAND_ATA ? view[at + ATA_COMMAND_STATUS]! : 0;
    // READ and WRITE EXT and their like, and FLUSH CACHE EXT.
    const wide = [0x24, 0x25, 0x29, 0x34, 0x35, 0x39, 0xea].includes(ata) ||
      (command === COMMAND_ATA && (view[at + ATA_FLAGS]! & ATA_FLAG_LBA48) !== 0);
    if (wide) view[at + ATA_COMMAND_STATUS] = 0xff;
    const verdict = receiveFrame(this.#target, view, at, length, this.#link);
    if (verdict !== DISK_WORK) {
      if (verdict > 0 && ata === ATA_IDENTIFY_DEVICE) {
        for (const word of [83, 86]) view.set([0x00, 0x50], at + ATA_DATA + 2 * word);
        for (let i = 0; i < this.#model.length; i++) {
          view[at + ATA_DATA + 2 * MODEL_WORD + (i ^ 1)] = this.#model.charCodeAt(i);
        }
      }
      return verdict;
    }
    const { operation, sector, sectorsWanted } = this.#target.drive;
    const place = this.#disk.subarray(
      sector * SECTOR_BYTES,
      (sector + sectorsWanted) * SECTOR_BYTES,
    );
    const data = view.subarray(at + ATA_DATA, at + ATA_DATA + place.length);
    if (operation === DRIVE_WRITE) place.set(data);
    if (operation === DRIVE_READ) data.set(place);
    view[at + ATA_FEATURE_ERROR] = 0;
    return this.#target.complete(view, at, this.#link, operation, sectorsWanted, OUTCOME_DONE);
  }
}

if (import.meta.main) {
  const [iface, shelf, slot, manner, model = "old target"] = Deno.args;
  const address = { shelf: Number(shelf), slot: Number(slot) };
  const link = listInterfaces().find(({ name }) => name === iface);
  if (link === undefined) throw new Error(`No interface "${iface}"`);
  const { mac, mtu } = link;
  const socket = new PacketSocket(link.index, {
    etherType: ETHERTYPE_AOE,
    filter: targetFilter([address]),
    bufferBytes: 1 << 20,
    waitMs: 100,
  });
  const { arena, built: { messages, at } } = Arena.fit((arena) => ({
    messages: new MessageTable(arena, 1, 1),
    at: arena.allocate(FRAME_BYTES, 64),
  }));
  const served = { mac, mtu, sectors: sectorsPerFrame(mtu) };
  const target = new OldTarget(address, manner === "error", served, model);
  console.log(`Serving on ${iface}`);
  for (;;) {
    messages.setOne(0, arena.address + at, FRAME_BYTES);
    if (socket.receive(messages, 1, true) !== 1) continue;
    const length = target.answer(arena.bytes, at, messages.length(0));
    if (length <= 0) continue;
    messages.setOne(0, arena.address + at, length);
    socket.send(messages, 0, 1);
  }
}
