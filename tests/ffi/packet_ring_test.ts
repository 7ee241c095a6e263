// A ring that the kernel fills, with frames over interfaces of a namespace made for it: order, wrapping
// around, overflow, length, sleeping, and memory that is refused.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Arena } from "../../ffi/arena.ts";
import { SystemError } from "../../ffi/errno.ts";
import { MessageTable } from "../../ffi/message_table.ts";
import { listInterfaces } from "../../ffi/netlink.ts";
import { PacketRing } from "../../ffi/packet_ring.ts";
import { PacketSocket } from "../../ffi/packet_socket.ts";
import { POLLIN, PollSet } from "../../ffi/poll.ts";
import { ATA_DATA } from "../../src/wire/ata.ts";
import { ETHERTYPE_AOE } from "../../src/wire/ethernet.ts";
import { initiatorFilter, targetFilter } from "../../src/wire/filter.ts";
import { interopTest } from "../harness/requirements.ts";
import { inOwnNetwork, ip } from "./own_network.ts";

const OPTIONS = { etherType: ETHERTYPE_AOE, bufferBytes: 8 << 20 };
const LO_MTU = 65536;
const AT_NUMBER = 20;

interface Both {
  readonly arena: Arena;
  readonly ring: PacketRing;
  readonly receiver: PacketSocket;
  /** Sends one frame of so many bytes, with a number in it. */
  send(number: number, bytes: number): void;
}

/** Runs a body with a socket that receives by a ring, and one that sends to it, on one interface. */
function withRing(
  { mtu, slots, bytesMax = 4 << 20 }: { mtu: number; slots: number; bytesMax?: number },
  body: (both: Both) => void,
): Promise<void> {
  inOwnNetwork(() => {
    ip(`link set lo mtu ${mtu}`);
    const lo = listInterfaces().find((link) => link.loopback)!.index;
    const arena = new Arena(bytesMax + 4 * LO_MTU);
    const ring = new PacketRing(arena, bytesMax, slots, ATA_DATA);
    const prepare = (fd: number) => ring.open(fd, mtu + 14);
    const filter = targetFilter([{ shelf: 1, slot: 1 }]);
    const receiver = new PacketSocket(lo, { ...OPTIONS, filter, prepare });
    const sender = new PacketSocket(lo, { ...OPTIONS, filter: initiatorFilter() });
    const table = new MessageTable(arena, 1, 1);
    const at = arena.allocate(LO_MTU + 14);
    arena.bytes.fill(0x5a, at, at + LO_MTU + 14);
    arena.bytes.fill(0, at, at + 36);
    arena.bytes.set([0x88, 0xa2, 0x10, 0, 0, 1, 1], at + 12);
    const send = (number: number, bytes: number) => {
      arena.bytes.set([number >>> 8, number & 0xff], at + AT_NUMBER);
      arena.bytes[at + bytes - 1] = number & 0xff;
      table.setOne(0, arena.address + at, bytes);
      assertEquals(sender.send(table, 0, 1), 1);
    };
    try {
      body({ arena, ring, receiver, send });
    } finally {
      receiver.close();
      sender.close();
      ring.close();
    }
  });
  return Promise.resolve();
}

/** Number in arrived frame `i`. */
function numberOf({ arena, ring }: Both, i: number): number {
  const at = ring.at(i) + AT_NUMBER;
  return arena.bytes[at]! << 8 | arena.bytes[at + 1]!;
}

interopTest(
  "packet ring: frames come in order, several times around, their data aligned",
  [],
  () =>
    withRing({ mtu: 9000, slots: 8 }, (both) => {
      const { arena, ring, send } = both;
      assert(ring.slots >= 8 && ring.slots < 16, `${ring.slots} slots`);
      assertEquals(ring.look(64), 0);
      let sent = 0;
      let seen = 0;
      // Batches that do not divide the ring, so that they straddle its end.
      while (seen < 5 * ring.slots) {
        for (let i = 0; i < 5; i++) send(sent++, 60 + 1000 * i);
        assertEquals(ring.look(3), 3);
        assertEquals(ring.look(64), 5);
        for (let i = 0; i < 5; i++) {
          assertEquals(numberOf(both, i), seen);
          assertEquals(ring.length(i), 60 + 1000 * i);
          assertEquals(arena.bytes[ring.at(i) + ring.length(i) - 1], seen & 0xff);
          assertEquals((arena.address + ring.at(i) + ATA_DATA) % 512, 0);
          seen++;
        }
        ring.giveBack(5);
        assertEquals(ring.look(64), 0);
      }
    }),
);

interopTest(
  "packet ring: one that is full drops and counts, and goes on where room was made",
  [],
  () =>
    withRing({ mtu: 1500, slots: 4 }, (both) => {
      const { ring, receiver, send } = both;
      const { slots } = ring;
      for (let i = 0; i < slots + 7; i++) send(i, 60);
      assertEquals(ring.look(1000), slots);
      assertEquals([receiver.takeDrops(), receiver.takeDrops()], [7, 0]);
      ring.giveBack(2);
      assertEquals(ring.look(1000), slots - 2);
      assertEquals(numberOf(both, 0), 2);
      for (let i = 0; i < 3; i++) send(1000 + i, 60);
      assertEquals(ring.look(1000), slots);
      assertEquals(numberOf(both, slots - 2), 1000);
      assertEquals(numberOf(both, slots - 1), 1001);
      assertEquals(receiver.takeDrops(), 1);
    }),
);

interopTest(
  "packet ring: the longest frames of lo fit, what is longer than it was made for is cut",
  [],
  () =>
    withRing({ mtu: LO_MTU, slots: 3 }, (both) => {
      const { arena, ring, send } = both;
      const longest = LO_MTU + 14;
      send(1, longest);
      assertEquals([ring.look(9), ring.length(0)], [1, longest]);
      assertEquals(arena.bytes[ring.at(0) + longest - 1], 1);
      assertEquals(arena.bytes[ring.at(0) + longest - 2], 0x5a);
      ring.giveBack(1);
    }).then(() =>
      withRing({ mtu: 1500, slots: 3 }, (both) => {
        ip("link set lo mtu 9000");
        both.send(1, 9000);
        both.send(2, 60);
        assertEquals(both.ring.look(9), 2);
        const cut = both.ring.length(0);
        assert(cut >= both.ring.frameBytes && cut < 9000, `${cut} bytes`);
        assertEquals(numberOf(both, 1), 2);
        assertEquals(both.ring.length(1), 60);
      })
    ),
);

interopTest(
  "packet ring: who sleeps is woken by a frame, and by none that was given back",
  [],
  () =>
    withRing({ mtu: 1500, slots: 8 }, ({ ring, receiver, send }) => {
      const poll = new PollSet(new Arena(4096), 2);
      const place = poll.add(receiver.fd, POLLIN);
      assertEquals([poll.wait(0), ring.watch(10)], [0, false]);
      for (let i = 0; i < 3; i++) send(i, 60);
      assertEquals([poll.wait(1e6), poll.found(place), ring.watch(1)], [1, POLLIN, true]);
      ring.giveBack(3);
      assertEquals([poll.wait(0), ring.watch(10)], [0, false]);
    }),
);

interopTest("packet ring: without memory it says so, and the socket does without it", [], () => {
  inOwnNetwork(() => {
    const lo = listInterfaces().find((link) => link.loopback)!.index;
    const filter = initiatorFilter();
    const arena = new Arena(1 << 20);
    // A frame of lo does not fit the 128 KiB that it may have.
    const ring = new PacketRing(arena, 128 << 10, 8, ATA_DATA);
    const prepare = (fd: number) => ring.open(fd, LO_MTU + 14);
    assertThrows(
      () => new PacketSocket(lo, { ...OPTIONS, filter, prepare }),
      SystemError,
      "Receive by a ring of shared memory: out of memory (ENOMEM)",
    );
    assertEquals([ring.slots, ring.look(9), ring.watch(9)], [0, 0, false]);
    const socket = new PacketSocket(lo, { ...OPTIONS, filter });
    // One that is bound and has a ring takes no other.
    ring.open(socket.fd, 1514);
    assertThrows(() => ring.open(socket.fd, 1514), SystemError, "Receive by a ring");
    assertEquals(ring.slots, 0);
    socket.close();
  });
  return Promise.resolve();
});

interopTest(
  "packet ring: opened again it is empty, and as large as is asked for now",
  [],
  () =>
    withRing({ mtu: 1500, slots: 8 }, (both) => {
      const { ring, receiver, send } = both;
      send(1, 60);
      receiver.close();
      ring.close();
      assertEquals([ring.slots, ring.frameBytes], [0, 0]);
      const lo = listInterfaces().find((link) => link.loopback)!.index;
      const filter = targetFilter([{ shelf: 1, slot: 1 }]);
      const prepare = (fd: number) => ring.open(fd, 9014);
      const again = new PacketSocket(lo, { ...OPTIONS, filter, prepare });
      try {
        assertEquals([ring.frameBytes, ring.look(9)], [9014, 0]);
        send(2, 60);
        assertEquals([ring.look(9), numberOf(both, 0)], [1, 2]);
      } finally {
        again.close();
      }
    }),
);
