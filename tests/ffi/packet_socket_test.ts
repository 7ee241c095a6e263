// Raw frames over the loopback interface of a namespace made for it: batches, gathering, filters.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Arena } from "../../ffi/arena.ts";
import { SystemError } from "../../ffi/errno.ts";
import { MessageTable } from "../../ffi/message_table.ts";
import { listInterfaces } from "../../ffi/netlink.ts";
import { PacketSocket } from "../../ffi/packet_socket.ts";
import { POLLIN, PollSet } from "../../ffi/poll.ts";
import { ETHERTYPE_AOE } from "../../src/wire/ethernet.ts";
import { initiatorFilter, targetFilter } from "../../src/wire/filter.ts";
import { interopTest } from "../harness/requirements.ts";
import { inOwnNetwork, ip } from "./own_network.ts";
import { EAGAIN, EFAULT } from "../../ffi/errno_numbers.ts";

const FRAMES = 16;
const FRAME_BYTES = 128;
const WAIT_MS = 30;
const OPTIONS = { etherType: ETHERTYPE_AOE, bufferBytes: 1 << 20, waitMs: WAIT_MS };

/** An arena with a table and frames to send, and the same to receive. */
class Frames {
  readonly arena = new Arena(65536);
  readonly sending = new MessageTable(this.arena, FRAMES, 2);
  readonly receiving = new MessageTable(this.arena, FRAMES, 1);
  readonly #sent = this.arena.allocate(FRAMES * FRAME_BYTES);
  readonly #received = this.arena.allocate(FRAMES * FRAME_BYTES);

  constructor() {
    for (let i = 0; i < FRAMES; i++) {
      const address = this.arena.address + this.#received + i * FRAME_BYTES;
      this.receiving.setOne(i, address, FRAME_BYTES);
    }
  }

  /** Makes message `i` a frame of AoE: to nobody in particular, byte 14 and the slot as given. */
  put(i: number, byte14: number, slot: number): number {
    const at = this.#sent + i * FRAME_BYTES;
    const frame = this.arena.bytes.subarray(at, at + FRAME_BYTES).fill(0);
    frame.set([0x88, 0xa2, byte14, 0, 0, 1, slot], 12);
    this.sending.setOne(i, this.arena.address + at, 60);
    return at;
  }

  received(i: number): Uint8Array {
    const at = this.#received + i * FRAME_BYTES;
    return this.arena.bytes.subarray(at, at + this.receiving.length(i));
  }
}

/** Runs a body with two sockets on `lo`. */
function withSockets(
  filters: readonly [Uint8Array, Uint8Array],
  body: (a: PacketSocket, b: PacketSocket) => void,
): Promise<void> {
  inOwnNetwork(() => {
    const lo = listInterfaces().find((link) => link.loopback)!.index;
    const a = new PacketSocket(lo, { ...OPTIONS, filter: filters[0] });
    const b = new PacketSocket(lo, { ...OPTIONS, filter: filters[1] });
    try {
      body(a, b);
    } finally {
      a.close();
      b.close();
    }
  });
  return Promise.resolve();
}

interopTest(
  "packet socket: a batch arrives in order, each filter passes its own",
  [],
  () =>
    withSockets([initiatorFilter(), targetFilter([{ shelf: 1, slot: 7 }])], (initiator, target) => {
      const frames = new Frames();
      for (let i = 0; i < FRAMES; i++) {
        frames.put(i, i % 4 === 0 ? 0x18 : 0x10, i % 2 === 0 ? 6 : 7);
      }
      assertEquals(initiator.send(frames.sending, 0, FRAMES), FRAMES);
      // Responses reach the initiator, requests for slot 7 the target; nothing else anybody.
      assertEquals(initiator.receive(frames.receiving, FRAMES), FRAMES / 4);
      assertEquals(frames.received(0).length, 60);
      assertEquals([...frames.received(3).subarray(12, 19)], [0x88, 0xa2, 0x18, 0, 0, 1, 6]);
      assertEquals(target.receive(frames.receiving, 5), 5);
      assertEquals(frames.received(4)[18], 7);
      assertEquals(target.receive(frames.receiving, FRAMES), FRAMES / 2 - 5);
      assertEquals(target.receive(frames.receiving, FRAMES), 0);
    }),
);

interopTest(
  "packet socket: a frame in two pieces leaves as one, a long one is cut",
  [],
  () =>
    withSockets([initiatorFilter(), initiatorFilter()], (socket) => {
      const frames = new Frames();
      const at = frames.put(0, 0x18, 1);
      const data = frames.arena.allocate(FRAME_BYTES);
      frames.arena.bytes.fill(0xee, data, data + FRAME_BYTES);
      const { address } = frames.arena;
      frames.sending.setTwo(0, address + at, 36, address + data, FRAME_BYTES);
      assertEquals(socket.send(frames.sending, 0, 1), 1);
      assertEquals(socket.receive(frames.receiving, 1), 1);
      assertEquals(frames.received(0).length, FRAME_BYTES);
      assertEquals([frames.received(0)[35], frames.received(0)[36]], [0, 0xee]);
    }),
);

interopTest(
  "packet socket: what the reader is too slow for is dropped and counted",
  [],
  () =>
    withSockets([initiatorFilter(), targetFilter([{ shelf: 1, slot: 1 }])], (_, target) => {
      const frames = new Frames();
      for (let i = 0; i < FRAMES; i++) frames.put(i, 0x10, 1);
      const sent = 10_000;
      for (let i = 0; i < sent / FRAMES; i++) target.send(frames.sending, 0, FRAMES);
      let received = 0;
      for (let count = -1; count !== 0;) {
        received += count = target.receive(frames.receiving, FRAMES);
      }
      const drops = target.takeDrops();
      assert(received > 100 && drops > 0, `${received} received, ${drops} dropped`);
      assertEquals(received + drops, sent);
      assertEquals(target.takeDrops(), 0);
    }),
);

interopTest(
  "packet socket: who waits has the frame that is there at once, and gives up in time",
  [],
  () => {
    return withSockets([targetFilter([{ shelf: 1, slot: 1 }]), initiatorFilter()], (target, b) => {
      const frames = new Frames();
      const receive = (wait: boolean) => {
        const startMs = performance.now();
        const count = target.receive(frames.receiving, FRAMES, wait);
        return { count, ms: performance.now() - startMs };
      };
      assert(receive(false).ms < WAIT_MS / 2, "not told to wait");
      const inVain = receive(true);
      assertEquals(inVain.count, 0);
      assert(inVain.ms >= WAIT_MS - 1, `only ${inVain.ms} ms`);
      for (let i = 0; i < 3; i++) frames.put(i, 0x10, 1);
      assertEquals(b.send(frames.sending, 0, 3), 3);
      // Three of sixteen: it does not wait for more.
      const found = receive(true);
      assertEquals(found.count, 3);
      assert(found.ms < WAIT_MS / 2, `${found.ms} ms`);
    });
  },
);

interopTest("packet socket: a memory error or a lost interface is a number, not an end", [], () => {
  inOwnNetwork(() => {
    ip("link add net0 type veth peer name net1");
    ip("link set net0 up");
    ip("link set net1 up");
    const index = listInterfaces().find((link) => link.name === "net0")!.index;
    const socket = new PacketSocket(index, { ...OPTIONS, filter: initiatorFilter() });
    try {
      const frames = new Frames();
      frames.put(0, 0x18, 1);
      frames.sending.setOne(0, 0x1000, 60);
      assertEquals(socket.send(frames.sending, 0, 1), -EFAULT);
      frames.put(0, 0x18, 1);
      ip("link set net0 down");
      assert(socket.send(frames.sending, 0, 1) < 0);
      assertEquals(socket.receive(frames.receiving, FRAMES), 0);
      ip("link del net0");
      const result = socket.send(frames.sending, 0, 1);
      assert(result < 0 && result !== -EAGAIN, `${result}`);
    } finally {
      socket.close();
    }
    assertThrows(
      () => new PacketSocket(index, { ...OPTIONS, filter: initiatorFilter() }),
      SystemError,
      "ENODEV",
    );
    assertThrows(
      () => new PacketSocket(1, { ...OPTIONS, filter: new Uint8Array(8) }),
      SystemError,
      "Attach a packet filter of 1 instructions",
    );
  });
  return Promise.resolve();
});

interopTest(
  "packet socket: ppoll wakes for a frame",
  [],
  () =>
    withSockets([initiatorFilter(), initiatorFilter()], (sender, receiver) => {
      const poll = Arena.fit((arena) => new PollSet(arena, 2)).built;
      const place = poll.add(receiver.fd, POLLIN);
      assertEquals([poll.wait(0), poll.found(place)], [0, 0]);
      const frames = new Frames();
      frames.put(0, 0x18, 1);
      sender.send(frames.sending, 0, 1);
      assertEquals([poll.wait(1e6), poll.found(place)], [1, POLLIN]);
    }),
);
