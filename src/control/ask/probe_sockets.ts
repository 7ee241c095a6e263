// Packet sockets on some interfaces for the few frames of a question, used from the main thread by
// everything that asks without being an initiator: scan, the inquiries, ping, check.

import type { ProbeWish } from "./probe_aids.ts";
import { ProbeAids } from "./probe_aids.ts";
import { Arena } from "../../../ffi/arena.ts";
import { errnoText } from "../../../ffi/errno.ts";
import { MessageTable } from "../../../ffi/message_table.ts";
import { PacketSocket } from "../../../ffi/packet_socket.ts";
import { POLLIN, PollSet } from "../../../ffi/poll.ts";
import { ETHERTYPE_AOE } from "../../wire/ethernet.ts";
import { initiatorFilter } from "../../wire/filter.ts";
import { explainSocketError } from "../../loops/socket_refusal.ts";
import type { NetworkInterface } from "../../../ffi/netlink.ts";
import { EAGAIN, ENOBUFS } from "../../../ffi/errno_numbers.ts";

/** Frames that are taken in one crossing into the kernel. */
const FRAMES = 64;
/** Batches that are taken at once: who floods an interface with answers must not hold us here. */
const BATCHES_MAX = 64;
/** The largest MTU, lo's, and a header, rounded up; only the pages that frames reach are touched. */
const FRAME_BYTES = 66_048;
/** What a whole rack answers at once. */
const SOCKET_BUFFER_BYTES = 4 * 2 ** 20;

/** One socket an interface; `link` is an index of the interfaces. */
export class ProbeSockets {
  readonly interfaces: readonly NetworkInterface[];
  readonly #sockets: PacketSocket[] = [];
  readonly #poll: PollSet;
  readonly #aids: ProbeAids;
  /** The last error of sending, by interface. */
  readonly #sendErrors = new Map<number, number>();

  /**
   * @param filter BPF program that passes what is wanted.
   * @param wish What is wanted to look for a fault.
   * @throws {Deno.errors.PermissionDenied} Without CAP_NET_RAW, in one sentence.
   */
  constructor(
    interfaces: readonly NetworkInterface[],
    { filter = initiatorFilter(), wish }: {
      readonly filter?: Uint8Array;
      readonly wish?: ProbeWish | undefined;
    } = {},
  ) {
    this.interfaces = interfaces;
    this.#poll = Arena.fit((arena) => new PollSet(arena, interfaces.length)).built;
    const options = {
      etherType: ETHERTYPE_AOE,
      filter,
      bufferBytes: SOCKET_BUFFER_BYTES,
    };
    try {
      for (const { index } of interfaces) {
        const socket = new PacketSocket(index, options);
        this.#sockets.push(socket);
        this.#poll.add(socket.fd, POLLIN);
      }
    } catch (error) {
      this.#closeSockets();
      throw explainSocketError(error);
    }
    try {
      this.#aids = new ProbeAids(wish);
    } catch (error) {
      this.#closeSockets();
      throw error;
    }
  }

  /**
   * Sends one frame; a full buffer of the kernel loses it, as the network might.
   *
   * @param write Writes the frame at `at` and returns its length, at most lo's MTU and a header.
   */
  send(link: number, write: (view: Uint8Array, at: number, sender: Uint8Array) => number): void {
    const { arena, frames, messages } = memory();
    const length = write(arena.bytes, frames, this.interfaces[link]!.mac);
    if (this.#aids.loses()) return;
    messages.setOne(0, arena.address + frames, length);
    const sent = this.#sockets[link]!.send(messages, 0, 1);
    if (sent < 0 && sent !== -EAGAIN && sent !== -ENOBUFS) this.#sendErrors.set(link, -sent);
    if (sent > 0) this.#aids.note(arena.bytes, frames, length);
  }

  /** Takes every frame that has arrived. */
  receive(take: (view: Uint8Array, at: number, length: number, link: number) => void): void {
    const { arena, frames, messages } = memory();
    this.#sockets.forEach((socket, link) => {
      for (let batch = 0; batch < BATCHES_MAX; batch++) {
        for (let i = 0; i < FRAMES; i++) {
          messages.setOne(i, arena.address + frames + i * FRAME_BYTES, FRAME_BYTES);
        }
        const count = socket.receive(messages, FRAMES);
        for (let i = 0; i < count; i++) {
          const length = Math.min(messages.length(i), FRAME_BYTES);
          const at = frames + i * FRAME_BYTES;
          this.#aids.note(arena.bytes, at, length);
          if (!this.#aids.loses()) take(arena.bytes, at, length, link);
        }
        if (count < FRAMES) return;
      }
    });
  }

  /** Blocks this thread until a frame has arrived, or for so long; whether one has. */
  wait(timeoutMs: number): boolean {
    this.#aids.write();
    return this.#poll.wait(Math.max(0, Math.ceil(timeoutMs * 1000))) > 0;
  }

  /** One sentence for each interface that does not send. */
  warnings(): string[] {
    return [...this.#sendErrors].map(([link, error]) =>
      `Interface "${this.interfaces[link]!.name}" does not send: ${errnoText(error)}`
    );
  }

  close(): void {
    this.#closeSockets();
    this.#aids.close();
  }

  #closeSockets(): void {
    for (const socket of this.#sockets) socket.close();
  }
}

/** Memory for frames, shared by everything here, since it is never given back. */
interface FrameMemory {
  readonly arena: Arena;
  /** Offset of the first frame. */
  readonly frames: number;
  readonly messages: MessageTable;
}

let frameMemory: FrameMemory | undefined;

function memory(): FrameMemory {
  return frameMemory ??= Arena.fit((arena) => ({
    arena,
    messages: new MessageTable(arena, FRAMES, 1),
    frames: arena.allocate(FRAMES * FRAME_BYTES, 64),
  })).built;
}
