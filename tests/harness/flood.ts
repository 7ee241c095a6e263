// Frames that mean harm, at a steady rate: malformed, wrongly addressed, spoofed. Arguments: interface,
// MAC and address of the target, frames a second, seconds, and the EtherType, in hexadecimal, which
// another one makes harmless. Its last line says how many were sent.

import { Arena } from "../../ffi/arena.ts";
import { MessageTable } from "../../ffi/message_table.ts";
import { listInterfaces } from "../../ffi/netlink.ts";
import { PacketSocket } from "../../ffi/packet_socket.ts";
import { parseAddress } from "../../src/wire/aoe.ts";
import { initiatorFilter } from "../../src/wire/filter.ts";

const FRAME_BYTES = 2048;
const SENDERS = 64;
const TICK_MS = 1;

const [name, mac = "", exported = "", rate, seconds, etherType = "88a2"] = Deno.args;
const link = listInterfaces().find((link) => link.name === name);
const address = parseAddress(exported);
if (link === undefined || address === undefined) throw new Error("No such interface or address");
const to = Uint8Array.from(mac.split(":"), (byte) => parseInt(byte, 16));
const { shelf, slot } = address;
const type = parseInt(etherType, 16);

/** What is different from a read of sector 0: bytes by their place, and how long it is. */
type Harm = readonly [bytes: Readonly<Record<number, readonly number[]>>, length: number];
const ALL = { 16: [255, 255, 255] };
const HARMS: readonly Harm[] = [
  [{}, 16],
  [{}, 30],
  [{ 14: [0x18] }, 60],
  [{ 16: [0x7f, 0x7f] }, 60],
  [{ 18: [0xfe] }, 60],
  [{ 0: [2, 0x66, 0, 0, 0, 5] }, 60],
  [{ 6: [3] }, 60],
  [{ 14: [0x20] }, 60],
  [{ ...ALL, 14: [0x20] }, 60],
  [{ 19: [0x77] }, 60],
  [{ ...ALL, 24: [0x41, 0, 2, 0x34] }, 1060],
  [{ ...ALL, 19: [1], 24: [0, 0, 0, 0, 0, 0x14] }, 60],
  // What has to be answered, by an error.
  [{ 24: [0x40, 0, 2, 0xff] }, 60],
  [{ 24: [0x41, 0, 2, 0x34] }, 100],
  [{ 24: [0x40, 0, 2, 0x24, 255, 255, 255, 255, 255, 255] }, 60],
  [{ 19: [2], 24: [0, 1, 0, 255] }, 60],
  [{ 19: [1], 24: [0, 0, 0, 0, 0, 0x11, 0xff, 0xff] }, 60],
];

const arena = new Arena(HARMS.length * SENDERS * (FRAME_BYTES + 256) + 65536);
const table = new MessageTable(arena, HARMS.length * SENDERS, 1);
for (let i = 0; i < table.capacity; i++) {
  const at = arena.allocate(FRAME_BYTES);
  const frame = arena.bytes.subarray(at, at + FRAME_BYTES);
  // Each from a host of its own, which is nobody.
  frame.set([
    ...to,
    2,
    0x66,
    0,
    0,
    i >>> 8,
    i,
    type >>> 8,
    type,
    0x10,
    0,
    shelf >>> 8,
    shelf,
    slot,
  ]);
  frame.set([0, 0, 0, i >>> 8, i, 0x40, 0, 2, 0x24], 19);
  const [bytes, length] = HARMS[i % HARMS.length]!;
  for (const [place, values] of Object.entries(bytes)) frame.set(values, Number(place));
  table.setOne(i, arena.address + at, length);
}

const socket = new PacketSocket(link.index, {
  ...{ etherType: type, filter: initiatorFilter(), bufferBytes: 1 << 20 },
});
const sleeping = new Int32Array(new SharedArrayBuffer(4));
const began = performance.now();
let sent = 0;
let first = 0;
for (let ms = 0; ms < Number(seconds) * 1000; ms = performance.now() - began) {
  const due = Math.floor(Number(rate) * ms / 1000) - sent;
  for (let left = Math.min(due, table.capacity); left > 0;) {
    const count = socket.send(table, first, Math.min(left, table.capacity - first));
    if (count <= 0) break;
    sent += count;
    left -= count;
    first = (first + count) % table.capacity;
  }
  Atomics.wait(sleeping, 0, 0, TICK_MS);
}
socket.close();
console.log(`sent ${sent}`);
