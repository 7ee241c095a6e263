// A ring of frames in memory that the kernel shares with us: PACKET_RX_RING of packet(7), version 2
// (Documentation/networking/packet_mmap.rst). The kernel writes each frame once, into the next slot,
// and says so in the slot's status word: looking for a frame is a load, not a system call.
//
// It lies in an arena, so that frames in slots and frames elsewhere have offsets of the same memory.
// The kernel fills slots in order and drops what finds the next one still ours; poll(2) looks only at
// the one filled last. Hence they are given back in order, and all of them before anybody sleeps.

import type { Arena } from "./arena.ts";
import { check, errno, SystemError } from "./errno.ts";
import { ENOMEM } from "./errno_numbers.ts";
import { openLibc } from "./libc.ts";

// linux/if_packet.h
const SOL_PACKET = 263;
const PACKET_RX_RING = 5;
const PACKET_VERSION = 10;
const PACKET_RESERVE = 12;
/** Version 3 hands frames over in blocks, when one is full or a timer says so: later than it could. */
const TPACKET_V2 = 1;
const TP_STATUS_USER = 1;
// struct tpacket2_hdr: __u32 tp_status, tp_len, tp_snaplen; __u16 tp_mac, …
const TP_SNAPLEN = 8;
const TP_MAC = 12;
/** Where the network header comes to lie when nothing is set aside: header and address, aligned. */
const NET_OFFSET = 80;
const ETHERNET_BYTES = 14;

// sys/mman.h
const PROT_READ_WRITE = 3;
const MAP_SHARED_FIXED_POPULATE = 0x8011;
const MAP_PRIVATE_FIXED_ANONYMOUS = 0x32;

/**
 * Whether a thread sees what others store in the order in which they stored it, and they its own, by
 * plain loads and stores, as x86-64 has it. V8 calls a function for each of Atomics', and a store of
 * theirs waits until all before it are seen.
 */
const STORES_IN_ORDER = Deno.build.arch === "x86_64";

/** Physically contiguous memory is scarce: small blocks, of whole pages on any machine. */
const BLOCK_BYTES_MIN = 65536;
const ALIGNMENT = 512;

const libc = openLibc(
  {
    // int fd, int level, int name, const void *value, socklen_t len
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
    // void *addr, size_t length, int prot, int flags, int fd, off_t offset
    mmap: {
      parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"],
      result: "pointer",
    },
  } as const,
);

/** Of 64 bytes each. */
const CACHE_LINE_WORDS = 16;
/** Of a word: the first of its cache line. */
const LINE_MASK = -CACHE_LINE_WORDS;

/** A ring, in a place of its own in an arena; empty until it is opened for a socket. */
export class PacketRing {
  readonly #arena: Arena;
  /** Offset of its first block in the arena. */
  readonly #at: number;
  readonly #bytesMax: number;
  #slotsWanted: number;
  readonly #dataAt: number;
  #mappedBytes = 0;
  /** Offset of each slot in the arena. */
  #slots = new Int32Array(0);
  #frameBytes = 0;
  /** The slot that the kernel fills next, or has filled for the next look. */
  #head = 0;
  /** What `fetch` has read last, of no meaning: V8 does not read what nothing is made of. */
  fetched = 0;

  /**
   * @param bytesMax Memory that it takes at most.
   * @param slots Frames that it should hold, memory permitting.
   * @param dataAt Bytes of a frame before those that are to lie at a multiple of 512.
   */
  constructor(arena: Arena, bytesMax: number, slots: number, dataAt: number) {
    this.#arena = arena;
    this.#bytesMax = Math.floor(bytesMax / BLOCK_BYTES_MIN) * BLOCK_BYTES_MIN;
    this.#slotsWanted = slots;
    this.#dataAt = dataAt;
    // Backed by memory only while the ring is open.
    const at = arena.allocate(bytesMax + BLOCK_BYTES_MIN);
    const address = Math.ceil((arena.address + at) / BLOCK_BYTES_MIN) * BLOCK_BYTES_MIN;
    this.#at = address - arena.address;
  }

  /** Frames that it holds; 0 while it is not open. */
  get slots(): number {
    return this.#slots.length;
  }

  /** Frames that it should hold, memory permitting. */
  get slotsWanted(): number {
    return this.#slotsWanted;
  }

  /** Bytes of the longest frame that a slot takes whole; 0 while it is not open. */
  get frameBytes(): number {
    return this.#frameBytes;
  }

  /**
   * Makes a socket receive by it; to be done before the socket is bound.
   *
   * @param frameBytes Of the longest frame; a longer one is cut.
   * @param wanted Frames that it should hold, memory permitting; as before when undefined.
   * @throws {SystemError} ENOMEM when the kernel has no memory for it, EINVAL or ENOPROTOOPT where
   * it knows no such rings; the socket may be used as before then.
   */
  open(fd: number, frameBytes: number, wanted = this.#slotsWanted): void {
    this.close();
    this.#slotsWanted = wanted;
    const what = "Receive by a ring of shared memory";
    const { slotBytes, blockBytes, blocks } = this.#layOut(frameBytes);
    if (blocks === 0) throw new SystemError(what, ENOMEM);
    const mac = ALIGNMENT - this.#dataAt;
    this.#set(fd, PACKET_VERSION, [TPACKET_V2], what);
    this.#set(fd, PACKET_RESERVE, [mac + ETHERNET_BYTES - NET_OFFSET], what);
    const slotsOfBlock = Math.floor(blockBytes / slotBytes);
    const slots = blocks * slotsOfBlock;
    this.#set(fd, PACKET_RX_RING, [blockBytes, blocks, slotBytes, slots], what);
    this.#map(blocks * blockBytes, MAP_SHARED_FIXED_POPULATE, fd, what);
    this.#mappedBytes = blocks * blockBytes;
    this.#slots = Int32Array.from(
      { length: slots },
      (_, i) => this.#at + Math.floor(i / slotsOfBlock) * blockBytes + i % slotsOfBlock * slotBytes,
    );
    this.#frameBytes = frameBytes;
    this.#head = 0;
  }

  /**
   * How many frames have arrived that have not been given back, up to `max`; see `at` and `length`.
   */
  look(max: number): number {
    const i32 = this.#arena.i32;
    const slots = this.#slots;
    const end = slots.length;
    if (max > end) max = end;
    let slot = this.#head;
    let count = 0;
    while (count < max) {
      const at = slots[slot]! >>> 2;
      const status = STORES_IN_ORDER ? i32[at]! : Atomics.load(i32, at);
      if ((status & TP_STATUS_USER) === 0) break;
      count++;
      if (++slot === end) slot = 0;
    }
    return count;
  }

  /**
   * Reads a word of each cache line of the first `count` arrived frames, of `bytesMax` of each at most.
   * Another processor has written them: the waits for its cache, which come one after the other where
   * each frame is used, overlap here.
   */
  fetch(count: number, bytesMax: number): void {
    const { u32 } = this.#arena;
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const at = this.at(i);
      const end = (at + Math.min(this.length(i), bytesMax)) >>> 2;
      for (let word = (at >>> 2) & LINE_MASK; word < end; word += CACHE_LINE_WORDS) {
        sum |= u32[word]!;
      }
    }
    this.fetched = sum;
  }

  /** Looks for a frame so many times, without sleeping; whether one is there. */
  watch(times: number): boolean {
    if (this.#slots.length === 0) return false;
    const i32 = this.#arena.i32;
    const word = this.#slots[this.#head]! >>> 2;
    for (let i = 0; i < times; i++) {
      if ((Atomics.load(i32, word) & TP_STATUS_USER) !== 0) return true;
    }
    return false;
  }

  /** Offset of arrived frame `i` in the arena. */
  at(i: number): number {
    const slot = this.#slot(i);
    return slot + this.#arena.u16[(slot + TP_MAC) >>> 1]!;
  }

  /** Bytes of arrived frame `i`, as far as they fit its slot. */
  length(i: number): number {
    return this.#arena.u32[(this.#slot(i) + TP_SNAPLEN) >>> 2]!;
  }

  /** Gives the slots of the first `count` arrived frames back to the kernel. */
  giveBack(count: number): void {
    const i32 = this.#arena.i32;
    const slots = this.#slots;
    for (let i = 0; i < count; i++) {
      const at = slots[this.#head]! >>> 2;
      if (STORES_IN_ORDER) i32[at] = 0;
      else Atomics.store(i32, at, 0);
      if (++this.#head === slots.length) this.#head = 0;
    }
  }

  /** Gives its memory back, once the socket is closed. */
  close(): void {
    if (this.#mappedBytes === 0) return;
    // Its place in the arena stays the arena's.
    this.#map(this.#mappedBytes, MAP_PRIVATE_FIXED_ANONYMOUS, -1, "Unmap a ring");
    this.#mappedBytes = 0;
    this.#slots = new Int32Array(0);
    this.#frameBytes = 0;
  }

  #slot(i: number): number {
    const slot = this.#head + i;
    const slots = this.#slots;
    return slots[slot < slots.length ? slot : slot - slots.length]!;
  }

  /** Sizes in bytes of slots, and of blocks of which their slots leave little unused. */
  #layOut(frameBytes: number): { slotBytes: number; blockBytes: number; blocks: number } {
    // An odd number of 512: headers at a power of two would share one set of the cache.
    const units = Math.ceil((ALIGNMENT - this.#dataAt + frameBytes) / ALIGNMENT) | 1;
    const slotBytes = units * ALIGNMENT;
    let blockBytes = BLOCK_BYTES_MIN;
    while (blockBytes < slotBytes || blockBytes % slotBytes > blockBytes / 4) blockBytes *= 2;
    const wanted = Math.ceil(this.#slotsWanted / Math.floor(blockBytes / slotBytes));
    return {
      slotBytes,
      blockBytes,
      blocks: Math.min(wanted, Math.floor(this.#bytesMax / blockBytes)),
    };
  }

  #set(fd: number, name: number, values: readonly number[], what: string): void {
    const value = new Uint8Array(Uint32Array.from(values).buffer);
    check(libc.setsockopt(fd, SOL_PACKET, name, value, value.length), what);
  }

  #map(bytes: number, flags: number, fd: number, what: string): void {
    const place = this.#arena.pointer(this.#at);
    const pointer = libc.mmap(place, BigInt(bytes), PROT_READ_WRITE, flags, fd, 0n);
    const value = BigInt.asIntN(64, Deno.UnsafePointer.value(pointer));
    if (value === -1n || value === 0n) throw new SystemError(what, errno());
  }
}
